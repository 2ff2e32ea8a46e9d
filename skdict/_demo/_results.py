"""Everything the demo found, gathered over arms and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sklearn.pipeline import Pipeline

from skdict._demo._experiment import Arm, Outcome, Settings
from skdict._demo._metrics import METRICS
from skdict._demo._selectivity import Curves


@dataclass
class Results:
    """Numbers by arm and metric, with one entry per seed, and what the page shows beside them."""

    settings: Settings
    data: dict[str, int]
    """Counts that describe the data: rows, features, compounds, mechanisms, plates, controls."""
    values: dict[Arm, dict[str, np.ndarray]]
    raw: dict[str, np.ndarray]
    """Balanced accuracy from the input itself, by what is held out."""
    curves: dict[Arm, Curves]
    """From the first seed."""
    sparsity: dict[Arm, list[tuple[float, float]]] = field(default_factory=dict)
    """(mean non-zeros, cosine on held-out plates) for every trained sparsity, first seed."""
    concepts: list = field(default_factory=list)
    concept_plates: tuple[Sequence[str], ...] = ((), ())
    """Training and held-out plates of the dictionary that the concepts come from."""
    messages: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall-clock time by stage."""
    pipeline: Pipeline | None = None
    """The fit that the concepts come from."""

    @property
    def n_seeds(self) -> int:
        """Number of seeds behind every number."""
        return len(self.settings.seeds)


def gather(outcomes: list[Outcome]) -> dict[Arm, dict[str, np.ndarray]]:
    """Sort outcomes into arrays over seeds.

    Parameters
    ----------
    outcomes : list of Outcome
        In any order; every arm with the same seeds.

    Returns
    -------
    dict
        ``values[arm][metric]``, shape (n_seeds,), in ascending order of the seeds, so that the
        arms are paired.
    """
    arms = sorted({outcome.arm for outcome in outcomes})
    ordered = sorted(outcomes, key=lambda outcome: outcome.seed)
    return {
        arm: {
            metric.key: np.array([o.values[metric.key] for o in ordered if o.arm == arm], float)
            for metric in METRICS
        }
        for arm in arms
    }
