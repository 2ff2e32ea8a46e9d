"""The goals, each a figure computed from the sections of one set of results."""

from dataclasses import dataclass

SCIKIT_LEARN = "scikit-learn, OMP"
PRODUCT = "the product X D^T alone"
TORCH_ICFL = "torch, ICFL, residual recomputed"


@dataclass(frozen=True)
class Goal:
    """A bound on a figure.

    Attributes
    ----------
    work : str
        What is measured.
    figure : str
        The figure in words.
    section : str
        Section of the results it comes from.
    value : callable
        Takes the section and gives the figure; KeyError where an opponent is missing.
    bound : float
        The goal.
    at_least : bool
        Whether the figure has to be at least or at most the bound.
    unit : str
        Unit of figure and bound.
    """

    work: str
    figure: str
    section: str
    value: object
    bound: float
    at_least: bool = True
    unit: str = ""

    def measure(self, results):
        """Figure and verdict: "met", "missed" or "not measured"."""
        section = results.get(self.section)
        if section is None or section["quick"]:
            return None, "not measured"
        try:
            figure = self.value(section)
        except KeyError:
            return None, "not measured"
        return figure, self.verdict(figure)

    def verdict(self, figure):
        """Return whether a figure meets the goal: "met" or "missed"."""
        met = figure >= self.bound if self.at_least else figure <= self.bound
        return "met" if met else "missed"

    def statement(self):
        """Return the bound in words."""
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.bound:,.10g}{self.unit}"


def entry(section, label):
    """The timed entry of a contestant; KeyError where there is none."""
    for candidate in section["entries"]:
        if candidate["label"] == label and candidate["status"] == "ok":
            return candidate
    raise KeyError(label)


def rate_ratio(ours, theirs):
    """Rows per second of one contestant relative to another."""

    def value(section):
        return entry(section, ours)["rows_per_second"] / entry(section, theirs)["rows_per_second"]

    return value


def step_over_parts(section):
    """A training step relative to the codes and the Gram matrix it contains."""
    parts = ("skdict, ICFL", "skdict, one Gram matrix")
    seconds = [entry(section, label)["seconds"] for label in parts]
    return entry(section, "skdict, ICFLDictionary")["seconds"] / sum(seconds)


def memory_above(section):
    """MB of anonymous memory above the Gram matrix and the result, at the size of the goal."""
    problem = section["problem"]
    if section["quick"] or problem["n_features"] != 1024:
        raise KeyError("above_bytes")
    return section["above_bytes"] / 1e6


def selectivity_seconds(section):
    """Seconds at the size of the goal; KeyError at another one."""
    if section["quick"]:
        raise KeyError("seconds")
    return section["seconds"]


LARGE = "ICFL, 20 steps of 5, d = 1,024, M = 8,192"
OMP = "OMP, 100 atoms, d = 1,024, M = 8,192"

GOALS = (
    Goal(LARGE, "rate / rate of X D^T", "encode_large", rate_ratio("skdict, ICFL", PRODUCT), 0.5),
    Goal(
        LARGE,
        "rate / torch, residual recomputed",
        "encode_large",
        rate_ratio("skdict, ICFL", TORCH_ICFL),
        18,
    ),
    Goal(
        LARGE,
        "rate / spams.omp, 100 atoms",
        "encode_large",
        rate_ratio("skdict, ICFL", "SPAMS, OLS"),
        45,
    ),
    Goal(
        LARGE,
        "rate / scikit-learn OMP",
        "encode_large",
        rate_ratio("skdict, ICFL", SCIKIT_LEARN),
        2000,
    ),
    Goal(
        "ICFL, 20 steps of 5, d = 256, M = 2,048",
        "rate / rate of X D^T",
        "encode_small",
        rate_ratio("skdict, ICFL", PRODUCT),
        0.3,
    ),
    Goal(OMP, "rate / spams.omp", "encode_large", rate_ratio("skdict, OMP", "SPAMS, OLS"), 5),
    Goal(OMP, "rate / scikit-learn", "encode_large", rate_ratio("skdict, OMP", SCIKIT_LEARN), 200),
    Goal(OMP, "rate / dictlearn", "encode_large", rate_ratio("skdict, OMP", "dictlearn, OMP"), 40),
    Goal(
        "ICFL training step, batch 8,192, d = 1,024, M = 8,192",
        "time / (codes of the batch + one Gram matrix)",
        "icfl_step",
        step_over_parts,
        1.6,
        at_least=False,
    ),
    Goal(
        "ICFL training step, batch 8,192, d = 1,024, M = 8,192",
        "rate / torch step, residual recomputed",
        "icfl_step",
        rate_ratio("skdict, ICFLDictionary", TORCH_ICFL),
        8,
    ),
    Goal(
        "TopKSAE training step, batch 4,096, d = 1,024, M = 8,192, K = 100",
        "rate / torch autograd step",
        "sae_step",
        rate_ratio("skdict, TopKSAE", "torch, TopK autoencoder"),
        3,
    ),
    Goal(
        "transform of a float32 memory map, d = 1,024, M = 8,192",
        "anonymous memory above Gram matrix and result",
        "memory",
        memory_above,
        400,
        at_least=False,
        unit=" MB",
    ),
    Goal(
        "selectivity of 100,000 x 8,192 codes, 1,138 labels",
        "time on one core",
        "selectivity",
        selectivity_seconds,
        3,
        at_least=False,
        unit=" s",
    ),
)


def print_goals(results):
    """Print goal, measured figure and verdict of the sections that do not print theirs."""
    results = {name: section for name, section in results.items() if name != "gpu"}
    if not results:
        return
    if all(section.get("quick") for section in results.values()):
        print("\nThe goals are for the full sizes; this was a quick run.")
        return
    print(f"\n{'goal':68} {'figure':46} {'wanted':>10} {'measured':>10}")
    for goal in GOALS:
        figure, verdict = goal.measure(results)
        measured = "" if figure is None else f"{figure:,.4g}{goal.unit}"
        print(f"{goal.work:68} {goal.figure:46} {goal.statement():>10} {measured:>10}  {verdict}")
