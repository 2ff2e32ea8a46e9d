"""Files of gene sets."""

import gzip
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skdict.genes import read_gmt, write_gmt

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\t\r\n"), min_size=1).map(
    lambda name: f"s{name}e"
)


@pytest.fixture
def write(tmp_path):
    def write(content, name="sets.gmt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gmt")


@given(
    gene_sets=st.dictionaries(NAMES, st.lists(NAMES, unique=True), min_size=1),
    name=st.sampled_from(["a.gmt", "a.gmt.gz"]),
)
def test_what_is_written_is_read(gene_sets, name, folder):
    path = folder / name
    descriptions = {next(iter(gene_sets)): "of the first"}
    write_gmt(path, gene_sets, descriptions=descriptions)
    read, described = read_gmt(path, return_descriptions=True)
    assert read == gene_sets and list(read) == list(gene_sets)
    assert {key: text for key, text in described.items() if text} == descriptions
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_forms_found_in_the_wild(write, ending, mark, compress):
    lines = [
        "Enrichr style (GO:1)\t\tCD3D\tCD3E",  # an empty description
        "",
        "MSigDB style\thttp://site\tCD4\tCD4\t CD8A ",  # twice, blanks
        "weights\tx\tTP53,1.0\tMDM2,0.25",
        "trailing tabs\tx\tMS4A1\t\t",
        "no genes\tnothing known",
        "last line without end\t\tCD19",
    ]
    path = write(compress(mark + ending.join(lines).encode()))
    assert read_gmt(path) == {
        "Enrichr style (GO:1)": ["CD3D", "CD3E"],
        "MSigDB style": ["CD4", "CD8A"],
        "weights": ["TP53", "MDM2"],
        "trailing tabs": ["MS4A1"],
        "no genes": [],
        "last line without end": ["CD19"],
    }


def test_a_comma_that_is_no_weight_stays(write):
    assert read_gmt(write("s\t\tIGHV1,2-D\tA,e"))["s"] == ["IGHV1,2-D", "A,e"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\t\tG1\nG1 G2 G3\n", r"line 2: expected a name.*tabs, got 'G1 G2 G3'"),
        (b"\n<!DOCTYPE html>\n", "line 2: expected a name"),
        (b"a\t\tG1\n\t\tG2\n", "line 2: the set has no name"),
        (b"a\t\tG1\nb\t\tG1\n\na\t\tG2\n", "line 4: the set 'a' is there already in line 1"),
        (b"a\t\tG1\nb\t\tG\xff\n", "line 2: the text is not UTF-8"),
        (b"a\t\tG1\rb\t\tG2", "line 1: carriage returns alone"),
        (b"", "holds no gene sets"),
        (b"\n \n", "holds no gene sets"),
        (gzip.compress(b"a\t\tG1\n" * 3, mtime=0)[:-12], "cut off or damaged"),
    ],
)
def test_errors_name_the_line(write, content, message):
    path = write(content)
    with pytest.raises(ValueError, match=message) as error:
        read_gmt(path)
    assert str(path) in str(error.value)


def test_a_damaged_stream_is_named(write):
    content = bytearray(gzip.compress(bytes(range(256)) * 20))
    content[30:60] = b"\xff" * 30
    with pytest.raises(ValueError, match="cut off or damaged|UTF-8"):
        read_gmt(write(bytes(content)))


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_gmt(tmp_path / "none.gmt")


@pytest.mark.parametrize(
    ("gene_sets", "message"),
    [
        ({"a\tb": ["G1"]}, r"a tab or the end of a line.*'a\\tb'"),
        ({"a": ["G\n1"]}, r"cannot be written: 'G\\n1' in 'a'"),
        ({"": ["G1"]}, "not empty.*got ''"),
        ({"a": ["G1", " "]}, "no blanks at their ends, got ' ' in 'a'"),
        ({"a": [3]}, "got 3 in 'a'"),
        ({"a": ["TP53,1.0"]}, "read as a weight: 'TP53,1.0' in 'a'"),
    ],
)
def test_what_a_line_cannot_hold_is_refused_and_the_old_file_stays(tmp_path, gene_sets, message):
    path = tmp_path / "sets.gmt"
    write_gmt(path, {"old": ["G0"]})
    with pytest.raises(ValueError, match=message):
        write_gmt(path, gene_sets)
    assert read_gmt(path) == {"old": ["G0"]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["sets.gmt"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "sets.gmt"
    write_gmt(path, {"old": ["G0"]})

    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_gmt(path, {"new": ["G1"]})
    assert read_gmt(path) == {"old": ["G0"]}
    assert len(list(tmp_path.iterdir())) == 1


def test_bytes_do_not_depend_on_the_time(tmp_path):
    first, second = (tmp_path / f"{name}.gmt.gz" for name in "ab")
    for path in (first, second):
        write_gmt(path, {"s": ["G1"]})
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_mode & stat.S_IRGRP
