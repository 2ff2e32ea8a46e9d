"""Dictionaries as models of SAELens and back, compared with its formulas."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.numpy import load_file
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skdict import TopKSAE
from skdict.interop import from_saelens, to_saelens
from skdict.interop._saelens_write import positively_spanning
from tests.interop.models import (
    N_ATOMS,
    N_FEATURES,
    icfl,
    read_files,
    rows,
    saelens_forward,
    topk,
    whitener,
)

X = rows()
UNIT = Normalizer().fit_transform(X)
MODELS = {
    "tied": lambda: topk(UNIT),
    "linear": lambda: topk(UNIT, init="linear"),
    "no intercept": lambda: topk(UNIT, fit_intercept=False),
    "other width": lambda: topk(UNIT).set_params(transform_n_nonzero_coefs=2),
    "one atom a step": lambda: icfl(UNIT, atoms_per_step=1),
    "five atoms a step": lambda: icfl(UNIT),
    "absolute, refit": lambda: icfl(UNIT, selection="absolute", refit=True),
    "atoms of any length": lambda: icfl(UNIT, normalize_components=False),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_round_trip_is_bitwise(name, dtype, tmp_path):
    model = MODELS[name]()
    read = from_saelens(to_saelens(model, tmp_path, dtype=dtype))
    assert type(read) is type(model)
    for attribute in ("components_", "intercept_", "encoder_", "encoder_bias_"):
        if hasattr(model, attribute):
            ours, theirs = getattr(model, attribute), getattr(read, attribute)
            assert theirs.dtype == dtype
            assert_array_equal(ours, theirs)
    codes = read.transform(UNIT)
    assert (codes != model.transform(UNIT)).nnz == 0
    assert_array_equal(read.inverse_transform(codes), model.inverse_transform(codes))


def test_files_have_what_saelens_asks_for(tmp_path):
    to_saelens(topk(UNIT), tmp_path, metadata={"model_name": "openphenom"})
    settings, arrays = read_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cfg.json",
        "sae_weights.safetensors",
    ]
    assert {name: array.shape for name, array in arrays.items()} == {
        "W_enc": (N_FEATURES, N_ATOMS),
        "b_enc": (N_ATOMS,),
        "W_dec": (N_ATOMS, N_FEATURES),
        "b_dec": (N_FEATURES,),
    }
    metadata = settings.pop("metadata")
    assert settings == {
        "architecture": "topk",
        "d_in": N_FEATURES,
        "d_sae": N_ATOMS,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "k": 4,
        "rescale_acts_by_decoder_norm": False,
    }
    assert metadata["sae_lens_version"].startswith("6.")
    assert metadata["model_name"] == "openphenom"
    assert metadata["skdict"]["estimator"] == "TopKSAE"


def test_matching_pursuit_has_no_encoder(tmp_path):
    settings, arrays = read_files(to_saelens(icfl(UNIT, atoms_per_step=1), tmp_path))
    assert settings["architecture"] == "matching_pursuit"
    assert set(arrays) == {"W_dec", "b_dec"}
    assert "k" not in settings and settings["max_iterations"] == 7
    assert settings["residual_threshold"] == 0 and settings["stop_on_duplicate_support"] is False


@pytest.mark.parametrize(
    ("parameters", "wanted", "architecture"),
    [
        ({"atoms_per_step": 1}, "auto", "matching_pursuit"),
        ({"n_nonzero_coefs": 1}, "auto", "matching_pursuit"),
        ({"atoms_per_step": 1}, "icfl", "icfl"),
        ({}, "auto", "icfl"),
        ({"atoms_per_step": 1, "selection": "absolute"}, "auto", "icfl"),
        ({"atoms_per_step": 1, "refit": True}, "auto", "icfl"),
        ({"atoms_per_step": 1, "normalize_components": False}, "auto", "icfl"),
    ],
)
def test_architecture(parameters, wanted, architecture, tmp_path):
    to_saelens(icfl(UNIT, **parameters), tmp_path, architecture=wanted)
    assert read_files(tmp_path)[0]["architecture"] == architecture


def after(*steps, data=X, parameters=None):
    """Pipeline of these steps and an autoencoder of what they give."""
    seen = data
    for step in steps:
        seen = step.transform(seen)
    return make_pipeline(*steps, topk(seen)), data


def after_constant_feature():
    """A whitener with a feature that does not vary among controls: no way back along it."""
    data = X.copy()
    data[:, 3] = 2.0
    return after(whitener(data, method="pca-cor", epsilon=0.1), data=data)


CHAINS = {
    "unit norm": lambda: after(Normalizer().fit(X)),
    "centred": lambda: after(whitener(X, method="center")),
    "whitening": lambda: after(whitener(X, epsilon=0.01)),
    "five directions": lambda: after(whitener(X, n_components=5)),
    "rotated back": lambda: after(whitener(X, method="zca-cor", n_components=6)),
    "constant feature": after_constant_feature,
    "unit norm, whitening": lambda: after(Normalizer().fit(X), whitener(UNIT)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_formulas_of_saelens_give_our_codes(name, tmp_path):
    model, data = CHAINS[name]()
    to_saelens(model, tmp_path, dtype="float64")
    data = data.astype(np.float64)
    codes, back = saelens_forward(tmp_path, data)
    assert_allclose(codes, model.transform(data).toarray(), atol=1e-5)
    assert (codes > 0).any()
    if "unit norm" not in name:
        assert_allclose(back, model.inverse_transform(codes), atol=1e-5)
    elif name == "unit norm":
        lengths = np.linalg.norm(data, axis=1, keepdims=True)
        assert_allclose(back, model[-1].inverse_transform(codes) * lengths, atol=1e-5)
    read = from_saelens(tmp_path)
    assert_allclose(read.transform(data).toarray(), codes, atol=1e-10)
    assert hasattr(read, "steps") == ("unit norm" in name)


def test_formulas_of_matching_pursuit_give_our_codes(tmp_path):
    data = UNIT.astype(np.float64)
    model = icfl(data, atoms_per_step=1)
    codes, back = saelens_forward(to_saelens(model, tmp_path, dtype="float64"), data)
    assert_allclose(codes, model.transform(data).toarray(), atol=1e-10)
    assert_allclose(back, model.inverse_transform(codes), atol=1e-10)


def test_unit_norm_before_pursuit_scales_the_atoms(tmp_path):
    """SAELens's matching pursuit wants unit atoms for rows of length sqrt(d): not these."""
    model, data = make_pipeline(Normalizer().fit(X), icfl(UNIT, atoms_per_step=1)), X
    settings, arrays = read_files(to_saelens(model, tmp_path, dtype="float64"))
    assert settings["architecture"] == "icfl"
    lengths = np.linalg.norm(arrays["W_dec"], axis=1)
    assert_allclose(lengths, np.sqrt(N_FEATURES), rtol=1e-6)
    read = from_saelens(tmp_path)
    assert_allclose(read.transform(data).toarray(), model.transform(data).toarray(), atol=1e-5)


