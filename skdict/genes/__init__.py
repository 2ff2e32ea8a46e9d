"""Concepts of single-cell models: the genes that drive them, and what these stand for."""

from skdict.genes._attribution import attribute_genes
from skdict.genes._attribution_result import GeneAttribution
from skdict.genes._baseline_concepts import baseline_concepts
from skdict.genes._compare_enrichment import EnrichmentComparison, compare_enrichment
from skdict.genes._compare_genes import GeneListComparison, compare_gene_lists
from skdict.genes._concepts import DictionaryConcepts, DirectionConcepts
from skdict.genes._count_split import CountSplit, split_counts
from skdict.genes._counterfactuals import Counterfactuals
from skdict.genes._differential_expression import DifferentialExpression, differential_expression
from skdict.genes._gene_sets import filter_gene_sets
from skdict.genes._gmt import read_gmt, write_gmt
from skdict.genes._gradient import GradientAttribution, gradient_attribution, rank_agreement
from skdict.genes._null_pairs import NullCounterfactuals, null_counterfactuals
from skdict.genes._over_representation import over_representation
from skdict.genes._over_representation_result import OverRepresentation
from skdict.genes._pairs import find_counterfactuals
from skdict.genes._prerank import prerank
from skdict.genes._prerank_result import PrerankedEnrichment
from skdict.genes._quality import InterpretableShare, interpretable_share
from skdict.genes._selected_genes import select_genes

__all__ = [
    "CountSplit",
    "Counterfactuals",
    "DictionaryConcepts",
    "DifferentialExpression",
    "DirectionConcepts",
    "EnrichmentComparison",
    "GeneAttribution",
    "GeneListComparison",
    "GradientAttribution",
    "InterpretableShare",
    "NullCounterfactuals",
    "OverRepresentation",
    "PrerankedEnrichment",
    "attribute_genes",
    "baseline_concepts",
    "compare_enrichment",
    "compare_gene_lists",
    "differential_expression",
    "filter_gene_sets",
    "find_counterfactuals",
    "gradient_attribution",
    "interpretable_share",
    "null_counterfactuals",
    "over_representation",
    "prerank",
    "rank_agreement",
    "read_gmt",
    "select_genes",
    "split_counts",
    "write_gmt",
]
