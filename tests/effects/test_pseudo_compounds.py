"""Relabelled controls: what is drawn, and how often nothing is called something."""

import numpy as np
import pytest
from scipy import sparse, stats
from sklearn import set_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from skdict import ControlPCAWhitener
from skdict.effects import false_positive_rate, pseudo_compounds


def cells(rng, *, n_plates=3, n_wells=16, n_cells=8, n_concepts=12, share=1.0):
    """Cells of control wells that differ by plate and, as `share` says, by well."""
    plate = np.repeat([f"p{i}" for i in range(n_plates)], n_wells * n_cells)
    well = np.repeat(np.arange(n_plates * n_wells), n_cells)
    values = rng.normal(size=(plate.size, n_concepts))
    values += share * rng.normal(size=(n_plates * n_wells, n_concepts))[well]
    values += 2 * rng.normal(size=(n_plates, n_concepts))[well // n_wells]
    return np.where(np.abs(values) > 1, values, 0.0), plate, well


class TestPseudoCompounds:
    def test_units_are_whole_disjoint_and_as_many_as_asked_for(self, rng):
        _, plate, well = cells(rng)
        control = well % 16 != 0  # 15 wells a plate, the other one is a compound
        drawn = pseudo_compounds(
            control, plate, units=well, n_units_per_plate=3, n_compounds=2, random_state=0
        )
        assert np.array_equal(drawn.rows, np.flatnonzero(control))
        assert np.array_equal(drawn.control, drawn.perturbation == -1)
        of_well = {unit: set(drawn.perturbation[well[drawn.rows] == unit]) for unit in set(well)}
        assert all(len(names) == 1 for names in of_well.values() if names)
        for name in range(2):
            wells = np.unique(well[drawn.rows][drawn.perturbation == name])
            assert np.array_equal(np.bincount(wells // 16), [3, 3, 3])
        assert drawn.n_compounds == 2 and drawn.left_out.size == 0

    def test_half_of_each_plate_stays_control(self):
        plate = np.repeat(["many", "few", "none"], [17, 9, 5])
        drawn = pseudo_compounds(None, plate, n_units_per_plate=4, random_state=0)
        assert drawn.left_out.tolist() == ["none"] and drawn.rows.max() == 25
        counts = {
            name: np.bincount(drawn.perturbation[plate[drawn.rows] == name] + 1)
            for name in ("many", "few")
        }
        assert counts["many"].tolist() == [9, 4, 4] and counts["few"].tolist() == [5, 4]

    def test_a_compound_lies_on_as_many_plates_as_asked_for(self):
        plate = np.repeat(np.arange(5), 8)
        drawn = pseudo_compounds(
            None, plate, n_units_per_plate=2, n_plates_per_compound=2, random_state=1
        )
        plates = plate[drawn.rows]
        assert np.unique(plates).size == 4  # the fifth does not fill a group
        assert drawn.n_compounds == 4
        for name in range(4):
            own = plates[drawn.perturbation == name]
            assert np.unique(own, return_counts=True)[1].tolist() == [2, 2]

    def test_every_unit_is_drawn_equally_often(self):
        rng = np.random.RandomState(0)
        plate = np.repeat(["a", "b"], [8, 12])
        drawn = [
            pseudo_compounds(None, plate, n_compounds=1, n_units_per_plate=2, random_state=rng)
            for _ in range(800)
        ]
        counts = np.sum([~one.control for one in drawn], axis=0)
        for name, share in (("a", 2 / 8), ("b", 2 / 12)):
            z = (counts[plate == name] / 800 - share) / np.sqrt(share * (1 - share) / 800)
            assert np.abs(z).max() < 3.5

    def test_same_seed_same_draw(self):
        plate = np.repeat(["a", "b"], 16)
        first, second = (pseudo_compounds(None, plate, random_state=3) for _ in range(2))
        assert np.array_equal(first.perturbation, second.perturbation)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"n_units_per_plate": 9}, r"1 plate\(s\) with 18 control units .* 0 of 2 plates"),
            ({"n_compounds": 3}, "24 control units .* they have 16 to 16. Lower n_units"),
            ({"n_plates_per_compound": 3}, r"3 plate\(s\) with 8 control units"),
            ({"n_units_per_plate": 0}, "n_units_per_plate must be an integer >= 1"),
            ({"units": np.tile(np.arange(16), 2)}, "unit 0 lies in 'a' and 'b'"),
            ({"units": np.arange(5)}, "units must have one entry per row"),
        ],
    )
    def test_bad_input_is_named(self, settings, message):
        with pytest.raises(ValueError, match=message):
            pseudo_compounds(None, np.repeat(["a", "b"], 16), **settings)


