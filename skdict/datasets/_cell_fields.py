"""Planted fields of cells: images, masks, and tokens with directions of known meaning."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from sklearn.utils import Bunch, check_random_state

from skdict._validation import check_integer, check_real

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito")
# What a direction is tied to, beside one for each channel.
PLANTED = ("no cell", "perturbed", "ring", "light leak", "edge")


def make_cell_fields(
    n_images: int = 12,
    n_wells: int = 4,
    grid=(32, 32),
    patch_size: int = 8,
    n_cells: int = 14,
    *,
    n_features: int = 48,
    n_null: int = 10,
    perturbed_fraction: float = 0.4,
    light_leak_fraction: float = 0.25,
    smoothness=(1.0, 3.0),
    noise: float = 0.5,
    dtype=np.float32,
    random_state=None,
) -> Bunch:
    r"""Draw images of cells in five stains, and patch tokens whose directions are known.

    Cells are ellipses at random places; some are *perturbed*, smaller and brighter. Some
    images have a light leak, a haze in one corner of all channels. The token of patch p of
    image i is the superposition

    .. math::

       t_{ip} = \sum_k a_{ikp}\, w_k + e_{ip}

    of unit directions :math:`w_k` (orthogonal where there is room) with maps :math:`a_k`
    of unit variance, and Gaussian noise. There is one map per channel, its stain; "no cell", high
    where all stains are low; "perturbed", the share of the patch that perturbed cells
    cover; "ring", the same for a band around the boundary of every cell; "light leak";
    "edge", the outermost ring of patches on all images; and smooth random fields that are
    tied to nothing.

    Parameters
    ----------
    n_images : int, default=12
        Number of images (fields).
    n_wells : int, default=4
        Wells that the fields lie in, one after the other.
    grid : tuple of (int, int), default=(32, 32)
        Rows and columns of patches.
    patch_size : int, default=8
        Pixels along a patch.
    n_cells : int, default=14
        Cells that are placed in each image; those that would lie on another one are left out.
    n_features : int, default=48
        Length of a token.
    n_null : int, default=10
        Directions that are tied to nothing.
    perturbed_fraction : float, default=0.4
        Chance of a cell to be perturbed.
    light_leak_fraction : float, default=0.25
        Share of the images that have a light leak.
    smoothness : tuple of (float, float), default=(1.0, 3.0)
        Range of the standard deviation, in patches, of the Gaussian that smooths a field tied to
        nothing.
    noise : float, default=0.5
        Standard deviation of the noise along every direction.
    dtype : dtype, default=numpy.float32
        Type of tokens and images.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    Bunch
        images : ndarray, shape (n_images, 5, height, width)
            The stains.
        channels : ndarray of str, shape (5,)
            Their names.
        labels : ndarray of int32, shape (n_images, height, width)
            Label images: 0 is background, one number per cell.
        light_leak : ndarray of bool, shape (n_images,)
            Images with a light leak.
        well : ndarray of str, shape (n_images,)
            Well of each image.
        cell_image, cell_label : ndarray of int, shape (n_cells_placed,)
            Image and label of every cell, in this order.
        cell_perturbed : ndarray of bool, shape (n_cells_placed,)
            Whether the cell is perturbed.
        tokens : ndarray, shape (n_images, n_rows, n_columns, n_features)
            The tokens.
        directions : ndarray, shape (n_directions, n_features)
            The directions.
        names : ndarray of str, shape (n_directions,)
            What each is tied to: a channel, one of "no cell", "perturbed", "ring", "light leak",
            "edge", or "null".
        maps : ndarray, shape (n_images, n_directions, n_rows, n_columns)
            The planted maps.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> from skdict.datasets import make_cell_fields
    >>> fields = make_cell_fields(n_images=4, n_wells=2, n_null=1, random_state=0)
    >>> fields.tokens.shape, fields.images.shape
    ((4, 32, 32, 48), (4, 5, 256, 256))
    >>> fields.names.tolist()[5:]
    ['no cell', 'perturbed', 'ring', 'light leak', 'edge', 'null']
    """
    _check(n_images, n_wells, grid, patch_size, n_cells, n_features, n_null)
    check_real("perturbed_fraction", perturbed_fraction, 0, 1)
    check_real("light_leak_fraction", light_leak_fraction, 0, 1)
    check_real("noise", noise, 0, np.inf)
    rng = check_random_state(random_state)
    shape = (grid[0] * patch_size, grid[1] * patch_size)
    leaks = np.zeros(n_images, dtype=bool)
    leaks[rng.permutation(n_images)[: round(light_leak_fraction * n_images)]] = True
    fields = [_field(shape, patch_size, n_cells, perturbed_fraction, leak, rng) for leak in leaks]
    n_null_fields = [_smooth(grid, smoothness, n_null, rng) for _ in fields]
    names = np.array([*CHANNELS, *PLANTED, *["null"] * n_null])
    maps = np.stack(
        [_planted(field, grid, null) for field, null in zip(fields, n_null_fields, strict=True)]
    )
    directions = _directions(names.size, n_features, rng)
    tokens = np.einsum("ikyx,kd->iyxd", maps, directions, optimize=True)
    tokens += noise * rng.standard_normal(tokens.shape)
    perturbed = [field["perturbed"] for field in fields]
    return Bunch(
        images=np.stack([field["stains"] for field in fields]).astype(dtype),
        channels=np.array(CHANNELS),
        labels=np.stack([field["labels"] for field in fields]),
        light_leak=leaks,
        well=np.array([f"well {i * n_wells // n_images}" for i in range(n_images)]),
        cell_image=np.repeat(np.arange(n_images), [cells.size for cells in perturbed]),
        cell_label=np.concatenate([np.arange(1, cells.size + 1) for cells in perturbed]),
        cell_perturbed=np.concatenate(perturbed),
        tokens=tokens.astype(dtype),
        directions=directions.astype(dtype),
        names=names,
        maps=maps.astype(dtype),
    )


def _check(n_images, n_wells, grid, patch_size, n_cells, n_features, n_null) -> None:
    check_integer("n_images", n_images, 1)
    check_integer("n_wells", n_wells, 1)
    for size in grid:
        check_integer("grid", size, 4)
    check_integer("patch_size", patch_size, 1)
    check_integer("n_cells", n_cells, 0)
    check_integer("n_features", n_features, 1)
    check_integer("n_null", n_null, 0)
    if n_wells > n_images:
        raise ValueError(f"n_wells must be at most n_images = {n_images}, got {n_wells}")


def _field(shape, patch_size, n_cells, perturbed_fraction, leak, rng) -> dict:
    """Draw one field: its stains, label image, perturbed cells, and illumination."""
    radius = 2.6 * patch_size
    places, small = _places(shape, n_cells, radius, perturbed_fraction, rng)
    labels = np.zeros(shape, dtype=np.int32)
    depth = np.zeros(shape)  # 1 in the middle of a cell, 0 on its boundary
    y, x = np.mgrid[: shape[0], : shape[1]]
    for label, (place, is_small) in enumerate(zip(places, small, strict=True), 1):
        distance = _ellipse(y - place[0], x - place[1], radius * (0.6 if is_small else 1.0), rng)
        inside = (distance < 1) & (labels == 0)
        labels[inside] = label
        depth[inside] = 1 - distance[inside]
    stains = _stains(labels, depth, small, patch_size, rng)
    haze = np.zeros(shape)
    if leak:
        corner = (rng.randint(2) * shape[0], rng.randint(2) * shape[1])
        haze = np.exp(-np.hypot(y - corner[0], x - corner[1]) / (0.35 * max(shape)))
        stains += 2.0 * haze
    return {"stains": stains, "labels": labels, "perturbed": small, "haze": haze}


def _places(shape, n_cells, radius, perturbed_fraction, rng):
    """Centres of cells that keep apart, and which cells are perturbed."""
    kept: list[np.ndarray] = []
    for candidate in rng.random_sample((n_cells, 2)) * shape:
        if all(np.hypot(*(candidate - other)) > 1.6 * radius for other in kept):
            kept.append(candidate)
    return np.reshape(kept, (-1, 2)), rng.random_sample(len(kept)) < perturbed_fraction


def _ellipse(y, x, radius, rng) -> np.ndarray:
    """Distance from the centre in units of the boundary's distance."""
    angle, flat = np.pi * rng.random_sample(), rng.uniform(0.7, 1.0)
    along = y * np.cos(angle) + x * np.sin(angle)
    across = x * np.cos(angle) - y * np.sin(angle)
    return np.hypot(along, across / flat) / radius


