"""Blinded study: no kind is shown, no answer is lost, planted experts are found out."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from skdict.explorer import make_blinded_study, open_blinded_study, study_results
from skdict.explorer._blinded_order import presentation_order

pytest.importorskip("pandas")

KINDS = ("concept", "neuron", "pca", "random direction")


def make_items(n_items=60, n_samples=200):
    """Activations; those of concepts sparse, and the ids are columns."""
    rng = np.random.default_rng(0)
    items = {kind: rng.standard_normal((n_samples, n_items)) for kind in KINDS}
    items["concept"] = sparse.csr_array(np.maximum(items["concept"] - 1, 0))
    return items


def make_study(folder, items=None, name="study", **settings):
    settings = {"n_per_kind": 30, "n_repeats": 40, "random_state": 0} | settings
    return make_blinded_study(
        folder / f"{name}.json", items or make_items(), key_path=folder / f"{name}_key.json",
        **settings,
    )  # fmt: skip


def read_key(folder, name="study"):
    content = json.loads((folder / f"{name}_key.json").read_text())
    return {item["code"]: item for item in content["items"]}


def run_session(study, folder, expert, answer):
    """Answer all items as a function of their key says; the file is one per expert."""
    key = read_key(folder)
    path = folder / f"{expert}.sqlite"
    with study.session(expert, path) as session:
        session._database.read("PRAGMA synchronous=OFF")  # no crash is tested here
        while (item := session.next()) is not None:
            session.answer(item.code, answer(key[item.code]), seconds=1.5)
    return path


def test_the_study_file_tells_no_kind(tmp_path):
    study = make_study(tmp_path)
    text = (tmp_path / "study.json").read_text()
    for word in (*KINDS, "kind", "repeat", "direction", "seed", "random_state"):
        assert word not in text.casefold()
    assert not any(kind in repr(vars(study)) for kind in KINDS)
    content = json.loads(text)
    assert {frozenset(item) for item in content["items"]} == {frozenset(["code", "examples"])}
    assert all(item["code"].isdigit() for item in content["items"])
    assert len({len(item["examples"]) for item in content["items"]}) == 1
    assert len({item["code"] for item in content["items"]}) == len(study.items) == 4 * 30 + 40
    assert os.stat(tmp_path / "study_key.json").st_mode & 0o077 == 0


def test_order_and_codes_do_not_go_with_the_kind(tmp_path):
    study, key = make_study(tmp_path, n_repeats=0), read_key(tmp_path)
    kinds = np.array([key[item.code]["kind"] for item in study.items])
    codes = np.array([int(item.code) for item in study.items])
    for kind in KINDS:  # mean ranks of 30 of 120; the standard deviation of one is 5.5
        assert abs(np.flatnonzero(kinds == kind).mean() - 59.5) < 20
        assert abs(np.argsort(np.argsort(codes))[kinds == kind].mean() - 59.5) < 20


def test_the_key_knows_every_item(tmp_path):
    items = make_items()
    study, key = make_study(tmp_path, items), read_key(tmp_path)
    seen = {}
    for place, item in enumerate(study.items):
        entry = key[item.code]
        source = items[entry["kind"]]
        column = (source.toarray() if sparse.issparse(source) else source)[:, entry["id"]]
        assert sorted(item.examples) == sorted(np.argsort(-column)[:12])
        assert list(item.examples) != np.argsort(-column)[:12].tolist()
        seen.setdefault((entry["kind"], entry["id"]), []).append((place, entry["repeat"]))
    assert [len(places) for places in seen.values()].count(2) == 40
    for places in seen.values():
        assert [repeat for _, repeat in places] == list(range(len(places)))
        assert len(places) == 1 or places[1][0] - places[0][0] >= 40  # a quarter of 160
    counts = [sum(kind == wanted for kind, _ in seen) for wanted in KINDS]
    assert counts == [30] * 4


def test_seeds(tmp_path):
    first, again, other = (
        make_study(tmp_path, name=str(i), random_state=seed) for i, seed in enumerate((0, 0, 1))
    )
    keys = [read_key(tmp_path, str(i)) for i in range(3)]
    assert first.items == again.items and keys[0] == keys[1]
    # two studies of one seed, of another fit say, must not share answers
    assert len({first.study_id, again.study_id, other.study_id}) == 3
    assert keys[0] != keys[2] and set(keys[0]) != set(keys[2])
    assert [i.examples for i in first.items] != [i.examples for i in other.items]


@given(st.integers(2, 40), st.floats(0, 1), st.integers(0, 9))
def test_repeats_are_never_neighbours(n_items, share, seed):
    rng = np.random.RandomState(seed)
    repeated = rng.choice(n_items, int(share * n_items), replace=False)
    order = presentation_order(n_items, repeated, rng)
    assert (order[1:] != order[:-1]).all()
    counts = np.bincount(order, minlength=n_items)
    assert sorted(np.flatnonzero(counts == 2)) == sorted(repeated) and set(counts) <= {1, 2}


def test_ids_without_activations(tmp_path):
    items = {"concept": np.arange(5), "neuron": ["a", "b", "c"]}
    study = make_study(tmp_path, items, n_per_kind={"concept": 2}, n_repeats=1)
    assert {item.examples for item in study.items} == {()}
    kinds = [entry["kind"] for entry in read_key(tmp_path).values() if not entry["repeat"]]
    assert sorted(kinds) == ["concept"] * 2 + ["neuron"] * 3


def test_items_that_few_samples_activate_are_not_drawn(tmp_path):
    codes = np.zeros((50, 30))
    codes[:12, [3, 8]] = 1
    codes[:11, 5] = 1  # too few for 12 examples: their number would tell
    make_study(tmp_path, {"concept": codes}, n_per_kind=None, n_repeats=0)
    assert {entry["id"] for entry in read_key(tmp_path).values()} == {3, 8}
    with pytest.raises(ValueError, match=r"items\['concept'\] has 2 items .* than the 3 wanted"):
        make_study(tmp_path, {"concept": codes}, n_per_kind=3, n_repeats=0, overwrite=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"items": [1]}, "items must be a dict"),
        ({"items": {"": [1]}}, "kinds with names"),
        ({"items": {"a": np.full((20, 2), np.nan)}}, "must be finite"),
        ({"items": {"a": [1, 1]}}, "different ids"),
        ({"items": {"a": [1]}, "n_per_kind": 2}, "has 1 items"),
        ({"items": {"a": [1], "b": np.ones((20, 3))}, "n_per_kind": 1}, "would tell their kind"),
        ({"items": {"a": [1, 2]}, "n_per_kind": None, "n_repeats": 3}, "n_repeats must be at most"),
        ({"items": {"a": [1]}, "n_per_kind": 1, "n_repeats": 1}, "would be neighbours"),
        ({"title": "Neurons or what?"}, "title must not name a kind"),
        ({"n_examples": 0}, "n_examples must be"),
        ({"n_per_kind": 0}, "n_per_kind of 'concept' must be"),
    ],
    ids=str,
)
def test_wrong_settings(tmp_path, settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make_study(tmp_path, **settings)
    assert not list(tmp_path.iterdir())


def test_a_study_is_not_replaced_by_accident(tmp_path):
    make_study(tmp_path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        make_study(tmp_path, random_state=1)
    assert make_study(tmp_path, random_state=1, overwrite=True).items
    with pytest.raises(ValueError, match="key_path must be another file"):
        make_blinded_study(tmp_path / "a.json", make_items(), key_path=tmp_path / "a.json")


def test_wrong_files(tmp_path):
    study = make_study(tmp_path)
    make_study(tmp_path, name="other", random_state=1)
    path = run_session(study, tmp_path, "anna", lambda item: "yes")
    key = tmp_path / "study_key.json"
    with pytest.raises(ValueError, match="is no blinded study: its format is 'skdict-blinded-key'"):
        open_blinded_study(key)
    with pytest.raises(ValueError, match="is no key of a blinded study"):
        study_results(study, tmp_path / "study.json", path)
    with pytest.raises(ValueError, match="name the key that was written with the study"):
        study_results(study, tmp_path / "other_key.json", path)
    with pytest.raises(ValueError, match="answers holds none"):
        study_results(tmp_path / "other.json", tmp_path / "other_key.json", path)
    with pytest.raises(ValueError, match="each expert in one file, got 'anna'"):
        (tmp_path / "copy.sqlite").write_bytes(path.read_bytes())
        study_results(study, key, [path, tmp_path / "copy.sqlite"])
    with pytest.raises(FileNotFoundError):
        study_results(study, key, tmp_path / "absent.sqlite")
    assert not (tmp_path / "absent.sqlite").exists()
    text = (tmp_path / "study.json").read_text()
    for content, message in [
        ("{", "it is no JSON"),
        (text.replace('"version": 1', '"version": 2'), "install a newer skdict"),
        (text.replace('"examples": [', '"examples": ["x", ', 1), "list of integers"),
        (text.replace(study.items[0].code, study.items[1].code), "codes must differ"),
    ]:
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            open_blinded_study(tmp_path / "bad.json")


def test_sessions(tmp_path):
    study, path = make_study(tmp_path), tmp_path / "answers.sqlite"
    with study.session("anna", path) as session, study.session("ben", path) as other:
        item = session.next()
        assert item == other.next() == study.items[0]
        session.answer(item.code, "unsure", name="<b>", confidence=0.5, seconds=3)
        session.answer(item.code, "no")  # thought again
        assert session.next() == study.items[1] and other.next() == item
        assert (session.n_answered, other.n_answered, session.n_items) == (1, 0, 160)
        with pytest.raises(ValueError, match="code must be that of an item"):
            session.answer("0", "yes")
        with pytest.raises(ValueError, match="interpretable must be one of 'yes', 'no', 'unsure'"):
            session.answer(item.code, "maybe")
        with pytest.raises(ValueError, match="seconds must be in"):
            session.answer(item.code, "yes", seconds=-1)
        kept = session._database.read("SELECT interpretable FROM answers ORDER BY seq")
        assert kept == [("unsure",), ("no",)]
    assert [answer.interpretable for answer in study.answers(path)] == ["no"]
    with pytest.raises(ValueError, match="expert must be a name"):
        study.session("", path)


CRASH = """
import os, sys
from skdict.explorer import open_blinded_study

