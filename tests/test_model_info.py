"""``skdict info``: what is said of a model, on what terminal ever, and exit codes."""

import json
import os

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skdict import ICFLDictionary, TopKSAE, cli, load_codes
from skdict.persistence import save
from skdict.persistence._json_file import digest_of

ROWS = np.random.default_rng(0).normal(size=(90, 6))
MODEL = make_pipeline(
    StandardScaler(), Normalizer(), ICFLDictionary(9, n_nonzero_coefs=3, max_steps=3)
).fit(ROWS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(MODEL, "model")
    np.save("rows.npy", ROWS)
    return tmp_path


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def said(capsys):
    return capsys.readouterr().err


def with_provenance(**entries):
    """Write the model with more provenance, and checksums that are right."""
    with open("model/model.json", encoding="utf-8") as file:
        record = json.load(file)
    record["provenance"].update(entries)
    record["sha256"] = digest_of(record)
    with open("model/model.json", "w", encoding="utf-8") as file:
        json.dump(record, file)


class TestInfo:
    def test_text(self, folder, capsys):
        assert run("info", "model") == cli.OK
        printed = capsys.readouterr().out
        for text in (
            "icfldictionary: ICFLDictionary, 6 features, 9 atoms, at most 3 non-zeros, float64",
            "max_steps = 3",
            "data shape 90 x 6, dtype float64, digest",
            "versions: skdict ",
            "checksums: ok",
        ):
            assert text in printed

    def test_json(self, folder, capsys):
        assert run("info", "model", "--json") == cli.OK
        facts = json.loads(capsys.readouterr().out)
        assert facts["schema"] == 1 and facts["checksums"] == "ok" and facts["problem"] is None
        assert [step["class"] for step in facts["steps"]] == [
            "StandardScaler", "Normalizer", "ICFLDictionary",
        ]  # fmt: skip
        assert facts["steps"][2]["settings"] == {
            "max_steps": 3, "n_components": 9, "n_nonzero_coefs": 3,
        }  # fmt: skip
        assert facts["provenance"]["fits"]["icfldictionary"]["steps"] == 3

    def test_damaged_arrays(self, folder, capsys):
        with open("model/arrays.safetensors", "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\7")
        assert run("info", "model", "--json") == cli.FAILED
        captured = capsys.readouterr()
        facts = json.loads(captured.out)
        assert facts["checksums"] == "damaged" and facts["steps"][2]["class"] == "ICFLDictionary"
        assert captured.err.startswith("skdict info: ") and captured.err.count("\n") == 1
        assert "SHA-256" in captured.err
        assert run("info", "model") == cli.FAILED

    def test_no_model(self, folder, capsys):
        assert run("info", "nothing") == cli.USAGE
        assert "holds no model of skdict" in said(capsys)
        with open("model/model.json", "a") as file:
            file.write("x")
        assert run("info", "model") == cli.USAGE
        assert said(capsys).count("\n") == 1

    def test_a_model_of_saelens(self, folder, capsys):
        to_saelens = pytest.importorskip("skdict.interop").to_saelens
        model = TopKSAE(9, n_nonzero_coefs=3, max_steps=3, random_state=0)
        to_saelens(model.fit(ROWS.astype(np.float32)), "sae")
        assert run("info", "sae") == cli.OK
        printed = capsys.readouterr().out
        assert "sae: SAELens" in printed and "TopKSAE, 6 features, 9 atoms" in printed
        assert run("transform", "sae", "rows.npy", "-o", "codes") == cli.OK
        assert (load_codes("codes").to_csr() != model.transform(ROWS)).nnz == 0

    def test_numbers_of_numpy(self, folder, capsys):
        model = TopKSAE(np.int64(16), n_nonzero_coefs=np.int64(3), max_steps=3, random_state=0)
        model.fit(ROWS.astype(np.float32)).n_features_in_ = np.int64(6)
        save(model, "numbers")
        assert run("info", "numbers") == cli.OK
        assert "n_components = 16\n" in capsys.readouterr().out
        assert run("info", "numbers", "--json") == cli.OK
        step = json.loads(capsys.readouterr().out)["steps"][0]
        assert step["settings"]["n_components"] == 16 and step["features"] == 6

    def test_signs_that_steer_terminals_are_escaped(self, folder, capsys):
        with_provenance(saved="\x1b[2J\x07\u202e", more="a\nchecksums: damaged")
        assert run("info", "model") == cli.OK
        lines = capsys.readouterr().out.splitlines()
        assert r"saved: \x1b[2J\x07\u202e" in lines
        assert r"more: a\nchecksums: damaged" in lines and "checksums: ok" in lines

    @pytest.mark.parametrize("depth", [5, 400])
    def test_nested_provenance(self, depth, folder, capsys):
        value = 7
        for _ in range(depth):
            value = [value]
        with_provenance(nested=value)
        assert run("info", "model") == cli.OK
        assert f"nested: {7 if depth == 5 else '...'}\n" in capsys.readouterr().out
        assert run("info", "model", "--json") == cli.OK


class TestOutputThatFails:
    @staticmethod
    def closed_pipe():
        reader, writer = os.pipe()
        os.close(reader)
        return os.fdopen(writer, "w")

    def test_a_reader_that_has_seen_enough(self, folder, capsys, monkeypatch):
        with self.closed_pipe() as pipe:
            monkeypatch.setattr("sys.stdout", pipe)
            assert run("info", "model") == cli.OK
            assert said(capsys) == ""
        # what is left is written when the pipe closes, which must not fail

    def test_other_commands(self, capsys, monkeypatch):
        monkeypatch.setattr("skdict.cli._demo", lambda arguments: print("x" * 10, flush=True))
        with self.closed_pipe() as pipe:
            monkeypatch.setattr("sys.stdout", pipe)
            assert run("demo") == cli.FAILED
            assert said(capsys) == ""

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
    def test_no_room(self, folder, capsys, monkeypatch):
        with open("/dev/full", "w", encoding="utf-8") as full:
            monkeypatch.setattr("sys.stdout", full)
            assert run("info", "model") == cli.FAILED
            printed = said(capsys)
        assert "No space left" in printed and printed.count("\n") == 1
