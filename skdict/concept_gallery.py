"""Many concepts on one HTML page: what lies most and least along each of them.

The page stands alone: pictures are inside it as PNG, each once however many concepts show it, and
nothing is loaded from a network.
"""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path

import numpy as np

from skdict._validation import check_integer, import_optional
from skdict.display._gallery_examples import ENDS, patch_place
from skdict.display._pictures import NEGATIVE, POSITIVE, Stains
from skdict.imaging import ConceptExamples
from skdict.imaging._get_image import ImageSource
from skdict.imaging._stains import check_grid
from skdict.report import (
    Column,
    Html,
    Section,
    bullets,
    check_output_path,
    details,
    render_page,
    table,
    write_page,
)

__all__ = ["write_concept_gallery"]

# Colours of a picture and shades of a stain that are kept: half of the bytes of all of them.
_COLORS, _SHADES = 256, 64
_STRONGEST = 0.85  # opacity of the strongest colour of a heatmap

HOW_TO_READ = (
    "Images that lie most and least along the direction of each concept, by their mean token. "
    "Below each image the heatmap of its patch tokens over the grey image: vermilion along the "
    "direction, blue against it, the same scale within a concept. It is interpolated between "
    "tokens for the eye only.",
    "The examples were chosen by the direction, so they do not test it: every direction has "
    "images that it is most aligned with, a random one too. A name given here is a hypothesis.",
    "Images of one well, or of one field, are not independent of each other.",
    "The coloured picture is the sum of the stains; where several lie in one place their colours "
    "mix. The single stains of each concept are folded away below its images.",
)


def write_concept_gallery(
    path,
    examples,
    images,
    *,
    concepts=None,
    channels=None,
    colors=None,
    limits=None,
    correlations=None,
    image_names=None,
    single_stains: bool = True,
    context: int = 5,
    picture_size: int = 160,
    title: str = "Concepts in images",
    notes=(),
) -> Path:
    """Write one HTML file with the images and patches at both ends of many concepts.

    The page of Fig. 1D and 11 to 16 of [1]_: for each concept the most and the least aligned
    images with their heatmaps, single stains and patches, and its correlation with each channel
    where that is known. It is one file that needs no network, follows the light or dark colours
    of the reader, and can be read and unfolded by keyboard.

    Parameters
    ----------
    path : str or Path
        File to write, ending in ``.html``; one that is there is replaced.
    examples : ConceptExamples
        Result of :func:`skdict.imaging.concept_examples` for the directions to show.
    images : array-like, sequence or callable
        The images of the tokens, or ``get_image(i)``. Those shown are read, one at a time.
    concepts : sequence of str, or None, default=None
        Names of the concepts.
    channels : sequence of str, or None, default=None
        Names of the channels.
    colors : dict, sequence or None, default=None
        Colours of the channels, as in :func:`skdict.imaging.composite`.
    limits : array-like, shape (n_channels, 2), or None, default=None
        Limits of contrast; None takes those that all images shown share, which reads them twice.
    correlations : ChannelCorrelations or None, default=None
        Result of :func:`skdict.imaging.channel_correlations` for the same directions.
    image_names : sequence of str, or None, default=None
        Names of all images, such as plate, well and site.
    single_stains : bool, default=True
        Show every channel on its own, too.
    context : int, default=5
        Height and width of the window around a patch, in patches.
    picture_size : int, default=160
        Longest side of an image on the page, in pixels; larger images are made smaller.
    title : str, default="Concepts in images"
        Title of the page.
    notes : sequence of str, default=()
        Further remarks on how the page came about: model, data, settings.

    Returns
    -------
    Path
        The absolute path of the file.

    Raises
    ------
    ImportError
        If matplotlib, which brings Pillow along, is not installed.
    OSError
        If the file cannot be written; a file that was there before is then unchanged.
    ValueError
        If names, images or correlations do not fit the examples.

    Notes
    -----
    An image of six channels takes about 85 kB with 160 pixels a side, 25 kB without its single
    stains, and is stored once. Twenty concepts with twelve images each, all of them different,
    make a page of 20 MB.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from skdict.concept_gallery import write_concept_gallery
    >>> from skdict.datasets import load_cell_painting_crops
    >>> from skdict.imaging import concept_examples, pool_channels
    >>> crops = load_cell_painting_crops()
    >>> tokens = pool_channels(crops.images, (32, 32)).transpose(0, 2, 3, 1)  # a toy embedding
    >>> examples = concept_examples(tokens, np.eye(6)[:2], n=2, n_patches=4)
    >>> with TemporaryDirectory() as folder:
    ...     path = write_concept_gallery(
    ...         f"{folder}/concepts.html", examples, crops.images, channels=crops.channels)
    ...     "most aligned" in path.read_text(encoding="utf-8").lower()
    True
    """
    path = check_output_path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"path must end in .html, got {str(path)!r}")
    check_integer("picture_size", picture_size, 16)
    check_integer("context", context, 1)
    if not isinstance(examples, ConceptExamples):
        raise TypeError(
            "examples must be the result of skdict.imaging.concept_examples, got "
            f"{type(examples).__name__}"
        )
    source = ImageSource.of_tokens(images, examples.images.n_images)
    page = _Page(examples, source, concepts, image_names, correlations)
    shown = page.shown()
    stains = Stains(lambda i: source[shown[i]], channels, colors, limits, n_images=len(shown))
    page.read(shown, stains, picture_size, context, single_stains)
    sections = [Section("How to read this page", [bullets([*HOW_TO_READ, *notes])])]
    sections += [Section("Concepts", [page.definitions(), page.overview()])]
    sections += [page.section(concept) for concept in range(len(page.concepts))]
    text = render_page(title, sections, subtitle=page.subtitle(), footer=_footer())
    return write_page(path, text.replace("</style>", f"{_STYLE}</style>", 1))


