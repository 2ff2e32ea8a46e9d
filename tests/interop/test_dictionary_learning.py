"""TopK autoencoders as ``ae.pt`` and back, compared with the formulas of dictionary_learning."""

import json
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skdict import TopKSAE
from skdict.interop import from_dictionary_learning, to_dictionary_learning
from tests.interop.models import N_ATOMS, N_FEATURES, icfl, rows, topk, whitener

torch = pytest.importorskip("torch")

X = rows()


def forward(state, X):
    """Codes and reconstructions as AutoEncoderTopK computes them, in float64."""
    state = {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}
    codes = (X - state["b_dec"]) @ state["encoder.weight"].T + state["encoder.bias"]
    codes = np.maximum(codes, 0.0)
    dropped = np.argsort(-codes, axis=1)[:, int(state["k"]) :]
    np.put_along_axis(codes, dropped, 0.0, axis=1)
    return codes, codes @ state["decoder.weight"].T + state["b_dec"]


def random_state(dtype=torch.float32):
    """Weights as AutoEncoderTopK keeps them."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "encoder.weight": (N_ATOMS, N_FEATURES),
        "encoder.bias": (N_ATOMS,),
        "decoder.weight": (N_FEATURES, N_ATOMS),
        "b_dec": (N_FEATURES,),
    }
    state = {
        name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()
    }
    return {**state, "k": torch.tensor(4, dtype=torch.int32), "threshold": torch.tensor(-1.0)}


@pytest.mark.parametrize("init", ["tied", "linear"])
def test_round_trip_is_bitwise(init, tmp_path):
    model = topk(X, init=init)
    read = from_dictionary_learning(to_dictionary_learning(model, tmp_path))
    for attribute in ("components_", "encoder_", "encoder_bias_", "intercept_"):
        assert_array_equal(getattr(read, attribute), getattr(model, attribute))
    assert (read.transform(X) != model.transform(X)).nnz == 0
    assert read.n_nonzero_coefs == 4


def test_files(tmp_path):
    to_dictionary_learning(topk(X), tmp_path, lm_name="openphenom", layer=16)
    settings = json.loads((tmp_path / "config.json").read_text())
    wanted = {"dict_class", "k", "layer", "activation_dim", "dict_size", "lm_name"}
    assert wanted <= settings["trainer"].keys()
    assert settings["trainer"]["lm_name"] == "openphenom"
    assert settings["buffer"]["ctx_len"] == 1
    state = torch.load(tmp_path / "ae.pt", weights_only=True)
    assert state["decoder.weight"].shape == (N_FEATURES, N_ATOMS)
    assert state["decoder.weight"].is_contiguous()
    assert (state["k"].dtype, int(state["k"])) == (torch.int32, 4)
    assert float(state["threshold"]) == -1.0


@pytest.mark.parametrize("whitened", [False, True])
def test_formulas_give_our_codes(whitened, tmp_path):
    model = topk(X)
    if whitened:
        white = whitener(X, n_components=6)
        model = make_pipeline(white, topk(white.transform(X)))
    to_dictionary_learning(model, tmp_path)
    codes, back = forward(torch.load(tmp_path / "ae.pt", weights_only=True), X)
    assert_allclose(codes, model.transform(X).toarray(), atol=1e-4)
    assert_allclose(back, model.inverse_transform(codes), atol=1e-4)
    assert_allclose(from_dictionary_learning(tmp_path).transform(X).toarray(), codes, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_theirs_read_here(dtype, tmp_path):
    state = random_state(dtype)
    torch.save(state, tmp_path / "ae.pt")
    read = from_dictionary_learning(tmp_path / "ae.pt")
    assert read.components_.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    floats = {name: tensor.double() for name, tensor in state.items()}
    codes, back = forward(floats, X)
    assert_allclose(read.transform(X.astype(np.float64)).toarray(), codes, atol=1e-10)
    assert_allclose(read.inverse_transform(codes), back, atol=1e-10)


def test_settings_of_something_else_are_not_overwritten(tmp_path):
    (tmp_path / "config.json").write_text('{"hidden_size": 768}')
    with pytest.raises(FileExistsError, match="belongs to something else"):
        to_dictionary_learning(topk(X), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_where_k_comes_from(tmp_path):
    state = random_state()
    del state["k"]
    torch.save(state, tmp_path / "ae.pt")
    with pytest.raises(ValueError, match="say it with n_nonzero_coefs="):
        from_dictionary_learning(tmp_path)
    assert from_dictionary_learning(tmp_path, n_nonzero_coefs=3).n_nonzero_coefs == 3
    with pytest.raises(ValueError, match="number of atoms"):
        from_dictionary_learning(tmp_path, n_nonzero_coefs=N_ATOMS + 1)
    trainer = {"dict_class": "AutoEncoderTopK", "k": 5}
    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer}))
    assert from_dictionary_learning(tmp_path).n_nonzero_coefs == 5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: icfl(X), TypeError, "to_saelens"),
        (lambda: make_pipeline(Normalizer(), topk(X)), ValueError, "no unit norm"),
        (lambda: TopKSAE(), Exception, "fitted"),
    ],
)
def test_what_cannot_be_written(make, error, message, tmp_path):
    with pytest.raises(error, match=message):
        to_dictionary_learning(make(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b_dec": None}, "lacks b_dec"),
        ({"encoder.weight": None}, "two dimensions"),
        ({"extra": torch.ones(2)}, "has extra"),
        ({"decoder.weight": torch.ones(N_ATOMS, N_FEATURES)}, "must have shape"),
        ({"b_dec": torch.full((N_FEATURES,), torch.nan)}, "NaN"),
        ({"k": torch.tensor(0)}, "integer >= 1"),
        ({"k": torch.tensor(2.5)}, "integer >= 1"),
        ({"k": torch.ones(2)}, "integer >= 1"),
        ({"k": torch.tensor(N_ATOMS + 1)}, "number of atoms"),
        ({"b_dec": "text"}, "tensors by name, got str"),
        ({"b_dec": torch.ones(N_FEATURES, dtype=torch.complex64)}, "must be real"),
        ({"encoder.bias": torch.ones(1).expand(10**12)}, "as large as the file says"),
    ],
)
def test_what_cannot_be_read(change, message, tmp_path):
    state = {**random_state(), **change}
    state = {name: tensor for name, tensor in state.items() if tensor is not None}
    torch.save(state, tmp_path / "ae.pt")
    with pytest.raises(ValueError, match=message):
        from_dictionary_learning(tmp_path)


@pytest.mark.parametrize("kind", ["AutoEncoder", "BatchTopKSAE", "GatedAutoEncoder"])
def test_other_classes(kind, tmp_path):
    torch.save(random_state(), tmp_path / "ae.pt")
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": kind}}))
    with pytest.raises(ValueError, match=f"got '{kind}'"):
        from_dictionary_learning(tmp_path)


class Malicious:
    """An object whose loading would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "write", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))]
)
def test_nothing_is_executed(write, tmp_path):
    trace = tmp_path / "trace"
    write({**random_state(), "b_dec": Malicious(trace)}, tmp_path / "ae.pt")
    with pytest.raises(ValueError, match="are not executed here"):
        from_dictionary_learning(tmp_path)
    assert not trace.exists()


def test_missing_and_cut_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ae\.pt"):
        from_dictionary_learning(tmp_path)
    path = to_dictionary_learning(topk(X), tmp_path) / "ae.pt"
    content = path.read_bytes()
    for length in np.linspace(0, len(content) - 1, 20).astype(int):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="cannot be read as weights alone"):
            from_dictionary_learning(tmp_path)
