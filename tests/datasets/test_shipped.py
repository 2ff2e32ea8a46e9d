"""The shipped profiles: what the loaders return, what DESCR claims, and damaged files."""

import itertools
import shutil
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdict.datasets import _convert, _shipped, load_jump_scope, load_pediatric_cell_atlas

LOADERS = [load_jump_scope, load_pediatric_cell_atlas]


@pytest.fixture(scope="module")
def jump():
    return load_jump_scope()


@pytest.fixture(scope="module")
def atlas():
    return load_pediatric_cell_atlas()


@pytest.mark.parametrize("loader", LOADERS)
def test_arrays_are_what_estimators_want(loader):
    bunch = loader()
    n_samples, n_features = bunch.data.shape
    assert bunch.data.dtype == np.float32
    assert bunch.data.flags.c_contiguous and bunch.data.flags.writeable
    assert np.isfinite(bunch.data).all()
    assert bunch.feature_names.shape == (n_features,)
    assert len(set(bunch.feature_names)) == n_features
    assert bunch.control.dtype == np.bool_
    for name, values in bunch.metadata.items():
        assert values.shape == (n_samples,), name
        assert values.dtype.kind in "Ufib", name
        assert values is bunch[name]
    assert bunch.license == "CC0-1.0"
    commit = bunch.source.split(" at ")[1][:40]
    assert commit in bunch.DESCR and "CC0 1.0" in bunch.DESCR
    for name in bunch.metadata:
        assert f"\n{name} " in bunch.DESCR, f"{name} is not described"


def test_jump_scope_is_as_described(jump):
    assert jump.data.shape == (2280, 216)
    assert jump.control.sum() == 144
    assert_array_equal(jump.control, jump.compound == "DMSO")
    assert_array_equal(jump.control, jump.moa == "DMSO")
    assert len(np.unique(jump.compound)) == 91
    assert len(np.unique(jump.moa)) == 48
    assert len(np.unique(jump.batch)) == len(np.unique(jump.source_plate)) == 6
    pairs = np.unique(np.stack([jump.moa, jump.compound]), axis=1)
    per_moa = np.unique(pairs[0][pairs[0] != "DMSO"], return_counts=True)[1]
    assert_array_equal(np.bincount(per_moa), [0, 4, 43])
    size = np.abs(jump.data)
    assert [(size > 10).sum(), (size > 50).sum(), (size > 100).any(axis=1).sum()] == [2724, 106, 33]
    assert round(float(size.max())) == 1188


def test_jump_scope_position_and_compound_are_confounded(jump):
    for well in np.unique(jump.well):
        assert len(np.unique(jump.compound[jump.well == well])) == 1
    for compound in np.unique(jump.compound[~jump.control]):
        assert len(np.unique(jump.well[jump.compound == compound])) == 4


def test_a_well_occurs_once_per_plate_image(jump, atlas):
    for plates, wells in ((jump.source_plate, jump.well), (atlas.plate, atlas.well)):
        keys = np.char.add(np.char.add(plates, "/"), wells)
        assert len(np.unique(keys)) == len(keys)


def test_atlas_is_as_described(atlas):
    assert atlas.data.shape == (2240, 202)
    assert atlas.control.sum() == 237
    assert_array_equal(atlas.control, atlas.cell_line == "U2-OS")
    lines = np.unique(atlas.cell_line)
    assert len(lines) == 32 and len(np.unique(atlas.plate)) == 10
    plates = [len(np.unique(atlas.plate[atlas.cell_line == line])) for line in lines]
    assert plates.count(1) == 9
    assert set(atlas.time_h) == {24, 48, 72}


def test_atlas_layouts_are_plates_with_the_same_lines_in_the_same_wells(atlas):
    def layout(plate):
        rows = atlas.plate == plate
        return dict(zip(atlas.well[rows], atlas.cell_line[rows], strict=True))

    group = {p: atlas.layout[atlas.plate == p][0] for p in np.unique(atlas.plate)}
    assert len(set(group.values())) == 5
    for one, other in itertools.combinations(group, 2):
        shared = layout(one).keys() & layout(other).keys()
        agree = all(layout(one)[w] == layout(other)[w] for w in shared)
        assert agree == (group[one] == group[other])


