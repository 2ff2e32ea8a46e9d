"""Planted effects: what is added, which of them are found, and where the limit is read."""

import numpy as np
import pytest
from scipy import sparse, stats
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA

from skdict._units import Resampling
from skdict.effects import detection_limit, false_positive_rate
from skdict.effects._detection_limit import _limit, _limits
from skdict.effects._planting import replace_rows

PLATE = np.repeat(["a", "b"], 24)


@pytest.fixture
def X(rng):
    """Wells of two plates; features of very different scale, the last one constant."""
    values = rng.normal(size=(48, 6)) * np.geomspace(0.01, 100, 6) + 5 * (PLATE == "a")[:, None]
    values[:, -1] = 3.0
    return values


class Recorder(TransformerMixin, BaseEstimator):
    """Keeps the batches that it is asked to encode."""

    def __init__(self):
        self.batches = []

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        self.batches.append(X)
        return X


def planted_by(X, **settings):
    """Rows before and after planting of each repetition, without the permutations' time."""
    pipeline = Recorder()
    found = detection_limit(
        X, None, PLATE, {"one": pipeline}, n_repeats=2, n_permutations=19, random_state=0,
        **settings,
    )  # fmt: skip
    return found, pipeline.batches


class TestPlanting:
    def test_the_effect_has_its_strength_in_standard_deviations(self, X):
        direction = np.array([0.02, 0.0, -3.0, 1.0, 0.0, 0.0])
        found, (rows, *changed) = planted_by(X, strengths=[0, 2], directions=[direction])
        centred = X - np.where((PLATE == "a")[:, None], X[:24].mean(0), X[24:].mean(0))
        spread = np.sqrt((centred[:, :4] ** 2).sum(axis=0) / 46)
        u = direction[:4] / spread / np.linalg.norm(direction[:4] / spread)
        along = (centred[:, :4] / spread) @ u
        sigma = np.sqrt((along**2).sum() / 46)
        assert np.allclose(found.sigma, sigma) and np.array_equal(rows, X)
        for batch in changed:
            same, moved = np.split(batch, 2)  # strength 0, then strength 2; 8 rows each
            assert same.shape == (8, 6)
            assert set(map(tuple, same)) <= set(map(tuple, X))
            effect = moved - same
            assert np.allclose(effect, effect[0])
            assert np.allclose(effect[0, :4] / spread, 2 * sigma * u)
            assert np.allclose(effect[0] / direction.max(), effect[0, 3] * direction, atol=1e-9)

    def test_random_directions_do_not_depend_on_the_scale_of_features(self, X):
        scale = np.array([1e3, 1.0, 1e-2, 7.0, 1e-3, 1.0])
        found, (_, *changed) = planted_by(X, strengths=[1, 3])
        scaled, (_, *changed_scaled) = planted_by(X * scale, strengths=[1, 3])
        assert np.allclose(found.sigma, scaled.sigma)
        for one, other in zip(changed, changed_scaled, strict=True):
            assert np.allclose(one * scale, other)
            assert (one[:, -1] == 3.0).all()  # a constant feature stays as it is

    def test_directions_are_taken_in_turn(self, X):
        _, (_, first, second) = planted_by(X, strengths=[0, 1], directions=np.eye(6)[[1, 3]])
        for batch, feature in ((first, 1), (second, 3)):
            effect = np.subtract(*np.split(batch, 2)[::-1])
            assert np.flatnonzero(effect.any(axis=0)).tolist() == [feature]

    def test_data_frames_and_float32_reach_the_pipeline_as_they_are(self, X):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(X, columns=list("abcdef"))
        found, batches = planted_by(frame, strengths=[1])
        plain, arrays = planted_by(X, strengths=[1])
        assert all(list(batch.columns) == list("abcdef") for batch in batches)
        assert np.array_equal(batches[1].to_numpy(), arrays[1])
        assert np.array_equal(found.detected, plain.detected)
        _, batches = planted_by(X.astype(np.float32), strengths=[1])
        assert all(batch.dtype == np.float32 for batch in batches)

    def test_whole_numbers_take_effects_that_are_none(self, rng):
        counts = rng.poisson(3, size=(48, 4))
        settings = {"strengths": [0.1, 10], "n_repeats": 3, "n_permutations": 99}
        found = [
            detection_limit(X, None, PLATE, {"raw": None}, random_state=0, **settings)
            for X in (counts, counts.astype(float))
        ]
        assert np.array_equal(found[0].detected, found[1].detected)
        replaced = replace_rows(np.arange(6).reshape(3, 2), np.array([1]), np.array([[0.5, 1.5]]))
        assert replaced.tolist() == [[0, 1], [0.5, 1.5], [4, 5]]

    @pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
    def test_rows_are_replaced_in_their_places(self, rng, form):
        codes = rng.normal(size=(6, 3)) * (rng.random((6, 3)) < 0.5)
        other = rng.normal(size=(2, 3))
        replaced = replace_rows(form(codes), np.array([4, 1]), form(other))
        expected = codes.copy()
        expected[[4, 1]] = other
        assert sparse.issparse(replaced) == (form is sparse.csr_array)
        assert np.array_equal(replaced.toarray() if sparse.issparse(replaced) else replaced,
                              expected)  # fmt: skip


