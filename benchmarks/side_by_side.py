"""The races: skdict and its opponents on the same arrays, with the same threads."""

import tempfile

from benchmarks.agreement import CodesJudge, StepsJudge
from benchmarks.problems import Problem, write_problem
from benchmarks.race import race, section

PURSUITS = "benchmarks.contestants.pursuits:"
LEARNING = "benchmarks.contestants.learning:"

# The first of each list is what the others are compared with in the printed table.
CODERS = [
    PURSUITS + name
    for name in (
        "Product",
        "TorchProduct",
        "SkdictICFL",
        "TorchICFL",
        "SkdictOMP",
        "SpamsOMP",
        "DictlearnOMP",
        "BatchedOMP",
        "ScikitLearnOMP",
    )
]
ICFL_STEPS = [
    LEARNING + "SkdictICFLStep",
    PURSUITS + "SkdictICFL",
    LEARNING + "SkdictGram",
    LEARNING + "NumpyGram",
    LEARNING + "TorchICFLStep",
]
SAE_STEPS = [
    LEARNING + name for name in ("SkdictSAEStep", "TorchSAEStep", "SAELensStep", "OvercompleteStep")
]

FULL = {
    "encode_large": Problem(1024, 8192, 100, 8192),
    "encode_small": Problem(256, 2048, 100, 32768),
    "icfl_step": Problem(1024, 8192, 100, 8192),
    "sae_step": Problem(1024, 8192, 100, 4096),
}
QUICK = {
    "encode_large": Problem(64, 512, 20, 1024),
    "encode_small": Problem(32, 256, 10, 1024),
    "icfl_step": Problem(64, 512, 20, 512),
    "sae_step": Problem(64, 512, 20, 512),
}


def run(name, options):
    """Run one race; its section of the results."""
    problem = (QUICK if options.quick else FULL)[name]
    with tempfile.TemporaryDirectory(prefix="skdict-bench-") as folder:
        problem = write_problem(problem, folder)
        if name.startswith("encode"):
            paths, fixed_rows, judge = CODERS, None, CodesJudge(problem)
        else:
            paths = ICFL_STEPS if name == "icfl_step" else SAE_STEPS
            torch_step = "TorchICFLStep" if name == "icfl_step" else "TorchSAEStep"
            fixed_rows, judge = problem.n_rows, StepsJudge(problem, LEARNING + torch_step)
        entries = race(
            paths,
            problem,
            options.threads,
            judge=judge,
            fixed_rows=fixed_rows,
            quick=options.quick,
            opponents=options.opponents,
        )
    return section(
        options.threads, quick=options.quick, problem=problem.describe(), entries=entries
    )
