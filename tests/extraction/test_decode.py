"""Tokens of any layer back into images."""

import copy

import numpy as np
import pytest

from skdict.extraction import TokenLayout, collect_tokens, decode_tokens
from tests.extraction.models import images, plain_transformer, torch


class LinearAutoencoder(torch.nn.Module):
    """Patches to tokens by an orthogonal map, and back by its inverse."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encode = torch.nn.Conv2d(6, 384, 8, 8, bias=False)
        weight = torch.linalg.qr(torch.randn(384, 384))[0].reshape(384, 6, 8, 8)
        self.encode.weight = torch.nn.Parameter(weight)

    def tokens(self, images):
        return self.encode(images).permute(0, 2, 3, 1)

    def forward(self, tokens):
        moved = tokens.permute(0, 3, 1, 2)
        return torch.nn.functional.conv_transpose2d(moved, self.encode.weight, stride=8)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_linear_autoencoder_decodes_exactly(batch_size):
    model, some = LinearAutoencoder().eval(), images(5)
    tokens = model.tokens(some).detach().numpy()
    found = decode_tokens(model, tokens, batch_size=batch_size)
    assert found.dtype == np.float32 and found.shape == (5, 6, 32, 32)
    np.testing.assert_allclose(found, some.numpy(), atol=1e-5)


def test_types_of_tokens_and_several_layers():
    model, some = LinearAutoencoder().eval(), images(2)
    tokens = model.tokens(some).detach().numpy()
    exact = decode_tokens(model, tokens)
    half = decode_tokens(model, {"half": tokens.astype(np.float16), "zero": 0 * tokens})
    np.testing.assert_allclose(half["half"], exact, atol=5e-3)
    assert list(half) == ["half", "zero"] and not half["zero"].any()
    double = decode_tokens(copy.deepcopy(model).double(), tokens.tolist())
    np.testing.assert_allclose(double, exact, atol=1e-5)
    tensor = model.tokens(some)  # straight from the model, with its gradients
    np.testing.assert_allclose(decode_tokens(model, tensor), exact, atol=1e-6)
    brain = decode_tokens(model, tensor.bfloat16())  # NumPy has no such type
    np.testing.assert_allclose(brain, exact, atol=5e-2)


def test_any_function_decodes_with_class_tokens_where_there_are_any():
    seen = []

    def decoder(tokens, class_tokens=None):
        assert not torch.is_grad_enabled()
        seen.append((tokens.dtype, None if class_tokens is None else tuple(class_tokens.shape)))
        return tokens.numpy().transpose(0, 3, 1, 2)

    tokens = np.arange(24.0).reshape(2, 2, 2, 3)
    assert decode_tokens(decoder, tokens, device="cpu")[1, 2, 0, 1] == tokens[1, 0, 1, 2]
    decode_tokens(decoder, tokens, class_tokens=np.ones((2, 3)), batch_size=1)
    decode_tokens(decoder, {"a": tokens}, class_tokens={"a": np.ones((2, 3))})
    assert seen == [(torch.float32, shape) for shape in (None, (1, 3), (1, 3), (2, 3))]


def test_collected_tokens_bring_their_class_tokens(tmp_path):
    model = plain_transformer()
    layout = TokenLayout((4, 4))
    found = collect_tokens(
        model,
        ["blocks.0", "blocks.2"],
        [images(3)],
        output=tmp_path,
        layout=layout,
        keep_prefix=True,
    )

    def decoder(tokens, class_tokens):
        return (tokens + class_tokens[:, None, None]).permute(0, 3, 1, 2)

    for name, decoded in decode_tokens(decoder, found, batch_size=2).items():
        wanted = found[name].grid() + found[name].prefix[:, :, None]
        np.testing.assert_array_equal(decoded, wanted.transpose(0, 3, 1, 2))
    alone = decode_tokens(decoder, found["blocks.0"])
    np.testing.assert_array_equal(alone, decode_tokens(decoder, found)["blocks.0"])


def test_errors_name_the_parameter():
    model, tokens = LinearAutoencoder().eval(), np.zeros((2, 4, 4, 384), np.float32)
    with pytest.raises(TypeError, match="decoder must be callable, got 3"):
        decode_tokens(3, tokens)
    with pytest.raises(ValueError, match="model must be in eval mode"):
        decode_tokens(LinearAutoencoder().train(), tokens)
    with pytest.raises(ValueError, match=r"tokens must have shape .*got \(4, 4, 384\)"):
        decode_tokens(model, tokens[0])
    with pytest.raises(ValueError, match=r"not be empty, got \(0, 4, 4, 384\)"):
        decode_tokens(model, tokens[:0])
    with pytest.raises(ValueError, match="tokens must hold finite floats, got NaN or infinity"):
        decode_tokens(model, tokens + np.nan)
    with pytest.raises(ValueError, match="tokens must hold finite floats, got dtype int64"):
        decode_tokens(model, tokens.astype(int))
    with pytest.raises(ValueError, match=r"class_tokens must have shape \(2, 384\), got \(384,\)"):
        decode_tokens(model, tokens, class_tokens=np.zeros(384))
    with pytest.raises(ValueError, match="class_tokens must be a dict with the names of tokens"):
        decode_tokens(model, {"a": tokens}, class_tokens=np.zeros((2, 384)))
    with pytest.raises(ValueError, match="batch_size must be an integer >= 1, got 0"):
        decode_tokens(model, tokens, batch_size=0)
    with pytest.raises(ValueError, match=r"must return images .*for each of 2 .*got shape \(2, 4"):
        decode_tokens(lambda tokens: tokens[..., 0], tokens)
