"""Figure 3's work: cosines of a feature's direction with held-out rows of its label and others."""

import numpy as np

from benchmarks.study.methods import embeddings, fit
from skdict.metrics import direction_separation, held_out_selectivity

N_SHOWN = 4
N_BINS = 40


def separate(data, configuration, seed, settings):
    """Separate held-out rows by the direction of each label's feature, chosen on training rows.

    The labels whose histograms are kept are those with the most selective features on the training
    rows of the first fold.
    """
    X = embeddings(data, configuration)
    labels = np.unique(data.y[data.probed])
    auc = np.full((0, labels.size), np.nan)
    effect = auc.copy()
    shown = []
    for train, test in data.folds(settings.folds, seed):
        pipeline = fit(configuration, data, X, train, settings, seed)
        train = train[~data.control[train]]
        codes = pipeline.transform(X[train])
        held = held_out_selectivity(codes, data.y[train], pipeline.transform(X[test]), data.y[test])
        # A feature counts as active with either sign; its direction points to where the training
        # rows of its label have it.
        mean = [
            codes[data.y[train] == label][:, [feature]].sum()
            for label, feature in zip(held.labels, held.feature)
        ]
        signs = np.where(np.array(mean) < 0, -1.0, 1.0)
        found = direction_separation(
            pipeline[:-1].transform(X[test]),
            signs[:, None] * pipeline[-1].components_[held.feature],
            data.y[test],
            labels=held.labels,
            n_bins=N_BINS,
        )
        for name, values in (("auc", found.auc), ("effect", found.effect_size)):
            row = np.full((1, labels.size), np.nan)
            row[0, np.searchsorted(labels, held.labels)] = values
            if name == "auc":
                auc = np.concatenate([auc, row])
            else:
                effect = np.concatenate([effect, row])
        if not shown:
            shown = [
                {
                    "label": str(held.labels[k]),
                    "feature": int(held.feature[k]),
                    "auc": found.auc[k],
                    "edges": found.edges,
                    "counts_label": found.counts_label[k],
                    "counts_other": found.counts_other[k],
                }
                for k in np.argsort(-held.train_score, kind="stable")[:N_SHOWN]
            ]
    # The folds of a label weigh alike; a label that no fold could test does not count.
    tested = ~np.isnan(auc).all(axis=0)
    return {
        "labels": labels[tested],
        "auc": np.nanmean(auc[:, tested], axis=0),
        "effect_size": np.nanmean(effect[:, tested], axis=0),
        "shown": shown,
    }
