"""What a concept looks like: images and patches at both of its ends (Fig. 1D, 11 to 16)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skdict._validation import check_integer, import_optional
from skdict.display._gallery_examples import shown_images, shown_patches
from skdict.display._pictures import (
    KIND_NAMES,
    Stains,
    draw_montage,
    heatmap_colorbar,
    montage_size,
    overlay_picture,
    symmetric_limit,
    transformer_name,
)
from skdict.display._saving import SavedDisplay, vector
from skdict.display._style import check_panels, wrapped
from skdict.imaging import concept_examples
from skdict.imaging._get_image import ImageSource
from skdict.imaging._stains import check_grid

ENDS = ("most", "least")
_TILE = 1.15  # inches of an image
_PATCH_TILE = 0.72  # inches of a patch


class ConceptGalleryDisplay(SavedDisplay):
    """The most and the least aligned images and patches of one concept.

    At the left the images that lie most along the direction, at the right those that lie least
    along it (Fig. 1D and 11 of [1]_): the sum of their stains, the heatmap over the grey image,
    and each stain on its own. Below them the patches of both ends (Fig. 12 to 16), each in the
    middle of what surrounds it.

    Parameters
    ----------
    images : array-like, shape (n_images, n_channels, height, width), or sequence
        The images, those of the end "most" and those of the end "least".
    alignment : array-like of float, shape (n_images,)
        Alignment of each image.
    ends : sequence of {"most", "least"}, shape (n_images,)
        The end that each image belongs to.
    heatmaps : array-like of float, shape (n_images, n_rows, n_columns), default=None
        Heatmap of the concept on each image.
    patches : array-like, shape (n_patches, n_channels, height, width), default=None
        Windows around patches.
    patch_alignment : array-like of float, shape (n_patches,), default=None
        Alignment of each patch.
    patch_ends : sequence of {"most", "least"}, shape (n_patches,), default=None
        The end that each patch belongs to.
    patch_boxes : array-like of int, shape (n_patches, 4), default=None
        Where the patch lies in its window, drawn as a frame: first row, first column, height and
        width in pixels.
    channels : sequence of str, default=None
        Names of the channels, for their colours (:func:`skdict.imaging.composite`).
    colors : dict or sequence, default=None
        Colours of the channels.
    limits : array-like of float, shape (n_channels, 2), default=None
        Limits of contrast; ``None`` takes those that all images shown share.
    single_stains : bool, default=True
        Draw every channel on its own, too.
    image_names, patch_names : sequence of str, default=None
        Names of the images and of the patches.
    vmax : float, default=None
        Value of the strongest colour of the heatmaps; ``None`` is their largest absolute value.
    kind : {"cosine", "inner"}, default="cosine"
        What the alignments are.
    name : str, default=None
        Name of the concept, for the title, :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        Images of both ends, then patches of both ends.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        Their figure.

    See Also
    --------
    skdict.concept_gallery.write_concept_gallery : Many concepts on one HTML page.

    Notes
    -----
    Every direction has images that it is most aligned with, a random one too. A gallery shows
    what a concept may be; it tests nothing.

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.datasets import load_cell_painting_crops
    >>> from skdict.display import ConceptGalleryDisplay
    >>> from skdict.imaging import pool_channels
    >>> crops = load_cell_painting_crops()
    >>> tokens = pool_channels(crops.images, (32, 32)).transpose(0, 2, 3, 1)  # a toy embedding
    >>> display = ConceptGalleryDisplay.from_tokens(
    ...     tokens, [0, 0, 0, 0, 1, 0], crops.images, n=2, n_patches=3, channels=crops.channels,
    ...     name="mitochondria", plot=False)
    >>> display.source_data()["image"][:4].tolist()
    ['image 0', 'image 1', 'image 3', 'image 2']
    """

    def __init__(self, images, alignment, ends, *, heatmaps=None, patches=None,
                 patch_alignment=None, patch_ends=None, patch_boxes=None, channels=None,
                 colors=None, limits=None, single_stains=True, image_names=None,
                 patch_names=None, vmax=None, kind="cosine", name=None, settings=None):  # fmt: skip
        self.images = images
        self.alignment = alignment
        self.ends = ends
        self.heatmaps = heatmaps
        self.patches = patches
        self.patch_alignment = patch_alignment
        self.patch_ends = patch_ends
        self.patch_boxes = patch_boxes
        self.channels = channels
        self.colors = colors
        self.limits = limits
        self.single_stains = single_stains
        self.image_names = image_names
        self.patch_names = patch_names
        self.vmax = vmax
        self.kind = kind
        self.name = name
        self.settings = settings

    @classmethod
    def from_tokens(cls, tokens, direction, images, *, embeddings=None, n=6,
                    n_patches=12, max_per_image=1, transformer=None, kind="cosine", units=None,
                    max_per_unit=None, context=5, channels=None, colors=None, limits=None,
                    single_stains=True, vmax=None, name=None, axes=None, plot=True):  # fmt: skip
        """Find the examples of a concept with :func:`skdict.imaging.concept_examples`, draw them.

        Parameters
        ----------
        tokens : array-like of shape (n_images, n_rows, n_columns, n_features)
            Patch tokens in their places, read one image at a time.
        direction : array-like of shape (n_features,)
            Feature direction in the space behind `transformer`.
        images : array-like, sequence or callable
            The images of the tokens, or ``get_image(i)``; only those shown are read.
        embeddings : array-like of shape (n_images, n_features), default=None
            One row per image; ``None`` takes the mean of its tokens.
        n : int, default=6
            Images at either end.
        n_patches : int, default=12
            Patches at either end; 0 for none.
        max_per_image : int, default=1
            Patches of one image at either end; ``None`` sets no limit.
        transformer : fitted transformer, default=None
            Applied to tokens and embeddings first.
        kind : {"cosine", "inner"}, default="cosine"
            Cosine similarity or inner product.
        units : array-like of shape (n_images,), default=None
            Well, plate or field of each image, needed for `max_per_unit`.
        max_per_unit : int, default=None
            Images, and patches, of one unit at either end.
        context : int, default=5
            Height and width of the window around a patch, in patches.
        channels : sequence of str, default=None
            Names of the channels.
        colors : dict or sequence, default=None
            Colours of the channels.
        limits : array-like of shape (n_channels, 2), default=None
            Limits of contrast.
        single_stains : bool, default=True
            Draw every channel on its own, too.
        vmax : float, default=None
            Value of the strongest colour of the heatmaps.
        name : str, default=None
            Name of the concept.
        axes : sequence of matplotlib Axes, default=None
            Two, or four with patches; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.

        Returns
        -------
        ConceptGalleryDisplay
            The display with its pictures, drawn unless ``plot=False``.
        """
        direction = np.asarray(direction)
        if direction.ndim != 1:
            raise ValueError(
                f"direction must be one direction, shape (n_features,), got {direction.shape}; "
                "write_concept_gallery shows many"
            )
        examples = concept_examples(
            tokens, direction, embeddings=embeddings, n=n, n_patches=n_patches,
            max_per_image=max_per_image, transformer=transformer, kind=kind, units=units,
            max_per_unit=max_per_unit,
        )  # fmt: skip
        return cls.from_examples(
            examples, images, context=context, channels=channels, colors=colors, limits=limits,
            single_stains=single_stains, vmax=vmax, name=name, axes=axes, plot=plot,
            settings={"transformer": transformer_name(transformer)},
        )  # fmt: skip

    @classmethod
    def from_examples(cls, examples, images, *, concept=0, context=5, channels=None,
                      colors=None, limits=None, single_stains=True, vmax=None, name=None,
                      settings=None, axes=None, plot=True):  # fmt: skip
        """Draw one of many concepts whose examples were found before.

        Parameters
        ----------
        examples : ConceptExamples
            Result of :func:`skdict.imaging.concept_examples`.
        images : array-like, sequence or callable
            The images of the tokens, or ``get_image(i)``; only those shown are read.
        concept : int, default=0
            Which of the directions.
        context : int, default=5
            Height and width of the window around a patch, in patches.
        channels : sequence of str, default=None
            Names of the channels.
        colors : dict or sequence, default=None
            Colours of the channels.
        limits : array-like of shape (n_channels, 2), default=None
            Limits of contrast.
        single_stains : bool, default=True
            Draw every channel on its own, too.
        vmax : float, default=None
            Value of the strongest colour of the heatmaps.
        name : str, default=None
            Name of the concept.
        settings : dict, default=None
            Settings behind the examples, for :meth:`methods`.
        axes : sequence of matplotlib Axes, default=None
            Two, or four with patches; ``None`` makes a figure.
        plot : bool, default=True
            False reads the images only, without matplotlib.

        Returns
        -------
        ConceptGalleryDisplay
            The display with its pictures, drawn unless ``plot=False``.
        """
        check_integer("context", context, 1)
        found = examples.images
        check_integer("concept", concept, 0)
        if concept >= len(found.most):
            raise ValueError(
                f"concept must be 0 to {len(found.most) - 1}, the directions of the examples, got "
                f"{concept}"
            )
        source = ImageSource.of_tokens(images, found.n_images)
        about = {"images searched": found.n_images, "kind": found.kind}
        display = cls(
            **shown_images(examples, source, concept),
            **shown_patches(examples.patches, source, concept, context),
            channels=channels, colors=colors, limits=limits, single_stains=single_stains,
            vmax=vmax, kind=found.kind, name=name, settings=about | (settings or {}),
        )  # fmt: skip
        return display.plot(axes) if plot else display

    def plot(self, axes=None):
        """Draw the pictures of both ends.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, default=None
            Two, for the most and the least aligned images, or four, with those of the patches;
            ``None`` makes a figure.

        Returns
        -------
        ConceptGalleryDisplay
            This display, with ``axes_``, ``ax_`` and ``figure_``.
        """
        images, alignment, ends, heatmaps = self._image_table()
        patches, patch_alignment, patch_ends, boxes = self._patch_table()
        stains = Stains([*images, *patches], self.channels, self.colors, self.limits)
        vmax = None if heatmaps is None else symmetric_limit(heatmaps, self.vmax)
        names = _named(self.image_names, "image", len(images))
        panels = []
        for end in ENDS:
            chosen = np.flatnonzero(ends == end)
            maps = None if heatmaps is None else heatmaps[chosen]
            rows = self._image_rows(stains, [images[i] for i in chosen], maps, vmax)
            heads = [f"{wrapped(names[i], 14, 1)}\n{alignment[i]:.2f}" for i in chosen]
            panels.append(_Panel(f"{end.capitalize()} aligned images", rows, heads))
        n_columns = max(1, int(max(len(p.headings) for p in panels) * _TILE / _PATCH_TILE))
        for end in ENDS if patches else ():
            chosen = np.flatnonzero(patch_ends == end)
            first, last = patch_alignment[chosen[[0, -1]]]
            panels.append(_Panel(
                f"{end.capitalize()} aligned patches, {first:.2f} to {last:.2f}",
                _in_rows([stains.composite(patches[i]) for i in chosen], n_columns), [],
                None if boxes is None else boxes[chosen],
            ))  # fmt: skip
        self.axes_ = self._axes(axes, panels)
        for i, (ax, panel) in enumerate(zip(self.axes_, panels, strict=True)):
            panel.draw(ax, left=i % 2 == 0)
        if vmax is not None:
            heatmap_colorbar(self.axes_[0].figure, self.axes_, vmax, KIND_NAMES[self.kind])
        self._drawn_on(self.axes_[0], self.axes_[0].images[0])
        return self

    def _image_rows(self, stains: Stains, images, heatmaps, vmax) -> dict:
        """Rows of pictures by their name."""
        rows = {"stains": [stains.composite(image) for image in images]}
        if heatmaps is not None:
            rows["heatmap"] = [
                overlay_picture(picture, heatmap, vmax, order=1)
                for picture, heatmap in zip(rows["stains"], heatmaps, strict=True)
            ]
        if self.single_stains:
            for channel in range(len(images[0])):
                rows[stains.name(channel)] = [stains.single(image, channel) for image in images]
        return rows

    def _axes(self, axes, panels) -> list:
        if axes is not None:
            return check_panels(axes, len(panels))
        pyplot = import_optional("matplotlib.pyplot", extra="plot")
        sizes = [
            montage_size(list(panel.rows.values()), _TILE if panel.headings else _PATCH_TILE)
            for panel in panels
        ]
        heights = [max(a[1], b[1]) + 0.5 for a, b in zip(sizes[::2], sizes[1::2])]
        width = max(a[0] + b[0] for a, b in zip(sizes[::2], sizes[1::2]))
        figure, grid = pyplot.subplots(
            len(heights), 2, figsize=(width + 2.6, sum(heights) + 0.4), squeeze=False,
            height_ratios=heights, layout="constrained",
        )  # fmt: skip
        if self.name is not None:
            figure.suptitle(str(self.name))
        return list(grid.flat)

    def _image_table(self):
        """Images, alignments, ends and heatmaps, checked against each other."""
        source = ImageSource(self.images)
        images = [source[i] for i in range(len(source))]
        alignment = vector("alignment", self.alignment, len(images))
        ends = _check_ends("ends", self.ends, len(images))
        heatmaps = None
        if self.heatmaps is not None:
            heatmaps = np.asarray(self.heatmaps, dtype=float)
            if heatmaps.ndim != 3 or len(heatmaps) != len(images):
                raise ValueError(
                    f"heatmaps must have shape ({len(images)}, n_rows, n_columns), one per image, "
                    f"got shape {heatmaps.shape}"
                )
            for i, image in enumerate(images):
                check_grid(heatmaps.shape[1:], image.shape[1:], f"image {i}")
        return images, alignment, ends, heatmaps

    def _patch_table(self):
        """Patches, alignments, ends and boxes, checked against each other."""
        if self.patches is None:
            return [], np.empty(0), np.empty(0, dtype=str), None
        source = ImageSource(self.patches, name="patches")
        patches = [source[i] for i in range(len(source))]
        alignment = vector("patch_alignment", self.patch_alignment, len(patches))
        ends = _check_ends("patch_ends", self.patch_ends, len(patches))
        boxes = None
        if self.patch_boxes is not None:
            boxes = np.asarray(self.patch_boxes)
            if boxes.shape != (len(patches), 4):
                raise ValueError(
                    f"patch_boxes must have shape ({len(patches)}, 4), got shape {boxes.shape}"
                )
        return patches, alignment, ends, boxes

    def _columns(self) -> dict:
        images, alignment, ends, _ = self._image_table()
        patches, patch_alignment, patch_ends, _ = self._patch_table()
        names = _named(self.image_names, "image", len(images))
        return {
            "what": np.repeat(["image", "patch"], [len(images), len(patches)]),
            "end": np.concatenate([ends, patch_ends]),
            "rank": np.concatenate([_ranks(ends), _ranks(patch_ends)]),
            "image": np.array(names + _named(self.patch_names, "patch", len(patches))),
            "alignment": np.concatenate([alignment, patch_alignment]),
        }

    def _description(self) -> str:
        images, _, ends, heatmaps = self._image_table()
        patches = self._patch_table()[0]
        what = {"cosine": "cosine similarity", "inner": "inner product"}[self.kind]
        n_most = int((ends == "most").sum())
        text = (
            f"The figure shows the {n_most} most and {len(images) - n_most} least aligned images "
            f"of a feature direction by {what}, as the sum of their stains between shared limits"
        )
        if self.single_stains:
            text += " and as single stains"
        if heatmaps is not None:
            text += ", with the heatmap of their tokens, interpolated for display"
        if patches:
            text += f"; and {len(patches)} most and least aligned patches within their surroundings"
        return text + ". These examples were chosen by the direction and do not test it."


class _Panel(NamedTuple):
    """Pictures of one end."""

    title: str
    rows: dict
    headings: list
    boxes: np.ndarray | None = None

    def draw(self, ax, *, left: bool) -> None:
        """Draw them; only those at the left have names of their rows."""
        montage = draw_montage(
            ax, list(self.rows.values()), column_names=self.headings,
            row_names=[row for row in self.rows if left and isinstance(row, str)],
        )  # fmt: skip
        for i, box in enumerate([] if self.boxes is None else self.boxes):
            n_columns = len(self.rows[0])
            montage.frame(i // n_columns, i % n_columns, box)
        ax.set_title(self.title, fontsize="medium")
        ax.set_anchor("NE" if left else "NW")


def _in_rows(pictures, n_columns: int) -> dict:
    """Pictures in rows of equal length, the last filled up."""
    rows = [pictures[i : i + n_columns] for i in range(0, len(pictures), n_columns)]
    rows[-1] += [None] * (len(rows[0]) - len(rows[-1]))
    return dict(enumerate(rows))


def _check_ends(parameter: str, ends, size: int) -> np.ndarray:
    ends = vector(parameter, ends, size, dtype=str)
    if not set(ends.tolist()) <= set(ENDS) or set(ends.tolist()) != set(ENDS):
        raise ValueError(
            f"{parameter} must say 'most' or 'least' and name both, got "
            f"{', '.join(sorted(set(ends.tolist())))}"
        )
    return ends


def _named(names, what: str, size: int) -> list[str]:
    if names is None:
        return [f"{what} {i}" for i in range(size)]
    return vector(f"{what}_names", names, size, dtype=str).tolist()


def _ranks(ends: np.ndarray) -> np.ndarray:
    """Number of each entry within its end, from 1."""
    ranks = np.zeros(len(ends), dtype=int)
    for end in ENDS:
        ranks[ends == end] = 1 + np.arange(np.count_nonzero(ends == end))
    return ranks
