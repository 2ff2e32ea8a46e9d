"""Faults of long fits, each tried for real and counted: kills, full disks, damaged files, signals.

``python -m benchmarks.faults --output FILE`` tries all of them (Linux; root for the full disks),
``--only kills`` the named ones, ``--quick`` each of them a few times. Takes minutes.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks import fault_trials
from benchmarks.faulted_fits import (
    KINDS,
    Fit,
    attributes,
    differing,
    resume,
    seconds_of,
    start_forked,
    start_fresh,
    stop_once,
)
from benchmarks.machine import machine

# A fit whose checkpoints, of 13 to 76 MB, take about as long as its steps.
LARGE = {"n_rows": 6000, "n_features": 256, "n_atoms": 4096, "max_steps": 12}


def kills(options, start, **size):
    """Fits killed once each at a random moment, resumed, and compared bit by bit."""
    rng = np.random.default_rng(options.seed)
    counts, shares, wrong = Counter(), [], []
    kinds = [(kind, is_streamed) for kind in KINDS for is_streamed in (False, True)]
    n_kills = options.kills if start is start_forked else options.fresh_kills
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        whole = {kind: _whole(folder, *kind, start, size) for kind in kinds[:n_kills]}
        while counts["killed"] < n_kills:
            kind = kinds[counts["killed"] % len(kinds)]
            with tempfile.TemporaryDirectory(dir=folder) as own:
                fit = Fit(own, *kind, **size)
                seconds, expected = whole[kind]
                try:
                    n_saves = rng.integers(fit.max_steps)
                    delay = rng.uniform(0, seconds / fit.max_steps)
                    killed = stop_once(fit, n_saves, delay, start=start)
                    if killed is None:
                        counts["finished before the kill, drawn again"] += 1
                        continue
                    found, loaded_step, n_saves = resume(fit, start=start)
                except (ValueError, RuntimeError) as error:
                    killed, found, loaded_step, n_saves = {}, None, 0, 0
                    wrong.append(f"{kind}: {error}")
            counts["killed"] += 1
            counts["within writing a checkpoint"] += killed.get("in_save", 0)
            counts["with a file half written"] += killed.get("half_written", 0)
            counts["before the first checkpoint"] += killed.get("last_step") == 0
            if found is not None:
                names = differing(found, expected)
                counts["bitwise equal"] += not names
                resumed = loaded_step == killed["last_step"] == fit.max_steps - n_saves
                counts["resumed at the last complete checkpoint"] += resumed
                shares.append(loaded_step / fit.max_steps)
                if names or not resumed:
                    wrong.append(f"{kind}: {names}, {killed}, {loaded_step}, {n_saves}")
    return {
        "tries": counts["killed"], "as_expected": counts["bitwise equal"], "counts": dict(counts),
        "quartiles_of_progress_at_resume": np.quantile(shares, [0.25, 0.5, 0.75]).round(3).tolist(),
        "wrong": wrong, "size": size,
    }  # fmt: skip


def _whole(folder, kind, is_streamed, start, size):
    """Seconds with checkpoints and attributes without, of a fit that nothing disturbs."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        fit = Fit(own, kind, is_streamed, **size)
        expected = attributes(fit.run(checkpoint=None, resume=False))
        seconds, found = seconds_of(fit, start=start)
    assert differing(found, expected) == [], "a fit with checkpoints differs from one without"
    return seconds, expected


FAULTS = {
    "kills": ("SIGKILL, forked fits", lambda o: kills(o, start_forked)),
    "large kills": (
        "SIGKILL, forked fits with checkpoints of 13 to 76 MB",
        lambda o: kills(argparse.Namespace(**(vars(o) | {"kills": o.large_kills})),
                        start_forked, **LARGE),
    ),
    "fresh kills": ("SIGKILL, fresh processes", lambda o: kills(o, start_fresh)),
}  # fmt: skip


def several(trial, options):
    """Run a trial so many times: how often it went as expected, and what was seen."""
    seen, wrong = Counter(), []
    n_tries = options.tries
    for number in range(n_tries):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            try:
                seen[trial(Path(folder), number)] += 1
            except fault_trials.NotPermitted as error:
                return {"tries": 0, "as_expected": 0, "not tried": str(error)}
            except Exception as error:
                wrong.append(f"{type(error).__name__}: {error}")
    return {
        "tries": n_tries, "as_expected": n_tries - len(wrong), "seen": dict(seen), "wrong": wrong,
    }  # fmt: skip


FAULTS |= {
    name: (name, lambda options, trial=trial: several(trial, options))
    for name, trial in fault_trials.TRIALS.items()
}


def parse_arguments(arguments=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--only", nargs="*", metavar="name", help=f"some of: {', '.join(FAULTS)}")
    parser.add_argument("--kills", type=int, default=200, help="kills of forked fits")
    parser.add_argument("--large-kills", type=int, default=100, help="of large ones")
    parser.add_argument("--fresh-kills", type=int, default=30, help="of fresh processes")
    parser.add_argument("--tries", type=int, default=20, help="of each other fault")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--folder", help="where the fits are (default: that for temporary files)")
    parser.add_argument("--quick", action="store_true", help="a few of each")
    parser.add_argument("--output", type=Path, help="results; those there already are kept")
    options = parser.parse_args(arguments)
    if options.quick:
        options.kills = options.large_kills = 6
        options.fresh_kills = options.tries = 1
    unknown = sorted(set(options.only or ()) - set(FAULTS))
    if unknown:
        parser.error(f"unknown fault {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    return options


def main(arguments=None):
    """Try the faults; 1 if one did not go as expected."""
    options = parse_arguments(arguments)
    results = {}
    if options.output and options.output.exists():
        results = json.loads(options.output.read_text())
    results["machine"] = machine()
    failed = False
    for name in options.only or FAULTS:
        title, try_it = FAULTS[name]
        begin = time.monotonic()
        found = try_it(options)
        found |= {"fault": title, "seconds": round(time.monotonic() - begin, 1)}
        results.setdefault("faults", {})[name] = found
        failed |= found["as_expected"] < found["tries"]
        print(f"{title}: {found['as_expected']} of {found['tries']} as expected", flush=True)
        for key in ("counts", "seen", "not tried", "wrong"):
            if found.get(key):
                print(f"    {key}: {found[key]}", flush=True)
        if options.output:
            options.output.write_text(json.dumps(results, indent=1) + "\n")
    return int(failed)


def run():
    """Try all faults; called by ``python -m benchmarks faults``."""
    main([])


if __name__ == "__main__":
    sys.exit(main())
