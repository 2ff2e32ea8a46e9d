"""Best selectivity of every label, sorted (Fig. 8 of the ICFL paper)."""

from __future__ import annotations

import numpy as np

from skdict.display._pipelines import split_pipeline
from skdict.display._saving import SavedDisplay, vector
from skdict.display._style import CURVE, legend, new_axes, next_style, whole_ticks
from skdict.metrics import best_features, held_out_selectivity, selectivity_null


class SelectivityDisplay(SavedDisplay):
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
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

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
                 name=None, settings=None):  # fmt: skip
        self.best_selectivity = best_selectivity
        self.labels = labels
        self.held_out = held_out
        self.null = null
        self.kind = kind
        self.name = name
        self.settings = settings

    @classmethod
    def from_estimator(
        cls, estimator, X, y, *, X_test=None, y_test=None, labels=None, kind="average",
        n_permutations=0, units=None, strata=None, random_state=None, name=None, ax=None, plot=True,
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
        units : array-like of shape (n_samples,), default=None
            Independent unit of each row, for example the physical well: its rows keep one label
            when labels are permuted. ``None`` makes every row a unit.
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
            units=units,
            strata=strata,
            random_state=random_state,
            name=type(split_pipeline(estimator)[1]).__name__ if name is None else name,
            ax=ax,
            plot=plot,
            **kwargs,
        )

    @classmethod
    def from_codes(
        cls, codes, y, *, codes_test=None, y_test=None, labels=None, kind="average",
        n_permutations=0, units=None, strata=None, random_state=None, name=None, ax=None, plot=True,
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
        labels, kind, n_permutations, units, strata, random_state, name, ax, plot, **kwargs
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
        settings = {"rows": len(y), "components": np.shape(codes)[1], "active": "non-zero"}
        if codes_test is not None:
            settings["held-out rows"] = len(y_test)
            held_out = _held_out_scores(codes, y, codes_test, y_test, kind, best.labels)
        if n_permutations:
            settings |= {"n_permutations": n_permutations,
                         "permuted": ("rows" if units is None else "units")
                         + ("" if strata is None else " within strata")}  # fmt: skip
            null = selectivity_null(
                codes, y, units=units, strata=strata, n_permutations=n_permutations, kind=kind,
                labels=labels, random_state=random_state,
            ).expected_maximum  # fmt: skip
        display = cls(
            best.score, labels=best.labels, held_out=held_out, null=null, kind=kind, name=name,
            settings=settings,
        )  # fmt: skip
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
        ax = new_axes(ax)
        color, marker = next_style(ax)
        name = self.name if name is None else name
        style = {"color": color, "marker": marker, "markersize": 3.5, "linewidth": 1.6}
        self.line_ = self._curve(ax, self.best_selectivity, {**style, "label": name, **kwargs})
        self.line_.set_gid(CURVE)
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
        whole_ticks(ax)
        ax.set(
            xlabel="Labels, sorted by each curve's own values",
            ylabel=f"Best {self.kind} selectivity per label",
        )
        legend(ax)
        self._drawn_on(ax, self.line_)
        return self

    def _columns(self) -> dict:
        best = vector("best_selectivity", self.best_selectivity)
        labels = np.arange(best.size) if self.labels is None else self.labels
        columns = {"label": vector("labels", labels, best.size, dtype=None),
                   "best_selectivity": best}  # fmt: skip
        for name in ("held_out", "null"):
            if getattr(self, name) is not None:
                columns[name] = vector(name, getattr(self, name), best.size)
        return columns

    def _description(self) -> str:
        best = vector("best_selectivity", self.best_selectivity)
        other = {
            "average": "the share among all other rows",
            "maximum": "the largest share among the rows of any other label",
        }[self.kind]
        text = (
            f"The figure shows the best {self.kind} selectivity of {best.size} labels in "
            "descending order, each curve sorted by itself. The selectivity of a component for a "
            f"label is the share of its rows in which it is active less {other}; the best is the "
            "largest over all components, chosen and measured on the same rows."
        )
        if self.held_out is not None:
            text += (
                " The held-out values are measured on rows that had no part in the choice of the "
                "component."
            )
        if self.null is not None:
            text += " The null is the expected best of all components when labels are permuted."
        return text

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
