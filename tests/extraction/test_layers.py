"""Names of layers, and forward passes that hand out what they compute."""

import subprocess
import sys

import pytest

from skdict.extraction import layer_name, list_layers
from skdict.extraction._forward import run_layers, tokens_of
from skdict.extraction._layers import find_layers
from tests.extraction.models import images, plain_transformer, torch


def run(model, names, inputs, **options):
    layers = find_layers(model, names)
    return run_layers(model, layers, inputs, lambda name, tokens: tokens.clone(), **options)


def n_hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def test_importing_loads_no_torch():
    code = "import sys, skdict.extraction; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_names_of_a_plain_transformer():
    model = plain_transformer(n_blocks=3)
    assert layer_name(model, 0) == "blocks.0"
    assert layer_name(model, -1) == layer_name(model, 2) == "blocks.2"
    assert layer_name(model, 1, "attention") == "blocks.1.attn"
    assert list_layers(model, "blocks.1.attn") == {
        "blocks.1.attn": "Attention",
        "blocks.1.attn.qkv": "Linear",
        "blocks.1.attn.proj": "Linear",
    }
    assert list(list_layers(model)) == [name for name, _ in model.named_modules() if name]


def test_names_below_a_wrapper_and_beside_a_decoder():
    model = torch.nn.ModuleDict(
        {"encoder": plain_transformer(n_blocks=2), "decoder": plain_transformer(n_blocks=5)}
    )
    assert layer_name(model, -1, "attention") == "encoder.blocks.1.attn"


def test_names_that_cannot_be_found():
    model = plain_transformer(n_blocks=3)
    with pytest.raises(ValueError, match=r"index must be in \[-3, 2\]: the model has 3 blocks"):
        layer_name(model, 3)
    with pytest.raises(ValueError, match="index must be an integer >= -3"):
        layer_name(model, -4)
    with pytest.raises(ValueError, match="source must be one of 'residual', 'attention'"):
        layer_name(model, 0, "mlp")
    with pytest.raises(ValueError, match=r"Linear has no blocks.*list_layers\(model\)"):
        layer_name(torch.nn.Linear(2, 2), 0)
    twins = torch.nn.ModuleDict({"left": plain_transformer(), "right": plain_transformer()})
    with pytest.raises(ValueError, match="several lists of blocks: 'left.blocks', 'right.blocks'"):
        layer_name(twins, 0)
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got list"):
        layer_name([], 0)
    with pytest.raises(ValueError, match="'block.1' is no layer.*closest are 'blocks.1'"):
        find_layers(model, ["block.1"])
    with pytest.raises(ValueError, match="layer '' is no layer"):
        find_layers(model, [""])
    with pytest.raises(TypeError, match="layer must be a name or a list of names, got 3"):
        find_layers(model, [3])


def test_layers_are_handed_out_before_later_ones_change_them_in_place():
    model, batch = plain_transformer(), images(2)
    residual, attention = model.streams(batch)
    names = ["blocks.0", "blocks.0.attn", "blocks.2", "blocks.1.attn"]
    found = run(model, names, batch)
    assert list(found) == ["blocks.0.attn", "blocks.0", "blocks.1.attn", "blocks.2"]
    wanted = [residual[0], attention[0], residual[2], attention[1]]
    for name, tokens in zip(names, wanted):
        torch.testing.assert_close(found[name], tokens)


def test_nothing_after_the_last_layer_runs_and_the_model_is_left_as_it_was():
    model, batch = plain_transformer(), images(2)
    before = model(batch)
    ran = []
    for name, module in model.named_children():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    model.blocks[1].register_forward_hook(lambda *_: ran.append("blocks.1"))
    model.blocks[2].register_forward_hook(lambda *_: ran.append("blocks.2"))
    hooks = n_hooks(model)
    run(model, ["blocks.1"], batch)
    assert ran == ["patch_embed", "blocks.1"]
    assert n_hooks(model) == hooks
    torch.testing.assert_close(model(batch), before)
    assert ran[-2:] == ["blocks.2", "norm"]


