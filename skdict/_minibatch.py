"""The mini-batch loop that ICFL and the TopK sparse autoencoder share.

``fit`` and ``partial_fit`` run the same step; a dictionary provides the step and its start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Real

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from skdict._base import FLOATS, Dictionary
from skdict._validation import Interval, StrOptions, at_least, clip_n_nonzero_coefs
from skdict.kernels import get_kernels
from skdict.kernels._threads import single_threaded_blas

# Rows that set the scale and the first intercept.
SAMPLE_ROWS = 32_768
# An atom is dead when fewer than this share of the samples of the window use it (Table 1).
DEAD_FRACTION = 1e-5
# Parts of the window over which usage is counted: the oldest part is forgotten as a whole.
WINDOW_PARTS = 10


class Adam:
    """A matrix and its Adam state, one step counter per row so that rows can be reset."""

    def __init__(self, parameters):
        self.parameters = parameters
        self._first = np.zeros_like(parameters)
        self._second = np.zeros_like(parameters)
        self._steps = np.zeros(parameters.shape[0], np.int64)

    def step(self, gradient, learning_rate, *, unit_norm=False):
        """Take one step in place; gradient has the shape of the parameters."""
        get_kernels("cpu").adam(
            self.parameters,
            gradient,
            self._first,
            self._second,
            self._steps,
            learning_rate=learning_rate,
            unit_norm=unit_norm,
        )

    def reset(self, rows, values):
        """Replace rows and forget their moments."""
        self.parameters[rows] = values
        self._first[rows] = 0
        self._second[rows] = 0
        self._steps[rows] = 0


class Surrogate:
    """A dictionary that minimises Mairal's surrogate of its loss: block coordinate descent.

    Held are A, the weighted sum of ``Z^T Z / n`` (M, M), and B, that of ``Z^T X / n`` (M, d), over
    the batches so far, with the codes each batch had when it was seen.

    Parameters
    ----------
    parameters : ndarray of shape (n_components, n_features)
        The atoms, changed in place.
    weights : ndarray of shape (n_components,) or None, default=None
        Mean squares of codes that speak for the atoms as they are. None means that nothing
        does: the first codes decide.
    """

    # Atoms with a mean square of their codes below this share of the average are left alone.
    _smallest_weight = 1e-6

    def __init__(self, parameters, weights=None):
        n_atoms = parameters.shape[0]
        self.parameters = parameters
        self._second_moment = np.zeros((n_atoms, n_atoms), parameters.dtype)
        self._products = np.zeros_like(parameters)
        if weights is not None:
            np.fill_diagonal(self._second_moment, weights)
            self._products += self._second_moment.diagonal()[:, None] * parameters

    @property
    def weights(self):
        """Mean square of the codes of each atom."""
        return self._second_moment.diagonal().copy()

    def step(self, codes, columns, samples, *, decay, unit_norm=False):
        """Take in the codes of a batch, then move the atoms that it used, in place."""
        kernels = get_kernels("cpu")
        kernels.accumulate(
            codes, columns, samples, self._second_moment, self._products, decay=decay
        )
        floor = self._smallest_weight * float(self._second_moment.diagonal().mean())
        kernels.coordinate_descent(
            self.parameters,
            self._second_moment,
            self._products,
            atoms=np.flatnonzero(np.diff(columns[0])),
            floor=floor,
            unit_norm=unit_norm,
        )

    def reset(self, rows, values):
        """Replace rows and forget their codes; what they explained is taken out of B."""
        self._products -= self._second_moment[:, rows] @ self.parameters[rows]
        self._products[rows] = 0
        self._second_moment[rows] = 0
        self._second_moment[:, rows] = 0
        self.parameters[rows] = values


class UsageWindow:
    """How often each atom was used over the last steps, in parts of a tenth of the window.

    Exact whenever a part is complete; in between, the window lacks what the current part lacks.
    """

    def __init__(self, n_atoms, n_steps):
        self._part_steps = max(1, math.ceil(n_steps / WINDOW_PARTS))
        self._counts = np.zeros((WINDOW_PARTS, n_atoms), np.int64)
        self._samples = np.zeros(WINDOW_PARTS, np.int64)
        self._step = 0

    def add(self, counts, n_samples):
        """Add the usage of one step."""
        part = (self._step // self._part_steps) % WINDOW_PARTS
        if self._step % self._part_steps == 0:
            self._counts[part] = 0
            self._samples[part] = 0
        self._counts[part] += counts
        self._samples[part] += n_samples
        self._step += 1

    def counts(self):
        """Uses of each atom within the window."""
        return self._counts.sum(axis=0)

    def dead_fraction(self):
        """Share of atoms used by less than a fraction 1e-5 of the samples of the window."""
        return float(np.mean(self.counts() < DEAD_FRACTION * max(1, self._samples.sum())))

    def forget(self, atoms):
        """Start the counts of some atoms afresh."""
        self._counts[:, atoms] = 0


class History:
    """Curves of the training, one point per block of steps."""

    def __init__(self):
        self.curves = {"step": [], "loss": [], "dead_fraction": [], "n_resets": []}
        self._losses = []
        self._resets = 0

    def add(self, loss, n_resets=0):
        """Note the loss and the resets of one step."""
        self._losses.append(loss)
        self._resets += n_resets

    def close_block(self, step, dead_fraction):
        """End a block: the mean loss since the last one, and the resets in it."""
        if not self._losses:
            return
        self.curves["step"].append(step)
        self.curves["loss"].append(float(np.mean(self._losses)))
        self.curves["dead_fraction"].append(dead_fraction)
        self.curves["n_resets"].append(self._resets)
        self._losses, self._resets = [], 0

    def arrays(self):
        """The curves as arrays."""
        return {name: np.asarray(curve) for name, curve in self.curves.items()}


class TrainingState:
    """Everything that a training step changes. Data are divided by `scale` on the way in."""

    def __init__(self, rng, scale, n_atoms, window):
        self.rng = rng
        self.scale = scale
        self.n_steps = 0
        self.n_passes = 0
        self.usage = UsageWindow(n_atoms, window)
        self.history = History()
        self.remaining_steps = math.inf
        self.diverged = False


class MiniBatchDictionary(Dictionary):
    """Base of the learned dictionaries.

    A subclass provides ``_start(sample, state)``, ``_resume(state)``,
    ``_step(batch, state, learning_rate)`` returning the loss and the number of resets,
    ``_publish_parameters(state)`` and ``_encode``.
    """

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's protocol)
        "n_components": [at_least(1), None],
        "n_nonzero_coefs": [at_least(1), None],
        "transform_n_nonzero_coefs": [at_least(1), None],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "learning_rate_schedule": [StrOptions({"linear", "constant"})],
        "batch_size": [at_least(1), None],
        "max_steps": [at_least(0), None],
        "fit_intercept": ["boolean"],
        "dead_window": [at_least(1)],
        "sparse_output": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def fit(self, X, y=None):
        """Learn the dictionary from all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings, usually whitened on controls and brought to unit length.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted dictionary. When interrupted, by the keyboard or a lack of memory, what was
            learned so far is kept in the fitted attributes.

        Raises
        ------
        ValueError
            If X holds NaN or infinity, a parameter is out of range, or training diverges.
        """
        self._validate_params()
        X = validate_data(self, X, dtype=FLOATS)
        n_samples = X.shape[0]
        self._set_sizes(X.shape[1])
        batch_size = self._batch_size(n_samples)
        max_steps = self._max_steps(n_samples, batch_size)
        state = self._new_state(X, check_random_state(self.random_state))
        log_every = max(1, max_steps // 100)
        try:
            with single_threaded_blas:
                for rows in shuffled_batches(n_samples, batch_size, max_steps, state.rng):
                    state.remaining_steps = max_steps - state.n_steps
                    rate = self._learning_rate(X.shape[1])
                    if self.learning_rate_schedule == "linear":
                        rate *= state.remaining_steps / max_steps
                    self._learn_batch(X[rows], state, rate)
                    if state.n_steps % log_every == 0:
                        self._log(state)
        finally:
            if not state.diverged:
                state.n_passes = math.ceil(state.n_steps * batch_size / n_samples)
                self._log(state)
                self._publish(state)
        self._partial_state = None
        return self

    def partial_fit(self, X, y=None):
        """Learn from one unshuffled pass over the rows, in mini-batches.

        The first call starts the dictionary unless it was fitted before; the learning rate is
        constant. After ``fit`` the dictionary is continued with fresh optimiser moments.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The dictionary.
        """
        self._validate_params()
        first = not hasattr(self, "components_")
        X = validate_data(self, X, dtype=FLOATS, reset=first)
        self._set_sizes(X.shape[1])
        if not first and self._n_atoms != self.components_.shape[0]:
            raise ValueError(
                f"n_components={self.n_components} asks for {self._n_atoms} atoms but the "
                f"dictionary has {self.components_.shape[0]}: partial_fit cannot change their "
                "number, call fit"
            )
        state = self._continued_state(X, first)
        X = X.astype(self.components_.dtype, copy=False) if not first else X
        batch_size = self._batch_size(X.shape[0])
        rate = self._learning_rate(X.shape[1])
        # A step that fails leaves the state half changed: the next call starts from the attributes.
        self._partial_state = None
        with single_threaded_blas:
            for start in range(0, X.shape[0], batch_size):
                self._learn_batch(X[start : start + batch_size], state, rate)
        state.n_passes += 1
        self._log(state)
        self._publish(state)
        self._partial_state = state
        return self

    # ------------------------------------------------------------------ sizes and rates

    def _set_sizes(self, n_features):
        n_atoms = 4 * n_features if self.n_components is None else int(self.n_components)
        width = max(1, n_features // 10) if self.n_nonzero_coefs is None else self.n_nonzero_coefs
        self._n_atoms = n_atoms
        self._n_nonzero_coefs = clip_n_nonzero_coefs(int(width), n_atoms)

    def _batch_size(self, n_samples):
        # As many rows as atoms: then the Gram matrix of a step costs no more than its codes.
        wanted = min(max(self._n_atoms, 256), 8192) if self.batch_size is None else self.batch_size
        return min(int(wanted), n_samples)

    def _max_steps(self, n_samples, batch_size):
        if self.max_steps is not None:
            return int(self.max_steps)
        low, high, passes = self._step_rule
        return int(min(max(math.ceil(passes * n_samples / batch_size), low), high))

    def _learning_rate(self, n_features):
        if self.learning_rate is not None:
            return float(self.learning_rate)
        return self._rate_rule / math.sqrt(n_features)

    # ------------------------------------------------------------------ one step, its start

    def _new_state(self, X, rng):
        rows = np.arange(X.shape[0])
        if X.shape[0] > SAMPLE_ROWS:
            rows = np.sort(rng.choice(X.shape[0], SAMPLE_ROWS, replace=False))
        sample = np.ascontiguousarray(X[rows])
        scale = _row_scale(sample)
        state = TrainingState(rng, scale, self._n_atoms, self.dead_window)
        self._start(sample / sample.dtype.type(scale), state)
        return state

    def _continued_state(self, X, first):
        if first:
            return self._new_state(X, check_random_state(self.random_state))
        state = getattr(self, "_partial_state", None)
        if state is not None:
            return state
        state = TrainingState(
            check_random_state(self.random_state), self._scale, self._n_atoms, self.dead_window
        )
        state.n_steps, state.n_passes = self.n_steps_, self.n_iter_
        state.history.curves = {name: list(curve) for name, curve in self.history_.items()}
        self._resume(state)
        return state

    def _learn_batch(self, rows, state, learning_rate):
        batch = np.array(rows, order="C")
        batch /= batch.dtype.type(state.scale)
        loss, n_resets = self._step(batch, state, learning_rate)
        if not np.isfinite(loss):
            state.diverged = True
            raise ValueError(
                f"training diverged at step {state.n_steps + 1}: the loss is {loss}. Lower "
                f"learning_rate (it is {learning_rate:.3g}) or rescale X"
            )
        state.n_steps += 1
        state.history.add(loss * state.scale**2, n_resets)

    def _log(self, state):
        state.history.close_block(state.n_steps, state.usage.dead_fraction())
        if self.verbose and state.history.curves["step"]:
            curves = state.history.curves
            print(
                f"[{type(self).__name__}] step {curves['step'][-1]}: "
                f"loss {curves['loss'][-1]:.4g}, dead {curves['dead_fraction'][-1]:.1%}, "
                f"resets {curves['n_resets'][-1]}"
            )

    def _publish(self, state):
        """Set the fitted attributes from the state, in the units of the data."""
        self._scale = state.scale
        self._publish_parameters(state)
        self.n_steps_ = state.n_steps
        self.n_iter_ = state.n_passes
        self.history_ = state.history.arrays()

    def _code_width(self):
        """Most non-zeros of a code in `transform`."""
        if self.transform_n_nonzero_coefs is None:
            return self._n_nonzero_coefs
        return clip_n_nonzero_coefs(
            int(self.transform_n_nonzero_coefs),
            self.components_.shape[0],
            name="transform_n_nonzero_coefs",
        )


def shuffled_batches(n_samples, batch_size, n_batches, rng) -> Iterator[np.ndarray]:
    """Rows of `n_batches` batches: passes in random order, every batch full.

    The rows left at the end of a pass open the next one, so that none is used less often.
    """
    order = np.empty(0, np.int64)
    for _ in range(n_batches):
        if order.size < batch_size:
            order = np.concatenate([order, rng.permutation(n_samples)])
        yield order[:batch_size]
        order = order[batch_size:]


def unit_rows(matrix):
    """Rows scaled to unit length; zero rows stay."""
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.where(norms > 0, norms, 1.0)


def _row_scale(sample):
    """Typical distance of the rows from their centre: neither an offset nor one row moves it.

    The median length about the featurewise median. Where most rows are equal, the median length
    of the rows that are not zero; 1 if all are.
    """
    sample = np.asarray(sample, dtype=np.float64)
    centre = np.median(sample[:: max(1, sample.shape[0] // 4096)], axis=0)
    for origin in (centre, 0.0):
        scale = _median_length(sample - origin)
        if scale > 0 and np.isfinite(scale):
            return scale
    return 1.0


def _median_length(rows):
    """Median length of the rows that are not zero, without overflow; 0 if all are."""
    largest = np.abs(rows).max(initial=0.0)
    if largest == 0 or not np.isfinite(largest):
        return float(largest)
    lengths = np.linalg.norm(rows / largest, axis=1)
    return float(largest * np.median(lengths[lengths > 0]))
