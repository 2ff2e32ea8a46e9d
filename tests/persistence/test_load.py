"""Whatever the files of a model hold: a clear error, and nothing of them is run."""

import hashlib
import json
import os
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import RobustScaler

from benchmarks import model_mutations
from benchmarks.model_mutations import (
    ARRAYS,
    CARD,
    MODEL,
    codes_of,
    fuzz,
    saved_models,
    small_models,
)
from skdict import ControlPCAWhitener
from skdict.persistence import ModelFileError, _json_file, _load, _migrations, _reading, load, save
from skdict.persistence._json_file import digest_of

PIPELINE, ROWS = small_models()["pipeline"]


@pytest.fixture
def folder(tmp_path):
    return save(PIPELINE, tmp_path / "model")


def edit(folder, change):
    """Change the record of a model, and make its checksum anew."""
    record = json.loads((folder / MODEL).read_bytes())
    change(record)
    record["sha256"] = digest_of(record)
    (folder / MODEL).write_text(json.dumps(record))


def seal(folder, content):
    """Other arrays, with all checksums."""
    (folder / ARRAYS).write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    edit(folder, lambda r: r["arrays"].update(bytes=len(content), sha256=sha256))


class TestMutations:
    def test_no_crash_and_no_silent_change(self, tmp_path):
        counts, defects = fuzz(tmp_path / "damaged", saved_models(tmp_path), 300)
        assert defects == []
        outcomes = {outcome for found in counts.values() for outcome in found}
        assert outcomes == {"refused", "missing", "equal"}

    def test_a_check_that_is_left_out_is_found(self, tmp_path, monkeypatch):
        monkeypatch.setattr(_load, "check_attributes", lambda name, attributes, finite: {
            "features": attributes["n_features_in_"]})  # fmt: skip
        monkeypatch.setattr(_load, "check_agreement", lambda *arguments: None)
        _, defects = fuzz(tmp_path / "damaged", saved_models(tmp_path), 300)
        assert len(defects) > 5

    def test_a_load_that_takes_memory_is_found(self, folder, monkeypatch):
        np.ones(10**7)  # a peak of the process before

        def hungry(*arguments, **options):
            np.ones(10**7)
            return load(*arguments, **options)

        assert model_mutations.outcome_of(folder, ROWS, codes_of(PIPELINE, ROWS)) == "equal"
        monkeypatch.setattr(model_mutations, "load", hungry)
        found = model_mutations.outcome_of(folder, ROWS, codes_of(PIPELINE, ROWS))
        assert found.startswith("took") and "76 MB" in found


