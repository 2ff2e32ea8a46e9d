"""The right tokens in their places, for all kinds of models and batches."""

import json

import numpy as np
import pytest

from skdict.extraction import TokenLayout, _progress, collect_tokens, layer_name
from tests.extraction.models import images, plain_transformer, torch

LAYOUT = TokenLayout((4, 4))


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # slow, and no power failure is tested
    return tmp_path / "tokens.npy"


def batches(n_batches=3, n_images=2):
    return [images(n_images, seed=seed) for seed in range(n_batches)]


def test_residual_stream_and_attention_on_images_as_in_the_paper(path, tmp_path):
    model, batch = plain_transformer(), images(2, size=256)
    residual, attention = model.streams(batch)
    layout = TokenLayout.from_image(256, patch_size=8)
    tokens = collect_tokens(model, layer_name(model, 1), [batch], output=path, layout=layout)
    assert tokens.data.shape == (2048, 16) and isinstance(tokens.data, np.memmap)
    assert tokens.grid().shape == (2, 32, 32, 16)
    np.testing.assert_allclose(
        tokens.data.reshape(2, 1024, 16), residual[1][:, 1:].numpy(), rtol=1e-5, atol=1e-6
    )
    found = collect_tokens(
        model,
        layer_name(model, 1, "attention"),
        [batch],
        output=tmp_path / "attention.npy",
        layout=layout,
    )
    np.testing.assert_allclose(
        found.data.reshape(2, 1024, 16), attention[1][:, 1:].numpy(), rtol=1e-5, atol=1e-6
    )


def test_a_planted_patch_is_found_in_its_place(path):
    # without attention a token depends on its patch alone
    model = plain_transformer(n_prefix_tokens=3)
    model.identity = torch.nn.Identity().eval()
    some = images(5)
    some[3, :, 8:16, 24:32] += 100.0
    tokens = collect_tokens(
        model,
        "identity",
        some.split(2),
        output=path,
        layout=TokenLayout((4, 4), n_prefix_tokens=3),
        forward=lambda model, batch: model.identity(model.embed(batch)),
    )
    row = np.abs(tokens.data).max(axis=1).argmax()
    place = tokens.locate(row)
    assert {name: int(value) for name, value in place.items()} == {
        "image": 3,
        "channel": 0,
        "row": 1,
        "column": 3,
    }
    assert (tokens.grid()[3, 1, 3] == tokens.data[row]).all()
    assert np.shares_memory(tokens.grid(), tokens.data)


def test_layers_in_one_pass_are_those_of_single_passes(path, tmp_path):
    model = plain_transformer()
    names = [layer_name(model, 2), layer_name(model, 0), layer_name(model, 1, "attention")]
    model.n_forward = 0
    together = collect_tokens(
        model, names, batches(), output=tmp_path / "layers", layout=LAYOUT, keep_prefix=True
    )
    assert model.n_forward == 3 and list(together) == names
    for number, name in enumerate(names):
        alone = collect_tokens(
            model,
            name,
            batches(),
            output=tmp_path / f"{number}.npy",
            layout=LAYOUT,
            keep_prefix=True,
        )
        assert together[name].path.read_bytes() == alone.path.read_bytes()
        np.testing.assert_array_equal(together[name].prefix, alone.prefix)
        assert together[name].layer == name


def test_a_layer_that_is_added_costs_nothing_for_the_others(tmp_path):
    model = plain_transformer()
    first = collect_tokens(model, ["blocks.0"], batches(), output=tmp_path, layout=LAYOUT)
    before = first["blocks.0"].path.stat()
    ran = []
    model.blocks[2].register_forward_hook(lambda *_: ran.append(2))
    found = collect_tokens(
        model, ["blocks.0", "blocks.1"], batches(), output=tmp_path, layout=LAYOUT
    )
    after = found["blocks.0"].path.stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
    assert not ran and found["blocks.1"].n_images == 6


