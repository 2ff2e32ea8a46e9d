"""Models of SAELens read here: codes by its formulas, and what is refused."""

import pickle
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.preprocessing import Normalizer

from skdict import ICFLDictionary
from skdict.interop import from_saelens, register_saelens, to_saelens
from tests.interop.models import (
    N_ATOMS,
    N_FEATURES,
    icfl,
    random_model,
    rows,
    saelens_forward,
    topk,
    write_files,
)

X = rows()
UNIT = Normalizer().fit_transform(X)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("topk", {"rescale_acts_by_decoder_norm": False}),
        ("topk", {"rescale_acts_by_decoder_norm": True}),
        ("topk", {"rescale_acts_by_decoder_norm": True, "apply_b_dec_to_input": False}),
        ("topk", {"normalize_activations": "constant_norm_rescale",
                  "rescale_acts_by_decoder_norm": False}),
        ("matching_pursuit", {}),
        ("matching_pursuit", {"apply_b_dec_to_input": False}),
        ("matching_pursuit", {"normalize_activations": "constant_norm_rescale"}),
    ],
)  # fmt: skip
def test_theirs_read_here(architecture, settings, tmp_path):
    data = X.astype(np.float64)
    folder = write_files(tmp_path, *random_model(architecture, **settings))
    codes, back = saelens_forward(folder, data)
    read = from_saelens(folder)
    assert_allclose(read.transform(data).toarray(), codes, atol=1e-10)
    last, lengths = read, 1.0
    if "normalize_activations" in settings:
        last, lengths = read[-1], np.linalg.norm(data, axis=1, keepdims=True)
    assert_allclose(last.inverse_transform(codes) * lengths, back, atol=1e-9)


def test_decoder_rows_are_of_unit_length_where_codes_carry_it(tmp_path):
    folder = write_files(tmp_path, *random_model(rescale_acts_by_decoder_norm=True))
    read = from_saelens(folder)
    assert_allclose(np.linalg.norm(read.components_, axis=1), 1.0)


@pytest.mark.parametrize("version", [None, "4.0.0"])
def test_from_before_version_6(version, tmp_path):
    settings, arrays = random_model(rescale_acts_by_decoder_norm=False)
    wanted = from_saelens(write_files(tmp_path, settings, arrays)).transform(X)
    old = {
        "d_in": N_FEATURES,
        "d_sae": N_ATOMS,
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 4},
        "normalize_activations": False,
        "sae_lens_version": version,
    }
    arrays["scaling_factor"] = np.ones(N_ATOMS)
    read = from_saelens(write_files(tmp_path, old, arrays))
    assert (read.transform(X) != wanted).nnz == 0
    del old["activation_fn_str"]
    with pytest.raises(ValueError, match="got 'standard'"):
        from_saelens(write_files(tmp_path, old, arrays))


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_half_precision_becomes_float32(kind, tmp_path):
    settings, arrays = random_model(dtype=np.float32, rescale_acts_by_decoder_norm=False)
    if kind == "F16":
        stored = {name: array.astype(np.float16) for name, array in arrays.items()}
        wanted = {name: array.astype(np.float32) for name, array in stored.items()}
    else:  # NumPy has no bfloat16: cut the lower half off
        bits = {name: array.view(np.uint32) >> 16 for name, array in arrays.items()}
        stored = {name: array.astype(np.uint16) for name, array in bits.items()}
        wanted = {name: (array << 16).view(np.float32) for name, array in bits.items()}
    folder = write_files(tmp_path, settings, stored)
    path = folder / "sae_weights.safetensors"
    if kind == "BF16":
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = content[8 : 8 + size].replace(b'"U16"', b'"BF16"')
        path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + size :])
    read = from_saelens(folder)
    assert read.components_.dtype == np.float32
    assert_array_equal(read.components_, wanted["W_dec"])
    assert_array_equal(read.encoder_, wanted["W_enc"].T)


