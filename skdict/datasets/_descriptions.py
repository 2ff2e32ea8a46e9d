"""What the shipped sets are, where they come from, and what to beware of."""

JUMP_SCOPE = """\
JUMP-Scope Cell Painting profiles: 90 compounds on six imaging set-ups
=======================================================================

2,280 wells x 216 float32 features, no missing value. U2OS cells on 384-well plates with the
JUMP-MOA layout: 90 compounds in four wells each and 24 DMSO wells (the controls) per plate.

Source
------
Origin: Cell Painting Gallery, cpg0002-jump-scope (Tromans-Coia et al. 2023, Cytometry A 103(11),
doi:10.1002/cyto.a.24786; preprint by Jamali et al., bioRxiv 2023.02.15.528711).
Taken from: github.com/BharathiVeerasankar/Exploring-High-dimensional-Cell-painting-data, commit
ba11c6fec8a22c008522320b05f947d4d5d705c3, Yokogawa_*/**/normalized_feature_select_batch*.csv.
Licence: CC0 1.0. The Cell Painting Gallery states it for all its data; the GitHub repository
itself carries no licence file.

What was done
-------------
By the authors: CellProfiler features per well, normalised per plate, features selected per plate.
Then: one site-version of the Japanese 20x plate was kept, the features were intersected over the
six set-ups, 22 rows with missing values were dropped, values stored as float32.
For this package: the plate was derived (below). No feature value was changed, and none clipped.

Columns
-------
control       True for the 144 DMSO wells (24 per plate)
compound      90 compounds, "DMSO" for controls
moa           47 mechanisms, "DMSO" for controls; 43 have two compounds, 4 have one
batch         imaging set-up: microscope, objective, channels (6)
plate         physical plate (5 values, see below): the groups of a split by plate
source_plate  plate id exactly as the source writes it (6)
well          position, A01 to P24
cell_line     "U2OS" throughout
n_cells       cells counted in the well, all fields together

Traps
-----
1. Position. Every one of the 384 positions holds the same compound on every plate. What is
   learned about a compound across plates may be its position. Predict a mechanism with whole
   compounds held out; a split by plate or batch is position-confounded.
2. Heavy tails. 2,724 values exceed 10 in magnitude, 106 exceed 50, the largest is 1,188 (features
   named Granularity and Compactness); 33 wells hold a value beyond 100. Nothing is clipped here.
3. Few controls. 144 DMSO wells for 216 features: the control covariance is singular.
4. Normalised per plate by the authors, with all wells of that plate: batch is hardly visible in
   plate means, and no split undoes that step.

Which batches re-image one physical plate
-----------------------------------------
The source names four of the six plates by barcode, with typing errors: BRO0117033_20xb,
BRO01177034_20x, BRO0117056_20x and BRO0117059_20X are read as BR00117033, BR00117034 (one digit
too many in the source), BR00117056 and BR00117059. The Japanese set-ups, 20201020T134356 (40x) and
20201021T092317 (20x), carry the time of acquisition and no barcode.

The ids were checked on the data. Features were standardised per batch by median and MAD and
clipped at 5; a neighbour is the row of another batch with the largest cosine. "Residual" means
after removing the effects of compound, plate row and plate column.

                                         pairs of       BRO0117056_20x    BRO0117059_20X
                                         these six      and _20xb *       and _40x *
neighbour has the same compound          0.15 to 0.30   0.82 and 0.84     0.18 and 0.19
  of these, it is the same well          0.22 to 0.49   0.97 and 0.99     0.35 and 0.43
residual: neighbour is the same well     0.00 to 0.03   0.81 and 0.86     0.01 and 0.01
correlation of residual log cell count   -0.21 to 0.39  0.99              0.18

* Not in this set: pairs of a related selection of the same source (eight set-ups, 167 features)
whose barcodes are equal. The second column is what re-analysing the same fields of one plate
looks like. (Controls are left out of the first two lines; chance is 0.011 for the first line,
0.25 for the second without position effects, 0.003 for the third.)

No pair of the six set-ups here looks like that: none shares fields of view with another. But the
last column shows that one plate imaged with two objectives cannot be recognised from the profiles
either, so the check can confirm a re-image and not rule one out. The four barcodes are therefore
taken as four plates, and the two Japanese set-ups, imaged on two following days and impossible to
tell apart as one plate or two, share the value "YokogawaJP": with that, leaving plates out cannot
leak between them.
"""

