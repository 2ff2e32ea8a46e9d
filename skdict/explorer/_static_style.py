"""Style and script of the static pages, beside those of :mod:`skdict.report`."""

from __future__ import annotations

import base64
import hashlib

from skdict.display._style import COLORS

# Blue below zero, vermilion above: apart for every eye, as in the other pictures of skdict.
NEGATIVE, POSITIVE = COLORS[0], COLORS[1]

STYLE = f"""
:root {{ --plus: {POSITIVE}; --minus: {NEGATIVE}; }}
@media (prefers-color-scheme: dark) {{ :root {{ --minus: #4aa3dc; --plus: #e8773a; }} }}
[hidden] {{ display: none !important; }}
.tools {{ display: flex; flex-wrap: wrap; gap: 0.4rem 1rem; align-items: center;
  margin: 0.8rem 0; }}
.tools p {{ margin: 0; }}
input[type=search] {{ font: inherit; padding: 0.35rem 0.6rem; width: min(24rem, 100%);
  color: var(--ink); background: var(--paper); border: 1px solid var(--soft);
  border-radius: 6px; }}
:focus-visible {{ outline: 2px solid var(--accent); outline-offset: 2px; }}
#overview .scroll {{ max-height: 85vh; overflow: auto; }}
#overview thead th {{ position: sticky; top: 0; z-index: 1; }}
#overview thead th:first-child {{ left: 0; z-index: 2; }}
#overview td {{ max-width: 15rem; overflow-wrap: anywhere; }}
#overview td:not(.number) {{ min-width: 10rem; }}
#overview td, #overview tbody th {{ line-height: 1.4; }}
#overview tbody th {{ max-width: 14rem; white-space: normal; overflow-wrap: anywhere; }}
#overview tbody small {{ white-space: normal; color: var(--soft); }}
thead th button {{ font: inherit; color: inherit; background: none; border: 0; padding: 0;
  margin: 0; text-align: inherit; cursor: pointer; }}
.arrow::after {{ content: "\\00a0\\2195"; color: var(--soft); }}
[aria-sort=ascending] .arrow::after {{ content: "\\00a0\\2191"; color: var(--accent); }}
[aria-sort=descending] .arrow::after {{ content: "\\00a0\\2193"; color: var(--accent); }}
.store {{ position: absolute; }}
.concept {{ border-top: 1px solid var(--line); margin-top: 2.4rem; padding-top: 1.2rem;
  scroll-margin-top: 0.5rem; content-visibility: auto;
  contain-intrinsic-size: auto 90rem; }}
.concept > h3 {{ font-size: 1.25rem; overflow-wrap: anywhere; }}
h4 {{ margin: 1.4rem 0 0.3rem; font-size: 1rem; font-weight: 600; }}
h5, .concept summary {{ margin: 0.9rem 0 0.3rem; font-size: 0.92rem; font-weight: 600; }}
.note-text {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
blockquote {{ margin: 0.5rem 0; padding: 0.3rem 0.9rem; border-left: 3px solid var(--accent);
  background: var(--panel); max-width: 82ch; border-radius: 0 4px 4px 0; }}
blockquote p {{ margin: 0.2rem 0; }}
.tiles {{ display: grid; gap: 0.6rem; margin: 0.4rem 0 0.8rem;
  grid-template-columns: repeat(auto-fill, minmax(min(7.5rem, 44%), 1fr)); }}
.tiles figure {{ margin: 0; max-width: 12rem; }}
.tiles figcaption {{ font-size: 0.78rem; line-height: 1.3; overflow-wrap: anywhere;
  margin-top: 0.2rem; }}
.bands {{ display: grid; gap: 0 1.6rem;
  grid-template-columns: repeat(auto-fit, minmax(min(32rem, 100%), 1fr)); }}
.bands > div {{ min-width: 0; }}
.stack {{ display: block; position: relative; border-radius: 3px; overflow: hidden; }}
.stack > * {{ display: block; width: 100%; height: auto; }}
.stack > .over {{ position: absolute; inset: 0; height: 100%; }}
.tiles .stack {{ background: #000; }}
.missing {{ display: grid; place-items: center; aspect-ratio: 1; font-size: 0.78rem;
  color: var(--soft); background: var(--panel); border: 1px dashed var(--line);
  border-radius: 3px; }}
/* Grey and dimmed below a heatmap, so that its colour stands out. */
.stack:has(.heat) > :first-child {{ filter: grayscale(1) brightness(0.85); }}
.examples:has(.heat-switch:not(:checked)) .heat {{ display: none; }}
.examples:has(.heat-switch:not(:checked)) .stack > :first-child {{ filter: none; }}
.map {{ max-width: 30rem; }}
.map .stack {{ border: 1px solid var(--line); border-radius: 6px; }}
.scale {{ display: inline-flex; align-items: center; gap: 0.4rem;
  font-variant-numeric: tabular-nums; }}
.scale i {{ width: 5rem; height: 0.7rem; border: 1px solid var(--line);
  background: linear-gradient(90deg, transparent, {POSITIVE}); print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }}
.histogram svg {{ max-width: 30rem; }}
.histogram rect {{ fill: var(--accent); }}
.histogram text {{ font-size: 12px; fill: var(--soft); }}
.histogram line {{ stroke: var(--soft); stroke-width: 1; }}
.with-bar {{ display: flex; gap: 0.5rem; align-items: center; justify-content: flex-end; }}
.bar {{ width: 5.5rem; height: 0.7rem; flex: none; }}
.bar .plus {{ fill: var(--plus); }}
.bar .minus {{ fill: var(--minus); }}
.bar line {{ stroke: var(--soft); stroke-width: 1; vector-effect: non-scaling-stroke; }}
.pair {{ display: flex; flex-wrap: wrap; gap: 0 1.6rem; align-items: flex-start; }}
.pair > * {{ min-width: 0; max-width: 100%; }}
.pair .scroll, .genes .scroll {{ margin: 0.5rem 0; }}
.concept .scroll tbody th, .pair tbody th {{ white-space: normal; font-weight: 400;
  overflow-wrap: anywhere; min-width: 7rem; max-width: 20rem; }}
.samples td {{ max-width: 18rem; overflow-wrap: anywhere; }}
.sets td {{ max-width: 24rem; overflow-wrap: anywhere; }}
.sets :is(td, th):nth-child(2) {{ white-space: nowrap; }}
.number {{ white-space: nowrap; }}
@media print {{ .tools, .back {{ display: none; }} #overview .scroll {{ max-height: none; }} }}
"""

