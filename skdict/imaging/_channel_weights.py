"""How much each image counts in the mean correlation of a feature and a channel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from skdict._units import Units, read_units

# Correlations worked on at once: 32 MB in float64.
_VALUES = 1 << 22


def varies(stains: np.ndarray) -> np.ndarray:
    """Which stains are not constant up to rounding, shape (n_images, n_channels)."""
    flat = stains.reshape(*stains.shape[:2], -1)
    return np.ptp(flat, axis=-1) > 1e-6 * np.abs(flat).max(axis=-1)


def tie_of_images(n_images: int, center_positions: bool) -> float:
    """Correlation of what two images contribute by chance.

    Deviations from a mean over n images sum to zero, so that those of two images correlate with
    -1 / (n - 1), in the heatmaps as in the stains; the products of both with its square.
    """
    return 1 / (n_images - 1) ** 2 if center_positions else 0.0


@dataclass(frozen=True)
class ImageWeights:
    """How much each image counts: units alike, within a unit images alike.

    Attributes
    ----------
    units : Units
        The units of the images.
    valid : ndarray of bool, shape (n_images, n_channels)
        Where the stain varies.
    counts : ndarray of bool, shape (n_images, n_features or 1)
        Which images count for a feature.
    n_features : int
        Number of features.
    per_unit : ndarray of int32, shape (n_units, n_features or 1, n_channels)
        Images of each unit that count.
    """

    units: Units
    valid: np.ndarray
    counts: np.ndarray
    n_features: int
    per_unit: np.ndarray

    @classmethod
    def read(cls, units, chosen, valid, n_features: int, names) -> ImageWeights:
        """Validate what the caller gave; `names` are those of the channels that must vary."""
        n_images = valid.shape[0]
        counts = np.ones((n_images, 1), dtype=bool)
        if chosen is not None:
            chosen = np.asarray(chosen)
            if chosen.dtype != np.bool_ or chosen.shape not in (
                (n_images,), (n_images, n_features),
            ):  # fmt: skip
                raise ValueError(
                    f"chosen must be a boolean mask of shape ({n_images},) or ({n_images}, "
                    f"{n_features}), got dtype {chosen.dtype} and shape {chosen.shape}"
                )
            counts = ~(chosen[:, None] if chosen.ndim == 1 else chosen)
            if not counts.any(axis=0).all():
                feature = int(np.flatnonzero(~counts.any(axis=0))[0])
                raise ValueError(
                    f"chosen leaves no image to test feature {feature} on; test on other images "
                    "than those that chose it"
                )
        empty = [name for name, there in zip(names, valid.any(axis=0)) if not there]
        if empty:
            raise ValueError(
                f"channel {', '.join(map(repr, empty))} is constant on every image, so that "
                "nothing can correlate with it; leave it out of stains"
            )
        units = read_units(units, None, n_images)
        per_unit = np.zeros((units.n_units, counts.shape[1], valid.shape[1]), dtype=np.int32)
        np.add.at(per_unit, units.index, counts[:, :, None] & valid[:, None, :])
        return cls(units, valid, counts, n_features, per_unit)

    def of(self, image: int, block: slice) -> np.ndarray:
        """Weights of one image, shape (n_block, n_channels)."""
        rows = block if self.counts.shape[1] > 1 else slice(None)
        size = block.stop - block.start
        usable = self.counts[image, rows, None] & self.valid[image]
        within = self.per_unit[self.units.index[image], rows]
        n_units = self.units_that_count[rows]
        weight = np.where(usable, 1 / np.maximum(within * n_units, 1), 0)
        return np.broadcast_to(weight, (size, weight.shape[1]))

    @cached_property
    def units_that_count(self) -> np.ndarray:
        """Units behind each mean, shape (n_features or 1, n_channels)."""
        return np.count_nonzero(self.per_unit, axis=0)

    def n_units(self) -> np.ndarray:
        """Units behind each mean, shape (n_features, n_channels)."""
        return self._wide(self.units_that_count)

    def n_images(self) -> np.ndarray:
        """Images behind each mean, shape (n_features, n_channels)."""
        return self._wide(self.per_unit.sum(axis=0))

    def _wide(self, values) -> np.ndarray:
        return np.broadcast_to(values, (self.n_features, values.shape[1])).copy()

    def interval(self, image_r, level: float, tie: float) -> tuple[np.ndarray, np.ndarray]:
        """Student's t interval of the mean over units, shape (n_features, n_channels) twice.

        `tie` is that of :func:`tie_of_images`: images that are tied scatter less around their
        mean than the mean does around the truth.
        """
        mean, error, freedom = self._moments(image_r)
        with np.errstate(invalid="ignore"):
            half = stats.t.ppf((1 + level) / 2, np.where(freedom > 0, freedom, np.nan)) * error
        n_images = image_r.shape[0]
        widening = (1 + (n_images - 1) * tie) / (1 - tie) if tie < 1 else np.nan
        half *= np.sqrt(widening)
        return mean - half, mean + half

    def _moments(self, image_r):
        """Mean over units, its standard error and degrees of freedom, in blocks of features."""
        shape = image_r.shape[1:]
        mean, error = np.empty(shape), np.empty(shape)
        freedom = self.n_units() - 1
        width = max(1, _VALUES // (image_r.shape[0] * shape[1]))
        for start in range(0, shape[0], width):
            block = slice(start, min(start + width, shape[0]))
            rows = block if self.counts.shape[1] > 1 else slice(None)
            usable = self.counts[:, rows, None] & self.valid[:, None, :]
            values = np.where(usable, image_r[:, block], 0).astype(np.float64)
            sums = np.zeros((self.units.n_units, *values.shape[1:]))
            np.add.at(sums, self.units.index, values)
            within = np.broadcast_to(self.per_unit[:, rows], sums.shape)
            units = sums / np.maximum(within, 1)
            there = within > 0
            n_units = there.sum(axis=0)
            mean[block] = np.where(there, units, 0).sum(axis=0) / np.maximum(n_units, 1)
            square = np.where(there, (units - mean[block]) ** 2, 0).sum(axis=0)
            error[block] = np.sqrt(square / np.maximum((n_units - 1) * n_units, 1))
        return mean, error, freedom
