"""Stains as they would lie if they had nothing to do with the heatmap of their image."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from skdict._units import encode_names
from skdict._validation import check_choice

NULLS = ("shift", "swap")


class StainDraws:
    """Draws of an image's stains under the null, centred and of unit length.

    Parameters
    ----------
    stains : ndarray, shape (n_images, n_channels, n_rows, n_columns)
        The stains.
    n_stains : int
        Leading channels that may be swapped. What follows are maps of artefacts, which lie in one
        place of many images by their nature: they are shifted whatever the null.
    null : {"shift", "swap"}
        Shift the stains of an image, or take those of another image.
    n_permutations : int
        Draws per image.
    strata : array-like, shape (n_images,), or None
        Images are swapped within the same stratum.
    rng : RandomState
        Source of the draws.
    center : bool, default=False
        Subtract the mean over images from every draw, as was done to `stains`. It ties the images
        to each other, and draws that lack the tie scatter too little.
    """

    def __init__(
        self, stains, n_stains: int, null: str, n_permutations: int, strata, rng, center=False
    ):
        check_choice("null", null, NULLS)
        self.stains, self.n_permutations = stains, n_permutations
        self.n_swapped = n_stains if null == "swap" else 0
        n_images, _, rows, columns = stains.shape
        stratum = np.zeros(n_images, dtype=np.intp)
        if strata is not None:
            stratum = encode_names(strata, n_images, "strata")[1]
        self.sizes = np.bincount(stratum)
        if null == "swap":
            if self.sizes.max() < 2:
                raise ValueError(
                    "null='swap' needs a stratum with at least 2 images to swap, got "
                    f"{n_images} image(s) in {self.sizes.size} strata; use null='shift'"
                )
            self.partner = _permutations(stratum, n_permutations, rng)
        self.offset = np.stack(
            [rng.randint(0, 2 * size, (n_images, n_permutations)) for size in (rows, columns)]
        )
        self.mean = sum(map(self._drawn, range(n_images))) / n_images if center else 0.0

    def __getitem__(self, image: int) -> np.ndarray:
        """Draws for one image, shape (n_permutations, n_channels, n_tokens)."""
        drawn = self._drawn(image) - self.mean
        return unit_rows(drawn.reshape(*drawn.shape[:2], -1))

    def _drawn(self, image: int) -> np.ndarray:
        """Draws for one image, shape (n_permutations, n_channels, n_rows, n_columns)."""
        drawn = _shifted(self.stains[image, self.n_swapped :], self.offset[:, image])
        if self.n_swapped:
            swapped = self.stains[self.partner[:, image], : self.n_swapped]
            drawn = np.concatenate([swapped, drawn], axis=1)
        return drawn

    @property
    def smallest_p_value(self) -> float:
        """No p-value of a single pair is below this."""
        smallest = 1 / (1 + self.n_permutations)
        if self.n_swapped:
            smallest = max(smallest, float(np.exp(-gammaln(self.sizes + 1.0).sum())))
        return smallest


def _permutations(stratum: np.ndarray, n_permutations: int, rng) -> np.ndarray:
    """Random permutations of images within strata, shape (n_permutations, n_images)."""
    order = np.argsort(stratum, kind="stable")
    shuffled = np.argsort(stratum + rng.random_sample((n_permutations, stratum.size)), axis=1)
    permuted = np.empty_like(shuffled)
    permuted[:, order] = shuffled
    return permuted


def _shifted(stains: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Windows on the mirrored continuation of stains, shape (n_draws, n_channels, rows, columns).

    Mirrored at its borders the field repeats every 2 x rows and 2 x columns without a seam. A
    plain circular shift has one, and with it a null that is up to 10% too narrow on smooth fields.
    """
    _, rows, columns = stains.shape
    y, x = (
        _mirror(start[:, None] + np.arange(size), size)
        for start, size in zip(offset, (rows, columns), strict=True)
    )
    return stains[:, y[:, :, None], x[:, None, :]].swapaxes(0, 1)


def _mirror(place: np.ndarray, size: int) -> np.ndarray:
    """Index into a line of `size` for places on its mirrored continuation."""
    place = place % (2 * size)
    return np.minimum(place, 2 * size - 1 - place)


def unit_rows(values: np.ndarray) -> np.ndarray:
    """Centre the last axis and scale it to unit length; what is constant becomes zero."""
    values = values - values.mean(axis=-1, keepdims=True)
    length = np.sqrt(np.einsum("...i,...i->...", values, values))[..., None]
    return values / np.where(length > 0, length, 1)
