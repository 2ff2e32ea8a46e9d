"""align_batches: moments of controls, an independent computation, what it must not see."""

import inspect

import numpy as np
import pytest
from scipy.linalg import fractional_matrix_power
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score

from skdict.preprocessing import align_batches


def batches(rng, sizes=(120, 90, 150), n_features=6, dtype=np.float64):
    """Batches that are each another affine map of the same distribution; half are controls."""
    X, batch = [], []
    for b, size in enumerate(sizes):
        mixing = np.eye(n_features) + 0.6 * rng.normal(size=(n_features, n_features))
        X.append(rng.normal(size=(size, n_features)) @ mixing + 3 * rng.normal(size=n_features))
        batch += [f"plate {b}"] * size
    order = rng.permutation(sum(sizes))
    X, batch = np.concatenate(X)[order], np.array(batch)[order]
    return X.astype(dtype), batch, rng.random(len(X)) < 0.5


def test_hand_computed():
    # Plate a: controls 0, 2 have mean 1, variance 2. Plate b: 10, 14 have mean 12, variance 8.
    # Pooled variance (2 + 8) / 2 = 5, mean of controls 6.5. So a's 5 becomes
    # 6.5 + 4 sqrt(5/2), and b's 16 becomes 6.5 + 4 sqrt(5/8).
    X = np.array([[0.0], [2.0], [5.0], [10.0], [14.0], [16.0]])
    batch = np.array(["a", "a", "a", "b", "b", "b"])
    control = np.array([True, True, False, True, True, False])
    aligned = align_batches(X, batch=batch, control=control, shrinkage=0)
    root = np.sqrt(5 / 2)
    np.testing.assert_allclose(aligned[:3, 0], 6.5 + root * np.array([-1, 1, 4]))
    root = np.sqrt(5 / 8)
    np.testing.assert_allclose(aligned[3:, 0], 6.5 + root * np.array([-2, 2, 4]))
    # Half way, the variances are 3.5 and 6.5.
    aligned = align_batches(X, batch=batch, control=control, shrinkage=0.5)
    np.testing.assert_allclose(aligned[2, 0], 6.5 + 4 * np.sqrt(5 / 3.5))
    np.testing.assert_allclose(aligned[5, 0], 6.5 + 4 * np.sqrt(5 / 6.5))
    means_only = align_batches(X, batch=batch, control=control, shrinkage=1)
    np.testing.assert_allclose(means_only[[2, 5], 0], [10.5, 10.5])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_controls_of_every_batch_get_the_pooled_moments(dtype):
    X, batch, control = batches(np.random.default_rng(0), dtype=dtype)
    aligned = align_batches(X, batch=batch, control=control, shrinkage=0)
    assert aligned.dtype == dtype
    atol = 1e-10 if dtype is np.float64 else 1e-4
    parts = [X[control & (batch == b)].astype(float) for b in np.unique(batch)]
    degrees = sum(len(part) - 1 for part in parts)
    pooled = sum((len(part) - 1) * np.cov(part.T) for part in parts) / degrees
    for b in np.unique(batch):
        part = aligned[control & (batch == b)].astype(float)
        np.testing.assert_allclose(part.mean(axis=0), X[control].mean(axis=0), atol=atol)
        np.testing.assert_allclose(np.cov(part.T), pooled, atol=10 * atol)
    # shrinkage leaves the means equal
    aligned = align_batches(X, batch=batch, control=control)
    for b in np.unique(batch):
        part = aligned[control & (batch == b)].astype(float)
        np.testing.assert_allclose(part.mean(axis=0), X[control].mean(axis=0), atol=atol)


def test_agrees_with_correlation_alignment_in_the_whitened_space():
    X, batch, control = batches(np.random.default_rng(1))
    aligned = align_batches(X, batch=batch, control=control)
    # Independently: centre, whiten with scikit-learn on the pooled controls, and align with
    # S + 0.5 I to the power -0.5.
    centred = np.empty_like(X)
    for b in np.unique(batch):
        centred[batch == b] = X[batch == b] - X[control & (batch == b)].mean(axis=0)
    n_control, n_batches = control.sum(), len(np.unique(batch))
    pca = PCA(whiten=True).fit(centred[control])
    whitened = pca.transform(centred) * np.sqrt((n_control - n_batches) / (n_control - 1))
    for b in np.unique(batch):
        covariance = np.cov(whitened[control & (batch == b)].T) + 0.5 * np.eye(X.shape[1])
        whitened[batch == b] @= fractional_matrix_power(covariance, -0.5) * np.sqrt(1.5)
    whitened *= np.sqrt((n_control - 1) / (n_control - n_batches))
    expected = pca.inverse_transform(whitened) + X[control].mean(axis=0)
    np.testing.assert_allclose(aligned, expected, atol=1e-9)


