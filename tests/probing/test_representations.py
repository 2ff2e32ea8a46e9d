"""Probes: nothing of the test fold is seen in training, and the table says what happened."""

import warnings

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, Normalizer, StandardScaler

from skdict import ControlPCAWhitener, ICFLDictionary
from skdict.datasets import load_jump_scope
from skdict.preprocessing import LargestValuesSelector
from skdict.probing import _logistic, probe_representations

SEEN = []


@pytest.fixture(autouse=True)
def forget_what_was_seen():
    SEEN.clear()


class Recorder(TransformerMixin, BaseEstimator):
    """Centres on the controls and records the rows and the mask that it was fitted on."""

    __metadata_request__fit = {"control": True}

    def fit(self, X, y=None, *, control=None):
        assert y is None
        X = np.asarray(X)
        SEEN.append((X[:, 0].copy(), None if control is None else control.copy()))
        self.mean_ = X.mean(axis=0) if control is None else X[control].mean(axis=0)
        return self

    def transform(self, X):
        return np.asarray(X) - self.mean_


@pytest.fixture
def data():
    """Rows with their index in column 0, three mechanisms of three compounds, two plates."""
    rng = np.random.default_rng(0)
    compound = np.repeat(np.arange(10), 12)
    y = np.where(compound == 9, "DMSO", np.array(list("aaabbbccc-"))[compound])
    X = rng.normal(size=(120, 10))
    for column, label in enumerate("abc", start=1):
        X[:, column] += 5 * (y == label)
    X[:, 0] = np.arange(120)
    plate = np.tile(np.repeat([0, 1, 2], 4), 10)
    return {"X": X, "y": y, "compound": compound, "plate": plate, "control": compound == 9}


def pipeline():
    return make_pipeline(Recorder(), PCA(5, random_state=0), LargestValuesSelector(2))


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("held_out", ["compound", "plate"])
def test_each_fold_is_fitted_on_its_training_rows_and_controls(data, routing, held_out):
    groups, control = data[held_out], data["control"]
    cv = GroupKFold(3)
    with sklearn.config_context(enable_metadata_routing=routing):
        table = probe_representations(
            pipeline(), data["X"], data["y"], groups=groups, cv=cv, control=control, Cs=1.0
        )
    probed = np.flatnonzero(~control)
    splits = list(cv.split(probed, data["y"][probed], groups[probed]))
    assert len(SEEN) == 3
    for fold, ((rows, mask), (train, test)) in enumerate(zip(SEEN, splits)):
        rows = rows.astype(int)
        np.testing.assert_array_equal(mask, control[rows])
        assert not set(groups[rows]) & set(groups[probed[test]])
        assert set(probed[train]) == set(rows[~mask])
        # all controls when compounds are held out, those of the training plates otherwise
        assert mask.sum() == (12 if held_out == "compound" else 8)
        here = table["fold"] == fold
        assert (table["n_control"][here] == mask.sum()).all()
        assert (table["n_train"][here] == len(train)).all()
        assert (table["n_test"][here] == len(test)).all()


def test_scores_equal_a_probe_written_by_hand(data):
    # uneven labels that overlap, so that the class weights matter
    keep = ~np.isin(data["compound"], [5, 7, 8])
    X, y, groups, control = (data[name][keep] for name in ("X", "y", "plate", "control"))
    X = X + np.random.default_rng(1).normal(scale=3, size=X.shape)
    cv = GroupKFold(3)
    names = ("raw", "preprocessed", "codes", "reconstruction")
    table = probe_representations(
        pipeline(), X, y, groups=groups, cv=cv, control=control, representations=names, Cs=0.5
    )
    probed = np.flatnonzero(~control)
    assert table["representation"].tolist() == list(names) * 3
    for fold, (train, test) in enumerate(cv.split(probed, groups=groups[probed])):
        train, test = probed[train], probed[test]
        allowed = control & ~np.isin(groups, groups[test])
        fit_rows = np.union1d(train, np.flatnonzero(allowed))
        centred = X - X[allowed].mean(axis=0)
        pca = PCA(5, random_state=0).fit(centred[fit_rows])
        reduced = pca.transform(centred)
        selector = LargestValuesSelector(2).fit(reduced[fit_rows])
        codes = selector.transform(reduced)
        features = {
            "raw": (StandardScaler(), X),
            "preprocessed": (StandardScaler(), reduced),
            "codes": (MaxAbsScaler(), codes),
            "reconstruction": (StandardScaler(), selector.inverse_transform(codes)),
        }
        for i, name in enumerate(names):
            scaler, values = features[name]
            probe = make_pipeline(
                scaler, LogisticRegression(C=0.5, class_weight="balanced", max_iter=1000)
            ).fit(values[train], y[train])
            expected = balanced_accuracy_score(y[test], probe.predict(values[test]))
            assert table["balanced_accuracy"][4 * fold + i] == pytest.approx(expected)
            assert table["n_features"][4 * fold + i] == values.shape[1]