class TestFalsePositiveRate:
    def test_wells_hold_the_level_and_cells_as_replicates_do_not(self, rng):
        codes, plate, well = cells(rng)
        settings = {"n_units_per_plate": 3, "n_repeats": 12, "n_permutations": 199}
        right = false_positive_rate(
            codes, None, plate, units=well, confidence_level=0.99, random_state=0, **settings
        )
        assert right.n_compounds == 24 and right.rates["n_pairs"].sum() > 2000
        assert (right.rates["low"] <= right.rates["level"]).all()
        assert right.any_hit.low <= 0.05
        wrong = false_positive_rate(
            codes, None, plate, units=well, screen_units=np.arange(plate.size), random_state=0,
            **settings,
        )  # fmt: skip
        assert (wrong.rates["low"] > 2 * wrong.rates["level"]).all()
        assert wrong.any_hit.low > 0.3 and wrong.compound_hit.low > 0.2

    def test_counts_shares_and_intervals_fit_together(self, rng):
        codes, plate, well = cells(rng, n_plates=2)
        found = false_positive_rate(
            sparse.csr_array(codes), None, plate, units=well, n_repeats=4, n_permutations=99,
            levels=[0.2, 0.999], fdr_level=1.0, confidence_level=0.9, random_state=0,
        )  # fmt: skip
        by_repeat = found.by_repeat
        of_rate = found.rates["statistic"] == "rate"
        assert (found.rates["n_pairs"][of_rate] == by_repeat["n_pairs_rate"].sum()).all()
        share = found.rates["share"].reshape(-1, 2)
        assert (share[:, 0] < share[:, 1]).all()
        assert np.array_equal(by_repeat["n_compounds_with_hit"], by_repeat["n_compounds"])
        assert found.mean_hits == by_repeat["n_hits"].mean()
        exact = stats.binomtest(4, 4).proportion_ci(0.9, method="exact")
        assert (found.any_hit.low, found.any_hit.high) == (exact.low, exact.high)
        assert found.table(as_frame=True).shape == (8, 7)
        assert "relabellings of 32 control units on 2 plates" in repr(found)
        assert "rate, tail p <= 0.2" in repr(found) and "90% intervals" in repr(found)

    def test_sparse_and_dense_codes_agree(self, rng):
        codes, plate, well = cells(rng, n_plates=2)
        settings = {"units": well, "n_repeats": 2, "n_permutations": 99, "random_state": 0}
        dense, thin = (
            false_positive_rate(form, None, plate, **settings)
            for form in (codes, sparse.csr_array(codes))
        )
        assert np.array_equal(dense.rates["share"], thin.rates["share"])

    def test_codes_without_rates_have_no_pairs_of_them(self, rng):
        X = rng.normal(size=(32, 4))
        found = false_positive_rate(
            X, None, np.repeat([0, 1], 16), n_repeats=2, n_permutations=99, random_state=0
        )
        assert found.by_repeat["n_pairs_rate"].sum() == 0
        assert np.isnan(found.rates["share"][found.rates["statistic"] == "rate"]).all()
        assert "no pair tested" in repr(found)

    def test_a_fitted_pipeline_encodes_control_rows_only(self, rng):
        X = rng.normal(size=(64, 5))
        control = np.arange(64) % 2 == 0
        X[~control] = np.nan  # rows that must not be looked at
        plate = np.repeat([0, 1], 32)
        pipeline = PCA(3).fit(rng.normal(size=(50, 5)))
        settings = {"n_repeats": 2, "n_permutations": 99, "random_state": 0}
        through = false_positive_rate(X, control, plate, pipeline=pipeline, **settings)
        codes = pipeline.transform(X[control])
        direct = false_positive_rate(codes, None, plate[control], **settings)
        assert np.array_equal(through.rates["share"], direct.rates["share"], equal_nan=True)