class TestPower:
    def test_strong_effects_are_found_weak_ones_and_rare_ones_are_not(self, rng):
        X = rng.normal(size=(48, 8))
        found = detection_limit(
            X, None, PLATE, {"raw": None, "pca": PCA(4).fit(X)}, strengths=[20, 0, 5],
            prevalences=[1.0, 0.125], directions=np.eye(8)[:3], n_repeats=8,
            n_permutations=199, random_state=0,
        )  # fmt: skip
        assert found.strengths.tolist() == [0, 5, 20]
        power = found.detected.mean(axis=-1)
        assert (power[:, 0, 0] < 0.3).all() and (power[0, 0, 1:] == 1).all()
        assert (power[:, 1, 1:] <= power[:, 0, 1:]).all() and power[0, 1, 1] < 0.5
        assert 0 < found.limit[0, 0] <= 5 and np.isinf(found.limit[0, 1])
        assert (found.limit_low <= found.limit).all() and (found.limit <= found.limit_high).all()
        # the hits of other pseudo-compounds are a small share of all
        assert found.table()["false_discovery"].mean() < 0.1

    def test_nothing_is_found_as_often_as_the_false_positive_rate_says(self, rng):
        X = rng.normal(size=(48, 8))
        settings = {"n_permutations": 99, "n_repeats": 6, "fdr_level": 0.5}
        found = detection_limit(X, None, PLATE, {"raw": None}, strengths=[0], random_state=0,
                                **settings)  # fmt: skip
        rate = false_positive_rate(X, None, PLATE, random_state=0, **settings)
        both = found.detected[0, 0, 0] | (found.n_false[0, 0, 0] > 0)
        assert stats.fisher_exact([
            [both.sum(), 6 - both.sum()],
            [(rate.by_repeat["n_hits"] > 0).sum(), (rate.by_repeat["n_hits"] == 0).sum()],
        ]).pvalue > 0.05  # fmt: skip

    def test_pipelines_see_the_same_draws(self, rng):
        X = rng.normal(size=(48, 4))
        found = detection_limit(
            X, None, PLATE, {"one": None, "two": None}, strengths=[1, 4], n_repeats=3,
            n_permutations=99, random_state=0,
        )  # fmt: skip
        assert np.array_equal(found.detected[0], found.detected[1])
        assert np.array_equal(found.n_false[0], found.n_false[1])

    def test_sparse_codes_and_units_of_several_rows(self, rng):
        class Threshold(Recorder):
            def transform(self, X):
                return sparse.csr_array(np.where(np.abs(X) > 1, X, 0))

        X = rng.normal(size=(48 * 4, 5))
        found = detection_limit(
            X, None, np.repeat(PLATE, 4), {"codes": Threshold()},
            units=np.repeat(np.arange(48), 4), strengths=[0, 30], prevalences=[0.5],
            n_repeats=3, n_permutations=199, random_state=0,
        )  # fmt: skip
        assert found.n_control_units == 48 and found.detected[0, 0, 1].all()

    def test_rows_that_were_fitted_on_are_left_out(self, rng):
        X = rng.normal(size=(48, 3))
        fit_rows = np.arange(48) % 3 == 0
        X[fit_rows] = np.nan
        found = detection_limit(
            X, None, PLATE, {"raw": None}, fit_rows=fit_rows, strengths=[1], n_repeats=2,
            n_permutations=19, random_state=0,
        )  # fmt: skip
        assert found.n_control_units == 32

    def test_table_and_summary(self, rng):
        found = detection_limit(
            rng.normal(size=(48, 3)), None, PLATE, {"raw": None}, strengths=[0, 50],
            prevalences=[1.0, 0.25], n_repeats=4, n_permutations=199, random_state=0,
        )  # fmt: skip
        table = found.table(as_frame=True)
        assert table.shape == (4, 10) and table["strength"].tolist() == [0, 50, 0, 50]
        exact = stats.binomtest(int(table["n_detected"][1]), 4).proportion_ci(method="exact")
        assert (table["low"][1], table["high"][1]) == (exact.low, exact.high)
        assert found.limits(as_frame=True).shape == (2, 5)
        assert "48 control units on 2 plates" in repr(found)
        assert "raw, 25% of the rows" in repr(found)


