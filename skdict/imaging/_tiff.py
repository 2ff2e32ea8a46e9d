"""TIFF files: plain, OME-TIFF, ImageJ, with or without a pyramid."""

from __future__ import annotations

import logging
import re
import threading
from contextlib import ExitStack, contextmanager
from xml.etree import ElementTree

import numpy as np

from skdict._validation import import_optional
from skdict.imaging._stored_image import StoredImage, reading

# tifffile logs these and goes on with what is left of the file: fewer pages, or zeros.
_DAMAGE = re.compile(
    "invalid page offset|invalid value offset|corrupted|missing|failed to read|out of range"
    "|zeroed|does not match|do not match",
    flags=re.IGNORECASE,
)


@contextmanager
def open_tiff(path):
    """Open a TIFF file as a StoredImage; an error names what is wrong with it."""
    tifffile = import_optional("tifffile", extra="imaging")
    with ExitStack() as stack:
        with reading(path, "TIFF"), _damage_is_an_error():
            file = stack.enter_context(tifffile.TiffFile(path))
            series = file.series[0]
            shapes = [tuple(level.shape) for level in series.levels]
            names = _channel_names(file)
        yield StoredImage(
            str(path), "TIFF", series.axes, shapes, np.dtype(series.dtype), names,
            lambda level: _pixels(file, series.levels[level]),
        )  # fmt: skip


def _pixels(file, series) -> np.ndarray:
    """Pixels of a level: a memory map where they lie in one piece, uncompressed."""
    with _damage_is_an_error():
        if series.dataoffset is not None:
            pixels = file.filehandle.memmap_array(
                file.byteorder + series.dtype.char, series.shape, series.dataoffset, mode="r"
            )
        else:
            pixels = series.asarray()
    native = pixels.dtype.newbyteorder("=")
    return pixels if pixels.dtype == native else pixels.astype(native)


def _channel_names(file) -> list[str] | None:
    """Names of the channels in the metadata of OME or ImageJ."""
    if file.is_ome:
        root = ElementTree.fromstring(file.ome_metadata)
        image = next(iter(root.findall("{*}Image")), None)
        channels = [] if image is None else image.findall("{*}Pixels/{*}Channel")
        names = [channel.get("Name", "") for channel in channels]
        return names if names and all(names) else None
    labels = (file.imagej_metadata or {}).get("Labels") if file.is_imagej else None
    return list(labels) if labels else None


class _Damage(logging.Handler):
    """Keeps what tifffile says about damage in this thread."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.thread, self.messages = threading.get_ident(), []

    def emit(self, record):
        message = record.getMessage()
        if record.thread == self.thread and _DAMAGE.search(message):
            self.messages.append(message)


@contextmanager
def _damage_is_an_error():
    logger, handler = logging.getLogger("tifffile"), _Damage()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    if handler.messages:
        raise ValueError(handler.messages[0])
