"""Which directions are high along the boundary of cells, and how far each cell is ringed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch

from skdict._tables import table
from skdict._units import read_units
from skdict._validation import check_real
from skdict.imaging._boundary import located
from skdict.imaging._cell_masks import IGNORED, CellMask, CellMasks, TokenPixels
from skdict.imaging._channels import channel_correlations
from skdict.imaging._tokens import PreparedTokens

CORE, BAND, FAR = 0, 1, 2


@dataclass(frozen=True)
class _Regions:
    """Distances that are the core of a cell, the band along its boundary, and far background."""

    band: tuple[float, float]
    core: float
    far: float

    @classmethod
    def read(cls, band, core, far, patch) -> _Regions:
        """Validate what the caller gave; None counts in patches."""
        side = min(patch)
        band = (-side / 2, side / 2) if band is None else band
        if not (np.ndim(band) == 1 and len(band) == 2):
            raise ValueError(f"band must be (low, high) in pixels, got {band!r}")
        low, high = band
        core = min(-side, low) if core is None else core
        far = max(2 * side, high) if far is None else far
        for name, value in (("band", low), ("band", high), ("core", core), ("far", far)):
            check_real(name, value, -np.inf, np.inf)
        if not core <= low < high <= far or core >= 0 or far < 0:
            raise ValueError(
                "core, band and far must ascend, core <= band[0] < band[1] <= far, with core below "
                f"zero (inside a cell) and far above, got core {core:g}, band {tuple(band)}, far "
                f"{far:g}"
            )
        return cls((float(low), float(high)), float(core), float(far))

    def of(self, mask: CellMask) -> tuple[np.ndarray, np.ndarray]:
        """Region of each pixel (-1 for none), and the place of the nearest cell."""
        distance, cell = located(mask)
        region = np.full(distance.shape, IGNORED)
        region[distance < self.core] = CORE
        region[(self.band[0] <= distance) & (distance <= self.band[1])] = BAND
        region[distance > self.far] = FAR
        region[(mask.place == IGNORED) | (cell == IGNORED)] = IGNORED
        return region, cell


def ring_contrast(
    tokens,
    directions,
    labels,
    *,
    transformer=None,
    kind: str = "cosine",
    ignore=None,
    band=None,
    core=None,
    far=None,
    center_positions: bool = False,
) -> Bunch:
    r"""How much every cell is ringed by each direction.

    .. math::

       c = \bar h_{\text{band}} - \tfrac12 (\bar h_{\text{core}} + \bar h_{\text{far}})

    with the mean alignment of the band along the boundary of a cell, of its core, and of the
    background of its image that is far from all cells. A direction of whole cells, or of the
    background, has about half of its height in a band that lies half inside, and so little
    contrast: none for an inner product, some for a cosine, which rises faster than the share of
    a token that the cell covers.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        As in :func:`cell_alignment`.
    directions : array-like, shape (n_directions, n_features) or (n_features,)
        As in :func:`cell_alignment`.
    labels : array-like of int, shape (n_images, height, width)
        As in :func:`cell_alignment`.
    transformer : fitted transformer or None, default=None
        As in :func:`cell_alignment`.
    kind : {"cosine", "inner"}, default="cosine"
        As in :func:`cell_alignment`.
    ignore : array-like of bool, shape (n_images, height, width), or None, default=None
        As in :func:`boundary_profile`.
    band : tuple of (float, float) or None, default=None
        Signed distances (:func:`boundary_distance`) in pixels between which the band lies,
        negative inside cells. None is half a patch to both sides.
    core : float or None, default=None
        The core of a cell lies deeper than this, a negative distance. None is one patch.
    far : float or None, default=None
        Far background is further away than this. None is two patches.
    center_positions : bool, default=False
        As in :func:`cell_alignment`.

    Returns
    -------
    Bunch
        contrast : ndarray, shape (n_cells, n_directions)
            The contrast; NaN for a cell without a core, or on an image without far background.
        n_band, n_core, n_far : ndarray of int, shape (n_cells,)
            Pixels behind it.
        image, label, n_pixels, row, column, touches_border : ndarray, shape (n_cells,)
            As in :func:`cell_table`.
        band, core, far : object
            Distances used.

    Raises
    ------
    ValueError
        If distances are not in order, or as in :func:`cell_alignment`.

    See Also
    --------
    cell_class_test : Whether classes differ in it; drop the cells with NaN before.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import ring_contrast
    >>> tokens = np.zeros((1, 1, 9, 2)) + [0.0, 1.0]
    >>> tokens[0, 0, [1, 5]] = [1.0, 0.0]  # beside the boundaries of a cell
    >>> labels = np.array([[[0, 0, 1, 1, 1, 0, 0, 0, 0]]])
    >>> ring_contrast(tokens, [1.0, 0.0], labels, band=(0, 1), core=-1, far=2).contrast
    array([[1.]])
    """
    prepared = PreparedTokens(tokens, transformer, kind, center_positions=center_positions)
    directions = prepared.directions(directions)
    masks = CellMasks(labels, ignore)
    pixels = masks.on(prepared)
    regions = _Regions.read(band, core, far, pixels.patch)
    cells = masks.table()
    contrast = np.empty((cells["image"].size, directions.shape[0]), prepared.dtype)
    sizes = np.empty((cells["image"].size, 3), dtype=np.int64)
    start = 0
    for image, rows in enumerate(prepared):
        mask = masks[image]
        end = start + mask.n_cells
        core, band, far, sizes[start:end] = _shares(mask, regions, pixels)
        ring = (band - core / 2).astype(rows.dtype) @ rows - far.astype(rows.dtype) @ rows / 2
        contrast[start:end] = ring @ directions.T
        contrast[start:end][(sizes[start:end] == 0).any(axis=1)] = np.nan
        start = end
    return Bunch(
        contrast=contrast, n_core=sizes[:, CORE], n_band=sizes[:, BAND], n_far=sizes[:, FAR],
        **cells, band=regions.band, core=regions.core, far=regions.far,
    )  # fmt: skip


def _shares(mask: CellMask, regions: _Regions, pixels: TokenPixels):
    """Share in each token of core and band of every cell and of far background, and their sizes.

    The shares of the cells are sparse, (n_cells, n_tokens), those of the background (n_tokens,);
    sizes in pixels, (n_cells, 3). A region without pixels has no shares.
    """
    n_cells = mask.n_cells
    region, cell = regions.of(mask)
    # Core and band of cell k are the groups k and n_cells + k, far background is the last one.
    group = np.where(region == IGNORED, IGNORED, cell + n_cells * region)
    group[region == FAR] = 2 * n_cells
    counts = pixels.counts(group, 2 * n_cells + 1)
    total = counts.sum(axis=1)
    shares = (sparse.diags_array(1 / np.maximum(total, 1)) @ counts).tocsr()
    sizes = [total[:n_cells], total[n_cells:-1], np.full(n_cells, total[-1])]
    far = shares[[-1]].toarray()[0]
    return shares[:n_cells], shares[n_cells:-1], far, np.column_stack(sizes).astype(np.int64)


class RingTest(Bunch):
    """Result of :func:`ring_test`; prints what was compared and what was found.

    See :func:`ring_test` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def rings(self, level: float = 0.05, *, as_frame: bool = False):
        """Table of the ring-like directions.

        Parameters
        ----------
        level : float, default=0.05
            Directions with a `q_value` of at most this are listed if the band is higher than the
            core *and* higher than the far background.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``direction``, ``contrast``, ``band_minus_core``, ``band_minus_far``, ``r``,
            ``low``, ``high``, ``z``, ``p_value``, ``family_wise_p_value``, ``q_value``,
            ``n_images`` and ``n_units``, sorted by descending r.
        """
        check_real("level", level, 0, 1)
        both = (self.band_minus_core > 0) & (self.band_minus_far > 0)
        direction = np.flatnonzero(both & (self.q_value <= level))
        direction = direction[np.argsort(-self.r[direction], kind="stable")]
        columns = {"direction": direction}
        for name in ("contrast", "band_minus_core", "band_minus_far", "r", "low", "high", "z",
                     "p_value", "family_wise_p_value", "q_value", "n_images",
                     "n_units"):  # fmt: skip
            columns[name] = self[name][direction]
        return table(columns, as_frame)

    def __repr__(self):
        """Summary: regions, images and units, and how many directions are ring-like."""
        units = self.n_units.max()
        lines = [
            f"RingTest of {self.r.size} directions on {self.n_images.max()} images ({units} "
            f"unit{'s' if units != 1 else ''}"
            + ("; one unit has no interval)" if units == 1 else ")"),
            f"  pixels        core below {self.core:g}, band {self.band[0]:g} to "
            f"{self.band[1]:g}, far above {self.far:g}",
            f"  left out      {self.images_left_out.size} images without all regions",
            f"  null          shift, {self.n_permutations} draws",
            f"  q <= 0.05     {np.count_nonzero(self.q_value <= 0.05)}, of them ring-like "
            f"{self.rings(0.05).direction.size}",
        ]
        return "\n".join(lines)


