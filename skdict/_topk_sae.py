"""TopK sparse autoencoder with a hand-written sparse backward pass."""

from __future__ import annotations

from numbers import Real

import numpy as np

from skdict._base import encode_in_chunks
from skdict._minibatch import MiniBatchDictionary, unit_rows
from skdict._training import Adam, Sums
from skdict._validation import Interval, StrOptions, at_least
from skdict.kernels import get_kernels

# Steps after which dead atoms are looked for again on a device, at the latest.
LOOK_EVERY = 100


class TopKSAE(MiniBatchDictionary):
    r"""TopK sparse autoencoder.

    Codes are :math:`z = \mathrm{ReLU}(\mathrm{TopK}(W_{enc} (x - b_{pre}) + b_{enc}))`, of the
    pre-activations the K largest signed ones, and reconstructions
    :math:`\hat x = W_{dec} z + b_{pre}` (eq. 2 and 3 of [1]_ with the dimensions mended as in
    [2]_). Decoder rows have unit length; the part of the gradient along them is removed before
    each step of Adam. The gradient touches only the chosen atoms and is written by hand.

    Parameters
    ----------
    n_components : int or None, default=None
        Number of atoms. None means 4 times the number of features.
    n_nonzero_coefs : int or None, default=None
        Entries kept in a code (K; the paper: 100), of which negative ones become 0. None means a
        tenth of the number of features, at least 1. More than there are atoms is clipped with
        a warning.
    transform_n_nonzero_coefs : int or None, default=None
        Entries kept in `transform`, when it should differ from learning. May be changed after
        fit.
    init : {"tied", "linear"}, default="tied"
        ``"tied"`` starts the encoder as a copy of the random decoder, with zero bias.
        ``"linear"`` draws the encoder, its bias and the decoder separately, as linear layers
        do by default: the baseline of the paper, together with ``auxk_coef=0``.
    auxk_coef : float, default=1/32
        Weight of the auxiliary loss: dead atoms reconstruct what the living ones leave,
        relative to its size. 0 switches it off.
    auxk_n_coefs : int or None, default=None
        Dead atoms used per row in the auxiliary loss. None means half the number of features.
    auxk_dead_samples : int or None, default=None
        Samples without use after which an atom counts as dead for the auxiliary loss. None
        means 100 times the samples in which an atom of average use is chosen once,
        ``100 n_components / n_nonzero_coefs``, at most 10 million.
    learning_rate : float or None, default=None
        Step size of Adam for rows at a typical distance of 1 from their centre (data of another
        scale are rescaled inside). None means ``0.1 / sqrt(n_features)``.
    learning_rate_schedule : {"linear", "constant"}, default="linear"
        Whether `fit` lowers the learning rate linearly to zero. `partial_fit` keeps it constant.
    batch_size : int or None, default=None
        Rows in a mini-batch. None means as many as atoms, between 256 and 8192 (the paper:
        8192), and no more than there are rows.
    max_steps : int or None, default=None
        Mini-batches in `fit`. None means 20 passes over the rows, at least 300 and at most
        20,000 steps (the paper: 300,000 steps, 61 passes).
    fit_intercept : bool, default=True
        Learn ``intercept_`` (b_pre), starting at the geometric median of the rows.
    dead_window : int, default=1000
        Steps over which ``history_["dead_fraction"]`` counts the use of atoms (Table 1).
    sparse_output : bool, default=True
        Return codes as CSR; otherwise dense.
    device : str, default="cpu"
        Where to compute: ``"cpu"`` (numba), ``"cuda"`` or ``"cuda:<index>"`` (torch on a GPU), or
        ``"torch:cpu"``. Fitted attributes and codes are NumPy in every case. May be changed after
        fit. See :ref:`devices`.
    precision : {"default", "exact"}, default="default"
        How float32 is multiplied on a GPU: ``"default"`` uses its TF32 units where activations,
        losses and gradients keep the rounding errors of float32, ``"exact"`` has every product in
        IEEE float32. No difference elsewhere.
    random_state : int, RandomState instance or None, default=None
        Draws the initial weights and the order of the rows.
    verbose : int, default=0
        Print a line per block of steps.
    checkpoint : str, Path, Checkpoint or None, default=None
        Folder in which `fit` writes down its state, every ten minutes or as a
        :class:`~skdict.Checkpoint` says.
    resume : bool or "auto", default=False
        Go on from the last checkpoint of a fit that was not finished, with these parameters and
        data. Where there is none `fit` starts anew; ``True`` refuses to if there are
        unfinished ones of other parameters or data alone.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Decoder atoms, one per row, of unit length.
    intercept_ : ndarray of shape (n_features,)
        Offset subtracted before encoding and added to reconstructions (b_pre).
    encoder_ : ndarray of shape (n_components, n_features)
        Encoder weights.
    encoder_bias_ : ndarray of shape (n_components,)
        Encoder bias.
    n_steps_ : int
        Mini-batches learned from.
    n_iter_ : int
        Passes over the rows, a started one counted.
    history_ : dict of ndarray
        Training curves: ``"step"``, ``"loss"`` (mean squared distance of rows to their
        reconstruction), ``"dead_fraction"`` (share of atoms used by fewer than 1e-5 of the
        samples in the last `dead_window` steps) and ``"n_resets"`` (always 0 here).
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in fit, when X had string names.

    See Also
    --------
    ICFLDictionary : Dictionary with a pursuit in place of the encoder.

    Notes
    -----
    The auxiliary loss trains decoder, encoder and encoder bias of dead atoms, not the intercept.
    Which atoms are dead is looked up at each step on ``device="cpu"``; elsewhere, where the host
    would have to wait for the answer, when a point of `history_` is logged and every 100 steps.

    The squared error follows the longest rows: on planted data one row in 3,000 that was 10,000
    times as long as the others kept every atom from being learned. Bring rows to unit length
    (:class:`~sklearn.preprocessing.Normalizer`) or clip outliers first.

    References
    ----------
    .. [1] Donhauser et al. "Towards scientific discovery with dictionary learning: extracting
       biological concepts from microscopy foundation models." ICML 2025.
    .. [2] Gao et al. "Scaling and evaluating sparse autoencoders." ICLR 2025.

    Examples
    --------
    >>> from skdict import TopKSAE
    >>> from skdict.datasets import make_superposition
    >>> X = make_superposition(n_samples=500, n_features=16, n_components=32, n_active=2,
    ...                        random_state=0).data
    >>> autoencoder = TopKSAE(32, n_nonzero_coefs=2, random_state=0).fit(X)
    >>> codes = autoencoder.transform(X)
    >>> bool((codes.data > 0).all()), int(codes.count_nonzero(axis=1).max())
    (True, 2)
    """

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's protocol)
        **MiniBatchDictionary._parameter_constraints,
        "init": [StrOptions({"tied", "linear"})],
        "auxk_coef": [Interval(Real, 0, None, closed="left")],
        "auxk_n_coefs": [at_least(1), None],
        "auxk_dead_samples": [at_least(1), None],
    }

    _rate_rule = 0.1  # learning rate times sqrt(n_features)
    _step_rule = (300, 20_000, 20)  # fewest steps, most steps, passes in between

    def __init__(
        self,
        n_components=None,
        *,
        n_nonzero_coefs=None,
        transform_n_nonzero_coefs=None,
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
        device="cpu",
        precision="default",
        random_state=None,
        verbose=0,
        checkpoint=None,
        resume=False,
    ):
        self.n_components = n_components
        self.n_nonzero_coefs = n_nonzero_coefs
        self.transform_n_nonzero_coefs = transform_n_nonzero_coefs
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
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose
        self.checkpoint = checkpoint
        self.resume = resume

    # ------------------------------------------------------------------ learning

    def _start(self, sample, state):
        n_atoms, n_features = self._n_atoms, sample.shape[1]
        rng = state.rng
        decoder = unit_rows(rng.uniform(-1.0, 1.0, size=(n_atoms, n_features)))
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
        centred = sample - intercept.astype(sample.dtype)
        variance = float(np.mean(np.einsum("ij,ij->i", centred, centred)))
        state.variance = variance if variance > 0 else 1.0  # something to divide by

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
        state.step = None
        state.decoder = Adam(np.array(decoder, dtype=dtype, order="C"), state.device)
        state.encoder = Adam(np.array(encoder, dtype=dtype, order="C"), state.device)
        state.bias = Adam(np.array(bias, dtype=dtype)[:, None], state.device)
        state.intercept = Adam(np.array(intercept, dtype=dtype)[None, :], state.device)
        n_atoms, n_features = decoder.shape
        state.sums = Sums(
            state.ranks,
            {"decoder": decoder.shape, "encoder": decoder.shape},
            {"bias": (n_atoms,), "intercept": (n_features,), "loss": (), "used": (n_atoms,)},
            dtype,
            state.device,
        )
        state.put(
            samples_since_use=np.zeros(decoder.shape[0], np.int64),
            dead=np.empty(0, np.int64),
        )

    def _before_step(self, state):
        self._find_dead(state)
        return 0, (state.dead,)

    def _step(self, state, batch, learning_rate, dead):
        kernels = state.kernels
        decoder, encoder = state.decoder.parameters, state.encoder.parameters
        intercept = state.intercept.parameters[0]
        n_rows = state.ranks.n_ranks * batch.shape[0]
        n_auxiliary = self._n_auxiliary(dead.shape[0], batch.shape[1])
        n_sets = 2 if n_auxiliary else 1
        main, *auxiliary = kernels.encode_topk(
            batch,
            encoder,
            state.bias.parameters[:, 0],
            intercept,
            n_nonzero_coefs=[self._n_nonzero_coefs, n_auxiliary][:n_sets],
            candidates=[None, dead][:n_sets],
        )
        codes = kernels.compress(*main)
        residual = kernels.decode(codes, decoder, intercept)
        residual -= batch
        loss, used = kernels.mean_squared_norm(residual), kernels.count_uses(codes, self._n_atoms)
        centred = batch - intercept
        bias_gradient, intercept_gradient = self._backward(
            codes, residual, centred, 2.0 / (n_rows * state.variance), state, accumulate=False
        )
        if state.ranks.n_ranks > 1:
            loss = loss / state.ranks.n_ranks
        if n_auxiliary:
            codes = kernels.compress(*auxiliary[0])
            # The auxiliary atoms reconstruct the error, which is -residual.
            misfit = kernels.decode(codes, decoder, kernels.zeros_like(intercept)) + residual
            weight = self.auxk_coef * 2.0 / kernels.positive(n_rows * _total(loss, state))
            bias_gradient += self._backward(codes, misfit, centred, weight, state, accumulate=True)[
                0
            ]
        loss, used, bias_gradient, intercept_gradient = state.sums.add_up(
            loss=loss, used=used, bias=bias_gradient, intercept=intercept_gradient
        )
        state.decoder.step(state.sums["decoder"], learning_rate, unit_norm=True)
        state.encoder.step(state.sums["encoder"], learning_rate)
        state.bias.step(bias_gradient[:, None], learning_rate)
        if self.fit_intercept:
            state.intercept.step(intercept_gradient[None, :], learning_rate)
        return loss, used

    def _backward(self, codes, residual, centred, scale, state, *, accumulate):
        """Gradients of scale / 2 * |residual|^2; only the chosen atoms are touched.

        The weight gradients go to the buffers of the state; those of the encoder bias and of
        the intercept are returned.
        """
        kernels = state.kernels
        decoder, encoder = state.decoder.parameters, state.encoder.parameters
        n_atoms = decoder.shape[0]
        columns = kernels.by_atom(codes, n_atoms)
        kernels.sparse_gradient(
            columns,
            codes[0],
            residual,
            scale=scale,
            out=state.sums["decoder"],
            accumulate=accumulate,
        )
        by_code = kernels.code_gradient(residual, codes, decoder, scale=scale)
        kernels.sparse_gradient(
            columns,
            by_code,
            centred,
            scale=1.0,
            out=state.sums["encoder"],
            accumulate=accumulate,
        )
        bias = kernels.sum_by_atom(codes, by_code, n_atoms)
        return bias, kernels.column_sum(residual) * scale - bias @ encoder

    def _find_dead(self, state):
        """Atoms unused for long go to ``state.dead``.

        On a device that works on its own, looking means waiting: it is done once in a while.
        """
        if self.auxk_coef == 0:
            return
        if state.waits or state.is_new_block or state.n_steps % LOOK_EVERY == 0:
            unused = state.kernels.to_host(state.samples_since_use)
            state.put(dead=np.flatnonzero(unused >= self._dead_samples()))

    def _n_auxiliary(self, n_dead, n_features):
        """How many dead atoms the auxiliary loss may use per row."""
        wanted = self.auxk_n_coefs
        if wanted is None:
            wanted = max(1, n_features // 2)
        return 0 if self.auxk_coef == 0 else min(int(wanted), n_dead)

    def _dead_samples(self):
        if self.auxk_dead_samples is not None:
            return self.auxk_dead_samples
        # Time in which an atom of average use would have been chosen a hundred times.
        return int(min(10_000_000, 100 * self._n_atoms / self._n_nonzero_coefs))

    def _count(self, used, n_rows, state):
        state.samples_since_use += n_rows
        state.samples_since_use *= used == 0

    def _shared_parameters(self, state):
        return [
            part.parameters for part in (state.decoder, state.encoder, state.bias, state.intercept)
        ]

    def _publish_parameters(self, state):
        decoder, encoder, bias, intercept = (
            np.array(state.kernels.to_host(part.parameters))
            for part in (state.decoder, state.encoder, state.bias, state.intercept)
        )
        scale = decoder.dtype.type(state.scale)
        self.components_, self.encoder_ = decoder, encoder
        self.encoder_bias_, self.intercept_ = bias[:, 0] * scale, intercept[0] * scale
        self._variance = state.variance

    # ------------------------------------------------------------------ coding

    def _encode(self, X):
        kernels, width = get_kernels(self.device), self._code_width()
        parameters = [
            kernels.to_device(np.ascontiguousarray(array, X.dtype), self.device)
            for array in (self.encoder_, self.encoder_bias_, self.intercept_)
        ]
        with kernels.precision(self.precision):
            return encode_in_chunks(
                lambda rows: kernels.encode_topk(rows, *parameters, n_nonzero_coefs=width),
                X,
                width,
                self.components_.shape[0],
                device=self.device,
            )


def _total(loss, state):
    """Loss over the rows of all processes: the auxiliary loss is divided by it."""
    if state.ranks.n_ranks == 1:
        return loss
    total = state.kernels.zeros_like(state.intercept.parameters[0, :1])
    total[0] = loss
    state.ranks.add_up(total)
    return total[0]


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
