"""A concept on the plate: where on it the wells are that activate it."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from skdict._units import check_length, encode_names
from skdict._validation import check_control, check_integer, import_optional
from skdict.display._pictures import diverging, symmetric_limit
from skdict.display._saving import SavedDisplay, vector
from skdict.display._style import legend, new_axes
from skdict.effects._well_position import row_name, well_position
from skdict.metrics._activity import check_codes

_SIDE = 0.27  # inches of a well


class PlateMapDisplay(SavedDisplay):
    """Mean activation of a concept in each well, drawn as the plate lies.

    Effects of position show as bright rows, columns or edges. Control wells are outlined; wells
    without data are hatched.

    Parameters
    ----------
    row, column : array-like of int, shape (n_wells,)
        Place of each well, counted from 1; each place once.
    value : array-like of float, shape (n_wells,)
        Mean activation of each well.
    control : array-like of bool, shape (n_wells,), default=None
        Wells to outline.
    plate_rows, plate_columns : int, default=None
        Size of the plate; ``None`` takes the last row and column that occur.
    label : str, default="Mean activation"
        What the values are, for the colour scale.
    name : str, default=None
        Name of the concept, for the title, :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes that were drawn on.
    figure_ : matplotlib Figure
        Their figure.
    image_ : matplotlib AxesImage
        The wells.
    colorbar_ : matplotlib Colorbar or None
        Their scale.

    See Also
    --------
    skdict.effects.well_position : Rows and columns from the names of wells.
    skdict.effects.technical_audit : How much of each concept the position explains.

    Examples
    --------
    >>> from skdict.display import PlateMapDisplay
    >>> codes = [[1.0, 0.0], [3.0, 0.0], [0.0, 0.5]]
    >>> display = PlateMapDisplay.from_codes(codes, 0, ["A01", "A01", "B03"], plot=False)
    >>> display.source_data()["value"]
    array([2., 0.])
    """

    def __init__(self, row, column, value, *, control=None, plate_rows=None, plate_columns=None,
                 label="Mean activation", name=None, settings=None):  # fmt: skip
        self.row = row
        self.column = column
        self.value = value
        self.control = control
        self.plate_rows = plate_rows
        self.plate_columns = plate_columns
        self.label = label
        self.name = name
        self.settings = settings

    @classmethod
    def from_codes(cls, codes, concept, well, plate=None, control=None, *, show=None,
                   plate_rows=None, plate_columns=None, name=None, ax=None, plot=True,
                   **kwargs):  # fmt: skip
        """Average a concept within each well, then over plates.

        Parameters
        ----------
        codes : {array-like, CSR} of shape (n_samples, n_concepts)
            The codes; zeros count.
        concept : int
            The concept.
        well : array-like of str, shape (n_samples,)
            Name of each row's well, such as ``"A01"``.
        plate : array-like, shape (n_samples,), default=None
            Plate of each row: each plate counts the same, however many rows it has in a well.
            ``None`` takes all rows as of one plate.
        control : array-like of bool, shape (n_samples,), default=None
            Control rows; a well is outlined if it holds any.
        show : object, default=None
            Name of the one plate to show; ``None`` takes the mean over plates.
        plate_rows, plate_columns : int, default=None
            Size of the plate; ``None`` takes the smallest usual one that has all wells.
        name : str, default=None
            Name of the concept; ``None`` numbers it.
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure.
        plot : bool, default=True
            False computes only, without matplotlib.
        **kwargs : dict
            Given to ``Axes.imshow``.

        Returns
        -------
        PlateMapDisplay
            The display with its numbers, drawn unless ``plot=False``.

        Raises
        ------
        ValueError
            If lengths do not fit, the concept or the plate does not exist, or the name of a well
            is not understood.
        """
        codes = check_codes(codes)
        n_rows, n_concepts = codes.shape
        check_integer("concept", concept, 0)
        if concept >= n_concepts:
            raise ValueError(f"concept must be below {n_concepts}, got {concept}")
        check_length(well, n_rows, "well")
        place = well_position(well, plate_rows=plate_rows, plate_columns=plate_columns)
        plates, on_plate = np.array(["all rows"]), np.zeros(n_rows, dtype=int)
        if plate is not None:
            plates, on_plate = encode_names(plate, n_rows, "plate")
        kept = np.arange(n_rows) if show is None else _rows_of(show, plates, on_plate)
        spot = (place.row - 1) * place.plate_columns + place.column - 1
        value = _plate_means(_column(codes, concept)[kept], spot[kept], on_plate[kept],
                             place.plate_rows * place.plate_columns)  # fmt: skip
        wells = np.flatnonzero(np.isfinite(value))
        outlined = None
        if control is not None:
            rows = np.intersect1d(check_control(control, n_rows, minimum=1), kept)
            outlined = np.isin(wells, spot[rows])
        n_plates = np.unique(on_plate[kept]).size
        settings = {"rows": len(kept)}
        if plate is not None:
            settings |= {"plates": n_plates} if show is None else {"plate": show}
        display = cls(
            wells // place.plate_columns + 1, wells % place.plate_columns + 1, value[wells],
            control=outlined, plate_rows=place.plate_rows, plate_columns=place.plate_columns,
            label="Mean activation" + (f" over {n_plates} plates" if n_plates > 1 else ""),
            name=f"concept {concept}" if name is None else name, settings=settings,
        )  # fmt: skip
        return display.plot(ax, **kwargs) if plot else display

    def plot(self, ax=None, *, colorbar=True, **kwargs):
        """Draw the plate.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; ``None`` makes a figure of the shape of the plate.
        colorbar : bool, default=True
            Draw the scale.
        **kwargs : dict
            Given to ``Axes.imshow``, such as ``vmin`` and ``vmax`` for a scale that several
            plates share.

        Returns
        -------
        PlateMapDisplay
            This display, with ``ax_``, ``image_``, ``colorbar_`` and ``figure_``.
        """
        table, (n_rows, n_columns) = self._columns(), self._size()
        if ax is None:
            ax = new_axes(None)
            side = max(_SIDE, 2.6 / n_columns)
            ax.figure.set_size_inches(side * n_columns + 1.9, side * n_rows + 1.3)
        plate = np.full((n_rows, n_columns), np.nan)
        plate[table["row"] - 1, table["column"] - 1] = table["value"]
        style = _colours(table["value"]) | {"interpolation": "none", "zorder": 1}
        self.image_ = ax.imshow(plate, **{**style, **kwargs})
        self._draw_wells(ax, plate, table)
        ax.set_xticks(range(n_columns), [str(i + 1) for i in range(n_columns)])
        ax.set_yticks(range(n_rows), [row_name(i + 1) for i in range(n_rows)])
        ax.tick_params(length=0, labelsize="x-small" if n_columns > 12 else "small",
                       labeltop=True, labelbottom=False)  # fmt: skip
        if n_columns > 24:
            ax.tick_params(axis="x", rotation=90)
        for spine in ax.spines.values():
            spine.set_color("0.7")
        if self.name is not None:
            ax.set_title(str(self.name), fontsize="medium", pad=8)
        self.colorbar_ = None
        if colorbar:
            self.colorbar_ = ax.figure.colorbar(self.image_, ax=ax, shrink=0.8, label=self.label)
        legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)
        self._drawn_on(ax, self.image_)
        return self

    def _draw_wells(self, ax, plate, table) -> None:
        """Separate the wells, hatch those without data, outline the controls."""
        patches = import_optional("matplotlib.patches", extra="plot")
        n_rows, n_columns = plate.shape
        ax.vlines(np.arange(1, n_columns) - 0.5, -0.5, n_rows - 0.5, color="0.85", linewidth=0.5)
        ax.hlines(np.arange(1, n_rows) - 0.5, -0.5, n_columns - 0.5, color="0.85", linewidth=0.5)
        empty = {"facecolor": "white", "edgecolor": "0.7", "hatch": "////", "linewidth": 0}
        outline = {"facecolor": "none", "edgecolor": "black", "linewidth": 1.1}
        groups = [("no data", np.argwhere(np.isnan(plate)), 1.0, empty)]
        if "control" in table:
            own = table["control"]
            controls = np.stack([table["row"][own] - 1, table["column"][own] - 1], axis=1)
            groups.append(("control", controls, 0.86, outline))
        for label, places, side, style in groups:
            for i, (row, column) in enumerate(places):
                corner = (column - side / 2, row - side / 2)
                ax.add_patch(patches.Rectangle(corner, side, side, zorder=3, **style,
                                               label=None if i else label))  # fmt: skip

    def _size(self) -> tuple[int, int]:
        """Rows and columns of the plate."""
        size = []
        for key, places in (("plate_rows", self.row), ("plate_columns", self.column)):
            given = getattr(self, key)
            if given is not None:
                check_integer(key, given, 1)
            size.append(int(np.max(places)) if given is None else int(given))
        return size[0], size[1]

    def _columns(self) -> dict:
        row = vector("row", self.row, dtype=int)
        if not row.size:
            raise ValueError("row must hold at least one well")
        columns = {"row": row, "column": vector("column", self.column, row.size, dtype=int)}
        for (key, places), size in zip(list(columns.items()), self._size()):
            if places.min() < 1 or places.max() > size:
                raise ValueError(
                    f"{key} must be between 1 and {size} on this plate, got {places.min()} to "
                    f"{places.max()}"
                )
        pairs = np.stack([columns["row"], columns["column"]])
        if np.unique(pairs, axis=1).shape[1] != row.size:
            raise ValueError("row and column must name each well once; average its rows first")
        wells = [f"{row_name(i)}{j:02d}" for i, j in pairs.T.tolist()]
        columns = {"well": np.array(wells)} | columns
        columns["value"] = vector("value", self.value, row.size)
        if not np.isfinite(columns["value"]).all():
            raise ValueError("value must hold finite numbers; leave wells without data out")
        if self.control is not None:
            columns["control"] = vector("control", self.control, row.size, dtype=bool)
        return columns

    def _description(self) -> str:
        table, (n_rows, n_columns) = self._columns(), self._size()
        text = (
            f"The figure shows the {self.label[0].lower()}{self.label[1:]} in "
            f"{table['well'].size} wells of a plate of {n_rows} x {n_columns}; wells without data "
            "are hatched."
        )
        if "control" in table:
            text += f" The {np.count_nonzero(table['control'])} control wells are outlined."
        return text


def _rows_of(show, plates, on_plate) -> np.ndarray:
    """Rows of one plate."""
    found = np.flatnonzero(plates == show)
    if found.size == 0:
        names = plates.tolist()
        raise ValueError(
            f"show must name a plate, one of {names[:8]!r}{'...' if len(names) > 8 else ''}, "
            f"got {show!r}"
        )
    return np.flatnonzero(on_plate == found[0])


def _column(codes, concept: int) -> np.ndarray:
    """Codes of one concept, dense, in float64."""
    column = codes[:, [concept]]
    column = column.toarray() if sparse.issparse(column) else np.asarray(column)
    return column[:, 0].astype(np.float64)


def _plate_means(codes, spot, on_plate, n_wells: int) -> np.ndarray:
    """Mean over plates of the mean over rows of each well; NaN for wells without data."""
    cells, index = np.unique(on_plate.astype(np.int64) * n_wells + spot, return_inverse=True)
    means = np.bincount(index, weights=codes) / np.bincount(index)
    wells = cells % n_wells
    with np.errstate(invalid="ignore"):
        return np.bincount(wells, weights=means, minlength=n_wells) / np.bincount(
            wells, minlength=n_wells
        )


def _colours(values) -> dict:
    """Colours of signed values about zero, or from zero up where hardly any is below."""
    limit = symmetric_limit(values)
    if values.min() < -0.1 * values.max():
        return {"cmap": diverging(), "vmin": -limit, "vmax": limit}
    # The upper half of the same colours: black outlines show on all of them.
    colors = import_optional("matplotlib.colors", extra="plot")
    upper = diverging()(np.linspace(0.5, 1.0, 128))
    cmap = colors.LinearSegmentedColormap.from_list("skdict_positive", upper)
    return {"cmap": cmap, "vmin": 0.0, "vmax": limit}
