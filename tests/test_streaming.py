"""Rows that are read in blocks: the same dictionaries, codes and whitening from every container."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skdict import (
    Checkpoint,
    ControlPCAWhitener,
    ICFLDictionary,
    ShardedRows,
    TopKSAE,
    TransformedRows,
    _large_rows,
    load_codes,
    transform_to_disk,
)
from skdict._checkpoints import FitRecord

X = np.random.default_rng(0).normal(size=(3000, 12)).astype(np.float32)
DICTIONARIES = {
    "icfl": ICFLDictionary(32, n_nonzero_coefs=3, max_steps=60, batch_size=128, random_state=0),
    "topk": TopKSAE(32, n_nonzero_coefs=3, max_steps=60, batch_size=128, random_state=0),
}
CONTAINERS = ["map", "shards", "zarr", "h5py", "dask"]


@pytest.fixture
def large(monkeypatch):
    """All data count as large."""
    monkeypatch.setattr(_large_rows, "LARGE_BYTES", 1)


def contained(kind, folder):
    path = folder / "rows.npy"
    np.save(path, X)
    if kind == "map":
        return np.load(path, mmap_mode="r")
    if kind == "shards":
        np.save(folder / "part2.npy", X[1000:])
        np.save(folder / "part1.npy", X[:1000])
        return ShardedRows([folder / "part1.npy", folder / "part2.npy"])
    if kind == "zarr":
        zarr = pytest.importorskip("zarr")
        array = zarr.create_array(folder / "x.zarr", shape=X.shape, chunks=(500, 12), dtype="f4")
        array[:] = X
        return array
    if kind == "h5py":
        h5py = pytest.importorskip("h5py")
        return h5py.File(folder / "x.h5", "w").create_dataset("x", data=X)
    return pytest.importorskip("dask.array").from_array(X, chunks=(700, 12))


@pytest.mark.parametrize("kind", CONTAINERS)
def test_small_sources_are_arrays(kind, tmp_path):
    model = clone(DICTIONARIES["icfl"])
    expected = clone(model).fit(X)
    found = model.fit(contained(kind, tmp_path))
    np.testing.assert_array_equal(found.components_, expected.components_)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_large_sources_give_the_same_from_every_container(kind, tmp_path, large):
    expected = clone(DICTIONARIES["icfl"]).fit(X)
    rows = contained(kind, tmp_path)
    found = clone(DICTIONARIES["icfl"]).fit(rows)
    same_blocks = kind != "zarr" and kind != "dask"  # theirs are whole chunks
    if same_blocks:
        np.testing.assert_array_equal(found.components_, expected.components_)
    assert found.score(rows) == pytest.approx(found.score(X), rel=1e-10)
    np.testing.assert_array_equal(found.transform(rows).toarray(), found.transform(X).toarray())


@pytest.mark.parametrize("name", DICTIONARIES)
def test_learning_from_blocks_is_as_good(name, monkeypatch):
    whole = clone(DICTIONARIES[name]).fit(X)
    monkeypatch.setattr(_large_rows, "LARGE_BYTES", 1)
    blocks = clone(DICTIONARIES[name]).fit(X)
    monkeypatch.undo()
    assert not np.array_equal(whole.components_, blocks.components_)
    assert blocks.score(X) == pytest.approx(whole.score(X), abs=0.02)
    assert blocks.n_iter_ == whole.n_iter_


@pytest.mark.parametrize("n_steps", [5, 55])
def test_a_streamed_fit_is_resumed_bitwise(tmp_path, monkeypatch, large, n_steps):
    class Stopped(Exception):
        pass

    save = FitRecord.save

    def stopping(self, n, arrays, values):
        save(self, n, arrays, values)
        if n == n_steps:
            raise Stopped

    model = clone(DICTIONARIES["icfl"]).set_params(
        checkpoint=Checkpoint(tmp_path, steps=5), resume=True
    )
    with monkeypatch.context() as patch:
        patch.setattr(FitRecord, "save", stopping)
        with pytest.raises(Stopped):
            clone(model).fit(X)
    whole = clone(DICTIONARIES["icfl"]).fit(X)
    np.testing.assert_array_equal(model.fit(X).components_, whole.components_)


def test_whitening_of_blocks_is_that_of_the_whole(monkeypatch, tmp_path):
    control = np.random.default_rng(1).random(3000) < 0.3
    rows = X.astype(np.float64) @ np.diag(np.linspace(0.1, 3, 12)) + 5
    whole = ControlPCAWhitener().fit(rows, control=control)
    monkeypatch.setattr(_large_rows, "LARGE_BYTES", 1)
    monkeypatch.setattr("skdict._whitening.CHUNK_ROWS", 700)
    np.save(tmp_path / "x.npy", rows)
    for source in (rows, ShardedRows(tmp_path / "x.npy")):
        blocks = ControlPCAWhitener().fit(source, control=control)
        np.testing.assert_allclose(blocks.mean_, whole.mean_, rtol=1e-12)
        np.testing.assert_allclose(np.abs(blocks.components_), np.abs(whole.components_), rtol=1e-9)
        assert blocks.n_control_ == whole.n_control_


def test_bad_rows_are_named_when_they_are_read(large):
    bad = X.copy()
    bad[2100, 3] = np.nan
    with pytest.raises(ValueError, match="row 2100, column 3"):
        clone(DICTIONARIES["icfl"]).fit(bad)
    model = clone(DICTIONARIES["icfl"]).fit(X)
    with pytest.raises(ValueError, match="row 2100, column 3"):
        model.transform(bad)
    with config_context(assume_finite=True):  # at the user's own risk
        codes = clone(DICTIONARIES["icfl"]).set_params(max_steps=0).fit(X).transform(X)
    assert codes.shape == (3000, 32)
    with pytest.raises(ValueError, match="12 features"):
        model.transform(X[:, :5])


def test_a_pipeline_over_a_source(tmp_path, large):
    np.save(tmp_path / "x.npy", X)
    source = ShardedRows(tmp_path / "x.npy")
    control = np.arange(3000) < 900
    steps = make_pipeline(ControlPCAWhitener(), Normalizer())
    steps[0].fit(source, control=control)
    steps[1].fit(X[:1])
    rows = TransformedRows(source, steps)
    dictionary = clone(DICTIONARIES["icfl"]).fit(rows)
    assert dictionary.n_steps_ == 60 and rows.shape == (3000, 12) and len(rows) == 3000
    whole = make_pipeline(*[step for _, step in steps.steps], dictionary)
    codes = transform_to_disk(whole, source, tmp_path / "codes", block_rows=700)
    np.testing.assert_allclose(
        codes.to_csr().toarray(), dictionary.transform(steps.transform(X)).toarray(), atol=1e-5
    )


def test_codes_on_disk_are_those_of_transform(tmp_path):
    model = clone(DICTIONARIES["topk"]).fit(X)
    stored = transform_to_disk(model, X, tmp_path / "codes", block_rows=333)
    expected = model.transform(X)
    np.testing.assert_array_equal(stored.to_csr().toarray(), expected.toarray())
    np.testing.assert_array_equal(
        load_codes(tmp_path / "codes")[10:20].toarray(), expected[10:20].toarray()
    )
    with pytest.raises(FileExistsError):
        transform_to_disk(model, X, tmp_path / "codes")


def test_an_interrupted_transform_goes_on(tmp_path):
    model = clone(DICTIONARIES["topk"]).fit(X)
    bad = X.copy()
    bad[2500] = np.inf
    with pytest.raises(ValueError, match="row 2500"):
        transform_to_disk(model, bad, tmp_path / "codes", block_rows=500)
    stored = transform_to_disk(model, X, tmp_path / "codes", block_rows=500, resume=True)
    np.testing.assert_array_equal(stored.to_csr().toarray(), model.transform(X).toarray())


@pytest.mark.parametrize("name", DICTIONARIES)
def test_partial_fit_on_a_stream_keeps_nothing_of_it(name):
    """Thirty parts, one at a time: memory stays that of one part."""

    def stream():
        rng = np.random.default_rng(0)
        for _ in range(30):
            yield rng.normal(size=(2000, 64)).astype(np.float32)

    model = clone(DICTIONARIES[name]).set_params(batch_size=500)
    n_bytes, kept = 2000 * 64 * 4, []
    tracemalloc.start()
    try:
        for number, rows in enumerate(stream()):
            model.partial_fit(rows)
            del rows
            kept.append(tracemalloc.get_traced_memory()[0])
            if number == 9:
                tracemalloc.reset_peak()
                peak_before = max(kept)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert model.n_steps_ == 120
    assert max(kept[10:]) - peak_before < n_bytes / 4
    assert peak - peak_before < 6 * n_bytes


def test_mistakes_of_transformed_rows():
    model = clone(DICTIONARIES["icfl"]).fit(X)
    with pytest.raises(ValueError, match="must give dense rows"):
        TransformedRows(X, model)
    rows = TransformedRows(X, Normalizer().fit(X))
    with pytest.raises(ValueError, match="step 1"):
        rows[::2]


def interrupted_transform(model, path):
    """Codes of 1,000 rows that were written before an error."""
    with pytest.raises(ValueError, match="NaN|nan|finite"):
        broken = X.copy()
        broken[1200, 0] = np.nan
        transform_to_disk(model, broken, path, block_rows=500)


@pytest.mark.parametrize("kind", DICTIONARIES)
def test_a_transform_that_is_complete_is_not_done_again(kind, tmp_path):
    model = clone(DICTIONARIES[kind]).fit(X)
    transform_to_disk(model, X, tmp_path / "codes")
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "codes").iterdir()}
    again = transform_to_disk(model, X, tmp_path / "codes", resume=True)
    assert (again[:] != model.transform(X)).nnz == 0
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "codes").iterdir()} == times


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("overwrite", [False, True])
def test_killed_between_the_last_row_and_the_new_name(tmp_path, monkeypatch, overwrite):
    model, path = clone(DICTIONARIES["icfl"]).fit(X), tmp_path / "codes"
    if overwrite:
        transform_to_disk(clone(model).set_params(random_state=1).fit(X), X, path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *args: os._exit(9))
        if (child := os.fork()) == 0:
            transform_to_disk(model, X, path, overwrite=overwrite)
        assert os.waitpid(child, 0)[1] >> 8 == 9
    stored = transform_to_disk(model, X, path, resume=True, overwrite=overwrite)
    assert stored.path == path and [entry.name for entry in tmp_path.iterdir()] == ["codes"]
    assert (load_codes(path)[:] != model.transform(X)).nnz == 0


@pytest.mark.parametrize("is_complete", [False, True])
@pytest.mark.parametrize("change", ["model", "rows", "fewer rows"])
def test_a_transform_of_another_model_or_other_rows_is_not_continued(tmp_path, change, is_complete):
    model, path = clone(DICTIONARIES["icfl"]).fit(X), tmp_path / "codes"
    if is_complete:
        transform_to_disk(model, X, path)
    else:
        interrupted_transform(model, path)
    other, rows = model, X
    if change == "model":
        other = clone(model).set_params(random_state=1).fit(X)
    elif change == "rows":
        rows = X[::-1]
    else:
        rows = X[:900]
    with pytest.raises(ValueError, match="not those of this model and these rows"):
        transform_to_disk(other, rows, path, resume=True)
    stored = transform_to_disk(other, rows, path, overwrite=True)
    assert (stored[:] != other.transform(rows)).nnz == 0
