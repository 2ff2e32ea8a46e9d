"""What a learned dictionary has to beat, and dictionaries coded by another encoder."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.decomposition import PCA, FastICA, MiniBatchDictionaryLearning, MiniBatchNMF
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skdict._base import FLOATS, Dictionary, cached_gram, encode_in_chunks, gram_is_wanted
from skdict._coding import ALGORITHMS, encode_rows
from skdict._icfl import ICFLDictionary
from skdict._validation import (
    HasMethods,
    StrOptions,
    at_least,
    check_device,
    check_integer,
    clip_n_nonzero_coefs,
    host_array,
)
from skdict.kernels import get_kernels
from skdict.preprocessing import LargestValuesSelector

__all__ = ["NonNegativeShift", "RecodedDictionary", "make_baselines"]


def make_baselines(n_components, n_nonzero_coefs, *, alpha=0.1, random_state=None):
    """Baselines that stand beside a dictionary, unfitted, with equally sparse codes.

    Each takes the place of the dictionary in a pipeline: ``transform`` gives CSR codes with at
    most `n_nonzero_coefs` non-zeros in a row, ``inverse_transform`` a reconstruction.

    Parameters
    ----------
    n_components : int
        Number of atoms of the two that can have more atoms than features, "random" and
        "minibatch". The others have as many components as features.
    n_nonzero_coefs : int
        Most non-zeros in a code, the same for all.
    alpha : float, default=0.1
        Penalty with which "minibatch" learns. For rows of unit length 0.05 to 0.2 makes sense;
        with scikit-learn's own default of 1 all codes of such rows are zero and nothing is learned.
    random_state : int, RandomState instance or None, default=None
        Seed of those that draw. A RandomState instance is asked for one seed here.

    Returns
    -------
    dict of str to estimator
        ``"random"``
            :class:`~skdict.ICFLDictionary` that never learns: atoms drawn from the sphere, coded by
            the same pursuit. What is left of a result when only the encoder works.
        ``"neurons"``
            The features themselves: the largest standardised ones of each row.
        ``"pca"``, ``"ica"``
            Principal and independent components, largest standardised ones.
        ``"nmf"``
            Non-negative factors of the data shifted to be non-negative
            (:class:`NonNegativeShift`), largest standardised ones.
        ``"minibatch"``
            Dictionary of scikit-learn's ``MiniBatchDictionaryLearning``, coded by orthogonal
            matching pursuit (:class:`RecodedDictionary`): its own ``transform`` is dense.

    Raises
    ------
    TypeError
        If `n_components` or `n_nonzero_coefs` is not an integer.
    ValueError
        If one of them is less than 1.

    See Also
    --------
    RecodedDictionary : A dictionary with another encoder: tells apart what each of them adds.
    skdict.preprocessing.LargestValuesSelector : What makes dense components sparse.

    Notes
    -----
    The dense baselines keep the largest absolute values after standardisation, learned in ``fit``;
    in their reconstructions the components left out take their mean.

    ``"minibatch"`` learns in five passes. On 2,280 whitened rows of 216 features of unit length, on
    one core, it took 10 s with 256 atoms (10 times the other learners together), and more passes
    changed little: with codes of 20 non-zeros 0.742, 0.753 and 0.757 of the variance was explained
    after 2, 5 and 10. With thousands of atoms leave it out.
    ``"nmf"`` learns by mini-batches too; on the same rows 2 s instead of 12 s for
    ``sklearn.decomposition.NMF``, at no lower selectivity. It warns where it did not converge.

    Examples
    --------
    >>> from skdict.baselines import make_baselines
    >>> from skdict.datasets import make_superposition
    >>> X = make_superposition(n_samples=300, n_features=12, n_components=24, n_active=2,
    ...                        random_state=0).data
    >>> baselines = make_baselines(24, 2, random_state=0)
    >>> list(baselines)
    ['random', 'neurons', 'pca', 'ica', 'nmf', 'minibatch']
    >>> codes = baselines["pca"].fit_transform(X)
    >>> codes.shape, int(codes.count_nonzero(axis=1).max())
    ((300, 12), 2)
    """
    check_integer("n_components", n_components, 1)
    check_integer("n_nonzero_coefs", n_nonzero_coefs, 1)
    seed = random_state
    if isinstance(random_state, np.random.RandomState):
        # A shared generator would make each baseline depend on which were fitted before it.
        seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    dense = {
        "neurons": (),
        "pca": (PCA(),),
        "ica": (FastICA(max_iter=1000, tol=1e-3, random_state=seed),),
        "nmf": (NonNegativeShift(), MiniBatchNMF(random_state=seed)),
    }
    return {
        "random": ICFLDictionary(
            n_components, n_nonzero_coefs=n_nonzero_coefs, max_steps=0, random_state=seed
        ),
        **{
            name: make_pipeline(*steps, LargestValuesSelector(n_nonzero_coefs))
            for name, steps in dense.items()
        },
        "minibatch": RecodedDictionary(
            MiniBatchDictionaryLearning(n_components, alpha=alpha, max_iter=5, random_state=seed),
            algorithm="omp",
            n_nonzero_coefs=n_nonzero_coefs,
        ),
    }


class NonNegativeShift(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Subtract the smallest value of each column and clip at zero.

    Non-negative factorisation cannot take embeddings, which have either sign. New rows may lie
    below the smallest value seen; they are clipped.

    Attributes
    ----------
    minimum_ : ndarray, shape (n_features,)
        Smallest value of each column in ``fit``.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray of str, shape (`n_features_in_`,)
        Names of the features, if X has names that are all strings.

    Examples
    --------
    >>> from skdict.baselines import NonNegativeShift
    >>> shift = NonNegativeShift().fit([[-1.0, 2.0], [3.0, 0.0]])
    >>> shift.transform([[-2.0, 1.0]])
    array([[0., 1.]])
    """

    def fit(self, X, y=None):
        """Find the smallest value of each column.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
            Dense rows.
        y : None
            Ignored.

        Returns
        -------
        NonNegativeShift
            The fitted transformer.
        """
        self.minimum_ = validate_data(self, X, dtype=FLOATS).min(axis=0)
        return self

    def transform(self, X):
        """Shift rows and clip what is still negative.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
            Dense rows.

        Returns
        -------
        ndarray, shape (n_samples, n_features)
            Non-negative rows in the dtype of X.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=FLOATS, reset=False)
        return np.maximum(X - self.minimum_.astype(X.dtype, copy=False), 0)

    def inverse_transform(self, X):
        """Add the smallest values again; what was clipped stays at the smallest value.

        Parameters
        ----------
        X : array-like, shape (n_samples, n_features)
            Shifted rows.

        Returns
        -------
        ndarray, shape (n_samples, n_features)
            Rows on the scale of the input of ``fit``.
        """
        check_is_fitted(self)
        X = check_array(X, dtype=FLOATS)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X must have {self.n_features_in_} columns, as during fit, got {X.shape[1]}"
            )
        return X + self.minimum_.astype(X.dtype, copy=False)

    def __sklearn_tags__(self):
        """Tags: float32 stays float32."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class RecodedDictionary(Dictionary):
    r"""Dictionary of one method, coded by the encoder of another.

    A method of sparse coding is a dictionary and an encoder. To tell what each of them adds, code
    the atoms of a :class:`~skdict.TopKSAE` by pursuit, or those of a
    :class:`~skdict.ICFLDictionary` in one step as an autoencoder would.

    Parameters
    ----------
    dictionary : estimator
        Learns the atoms; after ``fit`` it must have ``components_`` of shape (n_components,
        n_features), one atom per row, and may have ``intercept_`` or ``mean_``.
        ``sklearn.frozen.FrozenEstimator(fitted)`` takes one that is fitted already.
    algorithm : {"icfl", "omp", "mp", "topk"}, default="icfl"
        The encoder. The first three are pursuits, see :func:`~skdict.sparse_encode`. ``"topk"``
        is the tied encoder of an autoencoder, :math:`z = \mathrm{ReLU}(\mathrm{TopK}(W (x - b)))`
        with the atoms W: the largest inner products are the coefficients. (With
        ``algorithm="icfl"`` and ``atoms_per_step=n_nonzero_coefs`` the same atoms get
        coefficients by least squares.)
    n_nonzero_coefs : int or None, default=None
        Most non-zeros in a code. None takes what `dictionary` codes with:
        its ``transform_n_nonzero_coefs`` or ``n_nonzero_coefs``, or if it has neither a tenth of
        the number of features, at least 1. More than there are atoms is clipped with a warning.
    atoms_per_step : int, default=5
        Atoms per step of ``"icfl"``.
    precompute : bool or "auto", default="auto"
        Whether the pursuits form the Gram matrix of the atoms, see :func:`~skdict.sparse_encode`.
    sparse_output : bool, default=True
        Return codes as CSR; otherwise dense.
    device : str, default="cpu"
        Where to code, see :func:`~skdict.sparse_encode`; `dictionary` has its own.
    precision : {"default", "exact"}, default="default"
        How float32 is multiplied on a GPU.

    Attributes
    ----------
    dictionary_ : estimator
        The fitted dictionary.
    components_ : ndarray of shape (n_components, n_features)
        Its atoms, one per row.
    intercept_ : ndarray of shape (n_features,)
        Its ``intercept_`` or ``mean_``, subtracted before coding and added to reconstructions;
        zeros if it has none.
    n_features_in_ : int
        Number of features seen in fit.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features seen in fit, when X had string names.

    See Also
    --------
    skdict.sparse_encode : Codes over given atoms, without an estimator.
    make_baselines : Baselines that learn no dictionary, or another one.

    Notes
    -----
    The reconstruction from codes of ``"topk"`` is too long where chosen atoms overlap, since each
    coefficient is found as if the atom were alone. Its cosine with the rows says more than
    ``score``, and selectivity and probes do not depend on it.

    Examples
    --------
    >>> from skdict import TopKSAE
    >>> from skdict.baselines import RecodedDictionary
    >>> from skdict.datasets import make_superposition
    >>> X = make_superposition(n_samples=500, n_features=16, n_components=32, n_active=2,
    ...                        random_state=0).data
    >>> autoencoder = TopKSAE(32, n_nonzero_coefs=2, random_state=0)
    >>> by_pursuit = RecodedDictionary(autoencoder, algorithm="omp").fit(X)
    >>> by_pursuit.score(X) > by_pursuit.dictionary_.score(X)
    True
    """

    _parameter_constraints = {  # noqa: RUF012 (scikit-learn's protocol)
        "dictionary": [HasMethods(["fit"])],
        "algorithm": [StrOptions({*ALGORITHMS, "topk"})],
        "n_nonzero_coefs": [at_least(1), None],
        "atoms_per_step": [at_least(1)],
        "precompute": [StrOptions({"auto"}), "boolean"],
        "sparse_output": ["boolean"],
        "device": [str],
        "precision": [StrOptions({"default", "exact"})],
    }

    def __init__(
        self,
        dictionary,
        *,
        algorithm="icfl",
        n_nonzero_coefs=None,
        atoms_per_step=5,
        precompute="auto",
        sparse_output=True,
        device="cpu",
        precision="default",
    ):
        self.dictionary = dictionary
        self.algorithm = algorithm
        self.n_nonzero_coefs = n_nonzero_coefs
        self.atoms_per_step = atoms_per_step
        self.precompute = precompute
        self.sparse_output = sparse_output
        self.device = device
        self.precision = precision

    def fit(self, X, y=None):
        """Learn the atoms with a clone of `dictionary`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.
        y : None
            Ignored.

        Returns
        -------
        self : RecodedDictionary
            The fitted estimator.

        Raises
        ------
        ValueError
            If X is not finite, a parameter is out of range, the device is not there, or the
            atoms of `dictionary` do not have the features of X.
        TypeError
            If the fitted `dictionary` has no ``components_``.
        """
        self._validate_params()
        check_device(self.device)
        X = validate_data(self, host_array(X), dtype=FLOATS)
        self.dictionary_ = clone(self.dictionary).fit(X, None)
        components = getattr(self.dictionary_, "components_", None)
        if components is None:
            raise TypeError(
                f"dictionary must have components_ after fit, but {self.dictionary!r} has not; for "
                "a pipeline put the steps before the dictionary before the RecodedDictionary"
            )
        components = check_array(components, dtype=FLOATS, order="C", input_name="components_")
        if components.shape[1] != X.shape[1]:
            raise ValueError(
                f"dictionary must have atoms of the {X.shape[1]} features of X, but its "
                f"components_ have shape {components.shape}"
            )
        self.components_ = components
        intercept = np.zeros(X.shape[1])
        for name in ("mean_", "intercept_"):
            intercept = getattr(self.dictionary_, name, intercept)
        self.intercept_ = np.asarray(intercept, components.dtype)
        return self

    def _code_width(self):
        """Most non-zeros in a code."""
        width = self.n_nonzero_coefs
        for name in ("transform_n_nonzero_coefs", "n_nonzero_coefs"):
            if width is None:
                width = getattr(self.dictionary_, name, None)
        if width is None:
            width = max(1, self.n_features_in_ // 10)
        return clip_n_nonzero_coefs(int(width), self.components_.shape[0])

    def _encode(self, X):
        kernels, width = get_kernels(self.device), self._code_width()
        components = np.ascontiguousarray(self.components_, X.dtype)
        intercept = np.ascontiguousarray(self.intercept_, X.dtype)
        with kernels.precision(self.precision):
            native = kernels.to_device(components, self.device)
            intercept = kernels.to_device(intercept, self.device)
            if self.algorithm == "topk":
                return self._encode_topk(X, native, intercept, width)
            gram, quantized = self._gram(components, native)
            return encode_rows(
                X,
                native,
                gram,
                intercept,
                device=self.device,
                algorithm=self.algorithm,
                n_nonzero_coefs=width,
                atoms_per_step=int(self.atoms_per_step),
                quantized=quantized,
            )

    def _encode_topk(self, X, native, intercept, width):
        kernels, n_atoms = get_kernels(self.device), self.components_.shape[0]
        bias = kernels.to_device(np.zeros(n_atoms, X.dtype), self.device)
        return encode_in_chunks(
            lambda rows: kernels.encode_topk(rows, native, bias, intercept, n_nonzero_coefs=width),
            X,
            width,
            n_atoms,
            device=self.device,
        )

    def _gram(self, components, native):
        """Gram matrix and its quantized copy, None if unwanted."""
        if not gram_is_wanted(self.precompute, components.shape[0], components.dtype):
            return None, None
        if self.device == "cpu":
            return cached_gram(self, components)
        kernels = get_kernels(self.device)
        gram = kernels.gram_matrix(native)
        return gram, kernels.quantize(native, gram)
