"""Crops of fields of view: which there are, their pixels, and their mean per well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from skdict._tables import table
from skdict._validation import check_choice, check_integer
from skdict.imaging._get_image import ImageSource

REMAINDERS = ("center", "end")


class Crop(NamedTuple):
    """A square part of a field of view, and where it comes from.

    Parameters
    ----------
    pixels : ndarray, shape (n_channels, size, size)
        Pixels, a view of the field.
    image : int
        Number of the field.
    plate, well, site : object
        Where the field comes from; None where that was not given.
    y, x : int
        Row and column of the first pixel in the field.
    on_edge : bool
        Whether the crop lies in the first or last row or column of crops.
    labels : ndarray or None, default=None
        Label image, shape (size, size).
    ignore : ndarray or None, default=None
        Pixels to leave out, shape (size, size).
    """

    pixels: np.ndarray
    image: int
    plate: Any
    well: Any
    site: Any
    y: int
    x: int
    on_edge: bool
    labels: np.ndarray | None = None
    ignore: np.ndarray | None = None


def iter_crops(
    images,
    *,
    size: int = 256,
    stride: int | None = None,
    skip_edge: bool = False,
    remainder: str = "center",
    n_images: int | None = None,
    plate=None,
    well=None,
    site=None,
    labels=None,
    ignore=None,
) -> Iterator[Crop]:
    """Tile fields of view into crops that know their plate, well, site and position.

    Crops come field by field, and in each field row by row. The ICFL paper [1]_ cuts fields of
    2048 x 2048 pixels into 64 crops of 256 x 256 and leaves out the 28 at the edge.

    Parameters
    ----------
    images : array-like, shape (n_images, n_channels, height, width), or sequence or callable
        The fields; as a sequence of arrays they may differ in size. A callable is asked for
        ``get_image(i)``, as :class:`ImageFiles`. One field is read at a time.
    size : int, default=256
        Height and width of a crop in pixels.
    stride : int or None, default=None
        Pixels from one crop to the next; None is `size`. Crops that overlap are not independent.
    skip_edge : bool, default=False
        Leave out the first and last row and column of crops, where illumination falls off and
        cells are cut by the border of the field.
    remainder : {"center", "end"}, default="center"
        Pixels that make no whole crop are left out: half of them on each side, or all of them at
        the right and at the bottom.
    n_images : int or None, default=None
        Number of fields of a callable without a length.
    plate, well, site : array-like, shape (n_images,), or None, default=None
        Where each field comes from.
    labels : array-like, shape (n_images, height, width), sequence or callable, default=None
        Label images of the fields, cut alike.
    ignore : array-like of bool, shape (n_images, height, width), sequence or callable, default=None
        Pixels to leave out, cut alike.

    Returns
    -------
    iterator of Crop
        The crops.

    Raises
    ------
    TypeError, ValueError
        If a field is smaller than a crop, shapes do not fit, there is no crop that is not on the
        edge, or a parameter is out of range. What the parameters alone show is raised at once.

    See Also
    --------
    crop_table : The same crops without their pixels.
    iter_crop_batches : Their pixels, many at a time.
    aggregate_crops : From crops to wells.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import iter_crops
    >>> field = np.arange(36).reshape(1, 1, 6, 6)
    >>> for crop in iter_crops(field, size=2, well=["A01"], stride=4):
    ...     print(crop.well, crop.y, crop.x, crop.pixels[0].tolist())
    A01 0 0 [[0, 1], [6, 7]]
    A01 0 4 [[4, 5], [10, 11]]
    A01 4 0 [[24, 25], [30, 31]]
    A01 4 4 [[28, 29], [34, 35]]
    """
    tiling = _Tiling(size, stride, skip_edge, remainder)
    source = ImageSource(images, n_images)
    names = _names(len(source), plate, well, site)
    masks = [
        _mask_source(labels, "labels", len(source)),
        _mask_source(ignore, "ignore", len(source)),
    ]
    return _crops(source, tiling, names, masks)


def _crops(source, tiling, names, masks) -> Iterator[Crop]:
    for i in range(len(source)):
        field = source[i]
        field_masks = [None if mask is None else _mask_of(mask, i, field) for mask in masks]
        name = {key: None if values is None else values[i] for key, values in names.items()}
        for y, x, on_edge in zip(*tiling.places(field.shape[1:], i)):
            place = (slice(y, y + tiling.size), slice(x, x + tiling.size))
            parts = [None if mask is None else mask[place] for mask in field_masks]
            yield Crop(field[:, *place], i, **name, y=int(y), x=int(x), on_edge=bool(on_edge),
                       labels=parts[0], ignore=parts[1])  # fmt: skip


def iter_crop_batches(
    images,
    *,
    batch_size: int = 32,
    size: int = 256,
    stride: int | None = None,
    skip_edge: bool = False,
    remainder: str = "center",
    n_images: int | None = None,
) -> Iterator[np.ndarray]:
    """Pixels of crops in batches, in the order of :func:`crop_table`.

    Scaled to floats as the model expects them they are what
    :func:`skdict.extraction.collect_tokens` reads.

    Parameters
    ----------
    images : array-like, sequence of arrays, or callable
        The fields, as in :func:`iter_crops`.
    batch_size : int, default=32
        Crops of a batch; the last one takes what is left.
    size : int, default=256
        As in :func:`iter_crops`.
    stride : int or None, default=None
        As in :func:`iter_crops`.
    skip_edge : bool, default=False
        As in :func:`iter_crops`.
    remainder : {"center", "end"}, default="center"
        As in :func:`iter_crops`.
    n_images : int or None, default=None
        As in :func:`iter_crops`.

    Returns
    -------
    iterator of ndarray, shape (n_crops, n_channels, size, size)
        The batches, in the type of the images.

    Raises
    ------
    TypeError, ValueError
        As :func:`iter_crops`, and if fields differ in their channels.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import iter_crop_batches
    >>> fields = np.zeros((2, 6, 512, 768), dtype=np.uint16)
    >>> [batch.shape for batch in iter_crop_batches(fields, batch_size=8)]
    [(8, 6, 256, 256), (4, 6, 256, 256)]
    """
    check_integer("batch_size", batch_size, 1)
    crops = iter_crops(images, size=size, stride=stride, skip_edge=skip_edge, remainder=remainder,
                       n_images=n_images)  # fmt: skip
    return _batches(crops, batch_size)


def _batches(crops, batch_size) -> Iterator[np.ndarray]:
    batch: list[np.ndarray] = []
    n_channels = None
    for crop in crops:
        if n_channels is None:
            n_channels = crop.pixels.shape[0]
        if crop.pixels.shape[0] != n_channels:
            raise ValueError(
                f"images must all have the {n_channels} channels of image 0, image {crop.image} "
                f"has {crop.pixels.shape[0]}"
            )
        batch.append(crop.pixels)
        if len(batch) == batch_size:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def crop_table(
    shapes,
    *,
    size: int = 256,
    stride: int | None = None,
    skip_edge: bool = False,
    remainder: str = "center",
    plate=None,
    well=None,
    site=None,
    as_frame: bool = False,
):
    """Crops of fields of view without reading a pixel: a row per crop.

    Row by row the crops of :func:`iter_crops` and :func:`iter_crop_batches` with the same
    settings, and so the rows of the embeddings that were made of them.

    Parameters
    ----------
    shapes : array-like of int, shape (n_images, 2)
        Height and width of each field.
    size : int, default=256
        As in :func:`iter_crops`.
    stride : int or None, default=None
        As in :func:`iter_crops`.
    skip_edge : bool, default=False
        As in :func:`iter_crops`.
    remainder : {"center", "end"}, default="center"
        As in :func:`iter_crops`.
    plate, well, site : array-like, shape (n_images,), or None, default=None
        Where each field comes from; a column of the table where it is given.
    as_frame : bool, default=False
        Return a pandas DataFrame instead of a Bunch.

    Returns
    -------
    Bunch or DataFrame
        image, y, x : ndarray of int, shape (n_crops,)
            Number of the field, and the crop's first row and column in it.
        on_edge : ndarray of bool, shape (n_crops,)
            Whether the crop lies in the first or last row or column of crops.
        plate, well, site : ndarray, shape (n_crops,)
            Where the crop comes from.

    Raises
    ------
    TypeError, ValueError
        As :func:`iter_crops`.

    Examples
    --------
    >>> from skdict.imaging import crop_table
    >>> crops = crop_table([(2048, 2048)], well=["A01"])  # a field of the ICFL paper
    >>> len(crops.y), int((~crops.on_edge).sum())
    (64, 36)
    """
    shapes = np.asarray(shapes)
    if shapes.ndim != 2 or shapes.shape[1:] != (2,) or not len(shapes):
        raise ValueError(
            "shapes must hold the (height, width) of each field, an array of shape (n_images, 2), "
            f"got shape {shapes.shape}"
        )
    tiling = _Tiling(size, stride, skip_edge, remainder)
    names = _names(len(shapes), plate, well, site)
    places = [tiling.places(shape, i) for i, shape in enumerate(shapes.tolist())]
    image = np.repeat(np.arange(len(places)), [len(y) for y, _, _ in places])
    y, x, on_edge = (np.concatenate(column) for column in zip(*places, strict=True))
    columns = {"image": image}
    for name, values in names.items():
        if values is not None:
            columns[name] = np.asarray(values)[image]
    return table(columns | {"y": y, "x": x, "on_edge": on_edge}, as_frame)


class _Tiling:
    """Where crops lie in a field."""

    def __init__(self, size, stride, skip_edge, remainder):
        check_integer("size", size, 1)
        check_integer("stride", stride, 1, none=True)
        check_choice("remainder", remainder, REMAINDERS)
        self.size, self.stride = size, size if stride is None else stride
        self.skip_edge, self.remainder = skip_edge, remainder
        self._known = {}

    def places(self, shape, image: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First row, first column and whether on the edge, of all crops of a field."""
        shape = tuple(shape)
        if shape not in self._known:
            if min(shape) < self.size:
                raise ValueError(
                    f"size must be at most the height and width of every field, got {self.size} "
                    f"for image {image} of {shape[0]} x {shape[1]} pixels"
                )
            self._known[shape] = self._places(shape)
        places = self._known[shape]
        if not len(places[0]):
            raise ValueError(
                f"skip_edge=True leaves no crop of image {image}: its {shape[0]} x {shape[1]} "
                f"pixels hold too few crops of {self.size}, all of them on the edge; use smaller "
                "crops or keep the edge"
            )
        return places

    def _places(self, shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, columns = (self._starts(length) for length in shape)
        y, x = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
        on_edge = np.isin(y, rows[[0, -1]]) | np.isin(x, columns[[0, -1]])
        kept = ~on_edge if self.skip_edge else np.ones(len(y), dtype=bool)
        return y[kept], x[kept], on_edge[kept]

    def _starts(self, length: int) -> np.ndarray:
        last = (length - self.size) // self.stride * self.stride
        rest = length - self.size - last
        first = rest // 2 if self.remainder == "center" else 0
        return np.arange(first, first + last + 1, self.stride)


def _names(n_images: int, plate, well, site) -> dict:
    """The names of the fields as lists, None where they were not given."""
    names = {"plate": plate, "well": well, "site": site}
    for name, values in names.items():
        if values is None:
            continue
        values = np.asarray(values)
        if values.shape != (n_images,):
            raise ValueError(
                f"{name} must have one entry per field: got shape {values.shape} for {n_images} "
                "fields"
            )
        names[name] = values.tolist()
    return names


def _mask_source(masks, name: str, n_images: int) -> ImageSource | None:
    if masks is None:
        return None
    source = ImageSource(masks, n_images if callable(masks) else None, name=name, n_dimensions=2)
    if len(source) != n_images:
        raise ValueError(
            f"{name} must have one image per field: got {len(source)} for {n_images} fields"
        )
    return source


def _mask_of(masks: ImageSource, i: int, field: np.ndarray) -> np.ndarray:
    mask = masks[i]
    if mask.shape != field.shape[1:]:
        raise ValueError(
            f"{masks.name} must have the height and width of the images: image {i} has "
            f"{field.shape[1]} x {field.shape[2]} pixels, its {masks.name} {mask.shape[0]} x "
            f"{mask.shape[1]}"
        )
    return mask
