"""Damaged, foreign, newer and hostile bundles give an error that says what is wrong."""

import json
import os
import shutil

import numpy as np
import pytest

from skdict.explorer import BundleError, open_bundle
from skdict.explorer._bundle_format import MANIFEST, PARTS, expected_files
from skdict.explorer._bundle_paths import file_record

PICTURES = ("thumbnails", "heatmaps")
FILES = expected_files(dict.fromkeys(PARTS, True), 2)


@pytest.fixture
def lean_copy(small_bundle_path, tmp_path):
    """A copy without pictures: several hundred files fewer."""
    no_pictures = shutil.ignore_patterns("*.png")
    return shutil.copytree(small_bundle_path, tmp_path / "copy", ignore=no_pictures)


def change_manifest(path, **changes):
    manifest = json.loads((path / MANIFEST).read_text())
    manifest |= changes
    (path / MANIFEST).write_text(json.dumps(manifest))


def replace(path, name, write):
    """Replace a file, and its record in the manifest: what somebody hostile would do."""
    write(path / name)
    files = json.loads((path / MANIFEST).read_text())["files"]
    change_manifest(path, files=files | {name: file_record(path / name)})


def read_all(path):
    """Ask for everything in a bundle."""
    bundle = open_bundle(path)
    for sample in (0, 7, 299):
        bundle.concepts_of(sample), bundle.thumbnail(sample)
    for concept in (0, 5, 23):
        bundle.activations(concept), bundle.histogram(concept)
        bundle.genes(concept), bundle.pathways(concept)
        bundle.neighbors(concept), bundle.coactive(concept)
        for kind in ("top", "random", "quantile", "inactive"):
            for sample in bundle.examples(concept, kind).ravel():
                if sample >= 0:
                    bundle.heatmap(concept, int(sample))
        for column in bundle.label_columns:
            bundle.selectivity(concept, column), bundle.best_labels(column)
    return bundle.map, bundle.samples, bundle.verify()


def test_whole_bundle_is_read(small_bundle_path):
    read_all(small_bundle_path)


def test_manifest_lists_what_is_there(small_bundle, small_bundle_path):
    """Every file of the folder is listed, or lies in a folder of pictures that is counted."""
    there = {
        file.relative_to(small_bundle_path).as_posix()
        for file in small_bundle_path.rglob("*")
        if file.is_file()
    }
    pictures = {name for name in there if name.split("/")[0] in PICTURES}
    assert there - pictures - {MANIFEST} == set(FILES)
    assert set(small_bundle.manifest["files"]) == set(FILES) | set(PICTURES)
    counted = sum(small_bundle.manifest["files"][part]["number"] for part in PICTURES)
    assert counted == len(pictures) > 100
    assert small_bundle.verify() == len(FILES) + counted


@pytest.mark.parametrize("name", FILES)
def test_truncated(lean_copy, name):
    os.truncate(lean_copy / name, (lean_copy / name).stat().st_size - 1)
    with pytest.raises(BundleError, match=f"{name} .* is truncated: .* copy the folder again"):
        open_bundle(lean_copy)


