"""Planted data: every option does exactly what its documentation says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skdict.datasets import make_superposition
from skdict.datasets._superposition import _first_distinct


@st.composite
def parameters(draw):
    """Draw any combination of options that the atoms allow."""
    n_components = draw(st.integers(6, 40))
    n_active = draw(st.integers(1, n_components // 3))
    n_labels = draw(st.integers(0, 3))
    return dict(
        n_samples=draw(st.integers(1, 60)),
        n_features=draw(st.integers(3, 12)),  # in one dimension atoms can cancel exactly
        n_components=n_components,
        n_active=n_active,
        zipf_exponent=draw(st.sampled_from([0.0, 0.7, 3.0, 10.0])),
        noise=draw(st.sampled_from([0.0, 0.02])),
        unit_norm=draw(st.booleans()),
        coefficient=draw(st.sampled_from(["gamma", "constant"])),
        correlation=draw(st.sampled_from([0.0, 0.5, 1.0])),
        group_size=draw(st.integers(2, 5)),
        hierarchy=draw(st.sampled_from([0.0, 0.4])),
        n_labels=n_labels,
        atoms_per_label=1,
        label_effect=draw(st.sampled_from([0.0, 0.6, 1.0])),
        control_fraction=draw(st.sampled_from([0.0, 0.3])) if n_labels == 0 else 0.0,
        dtype=draw(st.sampled_from([np.float32, np.float64])),
        random_state=draw(st.integers(0, 2**31 - 1)),
    )


@settings(deadline=None, max_examples=80)
@given(parameters())
def test_every_row_is_a_sparse_sum_of_unit_atoms(kwargs):
    planted = make_superposition(**kwargs)
    codes, components = planted.codes, planted.components
    assert planted.data.dtype == codes.dtype == components.dtype == kwargs["dtype"]
    assert_array_equal(np.diff(codes.indptr), kwargs["n_active"])
    # distinct atoms, all with a positive coefficient
    dense = codes.toarray()
    assert_array_equal((dense > 0).sum(axis=1), kwargs["n_active"])
    assert_allclose(np.linalg.norm(components, axis=1), 1, rtol=1e-5)
    norms = np.linalg.norm(planted.data, axis=1)
    if kwargs["unit_norm"]:
        assert_allclose(norms, 1, rtol=1e-5)
    away = np.linalg.norm(planted.data - dense @ components, axis=1)
    signal = np.linalg.norm(dense @ components, axis=1)
    # float32 sums of large cancelling terms leave rounding of the size of the terms
    rounding = 1e-5 * (1 + dense.sum(axis=1))
    # |noise|^2 / (noise^2 |s|^2) is chi2_d / d; 64 is beyond its reach for d = 3
    assert np.all(away <= 8 * kwargs["noise"] * signal + rounding)


@settings(deadline=None, max_examples=60)
@given(parameters())
def test_a_child_is_active_only_with_its_parent(kwargs):
    kwargs["hierarchy"] = 0.5
    planted = make_superposition(**kwargs)
    active = planted.codes.toarray() > 0
    children = np.flatnonzero(planted.parents >= 0)
    assert len(children) == kwargs["n_components"] // 2
    assert np.all(planted.parents[planted.parents[children]] == -1)
    assert np.all(active[:, planted.parents[children]] >= active[:, children])


@settings(deadline=None, max_examples=60)
@given(parameters(), st.integers(1, 3))
def test_controls_carry_no_atom_of_a_label(kwargs, n_labels):
    kwargs.update(n_components=60, n_labels=n_labels, hierarchy=0.2, control_fraction=0.4)
    kwargs["n_active"] = min(kwargs["n_active"], 8)
    planted = make_superposition(**kwargs)
    assert_array_equal(planted.control, planted.target == -1)
    assert planted.control.sum() == round(0.4 * kwargs["n_samples"])
    owned = planted.codes.tocsc()[:, planted.label_atoms.ravel()].toarray()
    assert not owned[planted.control].any()


def test_same_seed_same_data_and_other_seed_other_data():
    first = make_superposition(50, 8, 32, 3, n_labels=2, control_fraction=0.2, random_state=7)
    again = make_superposition(50, 8, 32, 3, n_labels=2, control_fraction=0.2, random_state=7)
    other = make_superposition(50, 8, 32, 3, n_labels=2, control_fraction=0.2, random_state=8)
    assert_array_equal(first.data, again.data)
    assert_array_equal(first.codes.indices, again.codes.indices)
    assert_array_equal(first.target, again.target)
    assert not np.array_equal(first.data, other.data)


def test_float32_is_float64_rounded():
    single = make_superposition(40, 8, 32, 3, random_state=0)
    double = make_superposition(40, 8, 32, 3, random_state=0, dtype=np.float64)
    assert_array_equal(single.data, double.data.astype(np.float32))


def test_uniform_atoms_are_equally_frequent():
    planted = make_superposition(20_000, 4, 50, 5, random_state=0)
    counts = np.bincount(planted.codes.indices, minlength=50)
    expected = 20_000 * 5 / 50
    # negatively correlated binomials: the sum of squared z is below a chi2 with 50 degrees
    z = (counts - expected) / np.sqrt(expected * 0.9)
    assert (z**2).sum() < 86.7  # 0.999 quantile of chi2 with 50 degrees of freedom


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_frequencies_follow_zipf(exponent):
    # one active atom: no effect of drawing without replacement, so the law is exact
    planted = make_superposition(50_000, 2, 30, 1, zipf_exponent=exponent, random_state=0)
    counts = np.bincount(planted.codes.indices, minlength=30)
    law = np.arange(1, 31) ** -exponent
    assert_allclose(planted.frequencies, law / law.sum())
    expected = 50_000 * planted.frequencies
    assert ((counts - expected) ** 2 / expected).sum() < 58.3  # 0.999 quantile of chi2, 29 degrees


def test_zipf_slope_with_several_active_atoms():
    planted = make_superposition(40_000, 2, 500, 8, zipf_exponent=1.0, random_state=0)
    counts = np.bincount(planted.codes.indices, minlength=500)
    ranks = np.arange(20, 300)  # the head saturates: an atom is active once per row at most
    slope = np.polyfit(np.log(ranks + 1), np.log(counts[ranks]), 1)[0]
    assert -1.05 < slope < -0.95


@pytest.mark.parametrize("n_active", [2, 3])
def test_drawing_follows_successive_sampling_also_where_draws_run_out(n_active):
    # Exact inclusion probabilities of drawing without replacement, by enumeration.
    weights = np.arange(1, 5) ** -2.0
    weights /= weights.sum()
    expected = np.zeros(4)

    def walk(chosen, probability):
        if len(chosen) == n_active:
            expected[list(chosen)] += probability
            return
        left = [m for m in range(4) if m not in chosen]
        for m in left:
            walk((*chosen, m), probability * weights[m] / weights[left].sum())

    walk((), 1.0)
    planted = make_superposition(40_000, 2, 4, n_active, zipf_exponent=2.0, random_state=1)
    share = np.bincount(planted.codes.indices, minlength=4) / 40_000
    assert_allclose(share, expected, atol=4 * 0.5 / np.sqrt(40_000))


def test_all_atoms_active_is_possible():
    planted = make_superposition(20, 5, 6, 6, zipf_exponent=5.0, random_state=0)
    assert_array_equal(np.diff(planted.codes.indptr), 6)
    assert_array_equal(planted.codes.indices.reshape(20, 6), np.tile(np.arange(6), (20, 1)))


def test_labels_raise_their_own_atoms():
    planted = make_superposition(
        8_000, 16, 200, 6, n_labels=8, atoms_per_label=2, label_effect=0.7,
        control_fraction=0.2, random_state=0,
    )  # fmt: skip
    active = planted.codes.toarray() > 0
    assert len(np.unique(planted.label_atoms)) == 16
    base = 6 / 200
    for label, atoms in enumerate(planted.label_atoms):
        own = planted.target == label
        # active by the effect, or drawn as by any other row with the slots that are left
        inside, outside = active[own][:, atoms].mean(), active[~own][:, atoms].mean()
        assert 0.66 < inside < 0.76
        assert outside < 1.5 * base


def test_label_effect_of_one_always_activates():
    planted = make_superposition(
        300, 8, 50, 4, n_labels=5, atoms_per_label=4, label_effect=1.0, random_state=0
    )
    active = planted.codes.toarray() > 0
    for label, atoms in enumerate(planted.label_atoms):
        assert active[planted.target == label][:, atoms].all()


def test_labels_are_balanced():
    planted = make_superposition(1000, 4, 50, 4, n_labels=3, control_fraction=0.1, random_state=0)
    counts = np.unique(planted.target[~planted.control], return_counts=True)[1]
    assert np.ptp(counts) <= 1


def test_correlation_makes_groups_active_together():
    def together(correlation):
        planted = make_superposition(
            4_000, 4, 120, 6, correlation=correlation, group_size=3, random_state=0
        )
        active = (planted.codes.toarray() > 0).astype(float)
        groups = np.arange(120) // 3
        if correlation:
            assert_array_equal(planted.groups, groups)
        found = np.corrcoef(active.T)
        same = (groups[:, None] == groups) & ~np.eye(120, dtype=bool)
        return found[same].mean()

    none, some, full = together(0.0), together(0.4), together(1.0)
    assert abs(none + 1 / 120) < 0.01  # a fixed number of active atoms: slightly negative
    assert none + 0.2 < some < full
    assert full > 0.9


def test_gamma_coefficients_have_shape_two_and_scale_one():
    planted = make_superposition(
        20_000, 2, 20, 5, unit_norm=False, noise=0.0, dtype=np.float64, random_state=0
    )
    values = planted.codes.data
    assert_allclose([values.mean(), values.var()], [2, 2], rtol=0.03)


def test_noise_is_relative_to_the_signal_of_the_row():
    planted = make_superposition(
        2_000, 64, 100, 5, noise=0.3, unit_norm=False, dtype=np.float64, random_state=0
    )
    signal = planted.codes @ planted.components
    ratio = np.sum((planted.data - signal) ** 2, axis=1) / np.sum(signal**2, axis=1)
    # 0.3^2 chi2_64 / 64: mean 0.09 and standard error 0.09 sqrt(2 / 64 / 2000)
    assert_allclose(ratio.mean(), 0.09, atol=4 * 0.09 * np.sqrt(2 / 64 / 2000))


def test_offset_and_background_have_the_size_asked_for_and_reach_controls():
    common = dict(n_labels=2, control_fraction=0.5, random_state=0, dtype=np.float64)
    plain = make_superposition(3_000, 40, 80, 4, **common)
    moved = make_superposition(3_000, 40, 80, 4, mean_offset=2.0, background=1.5, **common)
    assert_array_equal(plain.codes.indices, moved.codes.indices)
    assert_allclose(np.linalg.norm(moved.mean), 2.0)
    rest = moved.data - plain.data - moved.mean
    assert_allclose(np.sqrt((rest**2).sum(axis=1).mean()), 1.5, rtol=0.05)
    for rows in (moved.control, ~moved.control):
        spectrum = np.linalg.eigvalsh(np.cov(rest[rows].T))[::-1]
        # variance falls as 1 / k^2: the first direction has 1 / (pi^2 / 6) of it, about 0.61
        assert_allclose(spectrum[0] / spectrum.sum(), 0.61, atol=0.05)


def test_rows_without_labels_or_controls_by_default():
    planted = make_superposition(30, 4, 20, 2, random_state=0)
    assert not planted.control.any()
    assert_array_equal(planted.target, 0)
    assert planted.label_atoms.shape == (0, 1)
    assert_array_equal(planted.mean, 0)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-1, 5), min_size=7, max_size=7), min_size=1, max_size=6))
def test_first_distinct_matches_a_loop(rows):
    found, complete = _first_distinct(np.array(rows), 3)
    for row, first, done in zip(rows, found, complete, strict=True):
        distinct = list(dict.fromkeys(v for v in row if v >= 0))
        assert done == (len(distinct) >= 3)
        assert list(first) == (distinct[:3] if done else [-1, -1, -1])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(n_active=0), "n_active must be an integer >= 1"),
        (dict(n_active=2000), "n_active=2000 must not exceed n_components=1024"),
        (dict(noise=-0.1), "noise must be in"),
        (dict(zipf_exponent=11), "zipf_exponent must be in"),
        (dict(correlation=1.5), "correlation must be in"),
        (dict(hierarchy=1.0), "hierarchy must be below 1"),
        (dict(control_fraction=1.0), "control_fraction must be below 1"),
        (dict(coefficient="beta"), "coefficient must be one of 'gamma', 'constant'"),
        (dict(dtype=np.int32), "dtype must be np.float32 or np.float64"),
        (dict(n_labels=3, atoms_per_label=9), "atoms_per_label=9 must not exceed n_active=8"),
        (dict(n_labels=600, atoms_per_label=2), "must not exceed n_components=1024"),
        (dict(n_labels=1020, control_fraction=0.1), "control rows need n_active=8 atoms"),
    ],
)
def test_errors_name_the_parameter(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_superposition(20, **kwargs)


def test_integers_are_not_floats():
    with pytest.raises(TypeError, match="n_samples must be an integer"):
        make_superposition(10.0)
