"""Small fitted dictionaries, and what SAELens computes, written down in NumPy."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE

N_FEATURES, N_ATOMS = 12, 30
SIZES = {"n_components": N_ATOMS, "max_steps": 5, "random_state": 0}


def rows(dtype=np.float32, n_rows=80):
    """Rows with an offset and features of different scales."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n_rows, N_FEATURES)) @ rng.standard_normal((N_FEATURES, N_FEATURES))
    return (X + 3.0).astype(dtype)


def topk(X, **parameters):
    return TopKSAE(**{**SIZES, "n_nonzero_coefs": 4, **parameters}).fit(X)


def icfl(X, **parameters):
    return ICFLDictionary(**{**SIZES, "n_nonzero_coefs": 7, **parameters}).fit(X)


def whitener(X, **parameters):
    return ControlPCAWhitener(**parameters).fit(X, control=np.arange(len(X)) < 60)


def read_files(folder):
    """Settings and arrays of a model of SAELens."""
    folder = Path(folder)
    settings = json.loads((folder / "cfg.json").read_text())
    return settings, load_file(folder / "sae_weights.safetensors")


def write_files(folder, settings, arrays):
    """A model of SAELens with these settings and arrays."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(settings))
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    save_file(arrays, folder / "sae_weights.safetensors")
    return folder


def random_model(architecture="topk", dtype=np.float64, **settings):
    """Settings and arrays of a random model of SAELens."""
    rng = np.random.default_rng(2)
    arrays = {
        "W_dec": rng.standard_normal((N_ATOMS, N_FEATURES)),
        "b_dec": rng.standard_normal(N_FEATURES),
    }
    given = {
        "architecture": architecture,
        "d_in": N_FEATURES,
        "d_sae": N_ATOMS,
        "dtype": "float64",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12"},
    }
    if architecture == "topk":
        arrays["W_enc"] = rng.standard_normal((N_FEATURES, N_ATOMS))
        arrays["b_enc"] = rng.standard_normal(N_ATOMS)
        given["k"] = 4
    else:
        arrays["W_dec"] /= np.linalg.norm(arrays["W_dec"], axis=1, keepdims=True)
        given |= {
            "residual_threshold": 0.0,
            "max_iterations": 4,
            "stop_on_duplicate_support": False,
        }
    return {**given, **settings}, {name: array.astype(dtype) for name, array in arrays.items()}


def saelens_forward(folder, X):
    """Codes and reconstructions as SAELens computes them, in float64."""
    settings, arrays = read_files(folder)
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    X = X.astype(np.float64)
    scale = np.ones((len(X), 1))
    if settings["normalize_activations"] == "constant_norm_rescale":
        scale = np.sqrt(settings["d_in"]) / np.linalg.norm(X, axis=1, keepdims=True)
    subtracted = arrays["b_dec"] * settings["apply_b_dec_to_input"]
    centred = X * scale - subtracted
    if settings["architecture"] == "matching_pursuit":
        codes = _matching_pursuit(centred, arrays["W_dec"], settings["max_iterations"])
        return codes, (codes @ arrays["W_dec"] + subtracted) / scale
    lengths = np.ones(settings["d_sae"])
    if settings["rescale_acts_by_decoder_norm"]:
        lengths = np.linalg.norm(arrays["W_dec"], axis=1)
    before = (centred @ arrays["W_enc"] + arrays["b_enc"]) * lengths
    dropped = np.argsort(-before, axis=1)[:, settings["k"] :]
    np.put_along_axis(before, dropped, 0.0, axis=1)
    codes = np.maximum(before, 0.0)
    return codes, (codes / lengths @ arrays["W_dec"] + arrays["b_dec"]) / scale


def _matching_pursuit(residual, atoms, n_steps):
    codes = np.zeros((len(residual), len(atoms)))
    every = np.arange(len(residual))
    for _ in range(n_steps):
        products = np.maximum(residual @ atoms.T, 0.0)
        best = products.argmax(axis=1)
        values = products[every, best]
        codes[every, best] += values
        residual = residual - values[:, None] * atoms[best]
    return codes