@pytest.mark.parametrize("name", FILES)
def test_missing(lean_copy, name):
    (lean_copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing from the bundle"):
        open_bundle(lean_copy)


@pytest.mark.parametrize("name", FILES)
def test_tampered(lean_copy, name):
    """One changed byte is found before the file is used, and by verify."""
    content = bytearray((lean_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (lean_copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} .* its checksum differs"):
        read_all(lean_copy)
    if name != "concepts.parquet":  # which is read at once
        with pytest.raises(BundleError, match=f"{name} .* its checksum differs"):
            open_bundle(lean_copy).verify()


@pytest.mark.parametrize("part", PICTURES)
@pytest.mark.parametrize("change", ["changed", "removed", "added"])
def test_pictures_changed(bundle_copy, part, change):
    picture = next((bundle_copy / part).rglob("*.png"))
    if change == "removed":
        picture.unlink()
    elif change == "added":
        shutil.copy(picture, picture.with_name("added.png"))
    else:
        picture.write_bytes(picture.read_bytes() + b"x")
    with pytest.raises(BundleError, match=f"{part} .* was changed"):
        open_bundle(bundle_copy).verify()


def test_foreign(tmp_path):
    with pytest.raises(BundleError, match="does not exist"):
        open_bundle(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(BundleError, match="is not a folder"):
        open_bundle(tmp_path / "file")
    with pytest.raises(BundleError, match=r"no manifest\.json in it; name the folder"):
        open_bundle(tmp_path)
    for content in ('{"name": "a web app"}', "[1, 2]", "3", '{"format": null}'):
        (tmp_path / MANIFEST).write_text(content)
        with pytest.raises(BundleError, match="instead of 'skdict-concept-bundle'"):
            open_bundle(tmp_path)
    for content in (b"{", b"", b"\xff\xfe", b"[" * 100_000):
        (tmp_path / MANIFEST).write_bytes(content)
        with pytest.raises(BundleError, match="is damaged: it cannot be read as JSON"):
            open_bundle(tmp_path)


@pytest.mark.parametrize(
    "writer, advice",
    [("9.1.0", "install skdict 9.1.0 or newer"), ("<b>; rm -rf", "install a newer skdict")],
)
def test_newer(lean_copy, writer, advice):
    change_manifest(lean_copy, version=2, skdict=writer)
    with pytest.raises(BundleError, match=rf"version 2 .* reads versions up to 1: {advice}"):
        open_bundle(lean_copy)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"version": "1"}, "version"),
        ({"version": True}, "version"),
        ({"version": 0}, "version"),
        ({"n_samples": -1}, "n_samples"),
        ({"n_samples": 1e9}, "n_samples"),
        ({"n_concepts": 1 << 40}, "n_concepts"),
        ({"title": 3}, "title"),
        ({"label_columns": "cell_type"}, "label_columns"),
        ({"parts": {}}, "parts"),
        ({"settings": None}, "settings"),
        ({"files": []}, "files"),
        ({"files": {"concepts.parquet": {"bytes": "1"}}}, "concepts.parquet"),
        ({"label_columns": ["a", "b", "c"]}, r"selectivity/2\.npy"),
    ],
    ids=str,
)
def test_damaged_manifest(lean_copy, changes, named):
    change_manifest(lean_copy, **changes)
    with pytest.raises(BundleError, match=rf"manifest\.json .* is damaged: .*{named}"):
        open_bundle(lean_copy)


def test_names_in_the_manifest_are_not_opened(bundle_copy, tmp_path):
    """A file that the manifest lists under a name of its own choice is never looked at."""
    files = json.loads((bundle_copy / MANIFEST).read_text())["files"]
    outside = {"../../secret": {"bytes": 1, "sha256": "0" * 64}}
    change_manifest(bundle_copy, files=files | outside)
    read_all(bundle_copy)


def link(path, name, tmp_path):
    """Move a file out of the bundle, and leave a link to it."""
    secret = tmp_path / "secret"
    shutil.move(path / name, secret)
    (path / name).symlink_to(secret)


@pytest.mark.parametrize("name", [MANIFEST, "concepts.parquet", "codes_by_sample/data.npy"])
def test_links_that_lead_out(lean_copy, tmp_path, name):
    link(lean_copy, name, tmp_path)
    with pytest.raises(BundleError, match=f"{name} .* is a link that leads out of the folder"):
        open_bundle(lean_copy)


def test_linked_folder(lean_copy, tmp_path):
    link(lean_copy, "codes_by_sample", tmp_path)
    with pytest.raises(BundleError, match="leads out of the folder"):
        open_bundle(lean_copy)


@pytest.mark.parametrize("what", ["picture", "folder"])
def test_linked_pictures(bundle_copy, tmp_path, what):
    sample = int(open_bundle(bundle_copy).examples(0)[0])
    link(bundle_copy, f"thumbnails/0/{sample}.png" if what == "picture" else "thumbnails", tmp_path)
    bundle = open_bundle(bundle_copy)
    with pytest.raises(BundleError, match="leads out of the folder"):
        bundle.thumbnail(sample)
    with pytest.raises(BundleError):
        bundle.verify()


def test_dangling_and_circular_links(lean_copy, tmp_path):
    for aim in (tmp_path / "nowhere", lean_copy / "map.npy"):
        (lean_copy / "map.npy").unlink()
        (lean_copy / "map.npy").symlink_to(aim)
        with pytest.raises(BundleError, match=r"map\.npy is missing"):
            open_bundle(lean_copy)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_does_not_block(lean_copy):
    (lean_copy / "map.npy").unlink()
    os.mkfifo(lean_copy / "map.npy")
    with pytest.raises(BundleError, match="is no file"):
        open_bundle(lean_copy)


def test_bundle_behind_a_link_opens(bundle_copy, tmp_path):
    (tmp_path / "link").symlink_to(bundle_copy)
    read_all(tmp_path / "link")


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("bomb_went_off",))


def save(array):
    return lambda path: np.save(path, array)


def fill(value):
    """Write an array as the one that is there, with one value throughout."""
    return lambda path: np.save(path, np.full_like(np.load(path), value))


def archive(path):
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))


def short(path):
    os.truncate(path, path.stat().st_size - 8)


