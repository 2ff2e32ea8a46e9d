"""A real browser for tests: headless Chromium, driven by Playwright."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def _without(what: str):
    """Fail where a browser is required, skip elsewhere."""
    message = f"{what}; to run this test: apt install chromium; pip install playwright"
    if os.environ.get("SKDICT_REQUIRE_BROWSER"):
        pytest.fail(f"{message} (SKDICT_REQUIRE_BROWSER is set)", pytrace=False)
    pytest.skip(message)


@contextmanager
def open_browser():
    """Give a Playwright browser, closed at the end.

    Without Playwright or a browser the test is skipped, or fails where the environment variable
    SKDICT_REQUIRE_BROWSER is set.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _without("Playwright is not installed")
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path  # of `playwright install chromium`
        program = next(filter(None, map(shutil.which, _NAMES)), None)
        if program is None and not Path(own).is_file():
            _without(f"no browser was found, of {', '.join(_NAMES)}")
        browser = playwright.chromium.launch(executable_path=program or own, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page that keeps what went wrong in it and what it asked for.

    Attributes
    ----------
    page : playwright Page
        The page.
    problems : list of str
        Errors and warnings of the console, uncaught errors, failed requests, dialogs.
    requests : list of str
        Addresses that were asked for.
    """

    def __init__(self, page):
        self.page, self.problems, self.requests = page, [], []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("requestfailed", lambda request: self.problems.append(f"failed: {request.url}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", self._dialog)

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _dialog(self, dialog):
        self.problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()
