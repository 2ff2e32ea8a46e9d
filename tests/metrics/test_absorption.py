"""Absorption of broad concepts by narrow ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from skdict import ICFLDictionary
from skdict.datasets import make_superposition
from skdict.metrics import _absorption, feature_absorption

# T = {helper, reg}, B = {naive, memory}; atoms 0 and 2 are broad, 1 and 3 narrow.
ATOMS = np.array(
    [[1.0, 0, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1.0, 0], [0, 0, 0.6, 0.8], [0, 0, 0, 1.0]]
)
CHILD = np.repeat(["helper", "reg", "naive", "memory"], 10)
PARENT = np.repeat(["T", "B"], 20)


def absorb(codes, **options):
    codes = np.asarray(codes, dtype=float)
    return feature_absorption(codes @ ATOMS, codes, ATOMS, PARENT, CHILD, **options)


def codes_of(**by_child):
    return np.array([by_child[child] for child in CHILD], dtype=float)


def row_of(found, child):
    i = found.child.tolist().index(child)
    return {name: found[name][i] for name in ("full_absorption", "absorption_fraction",
                                              "main_active", "absorbing", "n_present")}  # fmt: skip


DIRECTIONS = np.array([[0, 0, 1.0, 0], [1.0, 0, 0, 0]])  # of B and of T


def test_nothing_is_absorbed_where_the_broad_concept_is_on():
    codes = codes_of(helper=[2, 0, 0, 0, 0], reg=[2, 1, 0, 0, 0], naive=[0, 0, 2, 0, 0],
                     memory=[0, 0, 2, 0, 1])  # fmt: skip
    found = absorb(codes, directions=DIRECTIONS)
    assert found.main_components == {"B": [2], "T": [0]}
    assert found.mean_full_absorption == 0
    assert (found.main_active == 1).all() and (found.absorbing == -1).all()
    assert (found.n_present == 10).all() and (found.n_rows == 10).all()
    # the narrow atom points 0.6 along T, of 2.6 in all: below the share of 0.4
    assert found.mean_absorption_fraction == 0


def test_full_absorption_of_one_narrow_label():
    codes = codes_of(helper=[2, 0, 0, 0, 0], reg=[0, 2, 0, 0, 0], naive=[0, 0, 2, 0, 0],
                     memory=[0, 0, 2, 0, 1])  # fmt: skip
    found = absorb(codes, directions=DIRECTIONS)
    reg = row_of(found, "reg")
    assert reg["full_absorption"] == reg["absorption_fraction"] == 1
    assert reg["main_active"] == 0 and reg["absorbing"] == 1
    assert row_of(found, "helper")["full_absorption"] == 0
    # half of the present rows of T, none of B
    assert found.mean_full_absorption == 0.25


def test_fractions_by_hand():
    # reg: main carries 1, the narrow atom 0.6 * 5 = 3; p = 4, so 3 / (3 + 1)
    codes = codes_of(helper=[2, 0, 0, 0, 0], reg=[1, 5, 0, 0, 0], naive=[0, 0, 2, 0, 0],
                     memory=[0, 0, 2, 0, 1])  # fmt: skip
    found = absorb(codes, directions=DIRECTIONS)
    reg = row_of(found, "reg")
    assert reg["absorption_fraction"] == pytest.approx(0.75)
    assert reg["full_absorption"] == 0 and reg["main_active"] == 1
    # a share below min_projection does not count
    strict = absorb(codes, directions=DIRECTIONS, min_projection=0.8)
    assert row_of(strict, "reg")["absorption_fraction"] == 0
    # nor does an atom whose cosine with the direction, 0.6, is too small
    strict = absorb(codes, directions=DIRECTIONS, fraction_cosine=0.7)
    assert row_of(strict, "reg")["absorption_fraction"] == 0


def test_contributions_beyond_the_residual_are_cut():
    # an absorber of 6 beside a main one of -1 and a projection of 5: all of it is absorbed
    codes = codes_of(helper=[2, 0, 0, 0, 0], reg=[-1, 10, 0, 0, 0], naive=[0, 0, 2, 0, 0],
                     memory=[0, 0, 2, 0, 1])  # fmt: skip
    reg = row_of(absorb(codes, directions=DIRECTIONS), "reg")
    assert reg["absorption_fraction"] == 1 and reg["full_absorption"] == 0


def one_row(acts, components, direction, p, main, n_absorbing=3):
    """SAEBench's two measures for one row, written out."""
    cosines = components @ direction / np.linalg.norm(components, axis=1)
    carried = acts * (components @ direction)
    main_sum = carried[main].sum()
    top = carried.argmax()
    full = (acts[main] == 0).all() and cosines[top] >= 0.025 and carried[top] / p >= 0.4
    others = [
        carried[m] for m in range(acts.size)
        if m not in main and cosines[m] >= 0.1 and carried[m] > 0
    ]  # fmt: skip
    absorbed = sum(sorted(others)[::-1][:n_absorbing])
    if main_sum >= p or absorbed / p < 0.4:
        return full, 0.0
    if main_sum <= 0:
        return full, 1.0
    part = min(absorbed, p - main_sum)
    return full, part / (part + main_sum)