def test_sees_no_labels_and_no_treated_row():
    X, batch, control = batches(np.random.default_rng(2))
    assert list(inspect.signature(align_batches).parameters) == [
        "X",
        "batch",
        "control",
        "shrinkage",
    ]
    aligned = align_batches(X, batch=batch, control=control)
    treated = np.flatnonzero(~control)
    changed = X.copy()
    changed[treated[3]] += 100.0
    again = align_batches(changed, batch=batch, control=control)
    others = np.arange(len(X)) != treated[3]
    np.testing.assert_array_equal(again[others], aligned[others])
    # rows of which the treatment is exchanged within the batch: the same rows come out
    order = np.arange(len(X))
    here = treated[batch[treated] == "plate 1"]
    order[here] = np.random.default_rng(0).permutation(here)
    again = align_batches(X[order], batch=batch, control=control)
    np.testing.assert_array_equal(again, aligned[order])


def test_neither_order_nor_names_of_batches_matter():
    X, batch, control = batches(np.random.default_rng(3))
    aligned = align_batches(X, batch=batch, control=control)
    order = np.random.default_rng(0).permutation(len(X))
    again = align_batches(X[order], batch=batch[order], control=control[order])
    np.testing.assert_allclose(again, aligned[order], atol=1e-9)
    numbers = 10 - np.unique(batch, return_inverse=True)[1]
    again = align_batches(X, batch=numbers.tolist(), control=control.tolist())
    np.testing.assert_allclose(again, aligned, atol=1e-9)


def test_one_batch_stays_as_it_is():
    X, _, control = batches(np.random.default_rng(4))
    aligned = align_batches(X, batch=np.zeros(len(X)), control=control, shrinkage=0)
    np.testing.assert_allclose(aligned, X, atol=1e-9)


def test_removes_a_planted_batch_effect_and_keeps_a_planted_perturbation():
    rng = np.random.default_rng(5)
    n_features, n_batches = 10, 4
    batch = np.repeat(np.arange(n_batches), 200)
    treatment = np.tile(np.repeat([0, 1, 2, 3], 50), n_batches)  # 0 is the control
    effects = np.concatenate([np.zeros((1, n_features)), 2 * np.eye(n_features)[:3]])
    clean = rng.normal(size=(len(batch), n_features)) + effects[treatment]
    X = clean.copy()
    for b in range(n_batches):
        # another scale along the axes of the effects, and a shift
        stretch = np.exp(rng.uniform(-1, 1, size=n_features))
        X[batch == b] = X[batch == b] * stretch + 2 * rng.normal(size=n_features)
    control = treatment == 0
    aligned = align_batches(X, batch=batch, control=control)

    def accuracy(rows, y, groups=None):
        cv = LeaveOneGroupOut() if groups is not None else 4
        return cross_val_score(LogisticRegression(max_iter=1000), rows, y, groups=groups, cv=cv)

    # Which batch a control is from cannot be told any more, nor for a treated row.
    order = rng.permutation(len(X))
    for part in (control, ~control):
        rows = order[part[order]]
        assert accuracy(X[rows], batch[rows]).mean() > 0.9
        assert accuracy(aligned[rows], batch[rows]).mean() < 0.35  # chance is 0.25
    # The treatment can, in a batch that the model has not seen, nearly as well as without any
    # batch effect; and its mean effect is the one planted, up to the common scale.
    before, after, best = (accuracy(rows, treatment, batch).mean() for rows in (X, aligned, clean))
    assert before < 0.6
    assert after > best - 0.1
    assert best > 0.7
    cosines = []
    for rows in (X, aligned):
        shifts = [
            (rows[(treatment == 1) & (batch == b)].mean(axis=0) - rows[control].mean(axis=0))
            for b in range(n_batches)
        ]
        cosines.append(np.corrcoef(shifts)[np.triu_indices(n_batches, 1)].mean())
    assert cosines[0] < 0.5
    assert cosines[1] > 0.8


