"""Alignment of single cells with feature directions."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from skdict._tables import table
from skdict.imaging._cell_masks import BACKGROUND, CellMasks, cells_of
from skdict.imaging._tokens import PreparedTokens, output_array


class CellAlignment(Bunch):
    """Result of :func:`cell_alignment`; prints how many cells of which size there are.

    See :func:`cell_alignment` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def cells(self, *, as_frame: bool = False):
        """Table of the cells, as :func:`cell_table` lists them.

        Parameters
        ----------
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``image``, ``label``, ``n_pixels``, ``row``, ``column`` and
            ``touches_border``.
        """
        return table(cells_of(self), as_frame)

    def __repr__(self):
        """Summary: cells, their size in tokens, and what has been left out."""
        n_cells, n_directions = self.alignment.shape
        small = np.count_nonzero(self.n_tokens < 1)
        lines = [
            f"CellAlignment of {n_cells} cells on {self.background.shape[0]} images with "
            f"{n_directions} directions ({self.kind})",
            f"  size in tokens   {self.n_tokens.min():.2g} to {self.n_tokens.max():.2g} (median "
            f"{np.median(self.n_tokens):.2g}); {small} smaller than a token",
            f"  at the border    {np.count_nonzero(self.touches_border)} cells",
            f"  images without   {self.images_without_cells.size}; cells ignored as a whole "
            f"{self.n_ignored_cells}",
        ]
        return "\n".join(lines)


def cell_alignment(
    tokens,
    directions,
    labels,
    *,
    transformer=None,
    kind: str = "cosine",
    ignore=None,
    center_positions: bool = False,
    out=None,
) -> CellAlignment:
    r"""Mean alignment of every cell with every feature direction.

    The alignment of cell c with direction m is the mean of the heatmap over the pixels of the
    cell, where each pixel has the value of its token:

    .. math::

       a_{cm} = \sum_p \frac{n_{cp}}{n_c} h_{mp}
              = \left\langle d_m, \sum_p \frac{n_{cp}}{n_c} t_p \right\rangle

    with :math:`n_{cp}` pixels of cell c in token p that are not ignored, :math:`n_c` in all. The
    heatmap (:func:`token_heatmaps`) is linear in the prepared token :math:`t_p`, so that the mean
    token of each cell is all that is needed: no heatmap is formed, and thousands of directions
    cost one small product per image.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        Patch tokens in their places, read one image at a time.
    directions : array-like, shape (n_directions, n_features) or (n_features,)
        Feature directions in the space behind `transformer`, usually ``components_``.
    labels : array-like of int, shape (n_images, height, width)
        Label images: 0 for background, one number per cell of an image.
    transformer : fitted transformer or None, default=None
        Whitening, applied to the tokens first; see :func:`token_heatmaps`.
    kind : {"cosine", "inner"}, default="cosine"
        See :func:`token_heatmaps`.
    ignore : array-like of bool, shape (n_images, height, width), or None, default=None
        Pixels that count for nothing, for example cells at the border that have no label.
    center_positions : bool, default=False
        Subtract each position's mean token first; see :func:`token_heatmaps`.
    out : ndarray or None, default=None
        Array or writable memory map for ``alignment``.

    Returns
    -------
    CellAlignment
        A Bunch with a method ``cells(as_frame=...)``, the table of the cells. Cells stand by
        image, then by label, as in :func:`cell_table`:

        alignment : ndarray, shape (n_cells, n_directions)
            Mean alignment, in the precision of the tokens: 1 GB for 30,000 cells and 8,192
            directions in float32.
        image, label : ndarray of int, shape (n_cells,)
            Image of each cell and its number there.
        n_pixels : ndarray of int, shape (n_cells,)
            Its pixels that are not ignored.
        n_tokens : ndarray of float, shape (n_cells,)
            The same in units of a token's area.
        row, column : ndarray of float, shape (n_cells,)
            Centre in pixels.
        touches_border : ndarray of bool, shape (n_cells,)
            Whether the cell reaches the border of the image.
        background : ndarray, shape (n_images, n_directions)
            Mean alignment of the background; NaN for an image without.
        background_n_pixels : ndarray of int, shape (n_images,)
            Its pixels that are not ignored.
        images_without_cells : ndarray of int
            Images that have no cell, and so no row.
        n_ignored_cells : int
            Cells of which all pixels are ignored; they have no row.
        kind : str
            As given.

    Raises
    ------
    ValueError
        If the token grid does not match the label images, labels are negative or no integers,
        no image has a cell, or tokens and directions do not fit (:func:`token_heatmaps`).

    See Also
    --------
    cell_class_test : Tests whether perturbed cells differ from control-like cells.
    cell_recall : How many cells are told apart, as in Table 3 of the paper.

    Notes
    -----
    A cell smaller than a token has the value of the token that it lies in, which saw the
    surroundings as well; and through attention every token knows of the others. `n_tokens` says
    which cells the grid can resolve.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025, section 7.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import cell_alignment
    >>> tokens = np.zeros((1, 2, 2, 3))
    >>> tokens[0, 0] = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]  # first row of tokens
    >>> labels = np.zeros((1, 4, 4), dtype=int)
    >>> labels[0, 0:2, 1:3] = 1  # half in the first token, half in the second
    >>> cells = cell_alignment(tokens, np.eye(3), labels)
    >>> cells.alignment
    array([[0.5, 0.5, 0. ]])
    >>> cells.n_pixels, cells.n_tokens
    (array([4]), array([1.]))
    """
    prepared = PreparedTokens(tokens, transformer, kind, center_positions=center_positions)
    directions = prepared.directions(directions)
    masks = CellMasks(labels, ignore)
    pixels = masks.on(prepared)
    cells = masks.table()
    n_directions = directions.shape[0]
    shape = (cells["image"].size, n_directions)
    alignment = output_array(out, shape, prepared.dtype, ", a row per cell of cell_table")
    background = np.empty((len(prepared), n_directions), prepared.dtype)
    background_n_pixels = np.empty(len(prepared), dtype=np.int64)
    has_cells = np.zeros(len(prepared), dtype=bool)
    start = n_ignored = 0
    for image, rows in enumerate(prepared):
        mask = masks[image]
        means, n_pixels = pixels.means(mask.place, 1 + mask.n_cells, rows)
        end = start + mask.n_cells
        values = means @ directions.T
        background[image], alignment[start:end] = values[BACKGROUND], values[BACKGROUND + 1 :]
        background_n_pixels[image] = n_pixels[BACKGROUND]
        has_cells[image] = mask.n_cells > 0
        n_ignored += mask.n_left_out
        start = end
    return CellAlignment(
        alignment=alignment, **cells, n_tokens=cells["n_pixels"] / pixels.patch_area,
        background=background, background_n_pixels=background_n_pixels,
        images_without_cells=np.flatnonzero(~has_cells), n_ignored_cells=n_ignored, kind=kind,
    )  # fmt: skip
