"""Static pages: complete, escaped, on their own, the same twice, written all or not at all."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from skdict.explorer import (
    BundleError,
    Note,
    NotesStore,
    build_bundle,
    open_bundle,
    write_static_html,
)
from skdict.explorer._static_plots import (
    MAP_SIZE,
    map_activation,
    map_background,
    map_pixels,
    share,
)
from tests.explorer.browser import Watched, open_browser
from tests.explorer.conftest import DEAD, HOSTILE, N_CONCEPTS

images_module = pytest.importorskip("PIL.Image")

NASTY = (*HOSTILE, "</script>", "javascript:alert(1)", "</style><b>")
SHOWN = [0, 4, DEAD]


class Elements(HTMLParser):
    """Tags with their attributes, texts, and whether every tag is closed."""

    VOID = {"meta", "br", "img", "input"}

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes)
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self):
        return "".join(data for tag, data in self.texts if tag not in ("script", "style"))


@pytest.fixture(scope="module")
def notes(small_bundle, tmp_path_factory):
    """Notes on three concepts, one of them hostile in every field."""
    with NotesStore(tmp_path_factory.mktemp("notes") / "n.sqlite", bundle=small_bundle) as store:
        store.add(0, expert="anna", name="mitosis", text="two\nlines", rating=4, tags=["nuclei"])
        store.add(0, expert="bert", name="mitosis", rating=5)
        for text in NASTY:
            store.add(4, expert=text, name=text, text=f"{text} http://example.org", tags=[text])
        store.add(7, expert="anna", name="not on the page")
        yield store


@pytest.fixture(scope="module")
def page(small_bundle, notes, tmp_path_factory):
    """Path of one file with three concepts."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    return write_static_html(small_bundle, path, SHOWN, notes=notes)


@pytest.fixture(scope="module")
def folder(small_bundle, notes, tmp_path_factory):
    """Path of the index of a folder with three concepts."""
    path = tmp_path_factory.mktemp("pages") / "pages"
    return write_static_html(small_bundle, path, SHOWN, notes=notes, folder=True)


@pytest.fixture(scope="module")
def elements(page):
    return Elements(page.read_text(encoding="utf-8"))


