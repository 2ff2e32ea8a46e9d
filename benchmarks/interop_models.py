"""The other packages in `benchmarks.interop`: what they write, and what they read."""

import importlib
import json
import os
import sys
import types
from pathlib import Path

import numpy as np

from skdict.interop import register_saelens

PACKAGES = {
    "SAELens": "sae-lens",
    "dictionary_learning": "dictionary-learning",
    "sparsify": "eai-sparsify",
}
N_ATOMS, N_NONZERO = 512, 16


def read_with(package, folder, X):
    """Codes and reconstructions of a folder's model in the package it is written for."""
    torch = importlib.import_module("torch")
    if package == "dictionary_learning":
        model, _ = dictionary_learning("utils").load_dictionary(str(folder), "cpu")
        return _run(torch, model, X)
    register_saelens()
    model = importlib.import_module("sae_lens").SAE.load_from_disk(folder)
    scaler = importlib.import_module("sae_lens.training.activation_scaler").ActivationScaler()
    path = Path(folder) / "activation_scaler.json"
    if path.exists():  # what SAELens leaves to its user
        scaler.load(path)
    codes, back = _run(torch, model, scaler.scale(torch.from_numpy(X)).numpy())
    return codes, scaler.unscale(torch.from_numpy(back)).numpy()


def dictionary_learning(module):
    """A module of dictionary_learning.

    Its buffers of activations want nnsight, which pins versions of much else; a stand-in is
    enough for the autoencoders.
    """
    if "nnsight" not in sys.modules:
        stand_in = types.ModuleType("nnsight")
        stand_in.LanguageModel = object
        sys.modules["nnsight"] = stand_in
    return importlib.import_module(f"dictionary_learning.{module}")


def _run(torch, model, X):
    with torch.no_grad():
        codes = model.encode(torch.from_numpy(X))
        return codes.numpy(), model.decode(codes).numpy()


def _fill(torch, model, unit_rows=None, seed=0):
    """Random weights in all parameters; `unit_rows` names the one with rows of unit length."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            drawn = drawn / parameter.shape[-1] ** 0.5 * (0.2 if parameter.ndim == 1 else 1.0)
            if name == unit_rows:
                drawn = drawn / drawn.norm(dim=1, keepdim=True)
            parameter.copy_(drawn)


def _saelens(folder, X, class_name, **settings):
    """A model of SAELens with random weights, saved by it; codes and reconstructions there."""
    torch, sae_lens = importlib.import_module("torch"), importlib.import_module("sae_lens")
    config = getattr(sae_lens, f"{class_name}Config")(
        d_in=X.shape[1], d_sae=N_ATOMS, dtype=str(X.dtype), **settings
    )
    model = getattr(sae_lens, class_name)(config)
    _fill(torch, model, unit_rows="W_dec" if "MatchingPursuit" in class_name else None)
    model.save_model(folder)
    return _run(torch, model, X)


def _trained_saelens(folder, X):
    """A TopK autoencoder that SAELens's own class trained for 30 steps, saved for inference."""
    torch, sae_lens = importlib.import_module("torch"), importlib.import_module("sae_lens")
    torch.manual_seed(0)
    config = sae_lens.TopKTrainingSAEConfig(
        d_in=X.shape[1], d_sae=N_ATOMS, k=N_NONZERO, dtype=str(X.dtype)
    )
    model = sae_lens.TopKTrainingSAE(config)
    optimiser, rows = torch.optim.Adam(model.parameters(), 1e-2), torch.from_numpy(X)
    for _ in range(30):
        optimiser.zero_grad()
        (model(rows) - rows).square().sum(dim=1).mean().backward()
        optimiser.step()
    codes = _run(torch, model, X)
    model.save_inference_model(folder)
    return codes


