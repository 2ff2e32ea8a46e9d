"""Plots of codes and dictionaries, in scikit-learn's ``*Display`` convention.

A display stores numbers; `plot` draws them. The class methods (``from_estimator``,
``from_codes``, ``from_reconstructions``) compute the numbers first. Several curves come on one
axes by handing on the axes of the first: ``SelectivityDisplay(...).plot(ax=first.ax_)``.
Matplotlib is imported when something is drawn (extra ``plot``); nothing global is changed and
nothing is shown: that is the caller's decision.
"""

from __future__ import annotations

import copy

import numpy as np
from sklearn.pipeline import Pipeline

from skdict._validation import check_same_length, import_optional
from skdict.metrics import (
    activation_frequency,
    best_features,
    held_out_selectivity,
    reconstruction_cosine,
    selectivity_null,
)
from skdict.metrics._scorers import drop_passthrough

__all__ = ["AtomUsageDisplay", "SelectivityDisplay", "SparsityReconstructionDisplay"]

# Okabe and Ito's colours, without the yellow that vanishes on white. They stay apart under the
# common colour-vision deficiencies; the markers repeat the distinction without any colour.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_CURVE = "skdict-curve"


def _axes(ax):
    """Return `ax`, or fresh axes on a new figure."""
    pyplot = import_optional("matplotlib.pyplot", extra="plot")
    return pyplot.subplots()[1] if ax is None else ax


def _next_style(ax) -> tuple[str, str]:
    """Return colour and marker for the next curve of these axes."""
    drawn = sum(artist.get_gid() == _CURVE for artist in (*ax.lines, *ax.patches))
    return _COLORS[drawn % len(_COLORS)], _MARKERS[drawn % len(_MARKERS)]


def _legend(ax) -> None:
    """Draw or refresh the legend if any artist has a label."""
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False, fontsize="small")


def _split(estimator):
    """Return (steps before the dictionary or None, dictionary) of an estimator or pipeline."""
    if isinstance(estimator, Pipeline):
        estimator = drop_passthrough(estimator)
    if not isinstance(estimator, Pipeline) or not len(estimator):
        return None, estimator
    return (estimator[:-1] if len(estimator) > 1 else None), estimator[-1]