def test_c_is_chosen_by_inner_folds_without_the_test_rows(data):
    """Change the test labels of a fold: its chosen C must stay."""
    X, y, groups, control = data["X"], data["y"], data["compound"], data["control"]
    options = {
        "groups": groups,
        "cv": GroupKFold(3),
        "control": control,
        "Cs": (1e-4, 1e-2, 1.0, 100.0),
    }
    table = probe_representations(pipeline(), X, y, **options)
    probed = np.flatnonzero(~control)
    _, test = next(iter(GroupKFold(3).split(probed, groups=groups[probed])))
    shuffled = y.copy()
    shuffled[probed[test]] = np.roll(y[probed[test]], 7)
    again = probe_representations(pipeline(), X, shuffled, **options)
    np.testing.assert_array_equal(again["C"][:3], table["C"][:3])
    assert set(table["C"]) <= set(options["Cs"])


def test_c_is_the_one_that_generalises():
    """Few rows, much noise and one weak common direction: strong regularisation wins."""
    rng = np.random.default_rng(0)
    y, groups = np.tile([0, 1], 60), np.repeat(np.arange(12), 10)
    X = rng.normal(size=(120, 80))
    X[:, :40] += 0.25 * (2 * y - 1)[:, None]
    scores = {}
    for C in (1e-3, 1e3, (1e-3, 1e3)):
        table = probe_representations(
            None, X, y, groups=groups, cv=4, representations=("raw",), Cs=C
        )
        scores[C] = table["balanced_accuracy"].mean()
    assert scores[1e-3] > scores[1e3]
    assert scores[1e-3, 1e3] > scores[1e3]


def test_unseen_labels_have_recall_zero_and_count(data):
    # compound 8 is the only one of mechanism "c" here, so holding it out leaves none
    keep = ~np.isin(data["compound"], [6, 7])
    X, y, groups = data["X"][keep], data["y"][keep], data["compound"][keep]
    control = data["control"][keep]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table, recall = probe_representations(
            None,
            X,
            y,
            groups=groups,
            cv=StratifiedGroupKFold(3),
            control=control,
            representations="raw",
            Cs=1.0,
            return_recall=True,
        )
    assert table["n_unseen_classes"].sum() == 1
    fold = int(table["fold"][table["n_unseen_classes"] == 1][0])
    here = recall["fold"] == fold
    unseen = here & (recall["label"] == "c")
    assert recall["recall"][unseen].tolist() == [0.0]
    assert recall["seen"][unseen].tolist() == [False]
    assert recall["n_test"][unseen].tolist() == [12]
    np.testing.assert_allclose(
        table["balanced_accuracy"][fold], recall["recall"][here].mean(), rtol=1e-12
    )
    # a uniform guess among two labels, of which some of the test labels are
    n_test, n_seen = here.sum(), (here & recall["seen"]).sum()
    assert table["n_classes"][fold] == 2
    assert table["chance"][fold] == pytest.approx(n_seen / n_test / 2)


def test_labels_that_mean_nothing_give_chance():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(900, 6)), rng.integers(0, 3, 900)
    groups = np.arange(900) // 30
    table = probe_representations(
        PCA(3), X, y, groups=groups, cv=GroupKFold(5), representations=("raw", "codes")
    )
    assert np.allclose(table["chance"], 1 / 3)
    # 900 predictions: standard error about 0.016
    for name in ("raw", "codes"):
        mean = table["balanced_accuracy"][table["representation"] == name].mean()
        assert abs(mean - 1 / 3) < 0.06


