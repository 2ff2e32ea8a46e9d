"""The benchmarks of effects run at small sizes, and count what they say they count."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.utils import Bunch

from benchmarks import effects_real, effects_truth
from benchmarks.__main__ import QUALITY
from benchmarks.effects_truth import KINDS, QUICK


def test_they_run_when_named():
    assert {"effects_scale", "effects_truth", "effects_real"} < set(QUALITY)


class TestTruth:
    def test_planted_pairs_have_one_changed_statistic(self):
        drawn = effects_truth.draw(KINDS["all plates"], QUICK, 0)
        rate, strength = (drawn.truth[name] >= 0 for name in ("rate", "strength"))
        assert (rate | strength).any()
        assert not (rate & strength).any()
        nothing = effects_truth.draw(KINDS["no effect"], QUICK, 0)
        assert all((nothing.truth[name] < 0).all() for name in ("rate", "strength"))

    @pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
    def test_every_perturbation_lies_on_as_many_plates(self, kind):
        drawn = effects_truth.draw(kind, QUICK, 1)
        for name in range(-1, QUICK.n_perturbations):
            plates = np.unique(drawn.plate[drawn.perturbation == name])
            assert plates.size == (5 if name < 0 else kind.n_plates_each)

    def test_welch_is_scipys(self):
        rng = np.random.default_rng(0)
        own, other = rng.normal(size=(6, 8)), rng.normal(0.5, 2, size=(9, 8))
        own[rng.random(own.shape) < 0.2] = np.nan
        own[:, 0] = np.nan
        own[1:, 1] = np.nan
        expected = stats.ttest_ind(
            own[:, 2:], other[:, 2:], equal_var=False, nan_policy="omit"
        ).pvalue
        found = effects_truth.welch(own, other)
        np.testing.assert_allclose(found[2:], expected, rtol=1e-10)
        assert np.isnan(found[:2]).all()

    def test_counts_and_proportions(self):
        truth = {"rate": np.array([[0, -1]]), "strength": np.array([[-1, 2]])}
        hits = {"rate": np.array([[True, True]]), "strength": np.array([[True, False]])}
        counted = effects_truth.count(hits, truth)
        assert (counted["hits"], counted["false"]) == (3, 2)
        assert counted["rate", 0] == (1, 1)
        assert counted["strength", 2] == (0, 1)
        none = effects_truth.count({name: ~found & False for name, found in hits.items()}, truth)
        found = effects_truth.summarise([counted, none])
        assert found["false_discovery"] == pytest.approx((2 / 3 + 0) / 2)
        assert found["error"] == pytest.approx(np.std([2 / 3, 0], ddof=1) / np.sqrt(2))
        assert found["any_false"] == 0.5
        assert found["power_rate"][0] == 0.5

    def test_quick_run(self, capsys):
        results = effects_truth.run(quick=True, n_jobs=1)
        assert list(results) == list(KINDS)
        assert results["all plates"]["wells, q <= 0.05"]["n_draws"] == QUICK.n_repeats
        assert "wells, held out, q <= 0.1" in results["skewed strengths"]
        assert "wells, held out, q <= 0.1" not in results["two plates each"]
        assert "list-table" in capsys.readouterr().out


class TestReal:
    def test_quick_run_writes_what_it_found(self, tmp_path, capsys):
        output = tmp_path / "made" / "effects.json"
        effects_real.main(["--quick", "--jobs", "1", "--output", str(output)])
        results = json.loads(output.read_text())
        for part in ("calibration", "screens", "limits"):
            assert {row["method"] for row in results[part]} == set(effects_real.METHODS)
            for method in effects_real.METHODS:
                seeds = {row["seed"] for row in results[part] if row["method"] == method}
                assert seeds == ({0, 1} if method in effects_real.DICTIONARIES else {0})
        for row in results["screens"]:
            assert row["alone"] <= row["replicated"] <= row["part_hits"]
            assert row["alone_perturbations"] <= row["replicated_perturbations"]
        assert capsys.readouterr().out.count("list-table") == 3

    def test_raw_features_are_standardised_by_controls(self):
        X = np.random.default_rng(0).normal(3, 2, size=(50, 4))
        X[:, 3] = 1.0
        X[0, 0] = 1e6
        control = np.arange(50) >= 20
        Z = effects_real.ControlScaler().fit(X, control=control).transform(X)
        np.testing.assert_allclose(Z[control, :3].mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(Z[control, :3].std(axis=0), 1)
        assert (Z[:, 3] == 0).all()
        assert Z[0, 0] == effects_real.CLIP

    def test_shared_by_neighbours(self):
        hits = {
            "perturbation": np.array(["A", "A", "B", "C", "A"]),
            "concept": np.array([0, 1, 0, 0, 0]),
            "statistic": np.array(["rate", "rate", "rate", "rate", "strength"]),
            "z": np.array([3.0, 3.0, 3.0, 3.0, 3.0]),
        }
        table = Bunch(
            z=np.array([[2.0, -2.0], [2.0, 0.0]]),
            tail_p_value=np.array([[0.01, 0.01], [0.2, 1.0]]),
        )
        none = Bunch(z=np.zeros((2, 2)), tail_p_value=np.ones((2, 2)))
        around = Bunch(perturbations=np.array(["A", "B"]), rate=table, strength=none)
        # the same; the other direction; not significant; C has no neighbours; other statistic
        shared = effects_real.shared_by_neighbours(hits, around)
        assert shared.tolist() == [True, False, False, False, False]

    def test_half_of_the_control_units_are_held_out(self):
        wells = effects_real.jump_scope()
        held_out = effects_real.held_out_controls(wells, np.random.default_rng(0))
        assert not held_out[~wells.control].any()
        for plate in np.unique(wells.plate):
            on_plate = wells.plate == plate
            assert np.unique(wells.units[held_out & on_plate]).size == 12
        assert not np.isin(wells.units[~held_out], wells.units[held_out]).any()

    def test_blocks_of_wells_and_lines_of_controls(self, tmp_path):
        folder = tmp_path / "cmqtl_crispri_wells"
        folder.mkdir()
        well = [f"{row}{column}" for row in "ABCD" for column in range(1, 13)]
        of_block = np.repeat(np.repeat(np.arange(12).reshape(2, 6), 2, 0), 2, 1).ravel()
        gene = np.where(of_block < 6, "CONTROL", "WASF2")
        made = {
            "meta_plate": np.repeat(["p1", "p2"], 48), "meta_well": well * 2,
            "meta_gene": np.tile(gene, 2), "meta_sample_id": np.tile(of_block % 2, 2),
            "meta_is_control": np.tile(of_block < 6, 2),
            "f0": np.tile(100.0 * (of_block % 2), 2), "f1": np.arange(96.0),
        }  # fmt: skip
        pd = pytest.importorskip("pandas")
        pd.DataFrame(made).to_parquet(folder / "wells.parquet")
        wells = effects_real.cmqtl(tmp_path)
        _, sizes = np.unique(wells.units, return_counts=True)
        assert sizes.tolist() == [4] * 24
        assert set(wells.perturbation) == {"CONTROL 0", "CONTROL 1", "WASF2 0", "WASF2 1"}
        assert np.abs(wells.X).max() == effects_real.CLIP
        found = effects_real.hits_between_control_lines(wells.X, wells, {"random_state": 0})
        assert found == 1  # f0 differs between the lines, f1 does not
        alone = effects_real.jump_scope()
        assert effects_real.hits_between_control_lines(alone.X, alone, {}) is None

    def test_json_has_no_infinity(self):
        found = effects_real.finite({"a": [1.0, float("inf"), (2,)], "b": "x"})
        assert found == {"a": [1.0, None, [2]], "b": "x"}

    def test_missing_folder_is_said(self, monkeypatch, capsys):
        monkeypatch.delenv("SKDICT_DATA", raising=False)
        monkeypatch.setattr(effects_real, "tasks", lambda wells, settings: [])
        monkeypatch.setattr(effects_real, "page", lambda results: "")
        effects_real.run(n_jobs=1)
        assert "cmQTL: missing; it needs SKDICT_DATA" in capsys.readouterr().out
