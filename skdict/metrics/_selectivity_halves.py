"""Features chosen on one half of the units and scored on the other."""

from __future__ import annotations

import numpy as np
from sklearn.utils import check_random_state

from skdict._tables import table
from skdict._units import read_units
from skdict._validation import check_integer
from skdict.metrics._activity import active_pattern
from skdict.metrics._labels import check_two_labels, encode_labels, label_counts, locate_labels
from skdict.metrics._selectivity import check_kind, scores_from_counts


def _halves(rng, key: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """Deal units into two halves, alternating within `key` and as evenly as may be over strata."""
    # strata in random order: with one unit in each, the same plates would always go together
    place_of_stratum = rng.permutation(int(stratum.max()) + 1)
    order = np.lexsort((rng.random_sample(key.shape[0]), place_of_stratum[stratum], key))
    sizes = np.bincount(key)
    place = np.arange(key.shape[0]) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    first = rng.randint(2, size=sizes.shape[0])  # which half gets the odd one
    half = np.empty(key.shape[0], dtype=bool)
    half[order] = (place + np.repeat(first, sizes)) % 2 == 1
    return half


def _scores_of_half(pattern, index, chosen, n_labels: int, score_kind) -> np.ndarray:
    """Scores on the rows `chosen`; NaN for labels that have none there."""
    rows = np.flatnonzero(chosen)
    n_rows = np.bincount(index[rows], minlength=n_labels)
    present = n_rows > 0
    scores = np.full((n_labels, pattern.shape[1]), np.nan)
    if np.count_nonzero(present) > 1:
        counts = label_counts(pattern[rows], index[rows], n_labels)
        scores[present] = scores_from_counts(counts[present], n_rows[present], **score_kind)
    return scores


def split_half_selectivity(
    codes,
    y,
    *,
    units=None,
    strata=None,
    n_splits: int = 10,
    kind="average",
    reference="pooled",
    active="nonzero",
    labels=None,
    random_state=None,
    as_frame: bool = False,
):
    """Choose each label's best component on one half of the units, score it on the other.

    The best of thousands of components looks good on the samples it was chosen on. Here the
    units are dealt into two random halves; the best component of each label on one half is
    scored on the other, and the other way round, over `n_splits` random splits.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_components)
        Codes.
    y : array-like, shape (n_samples,)
        One label per sample.
    units : array-like, shape (n_samples,), or None, default=None
        The independent unit of each sample: physical well, plate, donor. All its rows go to
        one half. None makes every sample a unit.
    strata : array-like, shape (n_samples,), or None, default=None
        The halves share each stratum, for example each plate, as evenly as the units of a
        label allow. Each unit lies in one stratum. To hold out whole plates, pass them as
        `units`.
    n_splits : int, default=10
        Number of random splits; each gives two scores.
    kind : {"average", "maximum"}, default="average"
        See :func:`selectivity_scores`.
    reference : {"pooled", "macro"}, default="pooled"
        See :func:`selectivity_scores`.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        See :func:`selectivity_scores`.
    labels : array-like or None, default=None
        Labels to score; samples of the others still count as "other" samples. None scores the
        labels with at least two units.
    random_state : int, RandomState instance or None, default=None
        Seed of the splits.
    as_frame : bool, default=False
        Return a pandas DataFrame instead of a Bunch.

    Returns
    -------
    Bunch or DataFrame
        One entry per label in each column:

        labels : ndarray, shape (n_labels,)
            The labels.
        feature : ndarray of int, shape (n_labels,)
            The component chosen most often; the lower index on ties.
        chosen_share : ndarray of float, shape (n_labels,)
            Share of the halves that chose it: 1 where the choice is stable.
        train_score : ndarray of float, shape (n_labels,)
            Mean score of the chosen components where they were chosen.
        test_score : ndarray of float, shape (n_labels,)
            Mean score of the chosen components on the other half. Not inflated by the choice.
        spread : ndarray of float, shape (n_labels,)
            Standard deviation of the test scores over halves and splits. The halves share
            units: it is not an interval.
        n_units : ndarray of int, shape (n_labels,)
            Units with rows of the label.

    Raises
    ------
    ValueError
        As :func:`selectivity_scores`, if a unit lies in two strata, or if `labels` names one
        with a single unit.

    See Also
    --------
    held_out_selectivity : The same for a split of your own.

    Notes
    -----
    Where every unit carries one label, each label's units are dealt out alternately, so that
    both halves hold it. Units with rows of several labels (donors with their cell types) are
    dealt out whole; a label that one half lacks has no score in that split.

    Choosing among components does not bias the test score, but learning the dictionary on all
    rows may: hold rows out of its training for claims about new data.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.metrics import split_half_selectivity
    >>> y = np.repeat(["a", "b"], 20)
    >>> noise = np.random.default_rng(0).random((40, 200)) < 0.2
    >>> halves = split_half_selectivity(noise, y, random_state=0)
    >>> bool(halves.train_score.min() > 0.3), bool(abs(halves.test_score).max() < 0.2)
    (True, True)
    """
    check_kind(kind, reference)
    check_integer("n_splits", n_splits, 1)
    pattern = active_pattern(codes, active)
    n_samples = pattern.shape[0]
    classes, index = encode_labels(y, n_samples)
    check_two_labels(classes)
    found = read_units(units, strata, n_samples)
    unit, first, stratum = found.index, found.first, found.stratum
    n_units = _units_per_label(index, unit, classes.shape[0])
    rows = _splittable(labels, classes, n_units)
    # units of several labels are dealt out together: their first label says nothing
    key = index[first] if (index == index[first][unit]).all() else np.zeros_like(first)

    rng = check_random_state(random_state)
    score_kind = {"kind": kind, "reference": reference}
    chosen, train, test = [], [], []
    for _ in range(n_splits):
        half = _halves(rng, key, stratum)[unit]
        one, other = (
            _scores_of_half(pattern, index, part, classes.shape[0], score_kind)[rows]
            for part in (half, ~half)
        )
        for here, there in ((one, other), (other, one)):
            feature = here.argmax(axis=1)  # of NaN rows 0, whose scores are NaN
            places = (np.arange(rows.shape[0]), feature)
            known = ~np.isnan(here[places] + there[places])
            chosen.append(np.where(known, feature, -1))
            train.append(np.where(known, here[places], np.nan))
            test.append(np.where(known, there[places], np.nan))
    return table(
        {"labels": classes[rows], **_summary(np.array(chosen), np.array(train), np.array(test)),
         "n_units": n_units[rows]},
        as_frame,
    )  # fmt: skip


def _units_per_label(index, unit, n_labels: int) -> np.ndarray:
    """Units with rows of each label, shape (n_labels,)."""
    pairs = np.unique(unit * np.int64(n_labels) + index)
    return np.bincount(pairs % n_labels, minlength=n_labels)


def _splittable(labels, classes, n_units) -> np.ndarray:
    """Positions of the labels to score; raise for a named label with a single unit."""
    rows = locate_labels(labels, classes)
    single = n_units[rows] < 2
    if labels is not None and single.any():
        raise ValueError(
            "labels must have at least two units each, one for either half, but these have one: "
            f"{classes[rows[single]].tolist()[:5]!r}"
        )
    if single.all():
        raise ValueError(
            "y must hold a label with at least two units, one for either half, but every label "
            "has a single unit; use finer units"
        )
    return rows[~single]


def _summary(chosen, train, test) -> dict:
    """Columns of the table from the values of all halves, each of shape (n_halves, n_labels)."""
    known = chosen >= 0
    n_known = known.sum(axis=0)
    n_labels = chosen.shape[1]
    feature = np.zeros(n_labels, dtype=np.intp)
    share, train_score, test_score, spread = np.full((4, n_labels), np.nan)
    for label in np.flatnonzero(n_known):
        values, times = np.unique(chosen[known[:, label], label], return_counts=True)
        feature[label] = values[times.argmax()]
        share[label] = times.max() / n_known[label]
        train_score[label] = train[known[:, label], label].mean()
        test_score[label] = test[known[:, label], label].mean()
        spread[label] = test[known[:, label], label].std()
    return {
        "feature": feature,
        "chosen_share": share,
        "train_score": train_score,
        "test_score": test_score,
        "spread": spread,
    }
