"""Training steps on a GPU, beside opponents, and with batches from host memory."""

import statistics

import numpy as np

from benchmarks import gpu_costs as costs
from benchmarks.agreement import SAME_LOSS, SAME_STEP
from benchmarks.contestants.learning import COMPARED_ATOMS, DictionaryLearningStep, SAELensStep
from benchmarks.gpu_device import MODES, OPPONENT_MODES, time_runs
from benchmarks.gpu_works import measure, measure_opponent, milliseconds, new_line
from benchmarks.problems import random_arrays, write_problem
from skdict import ICFLDictionary, TopKSAE
from skdict._data_order import RowOrder

# The default mode searches in TF32: near-ties part the supports of some rows, and Adam's first step
# is little more than the signs of a gradient to which these rows add. TF32 imitated in NumPy, 512
# rows at the full size: a cosine of 0.91, supports of 85% of the rows.
SAME_STEP_DEFAULT = 0.8

STEP, SAE, READING = "ICFL step", "TopK SAE step", "host memory"


def icfl_model(bench, device, dictionary, **parameters):
    """ICFL at the sizes of the benchmark."""
    problem = bench.model
    return ICFLDictionary(
        problem.n_atoms,
        n_nonzero_coefs=problem.n_nonzero,
        atoms_per_step=problem.atoms_per_step,
        batch_size=problem.n_rows,
        init=dictionary,
        reset_every=bench.n_steps,
        device=device,
        random_state=0,
        **parameters,
    )


def sae_model(bench, device, **parameters):
    """TopK autoencoder at the sizes of the benchmark."""
    problem = bench.model
    return TopKSAE(
        problem.n_atoms,
        n_nonzero_coefs=problem.n_nonzero,
        batch_size=problem.n_rows,
        device=device,
        random_state=0,
        **parameters,
    )


def first_icfl_step(bench, device, X, dictionary, mode="default"):
    """Loss before the first step, and what it did to the first atoms."""
    model = icfl_model(bench, device, dictionary, fit_intercept=False, precision=mode)
    model.partial_fit(X)
    return model.history_["loss"][-1], (model.components_ - dictionary)[:COMPARED_ATOMS]


def first_sae_step(bench, device, X, dictionary, mode="default"):
    """The same for the autoencoder, tied to the given atoms."""
    model = sae_model(bench, device, max_steps=0, precision=mode).fit(X)
    model.components_, model.encoder_ = dictionary.copy(), dictionary.copy()
    model.encoder_bias_ = np.zeros(dictionary.shape[0], np.float32)
    model.intercept_ = np.zeros(dictionary.shape[1], np.float32)
    model.partial_fit(X)
    return model.history_["loss"][-1], (model.components_ - dictionary)[:COMPARED_ATOMS]


def judge_step(bench, first_step, mode, least_cosine):
    """The first step on the device beside that on the CPU, by loss and by direction."""
    X, dictionary = random_arrays(bench.n_compared, bench.model.n_features, bench.model.n_atoms)
    loss, moved = first_step(bench, "cpu", X, dictionary)
    other, other_moved = first_step(bench, bench.device, X, dictionary, mode)
    difference = abs(other - loss) / loss
    a, b = moved.ravel(), other_moved.ravel()
    cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
    agreement = f"loss to {difference:.0e}, cosine of the steps {cosine:.4f}"
    return agreement, bool(difference <= SAME_LOSS and cosine >= least_cosine)


class Training:
    """Steps of an estimator as its `fit` takes them, on batches from anywhere.

    Parameters
    ----------
    model : estimator
        Not fitted.
    sample : ndarray of shape (n_samples, n_features)
        Rows that scale and start are taken from.
    """

    def __init__(self, model, sample):
        self.model = model
        model._set_sizes(sample.shape[1])
        self.state = model._new_state(sample, np.random.RandomState(0))
        self.rate = model._learning_rate(sample.shape[1])

    def block(self, batches):
        """One step for each batch, and what is logged after a block; the mean loss."""
        for batch in batches:
            self.model._learn_batch(batch, self.state, self.rate)
        self.model._log(self.state)
        return self.state.history.curves["loss"][-1]


def time_steps(bench, model, cost):
    """Milliseconds of a step on resident data, over blocks of steps with one reset each."""
    X, _ = random_arrays(bench.model.n_rows, bench.model.n_features, 1)
    training = Training(model, X)
    scale = X.dtype.type(training.state.scale)
    batch = training.state.kernels.to_device(X / scale, bench.device)
    runs = time_runs(
        lambda: training.block([batch] * bench.n_steps), bench.device, n_runs=bench.n_runs
    )
    timed = milliseconds([seconds / bench.n_steps for seconds in runs], cost)
    n_resets = sum(training.state.history.curves["n_resets"])
    return timed | {"detail": f"blocks of {bench.n_steps} steps, {n_resets} atoms reset"}