class Recorder(TransformerMixin, BaseEstimator):
    """Notes what it was fitted on and with which controls."""

    seen: list = []  # shared by the clones
    __metadata_request__fit = {"control": True}

    def fit(self, X, y=None, control=None):
        self.seen.append((X[:, 0].astype(int), control))
        self.fitted_ = True
        return self

    def transform(self, X):
        return X


@pytest.mark.parametrize("refit", [True, "relabelled"])
def test_refitting_treats_pseudo_compounds_as_no_controls(rng, refit):
    X = np.column_stack([np.arange(40), rng.normal(size=(40, 3))])
    control = np.arange(40) < 32
    plate = np.concatenate([np.repeat([0, 1], 16), np.repeat([0, 1], 4)])
    Recorder.seen.clear()
    false_positive_rate(
        X, control, plate, pipeline=make_pipeline(Recorder()), refit=refit, n_repeats=3,
        n_permutations=19, random_state=0,
    )  # fmt: skip
    assert len(Recorder.seen) == 3
    for rows, mask in Recorder.seen:
        if refit == "relabelled":
            assert np.array_equal(rows, np.arange(40))
        else:  # two plates with two compounds of four units
            assert rows.size == 24 and set(range(32, 40)) <= set(rows)
            assert mask[rows < 32].all()
        assert mask.sum() == 16 and not mask[rows >= 32].any()


class Squares(TransformerMixin, BaseEstimator):
    """Length of each row, which an overfitted whitener makes short for its own controls."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return (X**2).sum(axis=1, keepdims=True)


def test_refitting_shows_a_whitener_that_is_overfitted_to_its_controls(rng):
    # 64 controls in 30 dimensions: whitening makes those it was fitted on shorter than others
    X = rng.normal(size=(64, 30))
    plate = np.repeat([0, 1], 32)
    set_config(enable_metadata_routing=True)
    pipeline = make_pipeline(ControlPCAWhitener(epsilon=0.0), Squares())
    pipeline.fit(X, control=np.ones(64, dtype=bool))
    share = {}
    for refit in (False, True, "relabelled"):
        found = false_positive_rate(
            X, None, plate, pipeline=pipeline, refit=refit, n_units_per_plate=8, n_repeats=6,
            n_permutations=99, random_state=0,
        )  # fmt: skip
        share[refit] = found.rates["share"][found.rates["level"] == 0.05][-1]
    assert share[False] < 0.2 < 0.8 < min(share[True], share["relabelled"])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"pipeline": object()}, TypeError, "pipeline must be None, .* the method transform"),
        ({"refit": True}, TypeError, "refit=True needs a pipeline to fit"),
        ({"refit": "yes"}, ValueError, "refit must be one of 'relabelled', True, False"),
        ({"n_repeats": 1}, ValueError, "n_repeats must be an integer >= 2"),
        ({"levels": [0.0]}, ValueError, r"levels must be in \(0, 1\]"),
        ({"levels": [0.5, 1.0]}, ValueError, "levels must be less than 1"),
        (
            {"held_out": 1, "n_plates_per_compound": 1},
            ValueError,
            "n_plates_per_compound=1 with held_out=1 leaves .* at least 2, or None",
        ),
        ({"levels": []}, ValueError, "levels must be a sequence"),
        ({"confidence_level": 1.0}, ValueError, "confidence_level must be less than 1"),
        ({"dose": 1}, TypeError, "got dose: controls have no dose"),
        ({"n_permutation": 9}, TypeError, "further arguments .*n_permutations.*got n_permutation"),
        ({"screen_units": [1]}, ValueError, "units must have one entry per row"),
    ],
)
def test_bad_input_is_named(rng, settings, error, message):
    with pytest.raises(error, match=message):
        false_positive_rate(rng.normal(size=(32, 3)), None, np.repeat([0, 1], 16), **settings)


def test_a_plate_that_is_no_plate_per_row():
    with pytest.raises(ValueError, match="plate must hold .* where control is None.* got 5"):
        pseudo_compounds(None, 5)


def test_compounds_on_most_plates_lie_on_both_kinds(rng):
    plate = np.repeat([0, 1, 2], 16)
    found = false_positive_rate(
        rng.normal(size=(48, 3)), None, plate, n_repeats=2, n_permutations=19, random_state=0,
        held_out=[2], n_plates_per_compound=3,
    )  # fmt: skip
    assert found.n_plates == 3
