"""Images from files: TIFF and OME-Zarr (extra ``imaging``)."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from skdict.imaging._ome_zarr import open_ome_zarr
from skdict.imaging._stored_image import locate_channels, read_channels
from skdict.imaging._tiff import open_tiff


def read_image(
    path, *, channels=None, level: int = 0, axes: str | None = None, index=None, channel_names=None
) -> np.ndarray:
    """Read the channels of an image from a TIFF file or an OME-Zarr folder.

    Parameters
    ----------
    path : str or Path
        A TIFF file (plain, OME-TIFF or ImageJ) or the folder of an OME-Zarr image (NGFF 0.4 and
        0.5, Zarr 2 and 3).
    channels : sequence of str or int, str, int or None, default=None
        Channels to read, by name or number, in this order; None reads all. Of an OME-Zarr only
        the chunks of these channels are read.
    level : int, default=0
        Level of a pyramid; 0 is the full resolution.
    axes : str or None, default=None
        What the axes are, a letter each: C channels, Y rows, X columns. None believes the file.
        A plain TIFF of several pages does not say what they are and is refused without.
    index : dict of int or None, default=None
        Position along further axes, such as ``{"Z": 3}``. Axes of size one need none.
    channel_names : sequence of str or None, default=None
        Names of all channels of the file, where it has none or they should be others.

    Returns
    -------
    ndarray, shape (n_channels, height, width)
        The pixels in the type of the file. Those of an uncompressed TIFF are a memory map that
        cannot be written to, and are read when they are used.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If ``tifffile`` or ``zarr`` is not installed.
    ValueError
        If the file is damaged or cut short, has axes that are no image, or lacks a channel; the
        message lists the channels that it has.

    Warns
    -----
    UserWarning
        If chunks of an OME-Zarr do not exist: writers leave out empty ones, and so do copies that
        were cut short.

    See Also
    --------
    image_info : What a file holds, without its pixels.
    ImageFiles : Many files as one function.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> import tifffile
    >>> from skdict.imaging import read_image
    >>> with TemporaryDirectory() as folder:
    ...     path = f"{folder}/A01.tif"
    ...     tifffile.imwrite(path, np.zeros((2, 8, 9), np.uint16), metadata={"axes": "CYX"})
    ...     read_image(path, channels=["ER"], channel_names=["DNA", "ER"]).shape
    (1, 8, 9)
    """
    with _opened(path, axes) as stored:
        return read_channels(stored, channels, level, index, channel_names)


def image_info(path, *, axes: str | None = None) -> Bunch:
    """Say what an image file holds, without reading its pixels.

    Parameters
    ----------
    path : str or Path
        A TIFF file or the folder of an OME-Zarr image.
    axes : str or None, default=None
        As in :func:`read_image`.

    Returns
    -------
    Bunch
        axes : str
            A letter per axis, such as "CYX".
        shapes : list of tuple of int
            Shape of each level, the full resolution first.
        dtype : dtype
            Type of the pixels.
        channels : list of str or None
            Names of the channels, where the file has them.

    Raises
    ------
    FileNotFoundError, ImportError, ValueError
        As :func:`read_image`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> import tifffile
    >>> from skdict.imaging import image_info
    >>> about = {"axes": "CYX", "Channel": {"Name": ["DNA", "ER"]}}
    >>> with TemporaryDirectory() as folder:
    ...     path = f"{folder}/A01.ome.tif"
    ...     tifffile.imwrite(path, np.zeros((2, 8, 9), np.uint16), metadata=about)
    ...     info = image_info(path)
    >>> info.axes, info.shapes, info.channels
    ('CYX', [(2, 8, 9)], ['DNA', 'ER'])
    """
    with _opened(path, axes) as stored:
        return Bunch(
            axes=stored.axes, shapes=stored.shapes, dtype=stored.dtype, channels=stored.channels
        )


class ImageFiles:
    """Many image files as ``get_image(i)``, the form in which skdict takes images.

    Parameters
    ----------
    paths : sequence of (str, Path, or sequence of these)
        One entry per image: a file with all channels, or a sequence with one file per channel.
    channels : sequence of str or int, or None, default=None
        Channels to read, as in :func:`read_image`. Of one file per channel only these are opened.
    level : int, default=0
        As in :func:`read_image`.
    axes : str or None, default=None
        As in :func:`read_image`.
    index : dict of int or None, default=None
        As in :func:`read_image`.
    channel_names : sequence of str or None, default=None
        Names of all channels, or of the files of an entry; needed to choose by name where files
        have no names.

    Raises
    ------
    ValueError
        If there are no paths.

    See Also
    --------
    read_image : One file.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> import tifffile
    >>> from skdict.imaging import ImageFiles, iter_crops
    >>> with TemporaryDirectory() as folder:
    ...     paths = [f"{folder}/A01-ch1.tif", f"{folder}/A01-ch2.tif"]
    ...     for path in paths:
    ...         tifffile.imwrite(path, np.zeros((512, 512), np.uint16))
    ...     images = ImageFiles([paths], channel_names=["DNA", "ER"])
    ...     len(images), images(0).shape, len(list(iter_crops(images, well=["A01"])))
    (1, (2, 512, 512), 4)
    """

    def __init__(self, paths, *, channels=None, level: int = 0, axes: str | None = None,
                 index=None, channel_names=None):  # fmt: skip
        if isinstance(paths, (str, os.PathLike)):
            raise TypeError(f"paths must be a sequence of paths, got one: {str(paths)!r}")
        self.paths = list(paths)
        if not self.paths:
            raise ValueError("paths must hold at least one path, got none")
        self.channels, self.level, self.axes = channels, level, axes
        self.index, self.channel_names = index, channel_names

    def __len__(self):
        return len(self.paths)

    def __call__(self, i: int) -> np.ndarray:
        """Read image `i`.

        Parameters
        ----------
        i : int
            Number of the image.

        Returns
        -------
        ndarray, shape (n_channels, height, width)
            Its pixels.
        """
        entry = self.paths[i]
        options = {"level": self.level, "axes": self.axes, "index": self.index}
        if isinstance(entry, (str, os.PathLike)):
            return read_image(
                entry, channels=self.channels, channel_names=self.channel_names, **options
            )
        files = list(entry)
        chosen = locate_channels(
            self.channels, self.channel_names, len(files), f"the files of image {i}"
        )
        files = files if chosen is None else [files[channel] for channel in chosen]
        return _stacked([(file, read_image(file, **options)) for file in files], i)

    def __repr__(self):
        return f"ImageFiles({len(self)} images, channels={self.channels!r})"


def _stacked(planes, i: int) -> np.ndarray:
    """One image of files with one channel each."""
    (first, pixels), *_ = planes
    for path, plane in planes:
        if len(plane) != 1:
            raise ValueError(
                f"the files of image {i} must hold one channel each, {str(path)!r} has {len(plane)}"
            )
        if plane.shape != pixels.shape or plane.dtype != pixels.dtype:
            raise ValueError(
                f"the files of image {i} must have equal shapes and types: {str(first)!r} has "
                f"{pixels.shape[1:]} of {pixels.dtype}, {str(path)!r} {plane.shape[1:]} of "
                f"{plane.dtype}"
            )
    return np.concatenate([plane for _, plane in planes])


@contextmanager
def _opened(path, axes):
    """The file as a StoredImage, its axes as the caller says."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no image at {str(path)!r}")
    if path.is_dir():
        yield _with_axes(open_ome_zarr(path), axes)
    else:
        with open_tiff(path) as stored:
            yield _with_axes(stored, axes)


def _with_axes(stored, axes):
    if axes is None:
        return stored
    n_dimensions = len(stored.shapes[0])
    if not isinstance(axes, str) or len(set(axes)) != len(axes) or len(axes) != n_dimensions:
        raise ValueError(
            f"axes must have one letter for each of the {n_dimensions} dimensions of "
            f"{stored.path!r}, shape {stored.shapes[0]}, got {axes!r}"
        )
    return stored._replace(axes=axes.upper())
