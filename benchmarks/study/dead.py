"""Table 1's work: features that were hardly used in the last steps of training."""

from dataclasses import replace

from benchmarks.study.methods import embeddings, fit
from skdict.metrics import dead_counts


def count_dead(data, configuration, seed, settings):
    """Learn from all rows for many steps and count dead features by the paper's window.

    A feature is dead if fewer than 1e-5 of the samples of the last 1,000 steps activated it.
    """
    X = embeddings(data, configuration)
    n_rows = X.shape[0]
    batch_size = min(settings.batch_size, n_rows)
    passes = (settings.dead_steps - 0.5) * batch_size / n_rows
    pipeline = fit(
        replace(configuration, passes=passes), data, X, range(n_rows), settings, seed
    )  # fmt: skip
    dictionary = pipeline[-1]
    n_atoms = dictionary.components_.shape[0]
    counts = dead_counts(dictionary.history_, n_atoms)
    return {
        "dead": counts.final,
        "n_components": n_atoms,
        "steps": dictionary.n_steps_,
        "window_samples": min(dictionary.dead_window, dictionary.n_steps_) * batch_size,
        "resets": int(sum(dictionary.history_["n_resets"])),
    }
