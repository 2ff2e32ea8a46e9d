"""Marker genes of blood cells from the literature, written down before anything was attributed.

Zheng et al. (Nature Communications 8, 14049, 2017) purified and annotated these populations; the
lists add genes that any annotation of blood cells uses (Seurat's and scanpy's guides to 3,000 PBMC;
Velten et al., Nature Cell Biology 19, 2017, for CD34+ cells).
"""

MARKERS = {
    "B cell": (
        "CD19", "MS4A1", "CD79A", "CD79B", "CD37", "BLNK", "BANK1", "CD22", "FCER2", "TCL1A",
        "VPREB3", "HLA-DRA", "CD74",
    ),
    "T cell": (
        "CD3D", "CD3E", "CD3G", "CD2", "CD5", "CD6", "CD7", "CD27", "IL7R", "LCK", "TRAC", "TRAT1",
        "CD8A", "CD8B", "CD4", "CCR7",
    ),
    "NK cell": (
        "GNLY", "NKG7", "KLRD1", "KLRF1", "KLRB1", "KLRC1", "GZMB", "GZMA", "PRF1", "FGFBP2",
        "SPON2", "NCAM1", "FCGR3A", "CTSW", "XCL1", "XCL2", "CD160",
    ),
    "CD14+": (
        "CD14", "LYZ", "S100A8", "S100A9", "S100A12", "FCN1", "VCAN", "CST3", "CSF1R", "CD33",
        "TYROBP", "LGALS2", "MS4A6A", "FCER1G", "AIF1", "CD163", "CLEC7A",
    ),
    "CD34+": (
        "CD34", "KIT", "SPINK2", "SOX4", "PROM1", "CRHBP", "AVP", "CD38", "GATA2", "MYB", "CYTL1",
        "NPR3", "FLT3", "EGFL7", "HOPX", "SMIM24", "CDK6", "MPO",
    ),
}  # fmt: skip
GROUPS = tuple(MARKERS)
