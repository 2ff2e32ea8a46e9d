"""Agreement beyond chance: Cohen's kappa for two ratings of each item, Fleiss' for more."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import cohen_kappa_score
from sklearn.utils import Bunch, check_random_state

from skdict._validation import check_integer, check_real
from skdict.genes._quality import wilson_interval

_FEW_ITEMS = 30


def cohen_kappa(
    first, second, *, confidence_level: float = 0.95, n_bootstrap: int = 1000, random_state=None
):
    r"""Agreement of two ratings of the same items beyond chance.

    .. math:: \kappa = \frac{p_o - p_e}{1 - p_e}

    with the share :math:`p_o` of items where both agree and the share
    :math:`p_e = \sum_k p_{1k} p_{2k}` that two raters with these habits agree on by chance.
    1 is full agreement, 0 that of chance.

    Parameters
    ----------
    first, second : array-like, shape (n_items,)
        Ratings, as any categories (their order does not matter).
    confidence_level : float, default=0.95
        Level of the interval.
    n_bootstrap : int, default=1000
        Number of times that items are drawn with replacement.
    random_state : int, RandomState instance or None, default=None
        Draws the items.

    Returns
    -------
    Bunch
        kappa : float
            NaN where it is not defined: without items, or where both raters gave all items the
            same answer, so that chance alone agrees on all.
        low, high : float
            Percentile interval of the bootstrap over items, of the draws where kappa is defined.
            Where all items agree, no draw knows a disagreement: `low` is then kappa at the lower
            limit of Wilson's interval of agreement.
        agreement : float
            Share of items that agree.
        n_items : int
            Number of items.
        undefined_share : float
            Share of draws where kappa is not defined.
        reason : str
            Why kappa is NaN; empty if it is not.
        remark : str
            What to know of the interval, such as that there are few items; empty otherwise.

    Raises
    ------
    ValueError
        If the two have different lengths.

    See Also
    --------
    fleiss_kappa : More than two raters.

    Examples
    --------
    >>> from skdict.explorer import cohen_kappa
    >>> agreed = cohen_kappa(["yes", "no", "no", "yes"], ["yes", "no", "yes", "yes"])
    >>> agreed.kappa, agreed.agreement
    (0.5, 0.75)
    >>> cohen_kappa(["yes", "yes"], ["yes", "yes"]).reason
    "all answers are 'yes': chance alone agrees on every item"
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(
            "first and second must be one-dimensional with an entry for each item, got shapes "
            f"{first.shape} and {second.shape}"
        )
    categories, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    n_items, n_categories = first.size, categories.size
    pairs = codes[:n_items] * n_categories + codes[n_items:]
    table = np.zeros((n_items, n_categories**2))
    table[np.arange(n_items), pairs] = 1

    def kappas(weights):
        cells = (weights @ table).reshape(-1, n_categories, n_categories)
        cells = cells / np.maximum(cells.sum(axis=(1, 2), keepdims=True), 1)
        observed = np.trace(cells, axis1=1, axis2=2)
        return observed, (cells.sum(axis=2) * cells.sum(axis=1)).sum(axis=1)

    def exact():
        return cohen_kappa_score(first, second)

    return _estimated(kappas, exact, n_items, categories,
                      confidence_level, n_bootstrap, random_state)  # fmt: skip


