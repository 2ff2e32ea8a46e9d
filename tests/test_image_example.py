"""The small masked autoencoder of the example, and the page that reports what came of it."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("PIL")

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "_static" / "images"
PAGE = ROOT / "docs" / "image_concepts.rst"


@pytest.fixture(autouse=True)
def examples(monkeypatch):
    """Modules beside the example can be imported, as when it runs; the caller's threads return."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "examples"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def mae():
    import small_mae

    return small_mae


def tiny(mae, seed=0):
    torch.manual_seed(seed)
    return mae.SmallMAE(width=16, depth=2, n_heads=2, decoder_width=16).eval()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestModel:
    def test_tokens_are_the_class_token_and_the_patches(self, mae):
        assert tiny(mae)(noise(2, 6, 32, 64)).shape == (2, 1 + 4 * 8, 16)

    def test_patches_become_the_image_again(self, mae):
        images = noise(2, 6, 24, 40)
        np.testing.assert_array_equal(mae.to_images(mae.to_patches(images), (3, 5)), images)

    def test_patches_are_in_the_order_of_the_convolution(self, mae):
        """Marking one patch of the image changes the token of that place before the blocks."""
        model, images = tiny(mae), torch.zeros(1, 6, 24, 40)
        images[..., 8:16, 16:24] = 1.0
        tokens = model._embed(images, mae._places(images))
        changed = (tokens - model._embed(0 * images, mae._places(images))).abs().sum(dim=2)
        assert changed[0].nonzero().flatten().tolist() == [1 * 5 + 2]
        assert mae.to_patches(images)[0].sum(dim=1).nonzero().flatten().tolist() == [1 * 5 + 2]

    def test_what_is_hidden_is_not_seen(self, mae):
        """Pixels of hidden patches change nothing; those of the others do."""
        model, images = tiny(mae), noise(2, 6, 64, 64)
        with torch.no_grad():
            drawn, hidden = model.reconstruct(
                images, 16, generator=torch.Generator().manual_seed(1)
            )
            for change in (hidden, ~hidden):
                patches = mae.to_patches(images) + 3.0 * change[:, :, None]
                other = mae.to_images(patches, (8, 8))
                again, same = model.reconstruct(
                    other, 16, generator=torch.Generator().manual_seed(1)
                )
                assert torch.equal(same, hidden)
                assert torch.equal(again, drawn) == (change is hidden)
        assert hidden.sum(dim=1).tolist() == [48, 48]

    def test_places_of_a_window(self, mae):
        """A window at the lower right has the positions of that part of the whole image."""
        images = torch.zeros(1, 6, 16, 24)
        whole = np.arange(32 * 32).reshape(32, 32)
        places = mae._places(images, (30, 29)).reshape(2, 3)
        np.testing.assert_array_equal(places, whole[30:, 29:])

    def test_positions_differ(self, mae):
        positions = mae.sine_positions(32, 64)
        nearest = torch.cdist(positions, positions) + 9 * torch.eye(32 * 32)
        assert positions.shape == (1024, 64)
        assert nearest.min() > 0.1

    def test_drawing_all_patches_is_reconstructing_with_none_hidden(self, mae):
        model, images = tiny(mae), noise(2, 6, 32, 32)
        with torch.no_grad():
            drawn, hidden = model.reconstruct(images, 16)
            tokens = torch.cat(
                [model.cls_token.expand(2, -1, -1), model._embed(images, mae._places(images))], 1
            )
            for block in model.blocks:
                tokens = block(tokens)
            same = model.draw(tokens[:, 1:].reshape(2, 4, 4, -1), tokens[:, 0])
        assert not hidden.any()
        np.testing.assert_allclose(same, mae.to_images(drawn, (4, 4)), atol=2e-5)


