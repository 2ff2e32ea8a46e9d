"""Iterative codebook feature learning: a dictionary learned with batched matching pursuit."""

from __future__ import annotations

from numbers import Real

import numpy as np

from skdict._base import GRAM_BYTES, cached_gram, gram_bytes, gram_is_wanted
from skdict._coding import encode_rows
from skdict._minibatch import MiniBatchDictionary, unit_rows
from skdict._training import Adam, Sums, Surrogate
from skdict._validation import Interval, StrOptions, at_least
from skdict.kernels import get_kernels

# Step of the intercept, relative to the learning rate of the atoms times sqrt(n_features).
INTERCEPT_RATE = 0.1

# Atoms whose cosines with all others are held at a time, when correlated ones are looked for.
VISITED_ATOMS = 256


class ICFLDictionary(MiniBatchDictionary):
    r"""Sparse dictionary learned by iterative codebook feature learning (ICFL).

    Embeddings are modelled as :math:`x \approx b + W z` with more atoms (columns of W, rows of
    ``components_``) than features and few non-zero entries in :math:`z` (eq. 1 of [1]_). Codes
    come from batched orthogonal matching pursuit (Algorithm 1): starting from
    :math:`r = x - b`, each step picks the ``atoms_per_step`` atoms with the largest inner
    product with the residual, fits *these* to the residual by least squares, and subtracts the
    fit. Earlier coefficients are not refitted; an atom picked again adds to its coefficient.
    The dictionary follows Adam on the gradient of :math:`\|x - b - W z\|^2` with
    :math:`z` held fixed, or is fitted to all codes so far (``solver="online"``). There is no
    encoder to train.

    Parameters
    ----------
    n_components : int or None, default=None
        Number of atoms. None means 4 times the number of features.
    n_nonzero_coefs : int or None, default=None
        Most non-zeros in a code (the paper: 100, as 20 steps of 5). None means a tenth of the
        number of features, at least 1. More than there are atoms is clipped with a warning.
    atoms_per_step : int, default=5
        Atoms chosen at each step of the pursuit (the paper's L). The number of steps is
        ``ceil(n_nonzero_coefs / atoms_per_step)``, the last one taking the remainder.
        1 is matching pursuit.
    selection : {"signed", "absolute"}, default="signed"
        Whether the largest signed or absolute inner products are chosen. Coefficients can have
        either sign in both cases.
    refit : bool, default=False
        Refit all chosen atoms once by least squares at the end of the pursuit.
    precompute : bool or "auto", default="auto"
        Whether the pursuit uses the Gram matrix of the atoms, (n_components, n_components).
        Without it each step takes a product of the residuals with all atoms: usually slower,
        but nothing of that size is held, and the codes agree to rounding. ``"auto"`` forms
        it up to 4 GiB, that is 32,768 atoms in float32 and 23,170 in float64 (the type of X).
        May be changed after fit.
    transform_n_nonzero_coefs : int or None, default=None
        Most non-zeros in `transform`, when it should differ from learning. May be changed
        after fit.
    solver : {"adam", "online"}, default="adam"
        How the atoms follow the codes of a batch. ``"adam"`` takes a gradient step, as the paper
        does. ``"online"`` minimises the squared error over all batches so far, each with
        the codes it had (the surrogate of [2]_), by one pass of block coordinate descent over
        the atoms that the batch used: many fewer steps for the same dictionary, and
        no step size. It holds an (n_components, n_components) array of its own; beyond 4 GiB that
        is an error unless ``precompute=True`` says that such arrays fit.
    forgetting : float, default=30.0
        For ``solver="online"``: codes grow stale while the dictionary changes, so at step t the
        past counts ``(1 - 1 / t) ** forgetting``. What is left is about the last
        ``t / (forgetting + 1)`` batches. 0 forgets nothing.
    learning_rate : float or None, default=None
        Step size of Adam for rows at a typical distance of 1 from their centre (data of another
        scale are rescaled inside). None means ``0.1 / sqrt(n_features)``: a tenth of the typical
        entry of a unit-norm atom. The paper's 5e-5 belongs to 300,000 steps. With
        ``solver="online"`` only the intercept follows it.
    learning_rate_schedule : {"linear", "constant"}, default="linear"
        Whether `fit` lowers the learning rate linearly to zero. `partial_fit` keeps it constant.
    batch_size : int or None, default=None
        Rows in a mini-batch. None means as many as atoms, between 256 and 8192 (the paper:
        8192), and no more than there are rows.
    max_steps : int or None, default=None
        Mini-batches in `fit`. None means 20 passes over the rows, at least 300 and at most
        20,000 steps (the paper: 300,000 steps, 61 passes). 0 keeps the initial dictionary:
        a random baseline.
    reset_every : int or None, default=100
        Every so many steps, all but the most used of each group of atoms with a cosine above
        `reset_threshold` are redrawn uniformly from the unit sphere and what the solver knows of
        them is cleared. There is none in the last `reset_every` steps of `fit`. None disables it.
    reset_threshold : float, default=0.9
        Largest cosine allowed between two atoms at a reset.
    normalize_components : bool, default=True
        Keep atoms at unit length. The paper does not say; without it the selection favours
        long atoms, and redrawn ones (length 1) over initial ones (length about 0.2).
    fit_intercept : bool, default=True
        Learn ``intercept_`` (the paper's b_pre), starting at the mean of the rows.
    init : {"random", "samples"} or array of shape (n_components, n_features), default="random"
        Initial atoms: ``"random"`` as in the paper (the default of a linear layer),
        ``"samples"`` centred rows of X, or given ones.
    dead_window : int, default=1000
        Steps over which ``history_["dead_fraction"]`` counts the use of atoms (Table 1).
    sparse_output : bool, default=True
        Return codes as CSR; otherwise dense.
    device : str, default="cpu"
        Where to compute: ``"cpu"`` (numba), ``"cuda"`` or ``"cuda:<index>"`` (torch on a GPU), or
        ``"torch:cpu"``. Fitted attributes and codes are NumPy in every case. May be changed after
        fit. See :ref:`devices`.
    precision : {"default", "exact"}, default="default"
        How float32 is multiplied on a GPU: ``"default"`` uses its TF32 units where coefficients,
        losses and gradients keep the rounding errors of float32, ``"exact"`` has every product in
        IEEE float32. No difference elsewhere.
    random_state : int, RandomState instance or None, default=None
        Draws the initial atoms, the order of the rows and the resets.
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
        The atoms, one per row.
    intercept_ : ndarray of shape (n_features,)
        Offset subtracted before coding and added to reconstructions.
    n_steps_ : int
        Mini-batches learned from.
    n_iter_ : int
        Passes over the rows, a started one counted.
    history_ : dict of ndarray
        Training curves: ``"step"``, ``"loss"`` (mean squared distance of rows to their
        reconstruction), ``"dead_fraction"`` (share of atoms used by fewer than 1e-5 of the
        samples in the last `dead_window` steps) and ``"n_resets"`` (since the point before).
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in fit, when X had string names.

    See Also
    --------
    TopKSAE : The sparse autoencoder that ICFL is compared with.
    sparse_encode : Codes over a given dictionary.
    ControlPCAWhitener : Whitening on controls, usually before.

    Notes
    -----
    A row stops early when its residual is rounding noise,
    ``|r| <= 10 eps sqrt(n_features) |x - b|``, so that noise never counts as an active feature.
    Ties take the lower index, zero atoms are never chosen, and an atom that depends on the
    ones before it in its block gets 0. Explicit zeros are not stored.

    The intercept follows plain gradient descent, by default a fiftieth of the mean residual per
    step. Nothing but that mean holds it in place, since codes absorb any offset: under
    Adam, whose steps do not shrink with the gradient, it wanders off and the atoms gather around
    its direction.

    ``solver="online"`` holds :math:`A = \sum_t w_t Z_t^T Z_t / n` and
    :math:`B = \sum_t w_t Z_t^T (X_t - b) / n` with the weights of `forgetting`. Atom m
    goes to :math:`u = w_m + (B_m - A_m D) / A_{mm}`, or to :math:`u / \|u\|` with
    `normalize_components`: the minimum of the surrogate over this atom, given all
    moves before it, so the surrogate never rises. Left as they are: atoms
    that the batch did not use, and those for which :math:`A_{mm}` is below a millionth of its
    average or :math:`u` is zero or not finite. As under Adam, an atom that no row uses
    stays; only resets redraw. A reset takes what the old atom explained out of B and clears
    its rows and columns of A. `partial_fit` keeps A and B from call to call; after
    `fit`, or from a pickle made then, it goes on as if each atom had been seen, as it is,
    with the weight :math:`A_{mm}` that it had. A change of the solver between two calls of
    `partial_fit` starts the new one's memory from nothing.

    The squared error follows the longest rows: on planted data one row in 3,000 that was 10,000
    times as long as the others kept every atom from being learned. Bring rows to unit length
    (:class:`~sklearn.preprocessing.Normalizer`) or clip outliers first.

    In float64 the code of a row is bitwise the same alone or among any others, at any number
    of threads.

    References
    ----------
    .. [1] Donhauser et al. "Towards scientific discovery with dictionary learning: extracting
       biological concepts from microscopy foundation models." ICML 2025.
    .. [2] Mairal, Bach, Ponce, Sapiro. "Online learning for matrix factorization and sparse
       coding." Journal of Machine Learning Research 11, 2010.

    Examples
    --------
    >>> from skdict import ICFLDictionary
    >>> from skdict.datasets import make_superposition
    >>> X = make_superposition(n_samples=500, n_features=16, n_components=32, n_active=2,
    ...                        random_state=0).data
    >>> dictionary = ICFLDictionary(32, n_nonzero_coefs=2, atoms_per_step=1, random_state=0)
    >>> codes = dictionary.fit_transform(X)
    >>> codes.shape
    (500, 32)
    >>> int(codes.count_nonzero(axis=1).max())
    2
    >>> bool(dictionary.score(X) > 0.9)
    True
    """

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's protocol)
        **MiniBatchDictionary._parameter_constraints,
        "atoms_per_step": [at_least(1)],
        "selection": [StrOptions({"signed", "absolute"})],
        "refit": ["boolean"],
        "precompute": [StrOptions({"auto"}), "boolean"],
        "solver": [StrOptions({"adam", "online"})],
        "forgetting": [Interval(Real, 0, None, closed="left")],
        "reset_every": [at_least(1), None],
        "reset_threshold": [Interval(Real, 0, 1, closed="right")],
        "normalize_components": ["boolean"],
        "init": [StrOptions({"random", "samples"}), "array-like"],
    }

    _rate_rule = 0.1  # learning rate times sqrt(n_features)
    _step_rule = (300, 20_000, 20)  # fewest steps, most steps, passes in between

    def __init__(
        self,
        n_components=None,
        *,
        n_nonzero_coefs=None,
        atoms_per_step=5,
        selection="signed",
        refit=False,
        precompute="auto",
        transform_n_nonzero_coefs=None,
        solver="adam",
        forgetting=30.0,
        learning_rate=None,
        learning_rate_schedule="linear",
        batch_size=None,
        max_steps=None,
        reset_every=100,
        reset_threshold=0.9,
        normalize_components=True,
        fit_intercept=True,
        init="random",
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
        self.atoms_per_step = atoms_per_step
        self.selection = selection
        self.refit = refit
        self.precompute = precompute
        self.transform_n_nonzero_coefs = transform_n_nonzero_coefs
        self.solver = solver
        self.forgetting = forgetting
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.reset_every = reset_every
        self.reset_threshold = reset_threshold
        self.normalize_components = normalize_components
        self.fit_intercept = fit_intercept
        self.init = init
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
        dictionary = self._initial_dictionary(sample, state.rng)
        if self.fit_intercept:
            intercept = sample.mean(axis=0, dtype=np.float64).astype(sample.dtype)
        else:
            intercept = np.zeros(sample.shape[1], sample.dtype)
        self._set_state(state, dictionary, intercept)

    def _resume(self, state):
        intercept = self.intercept_ / self.intercept_.dtype.type(state.scale)
        self._set_state(state, self.components_.copy(), intercept, self._weights)

    def _set_state(self, state, dictionary, intercept, weights=None):
        state.solver, state.step = self.solver, None
        if self.solver == "online":
            self._check_surrogate_fits(dictionary)
            state.dictionary = Surrogate(dictionary, weights, device=state.device)
        else:
            state.dictionary = Adam(dictionary, device=state.device)
            n_atoms, n_features = dictionary.shape
            state.sums = Sums(
                state.ranks,
                {"gradient": dictionary.shape},
                {"mean": (n_features,), "loss": (), "used": (n_atoms,)},
                dictionary.dtype,
                state.device,
            )
        state.put(
            intercept=intercept.copy(),
            used_since_reset=np.zeros(dictionary.shape[0], np.int64),
        )

    def _check_shareable(self, n_ranks):
        if n_ranks > 1 and self.solver == "online":
            raise ValueError(
                f'solver="online" cannot be fitted by {n_ranks} processes: its '
                "(n_components, n_components) array would have to be sent in every step. Use "
                'solver="adam"'
            )

    def _check_surrogate_fits(self, dictionary):
        n_atoms = dictionary.shape[0]
        n_bytes = gram_bytes(n_atoms, dictionary.dtype)
        # Somebody who asks for a Gram matrix of that size has the memory for a second one.
        if n_bytes > GRAM_BYTES and (isinstance(self.precompute, str) or not self.precompute):
            raise ValueError(
                f'solver="online" holds an (n_components, n_components) array, '
                f"{n_bytes / 2**30:.3g} GiB for n_components={n_atoms} in {dictionary.dtype}, more "
                f'than {GRAM_BYTES / 2**30:.3g} GiB: use solver="adam" or fewer atoms, or '
                "precompute=True if two such arrays fit in memory"
            )

    def _initial_dictionary(self, sample, rng):
        n_atoms, n_features = self._n_atoms, sample.shape[1]
        if not isinstance(self.init, str):
            dictionary = self._given_dictionary(n_features).astype(sample.dtype)
        else:
            # The default initialisation of a linear layer from n_atoms to n_features.
            bound = 1.0 / np.sqrt(n_atoms)
            dictionary = rng.uniform(-bound, bound, size=(n_atoms, n_features))
            if self.init == "samples":
                centred = sample - sample.mean(axis=0)
                centred = centred[np.linalg.norm(centred, axis=1) > 0]
                rows = rng.permutation(centred.shape[0])[:n_atoms]
                dictionary[: rows.size] = centred[rows]
            dictionary = dictionary.astype(sample.dtype)
        return unit_rows(dictionary) if self.normalize_components else dictionary

    def _given_dictionary(self, n_features):
        dictionary = np.array(self.init, dtype=np.float64)
        if dictionary.shape != (self._n_atoms, n_features):
            raise ValueError(
                "init must be 'random', 'samples' or an array of shape (n_components, n_features)"
                f" = ({self._n_atoms}, {n_features}), got shape {dictionary.shape}"
            )
        if not np.isfinite(dictionary).all():
            raise ValueError("init must be finite, got an array with NaN or infinity")
        return dictionary

    def _before_step(self, state):
        kernels = state.kernels
        if state.solver != self.solver:  # changed between two calls of `partial_fit`
            self._set_state(
                state,
                np.array(kernels.to_host(state.dictionary.parameters)),
                kernels.to_host(state.intercept),
            )
        if not self._reset_is_due(state):
            return 0, ()
        n_resets = self._reset_correlated(state)
        state.used_since_reset[:] = 0
        return n_resets, ()

    def _gram(self, state):
        """Gram matrix of the atoms, None if there is to be none."""
        if not gram_is_wanted(self.precompute, self._n_atoms, state.dictionary.dtype):
            return None
        return state.kernels.gram_matrix(state.dictionary.parameters)

    def _step(self, state, batch, learning_rate):
        kernels = state.kernels
        dictionary, intercept = state.dictionary.parameters, state.intercept
        gram = self._gram(state)
        codes = kernels.compress(
            *kernels.encode_icfl(
                batch,
                dictionary,
                gram,
                intercept,
                n_nonzero_coefs=self._n_nonzero_coefs,
                atoms_per_step=int(self.atoms_per_step),
                absolute=self.selection == "absolute",
                refit=bool(self.refit),
                quantized=None if gram is None else kernels.quantize(dictionary, gram),
            )
        )
        residual = kernels.decode(codes, dictionary, intercept)
        residual -= batch
        loss, used = kernels.mean_squared_norm(residual), kernels.count_uses(codes, self._n_atoms)
        mean = kernels.column_mean(residual) if self.fit_intercept else None
        if self.solver == "online":
            self._update_surrogate(batch, codes, state)
        else:
            loss, used, mean = self._update_dictionary(
                codes, residual, state, learning_rate, loss, used, mean
            )
        if self.fit_intercept:
            step = float(INTERCEPT_RATE * np.sqrt(batch.shape[1])) * learning_rate
            kernels.subtract_scaled(intercept, mean, 2.0 * step)
        return loss, used

    def _count(self, used, n_rows, state):
        state.used_since_reset += used

    def _update_surrogate(self, batch, codes, state):
        columns = state.kernels.by_atom(codes, self._n_atoms)
        decay = (state.n_steps / (state.n_steps + 1.0)) ** self.forgetting
        state.dictionary.step(
            codes, columns, batch - state.intercept,
            decay=decay, unit_norm=bool(self.normalize_components),
        )  # fmt: skip

    def _update_dictionary(self, codes, residual, state, learning_rate, loss, used, mean):
        """Adam step; loss, uses and mean residual over the rows of all processes."""
        kernels, gradient = state.kernels, state.sums["gradient"]
        n_ranks = state.ranks.n_ranks
        columns = kernels.by_atom(codes, self._n_atoms)
        scale = 2.0 / (n_ranks * residual.shape[0])
        kernels.sparse_gradient(columns, codes[0], residual, scale=scale, out=gradient)
        if n_ranks > 1:
            mean = kernels.zeros_like(state.intercept) if mean is None else mean / n_ranks
            loss, used, mean = state.sums.add_up(loss=loss / n_ranks, used=used, mean=mean)
        unit_norm = bool(self.normalize_components)
        state.dictionary.step(gradient, learning_rate, unit_norm=unit_norm)
        return loss, used, mean

    def _reset_is_due(self, state):
        return (
            self.reset_every is not None
            and state.n_steps > 0
            and state.n_steps % self.reset_every == 0
            and state.remaining_steps > self.reset_every
        )

    def _reset_correlated(self, state):
        """Redraw all but the most used atom of every group of too similar atoms."""
        dictionary = state.dictionary.parameters
        usage = state.kernels.to_host(state.used_since_reset)
        # Decided once: cosines at the threshold may be rounded differently on another machine.
        atoms = state.ranks.from_first(
            lambda: correlated_atoms(
                dictionary,
                usage,
                self.reset_threshold,
                gram=self._gram(state),
                device=state.device,
            )
        )
        if atoms.size:
            fresh = state.rng.normal(size=(atoms.size, dictionary.shape[1]))
            state.dictionary.reset(atoms, unit_rows(fresh))
            state.usage.forget(atoms)
        return atoms.size

    def _shared_parameters(self, state):
        return [state.dictionary.parameters, state.intercept]

    def _publish_parameters(self, state):
        kernels = state.kernels
        self.components_ = np.array(kernels.to_host(state.dictionary.parameters))
        self._weights = state.dictionary.weights if state.solver == "online" else None
        intercept = kernels.to_host(state.intercept)
        self.intercept_ = intercept * intercept.dtype.type(state.scale)

    # ------------------------------------------------------------------ coding

    def _encode(self, X):
        kernels = get_kernels(self.device)
        with kernels.precision(self.precision):
            components = np.ascontiguousarray(self.components_, X.dtype)
            native = kernels.to_device(components, self.device)
            gram, quantized = self._gram_for_coding(components, native)
            return encode_rows(
                X,
                native,
                gram,
                kernels.to_device(np.ascontiguousarray(self.intercept_, X.dtype), self.device),
                device=self.device,
                algorithm="icfl",
                n_nonzero_coefs=self._code_width(),
                atoms_per_step=int(self.atoms_per_step),
                absolute=self.selection == "absolute",
                refit=bool(self.refit),
                quantized=quantized,
            )

    def _gram_for_coding(self, components, native):
        """Gram matrix and quantized copy, None if unwanted; `native` lies on the device."""
        if not gram_is_wanted(self.precompute, components.shape[0], components.dtype):
            return None, None
        if self.device == "cpu":
            return cached_gram(self, components)
        # Quickly formed there, and not kept in a memory that others need.
        kernels = get_kernels(self.device)
        gram = kernels.gram_matrix(native)
        return gram, kernels.quantize(native, gram)


def correlated_atoms(dictionary, usage, threshold, *, gram=None, device="cpu"):
    """Atoms to redraw so that no pair has a cosine above `threshold`.

    Atoms are visited from the most used one down; each that is still there removes all others
    too similar to it. Cosines are signed: opposite atoms are kept.

    Parameters
    ----------
    dictionary : array of shape (n_components, n_features)
        The atoms, on the device.
    usage : ndarray of shape (n_components,)
        How often each atom was used.
    threshold : float
        Largest cosine allowed.
    gram : array of shape (n_components, n_components), default=None
        Inner products of the atoms, on the device. None means that they are computed for a few
        atoms at a time, and never for those that are removed already.
    device : str, default="cpu"
        Where the arrays live.

    Returns
    -------
    ndarray of int
        Indices of the atoms to redraw, ascending.
    """
    kernels = get_kernels(device)
    n_atoms = dictionary.shape[0]
    squared = kernels.squared_norms(dictionary) if gram is None else gram.diagonal()
    norms = kernels.to_device(np.sqrt(kernels.to_host(squared)), device)
    order = np.lexsort((np.arange(n_atoms), -np.asarray(usage)))
    rank = np.argsort(order)
    removed = np.zeros(n_atoms, bool)
    for start in range(0, n_atoms, VISITED_ATOMS):
        atoms = order[start : start + VISITED_ATOMS]
        atoms = atoms[~removed[atoms]]
        visited = kernels.to_device(atoms, device)
        if gram is None:
            similar = kernels.similar_atoms(dictionary, visited, norms, threshold)
        else:
            similar = gram[visited] > threshold * norms[visited, None] * norms
        similar[kernels.to_device(np.arange(atoms.size), device), visited] = False
        for k in np.flatnonzero(kernels.to_host(similar.any(axis=1))):
            if not removed[atoms[k]]:
                # An atom visited before stays, should rounding see the pair from one side only.
                removed[kernels.to_host(similar[k]) & (rank > rank[atoms[k]])] = True
    return np.flatnonzero(removed)
