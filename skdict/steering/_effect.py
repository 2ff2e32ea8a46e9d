"""What steering did to neighbours, labels and batches."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import Bunch, check_random_state

from skdict._tables import table
from skdict._units import Resampler, Resampling, encode_names, read_units
from skdict._validation import check_integer
from skdict.genes._concepts import check_embeddings
from skdict.probing import probe_representations

# Sums over cells behind each quantity: what is divided by what.
RATIOS = {
    "neighbors_kept": ("kept", "n_neighbors"),
    "label_purity_before": ("same_label_before", "n_neighbors"),
    "label_purity_after": ("same_label_after", "n_neighbors"),
    "batch_mixing_before": ("other_batch_before", "other_batch_expected_before"),
    "batch_mixing_after": ("other_batch_after", "other_batch_expected_after"),
}
CHANGES = ("label_purity", "batch_mixing")


class SteeringEffect(Bunch):
    """Result of :func:`steering_effect`; prints the quantities with their intervals.

    See :func:`steering_effect` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def table(self, *, as_frame: bool = False):
        """Quantities over all cells, one a row.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``quantity``, ``value``, ``low`` and ``high``.
        """
        columns = {"quantity": np.array(self.quantities)}
        return table(columns | {k: self[k] for k in ("value", "low", "high")}, as_frame)

    def by_label(self, *, as_frame: bool = False):
        """Quantities of the cells of each label.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``label`` and ``n_cells``, and a column for each quantity.
        """
        columns = {"label": self.labels, "n_cells": self.n_cells_by_label}
        columns |= dict(zip(self.quantities, self.value_by_label))
        return table(columns, as_frame)

    def __repr__(self):
        """Summary: cells, neighbours, and every quantity."""
        lines = [
            f"SteeringEffect on {self.n_cells} cells, {self.n_neighbors} neighbours each",
            f"  moved, in radii of neighbourhoods  {self.displacement:.3g} (median)",
        ]
        for name, value, low, high in zip(self.quantities, self.value, self.low, self.high):
            interval = "" if np.isnan(low) else f" ({low:.3f} to {high:.3f})"
            lines.append(f"  {name.replace('_', ' '):<34} {value:.3f}{interval}")
        return "\n".join(lines)