session = open_blinded_study(sys.argv[1]).session("anna", sys.argv[2])
for _ in range(100):  # the test ends it before that
    item = session.next()
    session.answer(item.code, "yes", name="x" * 200)
    os.write(1, item.code.encode() + b"\\n")
sys.stdin.read()
"""


def test_a_crash_loses_no_answer(tmp_path):
    study, path = make_study(tmp_path), tmp_path / "answers.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-c", CRASH, str(tmp_path / "study.json"), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    codes = [process.stdout.readline() for _ in range(20)]
    process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    codes = b"".join([*codes, process.stdout.read()]).decode().split("\n")[:-1]
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert 20 <= len(codes) <= 100
    with study.session("anna", path) as session:
        answered = [answer.code for answer in session.answers()]
        assert codes == answered[: len(codes)] and len(answered) <= len(codes) + 1
        assert session.next() == study.items[len(answered)]
        while (item := session.next()) is not None:
            session.answer(item.code, "no")
        assert session.n_answered == 160


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A study with experts who know, guess, say yes mostly, and err at times."""
    folder = tmp_path_factory.mktemp("planted")
    study = make_study(folder, n_per_kind=25, n_repeats=60)
    rng = np.random.default_rng(1)

    def knows(item):
        return "yes" if item["kind"] == "concept" else "no"

    experts = {
        "perfect": knows,
        "guesses": lambda item: str(rng.choice(["yes", "no"])),
        "biased": lambda item: "yes" if rng.random() < 0.9 else "no",
        "errs": lambda item: knows(item) if rng.random() > 0.1 else "unsure",
        "constant": lambda item: "no",
    }
    files = {name: run_session(study, folder, name, expert) for name, expert in experts.items()}

    def results(*names):
        key = folder / "study_key.json"
        return study_results(study, key, [files[name] for name in names], random_state=0)

    return results