def measure_icfl_step(bench):
    """The training step of ICFL: Gram matrix and reset included."""
    _, dictionary = random_arrays(1, bench.model.n_features, bench.model.n_atoms)
    for mode in MODES:
        least = SAME_STEP if mode == "exact" else SAME_STEP_DEFAULT
        cost = costs.icfl_step(bench.model, mode)
        yield measure(
            new_line(STEP, "skdict, ICFLDictionary", mode),
            lambda mode=mode, least=least: judge_step(bench, first_icfl_step, mode, least),
            lambda mode=mode, cost=cost: time_steps(
                bench, icfl_model(bench, bench.device, dictionary, precision=mode), cost
            ),
        )


def measure_sae_step(bench):
    """The training step of the TopK autoencoder beside SAELens and dictionary_learning."""
    cost = costs.sae_step(bench.model)
    for mode in MODES:
        yield measure(
            new_line(SAE, "skdict, TopKSAE", mode),
            lambda mode=mode: judge_step(bench, first_sae_step, mode, SAME_STEP),
            lambda mode=mode: time_steps(
                bench, sae_model(bench, bench.device, precision=mode), cost
            ),
        )
    written = write_problem(bench.model, bench.folder)
    for opponent in (SAELensStep, DictionaryLearningStep):
        for mode in OPPONENT_MODES:
            yield measure_opponent(bench, SAE, opponent, written, mode, judge_sae, time_sae)


def judge_sae(bench, opponent, problem):
    """The opponent's loss before the first step beside that of skdict on the same rows."""
    n_rows = min(bench.n_compared, problem.n_rows)
    X, dictionary = problem.load("X")[:n_rows], problem.load("dictionary")
    loss, _ = first_sae_step(bench, bench.device, X, dictionary)
    difference = abs(opponent.result(n_rows)["loss"] - loss) / loss
    return f"loss to {difference:.0e}", bool(difference <= SAME_LOSS)


def time_sae(bench, opponent, problem):
    """Milliseconds of a step, over blocks of steps."""
    n_steps = 2 if bench.quick else 20
    runs = time_runs(
        lambda: opponent.advance(problem.n_rows),
        bench.device,
        n_runs=bench.n_runs,
        n_calls=n_steps,
        n_warm=3,
    )
    # What the algorithm needs, as for skdict; that they compute more is their choice.
    return milliseconds(runs, costs.sae_step(problem))


# ---------------------------------------------------------------------- host memory


def measure_reading(bench):
    """Share of the time that the device waits for batches from an array in host memory."""
    _, dictionary = random_arrays(1, bench.model.n_features, bench.model.n_atoms)
    models = {
        "skdict, ICFLDictionary": lambda: icfl_model(bench, bench.device, dictionary),
        "skdict, TopKSAE": lambda: sae_model(bench, bench.device),
    }
    for label, make_model in models.items():
        found = {}
        yield measure(
            new_line(READING, label, "default"),
            lambda make=make_model, found=found: run_reading(bench, make, found),
            lambda found=found: waiting(bench, found),
        )


def run_reading(bench, make_model, found):
    """The same steps from host memory and on resident rows, in turn; whether the losses agree."""
    problem = bench.model
    n_rows = (2 if bench.quick else 16) * problem.n_rows
    X, _ = random_arrays(n_rows, problem.n_features, 1)
    streamed, resident = (Training(make_model(), X[: problem.n_rows]) for _ in range(2))
    kernels, scale = resident.state.kernels, resident.state.scale
    lying = kernels.to_device(X / X.dtype.type(scale), bench.device)
    order = list(RowOrder(n_rows, problem.n_rows, np.random.RandomState(1)).batches(bench.n_steps))
    places = [kernels.to_device(rows, bench.device) for rows in order if rows is not None]
    losses = {"streamed": [], "resident": []}

    def from_host():
        batches = kernels.stream(X, order, scale, bench.device)
        losses["streamed"].append(streamed.block(batches))

    def from_device():
        losses["resident"].append(resident.block(lying[rows] for rows in places))

    runs = {"streamed": [], "resident": []}
    for k in range(bench.n_runs + 1):
        for name, block in (("streamed", from_host), ("resident", from_device)):
            seconds = time_runs(block, bench.device, n_runs=1, n_warm=0)
            runs[name] += seconds if k else []  # the first of each compiles
    found |= runs
    difference = abs(losses["streamed"][0] / losses["resident"][0] - 1)
    return f"losses to {difference:.0e}", bool(difference <= SAME_LOSS)


def waiting(bench, found):
    """Share of the time beyond that of the same steps on resident rows."""
    streamed, resident = (statistics.median(found[name]) for name in ("streamed", "resident"))
    n_bytes = 4 * bench.model.n_rows * bench.model.n_features * bench.n_steps
    return {
        "figure": 100 * max(0.0, 1 - resident / streamed),
        "unit": "%",
        "seconds": streamed,
        "runs": found["streamed"],
        "detail": f"{n_bytes / streamed / 1e9:.3g} GB/s from host memory; "
        f"{1e3 * streamed / bench.n_steps:.3g} ms a step, "
        f"{1e3 * resident / bench.n_steps:.3g} ms on resident rows",
    }
