"""TopK autoencoders of sparsify, compared with its formulas."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from safetensors.numpy import save_file

from skdict.interop import from_sparsify
from tests.interop.models import N_ATOMS, N_FEATURES, rows

SETTINGS = {
    "activation": "topk",
    "expansion_factor": 32,
    "normalize_decoder": True,
    "num_latents": N_ATOMS,
    "k": 4,
    "multi_topk": False,
    "skip_connection": False,
    "transcode": False,
    "d_in": N_FEATURES,
}


def write(folder, drop=(), arrays=None, **settings):
    """A random model; returns its arrays."""
    rng = np.random.default_rng(0)
    kept = {**SETTINGS, **settings}
    n_atoms = kept["num_latents"] or kept["d_in"] * kept["expansion_factor"]
    model = {
        "encoder.weight": rng.standard_normal((n_atoms, N_FEATURES)),
        "encoder.bias": rng.standard_normal(n_atoms),
        "W_dec": rng.standard_normal((n_atoms, N_FEATURES)),
        "b_dec": rng.standard_normal(N_FEATURES),
        **(arrays or {}),
    }
    for name in drop:
        kept.pop(name, None)
        model.pop(name, None)
    (folder / "cfg.json").write_text(json.dumps(kept))
    save_file(model, folder / "sae.safetensors")
    return model


@pytest.mark.parametrize("num_latents", [N_ATOMS, 0])
def test_formulas_give_our_codes(num_latents, tmp_path):
    arrays = write(tmp_path, num_latents=num_latents, expansion_factor=3)
    X = rows(np.float64)
    codes = np.maximum(
        (X - arrays["b_dec"]) @ arrays["encoder.weight"].T + arrays["encoder.bias"], 0
    )
    np.put_along_axis(codes, np.argsort(-codes, axis=1)[:, 4:], 0.0, axis=1)
    read = from_sparsify(tmp_path)
    assert_allclose(read.transform(X).toarray(), codes, atol=1e-10)
    back = codes @ arrays["W_dec"] + arrays["b_dec"]
    assert_allclose(read.inverse_transform(codes), back, atol=1e-10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "groupmax"}, "got 'groupmax'"),
        ({"transcode": True}, "transcode .* must be false"),
        ({"skip_connection": True}, "skip_connection .* must be false"),
        ({"drop": ["k"]}, "lacks 'k'"),
        ({"drop": ["d_in"]}, "lacks 'd_in'"),
        ({"drop": ["W_dec"]}, "lacks W_dec"),
        ({"k": N_ATOMS + 1}, "number of atoms"),
        ({"d_in": N_FEATURES + 1}, "must have shape"),
        ({"arrays": {"b_dec": np.full(N_FEATURES, np.inf)}}, "NaN or infinity"),
    ],
)
def test_what_cannot_be_read(change, message, tmp_path):
    write(tmp_path, **change)
    with pytest.raises(ValueError, match=message):
        from_sparsify(tmp_path)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cfg\.json"):
        from_sparsify(tmp_path)
    write(tmp_path)
    (tmp_path / "sae.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"sae\.safetensors"):
        from_sparsify(tmp_path)
