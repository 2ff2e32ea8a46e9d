"""Stability of dictionaries: atoms and activations, against random dictionaries."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from skdict import ICFLDictionary
from skdict.metrics import activation_stability, dictionary_stability, map_atoms, random_atoms
from skdict.metrics._stability import column_correlation


@given(seed=st.integers(0, 1000), m=st.integers(1, 5), extra=st.integers(0, 1))
def test_the_matching_is_the_best_of_all(seed, m, extra):
    first, second = (random_atoms(n, 3, random_state=seed + n) for n in (m, m + extra))
    found = dictionary_stability(first, second, n_random=1, random_state=0)
    best = max(
        np.mean([first[i] @ second[j] for i, j in enumerate(order)])
        for order in itertools.permutations(range(m + extra), m)
    )
    assert found.mean_similarity == pytest.approx(best)
    np.testing.assert_allclose(found.similarity, (first * second[found.assignment]).sum(axis=1))


def test_permuted_and_scaled_atoms_are_the_same_dictionary(rng):
    atoms = random_atoms(30, 12, random_state=1)
    order = rng.permutation(30)
    scaled = atoms[order] * rng.uniform(0.1, 10, size=(30, 1))
    found = dictionary_stability(atoms, scaled, random_state=0)
    np.testing.assert_array_equal(order[found.assignment], np.arange(30))
    assert found.mean_similarity == pytest.approx(1)
    assert found.stable.all() and found.stable_fraction == 1
    assert found.p_value == pytest.approx(1 / 21)
    signs = np.where(np.arange(30) < 15, -1, 1)[:, None]
    assert dictionary_stability(atoms, scaled * signs, random_state=0).mean_similarity < 0.9
    both = dictionary_stability(atoms, scaled * signs, absolute=True, random_state=0)
    assert both.mean_similarity == pytest.approx(1)


@pytest.mark.parametrize("null", ["uniform", "spectrum"])
def test_the_null_is_calibrated_for_dictionaries_that_share_nothing(null):
    p, stable = [], []
    for seed in range(60):
        first = random_atoms(20, 8, random_state=seed)
        second = random_atoms(25, 8, random_state=1000 + seed)
        found = dictionary_stability(first, second, null=null, n_random=19, random_state=seed)
        p.append(found.p_value)
        stable.append(found.stable_fraction)
    for alpha in (0.1, 0.5):
        assert abs(np.mean(np.array(p) <= alpha) - alpha) < 4 * np.sqrt(alpha * (1 - alpha) / 60)
    assert abs(np.mean(stable) - 0.05) < 0.02


def test_the_same_seed_does_not_draw_the_dictionary_again():
    first = random_atoms(20, 8, random_state=0)
    found = dictionary_stability(first, random_atoms(20, 8, random_state=5), random_state=0)
    assert found.null_means.max() < 0.9


def test_atoms_in_a_common_subspace_look_stable_unless_the_spectrum_is_kept():
    # both dictionaries live in 3 of 20 dimensions and share nothing else
    first, second = (
        np.pad(random_atoms(20, 3, random_state=seed), ((0, 0), (0, 17))) for seed in (1, 2)
    )
    naive = dictionary_stability(first, second, null="uniform", random_state=0)
    strict = dictionary_stability(first, second, null="spectrum", random_state=0)
    assert naive.p_value == pytest.approx(1 / 21) and naive.stable_fraction == 1
    assert strict.p_value > 0.05 and strict.stable_fraction < 0.4


def test_maps_bring_two_whitened_spaces_together(rng):
    atoms = random_atoms(15, 6, random_state=0)
    maps = [np.linalg.qr(rng.normal(size=(6, 6)))[0] * rng.uniform(0.5, 2, 6) for _ in range(2)]
    inner = [atoms @ np.linalg.inv(back) for back in maps]
    apart = dictionary_stability(*inner, random_state=0)
    together = dictionary_stability(*inner, linear_maps=maps, random_state=0)
    assert together.mean_similarity == pytest.approx(1) and apart.mean_similarity < 0.9
    np.testing.assert_allclose(map_atoms(inner[0], maps[0]), atoms, atol=1e-12)
    np.testing.assert_array_equal(together.assignment, np.arange(15))


@pytest.mark.parametrize("null", ["uniform", "spectrum"])
def test_the_null_goes_through_the_map(null):
    """A map that stretches one direction makes all atoms alike, those of the null, too."""
    stretch = np.diag([20.0, 1, 1, 1, 1, 1])
    p_values = []
    for seed in range(20):
        first, second = (random_atoms(15, 6, random_state=1000 * k + seed) for k in (1, 2))
        found = dictionary_stability(
            first, second, linear_maps=[stretch, stretch], null=null, n_random=9, random_state=seed
        )
        p_values.append(found.p_value)
    assert np.mean(p_values) > 0.35  # 0.1 if the null stayed where it was drawn


def test_fewer_atoms_leave_some_unmatched():
    atoms = random_atoms(6, 10, random_state=0)
    found = dictionary_stability(atoms, atoms[4:], random_state=0)
    np.testing.assert_array_equal(found.assignment, [-1] * 4 + [0, 1])
    assert np.isnan(found.similarity[:4]).all() and not found.stable[:4].any()
    assert found.mean_similarity == pytest.approx(1) and found.stable_fraction == 1


@given(seed=st.integers(0, 1000), make=st.sampled_from([np.asarray, sparse.csr_array]))
def test_correlations_are_those_of_numpy(seed, make):
    rng = np.random.default_rng(seed)
    first, second = (
        rng.normal(size=(30, m)) * (rng.random((30, m)) < 0.4) + (make is np.asarray)
        for m in (4, 3)
    )
    first[:, 0] = 2.5 if seed % 2 else 0.0
    expected = np.corrcoef(first[:, 1:], second, rowvar=False)[:3, 3:]
    found = column_correlation(make(first), make(second))
    np.testing.assert_array_equal(found[0], 0)  # a constant column
    np.testing.assert_allclose(found[1:], expected, atol=1e-10)


def test_two_seeds_on_planted_data_agree_more_than_random_dictionaries(planted):
    train, test = planted.data[:1500], planted.data[1500:]
    sizes = {"n_components": 48, "n_nonzero_coefs": 3, "atoms_per_step": 1}
    fits = [
        ICFLDictionary(**sizes, max_steps=200, random_state=seed).fit(rows)
        for seed, rows in ((0, train[:750]), (1, train[750:]))
    ]
    null = [
        ICFLDictionary(**sizes, max_steps=0, random_state=seed).fit(train).transform(test)
        for seed in (2, 3, 4)
    ]
    atoms = dictionary_stability(*(fit.components_ for fit in fits), random_state=0)
    codes = activation_stability(*(fit.transform(test) for fit in fits), null_codes=null)
    for found in (atoms, codes):
        assert found.mean_similarity > 0.8 > found.null_means.max()
        assert found.stable_fraction > 0.8
    # both find the same pairs
    assert np.mean(atoms.assignment == codes.assignment) > 0.8


def test_permutations_keep_what_strata_explain(rng):
    # two dictionaries that know the plate and nothing else
    plate = np.repeat([0, 1], 100)
    codes = [
        np.column_stack([plate == p for p in (0, 1)]) * 1.0 + 0.1 * rng.random((200, 2))
        for _ in range(2)
    ]
    free = activation_stability(*codes, random_state=0)
    within = activation_stability(*codes, strata=plate, random_state=0)
    assert free.p_value == pytest.approx(1 / 21)
    assert within.null_means.min() > 0.9 and within.p_value > 0.05


def test_errors_name_the_parameter():
    eye = np.eye(4)
    with pytest.raises(ValueError, match="first and second must have the same number of features"):
        dictionary_stability(eye, np.eye(3))
    with pytest.raises(ValueError, match="linear_maps must be a pair"):
        dictionary_stability(eye, eye, linear_maps=eye)
    with pytest.raises(ValueError, match="null must be one of 'uniform', 'spectrum'"):
        dictionary_stability(eye, eye, null="shape")
    with pytest.raises(ValueError, match="confidence_level must be in"):
        dictionary_stability(eye, eye, confidence_level=0)
    with pytest.raises(ValueError, match="must code the same rows, got 4 and 3"):
        activation_stability(eye, eye[:3])
    with pytest.raises(ValueError, match=r"null_codes must be a list of codes"):
        activation_stability(eye, eye, null_codes=eye)
    with pytest.raises(ValueError, match=r"expected shape \(4, 4\), got \(4, 3\)"):
        activation_stability(eye, eye, null_codes=[eye[:, :3]])
    with pytest.raises(ValueError, match="at least one random dictionary"):
        activation_stability(eye, eye, null_codes=[])
    with pytest.raises(ValueError, match="strata must have one entry per row"):
        activation_stability(eye, eye, strata=[0, 1])
