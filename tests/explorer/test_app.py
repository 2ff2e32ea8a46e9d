"""The app in a real browser: from the table of concepts to saved notes and study results."""

import csv
import json
import re
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest

from skdict.explorer import NotesStore, make_blinded_study, open_bundle, study_results
from tests.explorer.browser import Watched, open_browser
from tests.explorer.conftest import HOSTILE, N_CONCEPTS

pytest.importorskip("panel")
OWN = ("http://127.0.0.1", "data:", "blob:http://127.0.0.1")
FOCUSED = """() => {
  let one = document.activeElement;
  while (one && one.shadowRoot && one.shadowRoot.activeElement) one = one.shadowRoot.activeElement;
  return one.textContent.trim();
}"""
TITLE = f"A small bundle {HOSTILE[0]}"


@contextmanager
def served(*arguments):
    """Run ``skdict explore`` in a process of its own; gives its link."""
    command = [sys.executable, "-m", "skdict.cli", "explore", *map(str, arguments), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, line
            yield found[0]
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def browser():
    with open_browser() as found:
        yield found


@pytest.fixture(scope="module")
def app(small_bundle_path, tmp_path_factory):
    """Link of the app with the small bundle, and the file of its notes."""
    notes = tmp_path_factory.mktemp("app") / "notes.sqlite"
    with served(small_bundle_path, "--notes", notes) as url:
        yield url, notes


@contextmanager
def opened(browser, url, **options):
    """Open a page; nothing may go wrong in it, and nothing come from elsewhere."""
    options = {"viewport": {"width": 1280, "height": 900}} | options
    context = browser.new_context(**options)
    watched = Watched(context.new_page())
    try:
        watched.page.goto(url)
        yield watched.page
        assert watched.problems == []
        strangers = [r for r in watched.requests if not r.startswith(OWN)]
        assert strangers == []
    finally:
        context.close()


def title_of(page, text):
    """Wait until the open concept has this title."""
    page.get_by_role("heading", name=text, exact=True).first.wait_for()


def cells(column):
    """JavaScript: texts of a column of the list. Components are in shadow roots, one in another."""
    return f"""(() => {{
      const all = root => [...root.querySelectorAll('*')].flatMap(
        e => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
      return all(document).filter(e => e.getAttribute('tabulator-field') === '{column}'
        && e.classList.contains('tabulator-cell')).map(e => e.textContent.trim());
    }})()"""


def listed(page):
    """Concepts in the rows of the list that are seen."""
    return [int(text) for text in page.evaluate(cells("concept"))]


def test_search_sort_and_open(app, browser):
    with opened(browser, app[0]) as page:
        page.locator(".tabulator-row").first.wait_for()
        page.get_by_text(TITLE).wait_for()  # hostile texts are text
        page.get_by_text(f"{N_CONCEPTS} of {N_CONCEPTS} concepts").wait_for()
        strongest = listed(page)[0]
        title_of(page, re.compile(f"^Concept {strongest}\\b"))
        pictures = page.locator(".picture img")
        pictures.first.wait_for()
        widths = pictures.evaluate_all("all => all.map(one => one.naturalWidth)")
        assert len(widths) >= 6 and min(widths) > 0
        assert page.locator(".heat").count() > 0
        page.get_by_label("Find label, gene, pathway, name or note").fill("T cells")
        page.get_by_text(f"1 of {N_CONCEPTS} concepts").wait_for()
        page.wait_for_function(f"{cells('concept')}.length === 1")
        page.wait_for_timeout(400)  # a click sooner than this was meant for the rows before
        page.get_by_text("T cells", exact=True).first.click()
        title_of(page, "Concept 0: T cells")
        page.wait_for_url(re.compile("concept=0$"))  # a link to send
        page.get_by_label("Find label, gene, pathway, name or note").fill("")
        page.get_by_text(f"{N_CONCEPTS} of {N_CONCEPTS} concepts").wait_for()
        page.get_by_label("Rank by").select_option("concept number")
        page.get_by_role("button", name="next ▶").press("Enter")  # by keyboard
        title_of(page, f"Concept 1: {HOSTILE[0]}")


def test_a_note_is_there_after_a_reload(app, browser):
    url, path = app
    with opened(browser, f"{url}?concept=2") as page:
        page.get_by_role("button", name="Notes", exact=True).click()
        page.get_by_role("button", name="Save note").click()
        page.get_by_text("Not saved: nothing is written").wait_for()
        page.get_by_label("Name of the concept").fill("x")
        page.get_by_role("button", name="Save note").click()
        page.get_by_text("Not saved: expert").wait_for()  # what is missing is said
        page.get_by_label("Your name").fill("anna")
        page.get_by_label("Name of the concept").fill(HOSTILE[1])
        page.get_by_label("Note", exact=True).fill("seen in\n" + HOSTILE[0])
        page.get_by_label("Can it be interpreted?").select_option("5 clear")
        page.get_by_label("Tags, separated by commas").fill("nuclei, odd")
        page.get_by_role("button", name="Save note").click()
        page.get_by_text("Saved on concept 2.").wait_for()
        page.reload()
        title_of(page, f"Concept 2: {HOSTILE[1]}")
        page.get_by_role("button", name="Notes", exact=True).click()
        page.get_by_role("cell", name="nuclei, odd").wait_for()
        with page.expect_download() as download:
            page.get_by_text("Export CSV").click()
        with open(download.value.path(), encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows[0]["name"] == HOSTILE[1]
    with NotesStore(path) as notes:
        (note,) = notes.of(2)
    assert (note.expert, note.rating, note.confidence) == ("anna", 5, None)
    assert note.tags == ("nuclei", "odd")


def test_compare_and_sample(app, browser):
    with opened(browser, f"{app[0]}?concept=0", color_scheme="dark") as page:
        title_of(page, re.compile("^Concept 0"))
        page.get_by_role("button", name="Compare", exact=True).click()
        page.get_by_text("Both are active in").wait_for()
        title_of(page, re.compile("^Concept 1"))
        page.get_by_role("button", name="Sample", exact=True).click()
        page.get_by_role("button", name="strongest of the open concept").click()
        page.get_by_text("the strongest first").last.wait_for()


def test_columns_sort_as_numbers_and_next_follows(app, browser):
    with opened(browser, app[0]) as page:
        page.locator(".tabulator-row").first.wait_for()
        for first in ("0.00%", "100.00%"):  # ascending, then descending
            page.locator(".tabulator-col").filter(has_text="active").first.click()
            page.wait_for_function(f"{cells('active')}[0] === '{first}'")
        shares = page.evaluate(cells("active"))
        values = [float(text.rstrip("%")) for text in shares]
        assert values == sorted(values, reverse=True)
        assert shares != sorted(shares, reverse=True)  # as texts they stand otherwise
        first, second = listed(page)[:2]
        page.locator(".tabulator-row").first.click()
        title_of(page, re.compile(f"^Concept {first}\\b"))
        page.get_by_role("button", name="next ▶").click()
        title_of(page, re.compile(f"^Concept {second}\\b"))


def test_all_is_reached_by_keyboard(app, browser):
    with opened(browser, app[0]) as page:
        page.locator(".tabulator-row").first.wait_for()
        page.get_by_label("Find label, gene, pathway, name or note").focus()
        reached = []
        while "Notes" not in reached and len(reached) < 60:
            page.keyboard.press("Tab")
            reached.append(page.evaluate(FOCUSED))
        assert {"next ▶", "open concept", "Concept", "Compare", "Sample", "Notes"} <= set(reached)
        page.keyboard.press("Enter")
        page.get_by_label("Your name").wait_for()


def test_a_laptop_reads_it_without_scrolling_sideways(app, browser):
    for width in (1280, 1024, 800):
        with opened(browser, app[0], viewport={"width": width, "height": 800}) as page:
            page.locator(".picture img").first.wait_for()
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_token_is_needed_elsewhere(small_bundle_path, tmp_path, browser):
    options = ("--notes", tmp_path / "n.sqlite", "--address", "0.0.0.0")
    with served(small_bundle_path, *options) as url:
        bare, token = url.split("?token=")
        assert len(token) >= 16
        for wrong in (bare, f"{bare}?token=", f"{bare}?token={token[:-1]}"):
            with urllib.request.urlopen(wrong) as answer:
                assert "small bundle" not in answer.read().decode()
            with opened(browser, wrong) as page:
                page.get_by_text("The link has no valid token.").wait_for()
                assert page.locator(".tabulator").count() == 0
        with opened(browser, url) as page:
            page.locator(".tabulator-row").first.wait_for()


def test_blinded_study_from_first_item_to_results(small_bundle_path, tmp_path, browser):
    bundle = open_bundle(small_bundle_path)
    rng = np.random.default_rng(0)
    items = {kind: rng.random((bundle.n_samples, 4)) for kind in ("concept", "random direction")}
    paths = {name: tmp_path / f"{name}.json" for name in ("study", "key")}
    study = make_blinded_study(
        paths["study"], items, key_path=paths["key"], n_per_kind=2, n_repeats=1, n_examples=4,
        bundle=bundle, random_state=0,
    )  # fmt: skip
    kinds = {item["code"]: item["kind"] for item in json.loads(paths["key"].read_text())["items"]}
    answers = tmp_path / "answers.sqlite"
    options = ("--expert-study", paths["study"], "--answers", answers, "--key", paths["key"])
    with served(small_bundle_path, *options) as url, opened(browser, url) as page:
        page.get_by_label("Your name").fill("anna")
        page.get_by_role("button", name="Begin or go on").click()
        for place, item in enumerate(study.items):
            page.get_by_text(f"{place} of 5 answered by anna").wait_for()
            page.locator(".picture img").first.wait_for()
            assert not any(kind in page.content() for kind in items)
            if place == 2:  # a session that breaks off goes on where it was
                page.reload()
                page.get_by_label("Your name").fill("anna")
                page.get_by_role("button", name="Begin or go on").click()
                page.get_by_text("2 of 5 answered by anna").wait_for()
            said = "Yes" if kinds[item.code] == "concept" else "No"
            page.wait_for_timeout(400)  # sooner it would be a double click
            page.get_by_role("button", name=said, exact=True).click()
        page.get_by_text("All items are answered").wait_for()
        page.get_by_role("button", name="Open the key and count").click()
        page.get_by_role("cell", name="2 of 2").wait_for()
        page.get_by_role("cell", name="0 of 2").wait_for()
    found = study_results(study, paths["key"], answers, random_state=0)
    assert found.shares.set_index("kind")["share"].to_dict() == {
        "concept": 1.0, "random direction": 0.0,
    }  # fmt: skip
