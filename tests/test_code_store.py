"""Codes on disk are read by ranges, and damage is found."""

import json
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skdict._code_store import StoredCodes, load_codes
from skdict._code_writer import CodeWriter
from tests.stored_codes import assert_same, random_codes, write


@pytest.fixture
def path(tmp_path):
    return tmp_path / "codes"


@pytest.fixture
def codes(rng):
    return random_codes(rng, 100)


# ---------------------------------------------------------------------- what was written is read


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows_per_shard", [15, 100, 1000])
def test_codes_come_back(path, rng, dtype, rows_per_shard):
    codes = random_codes(rng, 100, dtype=dtype)
    blocks = [codes[:13], codes[13:13], codes[13:80], codes[80:]]
    writer = write(path, blocks, rows_per_shard=rows_per_shard)
    assert (writer.n_rows, writer.nnz) == (100, codes.nnz)
    store = load_codes(path, verify=True)
    assert (store.shape, store.nnz, store.dtype) == (codes.shape, codes.nnz, dtype)
    assert store.n_shards == -(-100 // rows_per_shard) and len(store) == 100
    assert_same(store.to_csr(), codes)
    for start, stop in [(0, 1), (5, 9), (6, 50), (99, 100), (40, 40), (100, 100)]:
        assert_same(store[start:stop], codes[start:stop])
    assert_same(store[-10:], codes[-10:])
    blocks = list(store.iter_blocks(30))
    assert [(rows.start, rows.stop) for rows, _ in blocks] == [(0, 30), (30, 60), (60, 90), (90, 100)]  # noqa: E501  # fmt: skip
    assert_same(sparse.csr_array(sparse.vstack([block for _, block in blocks])), codes)


def test_the_same_files_whatever_the_blocks(tmp_path, codes):
    write(tmp_path / "a", [codes], rows_per_shard=30)
    write(tmp_path / "b", [codes[i : i + 7] for i in range(0, 100, 7)], rows_per_shard=30)
    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert len(names) == 4 * 3 + 1
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_numpy_opens_the_files(path, codes):
    write(path, [codes])
    assert_array_equal(np.load(path / "000000_data.npy", mmap_mode="r"), codes.data)
    assert np.load(path / "000000_indices.npy").dtype == np.int32
    assert np.load(path / "000000_indptr.npy").dtype == np.int64


def test_dense_and_other_sparse_codes_are_taken(path, codes):
    write(path, [codes.toarray(), sparse.coo_array(codes), sparse.csr_matrix(codes)])
    assert_array_equal(load_codes(path).to_csr().toarray(), np.tile(codes.toarray(), (3, 1)))


def test_no_rows_and_empty_rows(tmp_path):
    with CodeWriter(tmp_path / "none", 4):
        pass
    assert load_codes(tmp_path / "none", verify=True).to_csr().shape == (0, 4)
    write(tmp_path / "zero", [sparse.csr_array((5, 4), dtype=np.float32)], rows_per_shard=2)
    store = load_codes(tmp_path / "zero", verify=True)
    assert store.nnz == 0 and store[1:4].shape == (3, 4)


def test_dtype_is_that_of_the_first_block_or_chosen(tmp_path, rng):
    double = random_codes(rng, 5, dtype=np.float64)
    write(tmp_path / "a", [double])
    assert load_codes(tmp_path / "a").dtype == np.float64
    write(tmp_path / "b", [double], dtype=np.float32)
    assert_same(load_codes(tmp_path / "b").to_csr(), double.astype(np.float32))


def test_a_store_can_be_pickled(path, codes):
    write(path, [codes], rows_per_shard=30)
    store = load_codes(path)
    store[:50]
    assert len(pickle.dumps(store)) < 3000
    assert_same(pickle.loads(pickle.dumps(store)).to_csr(), codes)
    assert repr(store) == f"StoredCodes({str(path)!r}, shape=(100, 11), nnz={codes.nnz}, dtype=float32)"  # noqa: E501  # fmt: skip


def test_more_shards_than_maps_are_kept(path, codes, monkeypatch):
    monkeypatch.setattr("skdict._code_store._MOST_OPEN", 2)
    write(path, [codes], rows_per_shard=10)
    store = load_codes(path)
    assert_same(store.to_csr(), codes)
    assert len(store._open) <= 2


# ---------------------------------------------------------------------- beyond 2**31 entries


def sparse_file(path, dtype, n, tail):
    """A .npy file of n zeros that end in `tail`; the zeros take no space on disk."""
    with path.open("wb") as file:
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (n,)}
        np.lib.format.write_array_header_1_0(file, header)
        itemsize = np.dtype(dtype).itemsize
        file.seek(file.tell() + (n - len(tail)) * itemsize)
        file.write(np.array(tail, dtype).tobytes())