def test_inner_folds_without_information_fall_back_with_a_warning():
    # two groups per label, and one of each held out: none has two training groups
    y = np.repeat([0, 1, 2], 20)
    groups = np.repeat(np.arange(6), 10)
    X = np.random.default_rng(0).normal(size=(60, 4)) + y[:, None]
    with pytest.warns(UserWarning, match="no label has two training groups"):
        table = probe_representations(
            None,
            X,
            y,
            groups=groups,
            cv=StratifiedGroupKFold(2),
            representations=("raw",),
            Cs=(0.1, 1.0, 10.0),
        )
    assert table["C"].tolist() == [1.0, 1.0]
    assert (table["n_unseen_classes"] == 0).all()


def test_frames_lists_sparse_input_and_no_groups(data):
    pd = pytest.importorskip("pandas")
    X, y, control = data["X"], data["y"], data["control"]
    plain = probe_representations(
        pipeline(), X, y, groups=data["plate"], cv=3, control=control, Cs=1.0
    )
    names = [f"f{i}" for i in range(X.shape[1])]
    frame = probe_representations(
        pipeline(),
        pd.DataFrame(X, columns=names),
        list(y),
        groups=pd.Series(data["plate"]),
        cv=3,
        control=list(control),
        Cs=1.0,
        as_frame=True,
    )
    assert frame.columns.tolist() == list(plain)
    np.testing.assert_array_equal(frame["balanced_accuracy"], plain["balanced_accuracy"])
    loose = probe_representations(
        None, sparse.csr_array(X[:, 1:]), y, groups=None, cv=3, representations=("raw",)
    )
    assert (loose["balanced_accuracy"] > loose["chance"]).all()
    assert (loose["n_control"] == 0).all()


