"""Pictures of the static pages: each once, inside the page or as a file beside it."""

from __future__ import annotations

import base64
import html
import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from skdict._validation import import_optional
from skdict.explorer._bundle_format import BundleError
from skdict.explorer._static_style import POSITIVE

_COLORS = 128  # of a thumbnail: half of the bytes of all colours
_STRONGEST = 0.85  # opacity of the strongest colour of a heatmap
_RGB = tuple(bytes.fromhex(POSITIVE.removeprefix("#")))


class InlinePictures:
    """Pictures inside the page, each stored once however often it is shown.

    Attributes
    ----------
    n_bytes : int
        Bytes that the pictures take in the page.
    """

    def __init__(self):
        self._kept: dict[str, tuple[str, int, int]] = {}
        self.n_bytes = 0

    def show(self, key: str, make: Callable[[], bytes], label: str, kind: str = "") -> str:
        """Return the markup that shows a picture.

        Parameters
        ----------
        key : str
            Its name; a picture with a known name is not made again.
        make : callable
            Gives the PNG.
        label : str
            Text for who cannot see it; empty for one that adds nothing to the text.
        kind : str, default=""
            Classes of the element. A picture with one is laid over another and fills it.

        Returns
        -------
        str
            HTML.
        """
        if key not in self._kept:
            png = make()
            text = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
            self._kept[key] = (text, *_size(png))
            self.n_bytes += len(text)
        _, width, height = self._kept[key]
        role = f'role="img" aria-label="{html.escape(label)}"' if label else 'aria-hidden="true"'
        over = f' class="{kind}" preserveAspectRatio="none"' if kind else ""
        return f'<svg {role}{over} viewBox="0 0 {width} {height}"><use href="#{key}"></use></svg>'

    def store(self) -> str:
        """All pictures, to stand once on the page; nothing of it is seen."""
        images = "".join(
            f'<image id="{key}" width="{width}" height="{height}" href="{text}"></image>'
            for key, (text, width, height) in self._kept.items()
        )
        return f'<svg class="store" width="0" height="0" aria-hidden="true">{_defs(images)}</svg>'


class PictureFiles:
    """Pictures as files in a folder beside the pages.

    Parameters
    ----------
    folder : Path
        Folder of the pages.
    """

    def __init__(self, folder: Path):
        self._folder = folder / "pictures"
        self._kept: dict[str, tuple[int, int]] = {}

    def show(self, key: str, make: Callable[[], bytes], label: str, kind: str = "") -> str:
        """Return the markup that shows a picture; see :meth:`InlinePictures.show`.

        Parameters
        ----------
        key, make, label, kind
            As there.

        Returns
        -------
        str
            HTML.
        """
        if key not in self._kept:
            png = make()
            self._folder.mkdir(exist_ok=True)
            (self._folder / f"{key}.png").write_bytes(png)
            self._kept[key] = _size(png)
        width, height = self._kept[key]
        over = f' class="{kind}"' if kind else ""
        return (
            f'<img{over} src="pictures/{key}.png" alt="{html.escape(label)}" width="{width}" '
            f'height="{height}">'
        )


def thumbnail_png(content: bytes, size: int, name: str) -> bytes:
    """A thumbnail with fewer colours and no side longer than `size`, written anew.

    Parameters
    ----------
    content : bytes
        The PNG of the bundle.
    size : int
        Longest side, in pixels.
    name : str
        What it is, for the message.

    Returns
    -------
    bytes
        PNG.
    """
    images = import_optional("PIL.Image", extra="explorer")
    picture = _opened(content, name)
    grey = picture.mode in ("1", "L", "I", "I;16")
    picture = picture.convert("L" if grey else "RGBA" if "A" in picture.mode else "RGB")
    picture.thumbnail((size, size))
    if grey:
        return _saved(picture)
    method = images.Quantize.FASTOCTREE if picture.mode == "RGBA" else images.Quantize.MEDIANCUT
    return _saved(picture.quantize(_COLORS, method=method, dither=images.Dither.NONE))


def heatmap_png(content: bytes, name: str) -> bytes:
    """A grey heatmap in one colour, as opaque as its value is large.

    Parameters
    ----------
    content : bytes
        The grey PNG of the bundle.
    name : str
        What it is, for the message.

    Returns
    -------
    bytes
        PNG.
    """
    picture = _opened(content, name).convert("L")
    picture.thumbnail((64, 64))
    # 64 shades: more are not told apart.
    shades = np.round(np.asarray(picture) / 255 * 63).astype(np.uint8)
    return palette_png(shades, [_STRONGEST * i / 63 for i in range(64)])


def palette_png(shades: np.ndarray, opacity, color=_RGB) -> bytes:
    """One colour with several opacities.

    Parameters
    ----------
    shades : ndarray of uint8, shape (height, width)
        Place of each pixel in `opacity`.
    opacity : sequence of float
        Opacities, 0 to 1.
    color : tuple of int, default=vermilion
        Red, green and blue.

    Returns
    -------
    bytes
        PNG.
    """
    images = import_optional("PIL.Image", extra="explorer")
    picture = images.fromarray(np.ascontiguousarray(shades)).convert("L")
    picture = images.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette(list(color) * len(opacity))
    return _saved(picture, transparency=bytes(round(255 * share) for share in opacity))


def _opened(content: bytes, name: str):
    images = import_optional("PIL.Image", extra="explorer")
    try:
        picture = images.open(io.BytesIO(content), formats=("PNG",))
        picture.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise BundleError(
            f"{name} cannot be read as PNG ({error}); copy the bundle again or build it anew"
        ) from error
    return picture


def _saved(picture, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True, **options)
    return buffer.getvalue()


def _size(png: bytes) -> tuple[int, int]:
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def _defs(content: str) -> str:
    return f"<defs>{content}</defs>"