def test_no_early_end_where_a_module_must_clean_up_after_itself():
    model, batch = plain_transformer(), images(1)
    model.norm._hf_hook = object()  # as accelerate marks modules whose weights it moves
    ran = []
    model.norm.register_forward_hook(lambda *_: ran.append("norm"))
    run(model, ["blocks.0"], batch)
    assert ran == ["norm"]


class Careless(torch.nn.Module):
    """Takes every Exception for one of its own."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        try:
            return self.inner(images)
        except Exception:
            raise AssertionError("the early end was taken for an error") from None


def test_a_model_that_catches_exceptions_does_not_catch_the_early_end():
    model, batch = plain_transformer(), images(1)
    found = run(Careless(model), ["inner.blocks.0"], batch)
    torch.testing.assert_close(found["inner.blocks.0"], model.streams(batch)[0][0])


class MaskedAutoencoderViT(torch.nn.Module):
    """Hides and shuffles patches as the authors of masked autoencoders do it in their code."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.end = inner, torch.nn.Identity().eval()

    def random_masking(self, x, mask_ratio):
        order = torch.rand(x.shape[:2]).argsort(dim=1)
        kept = order[:, : int(x.shape[1] * (1 - mask_ratio))]
        x = torch.gather(x, 1, kept[..., None].expand(-1, -1, x.shape[2]))
        return x, torch.ones(order.shape), order.argsort(dim=1)

    def forward(self, images, mask_ratio=0.75):
        x, mask, restore = self.random_masking(self.inner(images), mask_ratio)
        return self.end(x), mask, restore


def test_a_masked_autoencoder_of_the_authors_sees_all_patches_in_order():
    model, batch = MaskedAutoencoderViT(plain_transformer()).eval(), images(2)
    found = run(model, ["end"], batch)["end"]
    torch.testing.assert_close(found, model.inner(batch).detach())
    assert model(batch)[0].shape[1] == 4  # masked again


def test_hooks_are_removed_after_errors():
    model = plain_transformer()

    def fail(name, tokens):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_layers(model, find_layers(model, ["blocks.0"]), images(1), fail)
    with pytest.raises(RuntimeError, match="channels"):
        run(model, ["blocks.0"], images(1, n_channels=3))
    assert n_hooks(model) == 0


def test_layers_that_are_not_reached_or_run_twice():
    model = plain_transformer()
    model.unused = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="layer 'unused' was not reached"):
        run(model, ["blocks.0", "unused"], images(1))
    model.blocks[2] = model.blocks[0]
    with pytest.raises(ValueError, match="layer 'blocks.0' runs more than once"):
        run(model, ["blocks.0", "norm"], images(1))
    assert n_hooks(model) == 0


def test_forms_of_outputs():
    tokens = torch.zeros(1, 2, 3)
    for output in (tokens, (tokens, None), [tokens], {"a": tokens}, ((tokens,), 1)):
        assert tokens_of(output, "block") is tokens
    assert tokens_of({"loss": torch.zeros(()), "last_hidden_state": tokens}, "block") is tokens
    for output, kind in ((None, "NoneType"), ((), "tuple"), ({"a": 3}, "dict")):
        with pytest.raises(TypeError, match=f"layer 'block' must give a tensor.*got {kind}"):
            tokens_of(output, "block")


def test_named_arguments_and_another_way_to_run_a_model():
    model, batch = plain_transformer(), images(2)
    wanted = model.streams(batch)[0][0]
    torch.testing.assert_close(run(model, ["blocks.0"], {"images": batch})["blocks.0"], wanted)
    found = run(
        model, ["blocks.0"], batch, forward=lambda model, x: model.blocks[0](model.embed(x))
    )
    torch.testing.assert_close(found["blocks.0"], wanted)


def test_torchs_own_encoder_does_not_take_its_path_around_the_attention():
    layer = torch.nn.TransformerEncoderLayer(16, 2, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    tokens = torch.rand(2, 5, 16)
    found = run(model, [layer_name(model, 0, "attention")], tokens)["layers.0.self_attn"]
    first = model.layers[0]
    torch.testing.assert_close(found, first.self_attn(tokens, tokens, tokens)[0])