@given(seed=st.integers(0, 2000))
def test_random_codes_against_the_definition_row_by_row(seed):
    rng = np.random.default_rng(seed)
    components = rng.normal(size=(9, 4))
    codes = rng.gamma(2.0, size=(40, 9)) * (rng.random((40, 9)) < 0.3)
    codes[:20] += rng.random((20, 9)) * (components @ [1, 0, 0, 0] > 0.5)
    intercept = rng.normal(size=4)
    X = codes @ components + intercept + 0.1 * rng.normal(size=(40, 4))
    main = [[int(rng.integers(9))], sorted(rng.choice(9, 2, replace=False).tolist())]
    found = feature_absorption(
        X, sparse.csr_array(codes), components, PARENT, CHILD, intercept=intercept, main=main
    )
    summaries = []
    for parent, chosen in zip(["B", "T"], main, strict=True):
        member = PARENT == parent
        direction = X[member].mean(axis=0) - X[~member].mean(axis=0)
        direction /= np.linalg.norm(direction)
        p = (X - intercept) @ direction
        middle = max((p[member].mean() + p[~member].mean()) / 2, 0)
        values = {
            i: one_row(codes[i], components, direction, p[i], chosen)
            for i in np.flatnonzero(member & (p > middle))
        }
        if values:
            summaries.append(np.mean(list(values.values()), axis=0))
        for child in np.unique(CHILD[member]):
            part = np.array([value for i, value in values.items() if CHILD[i] == child])
            row = row_of(found, child)
            assert row["n_present"] == len(part)
            if len(part):
                np.testing.assert_allclose(
                    [row["full_absorption"], row["absorption_fraction"]], part.mean(axis=0)
                )
            else:
                assert np.isnan(row["full_absorption"])
    expected = np.mean(summaries, axis=0) if summaries else [np.nan, np.nan]
    np.testing.assert_allclose(
        [found.mean_full_absorption, found.mean_absorption_fraction], expected
    )


def test_blocks_change_nothing(monkeypatch, rng):
    codes = rng.gamma(1.0, size=(40, 5)) * (rng.random((40, 5)) < 0.6)
    whole = absorb(codes)
    monkeypatch.setattr(_absorption, "_BLOCK_VALUES", 12)
    blocks = absorb(codes)
    np.testing.assert_array_equal(whole.absorption_fraction, blocks.absorption_fraction)
    np.testing.assert_array_equal(whole.full_absorption, blocks.full_absorption)