def test_whitener_beside(tmp_path):
    white = whitener(X, n_components=9)
    model = make_pipeline(white, Normalizer(), icfl(Normalizer().fit_transform(white.transform(X))))
    to_saelens(model, tmp_path, whitening="sidecar")
    assert json.loads((tmp_path / "activation_scaler.json").read_text()) == {
        "scaling_factor": None,
        "has_whitening": True,
    }
    arrays = load_file(tmp_path / "activation_whitening.safetensors")
    assert {name: array.shape for name, array in arrays.items()} == {
        "mean": (N_FEATURES,),
        "matrix": (N_FEATURES, 9),
        "inverse_matrix": (9, N_FEATURES),
    }
    assert_allclose((X - arrays["mean"]) @ arrays["matrix"], white.transform(X), atol=1e-5)
    settings, _ = read_files(tmp_path)
    assert settings["d_in"] == 9
    assert "whiten before encode" in settings["metadata"]["preprocessing"]
    read = from_saelens(tmp_path)
    assert [type(step).__name__ for _, step in read.steps] == [
        "ControlPCAWhitener",
        "Normalizer",
        "ICFLDictionary",
    ]
    assert_allclose(read.transform(X).toarray(), model.transform(X).toarray(), atol=1e-5)
    assert_array_equal(read[0].transform(X), white.transform(X))
    assert_array_equal(read[0].inverse_transform(X[:, :9]), white.inverse_transform(X[:, :9]))


def test_whitener_of_a_model_before_is_not_taken(tmp_path):
    white = whitener(X)
    to_saelens(make_pipeline(white, icfl(white.transform(X))), tmp_path, whitening="sidecar")
    read = from_saelens(to_saelens(topk(UNIT), tmp_path))
    assert isinstance(read, TopKSAE)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"cfg.json", "sae_weights.safetensors"}  # SAELens would find it there


