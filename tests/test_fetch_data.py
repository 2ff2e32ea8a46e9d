"""Data sets are rebuilt from imitations of their sources, over a local server, or refused."""

import errno
import gzip
import hashlib
import os
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from benchmarks import fetch_data
from benchmarks.fetch import FetchError, download
from benchmarks.fetch.digest import array_digest, file_digest
from benchmarks.fetch.sources import BY_NAME, NOT_COVERED, SETS, Source
from benchmarks.study import data as study

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

WELLS = ["A01", "A02", "B01"]


def cmqtl_csv(plate, first, own_feature):
    """A profile file of pycytominer: metadata, then measurements; one is not on every plate."""
    n = np.arange(len(WELLS))
    table = pd.DataFrame({
        "Metadata_plate_map_name": "map", "Metadata_sample_id": [1, 11, 8],
        "Metadata_plating_density": 5000, "Metadata_target_gene": ["WASF2", "CONTROL", "KCNK6"],
        "Metadata_Plate": plate, "Metadata_Well": WELLS, "Metadata_Site_Count": 9,
        "Metadata_Count_Cells": 1000 + n, "Metadata_Count_Nuclei": 2000 + n,
        "Image_Granularity_10_AGP": first + n, own_feature: 0.25, "Nuclei_Texture_X": -0.1 * n,
    })  # fmt: skip
    return gzip.compress(table.to_csv(index=False).encode())


def cytosummarynet_csv(shift):
    table = pd.DataFrame({f"f{i}": np.float32(0.1) * np.arange(2) + shift for i in range(12)})
    table["Metadata_labels"] = [6, 67]
    return table.to_csv(index=False).encode()


def cardiac_parquet(shift, own_feature):
    """Test split: shuffled index, positions and counts as metadata, doubles as measurements."""
    table = pd.DataFrame({
        "Metadata_WellRow": "E", "Metadata_WellCol": "8", "Metadata_heart_number": [19, 7],
        "Metadata_cell_type": ["failing", "healthy"], "Metadata_Pathway": None,
        "Metadata_treatment": "DMSO", "Metadata_Nuclei_Location_Center_X": [1.5, 2.5],
        "Metadata_Plate": f"localhost{shift}", "Metadata_Well": ["E08", "B02"],
        "Metadata_Site": ["f14", "f02"], "Cytoplasm_AreaShape_Area": [0.1 + shift, 0.2],
        own_feature: 1.0, "Cells_AreaShape_Area": [3.0, 4.0],
    }, index=[812, 5])  # fmt: skip
    return table.to_parquet()


def deepprofiler_npz(tmp_path, shift):
    path = tmp_path / "field.npz"
    positions = np.array([[949.5, 14.75], [1044.25, 26.5]]) + shift
    described = np.array({"Plate": "p"}, dtype=object)
    values = np.linspace(0, 1 + shift, 8, dtype=np.float32).reshape(2, 4)
    np.savez_compressed(path, features=values, metadata=described, locations=positions)
    return path.read_bytes()


def imitation(name, tmp_path):
    """Bytes of every source of a set, by the name of the download."""
    sources = [source.name for source in BY_NAME[name].sources]
    if name == "cmqtl_crispri_wells":
        files = [cmqtl_csv("one", 10, "Cells_A"), cmqtl_csv("two", 20, "Cytoplasm_B")]
    elif name == "cytosummarynet_deep_profiles":
        files = [cytosummarynet_csv(shift) for shift in range(4)]
    elif name == "cardiac_fibroblast_single_cells":
        files = [cardiac_parquet(i, "Cells_Rare" if i else "Nuclei_Rare") for i in range(4)]
    elif name == "deepprofiler_single_cells":
        files = [deepprofiler_npz(tmp_path, shift) for shift in range(5)]
    else:
        texts = [b"HALLMARK\turl\tA\tB\n", b"term\t\tA\n"]
        enrichr = "{}_Homo sapiens_R-HSA-{}\t\t{}\t\n"
        texts += [
            (
                enrichr.format("Sperm", 1, "A,1.0\tB,1.0") + enrichr.format("Egg", 2, "C,1.0")
            ).encode()
        ]
        files = [*texts, b"entity1,entity2\nA,B\n", b"entity1,entity2\n", b"x\n", b"licence\n"]
    assert len(files) == len(sources)
    return dict(zip(sources, files))