def test_a_perfect_expert(planted):
    found = planted("perfect")
    assert found.shares.set_index("kind")["share"].to_dict() == {
        "concept": 1, "neuron": 0, "pca": 0, "random direction": 0
    }  # fmt: skip
    assert found.shares["n_items"].tolist() == [25] * 4
    assert ((found.shares["low"] <= found.shares["share"])
            & (found.shares["share"] <= found.shares["high"])).all()  # fmt: skip
    (intra,) = found.intra.itertuples()
    assert intra.kappa == intra.high == 1 > intra.low > 0.7 and intra.n_items == 60
    assert found.inter.empty
    differences = found.differences.set_index(["kind", "reference"])
    assert len(differences) == 6
    assert differences.loc[("concept", "neuron"), "difference"] == 1
    assert differences.loc[("concept", "neuron"), "low"] > 0.7
    low, high = differences.loc[("neuron", "pca"), ["low", "high"]]
    assert low < 0 < high
    assert any("25 items, which are few" in remark for remark in found.remarks)


def test_experts_who_guess_are_found_out(planted):
    found = planted("guesses", "biased")
    assert ((found.intra["low"] < 0) & (found.intra["high"] >= 0)).all()
    assert found.intra["kappa"].abs().max() < 0.3
    (inter,) = found.inter.itertuples()
    assert inter.method == "Cohen" and inter.low < 0.05 < 0.3 and inter.n_items == 100
    by_expert = found.shares_by_expert.groupby("expert")
    shares = by_expert["n_interpretable"].sum() / by_expert["n_items"].sum()
    assert shares["guesses"] == pytest.approx(0.5, abs=0.15)
    assert shares["biased"] == pytest.approx(0.9, abs=0.08)


