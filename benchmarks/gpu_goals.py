"""The goals on one H200, each a figure computed from the section ``gpu`` of the results.

They hold for skdict's default mode, and beside an opponent's faster mode.
"""

from dataclasses import dataclass

from benchmarks.goals import Goal

SIZES = "d = 1,664, M = 8,192"


def gpu_line(section, work, label, mode="default"):
    """The timed line of a contestant; KeyError where there is none, or no GPU."""
    if section["card"] is None:
        raise KeyError("card")
    for line in section["lines"]:
        found = line["work"], line["label"], line["mode"]
        if found == (work, label, mode) and line["status"] == "ok":
            return line
    raise KeyError(work, label, mode)


@dataclass(frozen=True)
class Figure:
    """The figure of one line of skdict, in the default mode."""

    work: str
    label: str

    def __call__(self, section):
        """Look it up in the section."""
        return gpu_line(section, self.work, self.label)["figure"]

    def is_of(self, line):
        """Whether a line holds this figure."""
        return (self.work, self.label, "default") == (line["work"], line["label"], line["mode"])


@dataclass(frozen=True)
class Faster:
    """How many times as fast as an opponent in its faster mode skdict is, per row or step."""

    work: str
    label: str
    opponent: str

    def __call__(self, section):
        """Compute it from the section."""
        theirs = []
        for mode in ("float32", "TF32"):
            try:
                theirs.append(gpu_line(section, self.work, self.opponent, mode))
            except KeyError:
                continue
        if not theirs:
            raise KeyError(self.opponent)
        ours = gpu_line(section, self.work, self.label)
        if ours["unit"] == "ms":
            return min(line["figure"] for line in theirs) / ours["figure"]
        return ours["figure"] / max(line["figure"] for line in theirs)

    def is_of(self, line):
        """No line alone holds it."""
        return False


SAE, OMP, READING = "TopK SAE step", "OMP", "host memory"

GPU_GOALS = (
    Goal(
        f"ICFL encode, {SIZES}, 20 steps of 5",
        "rate, rows on the device",
        "gpu",
        Figure("ICFL codes", "skdict, rows on the device"),
        1_000_000,
        unit=" rows/s",
    ),
    Goal(
        f"ICFL training step, batch 8,192, {SIZES}",
        "time, reset and Gram matrix included",
        "gpu",
        Figure("ICFL step", "skdict, ICFLDictionary"),
        12,
        at_least=False,
        unit=" ms",
    ),
    Goal(
        f"TopKSAE training step, batch 8,192, {SIZES}, K = 100",
        "time",
        "gpu",
        Figure(SAE, "skdict, TopKSAE"),
        4,
        at_least=False,
        unit=" ms",
    ),
    Goal(
        f"TopKSAE training step, batch 8,192, {SIZES}, K = 100",
        "rate / SAELens",
        "gpu",
        Faster(SAE, "skdict, TopKSAE", "SAELens, TopKTrainingSAE"),
        3,
    ),
    Goal(
        f"TopKSAE training step, batch 8,192, {SIZES}, K = 100",
        "rate / dictionary_learning",
        "gpu",
        Faster(SAE, "skdict, TopKSAE", "dictionary_learning, TopKTrainer"),
        3,
    ),
    Goal(
        "OMP, 100 atoms, d = 1,024, M = 8,192",
        "rate / orthogonal-matching-pursuit-gpu v0",
        "gpu",
        Faster(OMP, "skdict, rows on the device", "orthogonal-matching-pursuit-gpu, OMP"),
        10,
    ),
    Goal(
        "reading ICFL's batches from host memory",
        "time that the device waits",
        "gpu",
        Figure(READING, "skdict, ICFLDictionary"),
        10,
        at_least=False,
        unit=" %",
    ),
    Goal(
        "reading TopKSAE's batches from host memory",
        "time that the device waits",
        "gpu",
        Figure(READING, "skdict, TopKSAE"),
        10,
        at_least=False,
        unit=" %",
    ),
)


def verdict_of_line(line, *, counts=True):
    """Goal and verdict of one line in words, "" where it has no goal of its own.

    Parameters
    ----------
    line : dict
        A timed line.
    counts : bool, default=True
        Whether it was measured on a GPU at the sizes of the goals.
    """
    for goal in GPU_GOALS:
        if goal.value.is_of(line):
            verdict = goal.verdict(line["figure"]) if counts else "not measured"
            return f"{goal.statement()}: {verdict}"
    return ""
