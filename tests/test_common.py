"""scikit-learn's own checks of every estimator, and those that it leaves out of the list."""

import pytest
from sklearn.utils import estimator_checks as checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE

# Training long enough to be checked, short enough for the few dozen fits of the checks.
ESTIMATORS = [
    ControlPCAWhitener(),
    ControlPCAWhitener(method="zca-cor", epsilon=0.0),
    ICFLDictionary(max_steps=20),
    ICFLDictionary(solver="online", max_steps=20),
    TopKSAE(max_steps=20),
]

# `parametrize_with_checks` does not include these.
EXTRA_CHECKS = [
    checks.check_param_validation,
    checks.check_transformer_get_feature_names_out,
    checks.check_get_feature_names_out_error,
    checks.check_set_output_transform,
    checks.check_set_output_transform_pandas,
    checks.check_set_output_transform_polars,
    checks.check_global_output_transform_pandas,
    checks.check_global_set_output_transform_polars,
    checks.check_n_features_in_after_fitting,
]

pytestmark = pytest.mark.filterwarnings(
    "ignore:control=None:UserWarning",
    "ignore:.*whitening overfits:UserWarning",
    "ignore:.*control samples do not vary:UserWarning",
    "ignore:X (does not have|has) .*feature names:UserWarning",
)


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_compatible(estimator, check):
    check(estimator)


@pytest.mark.parametrize("check", EXTRA_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "estimator",
    [*ESTIMATORS, ICFLDictionary(max_steps=5, sparse_output=False), ICFLDictionary(max_steps=0)],
    ids=str,
)
def test_checks_beyond_the_list(estimator, check):
    check(type(estimator).__name__, estimator)


@pytest.mark.parametrize("estimator", [ICFLDictionary(), TopKSAE()], ids=str)
def test_defaults_survive_the_checks_of_tiny_data(estimator):
    name = type(estimator).__name__
    checks.check_fit2d_1sample(name, estimator)
    checks.check_fit2d_1feature(name, estimator)
    checks.check_estimators_dtypes(name, estimator)
    checks.check_methods_subset_invariance(name, estimator)
