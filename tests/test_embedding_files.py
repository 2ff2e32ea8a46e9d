"""Files of embeddings as rows: the same rows from every kind of file, read in blocks."""

import tracemalloc
import zipfile

import numpy as np
import pytest
from scipy import sparse

from skdict._embedding_files import open_embeddings
from skdict._sources import check_row_source, read_rows

ROWS = np.random.default_rng(0).normal(size=(70, 5)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    np.savez(tmp_path / "stored.npz", rows=ROWS)
    np.savez_compressed(tmp_path / "several.npz", c=ROWS, f=np.asfortranarray(ROWS), one=ROWS[0],
                        half=ROWS.astype(np.float16))  # fmt: skip
    (tmp_path / "shards").mkdir()
    np.save(tmp_path / "shards" / "part2.npy", ROWS[:40])
    np.save(tmp_path / "shards" / "part10.npy", ROWS[40:])
    return tmp_path


@pytest.fixture
def h5ad(tmp_path):
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    names = [str(i) for i in range(70)]
    adata = anndata.AnnData(
        sparse.csr_matrix(ROWS),
        obsm={"dense": ROWS, "table": pandas.DataFrame(ROWS, index=names, columns=list("abcde")),
              "by_column": sparse.csc_matrix(ROWS)},
    )  # fmt: skip
    adata.obs_names, adata.var_names = names, list("abcde")
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


def check(path, **options):
    with open_embeddings(path, **options) as rows:
        assert check_row_source(rows) == (70, 5, np.float32)
        for start, stop in ((0, 1), (0, 30), (30, 60), (65, 70), (10, 12), (0, 70)):
            assert (read_rows(rows, start, stop) == ROWS[start:stop]).all()


@pytest.mark.parametrize(
    "name, key",
    [("rows.npy", None), ("stored.npz", None), ("several.npz", "c"), ("several.npz", "f"),
     ("shards", None), ("shards/part*.npy", None)],
)  # fmt: skip
def test_equal_rows(name, key, folder):
    check(folder / name, key=key)


def test_other_types_of_numbers(folder):
    with open_embeddings(folder / "several.npz", key="half") as rows:
        assert (read_rows(rows, 3, 9) == ROWS[3:9].astype(np.float16)).all()


def test_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(ROWS[:, ::-1], columns=list("edcba"))
    frame["well"] = "A01"
    frame.to_parquet(tmp_path / "rows.parquet")
    check(tmp_path / "rows.parquet", columns=list("abcde"))


@pytest.mark.parametrize("pattern", ["shards", "shards/*", "shards/p*", "shards/*.parquet"])
def test_features_are_found_by_names_in_whatever_is_parquet(pattern, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    (tmp_path / "shards").mkdir()
    frame = pandas.DataFrame(ROWS[:, ::-1], columns=list("edcba"))
    frame.to_parquet(tmp_path / "shards" / "part0.parquet")
    notes = []
    check(tmp_path / pattern, features=list("abcde"), note=notes.append)
    assert not notes


@pytest.mark.parametrize(
    "name, key",
    [("rows.npy", None), ("stored.npz", None), ("shards", None), ("cells.h5ad", "dense")],
)
def test_files_without_names_are_noted(name, key, folder, h5ad):
    notes = []
    check(folder / name, key=key, features=list("abcde"), note=notes.append)
    assert len(notes) == 1 and "has no names of features" in notes[0]
    check(folder / name, key=key, note=notes.append)  # of a model without names
    assert len(notes) == 1


@pytest.mark.parametrize("key", ["X", "table"])
@pytest.mark.parametrize("features", ["abcde", "cab", "eb"])
def test_features_are_found_by_names_in_h5ad(key, features, h5ad):
    with open_embeddings(h5ad, key=key, features=list(features), note=pytest.fail) as rows:
        places = ["abcde".index(name) for name in features]
        assert rows.shape == (70, len(features))
        assert (read_rows(rows, 3, 9) == ROWS[3:9][:, places]).all()


def test_features_that_h5ad_files_lack_or_have_twice(h5ad):
    anndata = pytest.importorskip("anndata")
    adata = anndata.read_h5ad(h5ad)
    adata.var_names = list("abbde")
    adata.write_h5ad(h5ad)
    for key, features, wrong in (("X", "abe", "b"), ("X", "ac", "c"), ("table", "az", "z")):
        with pytest.raises(ValueError, match=f"has 1 of the .* '{wrong}' for one"):
            with open_embeddings(h5ad, key=key, features=list(features)):
                pass


def test_what_else_is_in_a_table_need_not_be_numbers(h5ad):
    anndata = pytest.importorskip("anndata")
    adata = anndata.read_h5ad(h5ad)
    adata.obsm["table"]["well"] = "A01"
    adata.write_h5ad(h5ad)
    check(h5ad, key="table", features=list("abcde"))


@pytest.mark.parametrize("key", ["dense", "table", "X"])
def test_h5ad(key, h5ad):
    check(h5ad, key=key)


def test_h5ad_says_what_it_holds(h5ad):
    with (
        pytest.raises(ValueError, match="needs a key; it holds 'by_column', 'dense', 'table', 'X'"),
        open_embeddings(h5ad),
    ):
        pass
    with pytest.raises(ValueError, match="has no 'pca'"), open_embeddings(h5ad, key="pca"):
        pass
    with (
        pytest.raises(ValueError, match="cannot be read in blocks"),
        open_embeddings(h5ad, key="by_column"),
    ):
        pass


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("several.npz", {}, "holds c, f, one, half: choose one with a key"),
        ("several.npz", {"key": "z"}, "has no 'z'"),
        ("several.npz", {"key": "one"}, "must be two-dimensional"),
        ("rows.npy", {"key": "c"}, "holds one array, which has no key"),
        ("rows.npy", {"columns": ["a"]}, "columns are chosen of parquet files only"),
        ("shards/*", {"columns": ["a"]}, "columns are chosen of parquet files only"),
        ("several.npz", {"columns": ["a"]}, "columns are chosen of parquet files only"),
        ("shards/part2.csv", {}, "no .npy"),
    ],
)
def test_what_is_wrong_is_said(name, options, message, folder):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        with open_embeddings(folder / name, **options):
            pass


