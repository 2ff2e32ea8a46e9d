"""Embeddings with some concepts set to other activations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer

from skdict._validation import check_boolean_or, check_choice
from skdict.genes._concepts import DictionaryConcepts, check_concepts, check_embeddings

MODES = ("set", "scale", "add")

# Float64 values of one block of rows.
_BLOCK_VALUES = 1 << 22


def steer(
    pipeline, X, concepts, *, value=0.0, mode="set", only_active=False, keep_error=True
) -> np.ndarray:
    r"""Change the activations of some concepts and decode the embeddings that go with it.

    Embeddings are coded, the codes :math:`z` changed to :math:`z'`, and the difference decoded,

    .. math:: x' = x + \sum_{k} (z'_k - z_k)\, w_k ,

    which is the reconstruction from :math:`z'` plus the error :math:`x - \hat x` that the
    dictionary makes: what it does not explain stays. The difference then goes back through the
    steps in front of the dictionary:

    * through a :class:`~sklearn.preprocessing.Normalizer` multiplied by the norm that the row had;
    * through whitening, scaling or PCA by ``inverse_transform``, as difference of two points, so
      that what the step has dropped of an embedding stays as it was.

    A row whose codes do not change comes back as it went in, bit by bit.

    Parameters
    ----------
    pipeline : ICFLDictionary, TopKSAE or Pipeline
        A fitted dictionary, or a fitted pipeline that ends with one. Each other step is a
        Normalizer or has an ``inverse_transform``.
    X : array-like or tensor, shape (n_samples, n_features)
        Embeddings; a memory map is read in blocks.
    concepts : array-like of int, shape (n_chosen,)
        The concepts to change.
    value : float or array-like of float, shape (n_chosen,), default=0.0
        What they are changed by, for all or each. 0 suppresses. A value to activate with is best
        one that occurs: a high quantile of the activations of the concept.
    mode : {"set", "scale", "add"}, default="set"
        Whether `value` becomes the activation, multiplies it, or is added to it.
    only_active : bool, default=False
        Leave activations of zero at zero: change a concept only where it is active already.
    keep_error : bool, default=True
        Whether the reconstruction error stays in the embedding. False gives the reconstruction
        from the changed codes, in which only what earlier steps have dropped is kept.

    Returns
    -------
    ndarray, shape (n_samples, n_features)
        The embeddings, float32 or float64 as X (float64 for whole numbers).

    Raises
    ------
    TypeError
        If the pipeline does not end with a dictionary, or a step cannot be inverted.
    ValueError
        If a concept does not exist or is there twice, `value` does not fit, or X holds NaN.

    See Also
    --------
    steering_effect : What that did to neighbours, labels and batches.
    suppress_batch : Suppress the concepts that tell batches apart, with its cost.

    Notes
    -----
    Coding the new embedding again need not give the changed codes: atoms are correlated, and what
    one of them no longer explains others take over.

    The error is kept because it is often as large as what a concept contributes: without it, all
    embeddings move, also those of cells in which the concept is not active.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict import ICFLDictionary
    >>> from skdict.steering import steer
    >>> X = np.random.default_rng(0).normal(size=(300, 6))
    >>> dictionary = ICFLDictionary(12, n_nonzero_coefs=2, max_steps=10, random_state=0).fit(X)
    >>> steered = steer(dictionary, X, [3])
    >>> active = dictionary.transform(X)[:, [3]].toarray().ravel() != 0
    >>> bool((steered[~active] == X[~active]).all()), bool((steered[active] != X[active]).any())
    (True, True)
    """
    change = Change.checked(
        DictionaryConcepts(pipeline).n_concepts, concepts, value, mode, only_active, keep_error
    )
    X = check_embeddings(X, "X")
    steered = np.empty_like(X, subok=False)
    for rows, coded in code_blocks(pipeline, X, width=change.concepts.size):
        steered[rows] = coded.steered(change)
    return steered


@dataclass(frozen=True)
class Change:
    """What is done to codes: the validated parameters of :func:`steer`."""

    concepts: np.ndarray
    value: np.ndarray
    mode: str = "set"
    only_active: bool = False
    keep_error: bool = True

    @classmethod
    def checked(cls, n_concepts, concepts, value, mode, only_active, keep_error) -> Change:
        """Validate what the public function was given."""
        concepts = check_concepts(concepts, n_concepts)
        value = _check_value(value, concepts.size)
        check_choice("mode", mode, MODES)
        check_boolean_or("only_active", only_active, ())
        check_boolean_or("keep_error", keep_error, ())
        return cls(concepts, value, mode, only_active, keep_error)

    def of(self, codes) -> np.ndarray:
        """Changes of the activations, given those of the concepts, shape (n_rows, n_chosen)."""
        if self.mode == "set":
            change = self.value - codes
        elif self.mode == "scale":
            change = codes * (self.value - 1)
        else:
            change = np.tile(self.value, (codes.shape[0], 1))
        return np.where(codes != 0, change, 0.0) if self.only_active else change


class CodedRows:
    """Rows with their codes, and what is needed to go back from these.

    Parameters
    ----------
    front : list of transformer
        Steps in front of the dictionary.
    dictionary : ICFLDictionary or TopKSAE
        The dictionary.
    rows : ndarray, shape (n_rows, n_features)
        Embeddings.
    """

    def __init__(self, front, dictionary, rows):
        self.front, self.dictionary = front, dictionary
        self.stages = _forward(front, rows)
        self.codes = sparse.csr_array(dictionary.transform(self.stages[-1]))

    def steered(self, change: Change) -> np.ndarray:
        """The embeddings with changed codes; those whose codes do not change are the same.

        Parameters
        ----------
        change : Change
            What is done to the codes.

        Returns
        -------
        ndarray, shape (n_rows, n_features)
            The embeddings.
        """
        activations = self.codes[:, change.concepts].toarray().astype(np.float64)
        atoms = self.dictionary.components_[change.concepts].astype(np.float64)
        difference = change.of(activations) @ atoms
        if not change.keep_error:
            decoded = np.asarray(self.dictionary.inverse_transform(self.codes))
            difference += decoded - self.stages[-1]
        moved = difference.any(axis=1)
        for step, before, after in zip(
            self.front[::-1], self.stages[-2::-1], self.stages[:0:-1], strict=True
        ):
            difference = _backward(step, before, after, difference)
        steered = np.array(self.stages[0])
        steered[moved] = (self.stages[0] + difference)[moved]
        return steered


def code_blocks(pipeline, X, *, width: int):
    """Blocks of rows and their codes.

    Parameters
    ----------
    pipeline : ICFLDictionary, TopKSAE or Pipeline
        A fitted dictionary, or a pipeline that ends with one.
    X : ndarray, shape (n_samples, n_features)
        Embeddings.
    width : int
        Activations of a row that are made dense.

    Yields
    ------
    rows : slice
        The rows.
    coded : CodedRows
        With their codes.

    Raises
    ------
    TypeError
        If a step cannot be inverted.
    """
    *front, dictionary = _steps(pipeline)
    for step in front:
        _check_invertible(step)
    width = max(X.shape[1], dictionary.components_.shape[1], width)
    if not getattr(dictionary, "sparse_output", True):
        width = max(width, dictionary.components_.shape[0])
    n_rows = max(1, _BLOCK_VALUES // width)
    for start in range(0, X.shape[0], n_rows):
        rows = slice(start, min(start + n_rows, X.shape[0]))
        yield rows, CodedRows(front, dictionary, np.asarray(X[rows]))


def _steps(pipeline) -> list:
    """Steps that do something; the dictionary is the last."""
    if not isinstance(pipeline, Pipeline):
        return [pipeline]
    return [step for _, step in pipeline.steps if step is not None and step != "passthrough"]


def _check_value(value, n_chosen: int) -> np.ndarray:
    """The value of each concept, finite."""
    values = np.asarray(value, dtype=np.float64)
    if values.shape not in ((), (n_chosen,)) or not np.isfinite(values).all():
        raise ValueError(
            f"value must be a finite number, or one for each of the {n_chosen} concepts, got "
            f"{value!r}"
        )
    return np.broadcast_to(values, (n_chosen,))


def _check_invertible(step) -> None:
    """Raise TypeError unless there is a way back through a step."""
    name = type(step).__name__
    if (
        isinstance(step, FunctionTransformer)
        and step.func is not None
        and step.inverse_func is None
    ):
        raise TypeError(
            f"{name} without inverse_func cannot be inverted: its inverse_transform does nothing"
        )
    if not isinstance(step, Normalizer) and not hasattr(step, "inverse_transform"):
        raise TypeError(
            f"each step in front of the dictionary must be a Normalizer or have an "
            f"inverse_transform, got {name}"
        )


def _forward(front, rows) -> list:
    """Rows before, between and after the steps."""
    stages = [rows]
    for step in front:
        rows = step.transform(rows)
        if sparse.issparse(rows):
            raise TypeError(
                f"steps in front of the dictionary must give dense rows, {type(step).__name__} "
                "gives sparse ones"
            )
        stages.append(np.asarray(rows))
    return stages


def _backward(step, before, after, difference) -> np.ndarray:
    """Difference in front of a step, from that behind it."""
    if isinstance(step, Normalizer):
        return difference * _norms(before, step.norm)[:, None]
    # In float64, so that a large mean, added to both, takes no digits of the difference.
    after = after.astype(np.float64)
    return np.asarray(step.inverse_transform(after + difference)) - np.asarray(
        step.inverse_transform(after)
    )


def _norms(rows, norm: str) -> np.ndarray:
    """What a Normalizer divides rows by."""
    rows = rows.astype(np.float64)
    if norm == "max":
        norms = np.abs(rows).max(axis=1)
    else:
        norms = np.linalg.norm(rows, ord={"l1": 1, "l2": 2}[norm], axis=1)
    return np.where(norms == 0, 1.0, norms)
