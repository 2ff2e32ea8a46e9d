"""Bright and dark cells against their class, as in Table 3 of the ICFL paper."""

from __future__ import annotations

import numpy as np
from scipy import stats
from sklearn.utils import Bunch

from skdict._tables import table
from skdict._units import encode_names
from skdict._validation import check_choice, check_real, host_array
from skdict.imaging._cell_masks import check_perturbed

METHODS = ("image", "pooled")
_COUNTS = ("n_cells", "n_perturbed", "n_control", "n_recalled_control", "n_recalled_perturbed")


class CellRecall(Bunch):
    """Result of :func:`cell_recall`; prints the total with its intervals and chance.

    See :func:`cell_recall` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def images(self, *, as_frame: bool = False):
        """Table 3: a row per image, and one for the total.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``image`` (text; the last is "total"), ``n_cells``, ``n_perturbed``,
            ``n_control``, ``n_recalled_control``, ``n_recalled_perturbed``, ``recall_control``
            and ``recall_perturbed``.
        """
        columns = {"image": np.append(self.image.astype(str), "total")}
        for name in _COUNTS:
            columns[name] = np.append(self[name], self[name].sum())
        for side in ("control", "perturbed"):
            total = self.total[f"recall_{side}"]
            columns[f"recall_{side}"] = np.append(self[f"recall_{side}"], total)
        return table(columns, as_frame)

    def __repr__(self):
        """Summary: recall of both classes, by how much it beats chance, and its intervals."""
        total = self.total
        level = f"{100 * self.confidence_level:.4g}%"
        lines = [
            f"CellRecall of {self.n_cells.sum()} cells on {self.image.size} images, "
            f"{self.n_bright.sum()} bright"
        ]
        for side, word in (("control", "dark"), ("perturbed", "bright")):
            n, recalled = self[f"n_{side}"].sum(), self[f"n_recalled_{side}"].sum()
            lines.append(
                f"  {side:<10} {recalled} of {n} {word} = {100 * total[f'recall_{side}']:.1f}%, "
                f"by chance {100 * total[f'chance_{side}']:.1f}%"
            )
            for kind in ("cells", "images"):
                low, high = total[f"{side}_{kind}"]
                lines.append(f"    {level} over {kind:<7} {100 * low:.1f}% to {100 * high:.1f}%")
        lines.append(f"  p of both by chance {total.p_value:.2g}")
        lines.append("  cells of an image are no replicates: the interval over images counts")
        return "\n".join(lines)


def cell_recall(bright, perturbed, image, *, confidence_level: float = 0.95) -> CellRecall:
    r"""Recall of control-like cells among the dark ones, and of perturbed ones among the bright.

    A control-like cell is recalled if it is dark, a perturbed one if it is bright (Table 3
    of [1]_, where 27 of 31 control-like cells are recalled, 87.1%, and all perturbed ones). The
    paper calls cells by eye; :func:`call_bright_cells` does it by a threshold.

    Parameters
    ----------
    bright : array-like of bool, shape (n_cells,)
        Whether each cell is bright on the heatmap.
    perturbed : array-like of bool, shape (n_cells,)
        Whether each cell is perturbed; all others are control-like.
    image : array-like, shape (n_cells,)
        Image of each cell.
    confidence_level : float, default=0.95
        Level of the intervals.

    Returns
    -------
    CellRecall
        A Bunch with a method ``images(as_frame=...)``, Table 3 with its total:

        image : ndarray, shape (n_images,)
            Distinct images, sorted.
        n_cells, n_perturbed, n_control, n_bright : ndarray of int, shape (n_images,)
            Cells of each image.
        n_recalled_control, n_recalled_perturbed : ndarray of int, shape (n_images,)
            Dark control-like cells and bright perturbed cells.
        recall_control, recall_perturbed : ndarray, shape (n_images,)
            Their share; NaN for an image without cells of the class.
        total : Bunch
            Over all cells: ``recall_control`` and ``recall_perturbed``; ``chance_control`` and
            ``chance_perturbed``, what they would be if the same number of cells of each image
            were bright at random; ``p_value``, the exact chance of at least this many recalled
            cells then; ``control_cells`` and ``perturbed_cells``, Wilson intervals that take
            cells for independent; ``control_images`` and ``perturbed_images``, intervals over
            images, (NaN, NaN) with fewer than two images of that class.
        confidence_level : float
            As given.

    Raises
    ------
    ValueError
        If `bright` or `perturbed` are not boolean, or lengths differ.

    Notes
    -----
    Cells of an image share stain, light and the viewer's choice of an image: they are no
    replicates, and the interval over cells is too narrow where images differ. The interval over
    images is Wilson's with the number of cells that are worth as much as independent ones
    (Korn and Graubard, [2]_): their number over the design effect, with Student's quantile for
    the number of images. Where all images have the same recall, no design effect can be seen and
    both intervals are one.

    The number of recalled control-like cells fixes, with the number of bright cells of each image,
    that of the perturbed ones: both recalls have one p-value.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025, Table 3.
    .. [2] Korn & Graubard, "Confidence intervals for proportions with small expected number of
       positive counts estimated from survey data", Survey Methodology 24, 1998.

    Examples
    --------
    >>> from skdict.imaging import cell_recall
    >>> found = cell_recall(
    ...     [True, True, False, True, False], [True, True, False, False, False],
    ...     ["A", "A", "A", "B", "B"])
    >>> round(found.total.recall_control, 3), found.n_recalled_control
    (0.667, array([1, 1]))
    """
    bright = np.asarray(host_array(bright, name="bright"))
    if bright.ndim != 1 or not bright.size:
        raise ValueError(
            "bright must be one-dimensional, an entry per cell, and not be empty, got shape "
            f"{bright.shape}; pass the column of one direction"
        )
    bright = check_perturbed(bright, bright.size, "bright")
    perturbed = check_perturbed(perturbed, bright.size)
    check_real("confidence_level", confidence_level, 0.0, np.nextafter(1.0, 0.0), open_low=True)
    names, index = encode_names(image, bright.size, "image")

    def count(chosen):
        return np.bincount(index[chosen], minlength=names.size)

    counts = Bunch(
        n_cells=count(slice(None)), n_perturbed=count(perturbed), n_control=count(~perturbed),
        n_bright=count(bright), n_recalled_control=count(~perturbed & ~bright),
        n_recalled_perturbed=count(perturbed & bright),
    )  # fmt: skip
    total = Bunch(p_value=_chance_p_value(counts))
    recalls = {}
    for side, called in (("control", counts.n_cells - counts.n_bright),
                         ("perturbed", counts.n_bright)):  # fmt: skip
        n, recalled = counts[f"n_{side}"], counts[f"n_recalled_{side}"]
        recalls[f"recall_{side}"] = _share(recalled, n)
        total[f"recall_{side}"] = float(_share(recalled.sum(), n.sum()))
        total[f"chance_{side}"] = float(_share((n * called / counts.n_cells).sum(), n.sum()))
        total[f"{side}_cells"] = _wilson(recalled.sum(), n.sum(), confidence_level)
        total[f"{side}_images"] = _over_images(recalled, n, confidence_level)
    return CellRecall(
        image=names, **counts, **recalls, total=total, confidence_level=confidence_level
    )


def call_bright_cells(alignment, image, *, background=None, method: str = "image") -> np.ndarray:
    """Call cells bright or dark by Otsu's threshold.

    The paper calls cells by eye. This is a reproducible rule in its place, not the same: it
    parts the values of the cells into two groups of least variance, without knowing the classes.

    Parameters
    ----------
    alignment : array-like, shape (n_cells,) or (n_cells, n_directions)
        Mean alignment of each cell (:func:`cell_alignment`).
    image : array-like, shape (n_cells,)
        Image of each cell.
    background : array-like of the shape of `alignment`, or None, default=None
        Alignment of the background of each cell's image:
        ``cells.background[cells.image]``. It is one more value to be parted, so that even a
        single cell is called: bright if it lies above.
    method : {"image", "pooled"}, default="image"
        ``"image"`` finds a threshold for each image, and so parts its cells even if they are all
        alike. ``"pooled"`` finds one for all images together, after subtracting each image's
        background if it is given.

    Returns
    -------
    ndarray of bool, of the shape of `alignment`
        Whether each cell is bright. Where all values are the same, nothing is darker and all are
        bright.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is NaN or infinite (an image without background has NaN),
        or `method` is unknown.

    Notes
    -----
    Otsu's threshold lies halfway between the two neighbouring values whose parting gives the
    largest variance between the groups; of several the lowest one. For a direction that is
    *less* aligned with perturbed cells, pass ``-alignment``.

    References
    ----------
    .. [1] Otsu, "A threshold selection method from gray-level histograms", IEEE Transactions on
       Systems, Man, and Cybernetics 9, 1979.

    Examples
    --------
    >>> from skdict.imaging import call_bright_cells
    >>> call_bright_cells([0.1, 0.5, 0.6, 0.2], [0, 0, 0, 0])
    array([False,  True,  True, False])
    >>> call_bright_cells([0.3], [0], background=[0.1])
    array([ True])
    """
    check_choice("method", method, METHODS)
    values = _finite("alignment", alignment)
    if values.ndim not in (1, 2) or 0 in values.shape:
        raise ValueError(
            "alignment must have shape (n_cells,) or (n_cells, n_directions) and not be empty, "
            f"got shape {values.shape}"
        )
    index = encode_names(image, values.shape[0], "image")[1]
    reference = None
    if background is not None:
        reference = _finite("background", background)
        if reference.shape != values.shape:
            raise ValueError(
                f"background must have the shape of alignment, {values.shape}, got "
                f"{reference.shape}; that of each cell's image is background[cells.image]"
            )
    if method == "pooled":
        if reference is not None:
            values, reference = values - reference, np.zeros_like(values)
        return _above(values, reference)
    bright = np.empty(values.shape, dtype=bool)
    for i in range(index.max() + 1):
        own = index == i
        bright[own] = _above(values[own], None if reference is None else reference[own])
    return bright


def _above(values: np.ndarray, reference) -> np.ndarray:
    """Which values lie above Otsu's threshold of them and one reference."""
    everything = values if reference is None else np.concatenate([values, reference[:1]])
    ordered = np.sort(everything, axis=0)
    if ordered.shape[0] < 2:
        return np.ones(values.shape, dtype=bool)
    n = ordered.shape[0]
    below = np.arange(1, n).reshape(-1, *[1] * (ordered.ndim - 1))
    sums = np.cumsum(ordered - ordered.mean(axis=0), axis=0)[:-1]
    between = sums**2 / (below * (n - below))
    # Equal neighbours are not to be parted.
    between[np.diff(ordered, axis=0) == 0] = -1
    best = between.argmax(axis=0)[None]
    high = np.take_along_axis(ordered, best + 1, axis=0)[0]
    return values >= high