def test_means_are_the_means_of_the_tokens(path, tmp_path):
    model = plain_transformer()
    options = {"layout": LAYOUT, "keep_prefix": True}
    tokens = collect_tokens(model, "blocks.1", batches(), output=path, **options)
    means = collect_tokens(
        model, "blocks.1", batches(), output=tmp_path / "means.npy", pool="mean", **options
    )
    assert means.data.shape == (6, 16)
    np.testing.assert_allclose(means.data, tokens.grid().mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(means.prefix, tokens.prefix)
    assert {name: value.tolist() for name, value in means.locate([0, 5]).items()} == {
        "image": [0, 5],
        "channel": [0, 0],
    }
    with pytest.raises(ValueError, match=r"grid needs tokens in their places.*pool='mean'"):
        means.grid()


@pytest.mark.parametrize("order", ["channel", "patch"])
def test_channel_wise_transformers(path, tmp_path, order):
    model = plain_transformer(channel_wise=order, n_prefix_tokens=2)
    layout = TokenLayout((4, 4), n_prefix_tokens=2, n_channels=6, order=order)
    some = images(3)
    tokens = collect_tokens(model, "blocks.0", [some], output=path, layout=layout)
    assert tokens.data.shape == (3 * 6 * 16, 16) and tokens.grid().shape == (3, 6, 4, 4, 16)
    residual = model.streams(some)[0][0][:, 2:].numpy()
    for row in (0, 17, 200, 287):
        at = {name: int(value) for name, value in tokens.locate(row).items()}
        patch = 4 * at["row"] + at["column"]
        channel = at["channel"]
        place = 16 * channel + patch if order == "channel" else 6 * patch + channel
        np.testing.assert_allclose(tokens.data[row], residual[at["image"], place], rtol=1e-5)
        np.testing.assert_array_equal(
            tokens.grid(channel)[at["image"], at["row"], at["column"]], tokens.data[row]
        )
    means = collect_tokens(
        model, "blocks.0", [some], output=tmp_path / "means.npy", layout=layout, pool="mean"
    )
    assert means.data.shape == (18, 16)
    np.testing.assert_allclose(
        means.data, tokens.grid().mean(axis=(2, 3)).reshape(18, 16), rtol=1e-5, atol=1e-6
    )
    assert means.locate([7])["channel"].tolist() == [1]
    with pytest.raises(ValueError, match="channel must be below 6, got 6"):
        tokens.grid(6)


def test_the_order_of_channels_and_patches_does_not_show(tmp_path):
    files = []
    for order in ("channel", "patch"):
        model = plain_transformer(channel_wise=order)
        layout = TokenLayout((4, 4), n_channels=6, order=order)
        tokens = collect_tokens(
            model, "blocks.1", [images(2)], output=tmp_path / f"{order}.npy", layout=layout
        )
        files.append(tokens.data)
    np.testing.assert_allclose(files[0], files[1], rtol=1e-4, atol=1e-5)


def unwritable(array):
    array.setflags(write=False)
    return array


@pytest.mark.parametrize(
    "convert",
    [
        lambda batch: batch.numpy(),
        lambda batch: unwritable(batch.numpy().copy()),
        lambda batch: batch.numpy().astype(">f4"),
        lambda batch: batch.numpy()[::-1].copy()[::-1],
        lambda batch: batch.numpy().astype(np.float64),
        lambda batch: batch.double(),
        lambda batch: {"images": batch.numpy()},
        lambda batch: torch.utils.data.default_convert({"images": batch}),
    ],
    ids=["numpy", "read-only", "big-endian", "reversed", "float64", "double", "dict", "tensors"],
)
def test_kinds_of_batches(path, tmp_path, convert):
    model = plain_transformer()
    wanted = collect_tokens(model, "blocks.1", batches(), output=path, layout=LAYOUT)
    converted = [convert(batch) for batch in batches()]
    found = collect_tokens(
        model, "blocks.1", converted, output=tmp_path / "other.npy", layout=LAYOUT
    )
    np.testing.assert_array_equal(found.data, wanted.data)


class Stream(torch.utils.data.IterableDataset):
    """Images one by one."""

    def __iter__(self):
        return iter(torch.cat(batches()))


def test_a_loader_and_a_generator(path, tmp_path):
    model, some = plain_transformer(), torch.cat(batches())
    loader = torch.utils.data.DataLoader(some, batch_size=2)
    wanted = collect_tokens(model, "blocks.1", batches(), output=path, layout=LAYOUT)
    endless = torch.utils.data.DataLoader(Stream(), batch_size=2)  # a length that it cannot tell
    for number, given in enumerate((loader, (batch for batch in batches()), endless)):
        output = tmp_path / f"{number}.npy"
        found = collect_tokens(model, "blocks.1", given, output=output, layout=LAYOUT)
        np.testing.assert_array_equal(found.data, wanted.data)


def test_a_model_in_another_type_gets_its_images_in_it(path):
    model = plain_transformer().double()
    tokens = collect_tokens(model, "blocks.1", batches(), output=path, layout=LAYOUT)
    assert tokens.data.dtype == np.float32
    wanted = torch.cat([model.streams(batch.double())[0][1][:, 1:] for batch in batches()])
    np.testing.assert_allclose(tokens.data.reshape(6, 16, 16), wanted.numpy(), rtol=1e-6)


def test_means_of_short_types_are_formed_in_single_precision(path, tmp_path):
    model = plain_transformer().bfloat16()
    tokens = collect_tokens(model, "blocks.1", batches(), output=path, layout=LAYOUT)
    means = collect_tokens(
        model, "blocks.1", batches(), output=tmp_path / "means.npy", pool="mean", layout=LAYOUT
    )
    np.testing.assert_allclose(means.data, tokens.grid().mean(axis=(1, 2)), atol=1e-6)


def test_mixed_precision(path, tmp_path):
    model, some = plain_transformer(), images(2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        wanted = model.blocks[0].attn(model.blocks[0].norm1(model.embed(some)))[0][:, 1:]
    assert wanted.dtype == torch.bfloat16
    tokens = collect_tokens(
        model, "blocks.0.attn", [some], output=path, layout=LAYOUT, autocast="bfloat16"
    )
    np.testing.assert_array_equal(tokens.data.reshape(2, 16, 16), wanted.float().numpy())
    full = collect_tokens(
        model, "blocks.0.attn", [some], output=tmp_path / "full.npy", layout=LAYOUT
    )
    error = np.abs(tokens.data - full.data).max() / np.abs(full.data).max()
    assert 1e-5 < error < 0.05


def test_half_the_bytes(path, tmp_path):
    model = plain_transformer()
    full = collect_tokens(model, "blocks.1", batches(), output=path, layout=LAYOUT)
    half = collect_tokens(
        model, "blocks.1", batches(), output=tmp_path / "half.npy", layout=LAYOUT, dtype="float16"
    )
    np.testing.assert_array_equal(half.data, full.data.astype(np.float16))
    assert half.data.dtype == np.float16


def test_the_model_can_be_trained_afterwards(path):
    model = plain_transformer()
    collect_tokens(model, "blocks.1", batches(), output=path, layout=LAYOUT)
    model.train()
    model(images(1)).sum().backward()
    assert model.patch_embed.weight.grad is not None


def test_values_that_cannot_be_stored_name_the_image(path):
    model, some = plain_transformer(), batches()
    some[1][1, 2, 3, 4] = float("nan")
    with pytest.raises(ValueError, match="layer 'blocks.1' gives NaN .* for image 3") as error:
        collect_tokens(model, "blocks.1", some, output=path, layout=LAYOUT)
    assert error.value.__notes__ == ["This was batch 1, images from 2 on."]
    some = batches()
    some[2][0] *= 1e7
    embed = {"forward": lambda model, batch: model.norm(model.patch_embed(batch).flatten(2).mT)}
    layout = TokenLayout((4, 4), n_prefix_tokens=0)
    model.norm = torch.nn.Identity().eval()
    with pytest.raises(ValueError, match=r"'float16' is too small .* image 4 has .*65504|6\.55e"):
        collect_tokens(
            model, "norm", some, output=path.with_name("b.npy"), layout=layout, dtype="float16",
            **embed,
        )  # fmt: skip


def test_large_values_are_no_error(path):
    # each can be stored, their sum can not
    model, some = plain_transformer(), images(1) * 1e38
    options = {"forward": lambda model, batch: model.norm(batch[:, 0])}
    model.norm = torch.nn.Identity().eval()
    layout = TokenLayout((4, 8), n_prefix_tokens=0)
    tokens = collect_tokens(model, "norm", [some], output=path, layout=layout, **options)
    np.testing.assert_array_equal(tokens.data, some[0, 0].numpy())


def test_what_is_wrong_with_a_model_or_layer(path):
    model, some = plain_transformer(), batches()
    with pytest.raises(ValueError, match="'blocks.7' is no layer of PlainTransformer; closest are"):
        collect_tokens(model, "blocks.7", some, output=path, layout=LAYOUT)
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got type"):
        collect_tokens(torch.nn.Linear, "blocks.1", some, output=path, layout=LAYOUT)
    with pytest.raises(ValueError, match="must be in eval mode, but it is in training mode"):
        collect_tokens(plain_transformer().train(), "blocks.1", some, output=path, layout=LAYOUT)
    model.blocks[1].mlp.train()
    with pytest.raises(ValueError, match=r"layer 'blocks.1.mlp' is in training mode.*model.eval"):
        collect_tokens(model, "blocks.1", some, output=path, layout=LAYOUT)
    model.eval()
    with pytest.raises(ValueError, match=r"pass model\.module"):
        collect_tokens(torch.nn.DataParallel(model), "x", some, output=path, layout=LAYOUT)
    with pytest.raises(ValueError, match=r"'blocks.1' does not fit the layout: .* 65 tokens.*17"):
        collect_tokens(model, "blocks.1", some, output=path, layout=TokenLayout((8, 8)))
    with pytest.raises(ValueError, match=r"'patch_embed' must give tokens .* got shape \(2, 16, 4"):
        collect_tokens(model, "patch_embed", some, output=path, layout=LAYOUT)
    assert not list(path.parent.iterdir())


def test_what_is_wrong_with_batches(path):
    def collect(some):
        collect_tokens(plain_transformer(), "blocks.1", some, output=path, layout=LAYOUT)

    with pytest.raises(ValueError, match="batches is empty; an iterator can be used only once"):
        collect([])
    with pytest.raises(ValueError, match=r"batch 1 is empty: its images have shape \(0, 6, 32"):
        collect([images(1), images(0)])
    path.unlink()
    with pytest.raises(
        ValueError, match=r"batch 0 must have shape .*got \(6, 32, 32\).*\[images\]"
    ):
        collect(images(2))
    with pytest.raises(TypeError, match="batch 0 must hold floats, scaled as.*got dtype uint8"):
        collect([np.zeros((1, 6, 32, 32), np.uint8)])
    with pytest.raises(TypeError, match=r"batch 0 must be an array.*list of 2;.*_ in loader"):
        collect([[images(1), torch.zeros(1)]])
    with pytest.raises(TypeError, match="batch 0 must be an array.*got str"):
        collect({"images": images(1)})
    with pytest.raises(TypeError, match="batch 0 must hold arrays and plain.*got list of 1 as 'a'"):
        collect([{"images": images(1), "a": [1]}])
    with pytest.raises(TypeError, match=r"batch 0 must hold an array of images, got \['a'\]"):
        collect([{"a": 1}])
    with pytest.raises(RuntimeError, match="channels") as error:
        collect([images(1, n_channels=5)])
    assert error.value.__notes__ == ["This was batch 0, images from 0 on."]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"layout": (4, 4)}, TypeError, r"layout must be a TokenLayout, got \(4, 4\)"),
        ({"pool": "max"}, ValueError, "pool must be one of 'mean', got 'max'"),
        ({"dtype": "float64"}, ValueError, "dtype must be one of 'float32', 'float16'"),
        ({"autocast": True}, ValueError, "autocast must be one of 'bfloat16', 'float16', got True"),
        ({"keep_prefix": 1}, ValueError, "keep_prefix must be one of True, False, got 1"),
        ({"checkpoint_every": -1}, ValueError, "checkpoint_every must be in"),
        ({"verbose": -1}, ValueError, "verbose must be an integer >= 0"),
        ({"output": "tokens"}, ValueError, r"output must end in \.npy for one layer, got"),
        ({"output": "no/tokens.npy"}, FileNotFoundError, "folder that does not exist; create 'no'"),
        ({"layer": 3}, TypeError, "layer must be a name or a list of names, got 3"),
        ({"layer": []}, ValueError, "list of distinct names"),
        ({"layer": ["blocks.0"] * 2}, ValueError, "list of distinct names"),
        ({"layer": ["blocks.0"]}, ValueError, "output must be a folder for a list of layers"),
        (
            {"layer": ["blocks.0"], "output": "no/layers"},
            OSError,
            "output folder 'no/layers' cannot be made",
        ),
        (
            {"keep_prefix": True, "layout": TokenLayout((4, 4), n_prefix_tokens=0)},
            ValueError,
            "keep_prefix needs a layout with n_prefix_tokens of at least 1",
        ),
    ],
)
def test_options(path, options, error, match):
    given = {"layer": "blocks.1", "output": path, "layout": LAYOUT} | options
    with pytest.raises(error, match=match):
        collect_tokens(plain_transformer(), batches=batches(), **given)
    assert not path.exists()