def _residual(values, *factors):
    """Remove the additive effects of factors by least squares."""
    design = np.hstack([(f[:, None] == np.unique(f)).astype(float) for f in factors])
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def _standardised(jump, batch):
    """Return a batch's profiles by median and MAD, clipped at 5, and its rows."""
    rows = np.flatnonzero(jump.batch == batch)
    data = jump.data[rows].astype(float)
    data -= np.median(data, axis=0)
    data /= 1.4826 * np.median(np.abs(data), axis=0) + 1e-9
    return np.clip(data, -5, 5), rows


def _row_column(well):
    return np.array([w[0] for w in well]), np.array([w[1:] for w in well])


def _nearest(one, other):
    unit = [a / np.linalg.norm(a, axis=1, keepdims=True) for a in (one, other)]
    return np.argmax(unit[0] @ unit[1].T, axis=1)


def test_no_two_set_ups_show_the_same_fields(jump):
    """Recompute the ranges of the table in DESCR: no pair looks like a re-analysed plate."""
    accuracy, same_well, residual_well, counts = [], [], [], []
    prepared, residuals, cells = {}, {}, {}
    for batch in np.unique(jump.batch):
        data, rows = _standardised(jump, batch)
        factors = (jump.compound[rows], *_row_column(jump.well[rows]))
        prepared[batch] = data, rows
        residuals[batch] = _residual(data, *factors)
        log_count = np.log1p(jump.n_cells[rows, None].astype(float))
        cells[batch] = dict(zip(jump.well[rows], _residual(log_count, *factors)[:, 0], strict=True))
    for one, other in itertools.permutations(prepared, 2):
        (a, rows_a), (b, rows_b) = prepared[one], prepared[other]
        found = rows_b[_nearest(a, b)]
        treated = ~jump.control[rows_a]
        right = jump.compound[found] == jump.compound[rows_a]
        well = jump.well[found] == jump.well[rows_a]
        accuracy.append(right[treated].mean())
        same_well.append(well[treated & right].mean())
        found = rows_b[_nearest(residuals[one], residuals[other])]
        residual_well.append((jump.well[found] == jump.well[rows_a]).mean())
        shared = sorted(cells[one].keys() & cells[other].keys())
        pair = [[cells[batch][well] for well in shared] for batch in (one, other)]
        counts.append(np.corrcoef(pair)[0, 1])
    described = {
        "neighbour has the same compound          0.15 to 0.30": accuracy,
        "of these, it is the same well          0.22 to 0.49": same_well,
        "residual: neighbour is the same well     0.00 to 0.03": residual_well,
        "correlation of residual log cell count   -0.21 to 0.39": counts,
    }
    for line, values in described.items():
        assert line in jump.DESCR
        low, high = (float(word) for word in line.split()[-3::2])
        assert_allclose([min(values), max(values)], [low, high], atol=0.0051)


def test_physical_plates_group_the_set_ups(jump):
    pairs = {(s, p) for s, p in zip(jump.source_plate, jump.plate, strict=True)}
    assert dict(pairs) == _convert.JUMP_SCOPE_PLATES
    japanese = np.char.startswith(jump.batch, "YokogawaJP")
    assert_array_equal(jump.plate == "YokogawaJP", japanese)


@pytest.mark.parametrize("loader", LOADERS)
def test_as_frame_holds_the_same(loader):
    pandas = pytest.importorskip("pandas")
    arrays, frames = loader(), loader(as_frame=True)
    assert isinstance(frames.data, pandas.DataFrame)
    assert_array_equal(frames.data.to_numpy(), arrays.data)
    assert (frames.data.dtypes == np.float32).all()
    assert list(frames.data.columns) == list(arrays.feature_names)
    assert list(frames.frame.columns) == [*arrays.metadata, *arrays.feature_names]
    for name, values in arrays.metadata.items():
        assert_array_equal(frames.metadata[name].to_numpy().astype(values.dtype), values)


