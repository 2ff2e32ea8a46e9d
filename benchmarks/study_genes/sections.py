"""The sections of the page in order, and the rules by which their claims are judged."""

from benchmarks.study_genes import concept_sections, gene_sections

RULES = (
    "**Seeds.** One figure is *higher* than another if it is in every seed, and on average by more "
    "than twice the larger of the two standard deviations over seeds. This is no significance "
    "test: seeds share cells, and all cells are one study's.",
    "**Shares** of supported concepts are *higher* than those of a rival if the 95% interval "
    "(Welch) of the difference of the mean shares over seeds lies above zero. Wilson's interval, "
    "which takes all concepts as independent, is narrower and is shown beside.",
    "**Alike** are two probes if in every seed the 95% interval of their paired difference, over "
    "resampled held-out cells, lies within ±0.2 times the accuracy of the embedding.",
    "**Verdict.** A claim holds if it is true of both dictionaries on both embeddings (or on all "
    "that stand in its line), does not hold if it is false of one, and cannot be tested here where "
    "nothing here can answer.",
)
SECTIONS = {
    "share": ("Concepts against what was not learned", gene_sections.share),
    "types": ("Concepts of cell types, and their genes", gene_sections.types),
    "drivers": ("Planted drivers and confounders", concept_sections.drivers),
    "lists": ("Attribution beside differential expression", gene_sections.lists),
    "stability": ("Stability", concept_sections.stability),
    "preservation": ("What codes keep", concept_sections.preservation),
    "batches": ("Planted batches", concept_sections.batches),
    "checks": ("Completeness, confirmation, cost", concept_sections.checks),
}