def fleiss_kappa(
    counts, *, categories=None, confidence_level: float = 0.95, n_bootstrap: int = 1000,
    random_state=None,
):  # fmt: skip
    r"""Agreement of several raters beyond chance.

    With :math:`n_{ik}` of n raters that put item i into category k,

    .. math::

        P_i = \frac{\sum_k n_{ik}^2 - n}{n (n - 1)}, \quad p_k = \frac{1}{N n} \sum_i n_{ik},
        \quad \kappa = \frac{\bar P - \sum_k p_k^2}{1 - \sum_k p_k^2}

    Parameters
    ----------
    counts : array-like of int, shape (n_items, n_categories)
        How many raters put each item into each category; all rows have the same sum.
    categories : sequence or None, default=None
        What the columns stand for, for messages.
    confidence_level : float, default=0.95
        Level of the interval.
    n_bootstrap : int, default=1000
        Number of times that items are drawn with replacement.
    random_state : int, RandomState instance or None, default=None
        Draws the items.

    Returns
    -------
    Bunch
        As that of :func:`cohen_kappa`; ``agreement`` is the mean share of pairs of raters that
        agree.

    Raises
    ------
    ValueError
        If counts are negative, or rows have different sums or less than two ratings.

    References
    ----------
    J. L. Fleiss, "Measuring nominal scale agreement among many raters", Psychological Bulletin 76
    (1971), 378-382.

    Examples
    --------
    >>> from skdict.explorer import fleiss_kappa
    >>> round(fleiss_kappa([[3, 0], [0, 3], [2, 1], [3, 0]]).kappa, 3)
    0.625
    """
    counts = np.asarray(counts)
    if counts.ndim != 2 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ValueError(
            "counts must be a table of items by categories with integers of at least 0, got shape "
            f"{counts.shape} of {counts.dtype}"
        )
    totals = np.unique(counts.sum(axis=1))
    if totals.size > 1 or (totals < 2).any():
        raise ValueError(
            "counts must have the same number of ratings in each row, two at least, got rows with "
            f"{', '.join(map(str, totals[:5]))}; leave out items that some did not rate"
        )
    n_items, n_raters = counts.shape[0], int(totals[0]) if totals.size else 2
    pairs = ((counts.astype(float) ** 2).sum(axis=1) - n_raters) / (n_raters * (n_raters - 1))

    def kappas(weights):
        n_drawn = np.maximum(weights.sum(axis=1), 1)
        shares = weights @ counts / (n_drawn * n_raters)[:, None]
        return weights @ pairs / n_drawn, (shares**2).sum(axis=1)

    used = np.flatnonzero(counts.any(axis=0))
    names = used if categories is None else [categories[place] for place in used]
    return _estimated(kappas, None, n_items, names, confidence_level, n_bootstrap, random_state)


def _estimated(kappas, exact, n_items, categories, confidence_level, n_bootstrap, random_state):
    """Kappa with its interval from a function of weights of the items.

    The function returns observed and expected agreement for each row of weights; `exact` returns
    kappa itself where one is at hand.
    """
    check_real("confidence_level", confidence_level, 0, 1, open_low=True)
    check_integer("n_bootstrap", n_bootstrap, 1)
    found = Bunch(kappa=np.nan, low=np.nan, high=np.nan, agreement=np.nan, n_items=n_items,
                  undefined_share=1.0, reason="", remark="")  # fmt: skip
    if n_items == 0:
        found.reason = "there are no items with both answers"
        return found
    observed, expected = (float(part[0]) for part in kappas(np.ones((1, n_items))))
    found.agreement = observed
    if len(categories) < 2:  # then, and only then, the expected agreement is 1
        answer = getattr(categories[0], "item", lambda: categories[0])()
        found.reason = f"all answers are {answer!r}: chance alone agrees on every item"
        return found
    found.kappa = exact() if exact else (observed - expected) / (1 - expected)
    found.kappa = float(found.kappa)
    rng = check_random_state(random_state)
    weights = rng.multinomial(n_items, np.full(n_items, 1 / n_items), size=n_bootstrap)
    drawn, by_chance = kappas(weights)
    defined = by_chance < 1 - 1e-12
    found.undefined_share = float(1 - defined.mean())
    drawn = (drawn[defined] - by_chance[defined]) / (1 - by_chance[defined])
    if drawn.size:
        tail = 50 * (1 - confidence_level)
        limits = np.percentile(drawn, [tail, 100 - tail])
        found.low, found.high = map(float, limits)
    if observed > 1 - 1e-12:
        lowest = float(wilson_interval(np.array(n_items), np.array(n_items), confidence_level)[0])
        found.low, found.high = (lowest - expected) / (1 - expected), 1.0
    found.remark = _remark(found, confidence_level)
    return found


def _remark(found, confidence_level) -> str:
    """What to know of an interval."""
    remarks = []
    if found.n_items < _FEW_ITEMS:
        remarks.append(
            f"{found.n_items} items are few: the {100 * confidence_level:.4g}% interval is "
            f"{found.high - found.low:.2f} wide"
        )
    if found.undefined_share > 0.05:
        remarks.append(
            f"kappa is not defined in {100 * found.undefined_share:.0f}% of the draws, where all "
            "answers are the same; the interval leaves them out and may be too narrow"
        )
    return "; ".join(remarks)
