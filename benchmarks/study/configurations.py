"""What is compared: every dictionary of the study is one `Configuration`."""

import math
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Configuration:
    """A pipeline up to data and seed: whitening, unit norm, dictionary, encoder.

    The defaults are the paper's recipe at the size of the data, with skdict's default rate.

    Attributes
    ----------
    dictionary : str
        "icfl", "topk", or a baseline of `skdict.baselines`: "random", "pca", "ica", "nmf",
        "neurons", "minibatch".
    encoder : str or None
        Encoder of the codes where it is not the dictionary's own: "icfl", "omp", "topk".
    whitening : str
        Method of the whitener. "center" is what the paper calls without PCA; "raw" leaves even
        the centring out.
    epsilon : float or "auto"
        Of the whitener.
    aligned : bool
        Whether batches are aligned on their controls before anything is split.
    n_nonzero, train_n_nonzero : int or None
        Non-zeros of a code, and while learning where that differs.
    size : float
        Number of atoms as a multiple of the number that the data set uses.
    rate_factor : float
        Learning rate as a multiple of the default, ``0.1 / sqrt(d)``.
    passes : float or None
        Passes over the training rows; None takes those of the run.
    """

    dictionary: str = "icfl"
    encoder: str | None = None
    whitening: str = "pca"
    epsilon: float | str = "auto"
    aligned: bool = False
    n_nonzero: int | None = None
    train_n_nonzero: int | None = None
    size: float = 1.0
    rate_factor: float = 1.0
    schedule: str = "linear"
    passes: float | None = None
    atoms_per_step: int = 5
    selection: str = "signed"
    refit: bool = False
    solver: str = "adam"
    init: str = "random"
    reset_every: int | None = 100
    auxk: bool = True

    def key(self):
        """Attributes that differ from the defaults: a short and stable name of it."""
        defaults = asdict(Configuration())
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}


ICFL = Configuration()
TOPK = Configuration(dictionary="topk", init="tied")
# The baseline as the paper's text has it: separate random weights, no auxiliary loss.
TOPK_PLAIN = Configuration(dictionary="topk", init="linear", auxk=False)
WHITENING = {"off": "center", "on": "pca"}


def whitened(configuration, state):
    """The same with whitening "on" or "off"."""
    return replace(configuration, whitening=WHITENING[state])


def max_steps(configuration, passes, n_rows, batch_size):
    """Steps that make the wanted passes over the rows."""
    wanted = passes if configuration.passes is None else configuration.passes
    return math.ceil(wanted * n_rows / min(batch_size, n_rows))
