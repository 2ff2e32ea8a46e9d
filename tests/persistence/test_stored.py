"""Models that were stored once load for ever, with the codes that they had then.

``stored/schema_1`` was written by ``python tests/persistence/test_stored.py FOLDER`` of the version
that introduced that schema. A later schema gets a folder of its own; what is there is never written
again.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.model_mutations import small_models, transformed
from skdict.persistence import load, save

STORED = Path(__file__).parent / "stored"
NAMES = ("TopKSAE", "ICFLDictionary", "ControlPCAWhitener", "pipeline", "scalers")


def dense(codes):
    return codes.toarray() if hasattr(codes, "toarray") else codes


@pytest.mark.parametrize("mmap_mode", [None, "r"])
@pytest.mark.parametrize("name", NAMES)
def test_codes_of_then(name, mmap_mode):
    model = load(STORED / "schema_1" / name, mmap_mode=mmap_mode)
    kept = np.load(STORED / "schema_1" / f"{name}.npz")
    codes = dense(transformed(model, kept["rows"]))
    assert codes.dtype == kept["codes"].dtype
    assert ((codes != 0) == (kept["codes"] != 0)).all()
    # other machines multiply matrices in another order
    tolerance = 1e-5 if codes.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(codes, kept["codes"], rtol=tolerance, atol=tolerance)


def test_they_are_of_that_schema():
    for name in NAMES:
        record = json.loads((STORED / "schema_1" / name / "model.json").read_bytes())
        assert record["schema"] == 1


def write(folder: Path) -> None:
    """Store a model of each kind, and its codes beside."""
    for name, (model, rows) in small_models().items():
        save(model, folder / name)
        np.savez_compressed(
            folder / f"{name}.npz", rows=rows, codes=dense(transformed(model, rows))
        )


if __name__ == "__main__":
    write(Path(sys.argv[1]))