def convert(name, tmp_path):
    """Contents made from the imitation."""
    paths = {}
    for source, content in imitation(name, tmp_path).items():
        paths[source] = tmp_path / source
        paths[source].write_bytes(content)
    contents = BY_NAME[name].converter(paths)
    assert set(contents) == set(BY_NAME[name].digests)
    return contents


def kinds(table):
    """Columns with the type that they have in a parquet file."""
    schema = pa.Schema.from_pandas(table, preserve_index=False)
    return {field.name: str(field.type).removeprefix("large_") for field in schema}


class TestConversion:
    def test_cmqtl(self, tmp_path):
        contents = convert("cmqtl_crispri_wells", tmp_path)
        wells = contents["wells.parquet"]
        labels = dict.fromkeys(["plate", "batch", "well", "gene", "sample_id"], "string")
        labels |= {"n_cells": "int32", "is_control": "bool"}
        shared = {"Image_Granularity_10_AGP": "float", "Nuclei_Texture_X": "float"}
        expected = {f"meta_{name}": kind for name, kind in labels.items()} | shared
        assert list(kinds(wells).items()) == list(expected.items())
        assert wells["meta_batch"].tolist() == ["Batch8"] * 3 + ["Batch8Rerun"] * 3
        assert wells["meta_plate"].tolist() == ["one"] * 3 + ["two"] * 3
        assert wells["meta_well"].tolist() == WELLS * 2
        assert wells["meta_sample_id"].tolist() == ["1", "11", "8"] * 2
        assert wells["meta_n_cells"].tolist() == [1000, 1001, 1002] * 2
        assert wells["meta_is_control"].tolist() == [False, True, False] * 2
        assert wells["Image_Granularity_10_AGP"].tolist() == [10, 11, 12, 20, 21, 22]
        assert wells["Nuclei_Texture_X"][2] == np.float32(-0.2)
        one = contents["batch8_all_features.parquet"]
        assert [*one][7:] == ["Image_Granularity_10_AGP", "Cells_A", "Nuclei_Texture_X"]
        two = contents["batch8rerun_all_features.parquet"]
        assert len(two) == 3 and "Cytoplasm_B" in two and "Cells_A" not in two

    def test_cytosummarynet(self, tmp_path):
        wells = convert("cytosummarynet_deep_profiles", tmp_path)["wells.parquet"]
        columns = {"meta_plate": "string", "meta_compound_id": "int16"}
        columns |= {f"f{i}": "float" for i in range(12)}  # f10 after f9, as in the source
        assert list(kinds(wells).items()) == list(columns.items())
        assert wells["meta_plate"].unique().tolist() == [
            "BR00112197binned", "BR00112199", "BR00112203", "BR00113818",
        ]  # fmt: skip
        assert wells["meta_compound_id"].tolist() == [6, 67] * 4
        assert wells["f11"].to_numpy()[3] == np.float32(np.float32(0.1) + 1)

    def test_cardiac(self, tmp_path):
        cells = convert("cardiac_fibroblast_single_cells", tmp_path)["cells.parquet"]
        labels = ["plate", "well", "site", "cell_type", "heart", "treatment"]
        columns = {f"meta_{label}": "string" for label in labels} | {"meta_is_control": "bool"}
        columns |= {"Cytoplasm_AreaShape_Area": "float", "Cells_AreaShape_Area": "float"}
        assert list(kinds(cells).items()) == list(columns.items())
        assert cells["meta_heart"].tolist() == ["19", "7"] * 4
        assert cells["meta_is_control"].tolist() == [False, True] * 4
        assert cells["meta_plate"].tolist() == [f"localhost{i // 2}" for i in range(8)]
        assert cells["meta_site"].tolist()[:2] == ["f14", "f02"]
        assert cells["Cytoplasm_AreaShape_Area"][2] == np.float32(1.1)

    def test_deepprofiler(self, tmp_path):
        contents = convert("deepprofiler_single_cells", tmp_path)
        features = contents["features.npz"]["features"]
        assert features.shape == (10, 4) and features.dtype == np.float16
        assert features[3, 3] == np.float16(2)
        cells = contents["meta.parquet"]
        expected = dict.fromkeys(["meta_plate", "meta_well", "meta_site"], "string")
        expected |= {"meta_x": "double", "meta_y": "double"}
        assert list(kinds(cells).items()) == list(expected.items())
        assert cells["meta_site"].tolist() == [*"8855668866"]
        assert cells["meta_well"].tolist() == ["A01"] * 8 + ["A05"] * 2
        assert cells.iloc[2, 3:].tolist() == [950.5, 15.75]

    def test_genesets(self, tmp_path):
        contents = convert("genesets", tmp_path)
        assert contents["Reactome_2016.gmt"] == b"Sperm\tR-HSA-1\tA\tB\nEgg\tR-HSA-2\tC\n"
        assert contents["pairs_Reactome.csv.gz"] == b"entity1,entity2\nA,B\n"
        assert contents["EFAAR_annotations_LICENSE.txt"] == b"licence\n"

    def test_what_the_study_reads_is_covered(self):
        covered = {f"{one.name}/{file}" for one in SETS for file in one.digests}
        assert set(study.FOLDERS.values()) <= covered
        assert not set(BY_NAME) & set(NOT_COVERED)

    @pytest.mark.skipif("SKDICT_DATA" not in os.environ, reason="needs the data of the study")
    def test_digests_are_those_of_the_folder(self, capsys):
        there = [one for one in SETS if (Path(os.environ["SKDICT_DATA"]) / one.name).is_dir()]
        assert fetch_data.print_digests(there, Path(os.environ["SKDICT_DATA"])) == 0


