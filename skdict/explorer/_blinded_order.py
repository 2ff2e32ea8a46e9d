"""What a blinded study shows and in which order: drawn items, repeats apart, neutral codes."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral

import numpy as np
from scipy import sparse

from skdict._validation import check_integer


def drawn_items(items, n_per_kind, n_examples: int, rng) -> list[dict]:
    """Draw items of each kind, with the samples that activate them most.

    Parameters
    ----------
    items : dict
        Kinds, as in :func:`make_blinded_study`.
    n_per_kind : int, dict or None
        How many of each.
    n_examples : int
        Samples of each item.
    rng : RandomState
        Draws.

    Returns
    -------
    list of dict
        ``kind``, ``id`` and ``examples`` (None where only ids were given) of each item.
    """
    if not isinstance(items, Mapping) or not items:
        raise TypeError(
            "items must be a dict of kinds to activations or ids, for example "
            f'{{"concept": codes, "neuron": X}}, got {type(items).__name__}'
        )
    found = []
    for kind, source in items.items():
        if not isinstance(kind, str) or not kind.strip():
            raise ValueError(f"items must have kinds with names, got {kind!r}")
        wanted = n_per_kind.get(kind) if isinstance(n_per_kind, Mapping) else n_per_kind
        check_integer(f"n_per_kind of {kind!r}", wanted, 1, none=True)
        draw = _from_activations if _is_matrix(source) else _from_ids
        found += [{"kind": kind} | item for item in draw(kind, source, wanted, n_examples, rng)]
    if len({item["examples"] is None for item in found}) > 1:
        raise ValueError(
            "items must have activations for all kinds or for none: examples beside some items "
            "would tell their kind"
        )
    return found


def _is_matrix(source) -> bool:
    return sparse.issparse(source) or getattr(source, "ndim", 0) == 2


def _from_activations(kind, source, wanted, n_examples, rng) -> list[dict]:
    """Columns that enough samples activate, drawn at random."""
    source = source.tocsc() if sparse.issparse(source) else source
    found = []
    for column in rng.permutation(source.shape[1]):
        if wanted is not None and len(found) == wanted:
            break
        values = source[:, [column]]
        values = values.todense() if sparse.issparse(values) else values
        values = np.asarray(values, dtype=np.float64).ravel()  # unsigned ones have no negatives
        if not np.isfinite(values).all():
            raise ValueError(f"items[{kind!r}] must be finite, got NaN or inf in column {column}")
        if (values > 0).sum() >= n_examples:
            top = np.argsort(-values, kind="stable")[:n_examples]
            found.append({"id": int(column), "examples": top.tolist()})
    if len(found) < (wanted or 1):
        raise ValueError(
            f"items[{kind!r}] has {len(found)} items that at least {n_examples} samples activate "
            f"(n_examples), fewer than the {wanted or 1} wanted; lower n_per_kind or n_examples"
        )
    return found


def _from_ids(kind, source, wanted, n_examples, rng) -> list[dict]:
    """Some of the ids, without examples."""
    ids = source.tolist() if isinstance(source, np.ndarray) else list(source)
    ids = [int(name) if isinstance(name, Integral) else name for name in ids]
    if any(not isinstance(name, (int, str)) for name in ids) or len(set(ids)) < len(ids):
        raise ValueError(
            f"items[{kind!r}] must be activations (n_samples, n_items), or different ids that are "
            "int or str"
        )
    if len(ids) < (wanted or 1):
        raise ValueError(
            f"items[{kind!r}] has {len(ids)} items, fewer than the {wanted or 1} wanted; lower "
            "n_per_kind"
        )
    chosen = rng.permutation(len(ids))[:wanted]
    return [{"id": ids[place], "examples": None} for place in chosen]


def presentation_order(n_items: int, repeated, rng) -> np.ndarray:
    """Random order of all items and the repeated ones once more, never next to each other.

    Parameters
    ----------
    n_items : int
        Number of items.
    repeated : array-like of int
        Items that come twice.
    rng : RandomState
        Draws.

    Returns
    -------
    ndarray of int, shape (n_items + n_repeats,)
        Item at each place. The two places of a repeated item are a quarter of the whole apart
        where that can be found, and never neighbours.
    """
    repeated = np.asarray(repeated, dtype=np.int64)
    if repeated.size and n_items < 2:
        raise ValueError("n_repeats must be 0 for a study of one item: repeats would be neighbours")
    everything = np.concatenate([np.arange(n_items), repeated])
    for gap in (max(2, everything.size // 4), max(2, everything.size // 8), 2):
        for _ in range(20):
            order = _moved_apart(rng.permutation(everything), repeated, gap, rng)
            if order is not None:
                return order
    once = np.setdiff1d(np.arange(n_items), repeated)  # the same order twice: n_items apart
    return np.concatenate([repeated, rng.permutation(once), repeated])


def _moved_apart(order, repeated, gap, rng):
    """Order with swaps that move repeats apart; None if none were found."""
    places = {int(item): np.flatnonzero(order == item) for item in repeated}

    def near(item) -> bool:
        pair = places.get(int(item))
        return pair is not None and abs(pair[1] - pair[0]) < gap

    for item in repeated:
        for _ in range(200):
            if not near(item):
                break
            here, there = places[int(item)][1], rng.randint(order.size)
            _swap(order, places, here, there)
            if near(order[here]) or near(order[there]):
                _swap(order, places, here, there)
        if near(item):
            return None
    return order


def _swap(order, places, here, there) -> None:
    """Exchange two places."""
    order[[here, there]] = order[[there, here]]
    for item in {int(order[here]), int(order[there])} & set(places):
        places[item] = np.flatnonzero(order == item)


def neutral_codes(n: int, rng) -> list[str]:
    """Different codes of digits, as many as wanted, that say nothing."""
    length = max(4, len(str(10 * n)))
    low = 10 ** (length - 1)
    numbers = rng.choice(9 * low, n, replace=False) + low
    return [str(number) for number in numbers]
