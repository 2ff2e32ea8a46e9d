"""What is saved comes back bit by bit, and nothing is lost when it cannot be written."""

import errno
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from benchmarks.model_mutations import codes_of, small_models
from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE
from skdict.interop import topk_from_arrays
from skdict.persistence import _folder, load, save
from skdict.persistence._load import read_record

MODELS = small_models()
TOPK, ROWS = MODELS["TopKSAE"]


def fitted_state(estimator):
    """Fitted attributes and parameters; of arrays type, shape, order in memory and bytes."""
    if hasattr(estimator, "steps"):
        return [(name, fitted_state(step)) for name, step in estimator.steps]
    if isinstance(estimator, str):
        return estimator
    state = {k: v for k, v in vars(estimator).items() if k != "_partial_state"}
    return {key: frozen(value) for key, value in state.items()}


def frozen(value):
    if isinstance(value, np.ndarray):
        kept = value.tolist() if value.dtype == object else value.tobytes()
        return value.dtype, value.shape, value.flags.c_contiguous, kept
    if isinstance(value, np.random.RandomState):
        return frozen(value.get_state())
    if isinstance(value, dict):
        return {key: frozen(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value), [frozen(entry) for entry in value]
    return type(value), repr(value)


class TestRoundTrip:
    @pytest.mark.parametrize("mmap_mode", [None, "r", "c"])
    @pytest.mark.parametrize("name", MODELS)
    def test_bit_by_bit(self, name, mmap_mode, tmp_path):
        model, rows = MODELS[name]
        again = load(save(model, tmp_path / "model"), mmap_mode=mmap_mode)
        assert type(again) is type(model)
        assert codes_of(again, rows) == codes_of(model, rows)
        assert fitted_state(again) == fitted_state(model)

    def test_order_in_memory_is_kept(self, tmp_path):
        # BLAS rounds by it: with a copy in the other order results differ in the last bit.
        whitener, _ = MODELS["ControlPCAWhitener"]
        assert whitener.components_.flags.f_contiguous
        again = load(save(whitener, tmp_path / "model"))
        assert again.components_.flags.f_contiguous and not again.components_.flags.c_contiguous

    def test_loaded_arrays_can_be_written_to_unless_mapped(self, tmp_path):
        folder = save(TOPK, tmp_path / "model")
        for mode, writeable in ((None, True), ("c", True), ("r", False)):
            assert load(folder, mmap_mode=mode).components_.flags.writeable is writeable
        load(folder, mmap_mode="c").components_[:] = 0.0
        assert codes_of(load(folder), ROWS) == codes_of(TOPK, ROWS)

    @pytest.mark.parametrize("mmap_mode", [None, "r"])
    def test_learning_goes_on_as_from_the_model_itself(self, mmap_mode, tmp_path):
        model = clone(TOPK).set_params(random_state=1).fit(ROWS)
        again = load(save(model, tmp_path / "model"), mmap_mode=mmap_mode)
        assert codes_of(again.partial_fit(ROWS), ROWS) == codes_of(model.partial_fit(ROWS), ROWS)

    def test_names_output_and_provenance(self, tmp_path):
        pandas = pytest.importorskip("pandas")
        frame = pandas.DataFrame(ROWS, columns=[f"{i} µ\ud800"[:3] for i in range(6)])
        model = make_pipeline(StandardScaler(), clone(TOPK).set_params(sparse_output=False))
        model.set_output(transform="pandas").fit(frame)
        folder = save(model, tmp_path / "model")
        again = load(folder)
        assert again.feature_names_in_.tolist() == list(frame.columns)
        pandas.testing.assert_frame_equal(again.transform(frame), model.transform(frame))
        provenance = read_record(folder)["provenance"]
        fit = provenance["fits"]["topksae"]
        assert fit["data"] == model[-1]._data and fit["data"]["shape"] == [9, 6]
        assert fit["steps"] == 3 and fit["end"]["loss"] == model[-1].history_["loss"][-1]
        assert provenance["versions"]["numpy"] == np.__version__

    def test_a_model_without_curves_or_data(self, tmp_path):
        atoms = np.eye(4)
        model = topk_from_arrays(atoms, atoms, np.zeros(4), np.zeros(4), n_nonzero_coefs=2)
        again = load(save(model, tmp_path / "model"))
        assert codes_of(again, atoms) == codes_of(model, atoms)
        model = TopKSAE(5, n_nonzero_coefs=2, max_steps=0, random_state=0).fit(ROWS)
        again = load(save(model, tmp_path / "other"))
        assert again.history_["loss"].shape == (0,)

    def test_a_normalizer_that_was_not_fitted(self, tmp_path):
        pipeline = MODELS["pipeline"][0]
        model = make_pipeline(pipeline[0], Normalizer(), pipeline[-1])
        folder = save(model, tmp_path / "model")
        assert codes_of(load(folder), ROWS) == codes_of(model, ROWS)
        assert "| 2 | Normalizer | any | as many |" in (folder / "README.md").read_text()
        save(Normalizer(), tmp_path / "alone")
        assert load(tmp_path / "alone").transform([[3.0, 4.0]]).tolist() == [[0.6, 0.8]]

    @given(
        st.fixed_dictionaries(
            {
                "atoms_per_step": st.integers(1, 9) | st.just(np.int64(2)),
                "forgetting": st.floats(0, 1e300) | st.just(np.float32(0.1)),
                "learning_rate": st.none() | st.floats(5e-324, 1e300),
                "refit": st.booleans() | st.just(np.True_),
                "selection": st.sampled_from(["signed", "absolute", np.str_("signed")]),
                "precompute": st.sampled_from(["auto", True, False]),
                "transform_n_nonzero_coefs": st.none() | st.integers(1, 8),
                "random_state": st.none() | st.integers(0, 2**32 - 1)
                | st.builds(np.random.RandomState, st.integers(0, 9)),
                "init": st.sampled_from(
                    ["random", [[1.5, -0.0]], np.ones((2, 3), ">f8").astype("f4").T]
                ),
            }
        )
    )  # fmt: skip
    def test_any_parameters(self, tmp_path_factory, parameters):
        dictionary = clone(MODELS["ICFLDictionary"][0])
        vars(dictionary).update(vars(MODELS["ICFLDictionary"][0]))
        dictionary.set_params(**parameters)
        again = load(save(dictionary, tmp_path_factory.mktemp("any") / "model"))
        assert fitted_state(again) == fitted_state(dictionary)

    def test_random_state_goes_on(self, tmp_path):
        seed = np.random.RandomState(7)
        seed.normal()  # a second number waits
        model = clone(TOPK).set_params(random_state=seed).fit(ROWS)
        again = load(save(model, tmp_path / "model"))
        assert again.random_state.normal(size=3).tolist() == seed.normal(size=3).tolist()

    def test_what_belongs_to_a_run_is_left_behind(self, tmp_path):
        model = clone(TOPK).set_params(random_state=0, checkpoint=tmp_path / "x", resume="auto")
        again = load(save(model.fit(ROWS), tmp_path / "model"))
        assert (again.checkpoint, again.resume, again.verbose) == (None, False, 0)


class TestRefusals:
    def test_models_that_are_not_saved(self, tmp_path):
        path = tmp_path / "model"
        with pytest.raises(TypeError, match="model must be one of .* got FunctionTransformer"):
            save(FunctionTransformer(), path)
        with pytest.raises(TypeError, match="got Pipeline"):
            save(make_pipeline(make_pipeline(StandardScaler())), path)
        with pytest.raises(TypeError, match="without one"):
            save(make_pipeline("passthrough", None), path)
        with pytest.raises(NotFittedError):
            save(TopKSAE(), path)
        with pytest.raises(NotFittedError), pytest.warns(UserWarning):
            save(ControlPCAWhitener().partial_fit(ROWS[:1]), path)  # one control is not enough

        class Derived(Normalizer):
            pass

        with pytest.raises(TypeError, match="got Derived"):
            save(Derived().fit(ROWS), path)
        assert not path.exists()

    def test_values_that_are_not_saved(self, tmp_path):
        path = tmp_path / "model"

        def changed(**values):
            model = clone(TOPK)
            vars(model).update(vars(TOPK) | values)
            return model

        big = np.random.RandomState(np.random.PCG64(0))
        with pytest.raises(TypeError, match="RandomState on PCG64"):
            save(changed(random_state=big), path)
        with pytest.raises(TypeError, match="max_steps is .* of type int"):
            save(changed(max_steps=2**70), path)
        with pytest.raises(ValueError, match="unknown .*'note_'"):
            save(changed(note_="mine"), path)
        with pytest.raises(ValueError, match="components_ of TopKSAE holds NaN"):
            save(changed(components_=np.full_like(TOPK.components_, np.nan)), path)
        with pytest.raises(ValueError, match="encoder_bias_ of TopKSAE has shape"):
            save(changed(encoder_bias_=np.ones(3, np.float32)), path)
        with pytest.raises(ValueError, match="'init' parameter"):
            save(changed(init="no such"), path)
        assert not path.exists()

    def test_what_is_there_is_not_overwritten(self, tmp_path):
        folder = save(TOPK, tmp_path / "model")
        with pytest.raises(FileExistsError, match="overwrite=True"):
            save(TOPK, folder)
        (folder / "notes.txt").write_text("mine")
        (tmp_path / "file").write_text("mine")
        for place in (folder, tmp_path / "file", tmp_path):
            with pytest.raises(FileExistsError, match="choose another"):
                save(TOPK, place, overwrite=True)
        (tmp_path / "empty").mkdir()
        assert load(save(TOPK, tmp_path / "empty")).n_features_in_ == 6

    @pytest.mark.parametrize("names", [
        ("a", "a"), ("a__b", "d"), ("steps", "d"), ("memory", "d"), ("w", "transform_input"),
    ])  # fmt: skip
    def test_names_that_cannot_be_loaded(self, names, tmp_path):
        model = Pipeline(list(zip(names, (MODELS["ControlPCAWhitener"][0], TOPK))))
        with pytest.raises(ValueError, match="model cannot be saved.*[Nn]ames"):
            save(model, tmp_path / "model")
        assert os.listdir(tmp_path) == []

    def test_names_that_are_no_strings(self, tmp_path):
        with pytest.raises(TypeError, match="names of steps must be strings, got 1"):
            save(Pipeline([(1, TOPK)]), tmp_path / "model")

    @pytest.mark.parametrize("name", ["1", "", "w\ud800", "é/..", "w.components_", "passthrough"])
    def test_names_that_mean_nothing(self, name, tmp_path):
        model = Pipeline([(name, MODELS["ControlPCAWhitener"][0]), ("w\udfff", TOPK)])
        again = load(save(model, tmp_path / "model"))
        assert fitted_state(again) == fitted_state(model)

    def test_steps_that_do_not_fit_together(self, tmp_path):
        model = make_pipeline(StandardScaler().fit(ROWS[:, :3]), TOPK)
        with pytest.raises(ValueError, match="takes 6 features, but the step before gives 3"):
            save(model, tmp_path / "model")

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_the_current_folder(self, overwrite, tmp_path, monkeypatch):
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        for place in (".", "", tmp_path / "here", "..", "/"):
            with pytest.raises(FileExistsError, match="is the current folder or one above it"):
                save(TOPK, place, overwrite=overwrite)
        assert os.getcwd() == os.path.realpath(tmp_path / "here")
        save(TOPK, "model")
        assert codes_of(load("model"), ROWS) == codes_of(TOPK, ROWS)

    @pytest.mark.parametrize(
        "content",
        ['{"class_name": "Sequential"}', "[]", "", "[" * 100_000, '{"a": "skdict model"}'],
    )
    def test_a_model_of_something_else_is_not_overwritten(self, content, tmp_path):
        (tmp_path / "keras").mkdir()
        (tmp_path / "keras" / "model.json").write_text(content)
        (tmp_path / "keras" / "README.md").write_text("mine")
        with pytest.raises(FileExistsError, match="is no model of skdict"):
            save(TOPK, tmp_path / "keras", overwrite=True)
        assert (tmp_path / "keras" / "README.md").read_text() == "mine"

    def test_a_damaged_model_is_overwritten(self, tmp_path):
        folder = save(TOPK, tmp_path / "model")
        content = (folder / "model.json").read_bytes()
        (folder / "model.json").write_bytes(content[: len(content) // 2])
        save(TOPK, folder, overwrite=True)
        assert codes_of(load(folder), ROWS) == codes_of(TOPK, ROWS)

    @pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
    @pytest.mark.parametrize("mode", [0o700, 0o750, 0o500])
    def test_permissions_are_kept(self, mode, tmp_path):
        folder = save(TOPK, tmp_path / "model")
        folder.chmod(mode)
        save(TOPK, folder, overwrite=True)
        assert folder.stat().st_mode & 0o777 == mode
        assert os.listdir(tmp_path) == ["model"]
        folder.chmod(0o700)

    def test_overwritten_through_a_link_while_mapped(self, tmp_path):
        folder = save(TOPK, tmp_path / "model")
        (tmp_path / "latest").symlink_to(folder)
        mapped = load(tmp_path / "latest", mmap_mode="r")
        other = clone(TOPK).set_params(random_state=5).fit(ROWS)
        save(other, tmp_path / "latest", overwrite=True)
        assert (tmp_path / "latest").is_symlink()
        assert codes_of(load(folder), ROWS) == codes_of(other, ROWS)
        assert codes_of(mapped, ROWS) == codes_of(TOPK, ROWS)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "model"]


class TestFaults:
    @pytest.fixture
    def other(self):
        return clone(TOPK).set_params(random_state=5).fit(ROWS)

    def check_untouched(self, folder):
        assert codes_of(load(folder), ROWS) == codes_of(TOPK, ROWS)
        assert [path.name for path in folder.parent.iterdir()] == [folder.name]

    @pytest.mark.parametrize("nth", [0, 1, 2])
    def test_full_disk(self, nth, other, tmp_path, monkeypatch):
        folder = save(TOPK, tmp_path / "model")
        calls, fsync = [], os.fsync

        def full(descriptor):
            calls.append(descriptor)
            if len(calls) > 2 * nth:  # a file and its folder each
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(descriptor)

        monkeypatch.setattr("skdict._whole_files.os.fsync", full)
        with pytest.raises(OSError, match="No space left.*nothing was changed") as caught:
            save(other, folder, overwrite=True)
        assert caught.value.errno == errno.ENOSPC
        self.check_untouched(folder)

    @pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
    def test_rename_fails(self, error, other, tmp_path, monkeypatch):
        folder = save(TOPK, tmp_path / "model")
        rename = _folder.Path.rename

        def broken(path, target):
            if path.name.endswith(".new"):
                raise error
            return rename(path, target)

        monkeypatch.setattr(_folder.Path, "rename", broken)
        with pytest.raises(type(error)):
            save(other, folder, overwrite=True)
        self.check_untouched(folder)

    def test_the_old_model_is_kept_even_if_it_cannot_be_moved_back(
        self, other, tmp_path, monkeypatch
    ):
        folder, rename = save(TOPK, tmp_path / "model"), _folder.Path.rename

        def broken(path, target):
            if path.name == "model":
                return rename(path, target)
            raise OSError(errno.EIO, "broken")

        monkeypatch.setattr(_folder.Path, "rename", broken)
        with pytest.raises(OSError, match=r"what was there lies in '.*\.old'"):
            save(other, folder, overwrite=True)
        (aside,) = tmp_path.glob(".model.*.old")
        assert codes_of(load(aside), ROWS) == codes_of(TOPK, ROWS)

    def test_a_save_while_another_one_is_under_way(self, other, tmp_path, monkeypatch):
        folder = tmp_path / "model"
        meanwhile(monkeypatch, lambda: save(TOPK, folder))
        with pytest.raises(FileExistsError, match="overwrite=True"):
            save(other, folder)
        self.check_untouched(folder)
        meanwhile(monkeypatch, lambda: save(TOPK, folder, overwrite=True))
        save(other, folder, overwrite=True)
        assert codes_of(load(folder), ROWS) == codes_of(other, ROWS)
        assert os.listdir(tmp_path) == ["model"]

    @pytest.mark.parametrize("overwrite", [False, True])
    @pytest.mark.parametrize("kind", ["folder", "file"])
    def test_what_appears_meanwhile_is_not_moved(self, kind, overwrite, tmp_path, monkeypatch):
        place = tmp_path / "model"

        def appear():
            if kind == "folder":
                place.mkdir()
            (place / "mine.txt" if kind == "folder" else place).write_text("mine")

        meanwhile(monkeypatch, appear)
        with pytest.raises(FileExistsError, match="choose another"):
            save(TOPK, place, overwrite=overwrite)
        assert (place / "mine.txt" if kind == "folder" else place).read_text() == "mine"
        assert os.listdir(tmp_path) == ["model"]

    def test_a_model_appears_between_two_renamings(self, other, tmp_path, monkeypatch):
        folder, rename = save(TOPK, tmp_path / "model"), _folder.Path.rename

        def interrupted(path, target):
            if path.name.endswith(".new"):
                monkeypatch.setattr(_folder.Path, "rename", rename)
                save(TOPK, folder)
            return rename(path, target)

        monkeypatch.setattr(_folder.Path, "rename", interrupted)
        save(other, folder, overwrite=True)
        assert codes_of(load(folder), ROWS) == codes_of(other, ROWS)
        assert os.listdir(tmp_path) == ["model"]

    def test_files_that_come_into_the_old_folder_are_kept(self, other, tmp_path, monkeypatch):
        folder, rename = save(TOPK, tmp_path / "model"), _folder.Path.rename

        def interrupted(path, target):
            if path.name == "model":
                (path / "mine.txt").write_text("mine")
            return rename(path, target)

        monkeypatch.setattr(_folder.Path, "rename", interrupted)
        save(other, folder, overwrite=True)
        assert [path.name for path in tmp_path.glob(".model.*.old/*")] == ["mine.txt"]


def meanwhile(monkeypatch, act):
    """Let something happen, once, when the next save has written a file, as from elsewhere."""
    write_whole = _folder.write_whole

    def interrupted(path, content):
        write_whole(path, content)
        monkeypatch.setattr(_folder, "write_whole", write_whole)
        act()

    monkeypatch.setattr(_folder, "write_whole", interrupted)


def test_files_are_plain(tmp_path):
    folder = save(MODELS["pipeline"][0], tmp_path / "model")
    record = json.loads((folder / "model.json").read_bytes())
    assert record["schema"] == 1 and record["arrays"]["file"] == "arrays.safetensors"
    safetensors = pytest.importorskip("safetensors.numpy")
    arrays = safetensors.load_file(folder / "arrays.safetensors")  # readable by everybody
    name = "icfldictionary.components_"
    assert (arrays[name] == MODELS["pipeline"][0][-1].components_).all()


def test_solver_memory_and_icfl_defaults(tmp_path):
    model = ICFLDictionary(8, n_nonzero_coefs=2, max_steps=2, random_state=0).fit(ROWS)
    assert load(save(model, tmp_path / "model"))._weights is None
