"""Vision transformers of timm and torchvision, where these are installed."""

import numpy as np
import pytest

from skdict.extraction import TokenLayout, collect_tokens, layer_name
from tests.extraction.models import images, torch

timm = pytest.importorskip("timm")


@pytest.mark.parametrize("n_registers", [0, 4])
def test_residual_stream_and_attention(tmp_path, n_registers):
    torch.manual_seed(0)
    model = timm.models.VisionTransformer(
        img_size=256,
        patch_size=8,
        in_chans=6,
        embed_dim=32,
        depth=3,
        num_heads=2,
        num_classes=0,
        reg_tokens=n_registers,
    ).eval()
    batch = images(2, size=256)
    layout = TokenLayout(model.patch_embed.grid_size, n_prefix_tokens=model.num_prefix_tokens)
    names = [layer_name(model, index) for index in range(3)]
    assert names == ["blocks.0", "blocks.1", "blocks.2"]
    attention = layer_name(model, 0, "attention")
    with torch.no_grad():
        wanted = model.forward_intermediates(batch, norm=False, intermediates_only=True)
        seen = []
        handle = model.blocks[0].ls1.register_forward_hook(lambda m, i, o: seen.append(i[0]))
        model(batch)
        handle.remove()
    found = collect_tokens(
        model, [*names, attention], [batch], output=tmp_path, layout=layout, keep_prefix=True
    )
    for name, tokens in zip(names, wanted):
        # (n_images, n_features, n_rows, n_columns)
        np.testing.assert_allclose(
            found[name].grid(), tokens.permute(0, 2, 3, 1).numpy(), rtol=1e-4, atol=1e-5
        )
        assert found[name].prefix.shape == (2, 1 + n_registers, 32)
    np.testing.assert_allclose(
        found[attention].data.reshape(2, 1024, 32),
        seen[0][:, 1 + n_registers :].numpy(),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_model_by_name(tmp_path):
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, in_chans=6).eval()
    tokens = collect_tokens(
        model,
        layer_name(model, -1),
        [images(1, size=64)],
        output=tmp_path / "tokens.npy",
        layout=TokenLayout(model.patch_embed.grid_size),
        pool="mean",
    )
    assert tokens.data.shape == (1, 192)


def test_a_model_of_torchvision(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(
        image_size=64, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16
    ).eval()
    names = [layer_name(model, -1), layer_name(model, 0, "attention")]
    assert names == [
        "encoder.layers.encoder_layer_1",
        "encoder.layers.encoder_layer_0.self_attention",
    ]
    batch = images(2, size=64, n_channels=3)
    found = collect_tokens(
        model, names, [batch], output=tmp_path, layout=TokenLayout((8, 8)), keep_prefix=True
    )
    last = torch.from_numpy(
        np.concatenate([found[names[0]].prefix, found[names[0]].grid().reshape(2, 64, 16)], axis=1)
    )
    with torch.no_grad():
        heads = model.heads(model.encoder.ln(last)[:, 0])
        torch.testing.assert_close(heads, model(batch))
