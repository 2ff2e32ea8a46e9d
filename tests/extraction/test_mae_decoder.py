"""The decoder of a Hugging Face masked autoencoder on tokens of any layer."""

import copy

import numpy as np
import pytest

from skdict.extraction import (
    TokenLayout,
    collect_tokens,
    decode_tokens,
    layer_name,
    mae_decoder,
)
from tests.extraction.models import images, torch

transformers = pytest.importorskip("transformers")


def autoencoder(**options):
    torch.manual_seed(0)
    config = transformers.ViTMAEConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=256,
        patch_size=8,
        num_channels=6,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
        initializer_range=0.5,
        **options,
    )
    return transformers.ViTMAEForPreTraining(config).eval()


@torch.no_grad()
def own_images(model, batch, n_layers):
    """What the model itself makes of images when only its first layers are left."""
    model = copy.deepcopy(model)
    model.vit.layers = model.vit.layers[:n_layers]
    model.config.mask_ratio = 0.0
    order = torch.arange(1024).expand(len(batch), -1)
    return model.unpatchify(model(batch, noise=order).logits).numpy()


def test_decoding_a_layer_is_what_the_model_does_when_it_ends_there(tmp_path):
    model, batch = autoencoder(), images(2, size=256)
    names = [layer_name(model, index) for index in range(3)]
    tokens = collect_tokens(
        model,
        names,
        [batch],
        output=tmp_path,
        layout=TokenLayout.from_image(256, patch_size=8),
        keep_prefix=True,
    )
    found = decode_tokens(mae_decoder(model), tokens, batch_size=1)
    for number, name in enumerate(names):
        wanted = own_images(model, batch, number + 1)
        np.testing.assert_allclose(found[name], wanted, rtol=1e-3, atol=1e-4)
    assert np.abs(found[names[0]] - found[names[2]]).max() > 0.1
    # without the class token of the layer the one of the input stands in: near, and not the same
    without = decode_tokens(mae_decoder(model), tokens[names[2]].grid())
    assert 1e-4 < np.abs(without - found[names[2]]).max()


def test_the_class_token_that_stands_in_is_that_of_the_input():
    model = autoencoder()
    decoder = mae_decoder(model)
    tokens = np.random.default_rng(0).normal(size=(2, 32, 32, 16)).astype(np.float32)
    embeddings = model.vit.embeddings
    first = (embeddings.cls_token + embeddings.position_embeddings[:, :1]).detach()[0]
    given = decode_tokens(decoder, tokens, class_tokens=np.repeat(first.numpy(), 2, axis=0))
    np.testing.assert_array_equal(decode_tokens(decoder, tokens), given)


def test_what_mae_decoder_refuses_and_notes():
    assert mae_decoder(autoencoder(norm_pix_loss=True)).normalized_pixels
    decoder = mae_decoder(autoencoder())
    assert not decoder.normalized_pixels
    with pytest.raises(ValueError, match=r"token grid does not match.*32, 32.*\(1, 16, 16, 16\)"):
        decode_tokens(decoder, np.zeros((1, 16, 16, 16)))
    decoder.model.train()
    with pytest.raises(ValueError, match="model must be in eval mode"):
        decode_tokens(decoder, np.zeros((1, 32, 32, 16)))
    with pytest.raises(ValueError, match="model must be in eval mode"):
        mae_decoder(autoencoder().train())
    with pytest.raises(TypeError, match=r"ViTMAEForPreTraining of.*got ViTMAEModel.*no 'vit'"):
        mae_decoder(autoencoder().vit)
