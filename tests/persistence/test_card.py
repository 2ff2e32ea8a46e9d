"""The card says what is known, and is Markdown with a front matter whatever is put in."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from benchmarks.model_mutations import small_models
from skdict.persistence import load, model_card, save

PIPELINE, ROWS = small_models()["pipeline"]


def front_matter(card):
    yaml = pytest.importorskip("yaml")
    _, text, _ = card.split("---\n", 2)
    return yaml.safe_load(text)


def test_what_it_says(tmp_path):
    folder = save(
        PIPELINE,
        tmp_path / "model",
        evaluation={
            "a\\|b|": 1,
            "explained variance": np.float64(0.81234567),
            "dead": 3,
            "note": "a|b\nc",
        },
        description="Wells of JUMP-Scope. Not for other cell lines.",
        license="BSD-3-Clause",
    )
    card = (folder / "README.md").read_text()
    assert front_matter(card)["license"] == "bsd-3-clause"
    assert front_matter(card)["library_name"] == "skdict"
    dictionary = PIPELINE[-1]
    for line in (
        "# ICFLDictionary: 9 atoms of 6 features",
        "Wells of JUMP-Scope. Not for other cell lines.",
        "| 1 | ControlPCAWhitener | 6 | 6 features |",
        "| 3 | ICFLDictionary | 6 | codes of 9 atoms, at most 3 non-zeros |",
        "- icfldictionary: 200 x 6 (rows x features) in float32, digest of some rows "
        f"`{dictionary._data['digest']}`.",
        "| ICFLDictionary | max_steps | 3 |",
        f"| icfldictionary | 3 | 3 | {dictionary.history_['loss'][-1]:.4g} | 0.0% |",
        "| explained variance | 0.8123 |",
        "| dead | 3 |",
        r"| a\\\|b\| | 1 |",
        "| note | a\\|b c |",
        'model = skdict.load("FOLDER")',
    ):
        assert line in card.splitlines() or line in card, line
    assert "sparse-autoencoder" not in card
    assert model_card(load(folder)).partition("## Quality")[2].startswith("\n\nNo figures")


def test_of_each_kind():
    for name, (model, _) in small_models().items():
        card = model_card(model)
        assert ("sparse-autoencoder" in front_matter(card)["tags"]) is (name == "TopKSAE")
        assert "## Limits" in card and "\n\n\n" not in card
    card = model_card(StandardScaler().fit(ROWS))
    assert "# StandardScaler of 6 features" in card and "Not recorded." in card


@pytest.mark.parametrize("license", [
    "mine: ask\nme", '"quoted"', "a --- b", "CC-BY-4.0", "", "proprietary", "no", "1.0",
    "\U0001f600", "\x7f", "a\x85b", "\u2028x", "\ufeffx", "'q'\"", "é",
])  # fmt: skip
def test_front_matter_stays_whole(license):
    found = front_matter(model_card(PIPELINE, license=license))
    short = license == "CC-BY-4.0"
    assert found["license"] == ("cc-by-4.0" if short else "other")
    assert short or found["license_name"] == license


def test_arguments():
    with pytest.raises(TypeError, match="evaluation must be a dictionary"):
        model_card(PIPELINE, evaluation=[1])
    with pytest.raises(TypeError, match="description must be a string"):
        model_card(PIPELINE, description=3)


def test_what_no_file_can_hold_is_replaced(tmp_path):
    folder = save(PIPELINE, tmp_path / "model", description="half a sign: \ud800")
    assert "half a sign: ?" in (folder / "README.md").read_text()
