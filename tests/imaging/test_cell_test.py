"""Inference on cells: classes permuted within fields, wells as replicates."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from skdict.datasets import make_cell_fields
from skdict.imaging import (
    _cell_classes,
    _cell_test,
    cell_alignment,
    cell_class_test,
    segment_histograms,
    segment_images,
)


def toy(seed=0, n_fields=6, n_cells=8, n_directions=4):
    """Random cells of both classes in every field."""
    rng = np.random.default_rng(seed)
    field = np.repeat(np.arange(n_fields), n_cells)
    perturbed = rng.random(field.size) < 0.4
    perturbed[::n_cells], perturbed[1::n_cells] = True, False
    return rng.normal(size=(field.size, n_directions)) + field[:, None], perturbed, field


def naive_effect(values, perturbed, field, well):
    """Mean over wells of the weighted mean over fields, written out."""
    by_well = {}
    for f in np.unique(field):
        one, other = values[(field == f) & perturbed], values[(field == f) & ~perturbed]
        if one.size and other.size:
            weight = one.size * other.size / (one.size + other.size)
            by_well.setdefault(well[field == f][0], []).append((one.mean() - other.mean(), weight))
    pairs = [np.transpose(own) for own in by_well.values()]
    return np.mean([np.average(means, weights=weights) for means, weights in pairs])


def test_planted_class_is_found_in_wells_and_cells(fields):
    cells = cell_alignment(fields.tokens, fields.directions, fields.labels)
    test = cell_class_test(
        cells.alignment, fields.cell_perturbed, field=cells.image,
        well=fields.well[cells.image], random_state=0,
    )  # fmt: skip
    own = np.flatnonzero(fields.names == "perturbed")
    assert test.directions(0.05, by="family_wise_p_value").direction[0] == own
    assert test.auc[own] > 0.99 and test.low[own] > 0.3
    assert test.sign_flip_p_value[own] == test.smallest_sign_flip_p_value[own] == 2 / 2**4
    null = fields.names == "null"
    assert (test.q_value[null] > 0.05).all()
    assert test.fields_without_contrast.size + test.fields.size == 12


@given(seed=st.integers(0, 1000))
def test_effect_interval_and_auc_by_hand(seed):
    alignment, perturbed, field = toy(seed)
    perturbed[field == 2] = True  # one class only
    well = np.array(["a", "b", "b", "c", "c", "c"])[field]
    test = cell_class_test(alignment, perturbed, field=field, well=well, n_permutations=9)
    assert test.fields_without_contrast.tolist() == [2]
    assert test.n_fields.tolist() == [5] * 4 and test.n_wells.tolist() == [3] * 4
    for m in range(4):
        values = alignment[:, m]
        assert test.effect[m] == pytest.approx(naive_effect(values, perturbed, field, well))
        of_wells = [naive_effect(values[well == w], perturbed[well == w], field[well == w],
                                 well[well == w]) for w in "abc"]  # fmt: skip
        np.testing.assert_allclose(test.well_effect[:, m], of_wells)
        interval = stats.ttest_1samp(of_wells, 0).confidence_interval(0.95)
        np.testing.assert_allclose([test.low[m], test.high[m]], interval)
    one = field == 0
    test = cell_class_test(alignment[one], perturbed[one], field=field[one], n_permutations=9)
    for m in range(4):
        u = stats.mannwhitneyu(alignment[one & perturbed, m], alignment[one & ~perturbed, m])
        pairs = np.count_nonzero(one & perturbed) * np.count_nonzero(one & ~perturbed)
        assert test.auc[m] == pytest.approx(u.statistic / pairs)
    assert np.isnan(test.low).all()


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_p_values_are_those_of_scipys_exact_permutation_test(alternative):
    rng = np.random.default_rng(3)
    values, perturbed = rng.normal(size=7), np.array([1, 0, 0, 1, 0, 1, 0], bool)
    values[perturbed] += 0.7
    exact = stats.permutation_test(
        (values[perturbed], values[~perturbed]), lambda x, y, axis: x.mean(axis) - y.mean(axis),
        permutation_type="independent", alternative=alternative,
        n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    test = cell_class_test(
        values, perturbed, field=np.zeros(7), alternative=alternative, n_permutations=20000,
        random_state=0,
    )  # fmt: skip
    assert exact.null_distribution.size == 35
    assert test.smallest_p_value[0] == pytest.approx(1 / 35)
    # scipy doubles the smaller tail; the share of |T| is counted here
    p = exact.pvalue
    if alternative == "two-sided":
        p = np.mean(np.abs(exact.null_distribution) >= abs(exact.statistic) - 1e-12)
    assert test.p_value[0] == pytest.approx(p, abs=0.012)


def test_p_values_over_several_fields_against_all_permutations():
    rng = np.random.default_rng(1)
    field = np.repeat([0, 1, 2], [4, 3, 5])
    perturbed = np.array([1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0], bool)
    values, well = rng.normal(size=12) + field, np.array([0, 0, 1])[field]
    choices = [
        [np.isin(np.arange(12), chosen) for chosen in itertools.combinations(
            np.flatnonzero(field == f), perturbed[field == f].sum())]
        for f in range(3)
    ]  # fmt: skip
    null = np.array([naive_effect(values, np.any(own, axis=0), field, well)
                     for own in itertools.product(*choices)])  # fmt: skip
    assert null.size == 6 * 3 * 5
    test = cell_class_test(
        values, perturbed, field=field, well=well, n_permutations=20000, random_state=0
    )
    p = np.mean(np.abs(null) >= abs(test.effect[0]) - 1e-12)
    assert test.p_value[0] == pytest.approx(p, abs=0.015)
    assert test.smallest_p_value[0] == pytest.approx(1 / 90)
    # the standard deviation of all permutations is known without them
    assert test.effect[0] / test.z[0] == pytest.approx(null.std(), rel=1e-6)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_flips_of_wells_are_exact(alternative):
    alignment, perturbed, field = toy(5)
    test = cell_class_test(
        alignment, perturbed, field=field, alternative=alternative, n_permutations=9
    )
    for m in range(4):
        exact = stats.permutation_test(
            (test.well_effect[:, m],), lambda x, axis: x.mean(axis), permutation_type="samples",
            alternative=alternative, n_resamples=np.inf, vectorized=True,
        )  # fmt: skip
        assert test.sign_flip_p_value[m] == pytest.approx(exact.pvalue)
    assert (test.smallest_sign_flip_p_value == (2 if alternative == "two-sided" else 1) / 64).all()
    many = cell_class_test(*toy(5, 14)[:2], field=toy(5, 14)[2], n_permutations=99)
    assert (many.smallest_sign_flip_p_value == 0.01).all()
    assert (many.sign_flip_p_value >= 0.01).all()


def test_the_smallest_p_value_counts_exchanges_of_all_classes():
    values, field = np.array([0.0, 1, 2, 3]), np.zeros(4)
    balanced = cell_class_test(values, [False, False, True, True], field=field, random_state=0)
    assert balanced.smallest_p_value[0] == pytest.approx(2 / 6)
    assert 2 / 6 <= balanced.p_value[0] < 0.37
    one_sided = cell_class_test(
        values, [False, False, True, True], field=field, alternative="greater", random_state=0
    )
    assert one_sided.smallest_p_value[0] == pytest.approx(1 / 6)


@pytest.mark.parametrize("n_permutations", [99, 999])
def test_no_p_value_is_below_what_few_cells_allow(n_permutations):
    """Drawn permutations reach the effect a little more or less often than all of them do."""
    perturbed, values = np.arange(5) < 2, np.outer(-np.arange(5.0), [1, 2, 3])
    for seed in range(8):
        test = cell_class_test(
            values, perturbed, field=np.zeros(5), alternative="greater",
            n_permutations=n_permutations, random_state=seed,
        )  # fmt: skip
        for name in ("p_value", "family_wise_p_value", "q_value"):
            assert (test[name] >= 1 / 10 - 1e-12).all(), name


def smooth_tokens(rng, n_images, grid, n_null):
    """Smooth random fields that are tied to nothing, a feature each."""
    fields = rng.standard_normal((n_images, grid + 24, grid + 24, n_null), dtype=np.float32)
    for part in np.array_split(np.arange(n_null), 3):
        width = 1 + part[0] / n_null * 2
        fields[..., part] = ndimage.gaussian_filter(fields[..., part], (0, width, width, 0))
    fields = fields[:, 12:-12, 12:-12]
    return fields / fields.std(axis=(1, 2), keepdims=True)


@pytest.fixture(scope="module")
def null_features():
    """Cells with 1,000 features that have nothing to do with them, and 20 of the class."""
    rng = np.random.default_rng(0)
    cells = make_cell_fields(12, 4, (24, 24), n_cells=12, n_null=0, random_state=0)
    tokens = smooth_tokens(rng, 12, 24, 1000)
    table = cell_alignment(tokens, np.eye(1000, dtype=np.float32), cells.labels, kind="inner")
    return cells, tokens, table


def test_null_features_have_uniform_p_values_and_the_share_of_false_ones_is_bounded(null_features):
    cells, _, table = null_features
    rng = np.random.default_rng(1)
    below, covered, false_share, any_false = [], [], [], 0
    for seed in range(6):
        # classes dealt out at random, so that sizes are exchangeable
        perturbed = np.concatenate(
            [rng.permutation(cells.cell_perturbed[table.image == i]) for i in range(12)]
        )
        alignment = table.alignment.copy()
        alignment[perturbed, :20] += 1.5
        test = cell_class_test(
            alignment, perturbed, field=table.image, well=cells.well[table.image],
            n_permutations=499, random_state=seed,
        )  # fmt: skip
        null = slice(20, None)
        below.append([np.mean(test.p_value[null] <= level) for level in (0.05, 0.2, 0.5, 0.8)])
        covered.append(np.mean((test.low[null] < 0) & (test.high[null] > 0)))
        found = test.q_value <= 0.05
        assert found[:20].all()
        false_share.append(np.count_nonzero(found[null]) / np.count_nonzero(found))
        any_false += (test.family_wise_p_value[null] <= 0.05).any()
    np.testing.assert_allclose(np.mean(below, axis=0), [0.05, 0.2, 0.5, 0.8], atol=0.025)
    assert abs(np.mean(covered) - 0.95) < 0.02
    assert np.mean(false_share) <= 0.07
    assert any_false <= 2


def test_tokens_as_observations_would_find_what_is_not_there(null_features):
    cells, tokens, table = null_features
    segments = segment_images(cells.labels, cells.cell_perturbed)
    found = segment_histograms(tokens[..., :100], np.eye(100), segments, kind="inner")
    p = 2 * np.minimum(found.p_less, found.p_greater)[:, 0]
    assert np.mean(p <= 0.05) > 0.25
    assert np.count_nonzero(stats.false_discovery_control(p.clip(0, 1)) <= 0.05) > 10
    test = cell_class_test(
        table.alignment[:, :100], cells.cell_perturbed, field=table.image, random_state=0
    )
    assert np.mean(test.p_value <= 0.05) < 0.12 and (test.q_value > 0.05).all()


def test_what_differs_between_fields_is_no_difference_of_classes():
    _, perturbed, field = toy(0, 20)
    share = np.array([perturbed[field == f].mean() for f in range(20)])
    test = cell_class_test(share[field], perturbed, field=field, random_state=0)
    assert test.effect[0] == pytest.approx(0, abs=1e-12)
    assert test.z[0] == 0 and test.p_value[0] == test.q_value[0] == 1
    assert test.auc[0] == pytest.approx(0.5)
    constant = cell_class_test(
        np.full(field.size, 0.1, np.float32), perturbed, field=field, random_state=0
    )
    assert constant.z[0] == 0 and constant.p_value[0] == 1
    rounded = np.where(np.arange(field.size) % 3, np.float32(0.1), np.nextafter(np.float32(0.1), 1))
    noise = cell_class_test(rounded, perturbed, field=field, random_state=0)
    assert noise.z[0] == 0 and noise.p_value[0] == 1


def test_dead_directions_do_not_lower_the_q_values_of_others():
    alignment, perturbed, field = toy(2, 10)
    alignment[perturbed, 0] += 0.8
    alone = cell_class_test(alignment, perturbed, field=field, random_state=0)
    padded = cell_class_test(
        np.hstack([alignment, np.zeros((field.size, 50))]), perturbed, field=field, random_state=0
    )
    np.testing.assert_allclose(padded.q_value[:4], alone.q_value)
    assert (padded.q_value[4:] == 1).all()


def test_fields_that_chose_a_direction_do_not_test_it():
    alignment, perturbed, field = toy(1)
    chosen = np.zeros((6, 4), dtype=bool)
    chosen[:2, 1] = chosen[5, 3] = True
    test = cell_class_test(alignment, perturbed, field=field, chosen=chosen[field], random_state=0)
    assert test.n_fields.tolist() == [6, 4, 6, 5]
    assert np.isnan(test.well_effect[:2, 1]).all()
    rest = field >= 2
    without = cell_class_test(alignment[rest], perturbed[rest], field=field[rest], random_state=0)
    for name in ("effect", "low", "high", "auc", "sign_flip_p_value", "z"):
        assert test[name][1] == pytest.approx(without[name][1]), name
    assert test.p_value[1] == pytest.approx(without.p_value[1], abs=0.06)
    by_field = cell_class_test(alignment, perturbed, field=field, chosen=field < 2, random_state=0)
    np.testing.assert_allclose(by_field.effect, without.effect)
    # The order of the cells does not matter, nor what the fields are called.
    order = np.random.default_rng(0).permutation(field.size)
    names = np.array(["f", "a", "e", "b", "d", "c"])[field]
    shuffled = cell_class_test(
        alignment[order], perturbed[order], field=names[order], chosen=chosen[field][order],
        random_state=0,
    )  # fmt: skip
    np.testing.assert_allclose(shuffled.effect, test.effect)
    mask = chosen[field]
    for wrong in (mask[:5], mask.astype(int), mask[:, :2]):
        with pytest.raises(ValueError, match=rf"a boolean mask of shape \({field.size},\) or"):
            cell_class_test(alignment, perturbed, field=field, chosen=wrong)
    mask[0, 0] = True
    with pytest.raises(ValueError, match="the same for all cells of a field, but .* field 0"):
        cell_class_test(alignment, perturbed, field=field, chosen=mask)
    chosen[:, 2] = True
    with pytest.raises(ValueError, match="chosen leaves no field with both classes.*direction 2"):
        cell_class_test(alignment, perturbed, field=field, chosen=chosen[field])


@given(seed=st.integers(0, 1000))
def test_order_of_cells_scale_and_side_do_not_matter(seed):
    alignment, perturbed, field = toy(seed)
    names = np.array(["s3", "s1", "s2", "s5", "s4", "s6"])[field]
    test = cell_class_test(alignment, perturbed, field=names, random_state=0, n_permutations=19)
    order = np.random.default_rng(seed).permutation(field.size)
    moved = cell_class_test(
        3 * alignment[order] + 1, perturbed[order], field=names[order], n_permutations=19
    )
    turned = cell_class_test(alignment, ~perturbed, field=names, n_permutations=19)
    for name, factor in (("effect", 3), ("low", 3), ("high", 3), ("z", 1), ("auc", 1)):
        np.testing.assert_allclose(moved[name], factor * test[name], atol=1e-9)
    np.testing.assert_allclose(turned.effect, -test.effect, atol=1e-12)
    np.testing.assert_allclose(turned.auc, 1 - test.auc)
    np.testing.assert_allclose(moved.sign_flip_p_value, test.sign_flip_p_value)


def test_blocks_of_fields_and_directions_change_nothing(monkeypatch):
    alignment, perturbed, field = toy(7, 12)
    whole = cell_class_test(alignment, perturbed, field=field, random_state=0)
    monkeypatch.setattr(_cell_test, "_BLOCK", 3)
    monkeypatch.setattr(_cell_classes, "_CELLS", 20)
    blocks = cell_class_test(alignment, perturbed, field=field, random_state=0)
    for name in ("effect", "z", "auc", "p_value", "family_wise_p_value", "q_value",
                 "sign_flip_p_value"):  # fmt: skip
        np.testing.assert_allclose(blocks[name], whole[name], err_msg=name)
    single = cell_class_test(alignment.astype(np.float32), perturbed, field=field, random_state=0)
    np.testing.assert_allclose(single.z, whole.z, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(single.p_value, whole.p_value, atol=2e-3)


def test_the_table_and_the_summary():
    alignment, perturbed, field = toy(3, 10)
    alignment[perturbed, 2] -= 3
    test = cell_class_test(alignment, perturbed, field=field, random_state=0)
    table = test.directions(0.05, as_frame=True)
    assert table.direction.tolist() == [2] and table.effect[0] < -2
    assert len(test.directions(1).direction) == 4
    assert f"{perturbed.sum()} perturbed" in repr(test) and "q_value 1" in repr(test)
    with pytest.raises(ValueError, match="by must be one of"):
        test.directions(by="chance")


def test_errors_name_the_parameter():
    alignment, perturbed, field = toy()
    with pytest.raises(ValueError, match="alignment holds NaN.*cell 3"):
        broken = alignment.copy()
        broken[3, 1] = np.nan
        cell_class_test(broken, perturbed, field=field)
    with pytest.raises(ValueError, match="perturbed must be boolean with one entry per cell"):
        cell_class_test(alignment, perturbed.astype(int), field=field)
    with pytest.raises(ValueError, match="field must have one entry per row"):
        cell_class_test(alignment, perturbed, field=field[1:])
    with pytest.raises(ValueError, match="field must hold at least one field with perturbed and"):
        cell_class_test(alignment, np.ones_like(perturbed), field=field)
    with pytest.raises(ValueError, match="well must be one for all cells of a field, but field 0"):
        cell_class_test(alignment, perturbed, field=field, well=np.arange(field.size))
    with pytest.raises(ValueError, match="alternative must be one of"):
        cell_class_test(alignment, perturbed, field=field, alternative="larger")
    with pytest.raises(ValueError, match="n_permutations must be an integer >= 1"):
        cell_class_test(alignment, perturbed, field=field, n_permutations=0)
    with pytest.raises(ValueError, match=r"alignment must have shape \(n_cells, n_directions\)"):
        cell_class_test(alignment[None], perturbed, field=field)