def check_on_its_own(text, pictures):
    """Assert that a page names nothing outside itself but `pictures`, and runs one script."""
    found = Elements(text)
    for name in ("src", "href"):
        for address in (attributes[name] for _, attributes in found.tags if name in attributes):
            assert re.match(rf"#|{pictures}|(index|concept-\d+)\.html$", address), address[:60]
    assert not {tag for tag, _ in found.tags} & {
        "link",
        "iframe",
        "object",
        "base",
        "form",
        "b",
    } - {"b"}
    assert all(not name.startswith("on") for _, attributes in found.tags for name in attributes)
    code = "".join(data for tag, data in found.texts if tag in ("script", "style"))
    assert not re.search(r"https?:|//\w|@import|url\(|alert|eval|innerHTML", code)
    policy = next(a["content"] for a in found.of("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'") and "'unsafe-eval'" not in policy
    return found


def test_every_concept_is_in_the_table_and_on_the_page(elements, small_bundle):
    articles = [a["id"] for a in elements.of("article")]
    assert articles == [f"concept-{concept}" for concept in SHOWN]
    keys = [a["value"] for a in elements.of("data")]
    assert [key for key in keys if key in map(str, SHOWN)][:1] == ["0"]
    row = small_bundle.concepts.iloc[0]
    assert repr(float(row["selectivity"])) in keys and repr(float(row["frequency"])) in keys
    text = elements.text()
    assert "3 of 24 concepts" in text and "21 further concepts" in text
    for gene in small_bundle.genes(0).nlargest(5, "attribution")["gene"]:
        assert gene in text
    for name in small_bundle.pathways(0)["gene_set"]:
        assert name in text
    assert "mitosis" in text and "two\nlines" in text and "rated 4 of 5" in text
    assert "not on the page" not in text
    assert "active in no sample" in text  # the dead one


def test_the_search_looks_at_the_best_label_of_every_column(small_bundle, elements):
    words = [data for tag, data in elements.texts if tag == "span" and data.startswith("0 | ")]
    for column in small_bundle.label_columns:
        label = small_bundle.labels(column)[small_bundle.best_labels(column)[0]]
        assert f" | {label}" in words[0]


def test_a_rare_concept_is_not_shown_as_a_dead_one():
    assert [share(value) for value in (0.0, 1e-5, 0.25)] == ["0.00%", "<0.01%", "25.00%"]


def test_links_lead_to_what_is_there(elements):
    targets = {attributes["id"] for _, attributes in elements.tags if "id" in attributes}
    links = {a["href"].removeprefix("#") for a in elements.of("a")}
    links |= {a["href"].removeprefix("#") for a in elements.of("use")}
    assert links <= targets
    ids = [attributes["id"] for _, attributes in elements.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_one_file_names_nothing_outside_itself(page):
    check_on_its_own(page.read_text(encoding="utf-8"), "data:image/png;base64,")


@pytest.mark.parametrize("text", NASTY)
def test_hostile_text_is_text(text, elements):
    assert text in elements.text()


def test_hostile_text_starts_no_element(page, small_bundle, elements, tmp_path):
    plain = write_static_html(small_bundle, tmp_path / "page.html", SHOWN, title="plain")
    assert len(elements.of("script")) == 1 and len(elements.of("style")) == 1
    assert {tag for tag, _ in elements.tags} - {
        tag for tag, _ in Elements(plain.read_text(encoding="utf-8")).tags
    } == {"blockquote", "b"}  # the notes
    assert not elements.of("img")


def test_every_picture_is_stored_once(elements, small_bundle):
    stored = {a["id"]: a["href"] for a in elements.of("image")}
    assert len(stored) == len(elements.of("image"))
    used = [a["href"].removeprefix("#") for a in elements.of("use")]
    assert set(used) == set(stored) and len(used) > len(stored)
    for concept in SHOWN[:2]:
        for sample in small_bundle.examples(concept, "top"):
            assert f"t{sample}" in stored
            there = small_bundle.heatmap(concept, int(sample)) is not None
            assert (f"h{concept}-{sample}" in stored) == there
    assert {"map", "m0", "m4"} <= set(stored) and f"m{DEAD}" not in stored


def decoded(content):
    return np.asarray(images_module.open(io.BytesIO(content)).convert("RGBA"))


def test_heatmaps_are_as_opaque_as_they_are_strong(elements, small_bundle):
    stored = {a["id"]: a["href"] for a in elements.of("image")}
    sample = int(small_bundle.examples(0)[0])
    address = stored[f"h0-{sample}"].removeprefix("data:image/png;base64,")
    heat = decoded(base64.b64decode(address))
    grey = decoded(small_bundle.heatmap(0, sample))[..., 0]
    assert grey.max() > 0
    np.testing.assert_allclose(heat[..., 3] / 255, 0.85 * grey / 255, atol=0.01)
    assert (heat[grey > 0][:, 0] > heat[grey > 0][:, 2]).all()  # vermilion


def test_every_picture_has_a_text(elements):
    pictures = [a for a in elements.of("svg") if a.get("aria-hidden") != "true"]
    assert pictures and all(a["role"] == "img" and a["aria-label"] for a in pictures)


def test_the_same_input_gives_the_same_bytes(small_bundle_path, notes, page, tmp_path):
    again = write_static_html(
        open_bundle(small_bundle_path), tmp_path / "again.html", SHOWN, notes=notes
    )
    assert again.read_bytes() == page.read_bytes()


def test_none_takes_the_largest_selectivity_first(small_bundle, tmp_path):
    path = write_static_html(small_bundle, tmp_path / "page.html", n_examples=1, n_genes=1)
    articles = Elements(path.read_text(encoding="utf-8")).of("article")
    shown = [int(a["id"].removeprefix("concept-")) for a in articles]
    assert sorted(shown) == list(range(N_CONCEPTS)) and shown[-1] == DEAD
    score = small_bundle.concepts["selectivity"].to_numpy()[shown[:-1]]
    assert (np.diff(score) <= 0).all()


def test_none_takes_at_most_fifty(tmp_path):
    codes = np.eye(60)[:, ::-1] * np.arange(1, 61)
    bundle = build_bundle(tmp_path / "bundle", codes, random_state=0)
    path = write_static_html(bundle, tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    assert text.count("<article") == 50 and "10 further concepts" in text
    # Without pictures the samples are in tables.
    assert '<div class="samples">' in text and '<image id="t' not in text
    assert path.stat().st_size < 50 * 60_000


def test_pages_of_a_folder_hang_together(folder):
    root = folder.parent
    pages = {path.name for path in root.glob("*.html")}
    assert pages == {"index.html", *(f"concept-{concept}.html" for concept in SHOWN)}
    used = set()
    for name in sorted(pages):
        found = check_on_its_own(
            (root / name).read_text(encoding="utf-8"), r"pictures/[\w-]+\.png$"
        )
        used |= {a["src"].removeprefix("pictures/") for a in found.of("img")}
        links = {a["href"] for a in found.of("a") if not a["href"].startswith("#")}
        assert links <= pages and (name == "index.html" or "index.html" in links)
        assert all("alt" in a for a in found.of("img"))
    assert used == {path.name for path in (root / "pictures").iterdir()}
    assert "<script>" in folder.read_text(encoding="utf-8")


def test_a_large_page_becomes_a_folder_and_says_so(small_bundle, tmp_path):
    with pytest.warns(UserWarning, match=r"max_bytes=30,000.*folder=False"):
        path = write_static_html(small_bundle, tmp_path / "a.html", [0], max_bytes=30_000)
    assert path == tmp_path / "a" / "index.html" and not (tmp_path / "a.html").exists()
    path = write_static_html(small_bundle, tmp_path / "a.html", [0], max_bytes=30_000, folder=False)
    assert path == tmp_path / "a.html" and path.stat().st_size > 30_000


def test_a_folder_of_pages_is_replaced_and_nothing_else(small_bundle, tmp_path):
    first = write_static_html(small_bundle, tmp_path / "pages", [0, 1], folder=True)
    second = write_static_html(small_bundle, tmp_path / "pages", [0], folder=True)
    assert second == first and not (tmp_path / "pages" / "concept-1.html").exists()
    mine = tmp_path / "pages" / "thesis.txt"
    mine.write_text("mine")
    with pytest.raises(FileExistsError, match="holds other files"):
        write_static_html(small_bundle, tmp_path / "pages", [1], folder=True)
    assert mine.read_text() == "mine" and not (tmp_path / "pages" / "concept-1.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["pages"]


def test_a_damaged_picture_leaves_nothing_behind(bundle_copy, tmp_path):
    bundle = open_bundle(bundle_copy)
    sample = int(bundle.examples(0)[0])
    file = next(bundle_copy.glob(f"thumbnails/*/{sample}.png"))
    file.write_bytes(file.read_bytes()[:40])
    target = tmp_path / "out"
    target.mkdir()
    for folder in (True, False):
        with pytest.raises(BundleError, match=f"thumbnail of sample {sample}"):
            write_static_html(bundle, target / "page.html", [0], folder=folder)
    assert not list(target.iterdir())


@pytest.mark.parametrize(
    ("concepts", "error", "message"),
    [
        ([0, 24], ValueError, "from 0 to 23.*got 24"),
        ([-1], ValueError, "got -1"),
        ([3, 3], ValueError, "got 3 more than once"),
        ([], TypeError, "at least one integer"),
        (["0"], TypeError, "a list of at least one integer"),
        ([True], TypeError, "a list of at least one integer"),
    ],
)
def test_concepts_must_be_known(concepts, error, message, small_bundle, tmp_path):
    with pytest.raises(error, match=message):
        write_static_html(small_bundle, tmp_path / "page.html", concepts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"n_examples": 0}, ValueError, "n_examples"),
        ({"n_genes": 1.5}, TypeError, "n_genes"),
        ({"picture_size": 2}, ValueError, "picture_size"),
        ({"max_bytes": 0}, ValueError, "max_bytes"),
        ({"folder": "yes"}, ValueError, "folder"),
        ({"notes": ["note"]}, TypeError, "notes must be a NotesStore"),
        ({"path": "page.txt"}, ValueError, r"must end in \.html"),
        ({"path": "no/page.html"}, FileNotFoundError, "does not exist"),
        ({"path": "no/pages", "folder": True}, FileNotFoundError, "does not exist"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_errors_name_the_parameter(given, error, message, small_bundle, tmp_path):
    given = {"path": "page.html"} | given
    path = tmp_path / given.pop("path")
    with pytest.raises(error, match=message):
        write_static_html(small_bundle, path, [0], **given)
    assert not list(tmp_path.iterdir())


def test_a_path_is_no_bundle(small_bundle_path, tmp_path):
    with pytest.raises(TypeError, match="open_bundle"):
        write_static_html(small_bundle_path, tmp_path / "page.html")


def test_notes_on_another_bundle_are_refused(small_bundle, tmp_path):
    with NotesStore(tmp_path / "notes.sqlite", bundle="0" * 64) as other:
        other.add(0, expert="anna", name="mitosis")
        for notes in (other, other.current()):
            with pytest.raises(ValueError, match="must be on this bundle"):
                write_static_html(small_bundle, tmp_path / "page.html", [0], notes=notes)


def test_notes_may_be_a_list(small_bundle, tmp_path):
    note = Note(
        "0" * 32, 0, "anna", "2026-01-31T12:00:00.000000Z", "half \ud800", "", None, None, (), ""
    )
    path = write_static_html(small_bundle, tmp_path / "page.html", [0], notes=[note])
    assert "half ?" in path.read_text(encoding="utf-8")


def test_the_map_shows_where_the_active_samples_are():
    rng = np.random.default_rng(0)
    places = rng.normal(size=(20_000, 2)).astype(np.float32)
    places[5] = np.nan
    pixels = map_pixels(places)
    assert pixels[5].tolist() == [-1, -1]
    known = np.delete(pixels, 5, axis=0)
    assert (known >= 4).all() and (known <= np.array(MAP_SIZE) - 5).all()
    upper = np.flatnonzero(places[:, 1] > 2)
    shown = decoded(map_activation(pixels, upper, np.linspace(1, 2, len(upper))))[..., 3]
    assert shown.shape == MAP_SIZE[::-1]
    x, y = pixels[upper].T
    assert (shown[y, x] > 0).all() and (shown[MAP_SIZE[1] // 2 :] == 0).all()
    grey = decoded(map_background(pixels))[..., 3]
    x, y = known.T
    assert (grey[y, x] > 0).all() and (grey > 0).sum() <= len(places)


def test_pixels_of_a_large_map_stay_few():
    rng = np.random.default_rng(0)
    pixels = map_pixels(rng.normal(size=(100_000, 2)))
    assert len(map_background(pixels)) < 60_000
    active = np.arange(0, 100_000, 50)
    assert len(map_activation(pixels, active, rng.random(len(active)))) < 20_000


# In the browser.


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def open_page(browser):
    """Open a file in a new tab; at the end nothing may have gone wrong or left the disk."""
    tabs = []

    def open_it(path, **options):
        watched = Watched(browser.new_page(**options))
        tabs.append(watched)
        watched.page.goto(path.as_uri())
        return watched.page

    yield open_it
    for watched in tabs:
        assert watched.problems == []
        assert all(re.match("file:|data:", address) for address in watched.requests)
        watched.page.close()


def first_column(page):
    return page.eval_on_selector_all(
        "#overview tbody tr:not([hidden]) th a", "links => links.map((link) => link.textContent)"
    )


def test_the_browser_searches_and_says_what_it_hides(page, open_page):
    tab = open_page(page)
    said = tab.locator("#shown")
    assert said.inner_text() == "3 of 3 concepts shown"
    for text, concepts in [
        ("MITOSIS", ["0"]), ("two\nlines", []), ("nuclei", ["0"]), (NASTY[4], ["4"]),
        ("no such text", []), ("", ["0", "4", str(DEAD)]),
    ]:  # fmt: skip
        tab.get_by_label("Search").fill(text.replace("\n", "  "))
        assert first_column(tab) == concepts
        assert said.inner_text().startswith(f"{len(concepts)} of 3 concepts shown")
        assert ("hidden" in said.inner_text()) == (len(concepts) < 3)


def test_the_browser_sorts_by_keyboard(small_bundle, page, open_page):
    tab = open_page(page)
    frequency = small_bundle.concepts["frequency"]
    ascending = [str(concept) for concept in sorted(SHOWN, key=lambda c: frequency[c])]
    header = tab.locator("#overview th", has_text="frequency")
    header.get_by_role("button").focus()
    tab.keyboard.press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert first_column(tab) == ascending[::-1]
    tab.keyboard.press("Space")
    assert header.get_attribute("aria-sort") == "ascending"
    assert first_column(tab) == ascending
    # What is unknown comes last, in both orders.
    header = tab.locator("#overview th", has_text="rating")
    for _ in range(2):
        header.get_by_role("button").press("Enter")
        assert first_column(tab)[0] == "0"
    sorted_by = tab.eval_on_selector_all(
        "#overview th", "cells => cells.map((cell) => cell.ariaSort).filter((s) => s !== 'none')"
    )
    assert "ascending" in sorted_by and len([s for s in sorted_by if s]) == 1


def test_the_browser_opens_a_concept_and_shows_its_pictures(page, open_page):
    tab = open_page(page)
    tab.locator("#overview a", has_text="4").first.click()
    assert tab.url.endswith("#concept-4")
    assert tab.locator("#concept-4 h3").is_visible()
    sizes = tab.evaluate(
        """async () => Promise.all([...document.querySelectorAll(".store image")].map(
            async (image) => {
                const picture = new Image();
                picture.src = image.href.baseVal;
                await picture.decode();
                return picture.naturalWidth - Number(image.getAttribute("width"));
            }))"""
    )
    assert sizes and not any(sizes)
    heat = tab.locator("#concept-0 .heat").first
    heat.scroll_into_view_if_needed()
    below = tab.locator("#concept-0 .stack > :first-child").first.bounding_box()
    assert heat.bounding_box() == pytest.approx(below, abs=1) and below["width"] > 30
    tab.locator("#concept-0 .heat-switch").uncheck()
    assert not heat.is_visible()


def test_the_browser_opens_the_folder(folder, open_page):
    tab = open_page(folder)
    tab.locator("#overview a").first.click()
    tab.wait_for_url("**/concept-0.html")
    tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    widths = tab.eval_on_selector_all(
        "img", "all => Promise.all(all.map((i) => i.decode().then(() => i.naturalWidth)))"
    )
    assert widths and min(widths) > 0
    tab.get_by_role("link", name="Table of concepts").click()
    tab.wait_for_url("**/index.html")


def test_the_page_can_be_read_without_a_script(page, browser):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(page.as_uri())
    assert not tab.locator("#search").is_visible()
    assert tab.locator("#overview tbody tr").count() == len(SHOWN)
    assert tab.locator("#overview th button").count() == 0
    assert tab.locator("#concept-4 h3").is_visible()
    context.close()


def test_nothing_sticks_out_sideways(page, open_page):
    tab = open_page(page)
    tab.add_style_tag(content=".concept { content-visibility: visible !important }")
    for width in (500, 800, 1280):
        tab.set_viewport_size({"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
