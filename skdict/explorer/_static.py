"""Chosen concepts of a bundle as pages that need no server: one HTML file, or a folder of them."""

from __future__ import annotations

import html
import os
import warnings
from dataclasses import replace
from pathlib import Path

from skdict._validation import check_boolean_or, check_integer
from skdict.explorer._build_samples import plain_text
from skdict.explorer._bundle import Bundle
from skdict.explorer._folder_beside import folder_beside
from skdict.explorer._static_concept import concept_parts
from skdict.explorer._static_context import PageContext, chosen_concepts, notes_of_bundle
from skdict.explorer._static_folder import MARK, check_folder
from skdict.explorer._static_overview import how_to_read, overview
from skdict.explorer._static_pictures import InlinePictures, PictureFiles
from skdict.explorer._static_style import SCRIPT, STYLE, policy
from skdict.report import Html, Section, check_output_path, render_page, write_page


def write_static_html(
    bundle,
    path,
    concepts=None,
    *,
    notes=None,
    title: str | None = None,
    n_examples: int = 8,
    n_genes: int = 20,
    picture_size: int = 96,
    folder="auto",
    max_bytes: int = 20_000_000,
) -> Path:
    """Write concepts of a bundle to one HTML file, to be mailed to a colleague.

    It opens from the disk in any browser, without server and network. First comes a table of the
    concepts that can be searched, and sorted by each column; then each concept with its examples
    and heatmaps, its place on the map of the samples, histogram, selectivities, genes, pathways
    and related concepts. Without JavaScript all of it can be read, but not sorted or searched.

    Parameters
    ----------
    bundle : Bundle
        Result of :func:`open_bundle` or :func:`build_bundle`.
    path : str or Path
        File to write, ending in ``.html``; one that is there is replaced. A folder of pages gets
        this name without the ending.
    concepts : array-like of int, or None, default=None
        Concepts to show, in this order. None takes the 50 of largest selectivity, of equal ones
        the more frequent, and dead ones last.
    notes : NotesStore, sequence of Note, or None, default=None
        Names, ratings and texts of experts to show.
    title : str or None, default=None
        Title of the page; None takes that of the bundle.
    n_examples : int, default=8
        Examples shown of each kind, of those in the bundle.
    n_genes : int, default=20
        Genes shown of each concept, half of them by attribution and half by fold change.
    picture_size : int, default=96
        Longest side of a thumbnail, in pixels.
    folder : bool or "auto", default="auto"
        True writes a folder with ``index.html``, a page per concept and the pictures as files.
        False writes one file, however large. "auto" writes one file of at most `max_bytes`, and
        else a folder, with a warning.
    max_bytes : int, default=20_000_000
        Largest file that ``folder="auto"`` writes, in bytes; many mail servers take no more.

    Returns
    -------
    Path
        The page to open, absolute: the file, or ``index.html`` in the folder.

    Raises
    ------
    BundleError
        If what is needed of the bundle is missing or damaged.
    FileExistsError
        If a folder is to be written where something else is. A folder of such pages is replaced.
    ImportError
        If Pillow is not installed and there are pictures or a map.
    OSError
        If it cannot be written; what was there before is then unchanged.
    TypeError, ValueError
        If a concept is unknown, the notes are on another bundle, or a parameter is out of range.

    Warns
    -----
    UserWarning
        If ``folder="auto"`` writes a folder.

    Notes
    -----
    All texts are escaped. A page forbids the browser to load anything but its pictures and to run
    any script but its own (a content security policy), so that a text from elsewhere could do
    nothing even if it were not escaped. The same input gives the same bytes.

    A concept takes about 30 kB without pictures, and its map 2 to 15 kB. A thumbnail of a cell in
    colour takes 10 kB and is stored once, a heatmap under 1 kB: 50 concepts with 24 different
    thumbnails each make a file of 15 MB.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from skdict.explorer import build_bundle, write_static_html
    >>> with TemporaryDirectory() as folder:
    ...     codes = [[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [0.5, 0.0]]
    ...     cells = {"cell": ["T", "T", "B", "T"]}
    ...     bundle = build_bundle(f"{folder}/bundle", codes, metadata=cells, map=None)
    ...     path = write_static_html(bundle, f"{folder}/concepts.html", [0])
    ...     "most selective for cell = T: 1.00" in path.read_text(encoding="utf-8")
    True
    """
    if not isinstance(bundle, Bundle):
        raise TypeError(
            f"bundle must be what skdict.explorer.open_bundle returns, got {type(bundle).__name__}"
        )
    sizes = {"n_examples": (n_examples, 1), "n_genes": (n_genes, 1)}
    sizes |= {"picture_size": (picture_size, 8), "max_bytes": (max_bytes, 1)}
    for name, (value, least) in sizes.items():
        check_integer(name, value, least)
    check_boolean_or("folder", folder, ("auto",))
    chosen = chosen_concepts(bundle, concepts)
    context = PageContext(
        bundle, chosen, notes_of_bundle(bundle, notes, chosen), n_examples, n_genes, picture_size
    )
    title = title if title is not None else bundle.title or "Concepts"
    path = Path(os.path.abspath(path))
    if folder is True:
        return _write_folder(context, _folder_path(path), title)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"path must end in .html, got {str(path)!r}; or pass folder=True")
    check_output_path(path)
    page = _one_page(context, title, None if folder is False else max_bytes)
    if page is not None:
        return write_page(path, page)
    warnings.warn(
        f"one file would take more than max_bytes={max_bytes:,}, so that a folder is written: "
        f"{str(_folder_path(path))!r}; for one file choose fewer concepts, a smaller n_examples or "
        "picture_size, or pass folder=False",
        UserWarning,
        stacklevel=2,
    )
    return _write_folder(context, _folder_path(path), title)


