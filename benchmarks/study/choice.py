"""What the search chose. Committed before `confirm` is run, and not changed after.

Written from the output of ``python -m benchmarks.study search``.
"""

from benchmarks.study.configurations import Configuration

# The paper's recipe and TopK with the rates that the search found for them, and what it chose
# instead; None until there is a choice.
RECIPE: Configuration | None = Configuration()
TOPK: Configuration | None = Configuration(dictionary="topk", init="tied", rate_factor=5.0)
CHOSEN: Configuration | None = Configuration(
    whitening="pca",
    epsilon=0.1,
    train_n_nonzero=5,
    size=0.5,
    rate_factor=2.814,
    schedule="constant",
    refit=True,
    solver="online",
    init="samples",
    reset_every=None,
)
