"""A race: agreement first, then interleaved runs, every contestant in its own process."""

import statistics
import time
from datetime import UTC, datetime
from importlib import import_module

from benchmarks.machine import machine, package_version
from benchmarks.processes import ContestantError, Worker

# A run lasts about this long (if there are rows enough): coders that let rows advance together need
# many, and a call has fixed costs that should not count. And a contestant gets this many runs
# unless they take longer than the budget: then fewer, but at least three.
RUN_SECONDS = 3.0
N_RUNS = 5
BUDGET_SECONDS = 60.0


def contestant_class(path):
    """Class behind ``"module:class"``; opponents' packages are not imported by this."""
    module, name = path.split(":")
    return getattr(import_module(module), name)


def section(n_threads, **content):
    """What every section of the results says about where it comes from."""
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"date": date, "machine": machine(), "threads": n_threads} | content


def race(paths, problem, n_threads, *, judge, fixed_rows=None, quick=False, opponents=None):
    """Let contestants run side by side.

    Parameters
    ----------
    paths : list of str
        Contestants, as ``"module:class"``.
    problem : Problem
        The shared arrays.
    n_threads : int
        Threads of each.
    judge : callable
        Called with the results of all contestants by label and their algorithms; returns for each
        ``{"quality": float, "agreement": str, "agrees": bool}``. Its method ``n_rows_for`` says on
        how many rows an algorithm is judged.
    fixed_rows : int or None, default=None
        Rows of a run; None means as many as take about a second.
    quick : bool, default=False
        Short runs.
    opponents : collection of str or None, default=None
        Packages to race against; None means all.

    Returns
    -------
    list of dict
        One entry per contestant; ``status`` is "ok", "missing", "failed" or "disagrees".
    """
    workers, entries = {}, {}
    try:
        for path in paths:
            entry = describe(contestant_class(path))
            entries[path] = entry
            if opponents is not None and entry["package"] not in (*opponents, "skdict", "numpy"):
                entry |= {"status": "missing", "detail": "left out"}
            elif entry["version"] is None:
                entry |= {"status": "missing", "detail": "not installed"}
            else:
                workers[path] = Worker(path, n_threads)
        set_up(workers, entries, problem)
        judge_results(workers, entries, judge, fixed_rows)
        rows = {
            path: fixed_rows or rows_per_run(worker, entries[path], problem, quick)
            for path, worker in workers.items()
            if entries[path]["status"] == "ok"
        }
        time_interleaved(workers, entries, rows, quick)
    finally:
        for worker in workers.values():
            worker.close()
    return list(entries.values())


def describe(contestant):
    """Entry of a contestant before anything ran."""
    return {
        "label": contestant.label,
        "package": contestant.package,
        "version": package_version(contestant.package),
        "algorithm": contestant.algorithm,
        "note": contestant.note,
        "first_rows": contestant.first_rows,
        "status": "ok",
    }


def attempt(entry, call, *arguments):
    """Call a contestant; note a failure in its entry and return None."""
    if entry["status"] != "ok":
        return None
    try:
        return call(*arguments)
    except ContestantError as error:
        entry |= {"status": "failed", "detail": str(error)}
        return None


def set_up(workers, entries, problem):
    """Prepare all contestants."""
    for path, worker in workers.items():
        attempt(entries[path], worker.call, "setup", problem)


def judge_results(workers, entries, judge, fixed_rows):
    """Compare results; a contestant that disagrees is shown and not timed."""
    results = {}
    for path, worker in workers.items():
        n_rows = judge.n_rows_for(entries[path]["algorithm"])
        answer = attempt(entries[path], worker.call, "judged", n_rows)
        if answer is not None and answer[0] is not None:
            results[path] = answer[0]
            if n_rows == fixed_rows:
                entries[path]["peak_bytes"] = answer[1]  # it was a whole run
    algorithms = {path: entries[path]["algorithm"] for path in results}
    for path, verdict in judge(results, algorithms).items():
        entries[path] |= {key: verdict[key] for key in ("quality", "agreement")}
        if not verdict["agrees"]:
            entries[path] |= {"status": "disagrees", "detail": verdict["agreement"]}


def rows_per_run(worker, entry, problem, quick):
    """Rows that take as long as a run shall; the first, untimed run compiles and warms caches."""
    target = 0.05 if quick else RUN_SECONDS
    n_rows = min(entry["first_rows"], problem.n_rows)
    attempt(entry, worker.call, "seconds", n_rows)
    while entry["status"] == "ok":
        # The better of two: what disturbs a run only makes it longer.
        tries = [attempt(entry, worker.call, "seconds", n_rows) for _ in range(2)]
        if entry["status"] != "ok":
            break
        seconds = max(min(tries), 1e-6)
        if n_rows == problem.n_rows or seconds >= target / 4:
            wanted = round(n_rows * target / seconds)
            return min(problem.n_rows, max(wanted, entry["first_rows"]))
        n_rows = min(problem.n_rows, n_rows * int(max(2, min(8, target / seconds))))
    return 0


def time_interleaved(workers, entries, rows, quick):
    """Run all in turn, several times over."""
    runs = {path: [] for path in rows}
    for _ in range(3 if quick else N_RUNS):
        for path, n_rows in rows.items():
            if len(runs[path]) >= 3 and sum(runs[path]) > BUDGET_SECONDS:
                continue
            seconds = attempt(entries[path], workers[path].call, "seconds", n_rows)
            if seconds is not None:
                runs[path].append(seconds)
    for path, n_rows in rows.items():
        entry = entries[path]
        if entry["status"] != "ok":
            continue
        median = statistics.median(runs[path])
        entry |= {
            "n_rows": n_rows,
            "runs": runs[path],
            "seconds": median,
            "rows_per_second": n_rows / median,
        }
        if "peak_bytes" not in entry:
            entry["peak_bytes"] = attempt(entry, workers[path].call, "peak_memory", n_rows)


def print_section(name, results):
    """Print one table: what was measured, against the first entry."""
    entries = results["entries"]
    problem = results["problem"]
    sizes = ", ".join(f"{key.removeprefix('n_')} {value}" for key, value in problem.items())
    print(f"\n== {name}: {sizes}; {results['threads']} threads", flush=True)
    header = f"{'':44} {'version':>9} {'rows':>6} {'seconds':>9} {'rows/s':>11} {'of first':>9}"
    print(f"{header} {'MB':>7} {'quality':>8}  agreement")
    first = next((e["rows_per_second"] for e in entries if "rows_per_second" in e), None)
    for entry in entries:
        line = f"{entry['label']:44} {entry['version'] or '':>9}"
        if entry["status"] != "ok":
            print(f"{line} {entry['status']}: {entry['detail']}")
            continue
        rate, peak, quality = entry["rows_per_second"], entry["peak_bytes"], entry.get("quality")
        memory = "" if peak is None else f"{peak / 1e6:.0f}"
        shown = "" if quality is None else f"{quality:.4f}"
        print(
            f"{line} {entry['n_rows']:6} {entry['seconds']:9.3f} {rate:11,.1f} "
            f"{rate / first:9.2g} {memory:>7} {shown:>8}  {entry.get('agreement', '')}"
        )


def timed(function):
    """Seconds and value of one call."""
    start = time.perf_counter()
    value = function()
    return time.perf_counter() - start, value