class TestDamage:
    def test_missing(self, folder, tmp_path):
        for path in (tmp_path / "no", folder / MODEL, "\0", ""):
            with pytest.raises(FileNotFoundError, match="holds no model of skdict"):
                load(path)
        (folder / ARRAYS).unlink()
        with pytest.raises(FileNotFoundError, match="copy the whole folder"):
            load(folder)
        (folder / ARRAYS).mkdir()
        with pytest.raises(FileNotFoundError):
            load(folder)
        (folder / MODEL).unlink()
        (folder / MODEL).symlink_to(folder / MODEL)  # to itself
        with pytest.raises(FileNotFoundError):
            load(folder)

    def test_the_card_is_not_needed(self, folder):
        (folder / CARD).unlink()
        assert codes_of(load(folder), ROWS) == codes_of(PIPELINE, ROWS)

    def test_symbolic_links_to_files_are_followed(self, folder, tmp_path):
        # The cache of the hub is made of them.
        linked = tmp_path / "linked"
        linked.mkdir()
        for name in (MODEL, ARRAYS):
            (linked / name).symlink_to(folder / name)
        assert codes_of(load(linked, mmap_mode="r"), ROWS) == codes_of(PIPELINE, ROWS)

    @pytest.mark.parametrize("name", [MODEL, ARRAYS])
    def test_truncated_or_tampered(self, name, folder):
        content = (folder / name).read_bytes()
        for damaged in (b"", content[:-40], content[:100], content + b"x"):
            (folder / name).write_bytes(damaged)
            with pytest.raises(ModelFileError, match="copy the model again"):
                load(folder)
        changed = content.replace(b'"pca"', b'"zca"') if name == MODEL else content[:-1] + b"\1"
        (folder / name).write_bytes(changed)
        with pytest.raises(ModelFileError, match="was changed after it was written"):
            load(folder)

    def test_spaces_mean_nothing(self, folder):
        record = json.loads((folder / MODEL).read_bytes())
        (folder / MODEL).write_text(json.dumps(record, indent=7))
        assert codes_of(load(folder), ROWS) == codes_of(PIPELINE, ROWS)

    @pytest.mark.parametrize("schema", [2, 10**9, 0, -1, True, 1.0, "1", None])
    def test_schema(self, schema, folder):
        edit(folder, lambda record: record.update(schema=schema))
        newer = "install a newer one" if schema in (2, 10**9) else ""
        with pytest.raises(ModelFileError, match=f"has schema .*{newer}"):
            load(folder)

    @pytest.mark.parametrize(
        "file", ["../model/arrays.safetensors", "/etc/passwd", "README.md", "", None, ["x"], {}]
    )
    def test_arrays_elsewhere(self, file, folder):
        edit(folder, lambda record: record["arrays"].update(file=file))
        with pytest.raises(ModelFileError, match=r"must be in arrays\.safetensors"):
            load(folder)

    @pytest.mark.parametrize(
        "text, message",
        [
            ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
            ('{"list": [' * 5_000 + "]}" * 5_000, "nested too deeply"),
            ("NaN", "NaN is no number"),
            ("-Infinity", "is no number"),
            ("1e999", "is not finite"),
            ("9" * 30, "does not fit into 64 bits"),
            ('1, "random_state": 1', "'random_state' is there twice"),
            ("\udcff", "UnicodeDecodeError"),
        ],
    )
    def test_json_that_means_nothing_or_two_things(self, text, message, folder):
        edit(folder, lambda r: r["steps"][-1]["parameters"].update(random_state="MARK"))
        content = (folder / MODEL).read_text().replace('"MARK"', text)
        (folder / MODEL).write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(ModelFileError, match=message):
            load(folder)

    def test_keys_are_not_compared_each_with_each(self):
        compared = []

        class Key(str):
            __hash__ = str.__hash__

            def __eq__(self, other):
                compared.append(other)
                return str.__eq__(self, other)

        pairs = [(Key(f"k{i}"), 0) for i in range(2_000)]
        with pytest.raises(ValueError, match="'k1999' is there twice"):
            _json_file._object([*pairs, (Key("k1999"), 0)])
        assert len(compared) < 200
        text = ",".join(f'"k{i}":0' for i in range(200_000))
        with pytest.raises(ValueError, match="'k199999' is there twice"):
            _json_file.parse(f'{{{text},"k199999":1}}'.encode())

    def test_a_model_file_as_large_as_a_disk(self, folder):
        with (folder / MODEL).open("r+b") as file:
            file.truncate(2**40)
        with pytest.raises(ModelFileError, match="larger than any model file"):
            load(folder)