class SelectivityDisplay:
    """Best selectivity of every label, sorted in descending order.

    One curve is the largest average selectivity of each label over all components, sorted by
    itself (Fig. 8 of [1]_). A maximum over many components is optimistic, so the display can
    draw beside it the held-out value of the same choice of component, and what the maximum
    reaches when the labels are permuted.

    Parameters
    ----------
    best_selectivity : array-like of float, shape (n_labels,)
        Largest selectivity of each label over the components; between -1 and 1.
    labels : array-like of shape (n_labels,), default=None
        The labels, in the order of `best_selectivity`.
    held_out : array-like of float, shape (n_labels,), default=None
        Selectivity on held-out rows of the component that was best on the training rows; NaN
        for a label without held-out rows, which makes its curve shorter.
    null : array-like of float, shape (n_labels,), default=None
        Expected maximum over the components when labels are permuted.
    kind : {"average", "maximum"}, default="average"
        Which selectivity the numbers are, for the axis.
    name : str, default=None
        Name of the model, for the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    line_ : matplotlib Line2D
        The curve of the best selectivity.
    held_out_line_ : matplotlib Line2D or None
        The curve of the held-out values.
    null_line_ : matplotlib Line2D or None
        The curve of the permutation null.

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.display import SelectivityDisplay
    >>> codes = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.5, 1.0]])
    >>> display = SelectivityDisplay.from_codes(codes, ["a", "a", "b", "b"], plot=False)
    >>> display.best_selectivity
    array([0.5, 1. ])
    """

    def __init__(self, best_selectivity, *, labels=None, held_out=None, null=None, kind="average",
                 name=None):  # fmt: skip
        self.best_selectivity = best_selectivity
        self.labels = labels
        self.held_out = held_out
        self.null = null
        self.kind = kind
        self.name = name

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, X_test=None, y_test=None, labels=None, kind="average",
        n_permutations=0, strata=None, random_state=None, name=None, ax=None, plot=True,
        **kwargs,
    ):  # fmt: skip
        """Compute the curve from a fitted transformer and draw it.

        Parameters
        ----------
        estimator : fitted transformer or Pipeline of transformers
            What turns `X` into codes.
        X : array-like of shape (n_samples, n_features)
            Rows on which each label's best component is chosen.
        y : array-like of shape (n_samples,)
            Label of each row.
        X_test : array-like of shape (n_test, n_features), default=None
            Held-out rows. ``None`` draws no held-out curve.
        y_test : array-like of shape (n_test,), default=None
            Their labels.
        labels : array-like, default=None
            The labels to show (for example without the controls); ``None`` shows all.
        kind : {"average", "maximum"}, default="average"
            Selectivity against all other rows, or against the strongest other label.
        n_permutations : int, default=0
            Label permutations behind the null curve; 0 draws none.
        strata : array-like of shape (n_samples,), default=None
            Permute labels within these groups only, for example plates.
        random_state : int, RandomState instance or None, default=None
            Randomness of the permutations.
        name : str, default=None
            Name in the legend; ``None`` takes the class name of the last step.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.
        **kwargs : dict
            Given to matplotlib's ``Axes.plot`` for the curve.

        Returns
        -------
        SelectivityDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        return cls.from_codes(
            estimator.transform(X),
            y,
            codes_test=None if X_test is None else estimator.transform(X_test),
            y_test=y_test,
            labels=labels,
            kind=kind,
            n_permutations=n_permutations,
            strata=strata,
            random_state=random_state,
            name=type(_split(estimator)[1]).__name__ if name is None else name,
            ax=ax,
            plot=plot,
            **kwargs,
        )

    @classmethod
    def from_codes(
        cls, codes, y, *, codes_test=None, y_test=None, labels=None, kind="average",
        n_permutations=0, strata=None, random_state=None, name=None, ax=None, plot=True,
        **kwargs,
    ):  # fmt: skip
        """Compute the curve from codes and draw it.

        Parameters
        ----------
        codes : {array-like, CSR} of shape (n_samples, n_components)
            Rows on which each label's best component is chosen.
        y : array-like of shape (n_samples,)
            Label of each row.
        codes_test : {array-like, CSR} of shape (n_test, n_components), default=None
            Codes of held-out rows. ``None`` draws no held-out curve.
        y_test : array-like of shape (n_test,), default=None
            Their labels; a label that is not among them has no held-out value (NaN).
        labels, kind, n_permutations, strata, random_state, name, ax, plot, **kwargs
            As in :meth:`from_estimator`.

        Returns
        -------
        SelectivityDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        if (codes_test is None) != (y_test is None):
            raise ValueError(
                "held-out rows need both their codes and their labels y_test; "
                f"got {'labels' if codes_test is None else 'codes'} alone"
            )
        best = best_features(codes, y, kind=kind, labels=labels)
        held_out = null = None
        if codes_test is not None:
            held_out = _held_out_scores(codes, y, codes_test, y_test, kind, best.labels)
        if n_permutations:
            null = selectivity_null(
                codes, y, strata=strata, n_permutations=n_permutations, kind=kind,
                labels=labels, random_state=random_state,
            ).expected_maximum  # fmt: skip
        display = cls(
            best.score, labels=best.labels, held_out=held_out, null=null, kind=kind, name=name
        )
        return display.plot(ax=ax, **kwargs) if plot else display

    def plot(self, ax=None, *, name=None, held_out_kwargs=None, null_kwargs=None, **kwargs):
        """Draw the sorted curve, and the held-out and null curves where there are any.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        name : str, default=None
            Name in the legend; ``None`` takes the display's own.
        held_out_kwargs, null_kwargs : dict, default=None
            Given to ``Axes.plot`` for the held-out and for the null curve.
        **kwargs : dict
            Given to ``Axes.plot`` for the curve.

        Returns
        -------
        SelectivityDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        ax = _axes(ax)
        color, marker = _next_style(ax)
        name = self.name if name is None else name
        style = {"color": color, "marker": marker, "markersize": 3.5, "linewidth": 1.6}
        self.line_ = self._curve(ax, self.best_selectivity, {**style, "label": name, **kwargs})
        self.line_.set_gid(_CURVE)
        color = self.line_.get_color()
        self.held_out_line_ = self._curve(
            ax, self.held_out,
            {"color": color, "linestyle": "--", "linewidth": 1.3, "label": _join(name, "held out"),
             **(held_out_kwargs or {})},
        )  # fmt: skip
        self.null_line_ = self._curve(
            ax, self.null,
            {"color": color, "linestyle": ":", "linewidth": 1.3,
             "label": _join(name, "labels permuted"), **(null_kwargs or {})},
        )  # fmt: skip
        ax.axhline(0.0, color="0.6", linewidth=0.6, zorder=0)
        ax.set(
            xlabel="Labels, sorted by each curve's own values",
            ylabel=f"Best {self.kind} selectivity per label",
        )
        _legend(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @staticmethod
    def _curve(ax, values, style):
        """Draw `values` in descending order; nothing for None."""
        if values is None:
            return None
        ordered = -np.sort(-np.asarray(values, dtype=float))  # NaN comes last
        (line,) = ax.plot(np.arange(1, ordered.size + 1), ordered, **style)
        return line


def _held_out_scores(codes, y, codes_test, y_test, kind, labels) -> np.ndarray:
    """Held-out selectivity of each label; NaN for those that `y_test` does not hold."""
    present = set(np.asarray(y_test).tolist())
    held = np.array([label in present for label in labels.tolist()])
    if not held.any():
        raise ValueError("y_test must hold at least one of the labels to show, got none of them")
    scores = np.full(labels.shape[0], np.nan)
    scores[held] = held_out_selectivity(
        codes, y, codes_test, y_test, kind=kind, labels=labels[held]
    ).test_score
    return scores


def _join(name, what: str) -> str:
    return what if name is None else f"{name}, {what}"


class SparsityReconstructionDisplay:
    """Reconstruction cosine against the number of non-zero coefficients.

    Fig. 4C of [1]_. Reconstruction alone does not say that the right atoms were found: a random
    dictionary belongs on the same axes.

    Parameters
    ----------
    n_nonzero : array-like of float, shape (n_points,)
        Mean number of non-zero coefficients per row.
    cosine : array-like of float, shape (n_points,)
        Mean cosine between rows and their reconstructions.
    spread : array-like of float, shape (n_points,), default=None
        Half width of the band drawn around the curve, for example the standard deviation over
        seeds.
    name : str, default=None
        Name of the model, for the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    line_ : matplotlib Line2D
        The curve.
    band_ : matplotlib collection or None
        The band of the spread.

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.display import SparsityReconstructionDisplay
    >>> X = np.array([[3.0, 4.0], [1.0, 0.0]])
    >>> one, two = X * [[0, 1], [1, 0]], X
    >>> display = SparsityReconstructionDisplay.from_reconstructions(
    ...     X, [one, two], codes=[one, two], plot=False)
    >>> display.n_nonzero
    array([1. , 1.5])
    >>> display.cosine
    array([0.9, 1. ])
    """

    def __init__(self, n_nonzero, cosine, *, spread=None, name=None):
        self.n_nonzero = n_nonzero
        self.cosine = cosine
        self.spread = spread
        self.name = name

    @classmethod
    def from_estimator(
        cls, estimator, X, *, n_nonzero_coefs, name=None, ax=None, plot=True, **kwargs
    ):
        """Code the same rows with one fitted dictionary at several sparsities.

        The dictionary stays as it was fitted; only its coding changes. A model trained anew for
        every sparsity, as in the paper's figure, is drawn with :meth:`from_reconstructions`.

        Parameters
        ----------
        estimator : fitted dictionary, or Pipeline that ends in one
            Needs a parameter ``transform_n_nonzero_coefs``. Steps before it are applied to `X`
            first: the cosine is taken in the space of the dictionary.
        X : array-like of shape (n_samples, n_features)
            Rows to code.
        n_nonzero_coefs : sequence of int
            The sparsities.
        name : str, default=None
            Name in the legend; ``None`` takes the class name of the dictionary.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.
        **kwargs : dict
            Given to matplotlib's ``Axes.plot``.

        Returns
        -------
        SparsityReconstructionDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        before, dictionary = _split(estimator)
        rows = X if before is None else before.transform(X)
        coders = [_with_sparsity(dictionary, k) for k in n_nonzero_coefs]
        codes = [coder.transform(rows) for coder in coders]
        return cls.from_reconstructions(
            rows,
            [coder.inverse_transform(code) for coder, code in zip(coders, codes, strict=True)],
            codes=codes,
            name=type(dictionary).__name__ if name is None else name,
            ax=ax,
            plot=plot,
            **kwargs,
        )

    @classmethod
    def from_reconstructions(
        cls, X, reconstructions, *, codes, name=None, ax=None, plot=True, **kwargs
    ):
        """Compute the curve from reconstructions and their codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows that were coded.
        reconstructions : sequence of array-like, each of shape (n_samples, n_features)
            One reconstruction of `X` per point of the curve.
        codes : sequence of {array-like, CSR}, each of shape (n_samples, n_components)
            The codes behind each reconstruction; their non-zeros are counted.
        name, ax, plot, **kwargs
            As in :meth:`from_estimator`.

        Returns
        -------
        SparsityReconstructionDisplay
            The display with its numbers, drawn unless ``plot=False``.
        """
        check_same_length(reconstructions=reconstructions, codes=codes)
        display = cls(
            np.array([activation_frequency(code).sum() for code in codes]),
            np.array([reconstruction_cosine(X, rebuilt) for rebuilt in reconstructions]),
            name=name,
        )
        return display.plot(ax=ax, **kwargs) if plot else display

    def plot(self, ax=None, *, name=None, **kwargs):
        """Draw the curve.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        name : str, default=None
            Name in the legend; ``None`` takes the display's own.
        **kwargs : dict
            Given to ``Axes.plot``.

        Returns
        -------
        SparsityReconstructionDisplay
            This display, with ``ax_`` and ``figure_``.
        """
        ax = _axes(ax)
        color, marker = _next_style(ax)
        style = {"color": color, "marker": marker, "markersize": 5, "linewidth": 1.6,
                 "label": self.name if name is None else name}  # fmt: skip
        n_nonzero, cosine = np.asarray(self.n_nonzero, float), np.asarray(self.cosine, float)
        order = np.argsort(n_nonzero, kind="stable")
        (self.line_,) = ax.plot(n_nonzero[order], cosine[order], **{**style, **kwargs})
        self.line_.set_gid(_CURVE)
        self.band_ = None
        if self.spread is not None:
            spread = np.asarray(self.spread, float)[order]
            self.band_ = ax.fill_between(
                n_nonzero[order], cosine[order] - spread, cosine[order] + spread,
                color=self.line_.get_color(), alpha=0.2, linewidth=0,
            )  # fmt: skip
        ax.set(
            xlabel="Non-zero coefficients per row (mean)",
            ylabel="Cosine of row and reconstruction (mean)",
        )
        _legend(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _with_sparsity(dictionary, n_nonzero_coefs: int):
    """Return a shallow copy of a fitted dictionary that codes with another sparsity."""
    if not hasattr(dictionary, "transform_n_nonzero_coefs"):
        raise ValueError(
            "estimator must end in a dictionary with a parameter transform_n_nonzero_coefs, got "
            f"{type(dictionary).__name__}; fit it once per sparsity and use from_reconstructions"
        )
    coder = copy.copy(dictionary)
    coder.transform_n_nonzero_coefs = n_nonzero_coefs
    return coder


class AtomUsageDisplay:
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

    def __init__(self, frequency, *, n_samples, min_fraction=1e-5, name=None):
        self.frequency = frequency
        self.n_samples = n_samples
        self.min_fraction = min_fraction
        self.name = name

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
        name = type(_split(estimator)[1]).__name__ if name is None else name
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
        ax = _axes(ax)
        frequency = np.asarray(self.frequency, dtype=float)
        alive = self._alive()
        label = f"{self.n_dead} dead of {frequency.size}"
        name = self.name if name is None else name
        color, _ = _next_style(ax)
        style = {"histtype": "step", "linewidth": 1.6, "color": color,
                 "label": label if name is None else f"{name} ({label})"}  # fmt: skip
        # Half a count below the smallest share, so that an atom seen once is inside the axis.
        edges = np.linspace(np.log10(0.5 / self.n_samples), 0.0, bins + 1)
        _, _, bars = ax.hist(np.log10(frequency[alive]), bins=edges, **{**style, **kwargs})
        self.bars_ = list(bars)
        if self.bars_:
            self.bars_[0].set_gid(_CURVE)
        ax.set(xlabel="Share of rows in which an atom is active (log10)", ylabel="Atoms")
        _legend(ax)
        self.ax_, self.figure_ = ax, ax.figure
        return self
