"""Pieces of work: what they are, where their results lie, and how the missing ones are computed.

A task names a kind of work, a data set, a configuration and a seed. Equal tasks of different
tables are one task. Tasks are independent: processes of one thread each take them, and the
parent stores every result the moment it arrives.
"""

import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

import skdict
from benchmarks.study import data as data_sets
from benchmarks.study.cache import library_digest, source_digest
from benchmarks.study.configurations import Configuration

HERE = Path(__file__).resolve().parent
SHARED = ("data.py", "methods.py", "configurations.py")


@dataclass(frozen=True)
class Kind:
    """A kind of work.

    Attributes
    ----------
    function : str
        Module and name of ``function(data, configuration, seed, settings, **options)``.
    sources : tuple of str
        Files of this folder whose code the result depends on, beside `SHARED`.
    settings : tuple of str
        Names of the settings that the result depends on.
    """

    function: str
    sources: tuple[str, ...]
    settings: tuple[str, ...]


TRAINING = ("passes", "batch_size")
JUDGING = (*TRAINING, "folds", "strengths")
KINDS = {
    "evaluate": Kind("evaluate:evaluate", ("evaluate.py",), JUDGING),
    "raw": Kind("evaluate:evaluate_raw", ("evaluate.py",), ("folds", "strengths")),
    "dead": Kind("dead:count_dead", ("dead.py",), ("dead_steps", "batch_size")),
    "chance": Kind("chance:chance", ("chance.py",), (*TRAINING, "folds", "n_permutations")),
    "directions": Kind("directions:separate", ("directions.py",), (*TRAINING, "folds")),
    "subspace": Kind("subspace:probe_parts", ("subspace.py",), ("folds", "strengths")),
    "binarizer": Kind("binarizer:compare", ("binarizer.py",), (*TRAINING, "sparsity_factors")),
}