def test_lines_of_progress(path, capsys, monkeypatch):
    model = plain_transformer()
    collect_tokens(model, "blocks.1", batches(), output=path, layout=LAYOUT, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("[tokens] 2 images, ") and ", batch 1 of 3, " in lines[0]
    assert lines[0].endswith(" s left") and lines[-1].endswith(" 0 s left")
    collect_tokens(model, "blocks.1", batches(), output=path, layout=LAYOUT, verbose=1)
    said = capsys.readouterr().out
    assert said == "[tokens] 6 images, all of them there already, batch 3 of 3\n"
    monkeypatch.setattr(_progress, "_EVERY", 0.0)
    given = (batch for batch in batches(5))
    collect_tokens(model, "blocks.1", given, output=path, layout=LAYOUT, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and "left" not in lines[-1] and "10 images, " in lines[-1]
    collect_tokens(model, "blocks.1", batches(5), output=path, layout=LAYOUT)
    assert capsys.readouterr().out == ""


def test_the_record_can_be_read_by_others(path):
    collect_tokens(plain_transformer(), "blocks.1", batches(), output=path, layout=LAYOUT)
    record = json.loads(path.with_name("tokens.npy.json").read_text())
    assert record["settings"]["layout"]["grid"] == [4, 4] and record["n_images"] == 6
    assert np.load(path).shape == (96, 16)