PEDIATRIC_CELL_ATLAS = """\
Pediatric Cancer Atlas Cell Painting pilot: 32 cell lines, density and time
============================================================================

2,240 wells x 202 float32 features, no missing value. 32 cell lines on ten 384-well plates.

Source
------
github.com/WayScience/pediatric_cancer_atlas_profiling, commit
c2a042b369a1f614e5dabb7a1d4309f5ad77c133,
3.preprocessing_features/data/bulk_profiles/Round_*/BR*_bulk_feature_selected.parquet;
doi:10.5281/zenodo.15548848. Licence: CC0 1.0 (the repository's own).

What was done
-------------
By the authors: CellProfiler features per well, standardised per plate, features selected per plate.
Then: ten plates were chosen, their features intersected, the spelling of cell lines harmonised,
values stored as float32. For this package: ``layout`` was derived (below). No feature value was
changed.

Columns
-------
control           True for the 237 wells of U2-OS (19 to 40 per plate)
cell_line         32 lines, harmonised spelling (U2-OS included)
cell_line_raw     as the source writes it
plate             barcode of the physical plate (10)
layout            first plate of the group of plates with the same cell line in every well (5)
well              position
round             experimental round (Round_2 to Round_4)
time_h            hours: 24, 48, 72
seeding_density   cells seeded per well: 1000, 2000, 4000, 8000, 12000
condition         plating condition as the source names it (synthemax, synthemax_PFA)

Traps
-----
1. No perturbation. U2-OS is a reference *cell line*, not an untreated state: whitening on it
   removes the variation of U2-OS over density and time.
2. Position. Only five layouts: BR00146999/BR00147000, BR00147261/2/3 and BR00148739/40/41 repeat
   one each. Between plates of one layout a probe of the cell line may read the position; group by
   ``layout``, or call the split position-confounded.
3. 9 of the 32 lines lie on a single plate: with plates held out they cannot be learned, and with
   layouts held out more are lost. Leave them out of a grouped evaluation, and say so.
4. Standardised per plate by the authors: the plate is hardly visible in means, and a plate's mean
   depends on which lines it carries.
"""

CELL_PAINTING_CROPS = """\
Four six-channel Cell Painting crops with nuclei and cells
==========================================================

4 crops x 6 channels x 256 x 256 pixels, uint16 as acquired (Opera Phenix), with label images. All
four lie in one field: plate BR00143976, well C03, site 3 of the Pediatric Cancer Atlas pilot.

Source
------
github.com/WayScience/CytoDataFrame, commit 462accbc18e57441b560cde034667e0c88f4d9b9,
tests/data/cytotable/pediatric_cancer_atlas_profiling. Licence: BSD-3-Clause (the repository's own);
the project that the field comes from, doi:10.5281/zenodo.15548848, is CC0 1.0.

What was done
-------------
The source has outline drawings of the cells, not labels: they were filled, boundary pixels given
to a cell by watershed, and cells that held two nuclei split by watershed. An overlay looked right
to the eye; that is all the checking there was. For this package four crops were cut out of the
field of 1080 x 1080 pixels. No pixel was changed.

Arrays
------
images      (4, 6, 256, 256) pixels
channels    DNA, ER, RNA, AGP (actin, Golgi, plasma membrane), Mito, Brightfield
nuclei      label image; the whole field has 37 nuclei
cells       label image, same number as the nucleus; the whole field has 29 cells
ignore      pixels of nuclei without a cell label
cut         pixels of cells that reach beyond the crop
origin_yx   first row and column of each crop in the field
field       name of the field
plate       barcode
well        position
site        number of the field in the well

Traps
-----
1. One field of one well. Cells of one field share everything, so that no number of cells makes a
   second replicate: nothing about a treatment, a cell line or a plate can be inferred. What the
   well was plated with is not stated in the source.
2. Cells at the border of the field have no label (CellProfiler drops them). Where such a cell has
   a nucleus with a label, the nucleus is in ``ignore``. Its cytoplasm has no label at all and
   looks like background: crops 1 and 3, which touch the upper border, hold some of it.
3. 15 of the 21 pieces of cells in the crops are cut by the border of a crop (``cut``), and three
   cells (8, 9 and 17) lie in part in each of two neighbouring crops, 1 and 3.
4. The mitochondrial channel is saturated at 65,535 in three of the crops.
"""