class TestDigest:
    def test_names_types_values_and_order_count(self):
        x, y = np.array([1.0, 2.0]), np.array(["a", None], object)
        columns = [("x", x), ("y", y)]
        others = [
            [("y", y), ("x", x)],
            [("z", x), ("y", y)],
            [("x", x[::-1]), ("y", y)],
            [("x", x.astype(np.float32)), ("y", y)],
            [("x", x[:, None]), ("y", y)],
            [("x", x), ("y", np.array(["a", ""], object))],
            [("x", x), ("y", np.array(["a", "None"], object))],
            [("x", x)],
        ]
        digests = [array_digest(arrays) for arrays in [columns, *others]]
        assert len(set(digests)) == len(digests)

    def test_how_a_file_was_written_does_not_count(self, tmp_path):
        arrays = {"text": ["a", "bc"], "number": [1.0, np.nan]}
        kinds = {"ordinary": pa.string(), "large": pa.large_string()}
        for name, kind in kinds.items():
            schema = pa.schema([("text", kind), ("number", pa.float32())])
            compression = "gzip" if name == "large" else "snappy"
            table = pa.table(arrays, schema=schema)
            parquet.write_table(table, tmp_path / f"{name}.parquet", compression=compression)
            save = np.savez if name == "large" else np.savez_compressed
            save(tmp_path / f"{name}.npz", a=np.arange(3), b=np.ones(2))
            packed = gzip.compress(b"content", compresslevel=len(name), mtime=len(name))
            (tmp_path / f"{name}.csv.gz").write_bytes(packed)
        for suffix in ("parquet", "npz", "csv.gz"):
            one, other = (tmp_path / f"{name}.{suffix}" for name in kinds)
            assert one.read_bytes() != other.read_bytes()
            assert file_digest(one) == file_digest(other)