def _stains(labels, depth, small, patch_size, rng) -> np.ndarray:
    """Five stains of the cells: nucleus, two kinds of cytoplasm, boundary, grains."""
    inside = labels > 0
    texture = ndimage.gaussian_filter(rng.standard_normal(labels.shape), patch_size / 4)
    texture = np.exp(texture / max(texture.std(), 1e-12))
    shapes = [
        depth > 0.6,
        inside * (depth > 0.25),
        inside * (0.4 + depth),
        inside * (depth < 0.35),
        inside * (depth < 0.6) * texture,
    ]
    brightness = rng.gamma(8.0, 1 / 8.0, (len(shapes), small.size)) * np.where(small, 1.6, 1.0)
    brightness = np.pad(brightness, ((0, 0), (1, 0)))  # background
    stains = np.stack([shape * own[labels] for shape, own in zip(shapes, brightness, strict=True)])
    return stains + 0.1 + 0.05 * rng.standard_normal(stains.shape)


def _smooth(grid, smoothness, n_null, rng) -> np.ndarray:
    """Smooth random fields without a seam, shape (n_null, rows, columns)."""
    fields = np.empty((n_null, *grid))
    for field in fields:
        width = rng.uniform(*smoothness)
        margin = int(np.ceil(4 * width))
        wide = rng.standard_normal((grid[0] + 2 * margin, grid[1] + 2 * margin))
        field[...] = ndimage.gaussian_filter(wide, width)[margin:-margin, margin:-margin]
    return fields


