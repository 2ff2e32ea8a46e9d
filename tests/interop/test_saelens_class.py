"""The class for SAELens on a stand-in of its base class; `interop_real` has the real one."""

import sys
import types
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skdict.interop import register_saelens
from tests.interop.models import N_ATOMS, N_FEATURES, icfl, rows

torch = pytest.importorskip("torch")

X = rows()


@dataclass
class Config:
    d_in: int
    d_sae: int
    dtype: str = "float32"
    apply_b_dec_to_input: bool = True


class Base(torch.nn.Module):
    """What SAELens's base class does with weights, inputs and hooks."""

    def __init__(self, cfg):
        super().__init__()
        self.cfg, self.d_head = cfg, None
        dtype = getattr(torch, cfg.dtype)
        self.W_dec = torch.nn.Parameter(torch.zeros(cfg.d_sae, cfg.d_in, dtype=dtype))
        self.b_dec = torch.nn.Parameter(torch.zeros(cfg.d_in, dtype=dtype))
        self.W_enc = torch.nn.Parameter(self.W_dec.T.clone())
        self.hook_sae_acts_post = self.hook_sae_recons = torch.nn.Identity()
        self.run_time_activation_norm_fn_out = lambda x: x
        self.reshape_fn_out = lambda x, _: x

    def process_sae_in(self, x):
        return x.to(self.W_dec.dtype) - self.b_dec * self.cfg.apply_b_dec_to_input


@pytest.fixture
def registered(monkeypatch):
    """Classes that the stand-in of SAELens knows after `register_saelens`."""
    package, registry = types.ModuleType("sae_lens"), types.ModuleType("sae_lens.registry")
    registry.SAE_CLASS_REGISTRY = known = {}
    package.SAE, package.SAEConfig = Base, Config
    package.register_sae_class = lambda name, *classes: known.update({name: classes})
    package.registry = registry
    monkeypatch.setitem(sys.modules, "sae_lens", package)
    monkeypatch.setitem(sys.modules, "sae_lens.registry", registry)
    monkeypatch.delitem(sys.modules, "skdict.interop._saelens_class", raising=False)
    register_saelens()
    yield known
    sys.modules.pop("skdict.interop._saelens_class", None)


def make(known, model, dtype="float32", **others):
    """An object of the class with the weights of a dictionary."""
    kind, config = known["icfl"]
    settings = config(
        d_in=N_FEATURES, d_sae=N_ATOMS, dtype=dtype, n_nonzero_coefs=model._code_width(),
        atoms_per_step=model.atoms_per_step, selection=model.selection, refit=model.refit, **others,
    )  # fmt: skip
    made = kind(settings)
    assert set(made.state_dict()) == {"W_dec", "b_dec"}
    state = {
        "W_dec": torch.from_numpy(model.components_),
        "b_dec": torch.from_numpy(model.intercept_),
    }
    made.load_state_dict(state)
    return made


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"atoms_per_step": 1},
        {"selection": "absolute", "refit": True},
        {"normalize_components": False},
        {"transform_n_nonzero_coefs": 3},
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_codes_are_those_of_the_dictionary(parameters, dtype, registered):
    data = X.astype(dtype)
    model = icfl(data, **parameters)
    made = make(registered, model, dtype)
    codes = made.encode(torch.from_numpy(data))
    assert not codes.requires_grad
    tolerance = 1e-4 if dtype == "float32" else 1e-10
    assert_allclose(codes, model.transform(data).toarray(), atol=tolerance)
    back = made.decode(codes)
    assert back.requires_grad
    assert_allclose(back.detach(), model.inverse_transform(codes.numpy()), atol=tolerance)


def test_without_subtraction_nothing_is_added(registered, tmp_path):
    # as in SAELens's matching pursuit; from_saelens reads it that way too
    model = icfl(X)
    made = make(registered, model, apply_b_dec_to_input=False)
    centred = icfl(X)
    centred.intercept_ = np.zeros_like(model.intercept_)
    codes = made.encode(torch.from_numpy(X))
    assert_allclose(codes, centred.transform(X).toarray(), atol=1e-4)
    assert_allclose(
        made.decode(codes).detach(), centred.inverse_transform(codes.numpy()), atol=1e-4
    )
    assert np.abs(model.intercept_).max() > 1e-3


def test_leading_dimensions_and_no_rows(registered):
    made = make(registered, icfl(X))
    rows_of_two = torch.from_numpy(X[:20].reshape(2, 10, N_FEATURES))
    codes = made.encode(rows_of_two)
    assert codes.shape == (2, 10, N_ATOMS)
    assert torch.equal(codes.reshape(20, -1), made.encode(torch.from_numpy(X[:20])))
    assert made.encode(torch.zeros(0, N_FEATURES)).shape == (0, N_ATOMS)


def test_zero_atoms_are_never_chosen(registered):
    model = icfl(X)
    model.components_[::3] = 0
    codes = make(registered, model).encode(torch.from_numpy(X))
    assert (codes[:, ::3] == 0).all() and (codes != 0).any()
    assert_allclose(codes, model.transform(X).toarray(), atol=1e-4)
    model.components_[:] = 0
    assert (make(registered, model).encode(torch.from_numpy(X)) == 0).all()


def test_half_precision_is_coded_in_float32(registered):
    made = make(registered, icfl(X)).to(torch.bfloat16)
    codes = made.encode(torch.from_numpy(X))
    assert codes.dtype == torch.bfloat16 and torch.isfinite(codes).all()


def test_what_cannot_be_folded(registered):
    made = make(registered, icfl(X))
    with pytest.raises(NotImplementedError, match="lengths of the atoms"):
        made.fold_W_dec_norm()
    with pytest.raises(NotImplementedError, match="whitening"):
        made.fold_activation_whitening(*np.zeros(3))


def test_registered_once(registered):
    kind = registered["icfl"]
    register_saelens()
    assert registered["icfl"] is kind
    registered["icfl"] = (Base, Config)
    with pytest.raises(ValueError, match="is taken in SAELens"):
        register_saelens()
