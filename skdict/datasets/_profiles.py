"""Turn a profile table into features, metadata and a control mask, and say what was changed."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.utils import Bunch

from skdict._validation import check_choice, check_real, import_optional
from skdict.datasets._control import control_mask
from skdict.datasets._tables import COUNTERS, is_metadata, read_tables, shorten

MISSING = ("drop_features", "drop_rows", "impute_median", "error")

# Robust z beyond which a value is reported as extreme even when nothing is clipped: far outside
# what perturbations do, and typical of ratios whose denominator was near zero.
REPORT_EXTREME = 100.0


def read_profiles(
    path,
    *,
    control,
    missing: str = "drop_features",
    max_missing: float = 0.05,
    clip: float | None = None,
    metadata_prefix="Metadata_",
    metadata_columns=(),
    dtype=np.float32,
    as_frame: bool = False,
) -> Bunch:
    """Read profile tables as pycytominer, CytoTable and CellProfiler write them.

    Columns whose names start with ``Metadata_`` (or ``Image_Metadata_``), and the counters
    ImageNumber, ObjectNumber and TableNumber, are metadata; every other column is a feature and
    has to be numeric. Whatever is changed is counted in ``report`` and warned of; nothing else
    is. Rows are never reordered.

    In text files, only the empty text is a missing metadata entry ("NA" and "None" are kept), and
    a metadata column becomes numbers only if each text is how Python writes its number:
    "0012", "1E5", and integers beside empty entries stay text.

    Parameters
    ----------
    path : path, DataFrame, or list of these
        Parquet (``.parquet``, ``.pq``) or text (``.csv``, ``.tsv``, also ``.gz``); needs
        ``skdict[io]``. Several tables, for example one per plate, are put under each other: the
        features that all of them have are kept.
    control : dict, str, callable, array of bool, or None
        Which rows are controls. A dict maps columns (with or without prefix) to a value or a list
        of values, and a row has to match all of them; None or NaN as a value means a missing
        entry. A string is a pandas query on the metadata (it is evaluated: do not pass text of
        strangers). A callable takes the metadata as a DataFrame and returns a mask. None: there
        are no controls.
    missing : {"drop_features", "drop_rows", "impute_median", "error"}, default="drop_features"
        What to do about missing values; infinite values count as missing. Drop every feature
        that has one, drop every row that has one, set them to the median of the feature, or
        raise. The rows of `control` are counted after dropping.
    max_missing : float, default=0.05
        A feature with a larger share of missing values is dropped before rows are dropped or
        medians taken. Feature selection per plate makes such features. A feature without any
        value is always dropped.
    clip : float or None, default=None
        Clip values beyond this robust z: the distance to the median of the feature in units of
        1.4826 median absolute deviations (of the mean absolute deviation, times 1.2533, where
        the former is 0). None clips nothing and still reports values beyond 100. The medians are
        those of the whole table: for a strict evaluation clip within the training rows instead.
    metadata_prefix : str or sequence of str, default ``"Metadata_"``
        What the names of metadata columns start with.
    metadata_columns : sequence of str, default=()
        Further columns that are metadata.
    dtype : {np.float32, np.float64}, default=np.float32
        Type of the features.
    as_frame : bool, default=False
        Return ``data`` and ``metadata`` as DataFrames and both together as ``frame``.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        data : ndarray, shape (n_samples, n_features)
            The features.
        feature_names : ndarray of str, shape (n_features,)
            Their names, in the order of the (first) table.
        metadata : dict of ndarray
            Metadata columns under their own names; a missing entry of a text column is "".
        control : ndarray of bool, shape (n_samples,)
            True for the controls.
        report : dict
            What was found and changed: ``n_rows_read``, ``n_rows``, ``n_features_read``,
            ``n_features``, ``n_control``; ``n_missing`` and ``n_infinite`` values;
            ``missing_per_feature`` (dict), ``features_dropped``, ``rows_dropped`` (positions in
            the table as read), ``n_imputed``; ``n_extreme``, ``extreme_features`` (dict of
            counts), ``n_clipped``; ``features_not_in_all_tables``, ``columns_ignored``,
            ``constant_features`` (kept), ``metadata_missing`` (dict); and ``changes``, the
            sentences that the warning holds.
        source : list of str
            The files.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If a file is empty, damaged or of another kind; columns are duplicated; no column is
        metadata; a feature is not numeric; `control` names an unknown column or matches no row;
        nothing is left after dropping.

    Warns
    -----
    UserWarning
        If rows, features or values were dropped or changed.

    Examples
    --------
    >>> import pandas as pd
    >>> from skdict.datasets import read_profiles
    >>> table = pd.DataFrame({
    ...     "Metadata_Well": ["A01", "A02", "A03"],
    ...     "Metadata_compound": ["DMSO", "DMSO", "taxol"],
    ...     "Cells_AreaShape_Area": [1.0, 2.0, 3.0],
    ... })
    >>> profiles = read_profiles(table, control={"compound": "DMSO"})
    >>> profiles.control
    array([ True,  True, False])
    >>> profiles.report["changes"]
    []
    """
    pandas = import_optional("pandas", extra="io")
    prefixes = _check_parameters(missing, max_missing, clip, metadata_prefix, dtype)
    metadata_columns = tuple(metadata_columns)
    tables, source = read_tables(path, prefixes, metadata_columns)
    report: dict = {"changes": []}
    parts = [_split(t, n, prefixes, metadata_columns) for t, n in zip(tables, source, strict=True)]
    data, names, metadata = _stack(parts, report)
    report["columns_ignored"] = sorted({name for part in parts for name in part[2]})
    if report["columns_ignored"]:
        report["changes"].append(f"ignored index columns {shorten(report['columns_ignored'])}")
    mask = control_mask(metadata, control, prefixes)
    with np.errstate(over="ignore"):  # beyond the range of dtype: infinite, so counted below
        data = data.astype(dtype)
    report.update(n_rows_read=len(data), n_features_read=len(names))

    data, names, kept = _treat_missing(data, names, missing, max_missing, report)
    mask, metadata = mask[kept], metadata[kept].reset_index(drop=True)
    if control is not None and not mask.any():
        raise ValueError(
            f"missing={missing!r} dropped every control row; use 'drop_features' or "
            "'impute_median', or a lower max_missing"
        )
    _treat_extreme(data, names, clip, report)
    report["constant_features"] = names[np.ptp(data, axis=0) == 0].tolist()
    report["metadata_missing"] = {name: int(n) for name, n in metadata.isna().sum().items() if n}
    report.update(n_rows=len(data), n_features=len(names), n_control=int(mask.sum()))
    if report["changes"]:
        warnings.warn("read_profiles " + "; ".join(report["changes"]), UserWarning, stacklevel=2)

    bunch = Bunch(data=data, feature_names=names, control=mask, report=report, source=source)
    bunch.metadata = metadata
    if as_frame:
        bunch.data = pandas.DataFrame(data, columns=names)
        bunch.frame = pandas.concat([metadata, bunch.data], axis=1)
    else:
        bunch.metadata = {name: _plain(metadata[name]) for name in metadata.columns}
    return bunch


def _check_parameters(missing, max_missing, clip, metadata_prefix, dtype) -> tuple[str, ...]:
    """Check the parameters that need no table; return the prefixes."""
    check_choice("missing", missing, MISSING)
    check_real("max_missing", max_missing, 0, 1)
    if clip is not None:
        check_real("clip", clip, 0, np.finfo(float).max, open_low=True)
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be np.float32 or np.float64, got {dtype!r}")
    prefixes = (metadata_prefix,) if isinstance(metadata_prefix, str) else tuple(metadata_prefix)
    if not prefixes or not all(isinstance(p, str) and p for p in prefixes):
        raise ValueError(
            "metadata_prefix must be a non-empty string or several of them, "
            f"got {metadata_prefix!r}"
        )
    return prefixes


def _split(table, source: str, prefixes, extra):
    """Return the feature columns, the metadata columns, and the names of index columns."""
    unknown = sorted(set(extra) - set(table.columns))
    if unknown:
        raise ValueError(f"metadata_columns: {source} has no columns {shorten(unknown)}")
    metadata = [c for c in table.columns if is_metadata(c, prefixes, extra)]
    if COUNTERS.issuperset(metadata):  # also where there is none at all
        raise ValueError(
            f"{source} has no metadata columns: none starts with {' or '.join(prefixes)}; name "
            f"them with metadata_columns= or metadata_prefix=. Columns are "
            f"{shorten(table.columns, 8)}"
        )
    # to_csv writes the row index under an empty name, which pandas reads as "Unnamed: 0"
    ignored = [c for c in table.columns if c.startswith(("Unnamed: ", "__index_level_"))]
    taken = set(metadata) | set(ignored)
    features = [c for c in table.columns if c not in taken]
    _check_numeric(table, features, source)
    return table[features], table[metadata], ignored


def _check_numeric(table, features, source) -> None:
    """Raise if there is no feature, or one that does not hold numbers."""
    types = import_optional("pandas", extra="io").api.types
    if not features:
        raise ValueError(
            f"{source} has no numeric features: all its {table.shape[1]} columns are metadata"
        )
    wrong = [
        c
        for c in features
        if not (types.is_integer_dtype(table[c]) or types.is_float_dtype(table[c]))
        and not table[c].isna().all()
    ]
    if wrong:
        example = _first_non_number(table[wrong[0]])
        raise ValueError(
            f"{source} has features that are not numeric: {shorten(wrong)} "
            f"({wrong[0]} holds {example!r}); if they are metadata, name them in "
            "metadata_columns=, otherwise convert or remove them"
        )


def _first_non_number(column):
    """Return the first value that is not a number, else (text that is one) the first value."""
    pandas = import_optional("pandas", extra="io")
    present = column.dropna()
    wrong = pandas.to_numeric(present.astype(str), errors="coerce").isna().to_numpy()
    return present[wrong].iloc[0] if wrong.any() else present.iloc[0]


def _stack(parts, report):
    """Put the tables under each other; features are those that all have."""
    pandas = import_optional("pandas", extra="io")
    names = list(parts[0][0].columns)
    everywhere = set(names).intersection(*(part[0].columns for part in parts))
    anywhere = set(names).union(*(part[0].columns for part in parts))
    report["features_not_in_all_tables"] = sorted(anywhere - everywhere)
    if not everywhere:
        raise ValueError(f"the {len(parts)} tables have no feature in common")
    if anywhere != everywhere:
        report["changes"].append(
            f"dropped {len(anywhere - everywhere)} features that not all {len(parts)} tables have"
        )
    names = [name for name in names if name in everywhere]
    data = np.concatenate(
        [part[0][names].to_numpy(dtype=np.float64, na_value=np.nan) for part in parts]
    )
    metadata = pandas.concat(_same_types([part[1] for part in parts]), ignore_index=True)
    return data, np.array(names, dtype=str), metadata


def _same_types(tables):
    """Return metadata tables with integers as text where another table has none or no numbers.

    Under each other they would become floats: 101 would be 101.0, and long numbers would merge.
    """
    types = import_optional("pandas", extra="io").api.types
    result = []
    for table in tables:
        integers = [c for c in table.columns if types.is_integer_dtype(table[c])]
        as_text = [
            c
            for c in integers
            if not all(c in t.columns and types.is_numeric_dtype(t[c]) for t in tables)
        ]
        texts = {c: table[c].astype(object).map(str, na_action="ignore") for c in as_text}
        result.append(table.assign(**texts))
    return result


def _treat_missing(data, names, missing, max_missing, report):
    """Count missing and infinite values and treat them; return what is left and which rows."""
    infinite = np.isinf(data)
    absent = np.isnan(data) | infinite
    per_feature = absent.sum(axis=0)
    report.update(
        n_missing=int(absent.sum() - infinite.sum()),
        n_infinite=int(infinite.sum()),
        missing_per_feature={
            n: int(c) for n, c in zip(names.tolist(), per_feature, strict=True) if c
        },
        features_dropped=[],
        rows_dropped=np.array([], dtype=int),
        n_imputed=0,
    )
    kept = np.ones(len(data), dtype=bool)
    if not absent.any():
        return np.ascontiguousarray(data), names, kept
    found = (
        f"{report['n_missing']} missing and {report['n_infinite']} infinite values in "
        f"{int((per_feature > 0).sum())} of {len(names)} features"
    )
    if missing == "error":
        raise ValueError(
            f"{found} ({shorten(report['missing_per_feature'])}); choose missing= one of "
            "'drop_features', 'drop_rows', 'impute_median'"
        )
    limit = 0 if missing == "drop_features" else max_missing * len(data)
    good = (per_feature <= limit) & (per_feature < len(data))  # a median needs a value
    data, absent = data[:, good], absent[:, good]
    report["features_dropped"] = names[~good].tolist()
    names = names[good]
    _require_left(len(names), "feature", found, missing)
    done = [f"dropped {int((~good).sum())} features"] if not good.all() else []
    if missing == "drop_rows" and absent.any():
        kept = ~absent.any(axis=1)
        _require_left(int(kept.sum()), "row", found, missing)
        data = data[kept]
        report["rows_dropped"] = np.flatnonzero(~kept)
        done.append(f"dropped {int((~kept).sum())} rows")
    elif missing == "impute_median" and absent.any():
        data = np.where(absent, np.nanmedian(np.where(absent, np.nan, data), axis=0), data)
        report["n_imputed"] = int(absent.sum())
        done.append(f"set {report['n_imputed']} values to the median of their feature")
    report["changes"].append(f"found {found} and {' and '.join(done)}")
    return np.ascontiguousarray(data), names, kept


def _require_left(count: int, what: str, found: str, missing: str) -> None:
    """Raise if dropping left nothing."""
    if count == 0:
        raise ValueError(
            f"{found}: missing={missing!r} leaves no {what}; choose another of "
            f"{', '.join(map(repr, MISSING[:3]))}, or another max_missing"
        )


def _treat_extreme(data, names, clip: float | None, report) -> None:
    """Count values with a large robust z, and clip them in place if asked."""
    threshold = REPORT_EXTREME if clip is None else float(clip)
    centre = np.median(data, axis=0).astype(np.float64)
    away = np.abs(data - centre)
    scale = 1.4826 * np.median(away, axis=0)
    scale = np.where(scale > 0, scale, 1.2533 * away.mean(axis=0))
    extreme = away > threshold * scale
    counts = extreme.sum(axis=0)
    n_extreme = int(counts.sum())
    report.update(
        n_extreme=n_extreme,
        extreme_features={n: int(c) for n, c in zip(names.tolist(), counts, strict=True) if c},
        n_clipped=0 if clip is None else n_extreme,
    )
    if clip is None or not n_extreme:
        return
    bound = threshold * scale
    np.clip(data, centre - bound, centre + bound, out=data, casting="same_kind")
    report["changes"].append(
        f"clipped {n_extreme} values in {len(report['extreme_features'])} features to "
        f"{threshold:g} robust z"
    )


def _plain(column) -> np.ndarray:
    """Return a metadata column as a NumPy array of numbers, booleans or str."""
    types = import_optional("pandas", extra="io").api.types
    if types.is_bool_dtype(column) and not column.isna().any():
        return column.to_numpy(dtype=bool)
    integer = types.is_integer_dtype(column)
    if integer and not column.isna().any():
        return column.to_numpy(dtype=np.int64)
    # integers with a missing entry: text, because as floats long ones would merge
    if types.is_numeric_dtype(column) and not integer and not types.is_bool_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.array(["" if absent else str(v) for v, absent in zip(column, column.isna())])
