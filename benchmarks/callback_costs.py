"""What scikit-learn's ProgressBar, drawn into a terminal or a file, adds to a fit of a minute.

Two ways. The same fit with and without the bar, each in a process of its own, taking turns of half
a second: seconds and processor seconds. They scatter by more than a bar costs where others use the
machine. So the bar is also measured alone: a fit whose steps sleep, with and without the bar; the
difference of processor seconds is what the bar takes from a fit of that length.
"""

import argparse
import contextlib
import io
import os
import pty
import statistics
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.machine import describe_machine, n_cores
from benchmarks.processes import Worker
from benchmarks.streaming_scale import OUTPUT, by_turns, write_section

FULL = {"shape": (200_000, 256), "atoms": 1024, "nonzero": 16, "batch": 8192, "steps": 400,
        "asleep": 60.0}  # fmt: skip
QUICK = {"shape": (2000, 16), "atoms": 32, "nonzero": 3, "batch": 256, "steps": 100, "asleep": 1.0}
WAYS = ("none", "file", "terminal")


class Fits:
    """A contestant of `benchmarks.processes`: one fit, with a bar or without."""

    def __init__(self, n_threads):
        self.n_threads = n_threads

    def setup(self, sizes):
        """Draw rows and compile."""
        from skdict import ICFLDictionary

        self.sizes = sizes
        self.X = np.random.default_rng(0).standard_normal(sizes["shape"], np.float32)
        self.settings = {
            "n_components": sizes["atoms"], "n_nonzero_coefs": sizes["nonzero"],
            "batch_size": sizes["batch"], "random_state": 0,
        }  # fmt: skip
        ICFLDictionary(**self.settings, max_steps=2).fit(self.X)
        with shown("file"):
            self._model(max_steps=2, bar=True).fit(self.X)  # imports rich

    def _model(self, *, max_steps, bar):
        from sklearn.callback import ProgressBar

        from skdict import ICFLDictionary

        model = ICFLDictionary(**self.settings, max_steps=max_steps)
        return model.set_callbacks(ProgressBar()) if bar else model

    def pid(self):
        """Number of the process."""
        return os.getpid()

    def fit(self, way):
        """Wall and processor seconds of a fit."""
        return self._measured(self._model(max_steps=self.sizes["steps"], bar=way != "none"), way)

    def asleep(self, way):
        """The same of a fit of 100 blocks that sleeps."""
        model = self._model(max_steps=100, bar=way != "none")
        seconds, step = self.sizes["asleep"] / 100, model._learn_batch

        def sleeping(batch, state, rate):
            if state.n_steps == 0:
                step(batch, state, rate)
            else:
                time.sleep(seconds)
                state.n_steps += 1

        model._learn_batch = sleeping
        return self._measured(model, way)

    def _measured(self, model, way):
        with shown(way):
            started, processor = time.perf_counter(), time.process_time()
            model.fit(self.X)
            return {
                "seconds": time.perf_counter() - started,
                "processor_seconds": time.process_time() - processor,
            }


@contextlib.contextmanager
def shown(way):
    """Standard output as a file or as a terminal of 100 columns that somebody reads."""
    if way == "none":
        yield
    elif way == "file":
        with contextlib.redirect_stdout(io.StringIO()):
            _look_again()
            yield
    else:
        ours, theirs = pty.openpty()
        reader = threading.Thread(target=_drain, args=(ours,), daemon=True)
        reader.start()
        before, os.environ["TERM"] = os.environ.get("TERM", ""), "xterm-256color"
        os.environ["COLUMNS"] = "100"
        with open(theirs, "w", buffering=1) as terminal:
            with contextlib.redirect_stdout(terminal):
                _look_again()
                yield
        os.environ["TERM"] = before
        reader.join(5)
        os.close(ours)


def _look_again():
    """Have rich find out anew whether it writes to a terminal."""
    import rich

    rich.reconfigure()


def _drain(descriptor):
    try:
        while os.read(descriptor, 2**16):
            pass
    except OSError:
        pass  # the other side was closed


def run(quick=False, repeats=3):
    """Measure by turns and print; all that was measured and what follows."""
    sizes, times = QUICK if quick else FULL, {}
    with ExitStack() as stack:
        workers = {
            way: stack.enter_context(Worker("benchmarks.callback_costs:Fits", n_cores()))
            for way in WAYS
        }
        for worker in workers.values():
            worker.call("setup", sizes)
        for method, n in (("asleep", 1), ("fit", repeats)):
            for _ in range(n):
                arguments = {way: (way,) for way in WAYS}
                # A sleeping fit takes its time whether it is stopped or not.
                found = (
                    by_turns(workers, "fit", arguments, turn=0.5)
                    if method == "fit"
                    else {way: workers[way].call("asleep", way) for way in WAYS}
                )
                for way, measured in found.items():
                    print(method, way, measured, flush=True)
                    times.setdefault(f"{method} {way}", []).append(measured)
    summary = summarise(times)
    print(summary, flush=True)
    return {"sizes": sizes, "times": times, "summary": summary}


def summarise(times):
    """Medians, and the share of a fit that a bar takes."""
    summary = {}
    for way in WAYS[1:]:
        alone, none = times[f"asleep {way}"][0], times["asleep none"][0]
        summary[way] = {
            "seconds_ratio": _median(times, way, "seconds"),
            "processor_ratio": _median(times, way, "processor_seconds"),
            "processor_seconds_a_minute": 60 / alone["seconds"]
            * (alone["processor_seconds"] - none["processor_seconds"]),
        }  # fmt: skip
    return summary


def _median(times, way, name):
    """Ratio of the medians of fits with and without a bar."""
    own, none = (statistics.median(f[name] for f in times[f"fit {w}"]) for w in (way, "none"))
    return own / none


def main(arguments=None):
    """Read the command line, run, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.callback_costs")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, seconds")
    parser.add_argument("--repeats", type=int, default=3, help="fits of each way")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where results are written")
    options = parser.parse_args(arguments)
    print(describe_machine(), flush=True)
    found = run(options.quick, options.repeats)
    write_section(options.output, "callbacks_quick" if options.quick else "callbacks", found)


if __name__ == "__main__":
    main()