@pytest.mark.parametrize("n_huge", [2**31 + 5, 2**32 + 5])
def test_row_pointers_beyond_32_bits(path, codes, n_huge):
    """One row with more entries than an int32 counts, and rows behind it in its shard and later."""
    write(path, [codes[:3], codes[3:7]], rows_per_shard=3)
    manifest = json.loads((path / "codes.json").read_text())
    tail = codes[:3]
    pointers = np.concatenate([[0], n_huge + tail.indptr.astype(np.int64)])
    nnz = int(pointers[-1])
    sparse_file(path / "000000_data.npy", np.float32, nnz, tail.data)
    sparse_file(path / "000000_indices.npy", np.int32, nnz, tail.indices)
    np.save(path / "000000_indptr.npy", pointers)
    manifest["shards"][0] |= {"n_rows": 4, "nnz": nnz}
    manifest |= {"n_rows": 8, "nnz": nnz + manifest["nnz"] - tail.nnz}
    (path / "codes.json").write_text(json.dumps(manifest))
    store = load_codes(path)
    assert store.nnz == n_huge + codes[:7].nnz > 2**31
    assert_same(store[1:], codes[:7])
    assert_same(store[2:6], codes[1:5])


def test_index_type_follows_the_number_of_entries(path, codes, monkeypatch):
    write(path, [codes])
    assert load_codes(path).to_csr().indices.dtype == np.int32
    monkeypatch.setattr("skdict._code_store.INT32_MAX", codes.nnz - 1)
    seen = {}
    make = sparse.csr_array

    def noted(parts, shape):
        seen["types"] = {parts[1].dtype, parts[2].dtype}
        return make(parts, shape=shape)

    monkeypatch.setattr("skdict._code_store.sparse.csr_array", noted)
    load_codes(path).to_csr()
    assert seen["types"] == {np.dtype(np.int64)}


# ---------------------------------------------------------------------- damage is found


def test_damaged_files_are_named(path, codes):
    write(path, [codes], rows_per_shard=60)
    whole = {file.name: file.read_bytes() for file in path.iterdir()}

    def damaged(name, contents):
        for other, kept in whole.items():
            (path / other).write_bytes(kept)
        (path / name).unlink() if contents is None else (path / name).write_bytes(contents)

    data = whole["000001_data.npy"]
    for name, contents, message in [
        ("000001_data.npy", data[:-4], r"000001_data.npy' is damaged: it has \d+ bytes instead of"),
        ("000001_data.npy", data + b"0", "bytes instead of"),
        ("000001_data.npy", data[:7], "no .npy header"),
        ("000001_data.npy", None, "000001_data.npy' is damaged: it is missing"),
        ("000001_data.npy", whole["000000_data.npy"], r"but the manifest says \(\d+,\) of float32"),
        ("000001_data.npy", whole["000001_indices.npy"], "of int32, but the manifest says"),
    ]:
        damaged(name, contents)
        with pytest.raises(ValueError, match=message):
            load_codes(path)
    damaged("000001_data.npy", data[:-1] + bytes([data[-1] ^ 1]))
    load_codes(path)
    with pytest.raises(ValueError, match="000001_data.npy' is damaged: its contents differ"):
        load_codes(path, verify=True)
    with pytest.raises(FileNotFoundError, match="holds no codes: there is no codes.json"):
        load_codes(path.parent)


def test_numbers_that_would_lead_astray_are_found(path, codes):
    write(path, [codes])
    pointers = np.load(path / "000000_indptr.npy")
    np.save(path / "000000_indptr.npy", np.concatenate([pointers[:1], pointers[:0:-1]]))
    with pytest.raises(ValueError, match="000000_indptr.npy' is damaged: row pointers"):
        load_codes(path).to_csr()
    np.save(path / "000000_indptr.npy", pointers)
    for wrong in (11, -1):
        indices = np.load(path / "000000_indices.npy")
        indices[-1] = wrong
        np.save(path / "000000_indices.npy", indices)
        with pytest.raises(ValueError, match="000000_indices.npy' is damaged: it names atoms"):
            load_codes(path)[90:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "x"}, "its format is not 'skdict-codes'"),
        ({"version": 2}, "newer version of skdict .format 2, known up to 1.; upgrade"),
        ({"version": None}, "version must be a number"),
        ({"complete": 1}, "complete must be true or false"),
        ({"n_components": -1}, "n_components must be a number"),
        ({"dtype": "object"}, "dtype must be float32 or float64, got 'object'"),
        ({"shards": {}}, "shards must be a list"),
        ({"shards": [{"n_rows": 1}]}, "shard 0 must have n_rows, nnz and crc32"),
        ({"nnz": 1}, "nnz is not the sum over shards"),
    ],
)
def test_manifests_are_checked(path, codes, change, message):
    write(path, [codes])
    manifest = json.loads((path / "codes.json").read_text())
    (path / "codes.json").write_text(json.dumps(manifest | change))
    with pytest.raises(ValueError, match=message):
        load_codes(path)
    (path / "codes.json").write_text("{")
    with pytest.raises(ValueError, match="codes.json' is damaged: it cannot be read"):
        load_codes(path)


def test_store_refuses_other_indices(path, codes):
    write(path, [codes])
    store = load_codes(path)
    assert isinstance(store, StoredCodes)
    with pytest.raises(IndexError, match="takes a slice of rows, got 3"):
        store[3]
    with pytest.raises(IndexError, match="slices of step 1"):
        store[::2]
    with pytest.raises(ValueError, match="n_rows must be an integer >= 1"):
        store.iter_blocks(0)