def _finite(name: str, values) -> np.ndarray:
    values = np.asarray(host_array(values, name=name), dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds NaN or infinite values; drop these cells")
    return values


def _share(part, whole):
    """Share, NaN of nothing."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def _wilson(successes: float, trials: float, level: float) -> tuple[float, float]:
    """Wilson's interval of a proportion."""
    if not trials:
        return np.nan, np.nan
    square = stats.norm.ppf((1 + level) / 2) ** 2
    center = successes + square / 2
    root = np.sqrt(square * (successes * (trials - successes) / trials + square / 4))
    ends = (center + np.array([-root, root])) / (trials + square)
    return float(max(ends[0], 0)), float(min(ends[1], 1))


def _over_images(successes, trials, level: float) -> tuple[float, float]:
    """Wilson's interval with as many cells as independent ones would be worth."""
    n_images, n_cells = np.count_nonzero(trials), trials.sum()
    if n_images < 2:
        return np.nan, np.nan
    share = successes.sum() / n_cells
    residual = (successes - share * trials)[trials > 0]
    variance = n_images / (n_images - 1) * (residual**2).sum() / n_cells**2
    worth = n_cells
    if variance > 0:
        quantiles = stats.norm.ppf((1 + level) / 2) / stats.t.ppf((1 + level) / 2, n_images - 1)
        worth = min(n_cells, share * (1 - share) / variance * quantiles**2)
    return _wilson(share * worth, worth, level)


def _chance_p_value(counts) -> float:
    """Chance of as many recalled cells when the bright cells of each image are drawn at random."""
    chance = np.ones(1)
    for n, n_control, n_bright in zip(counts.n_cells, counts.n_control, counts.n_bright):
        dark = stats.hypergeom(n, n_control, n - n_bright)
        chance = np.convolve(chance, dark.pmf(np.arange(n_control + 1)))
    return float(min(1.0, chance[counts.n_recalled_control.sum() :].sum()))
