"""Pictures of the page, drawn and saved by the displays of skdict, with their numbers."""

import re

from benchmarks.study_genes.arms import UNTRAINED
from benchmarks.study_genes.embeddings import TITLES
from skdict.display import GeneAttributionDisplay, InterpretableShareDisplay

NULLS = ("random directions", *UNTRAINED.values(), "TopK, permuted genes")
# The embedding whose concepts are shown gene by gene.
SHOWN = "vae"


def draw(found, folder):
    """Draw what there is to show.

    Parameters
    ----------
    found : dict
        As `run.run` returns it.
    folder : Path
        Where the files go.

    Returns
    -------
    list of Path
        The pictures; empty without matplotlib.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        return []
    paths = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        bars = found["sections"]["share"]["bars"]
        if bars:
            figure = Figure(figsize=(10, 4 * len(bars)), layout="constrained")
            axes = figure.subplots(len(bars), 1, squeeze=False)[:, 0]
            for ax, (name, entry) in zip(axes, bars.items()):
                shown = InterpretableShareDisplay(
                    **entry, nulls=NULLS, name=f"blood cells, {TITLES[name]}",
                    settings={"seeds": len(found["settings"]["seeds"])},
                ).plot(ax)  # fmt: skip
                ax.set_title(f"Embedding: {TITLES[name]}", fontsize="medium")
            paths.append(shown.save(folder / "share.svg"))
        for group, concept in concepts_shown(found).items():
            entry = found["shown"][SHOWN]["concepts"][str(concept)]
            shown = GeneAttributionDisplay(
                **entry["columns"], concept=f"{concept}: {group}", name="autoencoder, TopK"
            ).plot()
            paths.append(shown.save(folder / f"{file_name(group)}.svg"))
    return paths


def concepts_shown(found):
    """The concept of each group whose genes are drawn."""
    if SHOWN not in found["groups"]:
        return {}
    return {group: entry["concept"] for group, entry in found["groups"][SHOWN].items()}


def file_name(group):
    """Name of the picture of a group, such as ``genes_b_cell``."""
    return "genes_" + re.sub(r"\W+", "_", group.lower()).strip("_")