def ring_test(
    tokens,
    directions,
    labels,
    *,
    transformer=None,
    kind: str = "cosine",
    ignore=None,
    band=None,
    core=None,
    far=None,
    units=None,
    chosen=None,
    n_permutations: int = 99,
    confidence_level: float = 0.95,
    random_state=None,
) -> RingTest:
    """Test all directions for being high along the boundary of cells.

    The mean contrast of the cells of an image (:func:`ring_contrast`) is a weighted sum over
    tokens: positive weights in the bands, negative ones in the cores and far away. These weights
    are correlated with the heatmap as if they were a stain (:func:`channel_correlations`), and
    moved over the mirrored image at random for the null.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        As in :func:`cell_alignment`.
    directions : array-like, shape (n_directions, n_features) or (n_features,)
        As in :func:`cell_alignment`.
    labels : array-like of int, shape (n_images, height, width)
        As in :func:`cell_alignment`.
    transformer : fitted transformer or None, default=None
        As in :func:`cell_alignment`.
    kind : {"cosine", "inner"}, default="cosine"
        As in :func:`cell_alignment`.
    ignore : array-like of bool, shape (n_images, height, width), or None, default=None
        As in :func:`boundary_profile`.
    band : tuple of (float, float) or None, default=None
        As in :func:`ring_contrast`.
    core : float or None, default=None
        As in :func:`ring_contrast`.
    far : float or None, default=None
        As in :func:`ring_contrast`.
    units : array-like, shape (n_images,), or None, default=None
        The independent unit of each image, usually its well; None makes every image a unit.
    chosen : array-like of bool, shape (n_images,) or (n_images, n_directions), or None
        Images that were used to choose the directions; they do not test them. A direction of
        which no image with all regions is left has NaN.
    n_permutations : int, default=99
        Draws per image.
    confidence_level : float, default=0.95
        Level of the intervals.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    RingTest
        A Bunch with a method ``rings(level)``, the table of the ring-like directions:

        contrast : ndarray, shape (n_directions,)
            Mean over cells, images of a unit, and units.
        band_minus_core, band_minus_far : ndarray, shape (n_directions,)
            Its two halves. Both are positive for a ring.
        r : ndarray, shape (n_directions,)
            Mean correlation of heatmap and weights; the sign is that of the contrast.
        low, high : ndarray, shape (n_directions,)
            Student's t interval of r over units; NaN for a single unit.
        z, p_value, family_wise_p_value, q_value : ndarray, shape (n_directions,)
            As in :func:`channel_correlations`; two-sided.
        n_images, n_units : ndarray of int, shape (n_directions,)
            Images and units behind the mean.
        images_left_out : ndarray of int
            Images without far background, or without a cell that has core and band.
        band, core, far, n_permutations, confidence_level : object
            The settings.

    Raises
    ------
    ValueError
        If no image has all regions, or as in :func:`ring_contrast` and
        :func:`channel_correlations`.

    Notes
    -----
    The test says that the contrast is not zero, which a direction that rises within a few pixels
    on one side of the boundary can reach, too; `rings` asks that both halves are positive, and
    :func:`boundary_profile` shows the course. On 3,200 smooth random features that had nothing to
    do with the cells, 3.4% of the p-values were at most 0.05: the test is a little careful.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.datasets import make_cell_fields
    >>> from skdict.imaging import ring_test
    >>> fields = make_cell_fields(n_images=4, n_null=4, random_state=0)
    >>> found = ring_test(
    ...     fields.tokens, fields.directions, fields.labels, units=fields.well, random_state=0)
    >>> fields.names[found.rings(0.05).direction[:1]]
    array(['ring'], dtype='<U10')
    """
    prepared = PreparedTokens(tokens, transformer, kind)
    directions = prepared.directions(directions)
    masks = CellMasks(labels, ignore)
    pixels = masks.on(prepared)
    regions = _Regions.read(band, core, far, pixels.patch)
    masks.table()
    weights = np.stack([_image_weights(masks[i], regions, pixels) for i in range(len(masks))])
    whole = weights[:, BAND].any(axis=1)
    if not whole.any():
        raise ValueError(
            f"no image has a cell with a core (below {regions.core:g} pixels) and a band, and far "
            f"background (above {regions.far:g} pixels); set core and far closer to the boundary"
        )
    template = weights[:, BAND] - (weights[:, CORE] + weights[:, FAR]) / 2
    template = template.reshape(len(masks), 1, *prepared.grid)
    found = channel_correlations(
        tokens, directions, template, channels=["ring"], transformer=transformer, kind=kind,
        units=units, chosen=chosen, n_permutations=n_permutations, artefacts=False,
        confidence_level=confidence_level, random_state=random_state,
    )  # fmt: skip
    halves = _halves(prepared, directions, weights, _image_shares(units, chosen, whole))
    halves[:, found.n_images[:, 0] == 0] = np.nan
    columns = ("r", "low", "high", "z", "p_value", "family_wise_p_value", "q_value", "n_images",
               "n_units")  # fmt: skip
    return RingTest(
        contrast=halves.mean(axis=0), band_minus_core=halves[0], band_minus_far=halves[1],
        **{name: found[name][:, 0] for name in columns},
        images_left_out=np.flatnonzero(~whole), band=regions.band, core=regions.core,
        far=regions.far, n_permutations=n_permutations, confidence_level=confidence_level,
    )  # fmt: skip


