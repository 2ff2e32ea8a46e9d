"""The explorer in headless Chromium at 8,192 concepts x 100,000 samples: first paint, switching.

The bundle is that of `explorer_scale`. First paint: from the request of the page until rows of the
list and the name of a concept are there, a new browser context each time. Switch: from the press of
the button "next" until name and map of the next concept are there and have been painted, by the
browser's own clock. Goals: under 2 s and under 300 ms.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.explorer_scale import FULL, QUICK
from benchmarks.machine import describe_machine
from benchmarks.processes import Worker

N_LOADS, N_SWITCHES = 5, 30
# Playwright's locators look into shadow roots; this does it for the browser's own clock.
SWITCH = """async () => {
  const all = (root, found) => { for (const one of root.querySelectorAll('*')) {
    found.push(one); if (one.shadowRoot) all(one.shadowRoot, found); } return found; };
  const elements = all(document, []);
  const title = () => all(document, []).filter(e => e.tagName === 'H1')
    .map(e => e.textContent).find(t => t.startsWith('Concept '));
  const button = elements.find(e => e.tagName === 'BUTTON' && e.textContent.includes('next'));
  const source = [...Bokeh.documents[0]._all_models.values()]
    .find(m => m.type === 'ColumnDataSource' && 'code' in m.data);
  const before = title(), points = source.data, started = performance.now();
  button.click();
  while (title() === before || source.data === points) await new Promise(r => setTimeout(r, 2));
  await new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)));
  return performance.now() - started;
}"""


def program():
    """Path of a browser of this machine, None for Playwright's own."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def measure(path) -> dict:
    """Milliseconds of first paints and of switches.

    Parameters
    ----------
    path : str or Path
        Folder of a bundle.
    """
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "skdict.cli", "explore", str(path), "--no-browser"]
    command += ["--notes", f"{path}.notes.sqlite"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        sync_playwright() as playwright,
    ):
        url = re.search(r"http://\S+", server.stdout.readline())[0]
        browser = playwright.chromium.launch(executable_path=program(), args=["--no-sandbox"])
        paints = []
        for _ in range(N_LOADS):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            started = time.perf_counter()
            page.goto(url)
            page.locator(".tabulator-row").first.wait_for()
            page.get_by_role("heading", name=re.compile("^Concept ")).first.wait_for()
            paints.append(1e3 * (time.perf_counter() - started))
        page.wait_for_timeout(1000)
        switches = [page.evaluate(SWITCH) for _ in range(N_SWITCHES)]
        browser.close()
        server.terminate()
    return {"paints": paints, "switches": switches}


def run(quick=False, path=None):
    """Build unless there is a bundle, measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = str(Path(folder) / "bundle")
            with Worker("benchmarks.explorer_scale:Builder", 1) as worker:
                worker.call("setup", *(QUICK if quick else FULL))
                worker.call("build", path)
        found = measure(path)
    paints, switches = found["paints"], found["switches"]
    print(f"first paint: the first {paints[0]:.0f} ms, later {np.median(paints[1:]):.0f} ms")
    print(f"switch: median {np.median(switches):.0f} ms, worst of {len(switches)} "
          f"{max(switches):.0f} ms, first {switches[0]:.0f} ms")  # fmt: skip
    return found


def main(arguments=None):
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explorer_browser")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds")
    parser.add_argument("--bundle", help="a bundle that is there, instead of a made one")
    options = parser.parse_args(arguments)
    print(describe_machine(), flush=True)
    run(options.quick, options.bundle)


if __name__ == "__main__":
    main()
