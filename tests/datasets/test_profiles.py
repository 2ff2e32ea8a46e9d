"""Reading profile tables: what is split off, what is changed, and that nothing changes silently."""

import gzip
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdict.datasets import read_profiles

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

N = 40


def make_table(n=N, seed=0, **columns):
    """Return a table as pycytominer writes it."""
    rng = np.random.default_rng(seed)
    table = {
        "Metadata_Plate": ["0012"] * n,
        "Metadata_Well": [f"{'ABCDEFGH'[i // 12]}{i % 12 + 1:02d}" for i in range(n)],
        "Metadata_compound": ["DMSO" if i % 4 == 0 else f"drug{i % 3}" for i in range(n)],
        "Metadata_Dose": [0.0 if i % 4 == 0 else 2.5 for i in range(n)],
        "ImageNumber": np.arange(n),
        "Cells_AreaShape_Area": rng.normal(size=n),
        "Nuclei_Texture_Contrast": rng.normal(size=n),
        "efficientnet_0": rng.normal(size=n),
    }
    return pandas.DataFrame(table | columns)


FEATURES = ["Cells_AreaShape_Area", "Nuclei_Texture_Contrast", "efficientnet_0"]
DMSO = {"Metadata_compound": "DMSO"}


def write(table, path):
    """Write a table in the format of the path's ending."""
    if path.name.endswith((".parquet", ".pq")):
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if ".tsv" in path.name else ",")
    return path


