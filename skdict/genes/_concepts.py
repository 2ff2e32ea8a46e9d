"""What turns embeddings into activations of concepts: a fitted dictionary, or linear directions."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skdict._validation import check_real, host_array

# Float64 values of one block of rows.
_BLOCK_VALUES = 1 << 22


class _Concepts:
    """What both kinds share: rows in blocks, and which concepts are asked for."""

    n_concepts: int

    def codes(self, E, concepts=None):
        """Activations of the concepts, as CSR.

        Parameters
        ----------
        E : array-like or tensor, shape (n_cells, n_features)
            Embeddings; a memory map is read in blocks.
        concepts : array-like of int, shape (n_chosen,), or None, default=None
            The concepts, in this order; None means all.

        Returns
        -------
        csr_array, shape (n_cells, n_chosen)
            The activations; no explicit zeros.

        Raises
        ------
        ValueError
            If E has a wrong shape, NaN or infinity, or a concept does not exist.
        """
        E = check_embeddings(E, "E")
        chosen = None if concepts is None else check_concepts(concepts, self.n_concepts)
        width = max(E.shape[1], self._block_width(chosen))
        blocks = [
            self._codes_of(self.transform_input(E[rows]), chosen) for rows in _row_blocks(E, width)
        ]
        return _stacked(blocks)

    def pre_activations(self, E, concepts=None) -> np.ndarray:
        """What decides whether a concept activates, before concepts compete and are cut off.

        Parameters
        ----------
        E : array-like or tensor, shape (n_cells, n_features)
            Embeddings; a memory map is read in blocks.
        concepts : array-like of int, shape (n_chosen,), or None, default=None
            The concepts, in this order; None means all.

        Returns
        -------
        ndarray, shape (n_cells, n_chosen)
            The pre-activations.

        Raises
        ------
        ValueError
            If E has a wrong shape, NaN or infinity, or a concept does not exist.
        """
        E = check_embeddings(E, "E")
        chosen = np.arange(self.n_concepts)
        if concepts is not None:
            chosen = check_concepts(concepts, self.n_concepts)
        blocks = [
            self._pre_of(self.transform_input(E[rows]), chosen)
            for rows in _row_blocks(E, max(E.shape[1], chosen.shape[0]))
        ]
        return np.concatenate(blocks)

    def activations(self, E, concepts) -> tuple[sparse.csr_array, np.ndarray]:
        """Codes and pre-activations of some concepts; the embeddings are transformed once.

        Parameters
        ----------
        E : array-like or tensor, shape (n_cells, n_features)
            Embeddings.
        concepts : array-like of int, shape (n_chosen,)
            The concepts, in this order.

        Returns
        -------
        codes : csr_array, shape (n_cells, n_chosen)
            As from `codes`.
        pre_activations : ndarray, shape (n_cells, n_chosen)
            As from `pre_activations`.
        """
        x = self.transform_input(E)
        chosen = check_concepts(concepts, self.n_concepts)
        return _stacked([self._codes_of(x, chosen)]), self._pre_of(x, chosen)

    def transform_input(self, E) -> np.ndarray:
        """Embeddings as the concepts see them.

        Parameters
        ----------
        E : array-like or tensor, shape (n_cells, n_features)
            Embeddings.

        Returns
        -------
        ndarray, shape (n_cells, n_features_out)
            Embeddings after the steps in front of the dictionary, or with the mean subtracted.
        """
        return self._transformed(check_embeddings(E, "E"))

    def _block_width(self, chosen) -> int:
        """Values per row that `_codes_of` holds."""
        return 1

    def _transformed(self, E) -> np.ndarray:
        """Checked embeddings as the concepts see them."""
        raise NotImplementedError

    def _codes_of(self, x, chosen):
        """Codes of transformed rows, sparse or dense; None chooses all concepts."""
        raise NotImplementedError

    def _pre_of(self, x, chosen) -> np.ndarray:
        """Pre-activations of transformed rows."""
        raise NotImplementedError


class DictionaryConcepts(_Concepts):
    r"""Concepts of a fitted dictionary, alone or at the end of a pipeline.

    Codes are those of ``pipeline.transform``. The pre-activation of concept k is, with
    :math:`x` the embedding after the steps in front of the dictionary,

    * for :class:`~skdict.ICFLDictionary` the inner product :math:`w_k \cdot (x - b)` of its atom,
      the correlation that the first step of the pursuit ranks;
    * for :class:`~skdict.TopKSAE` what its TopK ranks,
      :math:`e_k \cdot (x - b) + \beta_k` with the weights and bias of the encoder.

    Parameters
    ----------
    pipeline : ICFLDictionary, TopKSAE or Pipeline
        A fitted dictionary, or a fitted pipeline that ends with one.

    Attributes
    ----------
    n_concepts : int
        Number of atoms.

    Raises
    ------
    TypeError
        If the last step is no dictionary.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    Notes
    -----
    A concept *activates* a cell where its code is above zero. Coefficients of a pursuit can be
    negative; such a cell does not count as activating, nor as inactive.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict import ICFLDictionary
    >>> from skdict.genes import DictionaryConcepts
    >>> E = np.random.default_rng(0).normal(size=(300, 6))
    >>> dictionary = ICFLDictionary(12, n_nonzero_coefs=2, max_steps=10, random_state=0).fit(E)
    >>> concepts = DictionaryConcepts(dictionary)
    >>> concepts.codes(E).shape, concepts.pre_activations(E[:5], [3, 7]).shape
    ((300, 12), (5, 2))
    """

    def __init__(self, pipeline):
        self.pipeline = pipeline
        self._front, self._dictionary = None, pipeline
        if isinstance(pipeline, Pipeline):
            self._dictionary = pipeline.steps[-1][1]
            self._front = pipeline[:-1] if len(pipeline.steps) > 1 else None
        last = self._dictionary
        if not hasattr(last, "fit") or not hasattr(last, "inverse_transform"):
            raise TypeError(
                "pipeline must be an ICFLDictionary or a TopKSAE, or a Pipeline that ends with "
                f"one, got {last!r}"
            )
        check_is_fitted(last)
        if not hasattr(last, "components_") or not hasattr(last, "intercept_"):
            raise TypeError(
                "pipeline must end with an ICFLDictionary or a TopKSAE, got "
                f"{type(last).__name__}; pass the factors of a linear decomposition to "
                "DirectionConcepts"
            )
        self.n_concepts = last.components_.shape[0]

    def _transformed(self, E):
        if self._front is None:
            return E
        rows = self._front.transform(E)
        if sparse.issparse(rows):
            raise TypeError("the steps in front of the dictionary must give dense rows, got sparse")
        return np.asarray(rows)

    def _codes_of(self, x, chosen):
        codes = sparse.csr_array(self._dictionary.transform(x))
        return codes if chosen is None else codes[:, chosen]

    def _block_width(self, chosen):
        # of codes that the dictionary itself hands out dense
        return 1 if getattr(self._dictionary, "sparse_output", True) else self.n_concepts

    def _pre_of(self, x, chosen):
        last = self._dictionary
        x = x - last.intercept_
        if not hasattr(last, "encoder_"):
            return x @ last.components_[chosen].T
        return x @ last.encoder_[chosen].T + last.encoder_bias_[chosen]


class DirectionConcepts(_Concepts):
    r"""Linear concepts: neurons, factors of PCA, ICA or NMF, or random directions.

    The pre-activation of concept k is :math:`d_k \cdot (e - \mu)`, its activation what of that
    lies above a threshold, :math:`\max(d_k \cdot (e - \mu) - t_k, 0)`.

    Parameters
    ----------
    directions : array-like, shape (n_concepts, n_features)
        The directions; ``numpy.eye(n_features)`` for neurons. They are not scaled.
    mean : array-like, shape (n_features,), or None, default=None
        Subtracted from the embeddings; None subtracts nothing.
    thresholds : array-like, shape (n_concepts,), or None, default=None
        The thresholds; None means 0 for all. See :meth:`with_active_share`.

    Attributes
    ----------
    n_concepts : int
        Number of directions.

    Raises
    ------
    ValueError
        If shapes do not fit, or a value is NaN or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.genes import DirectionConcepts
    >>> E = np.random.default_rng(0).normal(size=(100, 3))
    >>> neurons = DirectionConcepts.with_active_share(np.eye(3), E, share=0.1)
    >>> neurons.codes(E).count_nonzero(axis=0)
    array([10, 10, 10])
    """

    def __init__(self, directions, mean=None, thresholds=None):
        self.directions = np.asarray(host_array(directions, name="directions"))
        if self.directions.ndim != 2 or 0 in self.directions.shape:
            raise ValueError(
                "directions must have shape (n_concepts, n_features) and not be empty, got shape "
                f"{self.directions.shape}"
            )
        self.n_concepts, n_features = self.directions.shape
        self.mean = _vector(mean, n_features, "mean")
        self.thresholds = _vector(thresholds, self.n_concepts, "thresholds")
        if not np.isfinite(self.directions).all():
            raise ValueError("directions holds NaN or infinite values")

    @classmethod
    def with_active_share(cls, directions, E, *, share=0.1, mean=None) -> DirectionConcepts:
        """Concepts whose thresholds make them active in a given share of the cells.

        Parameters
        ----------
        directions : array-like, shape (n_concepts, n_features)
            The directions.
        E : array-like or tensor, shape (n_cells, n_features)
            Embeddings that set the thresholds.
        share : float, default=0.1
            Share of the cells above the threshold, ties left out: that of the dictionary's
            concepts, say, for a comparison of like with like.
        mean : array-like, shape (n_features,), or None, default=None
            Subtracted from the embeddings.

        Returns
        -------
        DirectionConcepts
            The concepts.

        Raises
        ------
        ValueError
            If `share` is not in (0, 1), or shapes do not fit.
        """
        check_real("share", share, 0, 1, open_low=True)
        if share == 1:
            raise ValueError(f"share must be less than 1, got {share!r}")
        concepts = cls(directions, mean)
        E = check_embeddings(E, "E")
        # by few concepts at a time: their values over all cells are what takes memory
        width = max(1, _BLOCK_VALUES // E.shape[0])
        for start in range(0, concepts.n_concepts, width):
            chosen = np.arange(start, min(start + width, concepts.n_concepts))
            pre = concepts.pre_activations(E, chosen)
            concepts.thresholds[chosen] = np.quantile(pre, 1 - share, axis=0, method="lower")
        return concepts

    def _transformed(self, E):
        if E.shape[1] != self.directions.shape[1]:
            raise ValueError(
                f"E must have the {self.directions.shape[1]} features of the directions, got "
                f"{E.shape[1]}"
            )
        return E - self.mean.astype(E.dtype, copy=False)

    def _pre_of(self, x, chosen):
        return x @ self.directions[chosen].T.astype(x.dtype, copy=False)

    def _codes_of(self, x, chosen):
        chosen = np.arange(self.n_concepts) if chosen is None else chosen
        pre = self._pre_of(x, chosen)
        return sparse.csr_array(np.maximum(pre - self.thresholds[chosen].astype(pre.dtype), 0))

    def _block_width(self, chosen):
        return self.n_concepts if chosen is None else chosen.shape[0]


def check_embeddings(E, name: str = "embeddings") -> np.ndarray:
    """Return embeddings as rows of float32 or float64 in host memory.

    Parameters
    ----------
    E : array-like or tensor, shape (n_cells, n_features)
        Embeddings. A tensor is detached from its graph and copied from its device.
    name : str, default="embeddings"
        Name of the parameter, for the messages.

    Returns
    -------
    ndarray, shape (n_cells, n_features)
        The embeddings; a float32 or float64 array or memory map is returned as it is.

    Raises
    ------
    TypeError
        If they are sparse.
    ValueError
        If they are not two-dimensional, empty, no real numbers, or NaN or infinite.
    """
    if sparse.issparse(E):
        raise TypeError(f"{name} must be dense, got a sparse matrix")
    if hasattr(E, "detach"):  # a tensor of torch
        E = E.detach()
        E = (E if "float64" in str(E.dtype) else E.float()).cpu().numpy()
    E = np.asanyarray(host_array(E, name=name))
    if E.ndim != 2 or 0 in E.shape:
        raise ValueError(
            f"{name} must have shape (n_cells, n_features) and not be empty, got shape {E.shape}"
        )
    if E.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got dtype {E.dtype}")
    if E.dtype not in (np.float32, np.float64):
        E = E.astype(np.float32 if E.dtype == np.float16 else np.float64)
    for rows in _row_blocks(E, E.shape[1]):
        block = E[rows]
        if not np.isfinite(block).all():
            row = rows.start + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            raise ValueError(f"{name} holds NaN or infinite values, the first in row {row}")
    return E


def check_model(model) -> None:
    """Raise TypeError unless `model` turns embeddings into activations of concepts."""
    if not hasattr(model, "pre_activations"):
        raise TypeError(
            "model must be DictionaryConcepts(pipeline) or DirectionConcepts(directions), got "
            f"{type(model).__name__}"
        )


def check_concepts(concepts, n_concepts: int) -> np.ndarray:
    """Return indices of concepts; raise where one does not exist or is there twice."""
    chosen = np.atleast_1d(np.asarray(concepts))
    if chosen.ndim != 1 or chosen.size == 0 or chosen.dtype.kind not in "iu":
        raise ValueError(
            f"concepts must be indices of concepts, at least one, got {concepts!r} "
            f"(dtype {chosen.dtype}, shape {chosen.shape})"
        )
    wrong = chosen[(chosen < 0) | (chosen >= n_concepts)]
    if wrong.size:
        raise ValueError(f"concepts must lie in 0 to {n_concepts - 1}, got {wrong[0]}")
    values, counts = np.unique(chosen, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"concepts must be distinct, but {values[counts > 1][0]} is there twice")
    return chosen.astype(np.intp)


def _stacked(blocks) -> sparse.csr_array:
    """Blocks of codes as one CSR array without explicit zeros."""
    codes = sparse.csr_array(sparse.vstack(blocks, format="csr") if len(blocks) > 1 else blocks[0])
    codes.eliminate_zeros()
    return codes


def _row_blocks(E, width: int):
    """Slices of rows such that a block of `width` values per row stays small."""
    n_rows = max(1, _BLOCK_VALUES // max(width, 1))
    return [slice(i, min(i + n_rows, E.shape[0])) for i in range(0, E.shape[0], n_rows)]


def _vector(values, length: int, name: str) -> np.ndarray:
    """Finite float64 vector of a given length; zeros for None."""
    if values is None:
        return np.zeros(length)
    vector = np.array(host_array(values, name=name), dtype=np.float64)
    if vector.shape != (length,):
        raise ValueError(f"{name} must have shape ({length},), got {vector.shape}")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name} holds NaN or infinite values")
    return vector
