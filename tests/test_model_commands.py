"""``skdict transform``: what is said, what is written, and exit codes."""

import os
import sys

import numpy as np
import pandas
import pytest
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skdict import CodeWriter, ICFLDictionary, cli, load_codes
from skdict.persistence import save

rng = np.random.default_rng(0)
ROWS = rng.normal(size=(90, 6))  # float64: codes do not depend on the block
MODEL = make_pipeline(
    StandardScaler(), Normalizer(), ICFLDictionary(9, n_nonzero_coefs=3, max_steps=3)
).fit(ROWS)
CODES = MODEL.transform(ROWS)
NAMES = [str(number) for number in range(90)]
NAMED = pandas.DataFrame(ROWS, columns=list("abcdef"), index=NAMES)
UNIT = pandas.DataFrame(Normalizer().transform(ROWS), columns=list("abcdef"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(MODEL, "model")
    np.save("rows.npy", ROWS)
    return tmp_path


@pytest.fixture
def named(folder):
    """A model that knows names, and a folder of a parquet file in another order."""
    pytest.importorskip("pyarrow")
    model = ICFLDictionary(9, n_nonzero_coefs=3, max_steps=3, random_state=0).fit(NAMED)
    save(model, "named")
    (folder / "shards").mkdir()
    NAMED[list("fbdcae")].to_parquet("shards/part0.parquet")
    return model


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def transform(*arguments, output="codes", model="model"):
    return run("transform", model, *arguments, "-o", output)


def said(capsys):
    return capsys.readouterr().err


class TestTransform:
    @pytest.mark.parametrize("options", [[], ["--block-rows", 7]])
    def test_a_folder_of_codes(self, options, folder, capsys):
        assert transform("rows.npy", *options) == cli.OK
        codes = load_codes("codes", verify=True)
        assert codes.dtype == np.float64 and (codes.to_csr() != CODES).nnz == 0
        assert said(capsys) == "90 rows coded: codes\n"

    def test_a_file_of_scipy(self, folder, capsys):
        assert transform("rows.npy", "--quiet", "--block-rows", 40, output="codes.npz") == cli.OK
        assert (sparse.load_npz("codes.npz") != CODES).nnz == 0
        assert said(capsys) == ""
        assert sorted(os.listdir()) == ["codes.npz", "model", "rows.npy"]

    def test_float32(self, folder):
        np.save("single.npy", ROWS.astype(np.float32))
        assert transform("single.npy") == cli.OK
        assert load_codes("codes").dtype == np.float32

    def test_other_files(self, folder):
        np.savez("rows.npz", a=ROWS, b=ROWS[:, :2])
        (folder / "shards").mkdir()
        np.save("shards/part1.npy", ROWS[:50])
        np.save("shards/part2.npy", ROWS[50:])
        for place in (["rows.npz", "--key", "a"], ["shards"], ["shards/part*.npy"]):
            assert transform(*place, "--overwrite") == cli.OK
            assert (load_codes("codes").to_csr() != CODES).nnz == 0

    def test_h5ad(self, folder):
        anndata = pytest.importorskip("anndata")
        anndata.AnnData(obsm={"X_model": ROWS}, shape=(90, 0)).write_h5ad("cells.h5ad")
        assert transform("cells.h5ad", "--key", "X_model") == cli.OK
        assert (load_codes("codes").to_csr() != CODES).nnz == 0

    def test_columns_of_parquet_follow_the_names_of_the_model(self, folder, capsys):
        pandas = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
        frame = pandas.DataFrame(ROWS, columns=list("abcdef"))
        save(ICFLDictionary(9, n_nonzero_coefs=3, max_steps=3, random_state=0).fit(frame), "named")
        expected = ICFLDictionary(9, n_nonzero_coefs=3, max_steps=3, random_state=0)
        expected = expected.fit(frame).transform(frame)
        frame[["well", *"fedcba"]] = frame.assign(well="A01")[["well", *"fedcba"]]
        frame[["well", *"fedcba"]].to_parquet("rows.parquet")
        assert transform("rows.parquet", model="named") == cli.OK
        assert (load_codes("codes").to_csr() != expected).nnz == 0
        columns = ["--columns", "a,b,c,d,e,f"]
        assert transform("rows.parquet", *columns, "--overwrite") == cli.OK
        assert (load_codes("codes").to_csr() != CODES).nnz == 0
        capsys.readouterr()
        assert transform("rows.npy", "--overwrite", model="named") == cli.OK  # no warning
        note, done = said(capsys).splitlines()
        assert "note: 'rows.npy' has no names" in note and done == "90 rows coded: codes"
        columns = ["--columns", "b,a,c,d,e,f"]
        assert transform("rows.parquet", *columns, "--overwrite", model="named") == cli.USAGE
        assert "in another order" in said(capsys)

    @pytest.mark.parametrize("place", ["shards", "shards/*", "shards/part*", "shards/*.parquet"])
    def test_columns_follow_the_names_whatever_the_pattern(self, place, named):
        assert transform(place, model="named") == cli.OK
        assert (load_codes("codes").to_csr() != named.transform(NAMED)).nnz == 0

    def test_columns_follow_the_names_behind_a_step_without_names(self, named):
        model = make_pipeline(Normalizer(), named)  # not fitted: it knows no features
        save(model, "behind")
        assert transform("shards", model="behind") == cli.OK
        assert (load_codes("codes").to_csr() != named.transform(UNIT)).nnz == 0

    @pytest.mark.parametrize("key", ["X", "table"])
    def test_columns_of_h5ad_follow_the_names(self, key, named, capsys):
        anndata = pytest.importorskip("anndata")
        other = NAMED[list("fbdcae")]
        adata = anndata.AnnData(other, obsm={"table": other})
        adata.write_h5ad("cells.h5ad")
        assert transform("cells.h5ad", "--key", key, model="named") == cli.OK
        assert (load_codes("codes").to_csr() != named.transform(NAMED)).nnz == 0
        other = other.rename(columns={"a": "z"})
        anndata.AnnData(other, obsm={"table": other}).write_h5ad("cells.h5ad")
        assert transform("cells.h5ad", "--key", key, output="new", model="named") == cli.USAGE
        assert "'a' for one" in said(capsys)

    def test_a_model_that_gives_data_frames(self, folder, monkeypatch):
        pytest.importorskip("polars")
        model = ICFLDictionary(9, n_nonzero_coefs=3, max_steps=3, random_state=0,
                               sparse_output=False).set_output(transform="polars")  # fmt: skip
        expected = model.fit(ROWS).transform(ROWS).to_numpy()
        save(model, "frames")
        monkeypatch.setitem(sys.modules, "polars", None)  # not needed for codes in files
        assert transform("rows.npy", model="frames") == cli.OK
        assert (load_codes("codes").to_csr().toarray() == expected).all()

    def test_progress(self, folder, capsys, monkeypatch):
        monkeypatch.setattr("skdict._model_commands._LINE_SECONDS", 0.0)
        assert transform("rows.npy", "--block-rows", 45) == cli.OK
        assert "45 of 90 rows (50%)\n90 of 90 rows (100%)\n" in said(capsys)

    def test_a_bar_on_a_terminal(self, folder, capsys, monkeypatch):
        pytest.importorskip("rich")
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        assert transform("rows.npy") == cli.OK
        assert "100%" in said(capsys)


class TestErrors:
    @pytest.mark.parametrize(
        "arguments, message",
        [
            (["nothing.npy"], "no .npy"),
            (["rows.npy", "--key", "a"], "has no key"),
            (["rows.npy", "--device", "gpu"], "device must be"),
            (["rows.npy", "--block-rows", 0], "--block-rows must be at least 1"),
            (["few.npy"], "takes 6 features, but the rows have 4"),
            (["text.npy"], "is no .npy file or truncated"),
        ],
    )
    def test_usage(self, arguments, message, folder, capsys):
        np.save("few.npy", ROWS[:, :4])
        (folder / "text.npy").write_text("text")
        for output in ("codes", "codes.npz"):
            assert transform(*arguments, output=output) == cli.USAGE
            printed = said(capsys)
            assert message in printed and printed.startswith("skdict transform: ")
            assert printed.count("\n") == 1
            assert not os.path.exists(output)

    def test_models_that_give_no_codes(self, folder, capsys):
        save(StandardScaler().fit(ROWS), "scaler")
        assert transform("rows.npy", model="scaler") == cli.USAGE
        assert "ends in StandardScaler, which gives no codes" in said(capsys)
        assert transform("rows.npy", model="rows.npy") == cli.USAGE

    def test_what_is_there_stays(self, folder, capsys):
        for output in ("codes", "codes.npz"):
            assert transform("rows.npy", output=output) == cli.OK
            assert transform("rows.npy", output=output) == cli.USAGE
            assert "overwrite" in said(capsys)
            assert transform("rows.npy", "--overwrite", output=output) == cli.OK
        assert transform("rows.npy", "--overwrite", output="model") == cli.USAGE
        np.savez("rows.npz", ROWS)
        assert transform("rows.npz", "--overwrite", output="rows.npz") == cli.USAGE
        assert np.load("rows.npz")["arr_0"].shape == (90, 6)
        assert transform("rows.npy", output="no/codes.npz") == cli.USAGE
        assert transform("rows.npy", "--resume", output="new.npz") == cli.USAGE

    def test_rows_that_are_not_finite(self, folder, capsys):
        rows = ROWS.copy()
        rows[50, 2] = np.nan
        np.save("bad.npy", rows)
        assert transform("bad.npy", "--block-rows", 20) == cli.FAILED
        printed = said(capsys)
        assert "row 50, column 2" in printed and "--resume" in printed
        assert printed.count("\n") == 1
        assert transform("rows.npy", "--block-rows", 20, "--resume") == cli.OK
        assert (load_codes("codes", verify=True).to_csr() != CODES).nnz == 0

    def test_a_full_disk(self, folder, capsys, monkeypatch):
        def full(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("skdict._code_writer.ShardFiles.append", full)
        assert transform("rows.npy") == cli.USAGE
        assert "No space left" in said(capsys)
        monkeypatch.setattr("skdict._model_commands.sparse.save_npz", full)
        assert transform("rows.npy", output="codes.npz") == cli.FAILED
        assert "nothing was written" in said(capsys)

    def test_interrupted(self, folder, capsys, monkeypatch):
        original, calls = CodeWriter.write, []

        def interrupted(writer, codes):
            calls.append(codes)
            if len(calls) == 3:
                raise KeyboardInterrupt
            original(writer, codes)

        monkeypatch.setattr(CodeWriter, "write", interrupted)
        assert transform("rows.npy", "--block-rows", 20) == cli.INTERRUPTED
        assert "interrupted after 40 rows; go on with --resume" in said(capsys)
        assert transform("rows.npy", "--block-rows", 20, "--resume") == cli.OK
        assert len(calls) == 6  # three of them behind the 40 rows
        assert (load_codes("codes", verify=True).to_csr() != CODES).nnz == 0

    def test_resume_with_other_rows(self, folder, capsys, monkeypatch):
        rows = ROWS.copy()
        rows[80] = np.nan
        np.save("bad.npy", rows)
        assert transform("bad.npy", "--block-rows", 20) == cli.FAILED
        np.save("short.npy", ROWS[:30])
        assert transform("short.npy", "--resume") == cli.USAGE
        assert "codes of 80 rows" in said(capsys)

    def interrupt(self, *arguments, n_rows=40, model="model"):
        rows = ROWS.copy()
        rows[n_rows] = np.nan
        np.save("bad.npy", rows)
        arguments = ["bad.npy", "--block-rows", 20, *arguments]
        assert transform(*arguments, model=model) == cli.FAILED

    def test_resume_with_another_model_or_other_values(self, folder, capsys):
        other = ICFLDictionary(9, n_nonzero_coefs=3, max_steps=3, random_state=5).fit(ROWS)
        save(other, "other")
        np.save("other.npy", ROWS[::-1].copy())
        self.interrupt()
        before = sorted(os.listdir("codes.unfinished"))
        for arguments in (["rows.npy", "other"], ["other.npy", "model"]):
            capsys.readouterr()
            assert transform(arguments[0], "--resume", model=arguments[1]) == cli.USAGE
            printed = said(capsys)
            assert "not those of this model and these rows" in printed
            assert "use --overwrite without --resume" in printed and "=True" not in printed
        assert sorted(os.listdir("codes.unfinished")) == before and not os.path.exists("codes")
        assert transform("rows.npy", "--resume") == cli.OK
        assert (load_codes("codes").to_csr() != CODES).nnz == 0

    def test_resume_where_all_is_there(self, folder, capsys, monkeypatch):
        assert transform("rows.npy") == cli.OK
        capsys.readouterr()
        monkeypatch.setattr("skdict._model_commands.CodeWriter", None)  # nothing is written
        assert transform("rows.npy", "--resume") == cli.OK
        assert said(capsys) == "90 rows are coded already: codes\n"
        np.save("more.npy", np.concatenate([ROWS, ROWS]))
        assert transform("more.npy", "--resume") == cli.USAGE
        assert "use --overwrite without --resume" in said(capsys)

    def test_the_flags_named_after_an_interrupted_replacement_work(self, folder, capsys):
        assert transform("rows.npy") == cli.OK
        self.interrupt("--overwrite")
        assert "after 40 rows; go on with --resume --overwrite" in said(capsys)
        assert transform("rows.npy", "--resume", "--overwrite") == cli.OK
        assert said(capsys) == "90 rows coded: codes\n"
        assert (load_codes("codes", verify=True).to_csr() != CODES).nnz == 0