class Handler(BaseHTTPRequestHandler):
    """Answers with `server.files`; a file in `server.truncated` ends in the middle."""

    def do_GET(self):
        path = unquote(self.path)
        self.server.requests.append(path)
        if path not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if path in self.server.truncated else content)

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def server(monkeypatch):
    """A local server instead of the two hosts of GitHub."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.truncated, server.requests = {}, set(), []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        base = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(download, "URL", base + "/raw/{repository}/{commit}/{path}")
        monkeypatch.setattr(download, "LFS_URL", base + "/media/{repository}/{commit}/{path}")
        yield server
        server.shutdown()
        thread.join()


def served_path(source, host="raw"):
    return f"/{host}/{source.repository}/{source.commit}/{source.path}"


@pytest.fixture(params=[one.name for one in SETS])
def any_set(request, server, tmp_path):
    return serve(request.param, server, tmp_path / "imitation")


@pytest.fixture
def cmqtl(server, tmp_path):
    return serve("cmqtl_crispri_wells", server, tmp_path / "imitation")


def serve(name, server, folder):
    """A set whose sources the server has; its digests are those of the imitation."""
    folder.mkdir()
    files = imitation(name, folder)
    for source in BY_NAME[name].sources:
        server.files[served_path(source)] = files[source.name]
    digests = {}
    for file, content in convert(name, folder).items():
        fetch_data.write_content(content, folder / file)
        digests[file] = file_digest(folder / file)
    return replace(BY_NAME[name], digests=digests)


class TestFetch:
    def test_whole_sets_are_written_and_then_skipped(self, any_set, server, tmp_path):
        output = tmp_path / "data"
        assert fetch_data.fetch(any_set, output)
        written = {path.relative_to(output) for path in output.rglob("*") if path.is_file()}
        assert written == {Path(any_set.name, file) for file in any_set.digests}
        assert not (output / "downloads").exists()
        assert len(server.requests) == len(any_set.sources)
        assert not fetch_data.fetch(any_set, output)
        assert len(server.requests) == len(any_set.sources)

    def test_the_study_reads_what_was_written(self, cmqtl, tmp_path, monkeypatch):
        fetch_data.fetch(cmqtl, tmp_path)
        monkeypatch.setenv("SKDICT_DATA", str(tmp_path))
        wells = study.table("cmqtl", {"gene": "CONTROL"})
        assert wells.data.shape == (6, 2) and wells.control.tolist() == [False, True, False] * 2

    def test_damaged_files_are_replaced(self, cmqtl, tmp_path, capsys):
        fetch_data.fetch(cmqtl, tmp_path)
        path = tmp_path / cmqtl.name / "wells.parquet"
        path.write_bytes(path.read_bytes()[:-10])
        assert fetch_data.fetch(cmqtl, tmp_path)
        assert file_digest(path) == cmqtl.digests["wells.parquet"]
        assert "will be replaced" in capsys.readouterr().out

    def test_a_wrong_digest_is_refused(self, cmqtl, server, tmp_path):
        found = cmqtl.digests["wells.parquet"]
        wrong = replace(cmqtl, digests=cmqtl.digests | {"wells.parquet": "0" * 64})
        there = tmp_path / cmqtl.name / "wells.parquet"
        there.parent.mkdir()
        there.write_bytes(b"mine")
        for _ in range(2):  # the second time from the downloads that were kept
            with pytest.raises(FetchError, match="cmqtl_crispri_wells/wells.parquet") as caught:
                fetch_data.fetch(wrong, tmp_path)
            assert found in str(caught.value) and "0" * 64 in str(caught.value)
        assert len(server.requests) == 2
        kept = sorted(path.name for path in (tmp_path / "downloads" / cmqtl.name).iterdir())
        assert kept == ["Batch8.csv.gz", "Batch8Rerun.csv.gz"]
        assert [path.name for path in there.parent.iterdir()] == ["wells.parquet"]
        assert there.read_bytes() == b"mine"

    def test_an_interrupted_download_goes_on(self, cmqtl, server, tmp_path):
        second = served_path(cmqtl.sources[1])
        server.truncated.add(second)
        size = len(server.files[second])
        with pytest.raises(FetchError, match=f"after {size // 2} of {size} bytes"):
            fetch_data.fetch(cmqtl, tmp_path)
        left = [path.name for path in (tmp_path / "downloads" / cmqtl.name).iterdir()]
        assert left == ["Batch8.csv.gz"]
        server.truncated.clear()
        assert fetch_data.fetch(cmqtl, tmp_path)
        assert server.requests == [served_path(cmqtl.sources[0]), second, second]

    def test_not_the_source(self, cmqtl, server, tmp_path):
        server.files[served_path(cmqtl.sources[0])] = gzip.compress(b"<html>\nhello")
        with pytest.raises(FetchError, match=r"Batch8.csv.gz has no column Metadata_Plate"):
            fetch_data.fetch(cmqtl, tmp_path)
        (tmp_path / "downloads" / cmqtl.name / "Batch8.csv.gz").write_bytes(b"not gzip at all")
        with pytest.raises(FetchError, match="BadGzipFile"):
            fetch_data.fetch(cmqtl, tmp_path)

    def test_a_full_disk(self, cmqtl, tmp_path, monkeypatch):
        def full(content, path):
            path.write_bytes(b"the first bytes")
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(fetch_data, "write_content", full)
        with pytest.raises(FetchError, match="disk is full"):
            fetch_data.fetch(cmqtl, tmp_path)
        assert not (tmp_path / cmqtl.name).exists()
        assert not list(tmp_path.rglob("part-*"))

    def test_nowhere_to_write(self, cmqtl, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(FetchError, match="cannot be written"):
            fetch_data.fetch(cmqtl, tmp_path / "file")


class TestDownload:
    source = Source("a.csv", "owner/name", "c0ffee", "folder name/a.csv")

    def test_missing_at_the_source(self, server, tmp_path):
        with pytest.raises(FetchError, match=r"folder%20name/a.csv: HTTP 404.*moved or removed"):
            download.download(self.source, tmp_path / "a.csv")
        assert not list(tmp_path.iterdir())

    def test_no_network(self, tmp_path, monkeypatch):
        with socket.socket() as unused:  # bound but not listening: refuses
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            monkeypatch.setenv("no_proxy", "*")
            monkeypatch.setattr(download, "URL", f"http://127.0.0.1:{port}/{{path}}")
            with pytest.raises(FetchError, match="no answer.*Is there a network"):
                download.download(self.source, tmp_path / "a.csv")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("is_right", [True, False])
    def test_files_that_are_stored_apart(self, server, tmp_path, is_right):
        content = b"the file itself"
        oid = hashlib.sha256(content).hexdigest()
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 15\n"
        server.files[served_path(self.source)] = pointer.encode()
        apart = content if is_right else b"something else!"
        server.files[served_path(self.source, "media")] = apart
        path = tmp_path / "a.csv"
        if is_right:
            download.download(self.source, path)
            assert path.read_bytes() == content
        else:
            with pytest.raises(FetchError, match=f"announces 15 bytes with {oid}"):
                download.download(self.source, path)
            assert not list(tmp_path.iterdir())


class TestCommand:
    def test_goes_on_after_a_failure(self, server, tmp_path, monkeypatch, capsys):
        good = serve("genesets", server, tmp_path / "imitation")
        monkeypatch.setitem(BY_NAME, "genesets", good)
        sets = ["cardiac_fibroblast_single_cells", "genesets"]
        assert fetch_data.main([*sets, "--output", str(tmp_path / "data")]) == 1
        printed = capsys.readouterr()
        assert "HTTP 404" in printed.err and "written and checked" in printed.out
        assert f"SKDICT_DATA={tmp_path / 'data'}" in printed.out
        assert fetch_data.main(["genesets", "--output", str(tmp_path / "data")]) == 0
        assert "is there and right" in capsys.readouterr().out

    def test_digests_of_a_folder(self, cmqtl, tmp_path, monkeypatch, capsys):
        monkeypatch.setitem(BY_NAME, cmqtl.name, cmqtl)
        fetch_data.fetch(cmqtl, tmp_path)
        assert fetch_data.main([cmqtl.name, "--digest", str(tmp_path)]) == 0
        assert capsys.readouterr().out.count("as expected") == 3
        (tmp_path / cmqtl.name / "wells.parquet").write_bytes(b"")
        assert fetch_data.main([cmqtl.name, "--digest", str(tmp_path)]) == 1
        assert "missing or unreadable" in capsys.readouterr().out

    def test_names(self, capsys):
        for name, message in [("pbmc_facs_scrna", "cannot be rebuilt"), ("x", "unknown set")]:
            with pytest.raises(SystemExit):
                fetch_data.main([name, "--output", "nowhere"])
            assert message in capsys.readouterr().err
        assert fetch_data.main(["--list"]) == 0
        printed = capsys.readouterr().out
        assert all(f"{name}: " in printed for name in [*BY_NAME, *NOT_COVERED])