@lru_cache
def digest_of_kind(name):
    """Digest of the code of a kind of work."""
    return source_digest(HERE / path for path in (*SHARED, *KINDS[name].sources))


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes
    ----------
    kind : str
        Name in `KINDS`.
    data : str
        Name of the data set.
    configuration : Configuration
        What is fitted.
    seed : int
        Of splits and dictionary.
    options : tuple of (name, value)
        Further arguments of the function.
    """

    kind: str
    data: str
    configuration: Configuration
    seed: int
    options: tuple = ()

    def key(self, settings):
        """All that the result depends on."""
        kind = KINDS[self.kind]
        every = asdict(settings)
        return {
            "kind": self.kind,
            "data": self.data,
            "rows": data_sets.load(self.data, settings.planted_rows).fingerprint,
            "configuration": self.configuration.key(),
            "seed": self.seed,
            "options": dict(self.options),
            "settings": {name: every[name] for name in kind.settings},
            "skdict": skdict.__version__,
            "source": digest_of_kind(self.kind),
            "library": library_digest(),
        }

    def describe(self):
        """Short text for a line of progress."""
        named = ", ".join(f"{k}={v}" for k, v in self.configuration.key().items())
        return f"{self.kind} on {self.data}, {named or 'the recipe'}, seed {self.seed}"


def over_seeds(kind, names, configurations, settings, **options):
    """One task for every data set, configuration and seed.

    Parameters
    ----------
    kind : str
        Name in `KINDS`.
    names : iterable of str
        Data sets.
    configurations : iterable of Configuration
        What is fitted.
    settings : Settings
        Has the seeds.
    **options
        Further arguments of the function.
    """
    return [
        Task(kind, name, configuration, seed, tuple(options.items()))
        for name in names
        for configuration in configurations
        for seed in settings.seeds
    ]


class Results:
    """Results of tasks, by what they are of.

    Parameters
    ----------
    results : dict
        As `run_tasks` returns them.
    settings : Settings
        Sizes of the run.
    """

    def __init__(self, results, settings):
        self._results = results
        self.settings = settings

    def of(self, kind, name, configuration, **options):
        """Results over the seeds, in their order."""
        tasks = over_seeds(kind, [name], [configuration], self.settings, **options)
        return [self._results[task] for task in tasks]

    def values(self, name, configuration, *path, kind="evaluate", **options):
        """A figure over the seeds; NaN where it does not exist.

        Parameters
        ----------
        name : str
            Data set.
        configuration : Configuration
            What was fitted.
        *path : str or int
            Keys that lead to the figure.
        kind : str, default="evaluate"
            Kind of work.
        **options
            Options of the task.
        """
        found = []
        for result in self.of(kind, name, configuration, **options):
            for step in path:
                result = result[step]
            found.append(float("nan") if result is None else result)
        return np.array(found, float)


def compute(task, settings):
    """Do one piece of work; in a process of its own."""
    from importlib import import_module

    module, name = KINDS[task.kind].function.split(":")
    function = getattr(import_module(f"benchmarks.study.{module}"), name)
    data = data_sets.load(task.data, settings.planted_rows)
    start = time.perf_counter()
    result = function(data, task.configuration, task.seed, settings, **dict(task.options))
    return result, time.perf_counter() - start


def run_tasks(tasks, settings, cache, *, n_jobs=1, stream=sys.stderr, title=""):
    """Results of all tasks, from the cache or computed.

    Parameters
    ----------
    tasks : iterable of Task
        Repeated ones count once.
    settings : Settings
        Sizes of the run.
    cache : Cache
        Where results are looked for and stored.
    n_jobs : int, default=1
        Processes.
    stream : file, default=sys.stderr
        Gets the lines of progress.
    title : str, default=""
        What a line of progress begins with.

    Returns
    -------
    dict
        Result by task.
    """
    tasks = list(dict.fromkeys(tasks))
    keys = {task: task.key(settings) for task in tasks}
    results = {task: cache.read(keys[task]) for task in tasks}
    missing = [task for task in tasks if results[task] is None]
    progress = Progress(missing, len(tasks) - len(missing), stream, title)
    for task, (result, seconds) in work(missing, settings, n_jobs):
        cache.write(keys[task], result)
        results[task] = cache.read(keys[task])  # as a later run will see it
        progress.advance(task, seconds)
    progress.close()
    return results


def work(tasks, settings, n_jobs):
    """Yield (task, (result, seconds)) in the order in which they are done."""
    if n_jobs == 1 or len(tasks) < 2:
        for task in tasks:
            yield task, compute(task, settings)
        return
    from joblib import Parallel, delayed

    # Processes of one thread: fits are too small to gain from threads of their own. joblib limits
    # the threads of BLAS and numba to the cores divided by the processes.
    jobs = (delayed(labelled)(task, settings) for task in tasks)
    yield from Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)(jobs)


def labelled(task, settings):
    """Do one piece of work and say which it was."""
    return task, compute(task, settings)


class Progress:
    """Lines that say how far the work is and how long the rest will take.

    Parameters
    ----------
    tasks : list of Task
        What is to be computed.
    n_cached : int
        Number of results that were there already.
    stream : file
        Where to write.
    title : str
        Beginning of each line.
    """

    def __init__(self, tasks, n_cached, stream, title):
        self.left = defaultdict(int)
        for task in tasks:
            self.left[task.kind, task.data] += 1
        self.seconds = defaultdict(list)
        self.total, self.done = len(tasks), 0
        self.stream, self.title = stream, title
        self.start = self.last = time.perf_counter()
        self.say(f"{n_cached} results in the cache, {self.total} to compute")

    def say(self, text):
        """Write a line."""
        if self.stream is not None:
            print(f"{self.title}: {text}" if self.title else text, file=self.stream, flush=True)

    def advance(self, task, seconds):
        """Count a task; a line every fifteen seconds."""
        self.done += 1
        self.left[task.kind, task.data] -= 1
        self.seconds[task.kind, task.data].append(seconds)
        now = time.perf_counter()
        if now - self.last > 15:
            self.last = now
            self.say(
                f"{self.done}/{self.total} computed in {(now - self.start) / 60:.1f} min, "
                f"about {self.remaining(now) / 60:.1f} min left ({task.describe()})"
            )

    def remaining(self, now):
        """Seconds that the rest will take, by the times of equal kinds on equal data."""
        spent = sum(map(sum, self.seconds.values()))
        parallel = spent / (now - self.start)
        typical = spent / self.done
        expected = 0.0
        for what, count in self.left.items():
            times = self.seconds.get(what)
            expected += count * (sum(times) / len(times) if times else typical)
        return expected / parallel

    def close(self):
        """Say that all is done."""
        if self.total:
            minutes = (time.perf_counter() - self.start) / 60
            self.say(f"{self.total} computed in {minutes:.1f} min")