class TestImages:
    def test_standardised_by_field_and_channel_and_undone(self, mae):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 5000, (4, 2, 16, 16)).astype(np.uint16)
        values, mean, spread = mae.standardise(images, ["a", "b", "a", "b"])
        for own in ([0, 2], [1, 3]):
            np.testing.assert_allclose(values[own].mean(axis=(0, 2, 3)), 0, atol=1e-5)
            np.testing.assert_allclose(values[own].std(axis=(0, 2, 3)), 1, atol=1e-5)
        np.testing.assert_allclose(np.expm1(mean + spread * values), images, rtol=1e-4, atol=1e-3)

    def test_channels_find_their_place(self, mae):
        images = np.arange(3.0)[None, :, None, None] + np.ones((2, 1, 8, 8))
        six, present = mae.in_six_channels(images, ["DNA", "ER", "Actin"])
        assert six[0, :, 0, 0].tolist() == [1, 2, 0, 3, 0, 0]
        assert present[0].tolist() == [True, True, False, True, False, False]

    def test_windows_are_parts_of_the_images(self, mae):
        images = [np.arange(6 * 16 * 16, dtype=np.float32).reshape(6, 16, 16), np.zeros((6, 8, 8))]
        present = np.array([[True] * 6, [True, False] * 3])
        windows, counts = mae.draw_windows(images, present, 8, 40, np.random.default_rng(0))
        for window, count in zip(windows.numpy(), counts.numpy(), strict=True):
            first = window.any()
            assert count.tolist() == present[0 if first else 1].tolist()
            if first:  # 8 x 8 neighbours, whichever way they are turned
                assert np.ptp(window[0]) == 7 * 16 + 7
        assert counts.min() == 0  # both images were drawn


class TestTraining:
    def test_learns_to_fill_in_what_is_hidden(self, mae, monkeypatch):
        """Images of one brightness each: hidden patches can be told from those that are seen."""
        monkeypatch.setattr(mae, "WINDOWS", ((32, 8),))
        levels = np.linspace(-1.5, 1.5, 8, dtype=np.float32)
        images = np.ones((8, 6, 64, 64), np.float32) * levels[:, None, None, None]
        model = tiny(mae)
        losses = mae.train(
            model, list(images), np.ones((8, 6), bool), n_steps=60, learning_rate=1e-2,
            verbose=False,
        )  # fmt: skip
        assert losses[-10:].mean() < 0.5 * losses[:5].mean()
        error, nothing = (
            mae.masked_error(rule, images) for rule in (model.reconstruct, mae.mean_image)
        )
        assert (error < 0.6 * nothing).all()
        assert not model.training

    def test_runs_on_the_shipped_images(self, mae):
        from skdict.datasets import load_cell_painting_crops, load_schwann_fields

        crops, fields = load_cell_painting_crops(), load_schwann_fields()
        images, present = [], []
        for data in (crops, fields):
            values = mae.standardise(data.images, data.field)[0]
            values, own = mae.in_six_channels(values, data.channels)
            images += list(values)
            present.append(own)
        losses = mae.train(tiny(mae), images, np.concatenate(present), n_steps=3, verbose=False)
        assert np.isfinite(losses).all()

    def test_the_seed_decides_and_progress_is_told(self, mae, capsys):
        images = [noise(6, 256, 256).numpy()]
        runs = [
            mae.train(tiny(mae), images, np.ones((1, 6), bool), n_steps=3, seed=seed)
            for seed in (0, 0, 1)
        ]
        np.testing.assert_array_equal(runs[0], runs[1])
        assert (runs[0] != runs[2]).any()
        assert "step     3  windows of 256" in capsys.readouterr().out

    def test_absent_channels_do_not_count(self, mae):
        model, images = tiny(mae), noise(1, 6, 64, 64)
        counts = torch.tensor([[1.0, 1, 0, 1, 0, 0]])
        mae.weighted_loss(
            model, images, counts, 20, generator=torch.Generator().manual_seed(0)
        ).backward()
        by_channel = model.decoder_pred.weight.grad.reshape(6, 64, -1).abs().sum(dim=(1, 2))
        assert (by_channel > 0).tolist() == [True, True, False, True, False, False]

    def test_seen_patches_count_less(self, mae):
        """The weights of the loss: 1 where hidden, 0.2 where seen."""

        class Model:
            def reconstruct(self, images, n_seen, corner, generator):
                drawn = mae.to_patches(images).clone()
                drawn[:, :3] += 1.0  # an error of 1 on three of four patches
                return drawn, torch.tensor([[True, True, False, False]])

        loss = mae.weighted_loss(Model(), noise(1, 6, 16, 16), torch.ones(1, 6), 2)
        assert loss.item() == pytest.approx((1 + 1 + 0.2) / 2.4)


