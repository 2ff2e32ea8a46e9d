"""Planted data: genes that drive and genes that only go along, and batches that can be removed."""

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.study_genes.arms import DICTIONARIES
from skdict import TopKSAE
from skdict.datasets import make_batches, make_driver_genes
from skdict.genes import (
    DictionaryConcepts,
    DirectionConcepts,
    attribute_genes,
    differential_expression,
    find_counterfactuals,
    over_representation,
    select_genes,
)
from skdict.metrics import selectivity_scores
from skdict.steering import suppress_batch

MODELS = ("linear", "log")
N_CONCEPTS, N_DRIVERS, N_GENES, N_OTHER_SETS = 4, 10, 400, 12


def drivers(model, seed, settings):
    """Drivers and confounders among the first genes, by attribution and by expression.

    Parameters
    ----------
    model : {"linear", "log"}
        Of `make_driver_genes`.
    seed : int
        Draws the data.
    settings : Settings
        Sizes.
    """
    data = make_driver_genes(
        settings.n_planted_cells, N_GENES, N_CONCEPTS, n_drivers=N_DRIVERS,
        n_confounders=N_DRIVERS, model=model, random_state=seed,
    )  # fmt: skip
    E = data.embed(data.counts)
    true = DirectionConcepts.with_active_share(data.directions, E, share=0.2, mean=E.mean(axis=0))
    sae = TopKSAE(16, n_nonzero_coefs=2, max_steps=settings.max_steps, random_state=seed)
    learned = DictionaryConcepts(make_pipeline(StandardScaler(with_std=False), sae).fit(E))
    return {
        "true directions": judge(data, E, true, np.arange(N_CONCEPTS), seed, settings),
        "TopK": judge(data, E, learned, of_states(learned, E, data), seed, settings),
    }


def of_states(model, E, data):
    """The most selective concept of each state; two states may share one."""
    codes = model.codes(E)
    scores = [selectivity_scores(codes, state, active="positive", labels=[True])[0]
              for state in data.state.T]  # fmt: skip
    return np.argmax(scores, axis=1)


def judge(data, E, model, concepts, seed, settings):
    """Shares of drivers and confounders, and planted sets found, mean over the concepts."""
    chosen, place = np.unique(concepts, return_inverse=True)
    pairs = find_counterfactuals(
        E, model, chosen, n_prototypes=settings.n_prototypes, depth=data.counts.sum(axis=1),
        units=data.donor, random_state=seed,
    )  # fmt: skip
    found = attribute_genes(data.counts, data.embed, model, pairs, genes=data.genes)
    expression = differential_expression(data.counts, model.codes(E), genes=data.genes,
                                         concepts=chosen)  # fmt: skip
    lists = {"attribution": np.array(found.attribution)[place],
             "expression": np.array(expression.log_fold_change, dtype=float)[place]}  # fmt: skip
    result = {"confounders_attributed": float(np.nanmax(np.abs(
        lists["attribution"] * data.confounder)))}  # fmt: skip
    for name, scores in lists.items():
        first = select_genes(scores, n_top=N_DRIVERS).toarray()
        result[name] = {
            "drivers": float((first & data.driver).sum() / data.driver.sum()),
            "confounders": float((first & data.confounder).sum() / data.confounder.sum()),
            **sets_found(scores, data, settings),
        }
    return result


def planted_sets(data):
    """Sets of drivers and confounders of each concept, and of genes that vary with nothing."""
    sets = {}
    for role in ("driver", "confounder"):
        sets |= {f"{role} {k}": data.genes[mask] for k, mask in enumerate(data[role])}
    rest = data.genes[np.char.startswith(data.genes, "ignored")]
    starts = range(0, N_OTHER_SETS * N_DRIVERS, N_DRIVERS)
    return sets | {f"other {i}": rest[i : i + N_DRIVERS] for i in starts}


def sets_found(scores, data, settings):
    """Share of the concepts whose own set of drivers, or of confounders, is enriched."""
    selected = select_genes(scores, n_top=2 * N_DRIVERS)
    found = over_representation(selected, planted_sets(data), genes=data.genes, min_size=5)
    concept, gene_set = found.significant(settings.level)
    names = {(k, str(found.gene_sets[s])) for k, s in zip(concept.tolist(), gene_set.tolist())}
    return {f"{role}_sets": float(np.mean([(k, f"{role} {k}") in names for k in range(N_CONCEPTS)]))
            for role in ("driver", "confounder")}  # fmt: skip


def batches(kind, seed, settings):
    """Suppress the concepts of planted batches, beside random ones of equal usage."""
    data = make_batches(settings.n_batch_cells, random_state=seed)
    dictionary = DICTIONARIES[kind](64, n_nonzero_coefs=6, max_steps=settings.max_steps,
                                    random_state=seed)  # fmt: skip
    found = suppress_batch(
        make_pipeline(StandardScaler(with_std=False), dictionary).fit(data.data), data.data,
        batch=data.batch, labels=data.cell_type, units=data.unit,
        n_concepts=[settings.n_suppressed], n_random=5, cv=3, random_state=seed,
    ).table()  # fmt: skip
    measures = ("batch_mixing", "label_purity", "neighbors_kept", "batch_accuracy",
                "label_accuracy")  # fmt: skip
    return {kind: {name: found[name][row] for name in measures}
            for row, kind in enumerate(found.kind)}  # fmt: skip