class TestStepsAndParameters:
    def test_classes_beyond_the_list(self, folder, monkeypatch):
        monkeypatch.setitem(sys.modules, "evil", None)
        for name in ("evil.Model", "os.system", "FunctionTransformer", None, ["x"], {}):
            edit(folder, lambda record, name=name: record["steps"][1].update({"class": name}))
            with pytest.raises(ModelFileError):
                load(folder)

    @pytest.mark.parametrize(
        "step, key, value, message",
        [
            (2, "selection", "best", "'selection' parameter"),
            (2, "device", {"list": []}, "device of ICFLDictionary must be a name"),
            (2, "checkpoint", "/tmp", r"unknown \['checkpoint'\]"),
            (2, "n_components", {"float": "nan"}, "'n_components' parameter"),
            (2, "n_nonzero_coefs", 0, "'n_nonzero_coefs' parameter"),
            (1, "norm", {"object": "x"}, "unknown kind 'object'"),
        ],
    )
    def test_parameters(self, step, key, value, message, folder):
        edit(folder, lambda record: record["steps"][step]["parameters"].update({key: value}))
        with pytest.raises(ModelFileError, match=message):
            load(folder)

    def test_parameters_that_do_not_fit_the_arrays(self, tmp_path):
        rows = np.random.default_rng(0).normal(size=(60, 6))
        whitener = ControlPCAWhitener(n_components=3).fit(rows, control=np.arange(60) < 50)
        edit(save(whitener, tmp_path / "model"), lambda record: record["steps"][0][
            "parameters"].update(method="center"))  # fmt: skip
        with pytest.raises(ModelFileError, match="cannot give 3 features of 6"):
            load(tmp_path / "model")
        scaler = RobustScaler(with_centering=False).fit(rows)
        edit(save(scaler, tmp_path / "scaler"), lambda record: record["steps"][0][
            "parameters"].update(with_centering=True))  # fmt: skip
        with pytest.raises(ModelFileError, match="with_centering=True needs center_"):
            load(tmp_path / "scaler")

    def test_a_missing_parameter_is_not_replaced_by_its_default(self, folder):
        edit(folder, lambda record: record["steps"][2]["parameters"].pop("selection"))
        with pytest.raises(ModelFileError, match=r"lacks the parameters \['selection'\]"):
            load(folder)

    @pytest.mark.parametrize("width", [0, 10, -1, 2**62])
    def test_more_non_zeros_than_atoms(self, width, folder):
        # The kernels write that many entries of a row.
        edit(folder, lambda r: r["steps"][2]["attributes"].update(_n_nonzero_coefs=width))
        with pytest.raises(ModelFileError, match="_n_nonzero_coefs|cannot choose"):
            load(folder)

    def test_a_model_without_estimators(self, folder):
        passed = {"name": "model", "class": "passthrough"}
        for pipeline, steps in ((True, [passed]), (False, [passed]), (True, []), (False, [])):
            edit(folder, lambda r, p=pipeline, s=steps: r.update(pipeline=p, steps=s))
            with pytest.raises(ModelFileError):
                load(folder)

    def test_steps_that_do_not_fit_together(self, folder):
        edit(folder, lambda record: record["steps"].reverse())
        with pytest.raises(ModelFileError, match="features, but the step before gives"):
            load(folder)

    def test_names_of_steps(self, folder):
        for name in ("a__b", "steps", "normalizer", 5, None):
            edit(folder, lambda record, name=name: record["steps"][0].update(name=name))
            with pytest.raises(ModelFileError):
                load(folder)

    def test_position_of_a_random_state(self, tmp_path):
        # NumPy does not check it, and reads memory behind the state.
        folder = save(small_models()["TopKSAE"][0], tmp_path / "model")

        def change(record):
            record["steps"][0]["parameters"]["random_state"]["random state"][1] = 10**9

        edit(folder, change)
        with pytest.raises(ModelFileError, match="not the state of a Mersenne Twister"):
            load(folder)

    def test_arrays_are_used_once(self, folder):
        def twice(record):
            held = record["steps"][2]["attributes"]
            held["intercept_"] = {"array": "controlpcawhitener.mean_"}

        edit(folder, twice)
        with pytest.raises(ModelFileError, match="missing, or used twice"):
            load(folder)

    def test_arrays_that_belong_to_nothing(self, folder):
        edit(folder, lambda record: record["steps"][2]["attributes"].pop("_data"))
        assert load(folder)  # may be missing
        edit(folder, lambda record: [record["steps"][0]["attributes"].pop(key) for key in (
            "explained_variance_", "outlier_severity_", "epsilon_", "n_control_", "_resolution",
            "_moments")])  # fmt: skip
        with pytest.raises(ModelFileError, match="belong to nothing"):
            load(folder)