def test_main_components_are_the_most_selective(rng):
    codes = codes_of(helper=[2, 0, 0, 0, 0], reg=[0, 2, 0, 0, 0], naive=[0, 0, 2, 0, 0],
                     memory=[0, 0, 2, 0, 1])  # fmt: skip
    codes[:3, 1] = 1.0  # atom 1 is on in 13 of the 20 rows of T, atom 0 in 10
    assert absorb(codes).main_components == {"B": [2], "T": [1]}
    assert absorb(codes, n_main=2).main_components == {"B": [2, 4], "T": [1, 0]}
    # with both atoms as main ones nothing is left to absorb
    assert absorb(codes, n_main=2, parents=["T"]).mean_full_absorption == 0


def test_errors_name_the_parameter():
    codes = np.ones((40, 5))
    with pytest.raises(ValueError, match="child must be nested in parent, but .*'x'"):
        feature_absorption(codes @ ATOMS, codes, ATOMS, PARENT, np.repeat(["x", "y"], [30, 10]))
    with pytest.raises(ValueError, match="child must split at least one broad label"):
        feature_absorption(codes @ ATOMS, codes, ATOMS, PARENT, PARENT)
    with pytest.raises(ValueError, match="parent must hold at least two broad labels"):
        feature_absorption(codes @ ATOMS, codes, ATOMS, np.repeat("T", 40), CHILD)
    with pytest.raises(ValueError, match=r"parents must occur in parent.*'Z'"):
        absorb(codes, parents=["Z"])
    with pytest.raises(ValueError, match="parents must be a list of labels, got the string 'T'"):
        absorb(codes, parents="T")
    with pytest.raises(ValueError, match=r"expected shape \(2, 4\), got \(1, 4\)"):
        absorb(codes, directions=DIRECTIONS[:1])
    with pytest.raises(ValueError, match="directions must not hold a row of zeros"):
        absorb(codes)
    with pytest.raises(ValueError, match="main must hold one list of components per broad label"):
        absorb(codes, directions=DIRECTIONS, main=[[0]])
    with pytest.raises(ValueError, match="main must hold indices below 5"):
        absorb(codes, directions=DIRECTIONS, main=[[0], [5]])
    with pytest.raises(ValueError, match="X, codes and components must have shapes"):
        feature_absorption(codes @ ATOMS, codes[:, 1:], ATOMS, PARENT, CHILD)
    with pytest.raises(ValueError, match=r"intercept must have shape \(4,\)"):
        absorb(codes, intercept=[1.0])
    with pytest.raises(ValueError, match="min_projection must be in"):
        absorb(codes, min_projection=2.0)


@pytest.fixture(scope="module")
def nested():
    """Planted rows with children that are active only where their parents are."""
    return make_superposition(6000, 32, 64, 4, hierarchy=0.4, noise=0.05, random_state=0)


def absorbed_children(nested, codes, components, intercept=None):
    """Mean full absorption in rows with the child and in rows with the parent alone."""
    active = nested.codes.toarray() != 0
    shares = []
    for c in np.flatnonzero(nested.parents >= 0):
        p = nested.parents[c]
        narrow = np.where(active[:, c], "child", np.where(active[:, p], "plain", "off"))
        found = feature_absorption(
            nested.data, codes, components, np.where(active[:, p], "on", "off"), narrow,
            parents=["on"], intercept=intercept, directions=nested.components[[p]],
        )  # fmt: skip
        by_child = dict(zip(found.child.tolist(), found.full_absorption, strict=True))
        shares.append([by_child["child"], by_child["plain"]])
    return np.mean(shares, axis=0)


def test_true_codes_absorb_nothing_and_starved_codes_absorb_children(nested):
    assert (absorbed_children(nested, nested.codes, nested.components) == 0).all()
    values = {}
    for n_nonzero in (2, 4):
        learned = ICFLDictionary(
            64, n_nonzero_coefs=n_nonzero, atoms_per_step=1, max_steps=200, random_state=0
        )
        codes = learned.fit_transform(nested.data)
        values[n_nonzero] = absorbed_children(
            nested, codes, learned.components_, learned.intercept_
        )
    assert values[2][0] > 0.4 and values[4][0] < 0.15
    # it is the child that absorbs: rows with the parent alone keep the parent's concept
    assert values[2][0] > 2 * values[2][1]
