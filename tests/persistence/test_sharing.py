"""Processes that map one model share its memory and give equal codes."""

import hashlib
import sys

import numpy as np
import pytest

from benchmarks.model_mutations import codes_of
from benchmarks.model_sharing import share
from skdict.interop import topk_from_arrays
from skdict.persistence import save


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_shared_and_codes_are_equal(tmp_path):
    rng = np.random.default_rng(0)
    atoms = rng.normal(size=(512, 256)).astype(np.float32)
    model = topk_from_arrays(
        atoms, atoms, np.zeros(512, np.float32), np.zeros(256, np.float32), n_nonzero_coefs=8
    )
    rows = rng.normal(size=(20, 256)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    folder = save(model, tmp_path / "model")
    found = share(folder, tmp_path / "rows.npy", 2)
    expected = hashlib.sha256(codes_of(model, rows)).hexdigest()
    size = (folder / "arrays.safetensors").stat().st_size / 1024
    for entry in found:
        assert entry["codes"] == expected
        assert entry["Rss"] > 0.9 * size  # all of it was read
        assert entry["Pss"] < 0.6 * size  # half of it is its own part
        assert entry["Private_Dirty"] == 0
