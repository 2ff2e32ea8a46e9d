"""How often the atoms are used (behind Table 1 of the ICFL paper)."""

from __future__ import annotations

import numpy as np

from skdict.display._pipelines import split_pipeline
from skdict.display._saving import SavedDisplay, vector
from skdict.display._style import CURVE, legend, new_axes, next_style
from skdict.metrics import activation_frequency


class AtomUsageDisplay(SavedDisplay):
    """Histogram of how often the atoms are active, with the number of dead ones.

    The share of rows in which an atom is active spans orders of magnitude, so the histogram is
    over its log10. Atoms that are active in less than `min_fraction` of the rows count as dead
    (Table 1 of [1]_ uses 1e-5 over a window of training steps); they are counted in the legend,
    since log10(0) has no place on the axis.

    Parameters
    ----------
    frequency : array-like of float, shape (n_components,)
        Share of rows in which each atom is active, between 0 and 1.
    n_samples : int
        Number of rows behind `frequency`; 1 / n_samples is the smallest share above zero.
    min_fraction : float, default=1e-5
        Atoms active in less than this share of the rows are dead.
    name : str, default=None
        Name of the model, for the legend.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    n_dead : int
        Number of dead atoms.
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    bars_ : list of matplotlib patches
        The outline of the histogram.

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.display import AtomUsageDisplay
    >>> display = AtomUsageDisplay.from_codes(np.array([[1.0, 0, 0], [2.0, -3, 0]]), plot=False)
    >>> display.frequency
    array([1. , 0.5, 0. ])
    >>> display.n_dead
    1
    """

    def __init__(self, frequency, *, n_samples, min_fraction=1e-5, name=None, settings=None):
        self.frequency = frequency
        self.n_samples = n_samples
        self.min_fraction = min_fraction
        self.name = name
        self.settings = settings

    @property
    def n_dead(self) -> int:
        """Number of atoms active in less than `min_fraction` of the rows."""
        return int(np.count_nonzero(~self._alive()))

    def _alive(self) -> np.ndarray:
        frequency = np.asarray(self.frequency)
        return (frequency > 0) & (frequency >= self.min_fraction)

    @classmethod
    def from_estimator(
        cls, estimator, X, *, min_fraction=1e-5, name=None, ax=None, plot=True, **kwargs
    ):
        """Count how often each component of a fitted transformer is active on `X`.

        Parameters
        ----------
        estimator : fitted transformer or Pipeline of transformers
            What turns `X` into codes.
        X : array-like of shape (n_samples, n_features)
            Rows to code.
        min_fraction : float, default=1e-5
            Atoms active in less than this share of the rows are dead.
        name : str, default=None
            Name in the legend; ``None`` takes the class name of the last step.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.
        **kwargs : dict
            Given to matplotlib's ``Axes.hist``.

        Returns
        -------
        AtomUsageDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        name = type(split_pipeline(estimator)[1]).__name__ if name is None else name
        return cls.from_codes(
            estimator.transform(X), min_fraction=min_fraction, name=name, ax=ax, plot=plot,
            **kwargs,
        )  # fmt: skip

    @classmethod
    def from_codes(cls, codes, *, min_fraction=1e-5, name=None, ax=None, plot=True, **kwargs):
        """Count how often each column of `codes` is non-zero.

        Parameters
        ----------
        codes : {array-like, CSR} of shape (n_samples, n_components)
            The codes; "active" means non-zero.
        min_fraction, name, ax, plot, **kwargs
            As in :meth:`from_estimator`.

        Returns
        -------
        AtomUsageDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        display = cls(
            activation_frequency(codes),
            n_samples=codes.shape[0] if hasattr(codes, "shape") else len(codes),
            min_fraction=min_fraction,
            name=name,
        )
        return display.plot(ax=ax, **kwargs) if plot else display

    def plot(self, ax=None, *, name=None, bins=20, **kwargs):
        """Draw the histogram of the atoms that are alive.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        name : str, default=None
            Name in the legend; ``None`` takes the display's own.
        bins : int, default=20
            Bins between one row in `n_samples` and every row: the same for every model that
            was counted on the same rows, so that outlines can be compared.
        **kwargs : dict
            Given to ``Axes.hist``.

        Returns
        -------
        AtomUsageDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        ax = new_axes(ax)
        frequency = np.asarray(self.frequency, dtype=float)
        alive = self._alive()
        label = f"{self.n_dead} dead of {frequency.size}"
        name = self.name if name is None else name
        color, _ = next_style(ax)
        style = {"histtype": "step", "linewidth": 1.6, "color": color,
                 "label": label if name is None else f"{name} ({label})"}  # fmt: skip
        # Half a count below the smallest share, so that an atom seen once is inside the axis.
        edges = np.linspace(np.log10(0.5 / self.n_samples), 0.0, bins + 1)
        _, _, bars = ax.hist(np.log10(frequency[alive]), bins=edges, **{**style, **kwargs})
        self.bars_ = list(bars)
        if self.bars_:
            self.bars_[0].set_gid(CURVE)
        ax.set(xlabel="Share of rows in which an atom is active (log10)", ylabel="Atoms")
        legend(ax)
        self._drawn_on(ax, self.bars_[0] if self.bars_ else ax.patch)
        return self

    def _columns(self) -> dict:
        frequency = vector("frequency", self.frequency)
        return {"atom": np.arange(frequency.size), "frequency": frequency, "dead": ~self._alive()}

    def _description(self) -> str:
        size = len(self.frequency)
        return (
            f"The figure shows for {size} atoms the share of {self.n_samples} rows in which each "
            f"is active, as a histogram over log10 of the share; {self.n_dead} atoms, active in "
            f"less than {self.min_fraction:.3g} of the rows, count as dead and are not in the "
            "histogram."
        )
