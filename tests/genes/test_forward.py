"""Forward passes of one shape, and models that cannot be trusted."""

import numpy as np
import pytest

from skdict.genes._forward import Forward, as_function


def test_all_batches_have_one_shape_and_padding_is_counted(rng):
    seen = []

    def embed(X):
        seen.append(X.shape)
        return X[:, :2] * 2

    forward = Forward(embed, 5, 4, np.float32)
    rows = rng.poisson(2, (10, 5)).astype(np.float32)
    np.testing.assert_array_equal(forward.run_rows(rows), rows[:, :2] * 2)
    assert seen == [(4, 5)] * 3 and forward.n_padding == 2


def test_a_view_of_the_batch_is_not_overwritten(rng):
    forward = Forward(lambda X: X[:, :3], 5, 4, np.float64)
    rows = rng.normal(size=(8, 5))
    np.testing.assert_array_equal(forward.run_rows(rows), rows[:, :3])


def test_a_model_may_change_its_argument():
    def embed(X):
        return np.log1p(X, out=X)

    forward = Forward(embed, 2, 3, np.float64)
    rows = np.arange(12.0).reshape(6, 2)
    np.testing.assert_allclose(forward.run_rows(rows), np.log1p(rows))


def test_a_model_that_is_steady_and_one_that_rounds_by_place():
    row = np.ones(3)
    assert Forward(lambda X: X * 2.0, 3, 4, np.float64).is_steady(row, row * 2)
    rounding = 1 + 1e-15 * np.arange(4)[:, None]
    assert not Forward(lambda X: X * rounding, 3, 4, np.float64).is_steady(row, row)


def test_a_model_that_draws_or_looks_at_other_rows_is_refused(rng):
    row = np.ones(3)
    with pytest.raises(ValueError, match=r"embed must give one cell the same.*model.eval"):
        Forward(lambda X: X + rng.normal(size=X.shape), 3, 4, np.float64).is_steady(row, row)
    beside = Forward(lambda X: X - X.mean(axis=0), 3, 4, np.float64)
    embedding = beside.run_rows(np.array([row, row + 1, row, row]))[0]
    with pytest.raises(ValueError, match="whatever cells are beside"):
        beside.is_steady(row, embedding)


def test_errors_name_the_parameter():
    with pytest.raises(TypeError, match="embed must be callable, got 3"):
        as_function(3)
    with pytest.raises(TypeError, match="pass its method transform"):
        from sklearn.decomposition import PCA

        as_function(PCA())
    with pytest.raises(
        ValueError, match=r"embed must give an embedding per row.*\(4, n_features\)"
    ):
        Forward(lambda X: X[:1], 3, 4, np.float32).run(4)
    with pytest.raises(ValueError, match=r"embed\(X\) holds NaN"):
        Forward(lambda X: X * np.nan, 3, 4, np.float32).run(4)


def test_a_torch_module_is_called_with_tensors_and_must_be_in_eval_mode():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.5))
    with pytest.raises(ValueError, match="embed must be in eval mode, but it is in training mode"):
        as_function(module)
    module.eval()
    module[1].train()
    with pytest.raises(ValueError, match="its layer '1' is in training mode"):
        as_function(module)
    module.eval()
    rows = np.ones((4, 3), dtype=np.float32)
    found = Forward(module, 3, 4, np.float32).run_rows(rows)
    with torch.no_grad():
        np.testing.assert_allclose(found, module(torch.from_numpy(rows)).numpy(), rtol=1e-6)
