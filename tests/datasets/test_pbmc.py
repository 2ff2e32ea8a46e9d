"""The shipped blood cells: what the loader returns, what DESCR claims, and the conversion."""

import re
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_array_equal
from scipy import sparse

from skdict.datasets import _convert_pbmc, _shipped, load_pbmc


@pytest.fixture(scope="module")
def pbmc():
    return load_pbmc()


def test_arrays_fit_each_other(pbmc):
    n_cells, n_genes = pbmc.counts.shape
    assert isinstance(pbmc.counts, sparse.csr_array) and pbmc.counts.dtype == np.float32
    # 32-bit indices, sorted: what scikit-learn and the kernels want
    assert pbmc.counts.indices.dtype == pbmc.counts.indptr.dtype == np.int32
    assert pbmc.counts.has_canonical_format
    for name in ("genes", "ensembl"):
        assert pbmc[name].shape == (n_genes,) and len(set(pbmc[name])) == n_genes, name
    assert pbmc.cells.shape == (n_cells,) and len(set(pbmc.cells)) == n_cells
    for name in ("cell_type", "cell_group", "split", "n_counts"):
        assert pbmc[name].shape == (n_cells,), name
    assert pbmc.source.split(" at ")[1][:40] in pbmc.DESCR
    described = set(re.findall(r"^(\w+)  +", pbmc.DESCR, flags=re.MULTILINE))
    assert set(pbmc) - {"DESCR", "license", "source"} == described


def test_attribution_is_there(pbmc):
    assert "10.1038/ncomms14049" in pbmc.DESCR and "10.1038/ncomms14049" in pbmc.source
    assert "not verified" in pbmc.DESCR
    assert "BSD-2-Clause" in pbmc.license and "CC BY 4.0" in pbmc.license


def test_cells_are_as_described(pbmc):
    assert pbmc.counts.shape == (1500, 2000)
    assert pbmc.counts.max() == 59 and pbmc.counts.min() == 0
    assert round(100 * pbmc.counts.nnz / pbmc.counts.shape[0] / pbmc.counts.shape[1], 1) == 7.3
    assert set(np.unique(pbmc.cell_type, return_counts=True)[1]) == {150}
    assert len(set(pbmc.cell_type)) == 10 and len(set(pbmc.cell_group)) == 5
    assert (pbmc.split == "test").sum() == 43
    for cell_type in set(pbmc.cell_type):
        assert len(set(pbmc.cell_group[pbmc.cell_type == cell_type])) == 1


def test_depth_is_as_described(pbmc):
    inside = pbmc.counts.sum(axis=1)
    assert (inside <= pbmc.n_counts).all()
    share = inside / pbmc.n_counts
    assert [round(100 * x) for x in (share.mean(), share.min(), share.max())] == [13, 4, 25]
    median = {t: np.median(pbmc.n_counts[pbmc.cell_type == t]) for t in set(pbmc.cell_type)}
    assert median.pop("CD34+") == 3973.5 and median.pop("CD14+ Monocyte") == 790
    assert min(median.values()) == 1187 and max(median.values()) == 1541.5


@pytest.mark.parametrize(
    ("gene", "cell_group"),
    [("CD79A", "B cell"), ("CD3D", "T cell"), ("GNLY", "NK cell"), ("LYZ", "CD14+")],
)
def test_markers_are_where_they_belong(pbmc, gene, cell_group):
    counts = pbmc.counts[:, pbmc.genes == gene].toarray().ravel() / pbmc.n_counts
    means = {g: counts[pbmc.cell_group == g].mean() for g in set(pbmc.cell_group.tolist())}
    assert max(means, key=means.get) == cell_group


def test_the_file_is_small():
    folder = _shipped.resources.files("skdict.datasets") / "data"
    assert len((folder / "pbmc.npz").read_bytes()) < 250_000
    assert sum(len(file.read_bytes()) for file in folder.iterdir()) < 8e6


def test_who_writes_into_the_counts_spoils_no_later_load():
    load_pbmc().counts.data[:] = 0
    assert load_pbmc().counts.data.all()


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    package = _shipped.resources.files("skdict.datasets")
    (tmp_path / "data").mkdir()
    shutil.copy(package / "data" / "pbmc.npz", tmp_path / "data" / "pbmc.npz")
    monkeypatch.setattr(_shipped.resources, "files", lambda name: tmp_path)
    path = tmp_path / "data" / "pbmc.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"pbmc\.npz is damaged.*reinstall skdict"):
        load_pbmc()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"pbmc\.npz cannot be read"):
        load_pbmc()


@given(
    arrays(
        np.uint8,
        array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.one_of(st.just(0), st.integers(0, 255)),
    ),
    st.integers(1, 300),
)
def test_packing_keeps_every_count(counts, n_empty):
    """Also over gaps that do not fit into a byte."""
    counts = np.vstack([counts, np.zeros((n_empty, counts.shape[1]), np.uint8), counts[::-1]])
    members = _convert_pbmc.pack_counts(sparse.csr_array(counts.astype(np.float32)))
    members["cells"] = np.arange(len(counts))
    unpacked = _convert_pbmc.unpack_counts(members)
    assert unpacked.dtype == np.float32
    assert_array_equal(unpacked.toarray(), counts)


@pytest.mark.parametrize("value", [0.5, 256.0, -1.0])
def test_what_does_not_fit_into_a_byte_is_refused(value):
    with pytest.raises(ValueError, match="counts must be whole numbers from 0 to 255"):
        _convert_pbmc.pack_counts(sparse.csr_array([[0.0, value]]))


def test_too_many_cells_are_refused():
    with pytest.raises(ValueError, match="fewer than 65,536 cells, got 65536"):
        _convert_pbmc.pack_counts(sparse.csr_array((1 << 16, 1)))


def test_conversion_makes_the_shipped_file(pbmc, tmp_path):
    anndata = pytest.importorskip("anndata")
    pandas = pytest.importorskip("pandas")
    cells = anndata.AnnData(
        pbmc.counts,
        obs=pandas.DataFrame(
            {
                "cell_type": pbmc.cell_type,
                "cell_group": pbmc.cell_group,
                "split": pbmc.split,
                "n_counts_all_genes": pbmc.n_counts.astype(np.float32),
            },
            index=pbmc.cells,
        ),
        var=pandas.DataFrame({"ensembl": pbmc.ensembl}, index=pbmc.genes),
    )
    cells.write_h5ad(tmp_path / "cells.h5ad")
    _convert_pbmc.main([str(tmp_path / "cells.h5ad"), str(tmp_path / "out.npz")])
    shipped = _shipped.resources.files("skdict.datasets") / "data" / "pbmc.npz"
    with np.load(tmp_path / "out.npz") as written, shipped.open("rb") as file:
        expected = np.load(file)
        assert set(written.files) == set(expected.files)
        for name in written.files:
            assert_array_equal(written[name], expected[name])


def test_depth_must_be_whole_numbers(tmp_path, monkeypatch):
    class Cells:
        X = sparse.csr_array([[1.0]])
        var_names, obs_names, var = ["g"], ["c"], {"ensembl": ["e"]}
        obs = {"n_counts_all_genes": np.array([1.5])}

        @classmethod
        def read_h5ad(cls, source):
            return cls()

    monkeypatch.setattr(_convert_pbmc, "import_optional", lambda name, extra: Cells)
    with pytest.raises(ValueError, match="n_counts_all_genes of x must be whole numbers"):
        _convert_pbmc.convert("x", tmp_path / "out.npz")
