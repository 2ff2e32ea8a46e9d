"""The page: self-contained, escaped, written in one move or not at all."""

import os
import re
from html.parser import HTMLParser

import pytest

from skdict.report import (
    Column,
    Html,
    Section,
    bullets,
    cards,
    check_output_path,
    details,
    figure,
    figures,
    paragraph,
    render_page,
    table,
    write_page,
)

VOID = {"meta", "wbr", "br"}


class Structure(HTMLParser):
    """Checks that tags close in order, and collects ids and references."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.references = [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                self.references.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def plot():
    matplotlib_figure = pytest.importorskip("matplotlib.figure")
    drawing = matplotlib_figure.Figure((3, 2))
    drawing.subplots().plot([0, 1], label="<curve>")
    return drawing


def test_page_is_complete_and_refers_to_nothing_outside(plot):
    one = figure(plot, caption="A & B", description="rising line")
    two = figure(plot, caption="again", description="rising line, again")
    page = render_page(
        "Title",
        [
            Section("Words", [paragraph("text"), bullets(["x"]), details("more", [])]),
            Section("Plots", [figures([one, two])]),
            Section("Boxes", [cards([("box", [table([Column("h")], [["1"]])])])]),
        ],
        subtitle="sub",
        footer="end",
    )
    structure = Structure(page)
    assert len(structure.ids) == len(set(structure.ids))
    assert structure.references
    assert all(reference.startswith("#") for reference in structure.references)
    assert {reference[1:] for reference in structure.references} <= set(structure.ids)
    assert not re.search(r"https?://|@import|<script|<link", page)
    assert set(re.findall(r"url\(([^)]*)\)", page)) <= {f"#{i}" for i in structure.ids}


def test_figure_follows_the_page_and_says_what_it_shows(plot):
    markup = figure(plot, caption="c", description='a "line"')
    assert 'aria-label="a &quot;line&quot;"' in markup
    assert "#000000" not in markup and "currentColor" in markup
    assert "viewBox" in markup
    assert markup == figure(plot, caption="c", description='a "line"')


def test_text_is_escaped_and_html_is_not():
    assert paragraph("<b>") == "<p>&lt;b&gt;</p>"
    assert paragraph(Html("<b>x</b>"), kind="note") == '<p class="note"><b>x</b></p>'
    assert "&lt;i&gt;" in bullets(["<i>"])
    assert "&lt;i&gt;" in table([Column("<i>", "<i>")], [["<i>"]], caption="<i>")
    assert "<i>" not in cards([("<i>", [details("<i>", [])])])


def test_table_groups_and_breaks():
    columns = [Column("", numeric=False), Column("a", group="g"), Column("b", group="g")]
    markup = table(columns, [["x", 1, 2], ["y", 3, 4]], breaks=[1])
    assert '<th class="group" colspan="2">g</th>' in markup
    assert markup.count('<tr class="break">') == 1
    Structure(markup)


def test_table_refuses_rows_of_another_length():
    with pytest.raises(ValueError, match="row 1 has 1 cells for 2 columns"):
        table([Column("a"), Column("b")], [[1, 2], [1]])


def test_output_path_is_checked_without_touching_it(tmp_path):
    path = tmp_path / "page.html"
    assert check_output_path(path) == path
    assert not path.exists()
    path.write_text("kept")
    assert check_output_path(str(path)) == path
    assert path.read_text() == "kept"


def test_output_path_errors(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        check_output_path(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist; create"):
        check_output_path(tmp_path / "missing" / "page.html")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_output_path_without_write_access(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OSError, match="cannot be written"):
            check_output_path(tmp_path / "page.html")
    finally:
        tmp_path.chmod(0o700)


def test_written_in_one_move(tmp_path):
    path = write_page(tmp_path / "page.html", "ä ±")
    assert path.read_text(encoding="utf-8") == "ä ±"
    assert write_page(path, "new").read_text() == "new"
    assert os.listdir(tmp_path) == ["page.html"]


def test_failed_writing_keeps_the_old_page(tmp_path, monkeypatch):
    path = write_page(tmp_path / "page.html", "old")

    def full(self, target):
        raise OSError("no space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="no space"):
        write_page(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["page.html"]
