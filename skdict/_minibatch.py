"""The mini-batch loop that ICFL and the TopK sparse autoencoder share.

``fit`` and ``partial_fit`` run the same step; a dictionary provides the step and its start.

What a step changes lives on the device (`_training`). The host draws all random numbers and waits
for the device only where a block of steps is logged and at resets.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from copy import copy
from functools import partial
from numbers import Real
from os import PathLike

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from skdict._base import FLOATS, Dictionary
from skdict._callbacks import CallbackSupportMixin, FitTasks, with_callbacks
from skdict._checkpoints import Checkpoint, FitRecord, parameters_of, settings_of
from skdict._data_order import BatchesInMemory, batches_of, fingerprint_of, spread_rows
from skdict._large_rows import LargeRows
from skdict._ranks import current_ranks
from skdict._training import TrainingState
from skdict._validation import (
    Interval,
    StrOptions,
    at_least,
    check_device,
    clip_n_nonzero_coefs,
    host_array,
)
from skdict.kernels._threads import single_threaded_blas

# Rows that set the scale and the first intercept.
SAMPLE_ROWS = 32_768

# Parameters that a fit may be resumed without: they do not change what is learned.
_NOT_IN_FINGERPRINT = (
    "checkpoint", "resume", "verbose", "device", "precision", "sparse_output",
)  # fmt: skip

# Parameters in which processes that share a fit may differ: those of the first one hold.
_NOT_COMPARED = ("checkpoint", "resume", "verbose", "device", "random_state")

# Steps after which the processes that share a fit are given the parameters of the first one.
HAND_OUT_EVERY = 100


class MiniBatchDictionary(CallbackSupportMixin, Dictionary):
    """Base of the learned dictionaries.

    A subclass provides ``_start(sample, state)`` and ``_resume(state)``;
    ``_before_step(state)``, which the host decides in, returning the number of resets and what
    else the step depends on (arrays); ``_step(state, batch, learning_rate, *those)``, which a
    device may replay on its own, returning the loss (a scalar of the backend) and the uses of
    each atom; ``_count(used, n_rows, state)``; ``_shared_parameters(state)``, arrays on the device;
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
        "device": [str],
        "precision": [StrOptions({"default", "exact"})],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "checkpoint": [str, PathLike, Checkpoint, None],
        "resume": ["boolean", StrOptions({"auto"})],
    }

    @with_callbacks
    def fit(self, X, y=None):
        """Learn the dictionary from all rows.

        Parameters
        ----------
        X : array-like or row source of shape (n_samples, n_features)
            Embeddings, usually whitened on controls and brought to unit length. Memory maps, arrays
            of zarr, h5py and dask and :class:`~skdict.ShardedRows` are read in shuffled blocks
            where they exceed 1 GiB, and so are arrays in memory; finiteness is checked block by
            block then, and not at all with scikit-learn's ``assume_finite``.
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
            If X holds NaN or infinity, a parameter is out of range, the device is not there, or
            training diverges.
        ImportError
            If the device needs torch, which is not installed.
        MemoryError
            If the memory of the device does not hold the atoms or a single row's codes.
        """
        ranks = current_ranks()
        with ranks.together():
            return self._fit(X, y, ranks)

    def _fit(self, X, y, ranks):
        X = ranks.agreed(lambda: self._prepared(X, ranks.n_ranks))
        if ranks.n_ranks > 1:
            ranks.check_equal(self._data | parameters_of(self, without=_NOT_COMPARED))
        record, saved = self._claimed(X, ranks)
        try:
            with record.restoring() if record else nullcontext():
                batch_size, max_steps = self._lengths(X.shape[0], ranks.n_ranks, saved)
            data = batches_of(X, batch_size, ranks)
            sample, state = self._begin(X, data, max_steps, record, saved, ranks)
            log_every = max(1, max_steps // 100)
            shown = sample if isinstance(X, LargeRows) else X
            tasks = FitTasks(self, -(-max_steps // log_every), shown, y, active=ranks.is_first)
            self._learn(data, state, max_steps, log_every, record, tasks)
            if record:
                record.finish()
        finally:
            if record:
                record.release()
        tasks.end_block(partial(self._attributes, state))
        tasks.end(partial(self._attributes, state))
        self._partial_state = None
        return self

    def _prepared(self, X, n_ranks):
        """The rows, after all that can be checked without them."""
        self._validate_params()
        check_device(self.device)
        self._check_shareable(n_ranks)
        X = self._read_rows(X, reset=True)
        self._set_sizes(X.shape[1])
        self._batch_size(X.shape[0], n_ranks)
        self._data = fingerprint_of(X)
        return X

    def _check_shareable(self, n_ranks):
        """Raise ValueError if so many processes cannot share a fit."""

    def _lengths(self, n_samples, n_ranks, saved):
        """Rows of a batch and most steps; those of the fit that is resumed, if one is."""
        batch_size = self._batch_size(n_samples, n_ranks)
        if saved is None:
            return batch_size, self._max_steps(n_samples, batch_size)
        batch_size, max_steps = map(int, saved[1]["lengths"])
        return max(batch_size - batch_size % n_ranks, n_ranks), max_steps

    def _learn(self, data, state, max_steps, log_every, record, tasks):
        """Take the steps that are left; whatever ends them, set the fitted attributes."""
        n_samples, n_features = data.shape
        try:
            with single_threaded_blas:
                for batch in data.batches(state, max_steps - state.n_steps):
                    tasks.begin_block()
                    state.remaining_steps = max_steps - state.n_steps
                    rate = self._learning_rate(n_features)
                    if self.learning_rate_schedule == "linear":
                        rate *= state.remaining_steps / max_steps
                    self._learn_batch(batch, state, rate)
                    ends_block = state.n_steps % log_every == 0
                    if ends_block:
                        self._log(state)
                    if state.n_steps % max(log_every, HAND_OUT_EVERY) == 0:
                        self._hand_out(state)
                    if record and record.is_due(state.n_steps):
                        self._save(record, state, data)
                    if ends_block and self._block_ended(tasks, state):
                        break
            self._hand_out(state)
        finally:
            if not state.diverged:
                state.n_passes = math.ceil(state.n_steps * data.batch_size / n_samples)
                self._log(state)
                self._publish(state)

    def _claimed(self, X, ranks):
        """Checkpoints (of the first process), their folder claimed, and what to go on from."""
        record = None

        def saved_before():
            nonlocal record
            record = self._record(X)
            if record is None:
                return None
            record.claim()
            return record.load(must_exist=self.resume is True) if self.resume else None

        try:
            saved = ranks.from_first(saved_before)
        except BaseException:
            if record:
                record.release()
            raise
        return record, saved

    def _begin(self, X, data, max_steps, record, saved, ranks):
        """A sample of the rows, and the state at the start or where a checkpoint was."""
        rng = check_random_state(self.random_state)
        # The other processes are handed the state; they begin one of the same shape.
        sample = np.zeros((1, X.shape[1]), X.dtype)
        if ranks.is_first:
            sample = data.sample(SAMPLE_ROWS, rng)
        state = self._new_state(sample, rng, ranks)
        data.begin(state.rng)
        state.lengths = [data.batch_size, max_steps]
        if saved is None:
            if record:
                record.forget()
            saved = self._handed_out(state, data)
        if saved is not None:
            with record.restoring() if record else nullcontext():
                state.restore(*saved)
                data.restore(*saved, state.n_steps, state.rng)
                if state.n_steps > max_steps:
                    raise ValueError(f"{state.n_steps} steps of {max_steps}")
                state.lengths = [data.batch_size, max_steps]
        return sample, state

    def _handed_out(self, state, data):
        """The state of the first process, where there are others."""
        if state.ranks.n_ranks == 1:
            return None
        return state.ranks.from_first(lambda: self._saved(state, data))

    def _block_ended(self, tasks, state):
        """End a block of steps; whether a callback asks to stop."""
        return state.ranks.from_first(lambda: tasks.end_block(partial(self._attributes, state)))

    def _hand_out(self, state):
        """Give all processes the parameters of the first, in case machines round differently."""
        for parameters in self._shared_parameters(state):
            state.ranks.hand_out(parameters)

    def partial_fit(self, X, y=None):
        """Learn from one unshuffled pass over the rows, in mini-batches.

        The first call starts the dictionary unless it was fitted before; the learning rate is
        constant. After ``fit`` the dictionary is continued with fresh optimiser moments. What the
        solver remembers stays on the device between calls; with another `device` it is moved.

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
        check_device(self.device)
        if current_ranks().n_ranks > 1:
            raise RuntimeError(
                "partial_fit learns in this process alone: call it outside of data_parallel(), or "
                "use fit"
            )
        first = not hasattr(self, "components_")
        X = validate_data(self, host_array(X), dtype=FLOATS, reset=first)
        self._set_sizes(X.shape[1])
        if not first and self._n_atoms != self.components_.shape[0]:
            raise ValueError(
                f"n_components={self.n_components} asks for {self._n_atoms} atoms but the "
                f"dictionary has {self.components_.shape[0]}: partial_fit cannot change their "
                "number, call fit"
            )
        state = self._continued_state(X, first)
        self._data = None
        X = X.astype(self.components_.dtype, copy=False) if not first else X
        batch_size = self._batch_size(X.shape[0])
        rate = self._learning_rate(X.shape[1])
        # A step that fails leaves the state half changed: the next call starts from the attributes.
        self._partial_state = None
        with single_threaded_blas:
            rows = (slice(i, i + batch_size) for i in range(0, X.shape[0], batch_size))
            for batch in state.kernels.stream(X, rows, state.scale, state.device):
                self._learn_batch(batch, state, rate)
        state.n_passes += 1
        self._log(state)
        self._publish(state)
        state.step = None  # parameters may have other values in the next call
        self._partial_state = state
        return self

    # ------------------------------------------------------------------ checkpoints, callbacks

    def _record(self, X):
        """Checkpoints of a fit, None if there are to be none."""
        if self.checkpoint is None:
            if self.resume:
                raise ValueError(
                    f"resume={self.resume!r} needs a folder to resume from, got checkpoint=None"
                )
            return None
        given = self.checkpoint
        checkpoint = given if isinstance(given, Checkpoint) else Checkpoint(given)
        rows = spread_rows(X)
        return FitRecord(
            checkpoint, settings_of(self, X.shape, X.dtype, rows, without=_NOT_IN_FINGERPRINT)
        )

    def _save(self, record, state, data):
        record.save(state.n_steps, *self._saved(state, data))

    def _saved(self, state, data):
        """Arrays and values of everything that the coming steps depend on."""
        own, theirs = state.saved(), data.saved(state.n_steps)
        return tuple(a | b for a, b in zip(own, theirs, strict=True))

    def _attributes(self, state):
        """Fitted attributes as they are after the last step."""
        state.n_passes = max(1, state.n_passes)
        copied = copy(self)
        before = dict(vars(copied))
        copied._publish(state)
        return {
            name: value for name, value in vars(copied).items() if before.get(name) is not value
        }

    # ------------------------------------------------------------------ sizes and rates

    def _set_sizes(self, n_features):
        n_atoms = 4 * n_features if self.n_components is None else int(self.n_components)
        width = max(1, n_features // 10) if self.n_nonzero_coefs is None else self.n_nonzero_coefs
        self._n_atoms = n_atoms
        self._n_nonzero_coefs = clip_n_nonzero_coefs(int(width), n_atoms)

    def _batch_size(self, n_samples, n_ranks=1):
        """Rows of a batch over all processes; each takes equally many."""
        # As many rows as atoms: then the Gram matrix of a step costs no more than its codes.
        wanted = min(max(self._n_atoms, 256), 8192) if self.batch_size is None else self.batch_size
        batch_size = min(int(wanted), n_samples)
        shared = batch_size - batch_size % n_ranks
        if shared == 0 or (self.batch_size == batch_size and shared != batch_size):
            raise ValueError(
                f"batch_size must be a multiple of the number of processes, {n_ranks}, got "
                f"{batch_size} (for {n_samples} rows)"
            )
        return shared

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

    def _new_state(self, sample, rng, ranks=None):
        scale = _row_scale(sample)
        state = TrainingState(rng, scale, self._n_atoms, self.dead_window, self.device, ranks)
        self._start(sample / sample.dtype.type(scale), state)
        return state

    def _continued_state(self, X, first):
        if first:
            rng = check_random_state(self.random_state)
            sample = BatchesInMemory(X, 1, current_ranks()).sample(SAMPLE_ROWS, rng)
            return self._new_state(sample, rng)
        state = getattr(self, "_partial_state", None)
        if state is not None:
            if state.device != self.device:
                state.move(self.device)
            return state
        rng = check_random_state(self.random_state)
        state = TrainingState(rng, self._scale, self._n_atoms, self.dead_window, self.device)
        state.n_steps, state.n_passes = self.n_steps_, self.n_iter_
        state.history.curves = {name: list(curve) for name, curve in self.history_.items()}
        self._resume(state)
        return state

    def _learn_batch(self, batch, state, learning_rate):
        kernels = state.kernels
        with kernels.precision(self.precision):
            n_resets, inputs = self._before_step(state)
            if state.step is None:
                step, alone = partial(self._step, state), state.ranks.n_ranks == 1
                # A recording cannot hold messages between processes.
                state.step = kernels.recorded(step) if alone else step
            rate = kernels.scalar(learning_rate, batch)
            loss, used = state.step(batch, rate, *inputs)
        n_rows = batch.shape[0] * state.ranks.n_ranks
        state.usage.add(used, n_rows)
        self._count(used, n_rows, state)
        state.n_steps += 1
        state.is_new_block = False
        state.history.add(loss, learning_rate, n_resets)
        if state.waits or state.history.is_full:
            self._fetch_losses(state)

    def _fetch_losses(self, state):
        """Bring the losses of the last steps to the host; one that is not finite is an error."""
        losses, rates = state.history.fetch(state.scale)
        bad = np.flatnonzero(~np.isfinite(losses))
        if bad.size:
            state.diverged = True
            step = state.n_steps - losses.size + bad[0] + 1
            error = ValueError(
                f"training diverged at step {step}: the loss is {losses[bad[0]]}. Lower "
                f"learning_rate (it is {rates[bad[0]]:.3g}) or rescale X"
            )
            error.is_shared = True  # all processes have the same losses
            raise error

    def _log(self, state):
        self._fetch_losses(state)
        state.is_new_block = True
        is_new = state.history.close_block(state.n_steps, state.usage.dead_fraction())
        if self.verbose and is_new and state.ranks.is_first:
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
