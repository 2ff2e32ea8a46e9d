"""Sums over images that the p-values of channel correlations need."""

from __future__ import annotations

import numpy as np
from scipy import stats


class PositionShare:
    """Share of the heatmaps' variance that the position explains."""

    def __init__(self, directions):
        self.directions, self.mean = directions, 0.0
        self.square = np.zeros(directions.shape[0])

    def add(self, rows) -> None:
        """Add the centred tokens of one image."""
        self.mean = self.mean + rows.astype(np.float64)

    def add_squares(self, block, square) -> None:
        """Add the squared lengths of one image's heatmaps."""
        self.square[block] += square

    def share(self, n_images: int, centered: bool) -> np.ndarray:
        """Variance of the mean heatmap over the mean variance, without the share of chance."""
        if n_images < 2 or centered:
            return np.full(self.square.shape, np.nan)
        rows = self.mean / n_images
        fixed = np.einsum("ij,ij->i", self.directions @ (rows.T @ rows), self.directions)
        share = fixed / np.where(self.square > 0, self.square / n_images, np.inf)
        return (share - 1 / n_images) / (1 - 1 / n_images)


class Tally:
    """Weighted sums over images of the observed correlations and of the draws."""

    def __init__(self, n_features: int, n_channels: int, n_permutations: int):
        shape = (n_features, 1 + n_permutations, n_channels)
        self.total = np.zeros(shape, dtype=np.float32)
        self.center = np.zeros((n_features, n_channels))
        self.variance = np.zeros((n_features, n_channels))
        self.spread = np.zeros((n_features, n_channels))

    def add(self, block: slice, r: np.ndarray, weight: np.ndarray) -> None:
        """Add one image: r of shape (n_block, 1 + n_permutations, n_channels)."""
        self.total[block] += weight[:, None].astype(r.dtype) * r
        mean = r.mean(axis=1, dtype=np.float64)
        square = np.einsum("mbk,mbk->mk", r, r) / r.shape[1]
        self.center[block] += weight * mean
        variance = weight**2 * np.maximum(square - mean**2, 0)
        self.variance[block] += variance
        self.spread[block] += np.sqrt(variance)

    def result(self, tested: np.ndarray, smallest: float, tie: float) -> dict:
        """Effects and p-values, not below `smallest`, of the pairs that are tested; NaN else.

        `tie` is the correlation of what different images contribute under the null.
        """
        spread = np.sqrt((1 - tie) * self.variance + tie * self.spread**2)
        standard = self.total - self.center[:, None]
        standard /= np.where(spread > 0, spread, np.inf)[:, None]
        z, p_value, family_wise, pooled = _p_values(standard)
        q_value = np.full(tested.shape, np.nan)
        q_value[tested] = stats.false_discovery_control(pooled[tested])
        values = {
            "r": self.total[:, 0].astype(np.float64), "null_mean": self.center,
            "null_spread": spread, "z": z, "p_value": np.maximum(p_value, smallest),
            "family_wise_p_value": np.maximum(family_wise, smallest),
        }  # fmt: skip
        return {name: np.where(tested, value, np.nan) for name, value in values.items()} | {
            "q_value": q_value
        }


def _p_values(standard: np.ndarray):
    """Observed z, and p-values of the pair, of the family and of all draws of its channel.

    `standard` has shape (n_features, 1 + n_permutations, n_channels), the observed ones first.
    """
    z, null = standard[:, 0].astype(np.float64), np.abs(standard[:, 1:])
    own = np.abs(z) * (1 - 1e-6)  # ties by rounding count as reached
    n_draws = standard.shape[1]
    p_value = (1 + (null >= own[:, None]).sum(axis=1)) / n_draws
    largest = np.sort(null.max(axis=(0, 2)))
    family_wise = (n_draws - np.searchsorted(largest, own)) / n_draws
    pooled = np.empty_like(p_value)
    for k in range(null.shape[2]):
        everything = np.sort(null[..., k], axis=None)
        reached = everything.size - np.searchsorted(everything, own[:, k])
        pooled[:, k] = (1 + reached) / (1 + everything.size)
    return z, p_value, family_wise, pooled