class TestArrays:
    def test_not_finite(self, folder):
        content = bytearray((folder / ARRAYS).read_bytes())
        content[-8:] = np.float64(np.nan).tobytes()  # the last array is of float32
        seal(folder, bytes(content))
        with pytest.raises(ModelFileError, match="holds NaN or infinity"):
            load(folder)
        load(folder, verify=False)  # as asked

    def test_verify_reads_the_arrays(self, folder):
        content = bytearray((folder / ARRAYS).read_bytes())
        content[-1] ^= 1
        (folder / ARRAYS).write_bytes(content)
        load(folder, verify=False)
        for mode in (None, "r", "c"):
            with pytest.raises(ModelFileError, match="SHA-256"):
                load(folder, mmap_mode=mode)

    def test_sizes_are_checked_without_verify(self, folder):
        (folder / ARRAYS).write_bytes((folder / ARRAYS).read_bytes()[:-1])
        with pytest.raises(ModelFileError, match="truncated"):
            load(folder, verify=False)

    @pytest.mark.parametrize(
        "change",
        [
            {"shape": [2**40, 2**40]}, {"shape": [6, 1]}, {"shape": [-6]}, {"shape": [True]},
            {"dtype": "F16"}, {"dtype": "O"}, {"dtype": None}, {"data_offsets": [0, 2**62]},
            {"data_offsets": [-8, 40]}, {"data_offsets": [8, 56]}, {"data_offsets": []}, {"x": 1},
        ],
    )  # fmt: skip
    def test_a_header_that_lies(self, change, folder):
        content = (folder / ARRAYS).read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        header["controlpcawhitener.mean_"].update(change)
        text = json.dumps(header).encode()
        seal(folder, len(text).to_bytes(8, "little") + text + content[8 + length :])
        with pytest.raises(ModelFileError):
            load(folder)

    def test_arrays_that_are_not_aligned(self, folder):
        # Nothing but speed is lost: they are copied.
        content = (folder / ARRAYS).read_bytes()
        length = int.from_bytes(content[:8], "little")
        text = content[8 : 8 + length].rstrip()
        text += b" " * (1 - len(text) % 2)
        seal(folder, len(text).to_bytes(8, "little") + text + content[8 + length :])
        for mode in (None, "r"):
            model = load(folder, mmap_mode=mode)
            assert model[-1].components_.flags.aligned
            assert codes_of(model, ROWS) == codes_of(PIPELINE, ROWS)

    def test_a_pipe_in_the_place_of_arrays(self, folder):
        (folder / ARRAYS).unlink()
        os.mkfifo(folder / ARRAYS)  # reading would wait for ever
        with pytest.raises(FileNotFoundError):
            load(folder)

    def test_the_header_is_read_first(self, folder):
        n_bytes = 2**28
        with (folder / ARRAYS).open("wb") as file:
            file.truncate(n_bytes)
        edit(folder, lambda record: record["arrays"].update(bytes=n_bytes))
        for mode in (None, "r"):
            with pytest.raises(ModelFileError, match="its header cannot have 0 bytes"):
                load(folder, mmap_mode=mode)