@pytest.mark.parametrize("content", ['{"hidden_size": 768}', "[]", "no JSON"])
def test_settings_of_something_else_are_not_overwritten(content, tmp_path):
    (tmp_path / "cfg.json").write_text(content)
    with pytest.raises(FileExistsError, match="belongs to something else"):
        to_saelens(topk(UNIT), tmp_path)
    assert (tmp_path / "cfg.json").read_text() == content


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lambda: TopKSAE(), {}, NotFittedError, "fitted"),
        (lambda: make_pipeline(whitener(X), TopKSAE()), {}, NotFittedError, "fitted"),
        (lambda: StandardScaler().fit(X), {}, TypeError, "TopKSAE, an ICFLDictionary"),
        (lambda: make_pipeline("passthrough"), {}, TypeError, "got NoneType"),
        (lambda: make_pipeline(StandardScaler(), topk(X)), {}, TypeError, "StandardScaler"),
        (lambda: make_pipeline(Normalizer("l1"), topk(X)), {}, TypeError, "l2"),
        (
            lambda: make_pipeline(whitener(X), Normalizer(), topk(X)),
            {},
            ValueError,
            "whitening='sidecar'",
        ),
        (lambda: make_pipeline(whitener(X), icfl(X)), {}, ValueError, "folded into pursuit"),
        (lambda: topk(X), {"whitening": "sidecar"}, ValueError, "begins with a ControlPCAWhitener"),
        (lambda: topk(X), {"whitening": "none"}, ValueError, "whitening must be one of"),
        (lambda: topk(X), {"architecture": "icfl"}, ValueError, "must be 'topk', got 'icfl'"),
        (lambda: topk(X), {"architecture": "gated"}, ValueError, "architecture must be one of"),
        (lambda: icfl(X), {"architecture": "topk"}, ValueError, "replace pursuit"),
        (lambda: icfl(X), {"architecture": "matching_pursuit"}, ValueError, "atoms_per_step=5"),
        (lambda: topk(X), {"dtype": "float16"}, ValueError, "'float32' or 'float64'"),
        (lambda: topk(X), {"metadata": {"skdict": 1}}, ValueError, "must not set skdict"),
        (lambda: topk(X), {"metadata": {"a": {1, 2}}}, ValueError, "what JSON can hold"),
        (lambda: topk(X), {"metadata": {"a": float("nan")}}, ValueError, "what JSON can hold"),
    ],
)
def test_what_cannot_be_written(make, options, error, message, tmp_path):
    model = make()
    with pytest.raises(error, match=message):
        to_saelens(model, tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_weights_beyond_float32(tmp_path):
    model = topk(UNIT.astype(np.float64))
    model.intercept_ = model.intercept_ + 1e300
    with pytest.raises(ValueError, match="b_dec would hold NaN or infinity in float32"):
        to_saelens(model, tmp_path)


def test_matching_pursuit_that_may_stop_warns(tmp_path):
    one_sided = np.abs(icfl(UNIT, atoms_per_step=1).components_)
    model = icfl(UNIT, atoms_per_step=1, init=one_sided, max_steps=0)
    with pytest.warns(UserWarning, match="architecture='icfl' is exact"):
        to_saelens(model, tmp_path, dtype="float64")
    codes, _ = saelens_forward(tmp_path, UNIT)
    assert np.abs(codes - model.transform(UNIT).toarray()).max() > 1e-3  # the warning is right


def test_positively_spanning():
    simplex = np.vstack([np.eye(4), -np.ones((1, 4)) / 2])
    assert positively_spanning(simplex)
    assert not positively_spanning(np.eye(4))  # -(1, 1, 1, 1) has no positive product
    assert not positively_spanning(np.vstack([simplex, simplex]) * [1, 1, 1, 0])  # not all of space
    rng = np.random.default_rng(0)
    atoms = rng.standard_normal((60, 8))
    assert positively_spanning(atoms)
    assert ((rng.standard_normal((1000, 8)) @ atoms.T).max(axis=1) > 0).all()


def test_half_written_folder_holds_no_model(tmp_path, monkeypatch):
    to_saelens(topk(UNIT), tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("skdict.interop._saelens_write.write_settings", full)
    with pytest.raises(OSError, match="No space"):
        to_saelens(icfl(UNIT), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"cfg\.json"):
        from_saelens(tmp_path)