def test_directions_without_variation_are_only_shifted():
    X, batch, control = batches(np.random.default_rng(6), n_features=4)
    offset = np.unique(batch, return_inverse=True)[1].astype(float)
    extra = offset + np.where(control, 0.0, 0.25)
    aligned = align_batches(np.column_stack([X, extra]), batch=batch, control=control, shrinkage=0)
    np.testing.assert_allclose(
        aligned[:, :4], align_batches(X, batch=batch, control=control, shrinkage=0), atol=1e-8
    )
    np.testing.assert_allclose(aligned[~control, 4] - aligned[control, 4].mean(), 0.25)
    np.testing.assert_allclose(aligned[control, 4], offset[control].mean())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scales_of_features_do_not_matter(dtype):
    X, batch, control = batches(np.random.default_rng(6), dtype=dtype)
    scale = np.array([1e-6, 1e-3, 1, 1, 1e3, 1e6], dtype)
    for shrinkage in (0, 1 / 3):
        arguments = {"batch": batch, "control": control, "shrinkage": shrinkage}
        scaled = align_batches(X * scale, **arguments) / scale
        rtol = 1e-9 if dtype is np.float64 else 1e-3
        np.testing.assert_allclose(scaled, align_batches(X, **arguments), rtol=rtol, atol=rtol)


def test_a_constant_feature_far_from_zero_is_constant():
    X, batch, control = batches(np.random.default_rng(6), n_features=4, dtype=np.float32)
    X = np.column_stack([X, np.full(len(X), 1e5 + 0.1, np.float32)])
    aligned = align_batches(X, batch=batch, control=control, shrinkage=0)
    np.testing.assert_array_equal(aligned[:, 4], X[:, 4])


def test_fewer_controls_than_features():
    X, batch, _ = batches(np.random.default_rng(7), sizes=(30, 30), n_features=20)
    control = np.zeros(60, bool)
    for b in np.unique(batch):
        control[np.flatnonzero(batch == b)[:5]] = True
    with pytest.raises(ValueError, match=r"shrinkage=0 cannot align .* use shrinkage > 0"):
        align_batches(X, batch=batch, control=control, shrinkage=0)
    assert np.isfinite(align_batches(X, batch=batch, control=control)).all()


def test_errors_name_the_parameter():
    X, batch, control = batches(np.random.default_rng(8))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        align_batches(np.where(X > 4, np.nan, X), batch=batch, control=control)
    with pytest.raises(ValueError, match=r"batch must have one entry per row of X"):
        align_batches(X, batch=batch[:-1], control=control)
    with pytest.raises(ValueError, match="control must have one entry per row"):
        align_batches(X, batch=batch, control=control[:-1])
    with pytest.raises(ValueError, match="control must be a boolean mask, got None"):
        align_batches(X, batch=batch, control=None)
    none_left = control & (batch != "plate 1")
    with pytest.raises(ValueError, match=r"at least 2 .* but batch 'plate 1' has 0 .* drop"):
        align_batches(X, batch=batch, control=none_left)
    one_left = none_left.copy()
    one_left[np.flatnonzero(batch == "plate 1")[0]] = True
    with pytest.raises(ValueError, match=r"batch 'plate 1' has 1 .* shrinkage=1"):
        align_batches(X, batch=batch, control=one_left)
    assert np.isfinite(align_batches(X, batch=batch, control=one_left, shrinkage=1)).all()
    with pytest.raises(ValueError, match=r"but batch 'plate 1' has 0"):
        align_batches(X, batch=batch.astype(object), control=none_left)
    mixed = batch.astype(object)
    mixed[0] = 3
    with pytest.raises(ValueError, match="names of one type that can be sorted"):
        align_batches(X, batch=mixed, control=control)
    nothing = pytest.importorskip("pandas").Series(batch, dtype="string")
    nothing[4] = None
    for missing in (
        np.where(batch == "plate 1", None, batch),
        np.full(len(X), np.nan),
        nothing,
    ):
        with pytest.raises(ValueError, match="batch holds missing values"):
            align_batches(X, batch=missing, control=control)
    with pytest.raises(ValueError, match=r"shrinkage must be in \[0, 1\]"):
        align_batches(X, batch=batch, control=control, shrinkage=1.5)