def _planted(field: dict, grid, null) -> np.ndarray:
    """Maps of all directions on one image, of zero mean and unit variance where they vary."""
    labels = field["labels"]
    inside = labels > 0
    perturbed = np.concatenate([[False], field["perturbed"]])[labels]
    width = labels.shape[0] // grid[0]
    ring = ndimage.distance_transform_edt(~inside) + ndimage.distance_transform_edt(inside)
    edge = np.zeros(grid)
    edge[[0, -1]] = edge[:, [0, -1]] = 1
    stains = np.stack([_pooled(stain, grid) for stain in field["stains"]])
    maps = [
        *stains,
        -_standard(stains).mean(axis=0),
        _pooled(perturbed, grid),
        _pooled((ring <= width) & inside.any(), grid),
        _pooled(field["haze"], grid),
        edge,
        *null,
    ]
    return _standard(np.stack(maps))


def _pooled(pixels, grid) -> np.ndarray:
    height, width = pixels.shape[0] // grid[0], pixels.shape[1] // grid[1]
    return pixels.reshape(grid[0], height, grid[1], width).mean(axis=(1, 3))


def _standard(maps: np.ndarray) -> np.ndarray:
    maps = maps - maps.mean(axis=(1, 2), keepdims=True)
    spread = maps.std(axis=(1, 2), keepdims=True)
    return maps / np.where(spread > 1e-12, spread, 1)


def _directions(n_directions, n_features, rng) -> np.ndarray:
    """Orthogonal unit directions; independent ones if there are more than features."""
    draws = rng.standard_normal((n_directions, n_features))
    if n_directions <= n_features:
        return np.linalg.qr(draws.T)[0].T
    return draws / np.linalg.norm(draws, axis=1, keepdims=True)