SCHWANN_FIELDS = """\
Five Cell Painting fields of Schwann cells, NF1 wild type and null
==================================================================

5 fields x 3 channels x 512 x 512 pixels, uint8, with label images: the middle of five fields of
904 x 1224 pixels, one from each of five wells.

Source
------
github.com/WayScience/CytoDataFrame, commit 462accbc18e57441b560cde034667e0c88f4d9b9,
tests/data/cytotable/NF1_cellpainting_data_shrunken. Licence: BSD-3-Clause (the repository's own).
The images come from github.com/WayScience/nf1_schwann_cell_painting_data
(doi:10.5281/zenodo.13345304), whose citation file gives CC BY 4.0 and BSD-3-Clause; cite it.

What was done
-------------
The source stretches 8 bits a pixel to 16 (every value is a multiple of 257); here they are 8 bits
again, without loss. Its masks are binary: nuclei are their connected components, so that touching
nuclei may be one; cells are a watershed from these nuclei inside the mask of all cells. For this
package the middle 512 x 512 pixels of each field were cut out.

Arrays
------
images      (5, 3, 512, 512) pixels
channels    DNA (DAPI), ER (GFP), Actin (RFP)
nuclei      label image
cells       label image, same number as the nucleus
ignore      pixels of nuclei without a cell label: none here
cut         pixels of cells that reach beyond the crop
origin_yx   first row and column of each crop in the field
genotype    wild type or null, see below
field       name of the field
plate       "2", inferred, see below
well        position
site        number of the field in the well

Genotype
--------
The README of the second repository gives the layout of its plate 2: columns 1 and 6 are wild type
(NF1 +/+), columns 7 and 12 null (NF1 -/-), of isogenic cells. So D6 is wild type, and B7, D7, F7
and H12 are null. The images carry no plate: it is inferred from the table beside them in the
source, whose name begins with Plate_2, and from well H12 and rows B and H, which plate 1 does not
use.

Traps
-----
1. One wild-type well against four null wells supports no test of the genotype: any two wells
   differ, and a difference of one well from four others has no replicate behind it.
2. Cells of one field are not independent of each other.
3. 44 of the 67 cells are cut by the border of the crop (``cut``): their shape and size are not
   those of the cell.
"""

PBMC = """\
Blood cells of ten purified populations (single-cell RNA-seq, 10x v1)
=====================================================================

1,500 cells x 2,000 genes, raw UMI counts, 7.3 % of them non-zero, none above 59: 150 cells of each
of ten populations of peripheral blood mononuclear cells that were enriched with beads and sequenced
one by one.

Source
------
github.com/stephenslab/fastTopics, commit 8406f5f4de379e7ff8b43ecfee93cca42a8e7a57,
data/pbmc_facs.RData. Licence: BSD-2-Clause (the repository's own). The counts are public data of
10x Genomics, to our knowledge under CC BY 4.0, which was not verified; cite Zheng et al. 2017,
"Massively parallel digital transcriptional profiling of single cells", Nature Communications 8,
14049, doi:10.1038/ncomms14049.

What was done
-------------
The source holds 3,874 cells x 16,791 genes. 150 cells of each population were drawn, and the 2,000
most dispersed genes kept, chosen without looking at the populations. No count was changed.

Arrays
------
counts      (1500, 2000) UMI counts, CSR
genes       symbols, unique
ensembl     Ensembl identifier of each gene
cells       barcode of each cell
cell_type   population that the cell was purified as (10)
cell_group  B cell, T cell, NK cell, CD14+, CD34+ (5)
split       "train" or "test", as in the source (43 test cells)
n_counts    UMI counts of the cell over all 16,791 genes

Traps
-----
1. Population and library are one thing. Each population was a sample of its own, purified and
   sequenced apart, so that no batch effect can be told from biology here: neither found nor
   removed. Nothing is known of donors; take the cells as one donor's.
2. Depth goes with the population. Median n_counts is 3,974 in CD34+ cells, 790 in CD14+ monocytes
   and 1,187 to 1,542 in the others. A concept of depth looks like one of CD34+ cells.
3. The 2,000 genes hold 13 % of the counts of a cell (4 to 25 %): normalise to n_counts, not to the
   sum of the row. They are also the background of any enrichment; the genome is not.
4. Labels are those of the purification, not of a clustering. The six populations of T cells overlap
   strongly, and a few cells are not what their label says. Equal numbers of cells per population
   are no estimate of their shares in blood.
"""