def test_the_same_answer_throughout_is_no_agreement(planted):
    (intra,) = planted("constant").intra.itertuples()
    assert np.isnan(intra.kappa) and "all answers are 'no'" in intra.reason
    assert "kappa is not defined" in repr(planted("constant"))


def test_two_and_more_experts(planted):
    two, three = planted("perfect", "errs"), planted("perfect", "errs", "constant")
    assert two.inter["method"].tolist() == ["Cohen"]
    assert three.inter["method"].tolist() == ["Fleiss"]
    # Nine of ten answers are those of the perfect one, the others are "unsure".
    assert 0.6 < two.inter["kappa"][0] < 0.95
    assert 0 < three.inter["kappa"][0] < two.inter["kappa"][0]
    # Of two, both must say yes; of three, two.
    concepts = three.shares.set_index("kind").loc["concept", "n_interpretable"]
    assert concepts == two.shares.set_index("kind").loc["concept", "n_interpretable"] < 25
    assert three.experts == ["constant", "errs", "perfect"]
    assert "Fleiss" in repr(three) and "Cohen" in repr(two)


def test_a_session_that_stopped(tmp_path):
    study = make_study(tmp_path, n_per_kind=3, n_repeats=2)
    with study.session("anna", tmp_path / "answers.sqlite") as session:
        session.answer(study.items[0].code, "yes")
    found = study_results(study, tmp_path / "study_key.json", tmp_path / "answers.sqlite")
    assert found.shares["n_items"].sum() == 1
    assert found.shares["share"].isna().sum() == 3
    assert "anna answered 1 of 14 items" in found.remarks
    assert found.intra["reason"][0] == "there are no items with both answers"
    assert found.differences.empty and repr(found)


def test_ids_of_several_types(tmp_path):
    study = make_study(tmp_path, {"b": ["x", "1"], "a": [1, 2]}, n_per_kind=None, n_repeats=4)
    path = run_session(study, tmp_path, "anna", lambda item: "yes" if item["kind"] == "a" else "no")
    found = study_results(study, tmp_path / "study_key.json", path, random_state=0)
    assert found.intra["n_items"][0] == 4 and found.intra["kappa"][0] == 1
    assert found.shares.set_index("kind")["share"].to_dict() == {"a": 1, "b": 0}


def test_counts_without_a_sign_are_sorted_as_others(tmp_path):
    counts = np.zeros((12, 1), dtype=np.uint16)
    counts[:8, 0] = np.arange(1, 9)
    study = make_blinded_study(
        tmp_path / "s.json", {"a": counts, "b": counts}, key_path=tmp_path / "k.json",
        n_per_kind=1, n_repeats=0, n_examples=4, random_state=0,
    )  # fmt: skip
    assert all(set(item.examples) == {4, 5, 6, 7} for item in study.items)
