"""The pictures of the study: every section is drawn, with its numbers and settings beside it."""

import csv

import numpy as np
import pytest

from benchmarks.study import pictures
from benchmarks.study.cache import plain

matplotlib = pytest.importorskip("matplotlib")

DATA = {
    "title": "JUMP-Scope wells", "rows": 1200, "controls": 200, "features": 208, "labels": 3,
    "label": "mechanism", "holds_out": "whole compounds", "folds": 4, "n_components": 300,
    "n_nonzero": 20,
}  # fmt: skip
SETTINGS = {
    "passes": 60, "batch_size": 256, "strengths": [0.01, 0.1],
    "sparsity_factors": [0.5, 1.0], "dead_steps": 2000,
}  # fmt: skip
ARMS = [f"{model}, whitening {state}" for model in ("ICFL", "TopK") for state in ("off", "on")]


def curve(start, spread=0.01):
    return {"x": [9.5, 20], "mean": [start, start + 0.1], "spread": [spread, 2 * spread]}


def sections(spread=0.01):
    """Every picture's numbers for two data sets."""
    names = ("jump", "planted")
    lines = {arm: curve(0.1 * i, spread) for i, arm in enumerate(ARMS)}
    side = {"active": [5, 20], "mean": [0.2, 0.3], "spread": [spread] * 2, "best": [0.1, 0.5, 0.2]}
    entry = {
        "label": "a label of so many words that no panel has room for all of them in two lines",
        "auc": 0.75, "edges": [-1, 0, 1], "counts_label": [1, 3], "counts_other": [20, 10],
    }  # fmt: skip
    scores = {"average": [0.5, 0.1, 0.3], "held": [0.4, 0.0, 0.1], "labels": ["x", "y", "z"]}
    dead = [
        {"model": model, "condition": f"whitening {state}", "n_dead": 3.5, "spread": spread}
        for model in ("ICFL", "TopK without AuxK")
        for state in ("off", "on")
    ]
    bars = {"raw": [0.4, spread]} | {
        arm.replace(",", ", reconstruction,"): [0.1 * (i + 1), spread] for i, arm in enumerate(ARMS)
    }
    parts = {"row": [0.9, spread], "null": [0.5, spread], "random": [0.7, spread]}
    two_sides = {"labels": ["x", "y", "z"], "binarizer": side, "dictionary": side}
    return {
        "table1": {"bars": dict.fromkeys(names, dead)},
        "figure2": {"curves": dict.fromkeys(names, two_sides)},
        "figure3": {"histograms": {"jump": [entry, entry], "planted": [entry]}},
        "figure4a": {"bars": dict.fromkeys(names, bars), "chance": dict.fromkeys(names, 0.1)},
        "figure4b": {"curves": dict.fromkeys(names, lines), "raw": dict.fromkeys(names, 0.6)},
        "figure4c": {"curves": dict.fromkeys(names, lines)},
        "figure7b": {"parts": dict.fromkeys(names, parts)},
        "figure8": {"curves": {name: {"ICFL": scores, "TopK": scores} for name in names}},
        "figure9": {"curves": dict.fromkeys(names, lines)},
        "table2": {"tables": []},
    }


def results(n_seeds=2):
    data = {"jump": DATA, "planted": DATA | {"title": "Planted data", "controls": 0}}
    settings = SETTINGS | {"seeds": list(range(n_seeds))}
    numbers = sections(spread=0.01 if n_seeds > 1 else np.nan)
    return plain({"sections": numbers, "data": data, "settings": settings})


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Folder of all pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    before = dict(matplotlib.rcParams)
    paths = pictures.draw(results(), folder)
    assert dict(matplotlib.rcParams) == before
    assert [path.stem for path in paths] == list(pictures.DRAWERS)
    return folder


def rows(folder, name):
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", sorted(pictures.DRAWERS))
def test_three_small_files_with_data_and_settings(drawn, name):
    assert (drawn / f"{name}.svg").stat().st_size < 300_000
    shown = {row["name"].split(",")[0] for row in rows(drawn, name)}
    assert shown == {"JUMP-Scope wells", "Planted data"}
    text = (drawn / f"{name}.txt").read_text(encoding="utf-8")
    assert "rows = 1,200, of which 200 are controls; features = 208" in text
    assert ("held out = whole compounds; folds = 4" in text) == (name not in ("table1", "figure2"))
    assert "seed" in text


def test_numbers_are_those_of_the_sections(drawn):
    table = rows(drawn, "figure4b")
    assert len(table) == 2 * len(ARMS) * 2
    assert [float(row["n_nonzero"]) for row in table[:2]] == [9.5, 20]
    assert [float(row["balanced_accuracy"]) for row in table[2:4]] == pytest.approx([0.1, 0.2])
    assert {row["raw"] for row in table} == {"0.6"}
    assert [float(row["spread"]) for row in table[:2]] == [0.01, 0.02]
    bars = rows(drawn, "figure4a")[:5]
    assert [row["representation"] for row in bars] == ["rows themselves", *ARMS]
    assert [float(row["balanced_accuracy"]) for row in bars] == pytest.approx(
        [0.4, 0.1, 0.2, 0.3, 0.4]
    )
    labels = {row["label"]: float(row["held_out"]) for row in rows(drawn, "figure8")[:3]}
    assert labels == {"x": 0.4, "y": 0.0, "z": 0.1}
    assert {row["n_components"] for row in rows(drawn, "table1")} == {"300"}
    assert {row["learning_rate"] for row in rows(drawn, "figure9")} == {"9.5", "20.0"}


def test_paragraphs_say_how_numbers_were_made(drawn):
    texts = {name: (drawn / f"{name}.txt").read_text() for name in pictures.DRAWERS}
    assert (
        "logistic regression on reconstructions, classes weighted alike, C of 0.01 0.1"
        in texts["figure4b"]
    )
    assert "non-zeros = 10, 20" in texts["figure4c"]
    jump, planted, _ = texts["figure4c"].split("\n\n")
    assert jump.startswith(
        "JUMP-Scope wells, ICFL, whitening off; JUMP-Scope wells, ICFL, whitening"
    )
    assert "(on) on the controls of the training rows" in jump
    assert "(on) on the training rows" in planted and "Planted data, TopK" in planted
    assert "steps = 2000" in texts["table1"] and "the last 1000 steps" in texts["table1"]
    assert "probe" not in texts["figure8"]
    # What all arms of a data set share is said once.
    assert texts["figure4c"].count("Settings:") == 2


def test_the_same_results_give_the_same_files(drawn, tmp_path):
    pictures.draw(results(), tmp_path)
    for path in drawn.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_one_seed_has_no_spread(tmp_path):
    pictures.draw(results(n_seeds=1), tmp_path)
    for name in ("table1", "figure2", "figure4a", "figure4b", "figure7b"):
        assert "spread" not in rows(tmp_path, name)[0]
        text = (tmp_path / f"{name}.txt").read_text()
        assert "±" not in text and "spread" not in text


def test_a_section_without_data_has_no_picture(tmp_path):
    found = results()
    found["sections"] = {"figure9": {"curves": {}}, "figure3": {"histograms": {"jump": []}}}
    assert pictures.draw(found, tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_looks_tell_models_and_whitening_apart():
    styles = {arm: pictures.line_style(arm) for arm in ARMS}
    assert len({str(style) for style in styles.values()}) == len(ARMS)
    for on, off in (("ICFL, whitening on", "ICFL, whitening off"),):
        assert styles[on]["color"] == styles[off]["color"]
        assert "linestyle" not in styles[on] and styles[off]["linestyle"] == "--"