@pytest.fixture(autouse=True)
def _every_warning_is_expected():
    """Fail on any warning that a test does not ask for."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("ending", ["parquet", "pq", "csv", "csv.gz", "tsv", "tsv.gz"])
def test_round_trip(tmp_path, ending):
    table = make_table()
    path = write(table, tmp_path / f"plate.{ending}")
    profiles = read_profiles(path, control=DMSO)
    assert profiles.data.dtype == np.float32 and profiles.data.flags.c_contiguous
    assert list(profiles.feature_names) == FEATURES
    # CSV holds the shortest text that gives the same number back
    assert_array_equal(profiles.data, table[FEATURES].to_numpy(np.float32))
    assert_array_equal(profiles.control, table["Metadata_compound"] == "DMSO")
    assert list(profiles.metadata) == [c for c in table if c not in FEATURES]
    assert set(profiles.metadata["Metadata_Plate"]) == {"0012"}  # not the number 12
    assert profiles.metadata["Metadata_Dose"].dtype == np.float64
    assert profiles.metadata["ImageNumber"].dtype == np.int64
    assert profiles.source == [str(path)]
    report = profiles.report
    assert report["changes"] == []
    assert (report["n_rows"], report["n_features"], report["n_control"]) == (N, 3, N // 4)


def test_path_as_text_and_as_frame(tmp_path):
    table = make_table()
    path = write(table, tmp_path / "plate.parquet")
    profiles = read_profiles(str(path), control=DMSO, as_frame=True, dtype=np.float64)
    assert_array_equal(profiles.data.to_numpy(), table[FEATURES].to_numpy())
    assert list(profiles.frame.columns) == list(profiles.metadata.columns) + FEATURES


def test_a_dataframe_is_left_as_it_was():
    table = make_table()
    table.loc[3, FEATURES[0]] = np.nan
    before = table.copy()
    with pytest.warns(UserWarning, match="read_profiles"):
        read_profiles(table, control=DMSO, missing="impute_median", clip=1.0)
    pandas.testing.assert_frame_equal(table, before)


def test_embeddings_with_integer_column_names():
    table = pandas.DataFrame(np.eye(4))
    table["Metadata_Well"] = list("abcd")
    profiles = read_profiles(table, control=None)
    assert list(profiles.feature_names) == ["0", "1", "2", "3"]
    assert not profiles.control.any()


def test_image_metadata_and_own_columns_are_metadata():
    table = make_table(Image_Metadata_Site=1, batch="b1", Meta_x=3)
    profiles = read_profiles(
        table,
        control={"Metadata_compound": "DMSO"},
        metadata_prefix=("Metadata_", "Meta_"),
        metadata_columns=["batch"],
    )
    assert {"Image_Metadata_Site", "batch", "Meta_x"} <= set(profiles.metadata)
    assert list(profiles.feature_names) == FEATURES


def test_index_column_of_to_csv_is_no_feature(tmp_path):
    make_table().to_csv(tmp_path / "plate.csv")
    with pytest.warns(UserWarning, match="ignored index columns Unnamed: 0"):
        profiles = read_profiles(tmp_path / "plate.csv", control=DMSO)
    assert list(profiles.feature_names) == FEATURES
    assert profiles.report["columns_ignored"] == ["Unnamed: 0"]


# -- controls


@pytest.mark.parametrize(
    "control",
    [
        {"Metadata_compound": "DMSO"},
        {"compound": ["DMSO", "water"]},
        {"Metadata_Dose": 0},
        {"Dose": "0"},
        {"Dose": [0.0], "compound": "DMSO"},
        "Metadata_compound == 'DMSO'",
        "Metadata_Dose < 1",
        lambda metadata: metadata["Metadata_compound"] == "DMSO",
        [i % 4 == 0 for i in range(N)],
        pandas.Series([i % 4 == 0 for i in range(N)]),
    ],
    ids=lambda value: "function" if callable(value) else str(value),
)
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_ways_to_name_controls(tmp_path, control, ending):
    path = write(make_table(), tmp_path / f"plate.{ending}")
    profiles = read_profiles(path, control=control)
    assert_array_equal(profiles.control, np.arange(N) % 4 == 0)


@pytest.mark.parametrize("missing_value", [None, np.nan])
def test_controls_named_by_a_missing_entry(missing_value):
    # JUMP tables leave the compound of DMSO wells empty
    compound = [None if i < 5 else "drug" for i in range(N)]
    profiles = read_profiles(
        make_table(Metadata_compound=compound), control={"compound": missing_value}
    )
    assert_array_equal(profiles.control, np.arange(N) < 5)
    assert list(profiles.metadata["Metadata_compound"][4:6]) == ["", "drug"]
    assert profiles.report["metadata_missing"] == {"Metadata_compound": 5}


def test_a_missing_entry_is_not_the_text_nan():
    compound = [None if i < 5 else "drug" for i in range(N)]
    for text in ("nan", "None", "<NA>"):
        with pytest.raises(ValueError, match="matches no row"):
            read_profiles(make_table(Metadata_compound=compound), control={"compound": text})


def test_boolean_metadata():
    profiles = read_profiles(
        make_table(Metadata_is_control=[i < 3 for i in range(N)]), control={"is_control": True}
    )
    assert profiles.control.sum() == 3
    assert profiles.metadata["Metadata_is_control"].dtype == np.bool_


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ({"Metadata_compund": "DMSO"}, "'Metadata_compund'.*near names: Metadata_compound"),
        ({"compound": "dmso"}, "matches no row; commonest values: Metadata_compound has .*DMSO"),
        ({"Dose": 17}, "matches no row.*Metadata_Dose has"),
        ({"Dose": "high"}, "matches no row"),
        ({}, "empty dict"),
        ("Metadata_compund == 'DMSO'", "metadata columns are Metadata_Plate"),
        ("Metadata_compound ==", "no query that pandas can evaluate"),
        ("Metadata_compound == 'water'", "matches no row"),
        ("Metadata_Dose + 1", "must be a boolean per row.*float64"),
        (lambda m: m["Metadata_Dose"], "control.metadata. must be a boolean per row"),
        (lambda m: [True], r"got shape \(1,\)"),
        (np.arange(N), "got shape .40,. and dtype int64"),
        (np.zeros(N, dtype=bool), "matches no row"),
    ],
    ids=lambda value: "function" if callable(value) else str(value),
)
def test_errors_of_control(control, message):
    with pytest.raises(ValueError, match=message):
        read_profiles(make_table(), control=control)


# -- missing and extreme values


def holes():
    """Return a table with one bad feature, one missing and one infinite value."""
    table = make_table(gone=np.nan, Cells_half=np.where(np.arange(N) < 20, np.nan, 1.0))
    table.loc[4, FEATURES[0]] = np.nan
    table.loc[5, FEATURES[1]] = np.inf
    return table


def test_missing_drop_features():
    table = holes()
    with pytest.warns(UserWarning, match="61 missing and 1 infinite.*dropped 4 features"):
        profiles = read_profiles(table, control=DMSO)
    assert list(profiles.feature_names) == ["efficientnet_0"]
    report = profiles.report
    assert set(report["features_dropped"]) == {"gone", "Cells_half", *FEATURES[:2]}
    assert report["missing_per_feature"] == {
        FEATURES[0]: 1, FEATURES[1]: 1, "gone": N, "Cells_half": 20,
    }  # fmt: skip
    assert (report["n_missing"], report["n_infinite"]) == (61, 1)
    assert (report["n_features_read"], report["n_features"], report["n_rows"]) == (5, 1, N)


def test_missing_drop_rows():
    table = holes()
    with pytest.warns(UserWarning, match="dropped 2 features and dropped 2 rows"):
        profiles = read_profiles(table, control=DMSO, missing="drop_rows")
    left = np.delete(np.arange(N), [4, 5])
    assert_array_equal(profiles.report["rows_dropped"], [4, 5])
    assert_array_equal(profiles.data, table.loc[left, FEATURES].to_numpy(np.float32))
    assert_array_equal(profiles.metadata["ImageNumber"], left)
    assert_array_equal(profiles.control, left % 4 == 0)
    assert profiles.report["n_control"] == 9  # row 4 was a control


def test_missing_impute_median():
    table = holes()
    with pytest.warns(UserWarning, match="set 2 values to the median of their feature"):
        profiles = read_profiles(table, control=DMSO, missing="impute_median")
    expected = table[FEATURES].replace(np.inf, np.nan).astype(np.float32)
    expected = expected.fillna(expected.median())
    assert_allclose(profiles.data, expected.to_numpy())
    assert profiles.report["n_imputed"] == 2


def test_max_missing_keeps_a_feature():
    with pytest.warns(UserWarning, match="dropped 1 features and set 22 values"):
        profiles = read_profiles(holes(), control=DMSO, missing="impute_median", max_missing=0.5)
    assert "Cells_half" in profiles.feature_names


def test_missing_error():
    with pytest.raises(ValueError, match="61 missing and 1 infinite values in 4 of 5 features"):
        read_profiles(holes(), control=DMSO, missing="error")
    assert read_profiles(make_table(), control=DMSO, missing="error").data.shape == (N, 3)


def test_nothing_left():
    one_hole_each = make_table()
    for i, name in enumerate(FEATURES):
        one_hole_each.loc[i, name] = np.nan
    with pytest.raises(ValueError, match="'drop_features' leaves no feature; choose another"):
        read_profiles(one_hole_each, control=DMSO)
    with pytest.raises(ValueError, match="dropped every control row"):
        read_profiles(one_hole_each, control={"Metadata_Well": "A01"}, missing="drop_rows")
    every_row = make_table(n=6)
    for i in range(6):
        every_row.loc[i, FEATURES[i % 3]] = np.nan
    with pytest.raises(ValueError, match="'drop_rows' leaves no row"):
        read_profiles(every_row, control=DMSO, missing="drop_rows", max_missing=1.0)


def test_values_beyond_float32_are_infinite():
    table = make_table()
    table.loc[1, FEATURES[0]] = 1e300
    with pytest.warns(UserWarning, match="0 missing and 1 infinite"):
        profiles = read_profiles(table, control=DMSO)
    assert list(profiles.feature_names) == FEATURES[1:]
    assert read_profiles(table, control=DMSO, dtype=np.float64).report["changes"] == []


def test_extreme_values_are_reported_and_kept_by_default():
    table = make_table()
    table.loc[7, FEATURES[2]] = 1e4
    profiles = read_profiles(table, control=DMSO)
    assert profiles.report["extreme_features"] == {FEATURES[2]: 1}
    assert (profiles.report["n_extreme"], profiles.report["n_clipped"]) == (1, 0)
    assert profiles.data[7, 2] == 1e4


@pytest.mark.parametrize("clip", [0.5, 2.0, 10])
def test_clip(clip):
    table = make_table()
    table.loc[7, FEATURES[2]] = -1e4
    with pytest.warns(UserWarning, match="clipped .* robust z"):
        profiles = read_profiles(table, control=DMSO, clip=clip, dtype=np.float64)
    values = table[FEATURES].to_numpy()
    median = np.median(values, axis=0)
    bound = clip * 1.4826 * np.median(np.abs(values - median), axis=0)
    assert_allclose(profiles.data, np.clip(values, median - bound, median + bound))
    assert profiles.report["n_clipped"] == (np.abs(values - median) > bound).sum()


def test_features_that_are_mostly_or_all_constant():
    table = make_table(constant=3.0, rare=[5.0] + [0.0] * (N - 1))
    profiles = read_profiles(table, control=DMSO, clip=1000.0)
    assert profiles.report["constant_features"] == ["constant"]
    assert profiles.report["n_extreme"] == 0
    with pytest.warns(UserWarning, match="clipped 1 values in 1 features to 2 robust z"):
        profiles = read_profiles(
            table[[c for c in table if c not in FEATURES]], control=DMSO, clip=2.0
        )
    # the median absolute deviation of "rare" is 0: the mean one is 5 / N
    assert_allclose(profiles.data[0, 1], 2 * 1.2533 * 5 / N, rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["drop_features", "drop_rows", "impute_median"]),
    st.sampled_from([None, 3.0]),
    st.floats(0, 0.1),
)
def test_what_the_report_says_is_what_happened(seed, missing, clip, share):
    rng = np.random.default_rng(seed)
    values = rng.standard_t(2, size=(30, 6))
    values[rng.random(values.shape) < share] = np.nan
    values[:, 0] = rng.normal(size=30)  # something is always left
    values[0] = 0.0
    names = [f"Cells_{i}" for i in range(6)]
    table = pandas.DataFrame(values, columns=names)
    table["Metadata_row"] = np.arange(30)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        profiles = read_profiles(
            table, control={"row": 0}, missing=missing, clip=clip, dtype=np.float64
        )
    report, rows = profiles.report, profiles.metadata["Metadata_row"]
    assert np.isfinite(profiles.data).all()
    assert sorted([*profiles.feature_names, *report["features_dropped"]]) == names
    assert sorted([*rows, *report["rows_dropped"]]) == list(range(30))
    source = table.loc[rows, list(profiles.feature_names)].to_numpy()
    changed = profiles.data != source
    assert changed.sum() == report["n_imputed"] + report["n_clipped"]
    anything = len(report["features_dropped"]) + len(report["rows_dropped"]) + int(changed.sum())
    assert bool(caught) == bool(report["changes"]) == bool(anything)


# -- several tables


def test_several_tables(tmp_path):
    first = make_table(seed=1, only_first=1.0)
    second = make_table(seed=2, Metadata_new="x")[
        ["Metadata_new", *FEATURES[::-1], "Metadata_compound"]
    ]
    paths = [write(first, tmp_path / "a.parquet"), write(second, tmp_path / "b.csv")]
    with pytest.warns(UserWarning, match="dropped 1 features that not all 2 tables have"):
        profiles = read_profiles(paths, control=DMSO)
    assert list(profiles.feature_names) == FEATURES
    expected = np.concatenate([first[FEATURES].to_numpy(), second[FEATURES].to_numpy()])
    assert_array_equal(profiles.data, expected.astype(np.float32))
    assert profiles.report["features_not_in_all_tables"] == ["only_first"]
    assert profiles.report["metadata_missing"]["Metadata_new"] == N
    assert list(profiles.metadata["Metadata_new"][[0, N]]) == ["", "x"]


def test_tables_without_a_common_feature():
    other = make_table().rename(columns={name: f"x{name}" for name in FEATURES})
    with pytest.raises(ValueError, match="the 2 tables have no feature in common"):
        read_profiles([make_table(), other], control=DMSO)


# -- bad input


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz"])
def test_damaged_files(tmp_path, ending):
    path = write(make_table(), tmp_path / f"plate.{ending}")
    content = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"is empty \(0 bytes\)"):
        read_profiles(path, control=DMSO)
    if ending == "csv":
        content = b'Metadata_a,b\n1,2\n\xff\xfe\x00,"3\n4,5,6,7\n'
    else:
        content = content[: len(content) // 2]
    path.write_bytes(content)
    kind = "parquet" if ending == "parquet" else "CSV"
    with pytest.raises(ValueError, match=rf"plate\.{ending} could not be read as {kind}"):
        read_profiles(path, control=DMSO)


def test_gzip_that_is_none(tmp_path):
    (tmp_path / "plate.csv.gz").write_text("Metadata_a,b\n1,2\n")
    with pytest.raises(ValueError, match="could not be read as CSV"):
        read_profiles(tmp_path / "plate.csv.gz", control=DMSO)
    (tmp_path / "plate.csv.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(ValueError, match="is empty: it has no header"):
        read_profiles(tmp_path / "plate.csv.gz", control=DMSO)


def test_a_header_without_rows(tmp_path):
    path = write(make_table().iloc[:0], tmp_path / "plate.csv")
    with pytest.raises(ValueError, match="is empty: it has 8 columns and no row"):
        read_profiles(path, control=DMSO)


def test_missing_file_and_unknown_ending(tmp_path):
    write(make_table(), tmp_path / "plate1.parquet")
    with pytest.raises(FileNotFoundError, match=r"did you mean plate1\.parquet"):
        read_profiles(tmp_path / "plate2.parquet", control=DMSO)
    with pytest.raises(FileNotFoundError, match="no file"):
        read_profiles(tmp_path / "nowhere" / "plate.csv", control=DMSO)
    (tmp_path / "plate.xlsx").write_text("x")
    with pytest.raises(ValueError, match=r"must end in one of \.parquet"):
        read_profiles(tmp_path / "plate.xlsx", control=DMSO)
    with pytest.raises(ValueError, match="at least one file"):
        read_profiles([], control=DMSO)
    with pytest.raises(TypeError, match="must be a file name, a DataFrame"):
        read_profiles([3], control=DMSO)


def test_duplicated_columns(tmp_path):
    path = tmp_path / "plate.csv"
    path.write_text("Metadata_Well,a,b,a\nA01,1,2,3\n")
    with pytest.raises(ValueError, match="has duplicated columns: a; rename"):
        read_profiles(path, control=None)
    table = pandas.DataFrame(np.eye(2), columns=["a", "a"])
    with pytest.raises(ValueError, match="duplicated columns: a"):
        read_profiles(table, control=None)


def test_no_metadata_columns():
    table = make_table()
    with pytest.raises(ValueError, match=r"no metadata columns: none starts with Metadata_"):
        read_profiles(table[FEATURES], control=None)
    # a counter alone says nothing about a row
    with pytest.raises(ValueError, match="no metadata columns"):
        read_profiles(table[[*FEATURES, "ImageNumber"]], control=None)
    with pytest.raises(ValueError, match=r"metadata_columns: .* has no columns batch"):
        read_profiles(table, control=None, metadata_columns=["batch"])


def test_features_have_to_be_numbers():
    with pytest.raises(
        ValueError, match=r"not numeric: compound .compound holds 'x'.*metadata_col"
    ):
        read_profiles(make_table(compound="x"), control=DMSO)
    with pytest.raises(ValueError, match="not numeric: flag"):
        read_profiles(make_table(flag=True), control=DMSO)
    with pytest.raises(ValueError, match="no numeric features"):
        read_profiles(make_table().drop(columns=FEATURES), control=DMSO)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(missing="drop"), "missing must be one of 'drop_features'"),
        (dict(max_missing=2), "max_missing must be in"),
        (dict(clip=0), "clip must be in"),
        (dict(dtype=int), "dtype must be np.float32 or np.float64"),
        (dict(metadata_prefix=""), "metadata_prefix must be a non-empty string"),
    ],
)
def test_errors_of_parameters(kwargs, message):
    with pytest.raises(ValueError, match=message):
        read_profiles(make_table(), control=DMSO, **kwargs)


@pytest.mark.parametrize("absent", ["pandas", "pyarrow"])
def test_without_the_extra(tmp_path, monkeypatch, absent):
    path = write(make_table(), tmp_path / "plate.parquet")
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(ImportError, match=rf'{absent} is needed.*pip install "skdict\[io\]"'):
        read_profiles(path, control=DMSO)


# -- text files: nothing of the metadata changes


def write_text(path, name, values):
    """Write a CSV file with one more metadata column, given as text, and a feature."""
    rows = [f"w{i},{value},{i}.5" for i, value in enumerate(values)]
    path.write_text("\n".join([f"Metadata_Well,{name},Cells_a", *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    "values",
    [
        ["None", "null", "NA", "nan", "", "drug"],
        ["None", "null", "NA"],
        ["12345678901234567", "12345678901234568", ""],
        ["9223372036854775808", "9223372036854775809"],  # beyond int64
        ["1E5", "100000", "1e5"],
        ["inf", "1.5"],
        ["nan", "1.5"],
        ["101", "102", ""],
        ["0012", "12"],
        ["1.50", "1.5"],
        ["0", "2.5"],
        ["+1", "1"],
    ],
    ids="-".join,
)
def test_metadata_text_is_kept(tmp_path, values):
    path = write_text(tmp_path / "plate.csv", "Metadata_x", values)
    profiles = read_profiles(path, control=None)
    assert profiles.metadata["Metadata_x"].tolist() == values
    expected = {"Metadata_x": values.count("")} if "" in values else {}
    assert profiles.report["metadata_missing"] == expected
    assert profiles.report["changes"] == []


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["12345678901234567", "12345678901234568", "-3"], np.int64),
        (["0.0", "2.5", "1e-05"], np.float64),
        (["0.5", "", "2.5"], np.float64),
    ],
)
def test_metadata_numbers_that_lose_nothing(tmp_path, values, dtype):
    path = write_text(tmp_path / "plate.csv", "Metadata_x", values)
    column = read_profiles(path, control=None).metadata["Metadata_x"]
    assert column.dtype == dtype
    assert [str(v) for v in column.tolist()] == [v or "nan" for v in values]


def test_texts_for_a_missing_number_in_a_feature(tmp_path):
    path = tmp_path / "plate.csv"
    path.write_text("Metadata_Well,a,b\nNA,NA,1\nx,null,2\ny,,3\nz,4,4\n")
    with pytest.warns(UserWarning, match="3 missing .* dropped 1 features"):
        profiles = read_profiles(path, control={"Well": "NA"})
    assert profiles.report["missing_per_feature"] == {"a": 3}
    assert_array_equal(profiles.control, [True, False, False, False])


def test_long_integers_stay_apart():
    ids = [12345678901234567 + i for i in range(4)]
    ones = {"Metadata_Well": list("abcd"), "Cells_a": np.arange(4.0)}
    other = pandas.DataFrame(ones)
    # a table without the column, and a missing entry in a nullable column
    both = read_profiles([pandas.DataFrame(ones | {"Metadata_id": ids}), other], control=None)
    assert both.metadata["Metadata_id"].tolist() == [*map(str, ids), "", "", "", ""]
    nullable = other.assign(Metadata_id=pandas.array([*ids[:3], None], dtype="Int64"))
    three = [*map(str, ids[:3]), ""]
    for path, rest in ((nullable, []), ([nullable, other], [""] * 4)):
        profiles = read_profiles(path, control=None)
        assert profiles.metadata["Metadata_id"].tolist() == three + rest
    # and as a control given as text
    table = pandas.DataFrame(ones | {"Metadata_id": ids})
    for value in (ids[1], str(ids[1])):
        assert_array_equal(read_profiles(table, control={"id": value}).control, np.eye(4)[1])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, [1, 1, 0, 0, 0]), (0.0, [1, 1, 0, 0, 0]), ("0", [1, 0, 0, 0, 0]), (5, [0, 0, 0, 0, 1]),
     (12, [0, 0, 0, 1, 0])],
)  # fmt: skip
def test_a_number_names_controls_in_a_text_column(tmp_path, value, expected):
    texts = ["0", "0.0", "0012", "12", "5"]
    path = write_text(tmp_path / "plate.csv", "Metadata_Dose", texts)
    assert_array_equal(read_profiles(path, control={"Dose": value}).control, expected)


@pytest.mark.parametrize("missing", ["drop_rows", "impute_median"])
def test_a_feature_without_any_value_is_dropped(missing):
    table = make_table(gone=np.nan, infinite=np.inf)
    table.loc[3, FEATURES[0]] = np.nan
    with pytest.warns(UserWarning, match="dropped 2 features and"):
        profiles = read_profiles(table, control=DMSO, missing=missing, max_missing=1.0)
    assert list(profiles.feature_names) == FEATURES
    assert profiles.report["features_dropped"] == ["gone", "infinite"]
    assert np.isfinite(profiles.data).all()
    assert profiles.report["n_imputed"] == (missing == "impute_median")
    assert len(profiles.data) == N - (missing == "drop_rows")


def test_messages_name_what_is_wrong(tmp_path):
    path = tmp_path / "plate.csv"
    path.write_text("Metadata_Well,dose\na,1\nb,high\nc,low\n")
    with pytest.raises(ValueError, match=r"not numeric: dose \(dose holds 'high'\)"):
        read_profiles(path, control=None)
    with pytest.raises(ValueError, match=r"numbers \(numbers holds '1.5'\)"):
        read_profiles(make_table(numbers="1.5"), control=None)


@pytest.mark.parametrize(("ending", "other"), [("csv", ";"), ("csv", "\t"), ("tsv", ",")])
@pytest.mark.parametrize("header", ["Metadata_Well{}Cells_a", "Well{}Cells_a"])
def test_another_separator(tmp_path, ending, other, header):
    path = tmp_path / f"plate.{ending}"
    path.write_text(header.format(other) + f"\na{other}1\n")
    with pytest.raises(ValueError) as caught:
        read_profiles(path, control=None)
    assert f"separator seems to be {other!r}" in str(caught.value)
    assert f"pandas.read_csv(path, sep={other!r})" in str(caught.value)


def test_tables_of_other_libraries():
    polars = pytest.importorskip("polars")
    table = polars.DataFrame({"Metadata_Well": ["a"], "Cells_a": [1.0]})
    for path in (table, [table]):
        with pytest.raises(TypeError, match=r"DataFrame; convert it with \.to_pandas\(\)"):
            read_profiles(path, control=None)
    with pytest.raises(TypeError, match=r"LazyFrame; convert it with \.collect\(\)\.to_pandas"):
        read_profiles(table.lazy(), control=None)
    with pytest.raises(TypeError, match="must be a file name, a DataFrame.*got builtins.int"):
        read_profiles(3, control=None)
