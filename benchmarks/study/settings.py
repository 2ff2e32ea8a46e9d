"""How much the study computes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes of a full run; `QUICK` has those of a quick one.

    Attributes
    ----------
    seeds : tuple of int
        Each draws the splits and all randomness of a dictionary.
    passes : int
        Passes over the training rows, for every dictionary that is trained (the paper: 61).
    batch_size : int
        Rows in a mini-batch.
    folds : int
        Folds of a split where the data do not fix their number.
    strengths : tuple of float
        Values of C among which inner folds choose for each probe.
    sparsity_factors, rate_factors : tuple of float
        Multiples of the usual number of non-zeros, and of the default learning rate, in the sweeps.
    dead_steps : int
        Steps of the fits whose dead features are counted; the paper's window is 1,000 steps.
    n_permutations : int
        Permutations behind the level that selectivity reaches by chance.
    n_configurations, search_seeds : int
        Configurations that the search draws, and the seeds it tries each of them with.
    n_finalists : int
        Configurations that are tried again with all seeds.
    n_resamples : int
        Resamples of units behind an interval.
    planted_rows : int
        Rows of the planted data.
    baselines : tuple of str
        Of `skdict.baselines`.
    names : tuple of str
        Data sets, where they can be had.
    """

    quick: bool = False
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    passes: int = 60
    batch_size: int = 256
    folds: int = 3
    strengths: tuple[float, ...] = (0.01, 0.1, 1.0)
    sparsity_factors: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    rate_factors: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0)
    dead_steps: int = 2000
    n_permutations: int = 500
    n_configurations: int = 96
    search_seeds: int = 2
    n_finalists: int = 8
    n_resamples: int = 1000
    planted_rows: int = 4000
    baselines: tuple[str, ...] = ("random", "pca", "ica", "nmf", "neurons", "minibatch")
    names: tuple[str, ...] = ("jump", "pediatric", "cmqtl", "cytosummarynet", "cardiac", "planted")


FULL = Settings()
QUICK = Settings(
    quick=True,
    seeds=(0, 1),
    passes=10,
    folds=2,
    strengths=(0.1,),
    sparsity_factors=(0.25, 1.0),
    rate_factors=(0.3, 1.0, 3.0),
    dead_steps=200,
    n_permutations=20,
    n_configurations=6,
    search_seeds=1,
    n_finalists=2,
    n_resamples=200,
    planted_rows=1500,
    baselines=("random", "pca", "neurons"),
    names=("jump", "pediatric", "planted"),
)
