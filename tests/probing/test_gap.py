"""The gap is what probes of the same folds and a paired interval give one by one."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdict import ICFLDictionary
from skdict.preprocessing import LargestValuesSelector
from skdict.probing import probe_difference_interval, probe_gap, probe_representations


@pytest.fixture
def data():
    """Four labels in the sums of many features, twelve plates of 20 wells, some controls."""
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(4), 60)
    X = rng.normal(size=(240, 16)) + 0.9 * rng.normal(size=(4, 16))[y]
    return {
        "X": X,
        "y": y,
        "groups": np.repeat(np.arange(12), 20),
        "well": np.arange(240) // 2,
        "control": np.arange(240) % 20 == 19,
    }


def pipeline():
    return make_pipeline(StandardScaler(), LargestValuesSelector(2))


def options(data, **more):
    names = ("groups", "control")
    return {name: data[name] for name in names} | {"cv": 3, "Cs": 0.1, "random_state": 0} | more


def test_equals_single_probes_and_a_paired_interval(data):
    X, y = data["X"], data["y"]
    table, folds = probe_gap(
        pipeline(),
        X,
        y,
        n_nonzero_coefs=(1, 8),
        units=data["well"],
        strata=data["groups"],
        n_resamples=200,
        return_folds=True,
        **options(data),
    )
    assert table["n_nonzero_coefs"].tolist() == [1, 1, 8, 8]
    assert table["representation"].tolist() == ["codes", "reconstruction"] * 2
    assert folds["n_nonzero_coefs"].tolist() == [-1] * 3 + [1] * 6 + [8] * 6
    for i, value in enumerate((1, 8)):
        model = pipeline().set_params(largestvaluesselector__n_nonzero_coefs=value)
        single, predictions = probe_representations(
            model, X, y, return_predictions=True, **options(data)
        )
        here = {
            name: predictions["representation"] == name
            for name in ("raw", "codes", "reconstruction")
        }
        rows = predictions["row"][here["raw"]]
        for j, name in enumerate(("codes", "reconstruction")):
            np.testing.assert_array_equal(predictions["row"][here[name]], rows)
            expected = probe_difference_interval(
                y[rows],
                predictions["y_pred"][here["raw"]],
                predictions["y_pred"][here[name]],
                units=data["well"][rows],
                strata=data["groups"][rows],
                n_resamples=200,
                random_state=0,
            )
            row = {key: column[2 * i + j] for key, column in table.items()}
            assert row["gap"] == pytest.approx(expected.difference)
            assert row["balanced_accuracy_raw"] == pytest.approx(expected.balanced_accuracy)
            assert row["balanced_accuracy"] == pytest.approx(expected.balanced_accuracy_other)
            assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
            assert row["n_units"] == expected.n_units
            fold_scores = folds["balanced_accuracy"][
                (folds["n_nonzero_coefs"] == value) & (folds["representation"] == name)
            ]
            kept = single["representation"] == name
            np.testing.assert_allclose(fold_scores, single["balanced_accuracy"][kept])
    assert table["n_active"].tolist() == [1.0, 16.0, 8.0, 16.0]


def test_the_gap_closes_with_more_nonzeros(data):
    table = probe_gap(
        pipeline(),
        data["X"],
        data["y"],
        n_nonzero_coefs=(1, 16),
        units=data["well"],
        representations="codes",
        n_resamples=300,
        **options(data),
    )
    assert table["low"][0] > 0  # one of sixteen features is not enough
    assert table["low"][1] <= 0.05 and table["gap"][1] < table["gap"][0]


def test_other_parameters_and_frames(data):
    pytest.importorskip("pandas")
    model = ICFLDictionary(24, n_nonzero_coefs=4, max_steps=5, random_state=0)
    frame = probe_gap(
        model,
        data["X"],
        data["y"],
        n_nonzero_coefs=2,
        parameter="transform_n_nonzero_coefs",
        units=None,
        n_resamples=50,
        as_frame=True,
        **options(data),
    )
    assert frame["transform_n_nonzero_coefs"].tolist() == [2, 2]
    assert frame["n_active"][0] == pytest.approx(2, abs=0.2)
    assert frame["n_units"][0] == 240 - data["control"].sum()


def test_errors_name_the_parameter(data):
    def run(model=None, **more):
        call = options(data) | {"units": None, "n_nonzero_coefs": 2} | more
        return probe_gap(pipeline() if model is None else model, data["X"], data["y"], **call)

    for more, message in [
        ({"n_nonzero_coefs": ()}, "n_nonzero_coefs must be integers"),
        ({"n_nonzero_coefs": (1.5,)}, "n_nonzero_coefs must be integers"),
    ]:
        with pytest.raises(TypeError, match=message):
            run(**more)
    for more, message in [
        ({"n_nonzero_coefs": (2, 2)}, "n_nonzero_coefs must be distinct"),
        ({"n_nonzero_coefs": 0}, "n_nonzero_coefs must be distinct and >= 1"),
        ({"representations": ("raw", "codes")}, 'representations must not hold "raw"'),
        ({"parameter": "sparsity"}, "parameter must be one of the last step"),
        ({"model": StandardScaler()}, "parameter must be one of the last step"),
        ({"units": np.arange(10)}, "units must have one entry per row"),
    ]:
        with pytest.raises(ValueError, match=message):
            run(**more)
    with pytest.raises(ValueError, match="pipeline must not be None"):
        probe_gap(None, data["X"], data["y"], n_nonzero_coefs=2, units=None, **options(data))


class Unfittable(LargestValuesSelector):
    """Fails the test when it is fitted."""

    def fit(self, X, y=None):
        raise AssertionError("fitted before units and strata were looked at")


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"units": np.arange(300)}, r"units must have one entry per row: got shape \(300,\)"),
        ({"units": np.arange(100)}, r"units must have one entry per row: got shape \(100,\)"),
        ({"units": None, "strata": np.zeros(300)}, "strata must have one entry per row"),
        (
            {"units": np.arange(240) // 2, "strata": np.arange(240)},
            "units must lie in one stratum each",
        ),
        ({"units": np.full(240, np.nan)}, "units holds missing values"),
    ],
)
def test_units_and_strata_are_looked_at_before_anything_is_fitted(data, wrong, message):
    with pytest.raises(ValueError, match=message):
        probe_gap(Unfittable(), data["X"], data["y"], n_nonzero_coefs=2, representations="codes",
                  **options(data, **wrong))  # fmt: skip