def steering_effect(
    before,
    after,
    *,
    labels=None,
    batch=None,
    units=None,
    strata=None,
    n_neighbors: int = 15,
    n_cells: int | None = None,
    cv=None,
    n_resamples: int = 1000,
    confidence_level: float = 0.95,
    random_state=None,
) -> SteeringEffect:
    r"""Compare embeddings before and after steering: what moved, what it cost, what it mixed.

    With :math:`N_i` the nearest neighbours of cell i (without itself), l its label and b its batch,

    ``neighbors_kept``
        the share of the neighbours before that are neighbours after;
    ``label_purity``
        the share of :math:`N_i` that has label l: what is left of biology;
    ``batch_mixing``
        the share of those neighbours of label l that come from another batch, divided by what it
        would be if batches were mixed at random within the label,

        .. math:: \frac{\sum_i \#\{j \in N_i : l_j = l_i,\ b_j \ne b_i\}}
                  {\sum_i \#\{j \in N_i : l_j = l_i\}\ (n_{l_i} - n_{l_i b_i}) / (n_{l_i} - 1)} ;

        0 means that batches are apart, 1 that they are mixed at random, whatever the number of
        neighbours and however unequal batches are (the entropy of batches among neighbours falls
        short of that of all cells even when mixing is perfect, the more so the fewer neighbours).
        Without labels all neighbours count. Within labels, a batch that has more cells of a type
        does not look like one that is apart.

    Parameters
    ----------
    before, after : array-like, shape (n_samples, n_features)
        Embeddings of the same cells.
    labels : array-like, shape (n_samples,), or None, default=None
        Biological label of each cell, such as its type.
    batch : array-like, shape (n_samples,), or None, default=None
        Batch of each cell.
    units : array-like, shape (n_samples,), or None, default=None
        Independent unit of each cell: donor, sample. Units are resampled for intervals, and held
        out as a whole by the probes. None gives no intervals.
    strata : array-like, shape (n_samples,), or None, default=None
        Units are resampled within these.
    n_neighbors : int, default=15
        Neighbours of a cell, by Euclidean distance.
    n_cells : int or None, default=None
        Number of cells, drawn at random, whose neighbours (among all cells) are looked at. None
        takes all; beyond some ten thousand cells a part of them tells the same.
    cv : int, cross-validation splitter or None, default=None
        Folds for linear probes of labels and batches before and after, see
        :func:`~skdict.probing.probe_representations`; None leaves them out. Neighbours see what
        is large in an embedding, a probe what can still be read of it.
    n_resamples : int, default=1000
        Number of resamples.
    confidence_level : float, default=0.95
        Level of the intervals.
    random_state : int, RandomState instance or None, default=None
        Draws the cells, the resamples and the folds within probes.

    Returns
    -------
    SteeringEffect
        A Bunch that prints a summary, with methods ``table`` and ``by_label``:

        quantities : tuple of str
            What was measured: the above, where it applies with ``_before``, ``_after`` and
            ``_change``, the last being after minus before.
        value, low, high : ndarray of float, shape (n_quantities,)
            Over all cells, with its interval by resampled units (NaN without). The neighbours
            themselves are not found anew in a resample.
        labels : ndarray, shape (n_labels,)
            Labels; a single 0 without.
        n_cells_by_label : ndarray of int, shape (n_labels,)
            Cells of each label that were looked at.
        value_by_label : ndarray, shape (n_quantities, n_labels)
            The quantities of the cells of each label; NaN where there is nothing to compare.
        label_purity_expected : float
            Label purity of neighbours drawn at random; NaN without labels.
        displacement : float
            Median distance that a cell was moved, divided by the distance of its farthest
            neighbour before.
        label_accuracy_before, label_accuracy_after : float
            Mean balanced accuracy of the probe of labels over folds; NaN without `cv`.
        batch_accuracy_before, batch_accuracy_after : float
            The same of batches.
        label_chance, batch_chance : float
            What a uniform guess would have.
        n_cells, n_neighbors : int
            Cells looked at, and neighbours of each.

    Raises
    ------
    ValueError
        If shapes do not fit, values are missing, there are too few cells for the neighbours, or
        `units` and `strata` do not fit each other.

    Notes
    -----
    Distances of every cell looked at to all cells are computed by blocks: 20,000 cells looked at
    among 100,000 of 64 features take about 30 s on one core, before and after each.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.steering import steering_effect
    >>> rng = np.random.default_rng(0)
    >>> cell_type, batch = rng.integers(3, size=600), rng.integers(2, size=600)
    >>> after = rng.normal(size=(600, 4)) + 6 * np.eye(4)[cell_type]
    >>> before = after + 6 * np.eye(4)[3] * batch[:, None]
    >>> effect = steering_effect(before, after, labels=cell_type, batch=batch)
    >>> values = dict(zip(effect.quantities, effect.value.round(1).tolist()))
    >>> values["batch_mixing_before"], values["batch_mixing_after"], values["label_purity_after"]
    (0.0, 1.0, 1.0)
    """
    rng = check_random_state(random_state)
    resampling = Resampling.checked(n_resamples, confidence_level, rng)
    start = Before(
        before, labels=labels, batch=batch, units=units, n_neighbors=n_neighbors, n_cells=n_cells,
        cv=cv, rng=rng,
    )  # fmt: skip
    unit = None
    if units is not None:
        unit = read_units(units, strata, start.X.shape[0], rows=start.queries)
    return start.compare(after, unit, resampling)