def test_a_single_transformer_and_leave_one_group_out(data):
    kept = ~data["control"]
    table = probe_representations(
        PCA(4), data["X"][kept], data["y"][kept], groups=data["plate"][kept], cv=LeaveOneGroupOut()
    )
    assert table["fold"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_probes_that_stop_early_are_reported_once(data):
    kept = ~data["control"]
    with pytest.warns(ConvergenceWarning, match="3 of 3 final probes") as caught:
        table = probe_representations(
            None,
            data["X"][kept],
            data["y"][kept],
            groups=data["plate"][kept],
            cv=3,
            representations=("raw",),
            Cs=(1.0, 1e4),
            max_iter=1,
        )
    assert len(caught) == 1
    assert not table["converged"].any()


def test_errors_name_the_parameter(data):
    X, y, groups = data["X"], data["y"], data["plate"]

    def run(estimator=None, X=X, y=y, **options):
        options = {"groups": groups, "cv": 3, "representations": ("raw",), "Cs": 1.0} | options
        return probe_representations(estimator, X, y, **options)

    for options, message in [
        ({"representations": ("code",)}, "representations must be distinct names"),
        ({"representations": ()}, "representations must be distinct names"),
        ({"representations": ("raw", "codes")}, "pipeline must not be None"),
        ({"Cs": (0.0, 1.0)}, "Cs must be positive"),
        ({"y": y[:-1]}, "y must have one entry per row"),
        ({"groups": groups[:-1]}, "groups must have one entry per row"),
        ({"groups": np.where(np.arange(120) < 3, np.nan, groups)}, "groups holds missing values"),
        ({"groups": [None, *groups.tolist()[1:]]}, "groups holds missing values"),
        ({"y": ["a"] * 60 + ["b"] * 59 + [float("nan")]}, "None or NaN among the labels"),
        ({"y": np.array([1.0, 2.0, np.nan] * 40, dtype=object)}, "None or NaN among the labels"),
        ({"control": np.arange(3)}, "control must"),
        ({"cv": 1}, "cv must be an integer >= 2"),
        ({"y": np.full(120, "a")}, "y must hold at least two labels"),
        ({"y": np.array(["a", None] * 60, dtype=object)}, "y must hold labels of one type"),
        ({"groups": np.repeat([0, 1], 60), "cv": 2, "Cs": (1, 2)}, "at least two training groups"),
        ({"groups": y, "cv": 2, "y": (y == "a")}, "at least two labels in the training rows"),
        ({"baselines": {"codes": PCA(2)}}, "baselines must have names other than"),
        (
            {"baselines": {"off": Pipeline([("off", None)])}},
            "baselines\\['off'\\] must have a step",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            run(**options)
    with pytest.raises(TypeError, match="cv must be an int or a splitter"):
        run(cv=[(np.arange(10), np.arange(10, 20))])
    with pytest.raises(TypeError, match="baselines must be a dict"):
        run(baselines=[PCA(2)])
    with pytest.raises(TypeError, match="must be a transformer"):
        run(baselines={"pca": "PCA"})
    with pytest.raises(ValueError, match="no inverse_transform"):
        run(Recorder(), representations=("reconstruction",))


def test_the_batch_itself_is_predicted_from_what_lies_within(data):
    kept = ~data["control"]
    X, plate, compound = data["X"][kept], data["plate"][kept], data["compound"][kept]
    X = X[:, 4:] + 4 * np.eye(6)[plate]
    options = {"representations": "raw", "cv": 3, "Cs": 1.0}
    with pytest.raises(ValueError, match="groups must leave .* To predict the group itself"):
        probe_representations(None, X, plate, groups=plate, **options)
    table = probe_representations(None, X, plate, groups=compound, **options)
    assert table["balanced_accuracy"].min() > 0.8 and not table["n_unseen_classes"].any()


@pytest.mark.parametrize("idle", ["passthrough", None])
def test_a_last_step_that_does_nothing_is_passed_over(data, idle):
    options = {"groups": data["plate"], "cv": GroupKFold(3), "control": data["control"], "Cs": 0.1}
    expected = probe_representations(pipeline(), data["X"], data["y"], **options)
    longer = Pipeline([*pipeline().steps, ("off", idle)])
    table = probe_representations(longer, data["X"], data["y"], **options)
    assert table.keys() == expected.keys()
    for name, column in expected.items():
        np.testing.assert_array_equal(table[name], column)
    with pytest.raises(ValueError, match="a step besides 'passthrough'"):
        probe_representations(Pipeline([("off", idle)]), data["X"], data["y"], **options)


def test_baselines_are_fitted_in_the_fold_as_the_pipeline_is(data):
    """A baseline gives the rows that a call with it as the pipeline gives for its codes."""
    X, y = data["X"], data["y"]
    options = {"groups": data["plate"], "cv": GroupKFold(3), "control": data["control"], "Cs": 0.1}
    rival = make_pipeline(Recorder(), PCA(3, random_state=0))
    table = probe_representations(
        pipeline(),
        X,
        y,
        representations=("codes", "raw"),
        baselines={"three": rival, "dense": LargestValuesSelector(2, sparse_output=False)},
        **options,
    )
    assert table["representation"][:4].tolist() == ["codes", "raw", "three", "dense"]
    assert len(SEEN) == 6  # pipeline and rival, three folds each
    for (rows, mask), (rows_of_rival, mask_of_rival) in zip(SEEN[::2], SEEN[1::2]):
        np.testing.assert_array_equal(rows, rows_of_rival)
        np.testing.assert_array_equal(mask, mask_of_rival)
    # dense outputs of a baseline are standardised, as "preprocessed" is
    alone = probe_representations(
        make_pipeline(*[step for _, step in rival.steps], PCA(3, random_state=0)),
        X,
        y,
        representations=("preprocessed",),
        **options,
    )
    here = table["representation"] == "three"
    np.testing.assert_allclose(table["balanced_accuracy"][here], alone["balanced_accuracy"])
    assert (table["n_active"][table["representation"] == "dense"] == 2).all()
    assert (table["n_features"][table["representation"] == "dense"] == 10).all()
    only = probe_representations(
        None, X, y, representations=(), baselines={"three": rival}, **options
    )
    np.testing.assert_array_equal(only["balanced_accuracy"], table["balanced_accuracy"][here])


def test_predictions_reproduce_the_scores(data):
    noisy = data["X"] + np.random.default_rng(1).normal(scale=3, size=data["X"].shape)
    table, recall, predictions = probe_representations(
        pipeline(),
        noisy,
        data["y"],
        groups=data["plate"],
        cv=GroupKFold(3),
        control=data["control"],
        Cs=0.1,
        return_recall=True,
        return_predictions=True,
    )
    np.testing.assert_array_equal(predictions["y_true"], data["y"][predictions["row"]])
    for i in range(table["fold"].shape[0]):
        here = (predictions["fold"] == table["fold"][i]) & (
            predictions["representation"] == table["representation"][i]
        )
        assert here.sum() == table["n_test"][i]
        assert table["balanced_accuracy"][i] == pytest.approx(
            balanced_accuracy_score(predictions["y_true"][here], predictions["y_pred"][here])
        )
    for name in ("raw", "codes", "reconstruction"):
        rows = predictions["row"][predictions["representation"] == name]
        np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(~data["control"]))
    assert recall["fold"].shape[0] == 3 * 3 * 3


def test_progress_is_printed(data, capsys):
    kept = ~data["control"]
    for verbose in (0, 1):
        probe_representations(
            PCA(4),
            data["X"][kept],
            data["y"][kept],
            groups=data["plate"][kept],
            cv=3,
            Cs=1.0,
            verbose=verbose,
        )
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 9 * verbose
    assert lines[4].startswith("[probe] fold 2 of 3, codes: balanced accuracy ")


def test_sparse_float32_rows_are_neither_made_dense_nor_float64(monkeypatch):
    seen = []
    fit = LogisticRegression.fit
    monkeypatch.setattr(
        LogisticRegression, "fit", lambda self, X, y: seen.append(X) or fit(self, X, y)
    )
    rng = np.random.default_rng(0)
    X = sparse.random_array((120, 50), density=0.1, format="csr", dtype=np.float32, rng=rng)
    y = np.tile([0, 1, 2], 40)
    probe_representations(
        None, X, y, groups=np.arange(120) // 10, cv=3, representations="raw", Cs=(0.1, 1.0)
    )
    assert len(seen) == 3 * (1 + 2 * 3)
    assert all(sparse.issparse(rows) and rows.dtype == np.float32 for rows in seen)


def test_scaling_in_blocks_is_that_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(_logistic, "SCALING_ROWS", 7)
    X = np.random.default_rng(0).normal(3, 2, size=(100, 4)).astype(np.float32)
    scaler = _logistic.fit_scaler(StandardScaler(), X)
    expected = StandardScaler().fit(X)
    np.testing.assert_allclose(scaler.mean_, expected.mean_, rtol=1e-6)
    np.testing.assert_allclose(scaler.scale_, expected.scale_, rtol=1e-6)
    assert scaler.transform(X).dtype == np.float32


@pytest.mark.filterwarnings("ignore:.*control samples for.*whitened directions:UserWarning")
def test_real_profiles_with_the_whitener_and_a_dictionary():
    """Mechanism of held-out plates is read far above chance; a compound is harder."""
    wells = load_jump_scope()
    model = make_pipeline(
        ControlPCAWhitener(40), Normalizer(), ICFLDictionary(80, max_steps=10, random_state=0)
    )
    means = {}
    for held_out in ("compound", "plate"):
        table = probe_representations(
            model,
            wells.data,
            wells.moa,
            groups=wells[held_out],
            cv=StratifiedGroupKFold(5) if held_out == "compound" else GroupKFold(3),
            control=wells.control,
            Cs=0.03,
        )
        for name in ("raw", "codes", "reconstruction"):
            here = table["representation"] == name
            means[held_out, name] = table["balanced_accuracy"][here].mean()
            assert means[held_out, name] > 1.5 * table["chance"][here].mean()
        expected = wells.control.sum()
        assert (table["n_control"] <= expected).all()
        assert (table["n_control"] == expected).all() == (held_out == "compound")
        # four mechanisms have a single compound, which is held out once
        assert table["n_unseen_classes"].sum() == (12 if held_out == "compound" else 0)
    for name in ("raw", "codes", "reconstruction"):
        assert means["plate", name] > means["compound", name]


def test_controls_need_no_group(data):
    """They have no compound, say; then they are in no held-out group."""
    control = np.arange(120) % 10 == 0
    groups = np.array([f"plate {plate}" for plate in data["plate"]], dtype=object)
    groups[control] = None
    table = probe_representations(
        None, data["X"], data["y"], groups=groups, cv=3, control=control,
        representations="raw", Cs=1.0,
    )  # fmt: skip
    assert table["n_control"].tolist() == [12] * 3