def _one_page(context: PageContext, title: str, max_bytes: int | None) -> str | None:
    """The page with everything in it, or None if it becomes too large."""
    pictures = InlinePictures()
    context = replace(context, pictures=pictures, in_one_file=True)
    articles, n_bytes = [], 0
    for concept in context.chosen:
        articles.append(_article(context, concept))
        n_bytes += len(articles[-1].encode("utf-8", "replace"))
        if max_bytes is not None and n_bytes + pictures.n_bytes > max_bytes:
            return None
    sections = [
        overview(context),
        how_to_read(context),
        Section("Each concept", [*articles, Html(pictures.store())]),
    ]
    page = _render(title, sections, _subtitle(context), "data:", with_script=True)
    too_large = max_bytes is not None and len(page.encode()) > max_bytes
    return None if too_large else page


def _article(context: PageContext, concept: int) -> Html:
    summary, *others = concept_parts(context, concept)
    parts = "".join(summary.blocks) + "".join(
        f"<h4>{html.escape(part.title)}</h4>{''.join(part.blocks)}" for part in others
    )
    return Html(
        f'<article class="concept" id="concept-{concept}"><h3>'
        f"{html.escape(context.title(concept))}</h3>{context.way(concept)}{parts}</article>"
    )


def _write_folder(context: PageContext, path: Path, title: str) -> Path:
    """Write the pages one by one, so that memory holds one of them."""
    check_folder(path)
    with folder_beside(path, lambda: check_folder(path)) as new:
        context = replace(context, pictures=PictureFiles(new), in_one_file=False)
        for concept in context.chosen:
            parts = concept_parts(context, concept)
            parts[0] = parts[0]._replace(blocks=[context.way(concept), *parts[0].blocks])
            page = _render(context.title(concept), parts, title, "'self' file:")
            (new / f"concept-{concept}.html").write_bytes(page.encode())
        sections = [overview(context), how_to_read(context)]
        page = _render(title, sections, _subtitle(context), "'self' file:", with_script=True)
        (new / "index.html").write_bytes(page.encode())
    return path / "index.html"


def _render(title, sections, subtitle, picture_sources, *, with_script: bool = False) -> str:
    """A page with our style, policy and script."""
    from skdict._version import __version__

    page = plain_text(
        render_page(title, sections, subtitle=subtitle, footer=f"Made with skdict {__version__}.")
    )
    # The first of each is that of the page: texts before it are escaped.
    page = page.replace("</style>", f"{STYLE}</style>", 1)
    charset = '<meta charset="utf-8">'
    page = page.replace(charset, f"{charset}{policy(picture_sources)}{MARK}", 1)
    if with_script:
        head, end, _ = page.rpartition("</body></html>")
        page = f"{head}<script>{SCRIPT}</script>{end}\n"
    return page


def _subtitle(context: PageContext) -> str:
    n, n_all = len(context.chosen), context.bundle.n_concepts
    return f"{n:,} of {n_all:,} concepts, {context.bundle.n_samples:,} samples"


def _folder_path(path: Path) -> Path:
    return path.with_suffix("") if path.suffix.lower() in (".html", ".htm") else path