class _Page:
    """Pictures of the images shown, and the blocks made of them."""

    def __init__(self, examples, source, concepts, image_names, correlations):
        self.examples, self.source, self.found = examples, source, examples.images
        n_concepts = len(self.found.most)
        self.concepts = _names("concepts", concepts, "concept", n_concepts)
        self.image_names = _names("image_names", image_names, "image", len(source))
        self.correlations = correlations
        if correlations is not None and len(correlations.r) != n_concepts:
            raise ValueError(
                f"correlations must be those of the {n_concepts} directions of the examples, got "
                f"{len(correlations.r)}"
            )
        self.pictures, self.windows, self.channels = {}, {}, []

    def shown(self) -> list[int]:
        """Numbers of all images that the page needs."""
        numbers = [self.found[end] for end in ENDS]
        if self.examples.patches is not None:
            numbers += [self.examples.patches[end] for end in ENDS]
        return np.unique(np.concatenate([n.ravel() for n in numbers])).tolist()

    def read(self, shown, stains: Stains, size: int, context: int, single_stains: bool) -> None:
        """Read each image once and keep its pictures."""
        whole = set(np.unique([self.found[end] for end in ENDS]).tolist())
        patches = self._patches_by_image()
        grid = self.examples.most_heatmaps.shape[2:]
        for number in shown:
            image = self.source[number]
            check_grid(grid, image.shape[1:], f"image {number}")
            if number in whole:
                self._keep(f"i{number}", stains.composite(image), size, _COLORS)
                if single_stains:
                    self.channels = [stains.name(channel) for channel in range(len(image))]
                    for channel in range(len(image)):
                        grey = stains.single(image, channel)
                        self._keep(f"i{number}c{channel}", grey[..., 0], size, _SHADES)
            for row, column in sorted(patches.get(number, ())):
                window, box = patch_place(image.shape[1:], grid, row, column, context)
                picture = stains.composite(image[:, *window])
                self.windows[number, row, column] = _png(picture, None, None), picture.shape, box

    def _patches_by_image(self) -> dict[int, set]:
        places: dict[int, set] = {}
        found = self.examples.patches
        for end in ENDS if found is not None else ():
            columns = (found[end], found[f"{end}_row"], found[f"{end}_column"])
            for image, row, column in zip(*(c.ravel().tolist() for c in columns), strict=True):
                places.setdefault(image, set()).add((row, column))
        return places

    def _keep(self, key: str, picture, size: int, n_colors: int) -> None:
        scale = max(1.0, max(picture.shape[:2]) / size)
        height, width = (max(1, round(side / scale)) for side in picture.shape[:2])
        self.pictures[key] = _png(picture, (width, height), n_colors), width, height

    def subtitle(self) -> str:
        """One line on how much of what the page shows."""
        n_concepts, n = self.found.most.shape
        patches = self.examples.patches
        more = "" if patches is None else f" and {patches.most.shape[1]} patches"
        return (
            f"{n_concepts} concept{'s' if n_concepts > 1 else ''}, {n} images{more} at either end "
            f"of each, out of {self.found.n_images} images"
        )

    def definitions(self) -> Html:
        """All pictures once, to be used by name; nothing of it is seen."""
        images = "".join(
            f'<image id="{key}" width="{width}" height="{height}" href="{data}"/>'
            for key, (data, width, height) in self.pictures.items()
        )
        # Grey as the eye sees it, darkened, so that the colours of a heatmap stand out.
        weights = " ".join(["0.16 0.54 0.05 0 0"] * 3)
        return Html(
            '<svg class="store" width="0" height="0" aria-hidden="true"><defs>'
            '<filter id="grey" color-interpolation-filters="sRGB">'
            f'<feColorMatrix values="{weights} 0 0 0 1 0"/></filter>{images}</defs></svg>'
        )

    def overview(self) -> Html:
        """Table of all concepts."""
        columns = [Column("concept", numeric=False)]
        columns += [Column(end, self.found.kind, "alignment of images") for end in ENDS]
        names = [] if self.correlations is None else list(self.correlations.channels)
        columns += [Column(str(name), "r", "correlation with channel") for name in names]
        rows = []
        for concept, name in enumerate(self.concepts):
            row: list = [Html(f'<a href="#section-{concept + 2}">{html.escape(name)}</a>')]
            row += [f"{self.found[f'{end}_alignment'][concept, 0]:.2f}" for end in ENDS]
            if names:
                row += [_known(value) for value in self.correlations.r[concept]]
            rows.append(row)
        return table(columns, rows, caption=f"{len(rows)} concepts")

    def section(self, concept: int) -> Section:
        """Everything about one concept."""
        maps = [self.examples[f"{end}_heatmaps"][concept] for end in ENDS]
        vmax = float(np.abs(maps).max()) or 1.0
        blocks = [*self._correlation_blocks(concept), _scale(vmax, self.found.kind)]
        for end, heatmaps in zip(ENDS, maps, strict=True):
            blocks.append(Html(f"<h3>{end.capitalize()} aligned images</h3>"))
            blocks.append(self._images(concept, end, heatmaps, vmax))
        if self.channels:
            blocks.append(details("Single stains", [self._stains(concept, end) for end in ENDS]))
        for end in ENDS if self.examples.patches is not None else ():
            blocks.append(Html(f"<h3>{end.capitalize()} aligned patches</h3>"))
            blocks.append(self._patches(concept, end))
        return Section(self.concepts[concept], blocks)

    def _correlation_blocks(self, concept: int) -> list[Html]:
        found = self.correlations
        if found is None:
            return []
        columns = [Column("channel", numeric=False), Column("r"), Column("interval"),
                   Column("q", "false-discovery rate")]  # fmt: skip
        rows = [
            [
                str(name),
                _known(found.r[concept, i]),
                _known(found.low[concept, i], found.high[concept, i]),
                _known(found.q_value[concept, i], digits=".2g"),
            ]
            for i, name in enumerate(found.channels)
        ]
        return [table(columns, rows, caption="Correlation of the heatmap with each channel")]

    def _images(self, concept: int, end: str, heatmaps, vmax: float) -> Html:
        tiles = []
        for rank, number in enumerate(self.found[end][concept].tolist()):
            alignment = self.found[f"{end}_alignment"][concept, rank]
            about = f"{self.image_names[number]}, alignment {alignment:.2f}"
            plain = self._use(f"i{number}", f"Stains of {about}")
            _, width, height = self.pictures[f"i{number}"]
            heat = (
                f'<use href="#i{number}" filter="url(#grey)"/><image width="{width}" '
                f'height="{height}" preserveAspectRatio="none" '
                f'href="{_heatmap_png(heatmaps[rank], vmax)}"/>'
            )
            over = _svg(width, height, heat, f"Heatmap on {about}")
            tiles.append(_tile(plain + over, self.image_names[number], f"{alignment:.2f}"))
        return Html(f'<div class="tiles">{"".join(tiles)}</div>')

    def _stains(self, concept: int, end: str) -> Html:
        rows = []
        for channel, name in enumerate(self.channels):
            tiles = "".join(
                _tile(self._use(f"i{number}c{channel}", f"{name} of {self.image_names[number]}"))
                for number in self.found[end][concept].tolist()
            )
            rows.append(f'<h4>{html.escape(name)}</h4><div class="tiles">{tiles}</div>')
        return Html(f"<h3>{end.capitalize()} aligned images</h3>{''.join(rows)}")

    def _patches(self, concept: int, end: str) -> Html:
        found, tiles = self.examples.patches, []
        for rank, number in enumerate(found[end][concept].tolist()):
            row, column = (int(found[f"{end}_{axis}"][concept, rank]) for axis in ("row", "column"))
            data, (height, width, _), (y, x, patch_height, patch_width) = self.windows[
                number, row, column
            ]
            frame = (
                f'<image width="{width}" height="{height}" href="{data}"/><rect x="{x}" y="{y}" '
                f'width="{patch_width}" height="{patch_height}" class="frame"/>'
            )
            alignment = f"{found[f'{end}_alignment'][concept, rank]:.2f}"
            about = f"Patch at row {row}, column {column} of {self.image_names[number]}"
            picture = _svg(width, height, frame, f"{about}, alignment {alignment}")
            tiles.append(_tile(picture, self.image_names[number], alignment))
        return Html(f'<div class="tiles small">{"".join(tiles)}</div>')

    def _use(self, key: str, label: str) -> str:
        _, width, height = self.pictures[key]
        return _svg(width, height, f'<use href="#{key}"/>', label)


