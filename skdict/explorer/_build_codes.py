"""What the codes alone say of each concept: activation, histogram, and samples that show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.utils.random import sample_without_replacement

from skdict.metrics._activity import check_codes


@dataclass(frozen=True)
class PositiveCodes:
    """Codes above 0, by sample and by concept.

    Attributes
    ----------
    by_sample : csr_array of float32, shape (n_samples, n_concepts)
        The codes.
    by_concept : csc_array of float32, shape (n_samples, n_concepts)
        The same, samples of each concept ascending.
    n_negative : int
        Codes below 0, which are left out.
    """

    by_sample: sparse.csr_array
    by_concept: sparse.csc_array
    n_negative: int


def positive_codes(codes) -> PositiveCodes:
    """Take the codes above 0 as float32, without a dense copy of sparse codes.

    Parameters
    ----------
    codes : array-like or sparse, shape (n_samples, n_concepts)
        Codes.

    Returns
    -------
    PositiveCodes
        The codes that count as active.

    Raises
    ------
    ValueError
        If they are not two-dimensional, numeric and finite, also as float32.
    """
    matrix = check_codes(codes)
    if not sparse.issparse(matrix):
        matrix = sparse.csr_array(matrix)
    n_negative = int(np.count_nonzero(matrix.data < 0))
    with np.errstate(over="ignore"):
        values = matrix.data.astype(np.float32)
    if not np.isfinite(values).all():
        largest = float(np.abs(matrix.data).max())
        raise ValueError(
            f"codes must fit into float32, got a value of {largest:.3g}; scale the codes"
        )
    kept = values > 0
    indptr = np.concatenate(([0], np.cumsum(kept)))[matrix.indptr]
    by_sample = sparse.csr_array((values[kept], matrix.indices[kept], indptr), shape=matrix.shape)
    return PositiveCodes(by_sample, by_sample.tocsc(), n_negative)


@dataclass(frozen=True)
class ExampleCounts:
    """How many examples of each kind a concept has."""

    top: int
    random: int
    quantiles: int
    per_quantile: int


def describe_concepts(codes: PositiveCodes, wanted: ExampleCounts, n_bins: int, rng) -> dict:
    """Statistics, histogram and examples of every concept.

    Parameters
    ----------
    codes : PositiveCodes
        The codes.
    wanted : ExampleCounts
        Numbers of examples.
    n_bins : int
        Bins of the histogram.
    rng : RandomState
        Draws the random examples.

    Returns
    -------
    dict of ndarray
        ``n_active``, ``mean_activation``, ``max_activation``, ``histogram_counts``, and examples
        as ``top``, ``random``, ``quantile`` and ``inactive``, -1 where there are not enough.
    """
    n_samples, n_concepts = codes.by_concept.shape
    found = {
        "n_active": np.diff(codes.by_concept.indptr).astype(np.int32),
        "mean_activation": np.zeros(n_concepts, dtype=np.float32),
        "max_activation": np.zeros(n_concepts, dtype=np.float32),
        "histogram_counts": np.zeros((n_concepts, n_bins), dtype=np.int32),
        "top": _missing(n_concepts, wanted.top),
        "random": _missing(n_concepts, wanted.random),
        "quantile": _missing(n_concepts, wanted.quantiles, wanted.per_quantile),
        "inactive": _missing(n_concepts, wanted.random),
    }
    bounds = codes.by_concept.indptr.tolist()
    for concept, (start, stop) in enumerate(zip(bounds[:-1], bounds[1:])):
        samples = codes.by_concept.indices[start:stop]
        _fill(found["inactive"][concept], _inactive(samples, n_samples, wanted.random, rng))
        if stop == start:
            continue
        values = codes.by_concept.data[start:stop].astype(np.float64)
        largest = values.max()
        found["mean_activation"][concept], found["max_activation"][concept] = values.mean(), largest
        bins = np.minimum((values / largest * n_bins).astype(np.intp), n_bins - 1)
        found["histogram_counts"][concept] = np.bincount(bins, minlength=n_bins)
        descending = samples[np.argsort(-values, kind="stable")]
        _fill(found["top"][concept], descending[: wanted.top])
        _fill(found["random"][concept], _some(samples, wanted.random, rng))
        # by the middle of each sample's rank: of one sample alone it is in the middle band
        n_active = descending.shape[0]
        band_of = ((np.arange(n_active) + 0.5) * wanted.quantiles / n_active).astype(np.intp)
        for band, row in enumerate(found["quantile"][concept]):
            _fill(row, _some(descending[::-1][band_of == band], wanted.per_quantile, rng))
    return found


def _missing(*shape) -> np.ndarray:
    return np.full(shape, -1, dtype=np.int32)


def _fill(row: np.ndarray, samples: np.ndarray) -> None:
    row[: samples.shape[0]] = samples


def _some(samples: np.ndarray, n: int, rng) -> np.ndarray:
    """At most n of the samples, in their order."""
    if samples.shape[0] <= n:
        return samples
    return samples[np.sort(sample_without_replacement(samples.shape[0], n, random_state=rng))]


def _inactive(active: np.ndarray, n_samples: int, n: int, rng) -> np.ndarray:
    """At most n random samples that are not among the (ascending) active ones."""
    n_inactive = n_samples - active.shape[0]
    chosen = sample_without_replacement(n_inactive, min(n, n_inactive), random_state=rng)
    # The r-th inactive sample comes after all active ones with at most r inactive ones before.
    before = active - np.arange(active.shape[0])
    return np.sort(chosen + np.searchsorted(before, chosen, side="right"))
