"""Where each set comes from, and the digests of what it must hold in the end.

The digests were taken from the folder of the study by ``python -m benchmarks.fetch_data --digest``.
A set whose conversion cannot be repeated exactly is in `NOT_COVERED` with the reason.
"""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.fetch import convert


@dataclass(frozen=True)
class Source:
    """A file of a public repository on GitHub, and its name among the downloads of the set."""

    name: str
    repository: str
    commit: str
    path: str


@dataclass(frozen=True)
class DataSet:
    """Sources of a set, the function that converts them, and the digest of every file."""

    name: str
    title: str
    licence: str
    sources: tuple[Source, ...]
    converter: Callable
    digests: dict[str, str]


def sources(repository, commit, paths):
    """Sources of one repository and commit from a dictionary of paths by name."""
    return tuple(Source(name, repository, commit, path) for name, path in paths.items())


# By batch and plate; the path of the first plate is inferred from that of the rerun.
CMQTL = "2.profile-cell-lines-new/profiles/{0}/{1}/{1}_normalized_feature_select_batch.csv.gz"
FIBROBLAST_PLATES = ("240926150001", "240927060001", "240927120001", "240928120001")
CYTOSUMMARYNET_PLATES = ("BR00112197binned", "BR00112199", "BR00112203", "BR00113818")
NEW_FIELDS = "tests/test_data/DeepProfiler_example_data/SQ00014812_and_SQ00014813/"
NEW_FIELDS += "outputs/results/features/SQ00014812/"
OLD_FIELDS = "pycytominer/tests/test_data/DeepProfiler_example_data{}/outputs/results/features/"
OLD_FIELDS += "SQ00014813/"
EFAAR = "efaar_benchmarking/benchmark_annotations/"