def _known(*values: float, digits: str = ".2f") -> str:
    """A number, or the ends of an interval; a dash for NaN, as for a leak that no image has."""
    return "–" if np.isnan(values).any() else " to ".join(f"{value:{digits}}" for value in values)


def _names(parameter: str, names, what: str, size: int) -> list[str]:
    if names is None:
        return [f"{what} {i}" for i in range(size)]
    names = [str(name) for name in names]
    if len(names) != size:
        raise ValueError(f"{parameter} must have {size} entries, got {len(names)}")
    return names


def _svg(width: int, height: int, content: str, label: str) -> str:
    return (
        f'<svg role="img" aria-label="{html.escape(label, quote=True)}" '
        f'viewBox="0 0 {width} {height}">{content}</svg>'
    )


def _tile(pictures: str, *lines: str) -> str:
    caption = "<br>".join(html.escape(line) for line in lines)
    caption = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f"<figure>{pictures}{caption}</figure>"


def _scale(vmax: float, kind: str) -> Html:
    """Colours of the heatmaps with their values."""
    return Html(
        f'<p class="scale"><span>{-vmax:.2f}</span><i></i><span>{vmax:.2f}</span> '
        f"{'cosine' if kind == 'cosine' else 'inner product'} of a patch token</p>"
    )


