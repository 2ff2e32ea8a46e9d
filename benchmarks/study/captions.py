"""What the paragraphs beside the pictures say of the numbers: data, folds, seeds, training."""

from benchmarks.study.subspace import SHARE

# Steps over which the paper counts dead features.
WINDOW = 1000


def rows_of(found, name):
    """Rows of a data set and their labels."""
    data = found["data"][name]
    return {
        "rows": f"{data['rows']:,}, of which {data['controls']:,} are controls",
        "features": data["features"],
        "labels": f"{data['label']} ({data['labels']})",
    }


def held_out(found, name, *, probed=None):
    """Settings of figures on held-out rows.

    Parameters
    ----------
    found : dict
        As `run.run` returns it.
    name : str
        Data set.
    probed : str, default=None
        What a probe reads, if one does.
    """
    data, settings = found["data"][name], found["settings"]
    said = rows_of(found, name) | {
        "held out": data["holds_out"],
        "folds": data["folds"],
        **training(found, name),
    }
    if probed:
        said["probe"] = (
            f"logistic regression on {probed}, classes weighted alike, "
            f"C of {' '.join(f'{C:g}' for C in settings['strengths'])} by inner folds"
        )
    return said


def training(found, name, *, rows="the training rows"):
    """What dictionaries learn from, and for how long."""
    data, settings = found["data"][name], found["settings"]
    controls = f"the controls of {rows}" if data["controls"] else rows
    spread = {"spread": "standard deviation over seeds"} if len(settings["seeds"]) > 1 else {}
    return {
        "seeds": settings["seeds"],
        **spread,
        "before the dictionary": f"centred (whitening off) or PCA-whitened (on) on {controls}, "
        "then unit length",
        "atoms": data["n_components"],
        "non-zeros": data["n_nonzero"],
        "passes": settings["passes"],
        "rows per step": settings["batch_size"],
        "learning rate": f"0.1 / sqrt({data['features']}), falling linearly to 0",
    }


def sparsity(found, name, *, probed=None):
    """Settings of the sweep over non-zeros: each number has a dictionary of its own."""
    return held_out(found, name, probed=probed) | {"non-zeros": swept(found, name)}


def swept(found, name):
    """Numbers of non-zeros of the sweeps."""
    usual = found["data"][name]["n_nonzero"]
    return [max(1, round(factor * usual)) for factor in found["settings"]["sparsity_factors"]]


def rates(found, name):
    """Settings of the sweep over learning rates."""
    said = held_out(found, name)
    said["default learning rate"] = said.pop("learning rate")
    return said


def dead(found, name):
    """Settings of the long fits on all rows whose dead features are counted."""
    settings, said = found["settings"], training(found, name, rows="all rows")
    steps = settings["dead_steps"]
    del said["passes"]
    return rows_of(found, name) | said | {
        "held out": "nothing",
        "steps": steps,
        "dead": f"active in fewer than 1e-5 of the samples of the last {min(WINDOW, steps)} steps",
    }  # fmt: skip


def selectivity(found, name):
    """Settings of the best scores of labels."""
    said = held_out(found, name)
    said.pop("spread", None)
    return said | {
        "whitening": "on",
        "scores": "means over folds and seeds, of rows that are not controls",
        "held-out values": "of the feature that is best on the training rows of a fold",
    }


def directions(found, name):
    """Settings of the histograms: one fold of the first seed."""
    said = held_out(found, name)
    said.pop("spread", None)
    return said | {
        "seeds": f"the first fold of seed {found['settings']['seeds'][0]}",
        "whitening": "on",
        "labels shown": "those of the most selective features on training rows",
    }


def binarizer(found, name):
    """Settings of the comparison with binarised features: all rows are used for both."""
    settings, usual = found["settings"], found["data"][name]["n_nonzero"]
    return rows_of(found, name) | training(found, name, rows="all rows") | {
        "held out": "nothing",
        "non-zeros": swept(found, name),
        "whitening": "on",
        "panels A and C": f"{usual} active features, seed {settings['seeds'][0]}",
        "panel B": f"means over {len(settings['seeds'])} seeds",
    }  # fmt: skip


def subspaces(found, name):
    """Settings of the parts of a linear map; no dictionary is involved."""
    data, said = found["data"][name], held_out(found, name, probed="each part and the whole")
    kept = ("rows", "features", "labels", "held out", "folds", "seeds", "spread", "probe")
    return {key: said[key] for key in kept if key in said} | {
        "linear map": f"the first {round(SHARE * data['features'])} principal components of all "
        "rows that are not controls",
    }