SETS = (
    DataSet(
        "cmqtl_crispri_wells",
        "cmQTL CRISPRi plates: 768 wells, 5 genes and controls",
        "BSD-3-Clause",
        sources(
            "broadinstitute/cmQTL",
            "e28385d525f15dc84b3bd97842a61bec35cc7cd9",
            {
                "Batch8.csv.gz": CMQTL.format("2022_09_07_Batch8", "cmQTL_CRISPRi_plate1"),
                "Batch8Rerun.csv.gz": CMQTL.format("2022_09_22_Batch8Rerun", "MT_rerun_20220919"),
            },
        ),
        convert.cmqtl,
        {
            "wells.parquet": "1681b00509f2827f556a3be99ab90469fc73c3258ebee580b0634e343263fb33",
            "batch8_all_features.parquet": (
                "da5ab8418c439d84b2cbc73448a86bcc1c46bca86dd2cbfa7bce109d7fc9cc94"
            ),
            "batch8rerun_all_features.parquet": (
                "286eaab2ab42d4d6a3a678ec7e644b72260297277eb7abdc1ab845b81d4f7560"
            ),
        },
    ),
    DataSet(
        "cytosummarynet_deep_profiles",
        "CytoSummaryNet embeddings: 1,440 wells, 90 compounds, 4 plates",
        "BSD-3-Clause",
        sources(
            "carpenter-singh-lab/2024_vanDijk_PLoS_CytoSummaryNet",
            "c3ba660a0946efec54f37884c5af801e77aaa561",
            {
                f"{plate}.csv": f"outputs/MLP_profiles_{plate}.csv"
                for plate in CYTOSUMMARYNET_PLATES
            },
        ),
        convert.cytosummarynet,
        {"wells.parquet": "ba46671ec6078fe6406e1136a08390445f0629aa1b05e3ec7009df25e6987d1b"},
    ),
    DataSet(
        "cardiac_fibroblast_single_cells",
        "Cardiac fibroblasts: 1,992 cells of a healthy and a failing heart",
        "CC0-1.0",
        sources(
            "WayScience/targeted_fibrosis_drug_screen",
            "6211fbecfa001fc4f15a24bf30167518606c91c1",
            {
                f"{plate}.parquet": f"3a.train_individual_models/data/localhost{plate}_test.parquet"
                for plate in FIBROBLAST_PLATES
            },
        ),
        convert.cardiac,
        {"cells.parquet": "a1ada2dd74eb6f7a54950b101bc61da86e4cc1fff9210085ca6c906604f4ad99"},
    ),
    DataSet(
        "deepprofiler_single_cells",
        "DeepProfiler embeddings: 790 control cells, 6,400 features",
        "BSD-3-Clause",
        # The example data of pycytominer were replaced over time: a commit for each of them.
        sources(
            "cytomining/pycytominer",
            "f61eb3d317a7dc326c98ec2a30671be013f2b729",
            {
                "SQ00014812_A01_8.npz": f"{NEW_FIELDS}A01_8.npz",
                "SQ00014812_A01_5.npz": f"{NEW_FIELDS}A01_5.npz",
            },
        )
        + sources(
            "cytomining/pycytominer",
            "c8b98b1788bb8808ca67474835a35afc024cf9b7",
            {"SQ00014813_A01_6.npz": f"{OLD_FIELDS.format('_2')}A01_6.npz"},
        )
        + sources(
            "cytomining/pycytominer",
            "200e0b19a94bfc6db364dbd1e732be04a027a16a",
            {"SQ00014813_A01_8.npz": f"{OLD_FIELDS.format('')}A01_8.npz"},
        )
        + sources(
            "cytomining/pycytominer",
            "c8b98b1788bb8808ca67474835a35afc024cf9b7",
            {"SQ00014813_A05_6.npz": f"{OLD_FIELDS.format('_2')}A05_6.npz"},
        ),
        convert.deepprofiler,
        {
            "features.npz": "50a5a93f2120739c51110b55f23b7a76eb5571e71a2788e1029605d5514ae302",
            "meta.parquet": "de2f6e58c909e153bd9379d764fbbafd102ff51a263098deab3f44519667a7e5",
        },
    ),
    DataSet(
        "genesets",
        "Gene sets (Hallmark, GO, Reactome) and pairs of genes (Reactome, HuMAP, StringDB)",
        "CC-BY-4.0, CC0-1.0",
        sources(
            "zqfang/GSEApy",
            "08cb2b689def365f7dee1f5da50c49d3a149cf5a",
            {
                "hallmark_v7.0.symbols.gmt": "tests/extdata/h.all.v7.0.symbols.gmt",
                "GO_Biological_Process_2021.gmt": (
                    "tests/extdata/enrichr.GO_Biological_Process_2021.gmt"
                ),
            },
        )
        + sources(
            "zqfang/GSEApy",
            "b012aee2a942a36b6a5533876c91fcb096bceb76",
            {"Reactome_2016.txt": "data/Reactome_2016.txt"},
        )
        + sources(
            "recursionpharma/EFAAR_benchmarking",
            "2248f400630abfb711bb442be7e29a34c70d4720",
            {
                "pairs_Reactome.csv": f"{EFAAR}Reactome.txt",
                "pairs_HuMAP.csv": f"{EFAAR}HuMAP.txt",
                "pairs_StringDB.csv": f"{EFAAR}StringDB.txt",
                "EFAAR_annotations_LICENSE.txt": f"{EFAAR}LICENSE",
            },
        ),
        convert.genesets,
        {
            "hallmark_v7.0.symbols.gmt": (
                "4803c09aae50bbd96d53fc681bd5545a4c89278993c15145dd7b7c994f893516"
            ),
            "GO_Biological_Process_2021.gmt.gz": (
                "5987ce789053fdd5533393cd65b9abdb5e08e4fade7b0625a1fe234a1207eea4"
            ),
            "Reactome_2016.gmt": (
                "5b667956224aae0e65062f8b7596a873a41cf4dcc6404ddae4a2a2c5837457ae"
            ),
            "pairs_Reactome.csv.gz": (
                "ed3cd0fc32d2fe3510f167e9df39668bc9637348d78787615d3f970b2b862e70"
            ),
            "pairs_HuMAP.csv.gz": (
                "6d08074df77f1a7274e754bc6e5e29aa438004bec0a13cbfb934c2c81328f3c4"
            ),
            "pairs_StringDB.csv.gz": (
                "7955c846a551530c07b1eb508404cf15ef0b77ea39ad2368ed40c5c099dedb8c"
            ),
            "EFAAR_annotations_LICENSE.txt": (
                "1bf6881972e84546677534643476aa571efbc63ed3947849711b418f113d8afc"
            ),
        },
    ),
)
BY_NAME = {data_set.name: data_set for data_set in SETS}

NOT_COVERED = {
    "jump_scope_wells": (
        "which folder of BharathiVeerasankar/Exploring-High-dimensional-Cell-painting-data is "
        "which batch is not recorded; wells_core6batches comes with skdict (load_jump_scope)"
    ),
    "pediatric_cell_atlas_wells": (
        "the table of harmonised cell line names and plating conditions is not recorded; "
        "wells_core10plates comes with skdict (load_pediatric_cell_atlas)"
    ),
    "images_nf1_schwann": (
        "the parameters of the watershed that made the masks are not recorded (images: "
        "WayScience/CytoDataFrame)"
    ),
    "images_pediatric_6channel": (
        "the parameters of the watershed that made the masks are not recorded (images: "
        "WayScience/CytoDataFrame)"
    ),
    "pbmc_facs_scrna": (
        "data/pbmc_facs.RData of stephenslab/fastTopics needs a reader of R files, and how genes "
        "of the small version were ranked is not recorded"
    ),
    "pbmc68k_reduced_scrna": (
        "part of the package scanpy: scanpy.datasets.pbmc68k_reduced() reads it"
    ),
}
