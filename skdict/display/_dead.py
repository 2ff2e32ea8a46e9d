"""Dead atoms of several models (Table 1 of the ICFL paper)."""

from __future__ import annotations

import numpy as np

from skdict.display._saving import SavedDisplay, listed, vector
from skdict.display._style import grouped_bars, interval_note, legend_beside, new_axes


class DeadAtomsDisplay(SavedDisplay):
    """Share of dead atoms: a group of bars per model, a bar per condition.

    Table 1 of [1]_ as a figure: dead atoms of ICFL and of the TopK autoencoder, with and without
    whitening. An atom is dead when it is active in fewer rows of the last training steps than a
    fraction of 1e-5, or as the caller has counted.

    Parameters
    ----------
    model : array-like of shape (n_rows,)
        Groups of bars, in order of appearance.
    condition : array-like of shape (n_rows,)
        Bars of a group, for example with and without whitening.
    n_dead : array-like of float, shape (n_rows,)
        Number of dead atoms; a mean over seeds need not be whole.
    n_components : array-like of int, shape (n_rows,), or int
        Number of atoms of each dictionary.
    spread : array-like of float, shape (n_rows,), default=None
        Standard deviation of `n_dead` over seeds, or the like.
    name : str, default=None
        Name of the data, for :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    bars_ : dict of matplotlib BarContainer
        The bars of each condition.

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    The paper's own table:

    >>> from skdict.display import DeadAtomsDisplay
    >>> display = DeadAtomsDisplay(
    ...     ["ICFL", "ICFL", "TopK", "TopK"], ["without PCA", "with PCA"] * 2,
    ...     [55, 341, 7640, 8026], 8192)
    >>> display.source_data()["dead_fraction"].round(3)
    array([0.007, 0.042, 0.933, 0.98 ])
    """

    def __init__(self, model, condition, n_dead, n_components, *, spread=None, name=None,
                 settings=None):  # fmt: skip
        self.model = model
        self.condition = condition
        self.n_dead = n_dead
        self.n_components = n_components
        self.spread = spread
        self.name = name
        self.settings = settings

    def plot(self, ax=None, *, styles=None):
        """Draw the bars, with the number of dead atoms above each.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        styles : dict of dict, default=None
            By condition, options for matplotlib's ``Axes.bar``.

        Returns
        -------
        DeadAtomsDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(ax)
        table = self._columns()
        conditions = table["condition"]
        percent = 100 * table["dead_fraction"]
        spread = 100 * table["spread"] / table["n_components"] if "spread" in table else None
        low, high = (None, None) if spread is None else (percent - spread, percent + spread)
        self.bars_ = grouped_bars(
            ax, table["model"].tolist(), conditions.tolist(), percent, low=low, high=high,
            styles=styles,
        )  # fmt: skip
        for condition, container in self.bars_.items():
            counts = table["n_dead"][conditions == condition]
            tops = (percent if high is None else high)[conditions == condition]
            for bar, count, top in zip(container, counts, tops, strict=True):
                ax.annotate(f"{count:.4g}", (bar.get_x() + bar.get_width() / 2, top), (0, 3),
                            textcoords="offset points", ha="center", fontsize="small")  # fmt: skip
        ax.set_ylabel("Dead atoms in % (numbers: atoms)")
        ax.set_ylim(0.0, 1.1 * max(1.0, np.nanmax(percent if high is None else high)))
        note = interval_note(False, 1.0, spread is not None, spread_as="whiskers")
        legend_beside(ax, note)
        self._drawn_on(ax, next(iter(self.bars_.values()))[0])
        return self

    def _columns(self) -> dict:
        dead = vector("n_dead", self.n_dead)
        if not dead.size:
            raise ValueError("n_dead must hold at least one value, got none")
        total = np.broadcast_to(np.asarray(self.n_components), dead.shape)
        if (dead > total).any():
            raise ValueError("n_dead must not exceed n_components, the number of all atoms")
        columns = {
            "model": vector("model", self.model, dead.size, dtype=str),
            "condition": vector("condition", self.condition, dead.size, dtype=str),
            "n_dead": dead,
            "n_components": total,
            "dead_fraction": dead / total,
        }
        if self.spread is not None:
            columns["spread"] = vector("spread", self.spread, dead.size)
        return columns

    def _description(self) -> str:
        table = self._columns()
        text = (
            "The figure shows the share of atoms that are dead, of "
            f"{listed(dict.fromkeys(table['model'].tolist()))}; conditions: "
            f"{listed(dict.fromkeys(table['condition'].tolist()))}."
        )
        return text if self.spread is None else text + " The whiskers are the number ± its spread."