class Before:
    """Embeddings before steering, with what is needed of them for every comparison.

    Parameters
    ----------
    X : array-like, shape (n_samples, n_features)
        The embeddings.
    labels, batch, units, n_neighbors, n_cells, cv : object
        As in :func:`steering_effect`.
    rng : RandomState
        Draws the cells that are looked at, and the seed of the probes.
    """

    def __init__(self, X, *, labels, batch, units, n_neighbors, n_cells, cv, rng):
        self.X = check_embeddings(X, "before")
        n_samples = self.X.shape[0]
        check_integer("n_neighbors", n_neighbors, 1)
        if n_neighbors >= n_samples:
            raise ValueError(
                f"n_neighbors must be less than the {n_samples} cells, got {n_neighbors}"
            )
        self.queries = _drawn(n_cells, n_samples, rng)
        self.groups = _Groups(labels, batch, n_samples)
        self.near, self.radius = _neighbors(self.X, self.queries, n_neighbors)
        self.probes = _Probes({"label": labels, "batch": batch}, units, cv, rng.randint(2**31))
        self.accuracy, self.chance = self.probes.of(self.X)

    def compare(self, after, unit=None, resampling=None) -> SteeringEffect:
        """Effect of a steering; see :func:`steering_effect`.

        Parameters
        ----------
        after : array-like, shape (n_samples, n_features)
            The embeddings after it.
        unit : Units or None, default=None
            Units of the cells that are looked at.
        resampling : Resampling or None, default=None
            Settings of the intervals.

        Returns
        -------
        SteeringEffect
            The effect.
        """
        after = check_embeddings(after, "after")
        if after.shape != self.X.shape:
            raise ValueError(
                "before and after must be of the same cells and features, got shapes "
                f"{self.X.shape} and {after.shape}"
            )
        queries, groups = self.queries, self.groups
        sums = groups.sums(queries, self.near, _neighbors(after, queries, self.near.shape[1])[0])
        names = [name for name in RATIOS if RATIOS[name][0] in sums]
        label = groups.label[queries]
        value, low, high = _with_intervals(sums, names, unit, resampling)
        moved = np.linalg.norm(after[queries] - self.X[queries], axis=1)
        accuracy, _ = self.probes.of(after)
        return SteeringEffect(
            quantities=tuple(_quantities(names)),
            value=value,
            low=low,
            high=high,
            labels=groups.labels,
            n_cells_by_label=np.bincount(label, minlength=groups.labels.size),
            value_by_label=_by_label(sums, names, label, groups.labels.size),
            label_purity_expected=groups.expected_purity(queries),
            displacement=float(np.median(moved / np.maximum(self.radius, np.finfo(float).tiny))),
            **{f"{name}_accuracy_before": value for name, value in self.accuracy.items()},
            **{f"{name}_accuracy_after": value for name, value in accuracy.items()},
            **{f"{name}_chance": value for name, value in self.chance.items()},
            n_cells=queries.size,
            n_neighbors=self.near.shape[1],
        )


class _Groups:
    """Labels and batches, and the sums over neighbours that they give."""

    def __init__(self, labels, batch, n_samples: int):
        self.has_labels, self.has_batch = labels is not None, batch is not None
        nothing = np.zeros(1, dtype=int), np.zeros(n_samples, dtype=int)
        self.labels, self.label = (
            encode_names(labels, n_samples, "labels") if self.has_labels else nothing
        )
        self.batch = encode_names(batch, n_samples, "batch")[1] if self.has_batch else nothing[1]
        self.n_of_label = np.bincount(self.label)
        both = self.label * (self.batch.max() + 1) + self.batch
        n_of_both = np.bincount(both)[both]
        others = self.n_of_label[self.label] - 1
        # chance that another cell of the label, drawn at random, is of another batch
        self.chance = (self.n_of_label[self.label] - n_of_both) / np.maximum(others, 1)

    def expected_purity(self, queries) -> float:
        """Share of all other cells that have the label of a cell, in the mean."""
        if not self.has_labels:
            return np.nan
        return float((self.n_of_label[self.label[queries]] - 1).mean() / (self.label.size - 1))

    def sums(self, queries, near_before, near_after) -> dict:
        """What each cell adds to the sums of RATIOS."""
        n_neighbors = near_before.shape[1]
        sums = {
            "n_neighbors": np.full(queries.size, n_neighbors),
            "kept": _shared(near_before, near_after),
        }
        for when, near in (("before", near_before), ("after", near_after)):
            same = self.label[near] == self.label[queries, None]
            if self.has_labels:
                sums[f"same_label_{when}"] = same.sum(axis=1)
            if self.has_batch:
                other = self.batch[near] != self.batch[queries, None]
                sums[f"other_batch_{when}"] = (same & other).sum(axis=1)
                expected = same.sum(axis=1) * self.chance[queries]
                sums[f"other_batch_expected_{when}"] = expected
        return sums