class TestReplacedMeanwhile:
    """Another process overwrites the model between any two steps of a load."""

    @pytest.fixture
    def other(self):
        unit, dictionary = PIPELINE[1], clone(PIPELINE[-1])
        white = unit.transform(PIPELINE[0].transform(ROWS)).astype(np.float32)
        return Pipeline([*PIPELINE.steps[:2], ("icfldictionary", dictionary.set_params(
            random_state=1).fit(white))])  # fmt: skip

    @pytest.mark.parametrize("verify", [True, False])
    @pytest.mark.parametrize("by_descriptor, nth", [
        *((True, nth) for nth in range(4)), *((False, nth) for nth in range(3)),
    ])  # fmt: skip
    def test_one_of_both(self, by_descriptor, nth, verify, folder, other, monkeypatch):
        opened, names = _reading._opened, []
        if not by_descriptor:
            monkeypatch.setattr(_reading.os, "supports_dir_fd", set())

        def interrupted(path, flags, descriptor, name, folder_=None):
            names.append(name)
            if len(names) == nth + 1:
                save(other, folder, overwrite=True)
            return opened(path, flags, descriptor, name, folder_)

        monkeypatch.setattr(_reading, "_opened", interrupted)
        whole = {codes_of(model, ROWS): str(model[-1].random_state) for model in (PIPELINE, other)}
        assert len(whole) == 2
        found = load(folder, verify=verify)
        assert len(names) > nth
        assert whole[codes_of(found, ROWS)] == str(found[-1].random_state)

    def test_for_a_moment_there_is_none(self, folder, monkeypatch):
        aside, waits = folder.with_name("aside"), []
        folder.rename(aside)

        def wait(seconds):
            waits.append(seconds)
            if len(waits) == 2:
                aside.rename(folder)

        monkeypatch.setattr(_reading.time, "sleep", wait)
        assert codes_of(load(folder), ROWS) == codes_of(PIPELINE, ROWS)
        folder.rename(aside)
        waits.extend([0, 0])
        with pytest.raises(FileNotFoundError) as caught:
            load(folder)
        assert caught.type is FileNotFoundError and sum(waits) < 0.2

    def test_replaced_all_the_time(self, folder, monkeypatch):
        read_arrays, calls = _load.read_arrays, []

        def interrupted(*arguments, **options):
            calls.append(save(PIPELINE, folder, overwrite=True))
            return read_arrays(*arguments, **options)

        monkeypatch.setattr(_load, "read_arrays", interrupted)
        with pytest.raises(ModelFileError, match="changed while it was read"):
            load(folder)
        assert 3 < len(calls) < 10

    def test_changed_all_the_time(self, folder, monkeypatch):
        opened = _reading._opened

        def interrupted(path, flags, descriptor, name, folder_=None):
            with (folder / MODEL).open("a") as file:
                file.write(" ")
            return opened(path, flags, descriptor, name, folder_)

        monkeypatch.setattr(_reading, "_opened", interrupted)
        with pytest.raises(ModelFileError, match="changed while it was read"):
            load(folder)


class TestArguments:
    def test_values(self, folder):
        with pytest.raises(ValueError, match="mmap_mode must be None, 'r' or 'c', got 'w'"):
            load(folder, mmap_mode="w")
        with pytest.raises(ValueError, match="device must be"):
            load(folder, device="gpu")


class TestMigrations:
    @pytest.fixture
    def older(self, folder):
        """A file of a made-up schema 0, in which atoms had another name and no selection."""

        def change(record):
            record["schema"] = 0
            del record["steps"][2]["parameters"]["selection"]
            held = record["steps"][2]["attributes"]
            held["atoms_"] = held.pop("components_")

        edit(folder, change)
        return folder

    @staticmethod
    def to_schema_1(record, arrays):
        step = record["steps"][2]
        step["parameters"]["selection"] = "signed"
        step["attributes"]["components_"] = step["attributes"].pop("atoms_")
        return record, arrays

    def test_an_older_schema_is_brought_to_the_present_one(self, older, monkeypatch):
        with pytest.raises(ModelFileError, match="load and save it with an older one"):
            load(older)
        monkeypatch.setitem(_migrations._migrations, 0, self.to_schema_1)
        assert codes_of(load(older), ROWS) == codes_of(PIPELINE, ROWS)
        edit(older, lambda record: record.update(schema=-1))
        with pytest.raises(ModelFileError, match="this skdict reads 0, 1"):
            load(older)

    def test_what_a_migration_gives_is_checked(self, older, monkeypatch):
        monkeypatch.setitem(_migrations._migrations, 0, lambda record, arrays: (record, arrays))
        with pytest.raises(ModelFileError, match="lacks the parameters"):
            load(older)
