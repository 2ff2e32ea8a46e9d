"""The technical audit: least squares as oracle, planted designs, bad input."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import f as f_distribution
from scipy.stats import false_discovery_control, kstest

from skdict.effects import TechnicalAudit, technical_audit
from skdict.effects._audit_design import read_design
from skdict.effects._audit_permutation import BiologyBeyondTechnical, TechnicalBeyondBiology
from skdict.effects._audit_variance import products_of
from skdict.metrics import selectivity_scores


def dummies(values):
    return (np.asarray(values)[:, None] == np.unique(values)).astype(float)


def residual(columns, y):
    """Residual sum of squares and rank of a dense fit with intercept."""
    columns = np.column_stack([np.ones(len(y)), *columns])
    coefficients, _, rank, _ = np.linalg.lstsq(columns, y, rcond=1e-10)
    return ((y - columns @ coefficients) ** 2).sum(axis=0), rank - 1


def share(reduced, full, everything, y):
    """Epsilon squared of what `full` adds to `reduced`."""
    (left_0, rank_0), (left, rank) = residual(reduced, y), residual(full, y)
    noise, rank_all = residual(everything, y)
    noise = noise / (len(y) - 1 - rank_all)
    return (left_0 - left - (rank - rank_0) * noise) / ((y - y.mean(axis=0)) ** 2).sum(axis=0)


def f_test(reduced, full, y):
    (left_0, rank_0), (left, rank) = residual(reduced, y), residual(full, y)
    free = len(y) - 1 - rank
    return f_distribution.sf((left_0 - left) / (rank - rank_0) / (left / free), rank - rank_0, free)


@pytest.fixture
def screen(rng):
    """Unbalanced, partly aliased: plates have different compounds, row follows compound."""
    n = 240
    plate = rng.integers(0, 6, n)
    compound = (plate + rng.integers(0, 5, n)) % 9
    row = np.where(rng.random(n) < 0.6, compound % 4, rng.integers(0, 4, n))
    count = rng.normal(size=n) + compound
    codes = rng.random((n, 12)) * (rng.random((n, 12)) < 0.3)
    codes[:, 0] += plate == 2
    codes[:, 1] += (compound == 4) + 0.3 * count
    return codes, compound, {"plate": plate, "row": row, "count": count}


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_shares_and_p_values_are_those_of_least_squares(screen, sparse, shift):
    codes, compound, factors = screen
    y = codes + shift if not sparse else codes
    audit = technical_audit(csr_array(y) if sparse else y, compound, factors)
    z = (factors["count"] - factors["count"].mean()) / factors["count"].std()
    parts = {"plate": dummies(factors["plate"]), "row": dummies(factors["row"]),
             "count": np.column_stack([z, z**2])}  # fmt: skip
    T, B = list(parts.values()), [dummies(compound)]
    TB = [*T, *B]
    expected = {
        "technical_share": share([], T, TB, y),
        "biology_share": share([], B, TB, y),
        "unique_technical": share(B, TB, TB, y),
        "unique_biology": share(T, TB, TB, y),
        "shared": share([], T, TB, y) - share(B, TB, TB, y),
        "unexplained": 1 - share([], TB, TB, y),
        "factor_share": [share([], [part], TB, y) for part in T],
        "factor_unique": [share([other for other in TB if other is not part], TB, TB, y)
                          for part in T],
        "factor_shared": [share([], [part], TB, y) - share(B, [part, *B], TB, y) for part in T],
    }  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_allclose(audit[name], values, atol=1e-8, err_msg=name)
    for name, p_value in (("technical", f_test(B, TB, y)), ("biology", f_test(T, TB, y))):
        asked = audit[f"unique_{name}"] >= 0.05
        asked &= false_discovery_control(p_value) <= 0.05  # the F test alone does not decide
        found = audit[f"{name}_p_value"]
        np.testing.assert_allclose(found[~asked], p_value[~asked], atol=1e-8)
        assert asked.any() and (found[asked] >= p_value[asked]).all()
    assert audit.n_residual == 240 - 1 - residual(TB, y)[1]
    parts_of_one = ("unique_technical", "unique_biology", "shared", "unexplained")
    np.testing.assert_allclose(sum(audit[name] for name in parts_of_one), 1.0)


def test_input_is_not_changed(screen):
    codes, compound, factors = screen
    before = codes.copy()
    technical_audit(codes, compound, factors)
    assert np.array_equal(codes, before)


def test_aliasing_of_the_design(screen):
    codes, compound, factors = screen
    factors = factors | {"half": compound % 2, "copy": compound, "day": factors["plate"] % 2}
    design = technical_audit(codes, compound, factors).design
    B = dummies(compound)
    B = B - B.mean(axis=0)
    for i, name in enumerate(["plate", "row"]):
        A = dummies(factors[name])
        A = A - A.mean(axis=0)
        canonical = np.trace(np.linalg.pinv(A) @ B @ np.linalg.pinv(B) @ A)
        assert design["overlap"][i] == pytest.approx(canonical / 8)
    assert design["factor"].tolist() == [*factors, "all factors"]
    assert design["kind"].tolist()[2:4] == ["continuous", "categorical"]
    assert design["n_columns"].tolist() == [6, 4, 2, 2, 9, 2, 25]
    assert design["degrees_of_freedom"].tolist() == [5, 3, 2, 1, 8, 1, 18]
    np.testing.assert_allclose(design["aliased_share"], [0, 0, 0, 1 / 8, 1, 0, 1])


def verdict_of(signal, compound, factors, *, noise=0.5, seed=0, **options):
    """Audit of twenty concepts with the same signal and a noise of their own, and its counts."""
    noises = np.random.default_rng(seed).normal(size=(len(signal), 20))
    audit = technical_audit(signal[:, None] + noise * noises, compound, factors, **options)
    return audit, audit.counts()


def effects(index, seed):
    return np.random.default_rng(seed).normal(size=index.max() + 1)[index]


BALANCED = np.indices((20, 8, 2)).reshape(3, -1)  # compound, plate, replicate


@pytest.mark.parametrize(
    ("of_compound", "of_plate", "expected"),
    [(0, 1, "technical"), (1, 0, "biological"), (1, 1, "mixed"), (0, 0, "unexplained")],
)
def test_verdicts_of_a_balanced_design(of_compound, of_plate, expected):
    compound, plate, _ = BALANCED
    signal = of_compound * effects(compound, 1) + of_plate * effects(plate, 2)
    audit, counts = verdict_of(signal, compound, {"plate": plate})
    assert counts[expected] == 20, counts
    assert np.allclose(audit.shared, 0) and (audit.confounded_with == "").all()


def test_a_plate_of_its_own_for_each_label_cannot_be_told_from_it():
    compound, plate, _ = BALANCED
    own_plate = np.char.add(compound.astype(str), "p")
    for factors in ({"plate": own_plate}, {"day": plate, "plate": own_plate}):
        audit, counts = verdict_of(effects(compound, 1), compound, factors)
        assert counts["not separable"] == 20
        assert set(audit.confounded_with) == {"plate"}
        assert (audit.biology_p_value == 1).all() and audit.n_unique_biology == 0
        assert np.isnan(audit.adjusted_selectivity).all()


@pytest.mark.parametrize(
    ("of_compound", "of_plate", "expected"), [(0, 1, "not separable"), (1, 0, "biological")]
)
def test_labels_nested_in_plates(of_compound, of_plate, expected):
    # Twenty compounds, five on each of four plates: plates are sums of compounds. What differs
    # within plates is biology; what differs between them nobody can tell.
    compound, _, _ = BALANCED
    plate = compound // 5
    signal = of_compound * effects(compound, 3) + of_plate * effects(plate, 2)
    audit, counts = verdict_of(signal, compound, {"plate": plate})
    assert counts[expected] == 20, counts
    assert (audit.technical_p_value == 1).all()


def test_nested_biology_that_differs_between_plates_as_chance_would_have_it():
    # Of any difference between forty labels 7 of 39 parts lie between their eight plates. More than
    # that needs a reason.
    compound, replicate = np.indices((40, 8)).reshape(2, -1)
    plate, signal = compound // 5, effects(compound, 4)
    audit, counts = verdict_of(signal, compound, {"plate": plate})
    assert audit.shared.min() > 0.05 and counts["biological"] == 20
    audit, counts = verdict_of(signal + effects(plate, 2), compound, {"plate": plate})
    assert counts["not separable"] == 20


def test_a_small_unique_part_beside_a_large_shared_one_is_not_separable():
    compound, _, _ = BALANCED
    plate = compound // 5
    signal = effects(compound, 3) + 4 * effects(plate, 2)
    audit, counts = verdict_of(signal, compound, {"plate": plate})
    assert counts["not separable"] == 20
    assert (audit.unique_biology > 0.05).all() and (audit.biology_q_value < 0.01).all()


@pytest.mark.parametrize(
    ("of_compound", "of_well", "of_plate", "expected"),
    [
        (1, 0, 0, "not separable"),
        (0, 1, 0, "technical"),
        (0, 0, 1, "technical"),
        (1, 0, 1, "not separable"),  # the plate is seen, but it made nothing that is shared
        (0, 0, 0, "unexplained"),
    ],
)
def test_the_same_layout_on_all_plates(of_compound, of_well, of_plate, expected):
    # Eighteen compounds in four wells each, the same on six plates.
    compound, within, plate = np.indices((18, 4, 6)).reshape(3, -1)
    well = 4 * compound + within
    signal = of_compound * effects(compound, 1) + of_well * effects(well, 2)
    signal += of_plate * 2 * effects(plate, 5)
    factors = {"plate": plate, "well": well}
    audit, counts = verdict_of(signal, compound, factors, categorical=["well"])
    assert counts[expected] >= 19, counts
    assert audit.design["aliased_share"].tolist() == [0, 1, 1]
    if expected == "not separable":
        assert set(audit.confounded_with) == {"well"}
    # rows and columns of the same layout leave most of the biology to be seen
    row, column = np.divmod(np.random.default_rng(0).permutation(72)[well], 12)
    audit, counts = verdict_of(signal, compound, {"plate": plate, "row": row, "column": column})
    assert 0.1 < audit.design["overlap"][-1] < 0.9
    if of_compound:
        assert counts["mixed" if of_plate else "biological"] == 20, counts


def test_shared_variance_goes_to_the_side_that_would_have_shown():
    # The row follows the compound in part. A signal of the compound is in the rows too, but rows
    # that made it would differ within compounds; the other way round likewise.
    rng = np.random.default_rng(5)
    compound = rng.integers(0, 8, 800)
    row = np.where(rng.random(800) < 0.7, compound, rng.integers(0, 8, 800))
    for made_by, expected in ((compound, "biological"), (row, "technical")):
        audit, counts = verdict_of(effects(made_by, 1), compound, {"row": row})
        assert counts[expected] == 20, counts
        assert (audit.shared > 0.2).all()


def test_null_p_values_are_uniform():
    rng = np.random.default_rng(0)
    compound, plate, _ = BALANCED
    count = rng.poisson(60, compound.size)
    # half the plates lack half the compounds: not balanced
    kept = (plate < 4) | (compound < 10)
    codes = rng.normal(size=(kept.sum(), 1500))
    factors = {"plate": plate[kept], "count": np.log(count[kept])}
    audit = technical_audit(codes, compound[kept], factors)
    assert kstest(audit.technical_p_value, "uniform").pvalue > 0.01
    assert kstest(audit.biology_p_value, "uniform").pvalue > 0.01
    assert audit.counts()["unexplained"] >= 1490
    for name in ("unique_technical", "unique_biology", "technical_share", "biology_share"):
        assert abs(audit[name].mean()) < 0.003  # adjusted: zero in the mean


def test_whole_numbers_are_names_as_int_and_as_float():
    # Three of twelve plates are bright, and X lies on these alone.
    rng = np.random.default_rng(0)
    plate = np.repeat(np.arange(1, 13), 24)
    bright = np.isin(plate, [3, 7, 10])
    compound = np.concatenate([rng.permutation(24) for _ in range(12)]).astype(str)
    compound[bright & (rng.random(288) < 0.5)] = "X"
    codes = rng.normal(size=(288, 30)) + 3 * bright[:, None]
    audits = [
        technical_audit(codes, compound, {"plate": values}, random_state=0)
        for values in (plate, plate.astype(float))
    ]
    assert audits[1].design["kind"][0] == "categorical"
    for audit in audits:
        assert (audit.verdict == "technical").all()


def statistic_by_least_squares(design, order, codes, residual_of):
    """Partial share of `design` moved to other units, beside the moved other columns."""
    tested, others = (np.column_stack([np.ones(len(codes)), part])[order] for part in design)
    y = residual_of(codes)
    (left_0, _), (left, _) = residual([others], y), residual([others, tested], y)
    return (left_0 - left) / left_0


@pytest.mark.parametrize("sparse", [True, False])
def test_permuted_statistics_are_those_of_least_squares(screen, sparse):
    codes, compound, factors = screen
    design = read_design(compound, factors, None, (), 240)
    products = products_of(design)
    T, B = products.technical.toarray(), dummies(compound)
    activation = csr_array(codes).tocsc() if sparse else codes
    order = np.random.default_rng(0).permutation(240)
    columns = np.column_stack([np.ones(240), T])

    def without_technical(y):
        return y - columns @ np.linalg.lstsq(columns, y, rcond=None)[0]

    expected = statistic_by_least_squares((B, T), order, codes, without_technical)
    found = BiologyBeyondTechnical(products, activation).statistic(order)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    # within labels: order units of each label anew
    within = np.empty(240, dtype=int)
    within[np.argsort(compound, kind="stable")] = np.lexsort((order, compound))
    (left_0, _), (left, _) = residual([B], codes), residual([B, T[within]], codes)
    found = TechnicalBeyondBiology(products, activation).statistic(within)
    np.testing.assert_allclose(found, left_0 - left, atol=1e-10)


def test_few_active_units_that_meet_by_chance_are_no_biology():
    # The F test alone calls some of these biological in almost every draw.
    rng = np.random.default_rng(0)
    compound, plate = np.tile(np.repeat(np.arange(90), 4), 2), np.repeat([0, 1], 360)
    wrong, by_f_test = 0, 0
    for seed in range(4):
        codes = (rng.random((720, 400)) < 0.01) * rng.lognormal(size=(720, 400))
        codes[0] += 1e-9  # none is never active
        audit = technical_audit(csr_array(codes), compound, {"plate": plate}, random_state=seed)
        wrong += 400 - audit.counts()["unexplained"]
        p_value = f_test([dummies(plate)], [dummies(plate), dummies(compound)], codes)
        by_f_test += np.count_nonzero(false_discovery_control(p_value) < 0.05)
    assert by_f_test >= 3 and wrong <= 1


def test_a_concept_of_one_plate_is_no_biology_of_the_labels_there():
    # Every plate has labels of its own and each concept is active on one plate alone.
    rng = np.random.default_rng(1)
    plate = np.repeat(np.arange(6), 120)
    compound = 15 * plate + np.tile(np.arange(15), 48)
    codes = (rng.random((720, 300)) < 0.3) * (plate[:, None] == rng.integers(0, 6, 300))
    audit = technical_audit(codes * 1.0, compound, {"plate": plate}, random_state=0)
    assert audit.counts()["biological"] + audit.counts()["mixed"] <= 1


def test_units_are_means_of_their_rows(screen):
    codes, compound, factors = screen
    whole = technical_audit(codes, compound, factors, random_state=0)
    # every unit as two rows about its mean, in another order
    order = np.random.default_rng(1).permutation(480)
    rows = np.concatenate([1.5 * codes, 0.5 * codes])[order]
    unit = np.tile(np.arange(240), 2)[order]
    factors = {name: np.tile(values, 2)[order] for name, values in factors.items()}
    factors["count"] = factors["count"] + np.where(order < 240, 1.0, -1.0)
    by_unit = technical_audit(csr_array(rows), compound[unit], factors, units=unit, random_state=0)
    assert by_unit.n_units == 240
    for name in ("unique_technical", "technical_share", "selectivity", "adjusted_selectivity"):
        np.testing.assert_allclose(by_unit[name], whole[name], atol=1e-10)
    assert np.array_equal(by_unit.verdict, whole.verdict)


def test_selectivity_is_that_of_the_metrics_and_its_adjustment_a_coefficient(screen):
    codes, compound, factors = screen
    scores = selectivity_scores(codes, compound, active=0.2)
    alone = technical_audit(codes, compound, {"one": np.ones(240)}, active=0.2)
    assert np.array_equal(alone.selectivity, scores.max(axis=0))
    assert np.array_equal(alone.label, scores.argmax(axis=0))
    np.testing.assert_allclose(alone.adjusted_selectivity, alone.selectivity)
    audit = technical_audit(codes, compound, factors, active=0.2)
    z = factors["count"] - factors["count"].mean()
    technical = np.column_stack([dummies(factors["plate"]), dummies(factors["row"]), z, z**2])
    for j in range(codes.shape[1]):
        columns = np.column_stack([compound == audit.label[j], np.ones(240), technical])
        slope = np.linalg.lstsq(columns, np.abs(codes[:, j]) > 0.2, rcond=None)[0][0]
        assert audit.adjusted_selectivity[j] == pytest.approx(slope, abs=1e-8)


def test_factors_that_are_orthogonal_leave_selectivity_alone():
    compound, plate, _ = BALANCED
    codes = (np.random.default_rng(0).random((compound.size, 5)) < 0.3).astype(float)
    audit = technical_audit(codes, compound, {"plate": plate})
    np.testing.assert_allclose(audit.adjusted_selectivity, audit.selectivity)


def test_kinds_of_factors(screen):
    codes, compound, _ = screen
    n = len(compound)
    factors = {
        "text": np.array(["a", "b"] * (n // 2), dtype=object),
        "flag": np.arange(n) % 3 == 0,
        "columns": np.arange(n) % 48,
        "number": np.arange(n) % 60,
        "float": np.tile([1.0, 2.0], n // 2),
        "fraction": np.tile([1.0, 2.5], n // 2),
        "objects": np.array([float(i) for i in range(n)], dtype=object),
        "time": np.datetime64("2021-03-01") + np.arange(n),
        "constant": np.ones(n),
        "one name": ["x"] * n,
        "large": 1e9 + np.arange(n) % 7.0,
    }
    audit = technical_audit(codes, compound, factors)
    kinds = dict(zip(audit.design["factor"], audit.design["kind"]))
    assert [name for name, kind in kinds.items() if kind == "categorical"] == [
        "text", "flag", "columns", "float", "large",
    ]  # fmt: skip
    assert audit.excluded["factor"] == ["constant", "one name"]
    assert all("constant" in reason for reason in audit.excluded["reason"])
    columns = dict(zip(audit.design["factor"], audit.design["n_columns"]))
    assert columns["fraction"] == 1 and columns["number"] == 2  # a square of two values is no news
    forced = technical_audit(codes, compound, factors, categorical=["number"])
    assert dict(zip(forced.design["factor"], forced.design["n_columns"]))["number"] == 60


def test_a_perfect_fit():
    compound, plate, _ = BALANCED
    audit = technical_audit((compound == 3)[:, None] * 1.0, compound, {"plate": plate})
    assert audit.verdict[0] == "biological" and audit.unique_biology[0] == pytest.approx(1)
    assert audit.technical_p_value[0] > 0.9 and audit.biology_p_value[0] <= 0.005
    assert audit.label[0] == 3 and audit.adjusted_selectivity[0] == pytest.approx(1)


def test_silent_and_constant_concepts(screen):
    codes, compound, factors = screen
    codes = codes.copy()
    codes[:, 3], codes[:, 4], codes[:, 5] = 0.0, 2.5, -codes[:, 5]
    audit = technical_audit(csr_array(codes), compound, factors, active="positive")
    assert audit.verdict[[3, 5]].tolist() == ["never active"] * 2
    assert audit.verdict[4] == "unexplained"
    assert audit.counts()["never active"] == 2
    for j in (3, 4, 5):
        assert audit.biology_share[j] == audit.shared[j] == audit.factor_unique[0, j] == 0
        assert audit.technical_q_value[j] == audit.biology_q_value[j] == 1
        assert audit.unexplained[j] == 1 and audit.selectivity[j] == 0
    # concepts that are never active do not weigh on the others
    alive = np.setdiff1d(np.arange(12), [3, 5])
    few = technical_audit(codes[:, alive], compound, factors, active="positive")
    np.testing.assert_allclose(few.biology_q_value, audit.biology_q_value[alive], atol=0.05)
    assert np.array_equal(audit.n_active_units > 0, audit.verdict != "never active")


def test_tables_and_summary(screen):
    pandas = pytest.importorskip("pandas")
    codes, compound, factors = screen
    audit = technical_audit(codes, compound, pandas.DataFrame(factors))
    assert isinstance(audit, TechnicalAudit)
    assert np.array_equal(audit.unique_biology, technical_audit(codes, compound, factors)
                          .unique_biology)  # fmt: skip
    frame = audit.table(as_frame=True)
    assert len(frame) == 12 and (frame["verdict"] == audit.verdict).all()
    assert frame["main_factor"][0] == "plate"
    by_factor = audit.by_factor(as_frame=True)
    one = by_factor[(by_factor.concept == 3) & (by_factor.factor == "row")]
    assert one["unique"].item() == audit.factor_unique[1, 3]
    assert sum(audit.counts().values()) == 12
    text = repr(audit)
    assert "12 concepts: 240 units, 9 labels" in text and "all factors" in text
    none = technical_audit(codes, compound, {"constant": np.ones(240)})
    assert "excluded, constant" in repr(none) and "main_factor" not in none.table()
    assert set(none.verdict) <= {"biological", "unexplained"}
    assert type(audit.table()) is type(audit.by_factor()) is dict
    assert len(none.by_factor()["concept"]) == 0


def test_bad_input_names_what_is_wrong(screen):
    codes, compound, factors = screen
    n = len(compound)
    count = factors["count"].copy()
    count[5] = np.nan
    cases = [
        ({"count": count}, r"factors\['count'\] holds NaN or infinite values; drop these rows"),
        ({"count": [None, *count[1:4], *np.ones(n - 4)]}, r"factors\['count'\] holds NaN"),
        ({"plate": [None] + ["a"] * (n - 1)}, r"factors\['plate'\] holds missing values"),
        ({"plate": ["a"] * 3}, r"factors\['plate'\] must have one entry per row"),
        ({"well": [f"w{i}" for i in range(n)]}, "factors leave nothing to judge by: 240 units"),
    ]
    for bad, message in cases:
        with pytest.raises(ValueError, match=message):
            technical_audit(codes, compound, bad)
    with pytest.raises(TypeError, match="factors must be a dict or DataFrame"):
        technical_audit(codes, compound, factors["plate"])
    with pytest.raises(ValueError, match="biology must hold at least two labels"):
        technical_audit(codes, ["a"] * n, factors)
    with pytest.raises(ValueError, match="categorical names 'plaet', but the factors are"):
        technical_audit(codes, compound, factors, categorical=["plaet"])
    with pytest.raises(ValueError, match=r"categorical must be a list of names.*\['plate'\]"):
        technical_audit(codes, compound, factors, categorical="plate")
    with pytest.raises(ValueError, match=r"min_share must be in \[0, 1\], got 5"):
        technical_audit(codes, compound, factors, min_share=5)
    units = np.arange(n) // 2
    with pytest.raises(ValueError, match="biology must be the same in all rows of a unit, but"):
        technical_audit(codes, compound, factors, units=units)
    with pytest.raises(ValueError, match=r"factors\['plate'\] must be the same.*finer units"):
        technical_audit(codes, compound[2 * units // 2], factors | {"plate": np.arange(n) % 2},
                        units=np.char.add("u", compound[2 * units // 2].astype(str)))  # fmt: skip