def _drawn(n_cells, n_samples: int, rng) -> np.ndarray:
    """Cells to look at, ascending."""
    check_integer("n_cells", n_cells, 1, none=True)
    if n_cells is None or n_cells >= n_samples:
        return np.arange(n_samples)
    return np.sort(rng.choice(n_samples, n_cells, replace=False))


def _neighbors(X, queries, n_neighbors: int):
    """Neighbours of some cells among all, without the cell itself, and the distance of the last."""
    found = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(X)
    distance, near = found.kneighbors(X[queries])
    # Among cells that are equal the cell itself may come later or not at all.
    own = near == queries[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (queries.size, n_neighbors)
    return near[~own].reshape(shape), distance[~own].reshape(shape)[:, -1]


def _shared(first, second) -> np.ndarray:
    """Number of entries that each row of two arrays has in common."""
    together = np.sort(np.concatenate([first, second], axis=1), axis=1)
    return (together[:, 1:] == together[:, :-1]).sum(axis=1)


def _quantities(names) -> list[str]:
    """Names of the ratios and of their changes."""
    return names + [f"{c}_change" for c in CHANGES if f"{c}_before" in names]


def _ratios(sums, names):
    """Ratios of sums and their changes, along the first axis."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = {name: sums[RATIOS[name][0]] / sums[RATIOS[name][1]] for name in names}
    for change in CHANGES:
        if f"{change}_before" in ratio:
            ratio[f"{change}_change"] = ratio[f"{change}_after"] - ratio[f"{change}_before"]
    return np.stack([ratio[name] for name in _quantities(names)])


def _with_intervals(sums, names, unit, resampling):
    """Ratios over all cells, and intervals by resampled units."""
    value = _ratios({name: cells.sum() for name, cells in sums.items()}, names)
    if unit is None:
        return value, np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    by_unit = {name: np.bincount(unit.index, weights=cells) for name, cells in sums.items()}
    resampler = Resampler(unit, stacklevel=5)
    rng = resampling.random_state
    weights = (resampler.weights(rng) for _ in range(resampling.n_resamples))
    drawn = np.array([[w @ sums_of for sums_of in by_unit.values()] for w in weights]).T
    return value, *resampling.interval(_ratios(dict(zip(by_unit, drawn)), names).T)


def _by_label(sums, names, label, n_labels: int) -> np.ndarray:
    """Ratios of the cells of each label."""
    own = sparse.coo_array(
        (np.ones(label.size), (label, np.arange(label.size))), shape=(n_labels, label.size)
    ).tocsr()
    return _ratios({name: own @ cells for name, cells in sums.items()}, names)


class _Probes:
    """Linear probes of labels and batches on held-out units."""

    def __init__(self, what: dict, units, cv, seed: int):
        self.what, self.units, self.cv, self.seed = what, units, cv, seed

    def of(self, X) -> tuple[dict, dict]:
        """Mean balanced accuracy over folds, and that of a guess; NaN where nothing is probed."""
        accuracy, chance = dict.fromkeys(self.what, np.nan), dict.fromkeys(self.what, np.nan)
        for name, y in self.what.items():
            if self.cv is not None and y is not None:
                scores = probe_representations(
                    None, X, y, groups=self.units, cv=self.cv, representations=("raw",), Cs=1.0,
                    random_state=self.seed,
                )  # fmt: skip
                accuracy[name] = float(scores["balanced_accuracy"].mean())
                chance[name] = float(scores["chance"].mean())
        return accuracy, chance
