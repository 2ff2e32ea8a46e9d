"""ICFL within SAELens itself (``make test-interop``)."""

import os
from importlib.util import find_spec

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skdict.interop import from_saelens, register_saelens, to_saelens
from tests.interop.models import N_ATOMS, N_FEATURES, icfl, rows, topk

pytestmark = [
    pytest.mark.skipif(
        "SKDICT_TEST_INTEROP" not in os.environ and not find_spec("sae_lens"),
        reason="sae-lens is installed by make test-interop",
    ),
    pytest.mark.filterwarnings("default"),  # 2026-11-29: those of SAELens and what it imports
]

X = rows()


@pytest.fixture
def sae(tmp_path):
    """An ICFL dictionary, loaded by SAELens."""
    import sae_lens

    register_saelens()
    register_saelens()  # a second time changes nothing
    to_saelens(icfl(X), tmp_path / "model")
    return sae_lens.SAE.load_from_disk(tmp_path / "model")


def test_forward_and_shapes(sae):
    import torch

    model = icfl(X)
    tokens = torch.from_numpy(X.reshape(4, 20, N_FEATURES))
    codes = sae.encode(tokens)
    assert codes.shape == (4, 20, N_ATOMS)
    flat = codes.reshape(80, N_ATOMS).numpy()
    assert_allclose(flat, model.transform(X).toarray(), atol=1e-4)
    back = sae(tokens)
    assert_allclose(
        back.detach().reshape(80, -1), model.inverse_transform(model.transform(X)), atol=1e-4
    )
    back.square().sum().backward()
    assert sae.W_dec.grad.abs().sum() > 0


def test_hooks_see_the_codes(sae):
    import torch

    seen = []
    sae.hook_sae_acts_post.add_hook(lambda codes, hook: seen.append(codes))
    codes = sae.encode(torch.from_numpy(X))
    assert torch.equal(seen[0], codes)


def test_saved_by_saelens_and_read_here(sae, tmp_path):
    sae.save_model(tmp_path / "again")
    read = from_saelens(tmp_path / "again")
    model = icfl(X)
    assert_array_equal(read.components_, model.components_)
    assert read.atoms_per_step == model.atoms_per_step
    assert (read.transform(X) != model.transform(X)).nnz == 0


def test_moved_to_another_type(sae):
    import torch

    wide = sae.to(dtype=torch.float64)
    codes = wide.encode(torch.from_numpy(X.astype(np.float64)))
    model = icfl(X)
    assert_allclose(codes, model.transform(X.astype(np.float64)).toarray(), atol=1e-9)


def test_what_saelens_cannot_fold(sae):
    with pytest.raises(NotImplementedError):
        sae.fold_W_dec_norm()


def test_settings_are_all_known(tmp_path):
    """SAELens drops settings that it does not know without a word: none of ours may be."""
    import sae_lens

    for model in (topk(X), icfl(X, atoms_per_step=1)):
        to_saelens(model, tmp_path)
        sae = sae_lens.SAE.load_from_disk(tmp_path)
        theirs = sae.cfg.to_dict()
        import json

        ours = json.loads((tmp_path / "cfg.json").read_text())
        assert ours.keys() == theirs.keys()
        assert {name: theirs[name] for name in ours if name != "metadata"} == {
            name: value for name, value in ours.items() if name != "metadata"
        }
        assert theirs["metadata"]["skdict"] == ours["metadata"]["skdict"]