class TestErrors:
    def test_mean_image_has_the_variance(self, mae):
        images = noise(3, 6, 64, 64).numpy()
        everything = mae.masked_error(mae.mean_image, images, share_hidden=1.0)
        np.testing.assert_allclose(everything, (images**2).mean(axis=(0, 2, 3)), rtol=1e-4)

    def test_the_same_patches_are_hidden_from_all(self, mae):
        images, model = noise(2, 6, 64, 64), tiny(mae)
        hidden = [
            rule(images, 16, generator=torch.Generator().manual_seed(5))[1]
            for rule in (model.reconstruct, mae.nearest_seen, mae.mean_image)
        ]
        assert torch.equal(hidden[0], hidden[1]) and torch.equal(hidden[0], hidden[2])

    def test_nearest_seen_patch(self, mae):
        """Brightness that rises by columns: the error is that of the distance to what is seen."""
        images = torch.zeros(1, 1, 8, 8 * 12) + torch.arange(12.0).repeat_interleave(8)
        drawn, hidden = mae.nearest_seen(images, 4, generator=torch.Generator().manual_seed(0))
        seen = (~hidden[0]).nonzero().flatten()
        for place, patch in enumerate(drawn[0]):
            assert patch.unique().numel() == 1
            assert (seen - patch[0]).abs().min() == 0
            assert abs(patch[0] - place) == (seen - place).abs().min()


def test_tokens_are_collected_and_decoded(mae, tmp_path):
    from skdict.extraction import TokenLayout, collect_tokens, decode_tokens, layer_name

    model, images = tiny(mae), noise(2, 6, 256, 256).numpy()
    layers = [layer_name(model, index) for index in range(2)]
    assert layers == ["blocks.0", "blocks.1"]
    tokens = collect_tokens(
        model, layers, [images], output=tmp_path / "tokens", keep_prefix=True,
        layout=TokenLayout.from_image(256, patch_size=8),
    )  # fmt: skip
    assert tokens["blocks.1"].grid().shape == (2, 32, 32, 16)
    with torch.no_grad():
        last = model(torch.from_numpy(images))[:, 1:]
        own = model.norm(torch.from_numpy(np.array(tokens["blocks.1"].grid()))).flatten(1, 2)
    np.testing.assert_allclose(own, last, atol=1e-5)
    decoded = decode_tokens(model.draw, tokens)
    assert decoded["blocks.0"].shape == images.shape


