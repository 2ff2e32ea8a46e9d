"""Reconstruction against sparsity (Fig. 4C of the ICFL paper)."""

from __future__ import annotations

import copy

import numpy as np

from skdict._validation import check_same_length
from skdict.display._pipelines import split_pipeline
from skdict.display._saving import SavedDisplay, vector
from skdict.display._style import (
    CURVE,
    interval_note,
    legend,
    new_axes,
    next_style,
    whole_ticks,
)
from skdict.metrics import activation_frequency, reconstruction_cosine


class SparsityReconstructionDisplay(SavedDisplay):
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
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

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

    def __init__(self, n_nonzero, cosine, *, spread=None, name=None, settings=None):
        self.n_nonzero = n_nonzero
        self.cosine = cosine
        self.spread = spread
        self.name = name
        self.settings = settings

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
        before, dictionary = split_pipeline(estimator)
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
            settings={"rows": np.shape(X)[0], "components": [np.shape(code)[1] for code in codes]},
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
        ax = new_axes(ax)
        color, marker = next_style(ax)
        style = {"color": color, "marker": marker, "markersize": 5, "linewidth": 1.6,
                 "label": self.name if name is None else name}  # fmt: skip
        columns = self._columns()
        n_nonzero, cosine = columns["n_nonzero"], columns["cosine"]
        order = np.argsort(n_nonzero, kind="stable")
        (self.line_,) = ax.plot(n_nonzero[order], cosine[order], **{**style, **kwargs})
        self.line_.set_gid(CURVE)
        self.band_ = None
        if self.spread is not None:
            spread = columns["spread"][order]
            self.band_ = ax.fill_between(
                n_nonzero[order], cosine[order] - spread, cosine[order] + spread,
                color=self.line_.get_color(), alpha=0.2, linewidth=0,
            )  # fmt: skip
        whole_ticks(ax)
        ax.set(
            xlabel="Non-zero coefficients per row (mean)",
            ylabel="Cosine of row and reconstruction (mean)",
        )
        legend(ax, interval_note(False, 1.0, self.spread is not None))
        self._drawn_on(ax, self.line_)
        return self

    def _columns(self) -> dict:
        cosine = vector("cosine", self.cosine)
        columns = {"n_nonzero": vector("n_nonzero", self.n_nonzero, cosine.size), "cosine": cosine}
        if self.spread is not None:
            columns["spread"] = vector("spread", self.spread, cosine.size)
        return columns

    def _description(self) -> str:
        text = (
            "The figure shows the mean cosine between rows and their reconstructions against the "
            f"mean number of non-zero coefficients per row, at {len(self.cosine)} sparsities."
        )
        return text if self.spread is None else text + " The band is the cosine ± its spread."


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