def changed(settings=None, arrays=None, architecture="topk", drop=()):
    """A random model with something wrong about it."""
    good_settings, good_arrays = random_model(architecture, rescale_acts_by_decoder_norm=False)
    good_settings |= settings or {}
    good_arrays |= arrays or {}
    for name in drop:
        good_settings.pop(name, None)
        good_arrays.pop(name, None)
    return good_settings, good_arrays


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (changed({"architecture": "jumprelu"}), "got 'jumprelu'"),
        (changed({"architecture": "gated"}), "got 'gated'"),
        (changed({"architecture": 3}), "must be of type str, got 3"),
        (changed(drop=["architecture"]), "lacks 'architecture'"),
        (changed(drop=["k"]), "lacks 'k'"),
        (changed(drop=["d_in"]), "lacks 'd_in'"),
        (changed({"k": True}), "must be of type int, got True"),
        (changed({"k": 0}), ">= 1, got 0"),
        (changed({"k": N_ATOMS + 1}), "at most the number of atoms"),
        (changed({"d_sae": 10**400}), "at most|shape"),
        (changed({"apply_b_dec_to_input": "yes"}), "must be of type bool"),
        (changed({"metadata": [1]}), "must be an object"),
        (changed({"metadata": {"sae_lens_version": "new"}}), "must be a version"),
        (changed({"normalize_activations": "layer_norm"}), "got 'layer_norm'"),
        (changed({"normalize_activations": "expected_average_only_in"}), "scaling_factor"),
        (changed({"normalize_activations": "covariance_whitening"}), "fold_activation_whitening"),
        (changed({"finetuning_scaling_factor": True}), "after fine-tuning"),
        (changed(arrays={"scaling_factor": np.full(N_ATOMS, 2.0)}), "after fine-tuning"),
        (changed(drop=["b_enc"]), "lacks b_enc"),
        (changed(arrays={"extra": np.ones(2)}), "has extra beside them"),
        (changed(arrays={"W_enc": np.ones((N_ATOMS, N_FEATURES))}), "W_enc .* must have shape"),
        (changed(arrays={"b_dec": np.full(N_FEATURES, np.nan)}), "b_dec .* NaN"),
        (changed(arrays={"b_dec": np.ones(N_FEATURES, np.int64)}), "must be of one of"),
        (
            changed({"rescale_acts_by_decoder_norm": True},
                    {"W_dec": np.zeros((N_ATOMS, N_FEATURES))}),
            "some atoms are zero",
        ),
        (changed(architecture="matching_pursuit", drop=["residual_threshold"]), "stops rows early"),
        (changed(architecture="matching_pursuit", drop=["stop_on_duplicate_support"]), "=True"),
        (changed({"residual_threshold": "no"}, architecture="matching_pursuit"), "a number"),
        (changed({"max_iterations": 31}, architecture="matching_pursuit"), "number of atoms"),
        (
            changed(arrays={"W_dec": np.ones((N_ATOMS, N_FEATURES))},
                    architecture="matching_pursuit"),
            "rows of unit length",
        ),
        (
            changed({"metadata": {"sae_lens_version": "6.1", "skdict": {"whitening": "sidecar"}}}),
            "no activation_whitening.safetensors",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_read(model, message, tmp_path):
    folder = write_files(tmp_path, *model)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        from_saelens(folder)


def test_stopping_can_be_ignored(tmp_path):
    settings, arrays = changed(
        architecture="matching_pursuit", drop=["stop_on_duplicate_support", "max_iterations"]
    )
    read = from_saelens(write_files(tmp_path, settings, arrays), ignore_stopping=True)
    assert isinstance(read, ICFLDictionary)
    assert read.n_nonzero_coefs == N_FEATURES  # SAELens's own limit


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
def test_missing_and_cut_files(name, tmp_path):
    path = to_saelens(topk(UNIT), tmp_path) / name
    content = path.read_bytes()
    for length in np.linspace(0, len(content) - 3, 40).astype(int):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=name):
            from_saelens(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=name):
        from_saelens(tmp_path)
    with pytest.raises(FileNotFoundError, match=name):
        from_saelens(tmp_path / "nowhere") if name == "cfg.json" else from_saelens(tmp_path)


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"k": 1e}'])
def test_settings_that_are_no_object(content, tmp_path):
    to_saelens(topk(UNIT), tmp_path)
    (tmp_path / "cfg.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"cfg\.json"):
        from_saelens(tmp_path)


def test_changed_bytes_never_crash(tmp_path, rng):
    """A model or a ValueError, whatever bytes of settings and header were changed."""
    to_saelens(icfl(UNIT, atoms_per_step=1), tmp_path)
    refused = 0
    for _ in range(60):
        for name, size in (("cfg.json", None), ("sae_weights.safetensors", 160)):
            path = tmp_path / name
            content = path.read_bytes()
            changed = bytearray(content)
            for place in rng.integers(len(changed[:size]), size=2):
                changed[place] = rng.integers(256)
            path.write_bytes(changed)
            try:
                assert np.isfinite(from_saelens(tmp_path).components_).all()
            except ValueError:
                refused += 1
            path.write_bytes(content)
    assert refused > 40


@pytest.mark.parametrize("make", [topk, icfl])
def test_what_was_read_does_all_that_a_fitted_one_does(make, tmp_path):
    model = make(UNIT)
    read = from_saelens(to_saelens(model, tmp_path))
    assert read.score(UNIT) == model.score(UNIT)
    assert_array_equal(read.get_feature_names_out(), model.get_feature_names_out())
    again = pickle.loads(pickle.dumps(read))
    assert (again.transform(UNIT) != read.transform(UNIT)).nnz == 0
    assert not hasattr(clone(read), "components_")
    assert read.n_steps_ == 0 and set(read.history_) == set(model.history_)
    before = read.components_.copy()
    read.partial_fit(UNIT)
    assert read.n_steps_ > 0 and 0 < np.abs(read.components_ - before).max() < 0.1
    to_saelens(read, tmp_path / "again")


def test_neither_torch_nor_saelens_is_needed(tmp_path, monkeypatch):
    for name in ("torch", "sae_lens"):
        monkeypatch.setitem(sys.modules, name, None)
    from_saelens(to_saelens(topk(UNIT), tmp_path))
    monkeypatch.delitem(sys.modules, "skdict.interop._saelens_class", raising=False)
    with pytest.raises(ImportError, match=r'pip install "skdict\[saelens\]"'):
        register_saelens()
