"""Lines of the benchmark on a GPU: judged first, timed only where they agree."""

import statistics
from dataclasses import dataclass

from benchmarks.gpu_device import mode_of_torch, torch_device
from benchmarks.machine import package_version
from benchmarks.problems import Problem


@dataclass(frozen=True)
class Bench:
    """Where and at which sizes is measured.

    Attributes
    ----------
    device : str
        Device, in the spelling of skdict.
    quick : bool
        Few and short runs.
    folder : str
        Where the opponents' arrays are written.
    n_threads : int
        Threads of torch on the host.
    opponents : collection of str or None
        Packages to measure beside skdict; None means all.
    model, omp : Problem
        Sizes of ICFL and of the autoencoder; of orthogonal matching pursuit.
    """

    device: str
    quick: bool
    folder: str
    n_threads: int
    opponents: object
    model: Problem
    omp: Problem

    @property
    def n_runs(self):
        """Runs that a median is taken of."""
        return 3 if self.quick else 5

    @property
    def n_compared(self):
        """Rows of which codes and first steps are compared, few: references take a while."""
        return 64 if self.quick else 512

    @property
    def n_steps(self):
        """Steps of a block, one of which resets."""
        return 4 if self.quick else 100


def new_line(work, label, mode, *, package="skdict", note=""):
    """A line before anything ran."""
    return {
        "work": work,
        "label": label,
        "package": package,
        "version": package_version(package),
        "mode": mode,
        "note": note,
        "status": "ok",
        "detail": "",
        "agreement": "",
    }


def measure(line, judge, clock):
    """Fill a line: judge, and time only what agrees; whatever fails is told in the line.

    Parameters
    ----------
    line : dict
        The line; changed in place.
    judge : callable
        Gives the agreement in words and whether it is one.
    clock : callable
        Gives what the line says of the time.
    """
    try:
        line["agreement"], agrees = judge()
        if agrees:
            line |= clock()
        else:
            line |= {"status": "disagrees", "detail": line["agreement"]}
    except Exception as error:  # an opponent's failure must not end the others' runs
        told = str(error).splitlines()
        line |= {"status": "failed", "detail": f"{type(error).__name__}: {told[0] if told else ''}"}
    return line


def rate(runs, n_rows, cost):
    """Rows per second of runs over as many rows."""
    seconds = statistics.median(runs)
    return {"figure": n_rows / seconds, "unit": "rows/s"} | spent(runs, seconds, cost)


def milliseconds(runs, cost):
    """Milliseconds of a step."""
    seconds = statistics.median(runs)
    return {"figure": 1e3 * seconds, "unit": "ms"} | spent(runs, seconds, cost)


def spent(runs, seconds, cost):
    """Time and the cost that the shares of the card's rates are computed from."""
    return {
        "seconds": seconds,
        "runs": runs,
        "n_bytes": cost.n_bytes,
        "n_flops": cost.n_flops,
    }


def measure_opponent(bench, work, opponent, problem, mode, judge, clock):
    """Judge and time an opponent in one precision of torch's products."""
    line = new_line(work, opponent.label, mode, package=opponent.package, note=opponent.note)
    if bench.opponents is not None and opponent.package not in bench.opponents:
        return line | {"status": "missing", "detail": "left out"}
    if line["version"] is None:
        return line | {"status": "missing", "detail": "not installed"}
    subject = opponent(bench.n_threads)
    subject.device = torch_device(bench.device)

    def judged():
        subject.setup(problem)
        return judge(bench, subject, problem)

    with mode_of_torch(mode):
        return measure(line, judged, lambda: clock(bench, subject, problem))