def _old_saelens(folder, X):
    """A model as SAELens wrote it before version 6, read by today's."""
    torch, sae_lens = importlib.import_module("torch"), importlib.import_module("sae_lens")
    _saelens(folder, X, "TopKSAE", k=N_NONZERO)
    settings = {
        "architecture": "standard", "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": N_NONZERO}, "d_in": X.shape[1], "d_sae": N_ATOMS,
        "dtype": str(X.dtype), "device": "cpu", "hook_name": "blocks.0.hook_resid_pre",
        "hook_layer": 0, "model_name": "none", "context_size": 1, "dataset_path": "none",
        "apply_b_dec_to_input": True, "finetuning_scaling_factor": False,
        "normalize_activations": "none", "sae_lens_training_version": "4.0.0",
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(settings))
    return _run(torch, sae_lens.SAE.load_from_disk(folder), X)


def _dictionary_learning(folder, X):
    """An AutoEncoderTopK with random weights, saved as its trainer saves it."""
    torch = importlib.import_module("torch")
    model = dictionary_learning("trainers.top_k").AutoEncoderTopK(X.shape[1], N_ATOMS, N_NONZERO)
    _fill(torch, model)
    torch.save(model.state_dict(), folder / "ae.pt")
    settings = {"trainer": {"dict_class": "AutoEncoderTopK", "k": N_NONZERO}}
    (folder / "config.json").write_text(json.dumps(settings))
    return _run(torch, model, X)


def _sparsify(folder, X):
    """A SparseCoder with random weights, saved by sparsify."""
    os.environ.setdefault("SPARSIFY_DISABLE_TRITON", "1")  # otherwise it decodes on GPUs only
    torch, sparsify = importlib.import_module("torch"), importlib.import_module("sparsify")
    config = sparsify.SparseCoderConfig(num_latents=N_ATOMS, k=N_NONZERO)
    model = sparsify.SparseCoder(X.shape[1], config, dtype=getattr(torch, str(X.dtype)))
    _fill(torch, model)
    model.save_to_disk(folder)
    with torch.no_grad():
        found = model.encode(torch.from_numpy(X))
        back = model.decode(found.top_acts, found.top_indices).numpy()
    codes = np.zeros((X.shape[0], N_ATOMS), X.dtype)
    np.put_along_axis(codes, found.top_indices.numpy(), found.top_acts.numpy(), axis=1)
    return codes, back


def _writer(write, *arguments, **settings):
    return lambda folder, X: write(folder, X, *arguments, **settings)


_PURSUIT = {
    "residual_threshold": 0.0,
    "max_iterations": N_NONZERO,
    "stop_on_duplicate_support": False,
}

# Package and function of folder and rows; it writes a model and returns what it gives there.
THEIRS = {
    "TopK, decoder of any length": ("SAELens", _writer(_saelens, "TopKSAE", k=N_NONZERO)),
    "TopK, codes weighed by length": (
        "SAELens",
        _writer(_saelens, "TopKSAE", k=N_NONZERO, rescale_acts_by_decoder_norm=True),
    ),
    "TopK, nothing subtracted": (
        "SAELens",
        _writer(_saelens, "TopKSAE", k=N_NONZERO, apply_b_dec_to_input=False),
    ),
    "TopK, constant_norm_rescale": (
        "SAELens",
        _writer(_saelens, "TopKSAE", k=N_NONZERO, normalize_activations="constant_norm_rescale"),
    ),
    "TopK, trained there": ("SAELens", _trained_saelens),
    "TopK, from before version 6": ("SAELens", _old_saelens),
    "matching pursuit": ("SAELens", _writer(_saelens, "MatchingPursuitSAE", **_PURSUIT)),
    "matching pursuit, constant_norm_rescale": (
        "SAELens",
        _writer(
            _saelens,
            "MatchingPursuitSAE",
            normalize_activations="constant_norm_rescale",
            **_PURSUIT,
        ),
    ),
    "TopK of AutoEncoderTopK": ("dictionary_learning", _dictionary_learning),
    "TopK of SparseCoder": ("sparsify", _sparsify),
}
