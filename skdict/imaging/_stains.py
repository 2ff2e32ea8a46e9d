"""Stain channels on the grid of tokens, and what an artefact of the microscope looks like there."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import polynomial

from skdict._validation import check_integer, host_array
from skdict.imaging._get_image import ImageSource

ARTEFACTS = ("light leak", "edge")
# A channel has a light leak if its background varies at least this much of the channel's own
# standard deviation. Measured: fields of cells 0.01 to 0.2, planted leaks 0.25 to 0.8.
LEAK = 0.25
# Patches above the background weigh a ninth of those below it; ten rounds settle who is above.
_ABOVE, _ROUNDS = 0.1, 10


def pool_channels(images, grid, *, n_images: int | None = None) -> np.ndarray:
    """Mean intensity of every channel within each patch.

    The paper does not say how a channel of 256 x 256 pixels is compared with a heatmap of 32 x 32
    tokens; the mean over the pixels that the token saw is the plain choice.

    Parameters
    ----------
    images : array-like, shape (n_images, n_channels, height, width), sequence or callable
        The images, or ``get_image(i)`` that returns one of shape (n_channels, height, width).
    grid : tuple of (int, int)
        Rows and columns of patches.
    n_images : int or None, default=None
        Number of images of a callable without a length.

    Returns
    -------
    ndarray of float32 or float64, shape (n_images, n_channels, n_rows, n_columns)
        The pooled channels; float64 for images of float64.

    Raises
    ------
    ValueError
        If the token grid does not match the image, images differ in shape, or a pixel is NaN or
        infinite.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import pool_channels
    >>> pool_channels(np.arange(16.0).reshape(1, 1, 4, 4), (2, 2))[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    rows, columns = grid
    check_integer("grid", rows, 1)
    check_integer("grid", columns, 1)
    source = ImageSource(images, n_images)
    pooled = [_pooled(source[0], (rows, columns), 0)]
    for i in range(1, len(source)):
        pooled.append(_pooled(source[i], (rows, columns), i))
        if pooled[i].shape != pooled[0].shape:
            raise ValueError(
                f"images must all have {pooled[0].shape[0]} channels as image 0, image {i} has "
                f"{pooled[i].shape[0]}"
            )
    return np.stack(pooled)


def _pooled(image: np.ndarray, grid, i: int) -> np.ndarray:
    check_grid(grid, image.shape[1:], f"image {i}")
    height, width = image.shape[1] // grid[0], image.shape[2] // grid[1]
    blocks = image.reshape(image.shape[0], grid[0], height, grid[1], width)
    dtype = np.float64 if image.dtype == np.float64 else np.float32
    means = blocks.mean(axis=(2, 4), dtype=np.float64).astype(dtype)
    if not np.isfinite(means).all():
        raise ValueError(f"image {i} holds NaN or infinite pixels")
    return means


def check_grid(grid, pixels, what: str) -> tuple[int, int]:
    """Height and width of a patch; raise ValueError unless the grid divides the image."""
    if any(size % cells or size < cells for size, cells in zip(pixels, grid, strict=True)):
        raise ValueError(
            f"the token grid does not match the image: {grid[0]} x {grid[1]} tokens cannot divide "
            f"the {pixels[0]} x {pixels[1]} pixels of {what} into equal patches"
        )
    return pixels[0] // grid[0], pixels[1] // grid[1]


def artefact_maps(stains) -> np.ndarray:
    r"""What a light leak and the border of the image look like, as two more channels.

    *Light leak*: the background of each channel, a polynomial of degree 2 in the place that lies
    below the cells (asymmetric least squares, in which a patch above the surface weighs a ninth
    of one below it). Cells stand out of the background, a leak lifts the background itself.
    Channels whose background varies by at least a quarter of their own standard deviation are
    scaled to unit variance and averaged; an image without any has no light leak, and a map of
    zeros. *Edge*: one on the outermost ring of patches, zero inside; transformers often treat
    patches with few neighbours in their own way.

    Parameters
    ----------
    stains : array-like, shape (n_images, n_channels, n_rows, n_columns)
        Channels on the grid of tokens (:func:`pool_channels`).

    Returns
    -------
    ndarray, shape (n_images, 2, n_rows, n_columns)
        Both maps of every image, in the order "light leak", "edge".

    Raises
    ------
    ValueError
        If the shape is another one.

    Notes
    -----
    Where cells fill the image there is no background to see, and the surface follows the cells:
    crops within one large cell can look like a light leak. Uneven illumination of brightfield
    images is one.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import artefact_maps
    >>> leak = np.linspace(0.0, 1.0, 8) ** 2 * np.ones((1, 1, 8, 8))
    >>> maps = artefact_maps(leak)
    >>> round(float(np.corrcoef(maps[0, 0].ravel(), leak.ravel())[0, 1]), 2)
    1.0
    >>> int(maps[0, 1].sum())  # the ring of an 8 x 8 grid
    28
    """
    stains = check_stains(stains)
    n_images, _, rows, columns = stains.shape
    surface = _surfaces(rows, columns)
    maps = np.zeros((n_images, 2, rows, columns), stains.dtype)
    for i, image in enumerate(stains):
        channels = image.reshape(image.shape[0], -1)
        fits = _background(channels, surface)
        fits -= fits.mean(axis=1, keepdims=True)
        spread, own = fits.std(axis=1), channels.std(axis=1, dtype=np.float64)
        leaking = (spread >= LEAK * own) & (own > 0)
        if leaking.any():
            scaled = fits[leaking] / spread[leaking, None]
            maps[i, 0] = scaled.mean(axis=0).reshape(rows, columns)
    maps[:, 1, [0, -1], :] = 1
    maps[:, 1, :, [0, -1]] = 1
    return maps


def check_stains(stains) -> np.ndarray:
    """Return stains as a finite float array of four dimensions."""
    stains = np.asarray(host_array(stains, name="stains"))
    if stains.ndim != 4 or 0 in stains.shape:
        raise ValueError(
            "stains must have shape (n_images, n_channels, n_rows, n_columns) and not be empty, "
            f"got shape {stains.shape}; pool_channels brings images to the grid of tokens"
        )
    stains = stains.astype(np.result_type(stains.dtype, np.float32), copy=False)
    if not np.isfinite(stains).all():
        raise ValueError("stains holds NaN or infinite values")
    return stains


def _surfaces(rows: int, columns: int) -> np.ndarray:
    """Monomials up to degree 2 of the place, shape (n_tokens, 6)."""
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    monomials = polynomial.polyvander2d(y.ravel(), x.ravel(), [2, 2])
    degree = np.add.outer(np.arange(3), np.arange(3)).ravel()
    return monomials[:, degree <= 2]


def _background(values: np.ndarray, surface: np.ndarray) -> np.ndarray:
    """Smooth surfaces below the cells, one per row of `values`: asymmetric least squares."""
    values = values.astype(np.float64)
    products = (surface[:, :, None] * surface[:, None, :]).reshape(len(surface), -1)
    weights = np.ones_like(values)
    for _ in range(_ROUNDS):
        normal = (weights @ products).reshape(-1, surface.shape[1], surface.shape[1])
        # A pseudo-inverse, since a grid of one row leaves some monomials alike.
        inverse = np.linalg.pinv(normal, hermitian=True)
        slopes = np.einsum("nij,nj->ni", inverse, (weights * values) @ surface)
        fit = slopes @ surface.T
        weights = np.where(values > fit, _ABOVE, 1 - _ABOVE)
    return fit