class TestResults:
    def test_files_of_a_run(self, tmp_path, capsys):
        from image_results import Results, read_seeds

        rows = [{"stain": "ER", "r": "0.50"}, {"stain": "DNA", "r": "0.25"}]
        for seed in (0, 2):
            results = Results(tmp_path, seed, steps=5)
            results.table("best", rows)
            results.number("rings", 3 + seed)
            results.number("error", 0.123 + seed)
            results.write()
        assert capsys.readouterr().out.splitlines()[1:3] == ["   ER  0.50", "  DNA  0.25"]
        assert (tmp_path / "best.csv").read_text() == "stain,r\nER,0.50\nDNA,0.25\n"
        assert read_seeds(tmp_path) == {
            0: {"rings": 3, "error": 0.12},
            2: {"rings": 5, "error": 2.12},
        }
        assert (tmp_path / "numbers.txt").read_text().splitlines() == [
            ".. |rings| replace:: 3 to 5",
            ".. |error| replace:: 0.12 to 2.12",
        ]
        assert "error,0.12,2.12" in (tmp_path / "seeds.csv").read_text()

    def test_nothing_is_written_without_a_folder(self, tmp_path, monkeypatch, capsys):
        from image_results import Results

        monkeypatch.chdir(tmp_path)
        results = Results(None, 0)
        results.table("best", [{"stain": "ER"}])
        results.write()
        assert not list(tmp_path.iterdir())

    def test_pictures_are_those_of_the_first_seed(self, tmp_path):
        from image_results import Results

        figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(1, 1))
        Results(tmp_path, 1).picture("heatmap", figure)
        assert not list(tmp_path.iterdir())
        Results(tmp_path, 0).picture("heatmap", figure)
        assert (tmp_path / "heatmap.png").read_bytes().startswith(b"\x89PNG")


def seeds():
    return [json.loads(path.read_text())["numbers"] for path in RESULTS.glob("seed*.json")]


class TestPage:
    def test_tables_and_numbers_are_those_of_the_runs(self):
        from image_results import read_seeds, summaries

        for name, text in summaries(read_seeds(RESULTS)).items():
            assert (RESULTS / name).read_text() == text
        record = json.loads((RESULTS / "seed0.json").read_text())
        for name, rows in record["tables"].items():
            with (RESULTS / f"{name}.csv").open() as file:
                assert list(csv.DictReader(file)) == [
                    {key: str(value) for key, value in row.items()} for row in rows
                ]

    def test_every_run_is_a_full_one_and_has_the_same_numbers(self):
        records = [json.loads(path.read_text()) for path in RESULTS.glob("seed*.json")]
        assert len(records) >= 3
        assert {record["steps"] for record in records} == {2000}
        assert len({tuple(record["numbers"]) for record in records}) == 1

    def test_what_the_page_shows_is_there_and_small(self):
        text = PAGE.read_text()
        shown = set(re.findall(r"_static/images/(\S+)", text))
        assert shown <= {path.name for path in RESULTS.iterdir()}
        pictures = list(RESULTS.glob("*.png"))
        assert {path.name for path in pictures} <= shown
        assert max(path.stat().st_size for path in pictures) < 300_000
        assert sum(path.stat().st_size for path in RESULTS.iterdir()) < 2_500_000

    def test_numbers_in_the_text_come_from_the_runs(self):
        """No measured number is written by hand: all are substitutions that exist."""
        text = PAGE.read_text()
        known = set(seeds()[0])
        used = set(re.findall(r"\|([^|\n]+)\|", text))
        assert used and used <= known
        by_design = {"0.05", "95%", "5%"}
        assert set(re.findall(r"\d+\.\d+|\d+%", text)) <= by_design

    @pytest.mark.parametrize("numbers", seeds(), ids=range(len(seeds())))
    def test_what_the_text_claims_holds_for_each_seed(self, numbers):
        assert numbers["error, trained"] < numbers["error, nearest patch"]
        assert numbers["error, nearest patch"] < 1 < numbers["error, untrained"]
        for where in ("fields", "crops"):
            # No difference would give 5.
            assert numbers[f"beyond, {where}, as they are"] < 15
            assert numbers[f"beyond, {where}, centered"] < 15
        trained, untrained = (
            numbers[f"mostly position, fields, {name}"] for name in ("trained", "untrained")
        )
        assert trained < untrained
        assert numbers["same direction, specific"] > 70
        assert numbers["same direction, by chance, specific"] < 60
        assert numbers["moved most, specific"] > 1.5 * numbers["moved most, by chance, specific"]
        assert numbers["AUC on H12, trained"] < numbers["AUC on four wells, trained"]
