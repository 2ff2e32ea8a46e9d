"""Attribution and differential expression on planted drivers and confounders, side by side."""

import pytest

from skdict.datasets import make_driver_genes
from skdict.genes import (
    DirectionConcepts,
    attribute_genes,
    compare_enrichment,
    compare_gene_lists,
    differential_expression,
    find_counterfactuals,
    over_representation,
    select_genes,
    split_counts,
)


@pytest.fixture(scope="module")
def planted():
    """Data, attributions and differential expression of the three concepts."""
    data = make_driver_genes(random_state=0)
    E = data.embed(data.counts)
    model = DirectionConcepts.with_active_share(data.directions, E, share=0.2)
    pairs = find_counterfactuals(
        E, model, [0, 1, 2], depth=data.counts.sum(axis=1), units=data.donor, random_state=0
    )
    attribution = attribute_genes(data.counts, data.embed, model, pairs, genes=data.genes)
    expression = differential_expression(data.counts, model.codes(E), genes=data.genes, auc=True)
    return data, model, attribution, expression


@pytest.mark.parametrize("effect", ["log_fold_change", "mean_difference", "auc"])
def test_drivers_come_first_and_only_expression_is_fooled(planted, effect):
    data, _, attribution, expression = planted
    found = compare_gene_lists(attribution, expression, n_first=15, effect=effect)
    for concept in range(3):
        driver, confounder = data.driver[concept], data.confounder[concept]
        assert found.attribution_rank[concept, driver].max() == driver.sum()
        assert (found.attribution[concept, confounder] == 0).all()
        both = set(found.table(concept, "both").gene)
        assert both == set(data.genes[driver])
        confounders = set(found.table(concept, "expression").gene)
        assert len(confounders & set(data.genes[confounder])) >= 9
    assert (found.summary().expression >= 9).all()


def test_the_same_holds_of_tests_on_split_counts(planted):
    data, model, *_ = planted
    split = split_counts(data.counts, random_state=0)
    E = data.embed(split.calling)
    halved = DirectionConcepts.with_active_share(model.directions, E, share=0.2)
    found = differential_expression(split, halved.codes(E), genes=data.genes, units=data.donor)
    assert (found.design == "paired").all()
    for concept in range(3):
        marks = data.driver[concept] | data.confounder[concept]
        assert (found.q_value[concept, marks] <= 0.05).mean() > 0.8


def test_pathways_of_confounders_are_found_by_expression_alone(planted):
    data, _, attribution, expression = planted
    sets = {}
    for concept in range(3):
        sets[f"drivers {concept}"] = data.genes[data.driver[concept]]
        sets[f"confounders {concept}"] = data.genes[data.confounder[concept]]
    options = {"genes": data.genes, "min_size": 5}
    found = compare_enrichment(
        over_representation(attribution.selected(0.05), sets, **options),
        over_representation(
            select_genes(expression.log_fold_change, n_top=15, order="magnitude"), sets, **options
        ),
    )
    both, alone = found.pairs("both"), found.pairs("expression")
    assert {(c, s) for c, s in zip(both.concept, both.gene_set)} == {
        (concept, f"drivers {concept}") for concept in range(3)
    }
    assert {(c, s) for c, s in zip(alone.concept, alone.gene_set)} == {
        (concept, f"confounders {concept}") for concept in range(3)
    }
    assert found.pairs("attribution").concept.size == 0
