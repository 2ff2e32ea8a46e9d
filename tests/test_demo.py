"""The demo's evaluation on a small made-up screen, and what it allows itself to say."""

import io
import re

import numpy as np
import pytest
from sklearn.utils import Bunch

from skdict._demo import QUICK, Settings, demo_page, run, text_report
from skdict._demo._concepts import describe_concepts
from skdict._demo._experiment import (
    ARMS,
    MODELS,
    Arm,
    Profiles,
    build,
    evaluate,
    fit,
    plate_split,
)
from skdict._demo._metrics import BY_KEY, METRICS, compare, show, spread
from skdict._demo._page import demo_page as page_of
from skdict._demo._progress import PlainProgress, make_progress
from skdict._demo._results import Results
from skdict._demo._run import _tasks
from skdict._demo._selectivity import Curves, judge_selectivity
from skdict._demo._table import WIDTH, text_table
from skdict._demo._verdict import COMPARED, judge, judge_all, summary

SMALL = Settings(
    n_components=24, n_nonzero_coefs=4, max_steps=10, seeds=(0, 1), n_permutations=20,
    sparsities=(2, 4), compound_folds=3, inner_folds=2, strengths=(0.1, 1.0),
)  # fmt: skip


def make_screen():
    """Five plates of the same layout: 4 mechanisms of 2 compounds, 1 of one, and controls."""
    rng = np.random.default_rng(0)
    layout = np.repeat([f"c{i}" for i in range(9)] + ["DMSO"] * 3, 2)
    compound = np.tile(layout, 5)
    number = np.array([int(c[1]) if c[0] == "c" else -1 for c in compound])
    moa = np.where(number < 0, "DMSO", np.char.add("m", (number // 2).astype(str)))
    centres = rng.normal(size=(5, 10))
    X = 0.5 * rng.normal(size=(compound.size, 10))
    X += np.where(number[:, None] < 0, 0.0, centres[number // 2])
    return Bunch(
        data=X.astype(np.float32),
        feature_names=np.array([f"Cells_Feature_{i}" for i in range(10)]),
        control=number < 0,
        compound=compound,
        moa=moa,
        plate=np.repeat([f"P{i}" for i in range(5)], layout.size),
        batch=np.repeat([f"B{i}" for i in range(5)], layout.size),
        well=np.tile([f"A{i:02d}" for i in range(layout.size)], 5),
    )


@pytest.fixture(scope="module")
def screen():
    return make_screen()


@pytest.fixture(scope="module")
def profiles(screen):
    return Profiles.from_bunch(screen)


@pytest.fixture(scope="module")
def results(screen):
    return run(screen, SMALL, n_jobs=1)


# ------------------------------------------------------------------------------ comparisons


@pytest.mark.parametrize(
    ("first", "second", "floor", "outcome"),
    [
        ([0.5, 0.51, 0.52], [0.3, 0.31, 0.3], 0.0, "higher"),
        ([0.3, 0.31, 0.3], [0.5, 0.51, 0.52], 0.0, "lower"),
        ([0.5, 0.51, 0.52], [0.3, 0.31, 0.3], 0.2, "unclear"),  # less than the typical spread
        ([0.9, 0.1, 0.5], [0.3, 0.0, 0.2], 0.0, "unclear"),  # less than its own spread
        ([0.5, 0.5, 0.2], [0.3, 0.3, 0.3], 0.0, "unclear"),  # not in every seed
        ([0.5001, 0.5001], [0.5, 0.5], 0.0, "unclear"),  # not visible at the printed digits
        ([0.5], [0.1], 0.0, "unclear"),  # one seed has no spread
        ([0.5, 0.5], [0.5, 0.5], 0.0, "unclear"),
    ],
)
def test_compare(first, second, floor, outcome):
    assert compare(first, second, 3, floor=floor) == outcome


def test_spread_and_text():
    assert spread([1.0, 3.0]) == pytest.approx(np.sqrt(2))
    assert np.isnan(spread([1.0]))
    assert show([1.0, 3.0], 1) == "2.0 ±1.4"
    assert show([1.0], 2) == "1.00"


def made_up(better=(), seeds=3):
    """Results in which ICFL with whitening leads in some metrics and all else is equal."""
    wobble = np.linspace(-0.001, 0.001, seeds)
    values = {arm: {m.key: 0.5 + wobble for m in METRICS} for arm in ARMS}
    for key in better:
        sign = 1 if BY_KEY[key].better == "higher" else -1
        values[Arm("on", "ICFL")][key] = 0.5 + sign * 0.2 + wobble
    return Results(
        settings=Settings(seeds=tuple(range(seeds))),
        data={"rows": 10, "features": 4, "compounds": 4, "mechanisms": 2, "plates": 2,
              "controls": 2, "pca": 4},
        values=values,
        raw={"compound": 0.5 + wobble, "plate": 0.7 + wobble},
        curves={},
    )  # fmt: skip


def test_verdict_names_what_is_better_and_nothing_else():
    found = made_up(better=["held_cosine", "dead"])
    on, other = Arm("on", "ICFL"), Arm("on", "PCA")
    outcomes = {key: judge(found, on, other, key).outcome for key in COMPARED}
    assert {key for key, outcome in outcomes.items() if outcome == "better"} == {
        "held_cosine", "dead"
    }  # fmt: skip
    assert set(outcomes.values()) == {"better", "unclear"}
    assert judge(found, other, on, "dead").outcome == "worse"
    topics = {finding.topic: finding.text for finding in summary(found)}
    assert "ICFL is better than TopK SAE, PCA and a random" in topics[COMPARED["held_cosine"]]
    assert "Whitening off: ICFL is not clearly different" in topics[COMPARED["held_cosine"]]
    assert "better than" not in topics[COMPARED["held_selectivity"]]


def test_no_difference_is_called_none():
    text = " ".join(str(finding) for finding in summary(made_up()))
    assert "better" not in text and "worse" not in text
    assert "clearly above that in 0 and clearly below it in 0" in text
    outcomes = {c.outcome for cs in judge_all(made_up()).values() for c in cs}
    assert outcomes == {"unclear", ""}


def test_one_seed_allows_no_claim():
    found = made_up(better=list(COMPARED), seeds=1)
    assert summary(found)[0].topic == "One seed only"
    outcomes = {c.outcome for cs in judge_all(found).values() for c in cs}
    assert outcomes == {"unclear", ""}


def test_cosines_are_not_compared_across_whitening():
    comparison = judge(made_up(["held_cosine"]), *(Arm(w, "ICFL") for w in ("on", "off")),
                       "held_cosine")  # fmt: skip
    assert comparison.outcome == ""


# ------------------------------------------------------------------------------- evaluation


def test_only_mechanisms_of_two_compounds_are_probed(profiles):
    assert profiles.n_mechanisms == 4
    assert set(profiles.moa[~profiles.paired]) == {"m4"}
    assert profiles.paired[profiles.control].all()


def test_plates_are_held_out_as_a_whole(profiles):
    for seed in range(5):
        train, test = plate_split(profiles, SMALL, seed)
        assert not set(profiles.plate[train]) & set(profiles.plate[test])
        assert train.size + test.size == profiles.X.shape[0]


@pytest.mark.parametrize("arm", ARMS, ids="-".join)
def test_every_model_has_the_same_size_and_sparsity(arm, profiles):
    rows = np.arange(profiles.X.shape[0])
    pipeline = fit(arm, profiles, rows, SMALL, 0)
    codes = pipeline.transform(profiles.X)
    n_components = profiles.X.shape[1] if arm.model == "PCA" else SMALL.n_components
    assert codes.shape[1] == n_components
    assert np.diff(codes.indptr).max() <= SMALL.n_nonzero_coefs
    assert pipeline["whiten"].n_control_ == profiles.control.sum()


def test_random_is_never_trained(profiles):
    pipeline = fit(Arm("on", "random"), profiles, np.arange(80), SMALL, 0)
    assert pipeline["dictionary"].n_steps_ == 0
    assert build(Arm("off", "random"), SMALL, 0)["whiten"].method == "center"


def test_held_out_plates_do_not_reach_the_fit(profiles):
    arm = Arm("on", "ICFL")
    first = evaluate(arm, profiles, SMALL, 0)
    _, test = plate_split(profiles, SMALL, 0)
    changed = Profiles(**{name: getattr(profiles, name) for name in
                          ("feature_names", "control", "compound", "moa", "plate", "batch",
                           "well")}, X=profiles.X.copy())  # fmt: skip
    changed.X[test] += 5.0
    second = evaluate(arm, changed, SMALL, 0)
    assert np.array_equal(
        first.pipeline["dictionary"].components_, second.pipeline["dictionary"].components_
    )
    for key in ("fit_cosine", "selectivity", "above_02", "chance_selectivity"):
        assert first.values[key] == second.values[key]
    assert first.values["held_cosine"] != second.values["held_cosine"]


def test_selectivity_of_a_perfect_and_of_a_plate_bound_feature():
    compound = np.tile(np.repeat(["a", "b"], 4), 4)
    plate = np.repeat(["p0", "p1", "p2", "p3"], 8)
    train, test = np.flatnonzero(plate < "p2"), np.flatnonzero(plate >= "p2")
    perfect = (compound == "a") * 1.0
    only_training = perfect * (plate < "p2")
    from scipy.sparse import csr_array

    options = {"n_permutations": 19, "seed": 0}
    values, curves = judge_selectivity(
        csr_array(perfect[:, None]), compound, plate, train, test, **options
    )
    assert values["selectivity"] == values["held_selectivity"] == pytest.approx(0.0)  # +1 and -1
    assert sorted(curves.best) == [-1.0, 1.0]
    assert values["above_05"] == values["held_above_05"] == 1
    assert values["chance_above_05"] < 1
    values, _ = judge_selectivity(
        csr_array(only_training[:, None]), compound, plate, train, test, **options
    )
    assert values["above_05"] == 1 and values["held_above_05"] == 0


def test_chance_keeps_labels_within_plates():
    # One compound per plate: permuting within plates changes nothing, so chance is the score.
    compound = plate = np.repeat(["a", "b", "c"], 6)
    codes = np.zeros((18, 2))
    codes[:6, 0] = 1.0
    from scipy.sparse import csr_array

    from skdict._demo._selectivity import _chance_counts

    counts = _chance_counts(csr_array(codes), compound, plate, 3, 0)
    assert counts == {"chance_above_05": 1.0, "chance_above_02": 1.0}


def test_concepts_point_back_to_the_input(profiles):
    outcome = evaluate(Arm("on", "ICFL"), profiles, SMALL, 0)
    concepts = describe_concepts(outcome, profiles, SMALL, n_concepts=3)
    assert len({concept.labels[0].compound for concept in concepts}) == len(concepts)
    scores = [concept.labels[0].train for concept in concepts]
    assert scores == sorted(scores, reverse=True)
    whitener = outcome.pipeline["whiten"]
    for concept in concepts:
        components = {item.name: item.component for item in concept.inputs}
        assert max(map(abs, components.values())) == 1.0
        # Moving the input along the whole direction moves the whitened row along the atom.
        everything = describe_concepts(outcome, profiles, SMALL, n_concepts=3, n_inputs=10)
        found = next(c for c in everything if c.feature == concept.feature)
        order = {str(name): i for i, name in enumerate(profiles.feature_names)}
        direction = np.zeros(10)
        for item in found.inputs:
            direction[order[item.name]] = item.component
        moved = whitener.transform((whitener.mean_ + direction)[None]).ravel()
        atom = outcome.pipeline["dictionary"].components_[concept.feature]
        cosine = moved @ atom / np.linalg.norm(moved) / np.linalg.norm(atom)
        assert abs(cosine) == pytest.approx(1.0, abs=1e-4)
        codes = [abs(well.code) for well in concept.wells]
        assert codes == sorted(codes, reverse=True)


# --------------------------------------------------------------------------- run, text, page


def test_every_number_is_there(results):
    assert set(results.values) == set(ARMS)
    for values in results.values.values():
        assert set(values) == set(BY_KEY)
        for numbers in values.values():
            assert numbers.shape == (2,) and np.isfinite(numbers).all()
    for held_out in ("compound", "plate"):
        assert results.raw[held_out].shape == (2,)
        assert (results.raw[held_out] >= 0).all() and (results.raw[held_out] <= 1).all()
    assert results.data["controls"] == 30 and results.data["mechanisms"] == 4


def test_controls_are_no_label(results):
    for curves in results.curves.values():
        assert isinstance(curves, Curves)
        assert "DMSO" not in curves.labels and curves.labels.size == 9


def test_sparsity_curves_hold_every_sparsity(results):
    for arm, points in results.sparsity.items():
        assert len(points) == len(SMALL.sparsities), arm
        assert points == sorted(points)


def test_work_in_processes_gives_the_same(screen, results):
    again = run(screen, SMALL, n_jobs=2)
    for arm, values in results.values.items():
        for key, numbers in values.items():
            np.testing.assert_allclose(again.values[arm][key], numbers, atol=1e-6)


def test_text_names_every_model_and_metric(results):
    text = text_report(results)
    for metric in METRICS:
        assert text.count(metric.label) >= 2, metric.label
    assert all(model in text for model in MODELS)
    assert "position-confounded" in text and "no confidence interval" in text
    assert max(len(line) for line in text_table(results).splitlines()) <= WIDTH <= 100


def test_table_shows_the_numbers(results):
    line = next(line for line in text_table(results).splitlines() if "held-out comp" in line)
    cells = [show(results.values[Arm("off", m)]["codes_compound"], 3) for m in MODELS]
    assert [cell for cell in re.split(r"\s{2,}", line.strip())][1:] == cells


def test_page_stands_alone_and_is_complete(results):
    pytest.importorskip("matplotlib")
    page = demo_page(results)
    assert demo_page is page_of
    assert not re.search(r"https?://|@import|<script|<link|src=", page)
    assert page.count("<figure>") == 10
    for heading in ("better", "All numbers", "How to read", "Plots", "concepts", "Limits"):
        assert re.search(rf"<h2>[^<]*{heading}", page), heading
    for concept in results.concepts:
        assert f"Feature {concept.feature}: {concept.labels[0].compound}" in page
    assert "position-confounded" in page.lower()


def test_quick_and_full_settings_have_the_same_tasks():
    full, quick = _tasks(Settings()), _tasks(QUICK)
    assert {task[0] for task in full} == {task[0] for task in quick} == {"arm", "sparsity", "raw"}
    assert sum(task[0] == "arm" for task in full) == len(ARMS) * len(Settings().seeds)


# --------------------------------------------------------------------------------- progress


def test_plain_progress_writes_lines():
    stream = io.StringIO()
    with PlainProgress(20, stream) as progress:
        progress.note("start")
        for step in range(20):
            progress.advance(f"step {step}")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "start" and len(lines) == 11
    assert lines[-1].strip().startswith("20/20") and "step 19" in lines[-1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bar_only_in_a_terminal_with_rich(monkeypatch):
    pytest.importorskip("rich")
    assert isinstance(make_progress(2), PlainProgress)  # pytest captures the output
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    with make_progress(2) as progress:
        assert not isinstance(progress, PlainProgress)
        progress.advance("first step")
        progress.note("a note")

    def missing(name, *, extra):
        raise ImportError(name)

    monkeypatch.setattr("skdict._demo._progress.import_optional", missing)
    assert isinstance(make_progress(2), PlainProgress)
