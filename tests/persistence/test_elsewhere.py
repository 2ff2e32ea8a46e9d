"""Models of a GPU, or of tensors, without torch; through pickle, joblib, cloudpickle and skops."""

import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

from benchmarks.model_mutations import codes_of, small_models
from skdict.persistence import SKOPS_TRUSTED

MODELS = small_models()

# Fits as on a GPU: the same code runs on torch's CPU device; only the name of the device differs.
FIT = """
import pickle, sys, warnings
from pathlib import Path
import numpy as np, sklearn, torch
from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE
from skdict.persistence import save
folder = Path(sys.argv[1])
X = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
short = {"n_nonzero_coefs": 2, "max_steps": 2, "random_state": 0, "device": "torch:cpu"}
models = {"topk": TopKSAE(8, **short).fit(X), "icfl": ICFLDictionary(8, **short).fit(X),
          "partial": TopKSAE(8, **short).partial_fit(X)}
with sklearn.config_context(array_api_dispatch=True), warnings.catch_warnings():
    warnings.simplefilter("ignore")  # all rows as controls
    models["whitener"] = ControlPCAWhitener().fit(torch.asarray(X))
assert isinstance(models["whitener"].components_, torch.Tensor)
for name, model in models.items():
    if hasattr(model, "device"):
        model.set_params(device="cuda")
    save(model, folder / name)
    (folder / f"{name}.pickle").write_bytes(pickle.dumps(model))
np.save(folder / "rows.npy", X)
"""
LOAD = """
import json, pickle, sys
class NoTorch:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch is not installed")
sys.meta_path.insert(0, NoTorch)
from pathlib import Path
import numpy as np
from skdict.persistence import load
folder = Path(sys.argv[1])
X, equal = np.load(folder / "rows.npy"), {}
for name in ("topk", "icfl", "partial", "whitener"):
    loaded = load(folder / name, device="cpu")
    unpickled = pickle.loads((folder / f"{name}.pickle").read_bytes())
    if hasattr(loaded, "device"):
        assert (loaded.device, unpickled.device) == ("cpu", "cuda")
        unpickled.set_params(device="cpu")
    assert isinstance(unpickled.components_, np.ndarray)
    equal[name] = int(np.sum(loaded.transform(X) != unpickled.transform(X)))
try:
    load(folder / "topk", device="cuda")
except ImportError as error:
    equal["told"] = "torch" in str(error)
print(json.dumps(equal))
"""


def run_python(code, *arguments, **environment):
    """Run code in a process of its own; what its last line printed, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout else None


def test_a_model_of_a_gpu_without_torch(tmp_path):
    pytest.importorskip("torch")
    run_python(FIT, tmp_path, SCIPY_ARRAY_API="1")
    equal = run_python(LOAD, tmp_path, SCIPY_ARRAY_API="0")
    assert equal == {"topk": 0, "icfl": 0, "partial": 0, "whitener": 0, "told": True}


def through_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def through_cloudpickle(model):
    cloudpickle = pytest.importorskip("cloudpickle")
    return pickle.loads(cloudpickle.dumps(model))


def through_skops(model):
    skops = pytest.importorskip("skops.io")
    return skops.loads(skops.dumps(model), trusted=SKOPS_TRUSTED)


ROADS = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "joblib": through_joblib,
    "cloudpickle": through_cloudpickle,
    "skops": through_skops,
}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("name", MODELS)
def test_codes_are_equal_bit_by_bit(name, road):
    model, rows = MODELS[name]
    assert codes_of(ROADS[road](model), rows) == codes_of(model, rows)


def test_the_list_for_skops_is_no_longer_than_needed():
    skops = pytest.importorskip("skops.io")
    found = {
        name for model, _ in MODELS.values()
        for name in skops.get_untrusted_types(data=skops.dumps(model))
    }  # fmt: skip
    assert found == set(SKOPS_TRUSTED)


def test_joblib_maps_a_model(tmp_path):
    model, rows = MODELS["ICFLDictionary"]
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert isinstance(mapped.components_, np.memmap)
    assert codes_of(mapped, rows) == codes_of(model, rows)
