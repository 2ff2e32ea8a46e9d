"""TopK sparse autoencoder with a hand-written sparse backward pass."""

from __future__ import annotations

import numpy as np

from skdict._minibatch import Adam, MiniBatchDictionary
from skdict._validation import check_choice, check_integer, check_real
from skdict.kernels import get_kernels


class TopKSAE(MiniBatchDictionary):
    DOC_PLACEHOLDER = None

    _rate_rule = 0.03  # learning rate times sqrt(n_features)
    _step_rule = (1000, 20_000, 20)  # fewest steps, most steps, passes in between

    def __init__(
        self,
        n_components=None,
        *,
        n_nonzero_coefs=None,
        init="tied",
        auxk_coef=1 / 32,
        auxk_n_coefs=None,
        auxk_dead_samples=None,
        learning_rate=None,
        learning_rate_schedule="linear",
        batch_size=None,
        max_steps=None,
        fit_intercept=True,
        dead_window=1000,
        sparse_output=True,
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.n_nonzero_coefs = n_nonzero_coefs
        self.init = init
        self.auxk_coef = auxk_coef
        self.auxk_n_coefs = auxk_n_coefs
        self.auxk_dead_samples = auxk_dead_samples
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.fit_intercept = fit_intercept
        self.dead_window = dead_window
        self.sparse_output = sparse_output
        self.random_state = random_state
        self.verbose = verbose

    def _check_own_parameters(self):
        check_choice("init", self.init, ("tied", "linear"))
        check_real("auxk_coef", self.auxk_coef, 0.0, np.inf)
        check_integer("auxk_n_coefs", self.auxk_n_coefs, 1, none=True)
        check_integer("auxk_dead_samples", self.auxk_dead_samples, 1, none=True)

    # ------------------------------------------------------------------ learning

    def _start(self, sample, state):
        n_atoms, n_features = self._n_atoms, sample.shape[1]
        rng = state.rng
        decoder = _unit_rows(rng.uniform(-1.0, 1.0, size=(n_atoms, n_features)))
        if self.init == "tied":
            encoder = decoder.copy()
            bias = np.zeros(n_atoms)
        else:
            # The default of a linear layer from n_features to n_atoms, weights and biases.
            bound = 1.0 / np.sqrt(n_features)
            encoder = rng.uniform(-bound, bound, size=(n_atoms, n_features))
            bias = rng.uniform(-bound, bound, size=n_atoms)
        intercept = geometric_median(sample) if self.fit_intercept else np.zeros(n_features)
        self._set_state(state, decoder, encoder, bias, intercept, sample.dtype)
        centred = sample - state.intercept.parameters[0]
        state.variance = _positive(np.mean(np.einsum("ij,ij->i", centred, centred)))

    def _resume(self, state):
        scale = self.intercept_.dtype.type(state.scale)
        self._set_state(
            state,
            self.components_,
            self.encoder_,
            self.encoder_bias_ / scale,
            self.intercept_ / scale,
            self.components_.dtype,
        )
        state.variance = self._variance

    def _set_state(self, state, decoder, encoder, bias, intercept, dtype):
        state.decoder = Adam(np.array(decoder, dtype=dtype, order="C"))
        state.encoder = Adam(np.array(encoder, dtype=dtype, order="C"))
        state.bias = Adam(np.array(bias, dtype=dtype)[:, None])
        state.intercept = Adam(np.array(intercept, dtype=dtype)[None, :])
        state.decoder_gradient = np.empty_like(state.decoder.parameters)
        state.encoder_gradient = np.empty_like(state.decoder.parameters)
        state.samples_since_use = np.zeros(decoder.shape[0], np.int64)

    def _step(self, batch, state, learning_rate):
        kernels = get_kernels("cpu")
        decoder, encoder = state.decoder.parameters, state.encoder.parameters
        intercept = state.intercept.parameters[0]
        n_rows, n_atoms = batch.shape[0], decoder.shape[0]
        dead, n_auxiliary = self._dead_candidates(state)
        main, auxiliary = kernels.encode_topk(
            batch,
            encoder,
            state.bias.parameters[:, 0],
            intercept,
            n_nonzero_coefs=[self._n_nonzero_coefs, n_auxiliary],
            candidates=[None, dead],
        )
        codes = kernels.compress(*main)
        residual = kernels.decode(codes, decoder, intercept)
        residual -= batch
        loss = float(np.mean(np.einsum("ij,ij->i", residual, residual, dtype=np.float64)))
        self._count_usage(codes, n_rows, state)
        centred = batch - intercept
        bias_gradient, intercept_gradient = self._backward(
            codes, residual, centred, 2.0 / (n_rows * state.variance), state, accumulate=False
        )
        if n_auxiliary:
            error = -residual
            codes = kernels.compress(*auxiliary)
            misfit = kernels.decode(codes, decoder, np.zeros_like(intercept)) - error
            weight = self.auxk_coef * 2.0 / _positive(n_rows * loss)
            bias_gradient += self._backward(
                codes, misfit, centred, weight, state, accumulate=True
            )[0]
        state.decoder.step(state.decoder_gradient, learning_rate, unit_norm=True)
        state.encoder.step(state.encoder_gradient, learning_rate)
        state.bias.step(bias_gradient[:, None], learning_rate)
        if self.fit_intercept:
            state.intercept.step(intercept_gradient[None, :], learning_rate)
        return loss, 0

    def _backward(self, codes, residual, centred, scale, state, *, accumulate):
        """Gradients of scale / 2 * |residual|^2; only the chosen atoms are touched.

        The weight gradients go to the buffers of the state; those of the encoder bias and of
        the intercept are returned.
        """
        kernels = get_kernels("cpu")
        decoder, encoder = state.decoder.parameters, state.encoder.parameters
        n_atoms = decoder.shape[0]
        columns = kernels.by_atom(codes, n_atoms)
        kernels.sparse_gradient(
            columns,
            codes[0],
            residual,
            scale=scale,
            out=state.decoder_gradient,
            accumulate=accumulate,
        )
        by_code = kernels.code_gradient(residual, codes, decoder, scale=scale)
        kernels.sparse_gradient(
            columns, by_code, centred, scale=1.0, out=state.encoder_gradient, accumulate=accumulate
        )
        bias = np.bincount(codes[1], weights=by_code, minlength=n_atoms).astype(decoder.dtype)
        intercept = scale * residual.sum(axis=0) - bias @ encoder
        return bias, intercept.astype(decoder.dtype)

    def _dead_candidates(self, state):
        """Atoms unused for long, and how many of them the auxiliary loss may use per row."""
        if self.auxk_coef == 0:
            return np.empty(0, np.int64), 0
        dead = np.flatnonzero(state.samples_since_use >= self._dead_samples())
        wanted = self.auxk_n_coefs
        if wanted is None:
            wanted = max(1, state.decoder.parameters.shape[1] // 2)
        return dead, min(int(wanted), dead.size)

    def _dead_samples(self):
        if self.auxk_dead_samples is not None:
            return self.auxk_dead_samples
        # Time in which an atom of average use would have been chosen a hundred times.
        return int(min(10_000_000, 100 * self._n_atoms / self._n_nonzero_coefs))

    def _count_usage(self, codes, n_rows, state):
        used = np.bincount(codes[1], minlength=state.samples_since_use.shape[0])
        state.usage.add(used, n_rows)
        state.samples_since_use += n_rows
        state.samples_since_use[used > 0] = 0

    def _publish_parameters(self, state):
        scale = state.decoder.parameters.dtype.type(state.scale)
        self.components_ = state.decoder.parameters.copy()
        self.encoder_ = state.encoder.parameters.copy()
        self.encoder_bias_ = state.bias.parameters[:, 0] * scale
        self.intercept_ = state.intercept.parameters[0] * scale
        self._variance = state.variance

    # ------------------------------------------------------------------ coding

    def _encode(self, X):
        return get_kernels("cpu").encode_topk(
            X,
            self.encoder_.astype(X.dtype, copy=False),
            self.encoder_bias_.astype(X.dtype, copy=False),
            self.intercept_.astype(X.dtype, copy=False),
            n_nonzero_coefs=self._n_nonzero_coefs,
        )


def geometric_median(sample, *, max_iter=100, tol=1e-6):
    """Point with the smallest sum of distances to the rows (Weiszfeld's algorithm).

    Parameters
    ----------
    sample : ndarray of shape (n_samples, n_features)
        Points.
    max_iter : int, default=100
        Most iterations.
    tol : float, default=1e-6
        Stop when the point moves less than this, relative to the mean distance.

    Returns
    -------
    ndarray of shape (n_features,)
        The geometric median, in float64.
    """
    point = sample.mean(axis=0, dtype=np.float64)
    for _ in range(max_iter):
        distances = np.linalg.norm(sample - point, axis=1)
        typical = distances.mean()
        if typical == 0:
            break
        # A point that falls on a row would divide by zero; the floor keeps it a weighted mean.
        weights = 1.0 / np.maximum(distances, 1e-6 * typical)
        moved = weights @ sample / weights.sum()
        shift = np.linalg.norm(moved - point)
        point = moved
        if shift <= tol * typical:
            break
    return point


def _positive(value):
    """The value, or 1 where it is zero: a scale that cannot divide by zero."""
    return float(value) if value > 0 else 1.0


def _unit_rows(matrix):
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix / np.where(norms > 0, norms, 1.0)