HOSTILE = {
    "pickle": ("map.npy", lambda p: np.save(p, np.array([Bomb()], object), allow_pickle=True)),
    "text": ("map.npy", lambda p: p.write_text("no array")),
    "empty": ("map.npy", lambda p: p.write_bytes(b"")),
    "archive": ("map.npy", archive),
    "short": ("map.npy", short),
    "shape": ("map.npy", save(np.zeros((300, 3), np.float32))),
    "dtype": ("map.npy", save(np.zeros((300, 2)))),
    "huge": ("map.npy", save(np.zeros((1 << 20, 2), np.float32))),
    "indices": ("codes_by_concept/indices.npy", fill(300)),
    "negative": ("codes_by_concept/indices.npy", fill(-1)),
    "offsets": ("codes_by_sample/indptr.npy", fill(5)),
    "descending": ("codes_by_sample/indptr.npy", save(np.arange(301)[::-1].copy())),
    "examples": ("examples_top.npy", fill(300)),
    "neighbors": ("neighbors_index.npy", fill(24)),
    "coactive": ("coactive_lift.npy", save(np.zeros((24, 3), np.float32))),
    "best": ("selectivity/best.npy", fill(9)),
    "labels": ("selectivity/labels.json", lambda p: p.write_text("[1]")),
    "repeated": (
        "selectivity/labels.json",
        lambda p: p.write_text('{"cell_type": ["a", "a"], "donor": []}'),
    ),
    "labels unknown": (
        "selectivity/labels.json",
        lambda p: p.write_text('{"cell_type": ["a"], "donor": ["b"]}'),
    ),
    "JSON": ("selectivity/labels.json", lambda p: p.write_text("{")),
    "gene index": ("genes_index.npy", fill(0)),
    "table": ("samples.parquet", lambda p: p.write_bytes(b"PAR1 no table PAR1")),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_contents(lean_copy, kind, monkeypatch, tmp_path):
    """Contents that do not fit are refused even where the checksums agree."""
    monkeypatch.chdir(tmp_path)
    name, write = HOSTILE[kind]
    replace(lean_copy, name, write)
    with pytest.raises(BundleError, match=name.rpartition("/")[2]):
        read_all(lean_copy)
    assert not (tmp_path / "bomb_went_off").exists()


def tables():
    """Changes to the tables, and what the error names."""

    def drop(frame):
        return frame.iloc[:-1]

    def without(column):
        return lambda frame: frame.drop(columns=column)

    def with_value(column, value):
        return lambda frame: frame.assign(**{column: value})

    yield "concepts.parquet", drop
    yield "concepts.parquet", without("dead")
    yield "concepts.parquet", with_value("frequency", "<b>often</b>")
    yield "concepts.parquet", with_value("concept", 0)
    yield "concepts.parquet", with_value("name", None)
    yield "samples.parquet", drop
    yield "samples.parquet", without("cell_type")
    yield "samples.parquet", without("name")
    yield "samples.parquet", with_value("sample", 0)
    yield "genes.parquet", without("gene")
    yield "genes.parquet", with_value("concept", 3)
    yield "pathways.parquet", with_value("gene_set", None)


CHANGED = list(tables())


@pytest.mark.parametrize("case", range(len(CHANGED)))
def test_changed_tables(lean_copy, case):
    import pandas

    name, change = CHANGED[case]
    frame = pandas.read_parquet(lean_copy / name)
    replace(lean_copy, name, lambda path: change(frame).to_parquet(path, index=False))
    with pytest.raises(BundleError, match=name):
        read_all(lean_copy)


def test_table_that_unpacks_to_much(lean_copy, monkeypatch):
    monkeypatch.setattr("skdict.explorer._bundle_files._TABLE_BYTES", 10)
    monkeypatch.setattr("skdict.explorer._bundle_files._ROW_BYTES", 1)
    with pytest.raises(BundleError, match=r"concepts\.parquet .* bytes unpacked"):
        open_bundle(lean_copy)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"<script>alert(1)</script>" * 9, "is no PNG picture"),
        (b"\x89PNG\r\n\x1a\n", "is no PNG picture"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\0\1" + b"\0" * 9, "65535 x 1 pixels"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\0\0\0\0\1" + b"\0" * 9, "0 x 1 pixels"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * (1 << 24), "is larger than"),
    ],
    ids=["text", "short", "wide", "empty", "large"],
)
def test_pictures_that_are_none(bundle_copy, content, reason):
    bundle = open_bundle(bundle_copy)
    sample = int(bundle.examples(0)[0])
    for name in (f"thumbnails/0/{sample}.png", f"heatmaps/0/{sample}.png"):
        (bundle_copy / name).write_bytes(content)
    for read in (lambda: bundle.thumbnail(sample), lambda: bundle.heatmap(0, sample)):
        with pytest.raises(BundleError, match=reason):
            read()
