"""Models of transformers: their own hidden states are the oracle."""

import numpy as np
import pytest

from skdict.extraction import TokenLayout, collect_tokens, layer_name, list_layers
from tests.extraction.models import images, torch

transformers = pytest.importorskip("transformers")

LAYOUT = TokenLayout.from_image(256, patch_size=8)
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 256,
    "patch_size": 8,
    "num_channels": 6,
}
DECODER = {
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
}


def make(name, **options):
    torch.manual_seed(0)
    config = transformers.ViTConfig if name == "ViTModel" else transformers.ViTMAEConfig
    options = SIZES | options | ({} if name == "ViTModel" else DECODER)
    return getattr(transformers, name)(config(**options)).eval()


@torch.no_grad()
def hidden_states(model, batch):
    """Hidden states after each block as the model itself reports them, in order of the patches."""
    if isinstance(model, transformers.ViTModel):
        return model(batch, output_hidden_states=True).hidden_states[1:]
    ratio, model.config.mask_ratio = model.config.mask_ratio, 0.0
    order = torch.arange(LAYOUT.n_patch_tokens).expand(len(batch), -1)
    states = model(batch, noise=order, output_hidden_states=True).hidden_states[1:]
    model.config.mask_ratio = ratio
    return states


@pytest.mark.parametrize("name", ["ViTModel", "ViTMAEModel", "ViTMAEForPreTraining"])
def test_residual_stream_of_all_layers(tmp_path, name):
    model, batch = make(name), images(2, size=256)
    names = [layer_name(model, index) for index in range(3)]
    wanted = hidden_states(model, batch)
    found = collect_tokens(model, names, [batch], output=tmp_path, layout=LAYOUT, keep_prefix=True)
    for layer, states in zip(names, wanted):
        tokens = found[layer].data.reshape(2, 1024, 16)
        np.testing.assert_allclose(tokens, states[:, 1:].numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found[layer].prefix, states[:, :1].numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ViTModel", "ViTMAEForPreTraining"])
def test_attention_output_after_its_projection(tmp_path, name):
    model, batch = make(name), images(1, size=256)
    layer = layer_name(model, -1, "attention")
    block = model.get_submodule(layer_name(model, -1))
    projection = model.get_submodule(layer).o_proj
    with torch.no_grad():
        normed = block.layernorm_before(hidden_states(model, batch)[-2])
        projected = []
        handle = projection.register_forward_hook(lambda *call: projected.append(call[-1]))
        model.get_submodule(layer)(normed)
        handle.remove()
    tokens = collect_tokens(model, layer, [batch], output=tmp_path / "a.npy", layout=LAYOUT)
    np.testing.assert_allclose(
        tokens.data.reshape(1, 1024, 16), projected[0][:, 1:].numpy(), rtol=1e-4, atol=1e-5
    )


def test_a_masked_autoencoder_is_left_as_it_was(tmp_path):
    model, batch = make("ViTMAEForPreTraining"), images(2, size=256)
    config, state = model.config.to_dict(), torch.random.get_rng_state()

    def masked():
        torch.manual_seed(3)
        return model(batch).mask

    before = masked()
    torch.random.set_rng_state(state)
    collect_tokens(model, layer_name(model, 0), [batch], output=tmp_path / "a.npy", layout=LAYOUT)
    assert model.config.to_dict() == config
    torch.testing.assert_close(torch.random.get_rng_state(), state)
    assert torch.equal(masked(), before) and before.mean() == 0.75
    with pytest.raises(ValueError, match="does not fit the layout"):
        collect_tokens(
            model,
            layer_name(model, 0),
            [batch],
            output=tmp_path / "b.npy",
            layout=TokenLayout((4, 4)),
        )
    assert torch.equal(masked(), before)
    assert not any("random_masking" in vars(module) for module in model.modules())


def test_larger_images_with_interpolated_positions(tmp_path):
    model = make("ViTMAEModel", image_size=64)
    batch = {"pixel_values": images(1, size=96).numpy(), "interpolate_pos_encoding": True}
    tokens = collect_tokens(
        model,
        layer_name(model, 0),
        [batch],
        output=tmp_path / "tokens.npy",
        layout=TokenLayout.from_image(96, patch_size=8),
    )
    assert tokens.grid().shape == (1, 12, 12, 16)


def test_a_processors_output_is_a_batch(tmp_path):
    model = make("ViTModel", image_size=64)
    batch = transformers.BatchFeature({"pixel_values": images(2, size=64)})
    layout = TokenLayout.from_image(64, patch_size=8)
    options = {"layout": layout, "pool": "mean"}
    found = collect_tokens(model, "layernorm", [batch], output=tmp_path / "a.npy", **options)
    with torch.no_grad():
        wanted = model(**batch).last_hidden_state[:, 1:].mean(1)
    np.testing.assert_allclose(found.data, wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_names():
    model = make("ViTMAEForPreTraining")
    assert layer_name(model, 2) == "vit.layers.2"
    assert layer_name(model, 2, "attention") == "vit.layers.2.attention"
    assert "decoder.decoder_layers.0" in list_layers(model, "decoder")
    with pytest.raises(ValueError, match=r"'vit.encoder.layer.2' is no layer.*closest are"):
        collect_tokens(model, "vit.encoder.layer.2", [], output="a.npy", layout=LAYOUT)


class OldLayer(torch.nn.Module):
    """A block as in transformers 4: the output is a tuple, the attention has two parts."""

    def __init__(self):
        super().__init__()
        self.attention = torch.nn.ModuleDict({"attention": torch.nn.Identity()})


def test_names_of_older_versions():
    model = torch.nn.ModuleDict({"vit": torch.nn.ModuleDict({"encoder": torch.nn.ModuleDict()})})
    model["vit"]["encoder"]["layer"] = torch.nn.ModuleList([OldLayer(), OldLayer()])
    assert layer_name(model, -1) == "vit.encoder.layer.1"
    assert layer_name(model, -1, "attention") == "vit.encoder.layer.1.attention"