class TestLimit:
    def test_between_two_strengths(self):
        assert _limit(np.array([0.0, 0.4, 1.0]), np.array([0, 1, 2]), 0.8) == pytest.approx(5 / 3)
        # on a logarithmic axis unless a strength is 0
        assert _limit(np.array([0.6, 1.0]), np.array([1, 4]), 0.8) == pytest.approx(2)

    def test_at_the_ends_of_the_grid(self):
        assert _limit(np.array([0.9, 1.0]), np.array([1, 2]), 0.8) == 1
        assert _limit(np.array([0.1, 0.7]), np.array([1, 2]), 0.8) == np.inf
        assert _limit(np.array([0.1, 0.8]), np.array([1, 2]), 0.8) == pytest.approx(2)

    def test_a_dip_by_chance_is_smoothed(self):
        # 0.9 and 0.5 become 0.7 twice: 0.8 is not reached before the last strength
        strengths = np.array([0.0, 1.0, 2.0, 3.0])
        assert 2 < _limit(np.array([0.0, 0.9, 0.5, 1.0]), strengths, 0.8) < 3

    def test_interval_holds_the_limit_and_knows_of_what_is_never_reached(self):
        rng = np.random.RandomState(0)
        strengths = np.arange(4.0)
        detected = rng.random_sample((1, 1, 4, 60)) < np.array([0, 0.3, 0.8, 0.95])[:, None]
        settings = Resampling.checked(500, 0.95, None)
        limit, low, high = _limits(detected, strengths, 0.8, settings, rng)
        assert 1 < low[0, 0] < limit[0, 0] < high[0, 0] < np.inf
        found = np.arange(20) < np.array([[0], [6], [16]])  # 0.8 at the last strength
        limit, low, high = _limits(found[None, None], strengths[:3], 0.8, settings, rng)
        assert limit[0, 0] == pytest.approx(2)
        assert low[0, 0] < 2 and np.isinf(high[0, 0])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"strengths": [1, -1]}, ValueError, r"strengths must be finite numbers >= 0"),
        ({"strengths": [np.nan]}, ValueError, r"strengths must be finite numbers >= 0"),
        ({"strengths": []}, ValueError, "strengths must hold at least one number"),
        ({"strengths": [1, 1]}, ValueError, "strengths must .* none twice"),
        ({"prevalences": [0.0]}, ValueError, r"prevalences must be in \(0, 1\], got \[0.0\]"),
        ({"prevalences": [1.5]}, ValueError, r"prevalences must be in \(0, 1\]"),
        ({"directions": np.ones(6)}, ValueError, r"directions must have the shape \(n_dir.*, 6\)"),
        ({"directions": np.ones((1, 5))}, ValueError, r"directions must .* got shape \(1, 5\)"),
        ({"directions": np.zeros((1, 6))}, ValueError, "not zero, but row 0 is not"),
        ({"directions": np.eye(6)[[5]]}, ValueError, "features that vary among the controls"),
        ({"pipelines": PCA()}, TypeError, "pipelines must be a dict of a name"),
        ({"pipelines": {}}, TypeError, "pipelines must be a dict of a name"),
        ({"pipelines": {"x": 3}}, TypeError, r"pipelines\['x'\] must be None, .* got 3"),
        ({"fit_rows": np.ones(48, bool)}, ValueError, "fit_rows must leave some of the 48"),
        ({"fit_rows": np.arange(3)}, ValueError, "fit_rows must be a boolean mask"),
        ({"fit_rows": np.arange(48) % 8 > 0}, ValueError, r"8 control units .* 0 of 2 plates"),
        ({"n_repeats": 1}, ValueError, "n_repeats must be an integer >= 2"),
        ({"power": 0.0}, ValueError, r"power must be in \(0, 1\]"),
        ({"dose": [1]}, TypeError, "controls have no dose"),
    ],
)
def test_bad_input_is_named(X, settings, error, message):
    settings = {"pipelines": {"raw": None}} | settings
    with pytest.raises(error, match=message):
        detection_limit(X, None, PLATE, **settings)


def test_rows_that_cannot_be_planted_in(X):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="X must hold numbers in all columns"):
        detection_limit(pandas.DataFrame({"a": ["x"] * 48}), None, PLATE, {"raw": None})
    with pytest.raises(TypeError, match="X must be dense"):
        detection_limit(sparse.csr_array(X), None, PLATE, {"raw": None})
    with pytest.raises(ValueError, match="X must vary among the controls"):
        detection_limit(np.ones((48, 2)), None, PLATE, {"raw": None})
    X[3, 0] = np.nan
    with pytest.raises(ValueError, match="X holds NaN"):
        detection_limit(X, None, PLATE, {"raw": None})


def test_held_out_plates_and_compounds_on_one_plate(X):
    with pytest.raises(ValueError, match="n_plates_per_compound=1 with held_out='b' leaves"):
        detection_limit(X, None, PLATE, {"raw": None}, held_out="b", n_plates_per_compound=1)