# The table can be read without it; with it, it can be sorted and searched.
SCRIPT = """
(() => {
  const table = document.querySelector("#overview table"), body = table.tBodies[0];
  const rows = [...body.rows], head = [...table.tHead.rows[0].cells];
  const box = document.getElementById("search"), said = document.getElementById("shown");
  const key = (row, i) => {
    const cell = row.cells[i], data = cell.querySelector("data");
    return data ? data.value : cell.textContent;
  };
  head.forEach((cell, i) => {
    const keys = new Map(rows.map((row) => [row, key(row, i)]));
    const numeric = [...keys.values()].every((k) => k === "" || Number.isFinite(Number(k)));
    const words = new Intl.Collator(undefined, {numeric: true});
    const compare = numeric ? (a, b) => a - b : words.compare;
    const first = numeric && i > 0 ? "descending" : "ascending";
    const button = document.createElement("button");
    button.type = "button";
    const arrow = document.createElement("span");
    arrow.className = "arrow";
    button.append(...cell.childNodes);
    button.insertBefore(arrow, button.querySelector("small"));
    cell.append(button);
    cell.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const now = cell.getAttribute("aria-sort");
      const other = first === "ascending" ? "descending" : "ascending";
      const order = now === first ? other : first, sign = order === "ascending" ? 1 : -1;
      head.forEach((c) => c.setAttribute("aria-sort", c === cell ? order : "none"));
      body.append(...[...rows].sort((a, b) => {
        const x = keys.get(a), y = keys.get(b);
        return x === "" || y === "" ? (x === "") - (y === "") : sign * compare(x, y);
      }));
    });
  });
  const search = () => {
    const text = box.value.trim().toLowerCase();
    let n = 0;
    for (const row of rows) {
      const found = row.querySelector(".find").textContent.toLowerCase().includes(text);
      row.hidden = !found;
      n += found;
    }
    said.textContent = `${n} of ${rows.length} concepts shown` +
      (n < rows.length ? `, ${rows.length - n} without this text hidden` : "");
  };
  box.addEventListener("input", search);
  box.parentElement.hidden = false;
  search();
})();
"""


def policy(pictures: str) -> str:
    """Head element that lets a page load nothing but pictures, and run no script but ours.

    Parameters
    ----------
    pictures : str
        Where pictures may come from, such as ``data:``.

    Returns
    -------
    str
        A meta element.
    """
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii")
    rules = (
        f"default-src 'none'; img-src {pictures}; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return f'<meta http-equiv="Content-Security-Policy" content="{rules}">'