def test_as_frame_without_pandas_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'pip install "skdict\[io\]"'):
        load_jump_scope(as_frame=True)
    assert load_jump_scope().data.shape == (2280, 216)


def test_shipped_files_are_small():
    folder = _shipped.resources.files("skdict.datasets") / "data"
    sizes = [len(path.read_bytes()) for path in folder.iterdir()]
    assert len(sizes) >= len(LOADERS)
    assert sum(sizes) < 8e6


@pytest.fixture
def copy_of_data(tmp_path, monkeypatch):
    """Let the loaders read a copy of the shipped files that a test may damage."""
    package = _shipped.resources.files("skdict.datasets")
    shutil.copytree(package / "data", tmp_path / "data")
    monkeypatch.setattr(_shipped.resources, "files", lambda name: tmp_path)
    return tmp_path / "data"


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_file_is_refused(copy_of_data, damage):
    assert load_jump_scope().data.shape == (2280, 216)
    path = copy_of_data / "jump_scope.npz"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: {"flip": None, "truncate": 1000, "empty": 0}[damage]])
    with pytest.raises(ValueError, match=r"jump_scope\.npz is damaged.*reinstall skdict"):
        load_jump_scope()


def test_a_missing_file_is_named(copy_of_data):
    (copy_of_data / "pediatric_cell_atlas.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"pediatric_cell_atlas\.npz.*reinstall skdict"):
        load_pediatric_cell_atlas()


def _source_table(pandas, **columns):
    rng = np.random.default_rng(0)
    table = {
        "meta_plate": ["BRO0117033_20xb", "20201021T092317", "20201020T134356"],
        "meta_well": ["A01", "A02", "A03"],
        "meta_cell_line": ["b", "a", "b"],
        "meta_is_control": [True, False, False],
        "meta_n_cells": np.array([1, 2, 3], dtype=np.float32),
        "f1": rng.normal(size=3).astype(np.float32),
        "f2": np.array([np.float32(1e-42), -0.0, 3e38], dtype=np.float32),
    }
    return pandas.DataFrame(table | columns)


def test_conversion_keeps_every_bit(tmp_path, capsys):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = _source_table(pandas)
    table.to_parquet(tmp_path / "source.parquet")
    out = tmp_path / "out.npz"
    _convert.main(["jump_scope", str(tmp_path / "source.parquet"), str(out)])
    digest = capsys.readouterr().out.strip()
    data, names, labels = _shipped._unpack(out.read_bytes())
    assert_array_equal(data.view(np.uint32), table[["f1", "f2"]].to_numpy().view(np.uint32))
    assert list(names) == ["f1", "f2"]
    assert list(labels["plate"]) == ["BR00117033", "YokogawaJP", "YokogawaJP"]
    assert list(labels["source_plate"]) == list(table["meta_plate"])
    assert list(labels["cell_line"]) == ["b", "a", "b"]
    assert labels["is_control"].dtype == np.bool_ and labels["n_cells"].dtype == np.float32
    # the same table gives the same file
    assert digest == _convert.convert("jump_scope", tmp_path / "source.parquet", out)


def test_conversion_derives_layouts(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = _source_table(pandas, meta_plate=["P1", "P2", "P3"], meta_well=["A01"] * 3)
    table.to_parquet(tmp_path / "source.parquet")
    _convert.convert("pediatric_cell_atlas", tmp_path / "source.parquet", tmp_path / "out.npz")
    labels = _shipped._unpack((tmp_path / "out.npz").read_bytes())[2]
    assert list(labels["layout"]) == ["P1", "P2", "P1"]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"f1": [1.0, 2.0, 3.0]}, "not float32: .'f1'"),
        ({"meta_well": ["A01", None, "A03"]}, "meta_well .* has missing values"),
        ({"meta_plate": ["new", "new", "new"]}, "without a known physical plate: .'new'"),
    ],
)
def test_conversion_refuses_what_it_does_not_know(tmp_path, column, message):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    _source_table(pandas, **column).to_parquet(tmp_path / "source.parquet")
    with pytest.raises(ValueError, match=message):
        _convert.convert("jump_scope", tmp_path / "source.parquet", tmp_path / "out.npz")