def test_damaged_files(folder):
    content = (folder / "several.npz").read_bytes()
    (folder / "cut.npz").write_bytes(content[: len(content) // 2])
    (folder / "other.npz").write_bytes(b"no archive")
    (folder / "cells.h5ad").write_bytes(b"no file of HDF5")
    for name in ("cut.npz", "other.npz"):
        with pytest.raises(ValueError, match=r"is no \.npz file"), open_embeddings(folder / name):
            pass
    pytest.importorskip("h5py")
    with pytest.raises(ValueError, match=r"is no \.h5ad"), open_embeddings(folder / "cells.h5ad"):
        pass
    start = content.index(b"half.npy")  # bytes within the compressed arrays before it
    changed = bytearray(content)
    changed[start // 4 : start // 4 + 20] = b"x" * 20
    (folder / "changed.npz").write_bytes(changed)
    with pytest.raises(ValueError, match="is damaged or of another kind"):
        with open_embeddings(folder / "changed.npz", key="c") as rows:
            rows[0:70]


def test_sparse_files_and_pickled_arrays_are_refused(tmp_path):
    sparse.save_npz(tmp_path / "codes.npz", sparse.csr_array(ROWS))
    with pytest.raises(ValueError, match="holds a sparse matrix"):
        with open_embeddings(tmp_path / "codes.npz"):
            pass
    np.savez(tmp_path / "objects.npz", x=np.array([[{}]], dtype=object))
    with pytest.raises(ValueError, match="hold numbers"):
        with open_embeddings(tmp_path / "objects.npz"):
            pass


def test_a_compressed_file_is_read_in_bounded_memory(tmp_path):
    np.savez_compressed(tmp_path / "long.npz", rows=np.ones((40_000, 50), np.float32))
    tracemalloc.start()
    try:
        with open_embeddings(tmp_path / "long.npz") as rows:
            for start in range(0, 40_000, 1000):
                read_rows(rows, start, start + 1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000  # of 8 MB


def test_an_array_by_column_is_read_when_its_rows_are(tmp_path, monkeypatch):
    rows = np.zeros((40_000, 50), np.float32, order="F")
    np.savez_compressed(tmp_path / "long.npz", rows=rows)
    tracemalloc.start()
    try:  # its width can be compared before it is in memory
        with open_embeddings(tmp_path / "long.npz") as rows:
            assert rows.shape == (40_000, 50)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000  # of 8 MB
    monkeypatch.setattr("skdict._embedding_files._MOST_BYTES_BY_COLUMN", 7_999_999)
    with pytest.raises(ValueError, match=r"8000000 bytes column by column.*save it as \.npy"):
        with open_embeddings(tmp_path / "long.npz"):
            pass


def refused(path, **options):
    """Read a file that is damaged; give the message back."""
    with pytest.raises(ValueError) as caught:
        with open_embeddings(path, **options) as rows:
            read_rows(rows, 0, rows.shape[0])
    return str(caught.value)


def with_header(path, header, version=b"\1\0"):
    content = b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", content + bytes(1400))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr'",
        "'" * 3,
        "((((",
        "1\n  2\n 3",
        "{'descr': '<f0', 'fortran_order': False, 'shape': (70, 5)}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-70, 5)}\n",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (-70, -5)}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (700, 5)}\n",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (99999999999999, 5)}\n",
    ],
)
def test_broken_headers(header, tmp_path):
    with_header(tmp_path / "rows.npz", header)
    assert "is damaged" in refused(tmp_path / "rows.npz")


def test_archives_that_zipfile_fails_at(tmp_path):
    path = tmp_path / "rows.npz"
    np.save(tmp_path / "rows.npy", ROWS)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.write(tmp_path / "rows.npy", "x.npy")
    content = bytearray(path.read_bytes())
    content[500:540] = b"\xff" * 40
    path.write_bytes(content)
    assert "LZMAError" in refused(path)
    np.savez(path, x=ROWS)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 6] = 255  # the version of zip that it asks for
    path.write_bytes(content)
    assert "is no .npz file" in refused(path)


def test_damaged_h5ad(h5ad):
    h5py = pytest.importorskip("h5py")
    with h5py.File(h5ad, "r+") as file:
        file["obsm/nowhere"] = h5py.SoftLink("/nowhere")
        file["obsm"].create_group("broken").attrs["encoding-type"] = "csr_matrix"
        file["obsm"].create_group("unknown").attrs["encoding-type"] = "dataframe"
    for key, reason in (
        ("nowhere", "KeyError"), ("broken", "TypeError"), ("unknown", "IORegistryError"),
    ):  # fmt: skip
        message = refused(h5ad, key=key)
        assert str(h5ad) in message and reason in message
    with h5py.File(h5ad, "w") as file:
        file["obsm"], file["X"] = np.zeros(3), ROWS
    check(h5ad, key="X")