def _image_weights(mask: CellMask, regions: _Regions, pixels: TokenPixels) -> np.ndarray:
    """Mean over the cells with all regions of their shares, shape (3, n_tokens); zero if none."""
    core, band, far, sizes = _shares(mask, regions, pixels)
    whole = (sizes > 0).all(axis=1)
    if not whole.any():
        return np.zeros((3, pixels.n_tokens))
    return np.stack([core[whole].mean(axis=0), band[whole].mean(axis=0), far])


def _image_shares(units, chosen, whole) -> np.ndarray:
    """Weight of each image in a mean over units, shape (n_images, n_directions or 1)."""
    usable = whole[:, None]
    if chosen is not None:
        chosen = np.asarray(chosen)
        usable = usable & ~(chosen[:, None] if chosen.ndim == 1 else chosen)
    units = read_units(units, None, whole.size)
    of_unit = np.zeros((units.n_units, usable.shape[1]))
    np.add.at(of_unit, units.index, usable)
    n_units = np.maximum((of_unit > 0).sum(axis=0), 1)
    return usable / (np.maximum(of_unit, 1)[units.index] * n_units)


def _halves(prepared, directions, weights, images) -> np.ndarray:
    """Mean over units of band minus core and band minus far, shape (2, n_directions)."""
    halves = np.zeros((2, directions.shape[0]))
    for image, rows in enumerate(prepared):
        differences = weights[image, [BAND, BAND]] - weights[image, [CORE, FAR]]
        halves += images[image] * ((differences.astype(rows.dtype) @ rows) @ directions.T)
    return halves
