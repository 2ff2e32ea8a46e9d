"""The pieces of work, what each depends on, and how the missing ones are computed."""

import sys
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import skdict
from benchmarks.study.cache import SKDICT, fingerprint, library_files, source_digest
from benchmarks.study.stages import Progress
from benchmarks.study_genes import cells, planted
from benchmarks.study_genes.arms import DICTIONARIES
from benchmarks.study_genes.embeddings import EXAMPLES

HERE = Path(__file__).resolve().parent
# The files here that numbers depend on; what judges and shows results is none of them.
BEHIND = ("arms.py", "attribution.py", "cells.py", "cuts.py", "embeddings.py", "markers.py",
          "planted.py", "preservation.py", "second.py", "settings.py")  # fmt: skip
UNRELATED = ("imaging", "extraction", "interop", "parallel", "effects")
KINDS = {
    "genes": "attribution:all_arms",
    "probe": "preservation:cell_type",
    "second": "second:second",
    "drivers": "planted:drivers",
    "batches": "planted:batches",
}


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes
    ----------
    kind : str
        Name in `KINDS`.
    data : str
        Embedding, planted model or dictionary: the first argument of the function.
    seed : int
        The second one.
    """

    kind: str
    data: str
    seed: int

    def key(self, settings):
        """All that the result depends on."""
        every = asdict(settings)
        del every["seeds"], every["embeddings"]
        # null pairs belong to the first seed
        every["first"] = self.seed == settings.seeds[0]
        key = {"kind": self.kind, "data": self.data, "seed": self.seed, "settings": every,
               "skdict": skdict.__version__, "source": own_digest(),
               "library": library_digest()}  # fmt: skip
        if self.kind in ("genes", "probe", "second"):
            key["cells"] = cells.blood_cells(settings.n_cells).digest
        if self.kind == "genes":
            key["sets"] = digest_of_sets()
        if self.kind == "second":
            key["second"] = fingerprint(*cells.second_set())
        return key

    def describe(self):
        """Short text for a line of progress."""
        return f"{self.kind} of {self.data}, seed {self.seed}"


@lru_cache
def own_digest():
    """Digest of the code here that numbers depend on, and of the autoencoder."""
    return source_digest([*(HERE / name for name in BEHIND), EXAMPLES / "small_vae.py"])


@lru_cache
def library_digest():
    """Digest of skdict's code, without what reads images and writes files."""
    return source_digest(
        path for path in library_files() if path.relative_to(SKDICT).parts[0] not in UNRELATED
    )


@lru_cache
def digest_of_sets():
    """Digest of the gene sets, or None."""
    sets = cells.gene_sets()
    return sets and fingerprint([f"{name} {' '.join(genes)}" for name, genes in sets.items()])


def tasks(settings):
    """All pieces of work of a run; the longest ones first."""
    per_seed = {"genes": settings.embeddings, "probe": settings.embeddings,
                "second": ["pbmc68k"] if cells.second_set() is not None else [],
                "drivers": planted.MODELS, "batches": tuple(DICTIONARIES)}  # fmt: skip
    found = [Task(kind, data, seed) for kind, every in per_seed.items()
             for seed in settings.seeds for data in every]  # fmt: skip
    return sorted(found, key=lambda task: (task.kind != "genes", task.data != "vae"))


def compute(task, settings):
    """Do one piece of work; returns the result and the seconds it took."""
    if "torch" in sys.modules or task.data == "vae":
        import torch

        torch.set_num_threads(1)
    module, name = KINDS[task.kind].split(":")
    function = getattr(import_module(f"benchmarks.study_genes.{module}"), name)
    start = time.perf_counter()
    return function(task.data, task.seed, settings), time.perf_counter() - start


def labelled(task, settings):
    """Do one piece of work and say which it was."""
    return task, compute(task, settings)


def run_tasks(wanted, settings, cache, *, n_jobs=1, stream=sys.stderr):
    """Results of all tasks, from the cache or computed, and the seconds spent by kind.

    Parameters
    ----------
    wanted : list of Task
        The work.
    settings : Settings
        Sizes.
    cache : Cache
        Where results are looked for and stored.
    n_jobs : int, default=1
        Processes of one thread.
    stream : file or None, default=sys.stderr
        Gets the lines of progress.
    """
    keys = {task: task.key(settings) for task in wanted}
    results = {task: cache.read(keys[task]) for task in wanted}
    missing = [task for task in wanted if results[task] is None]
    progress = Progress(missing, len(wanted) - len(missing), stream, "study of genes")
    for task, (result, seconds) in work(missing, settings, n_jobs):
        cache.write(keys[task], {"result": result, "seconds": seconds})
        results[task] = cache.read(keys[task])
        progress.advance(task, seconds)
    progress.close()
    return results


def work(missing, settings, n_jobs):
    """Yield tasks with their results in the order in which they are done."""
    if n_jobs == 1 or len(missing) < 2:
        yield from (labelled(task, settings) for task in missing)
        return
    from joblib import Parallel, delayed

    jobs = (delayed(labelled)(task, settings) for task in missing)
    yield from Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)(jobs)
