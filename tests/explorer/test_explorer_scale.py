"""The benchmark of bundles builds, opens and looks into one."""

import numpy as np
from scipy import sparse

from benchmarks import explorer_scale


def test_small_problem(tmp_path):
    path = str(tmp_path / "bundle")
    builder = explorer_scale.Builder(1)
    builder.setup(*explorer_scale.QUICK)
    built = builder.build(path)
    assert built["seconds"] > 0 and built["disk_mb"] > 0.1
    reader = explorer_scale.Reader(1)
    assert reader.open(path)["open_s"] > 0
    views = reader.look()["views"]
    assert {"genes", "all of a concept", "search"} <= set(views)
    assert all(0 < later <= worst for _, later, worst in views.values())
    assert reader.verify() > 0


def test_made_codes():
    rng = np.random.default_rng(0)
    compound = rng.integers(8, size=200)
    codes = explorer_scale.made_codes(200, 128, 10, compound, rng)
    assert codes.shape == (200, 128) and sparse.issparse(codes)
    assert (np.diff(codes.indptr) <= 10).all() and codes.nnz > 1900
    planted = codes[np.arange(200), compound * explorer_scale.EVERY]
    assert (planted > 0).all()
