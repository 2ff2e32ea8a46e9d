"""Tokens on disk, opened as memory maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from skdict._token_layout import TokenLayout
from skdict._validation import check_integer

FORMAT = 1


def record_path(path: Path) -> Path:
    """File beside the tokens that says what they are and how far they got."""
    return path.with_name(path.name + ".json")


def prefix_path(path: Path) -> Path:
    """File of the tokens before the patches."""
    return path.with_suffix(".prefix.npy")


class TokenArray(Bunch):
    """Tokens of one layer on disk; :func:`collect_tokens` and :func:`open_tokens` return it.

    Parameters
    ----------
    **kwargs : dict
        The entries.

    Attributes
    ----------
    data : memmap, shape (n_rows, n_features)
        A token per row, image by image, channel by channel, row by row of the patches; ready for
        ``fit``. With ``pool="mean"`` a row is the mean of an image, or of a channel of it.
    prefix : memmap, shape (n_images, n_prefix_tokens, n_features), or None
        The class token and registers, where they were kept.
    layout : TokenLayout
        Where the tokens lie on the image.
    layer : str
        The layer.
    pool : "mean" or None
        Whether tokens were averaged.
    n_images : int
        Number of images.
    complete : bool
        False where the collection was interrupted; the images before that are there.
    path : Path
        The file of `data`.
    settings : dict
        What it was computed with: the model's class, a hash of its weights, types, device.
    """

    def grid(self, channel: int | None = None):
        """View tokens in their places, without a copy.

        Parameters
        ----------
        channel : int or None, default=None
            Channel of a channel-wise transformer; None takes all.

        Returns
        -------
        memmap
            Shape (n_images, n_rows, n_columns, n_features), or (n_images, n_channels, n_rows,
            n_columns, n_features) for all channels of a channel-wise transformer.

        Raises
        ------
        ValueError
            If tokens were averaged, or there is no such channel.
        """
        if self.pool is not None:
            raise ValueError(
                f"grid needs tokens in their places, but {str(self.path)!r} holds their means "
                f"(pool={self.pool!r}); collect them with pool=None"
            )
        n_channels = self.layout.n_channels
        grids = self.data.reshape(self.n_images, n_channels, *self.layout.grid, -1)
        if channel is None:
            return grids if n_channels > 1 else grids[:, 0]
        check_integer("channel", channel, 0)
        if channel >= n_channels:
            raise ValueError(f"channel must be below {n_channels}, got {channel}")
        return grids[:, channel]

    def locate(self, rows) -> dict[str, np.ndarray]:
        """Image and place of rows of ``data``.

        Parameters
        ----------
        rows : array-like of int
            Numbers of the rows.

        Returns
        -------
        dict of ndarray
            ``image`` and ``channel`` of each row; of tokens that were not averaged also ``row``
            and ``column``.

        Raises
        ------
        TypeError, ValueError
            If a number is no integer or out of range.
        """
        rows = np.asarray(rows)
        if self.pool is None:
            places = self.layout.locate(rows)
        else:
            places = TokenLayout((1, 1), n_channels=self.layout.n_channels).locate(rows)
            del places["row"], places["column"]
        if rows.size and rows.max() >= self.data.shape[0]:
            raise ValueError(f"rows must be below {self.data.shape[0]}, got {rows.max()}")
        return places

    def __repr__(self):
        """Summary: what the rows are, their size, and whether all are there."""
        rows, columns = self.layout.grid
        per_image = f"{rows} x {columns} patches"
        if self.layout.n_channels > 1:
            per_image += f" x {self.layout.n_channels} channels"
        means = "" if self.pool is None else ", averaged over patches"
        lines = [
            f"TokenArray of layer {self.layer!r}, {self.n_images} images"
            + ("" if self.complete else " (interrupted)"),
            f"  an image  {per_image}{means}",
            f"  data      {self.data.shape[0]} x {self.data.shape[1]} {self.data.dtype}, "
            f"{self.data.nbytes / 1e6:.1f} MB in {str(self.path)!r}",
        ]
        if self.prefix is not None:
            lines.append(f"  prefix    {self.prefix.shape[1]} tokens before the patches")
        return "\n".join(lines)


def open_tokens(path) -> TokenArray:
    """Open tokens that :func:`collect_tokens` has written.

    Also while they are being written, or after that was interrupted: then ``complete`` is False,
    and the images up to the last checkpoint are there.

    Parameters
    ----------
    path : str or Path
        The ``.npy`` file.

    Returns
    -------
    TokenArray
        The tokens, as memory maps that cannot be written.

    Raises
    ------
    FileNotFoundError
        If the file, or the record beside it, is not there.
    ValueError
        If it holds no image yet, or less than its record says.
    """
    path = Path(path)
    record = read_record(path)
    if not record["n_images"]:
        raise ValueError(f"{str(path)!r} holds no image yet; call collect_tokens again to go on")
    settings = record["settings"]
    layout = TokenLayout(**settings["layout"])
    per_image = layout.n_channels if settings["pool"] else layout.n_patch_tokens
    data = _rows(path, (record["n_images"] * per_image, None), settings["dtype"])
    prefix = None
    if settings["keep_prefix"]:
        shape = (record["n_images"], layout.n_prefix_tokens, data.shape[1])
        prefix = _rows(prefix_path(path), shape, settings["dtype"])
    return TokenArray(
        data=data,
        prefix=prefix,
        layout=layout,
        layer=settings["layer"],
        pool=settings["pool"],
        n_images=record["n_images"],
        complete=record["complete"],
        path=path,
        settings=settings,
    )


def read_record(path: Path) -> dict:
    """Record beside a file of tokens; raise where there is none that can be read."""
    beside = record_path(path)
    for file in (path, beside):
        if not file.is_file():
            raise FileNotFoundError(
                f"{str(file)!r} is not there: tokens are the file {path.name!r} that "
                f"collect_tokens has written and its record {beside.name!r} beside it"
            )
    try:
        record = json.loads(beside.read_text(encoding="utf-8"))
        known = record["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{str(beside)!r} is no record of tokens ({error!r})") from error
    if known != FORMAT:
        raise ValueError(f"{str(beside)!r} has format {known}, this version reads {FORMAT}")
    return record


def _rows(path: Path, shape: tuple, dtype: str):
    """Memory map of the first rows of a file; None in `shape` is any number of features."""
    try:
        rows = np.load(path, mmap_mode="r")
    except ValueError as error:
        raise ValueError(f"{str(path)!r} was changed or damaged ({error})") from error
    fits = rows.ndim == len(shape) and rows.shape[0] >= shape[0] and rows.dtype == dtype
    if not fits or any(size not in (None, found) for size, found in zip(shape[1:], rows.shape[1:])):
        raise ValueError(
            f"{str(path)!r} was changed or damaged: its record says shape {shape} and {dtype}, "
            f"but it has {rows.shape} and {rows.dtype}"
        )
    return rows[: shape[0]]