def _heatmap_png(heatmap: np.ndarray, vmax: float) -> str:
    """A heatmap of one pixel per token, as opaque as its value is strong."""
    colors = import_optional("matplotlib.colors", extra="plot")
    values = np.clip(heatmap / vmax, -1.0, 1.0)
    rgba = np.empty((*heatmap.shape, 4))
    rgba[..., :3] = np.where(
        values[..., None] > 0, colors.to_rgb(POSITIVE), colors.to_rgb(NEGATIVE)
    )
    rgba[..., 3] = _STRONGEST * np.abs(values)
    return _png(rgba, None, None)


def _png(picture: np.ndarray, size, n_colors: int | None) -> str:
    """A picture with values in [0, 1] as a PNG in a data address."""
    images = import_optional("PIL.Image", extra="plot")
    image = images.fromarray(np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8))
    if size is not None and size != image.size:
        image = image.resize(size, images.Resampling.BOX)
    if n_colors is not None and image.mode == "L":
        # Grey stays grey: a palette would cost more than it saves.
        levels = np.round(np.asarray(image) / 255 * (n_colors - 1)) / (n_colors - 1)
        image = images.fromarray(np.round(255 * levels).astype(np.uint8))
    elif n_colors is not None:
        image = image.quantize(n_colors, dither=images.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _footer() -> str:
    from skdict._version import __version__

    return f"Made with skdict {__version__}."


_STYLE = f"""
.tiles {{ display: grid; gap: 0.7rem; margin: 0.5rem 0 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(10.5rem, 44%), 1fr)); }}
.tiles.small {{ grid-template-columns: repeat(auto-fill, minmax(min(5.2rem, 28%), 1fr)); }}
.tiles figure {{ margin: 0; max-width: 16rem; }}
.tiles figure svg {{ border-radius: 3px; background: #000; }}
.tiles figure svg + svg {{ margin-top: 0.25rem; }}
.tiles figcaption {{ font-size: 0.78rem; line-height: 1.3; overflow-wrap: anywhere; }}
.store {{ position: absolute; }}
.frame {{ fill: none; stroke: #fff; stroke-width: 0.5; }}
h3 {{ margin-top: 1.2rem; }}
h4 {{ margin: 0.8rem 0 0.2rem; font-size: 0.9rem; font-weight: 600; }}
.scale {{ display: flex; flex-wrap: wrap; align-items: center; gap: 0.5rem; font-size: 0.88rem;
  font-variant-numeric: tabular-nums; }}
.scale i {{ width: 10rem; max-width: 40%; height: 0.8rem; border: 1px solid var(--line);
  background: linear-gradient(90deg, {NEGATIVE}, #222, {POSITIVE}); print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }}
"""
