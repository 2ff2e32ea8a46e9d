"""Scorers for cross-validation and grid search."""

from __future__ import annotations

import copy

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.pipeline import Pipeline

from skdict.metrics._activity import check_active, check_codes
from skdict.metrics._labels import encode_labels
from skdict.metrics._selectivity import check_kind, selectivity_scores


def drop_passthrough(pipeline: Pipeline) -> Pipeline:
    """Return the pipeline without trailing steps that are "passthrough" or None.

    Such a step does nothing; the last one that does something comes before it.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted or not; it is not changed.

    Returns
    -------
    Pipeline
        The same steps up to the last that acts; empty if none does.
    """
    n_steps = len(pipeline.steps)
    while n_steps and pipeline.steps[n_steps - 1][1] in (None, "passthrough"):
        n_steps -= 1
    return pipeline if n_steps == len(pipeline.steps) else pipeline[:n_steps]


def _transform(estimator, X):
    """Codes of X: what reaches the predictor, or comes out of the transformer."""
    if hasattr(estimator, "best_estimator_"):
        return _transform(estimator.best_estimator_, X)
    if isinstance(estimator, Pipeline):
        if not len(drop_passthrough(estimator)):
            raise TypeError(f"estimator has no step besides 'passthrough': {estimator!r}")
        estimator = drop_passthrough(estimator)
        last = estimator.steps[-1][1]
        searched = hasattr(last, "best_estimator_")
        if isinstance(last, Pipeline) or searched:
            head = estimator[:-1]
            return _transform(last, head.transform(X) if len(head) else X)
        if is_classifier(last) or is_regressor(last):
            if len(estimator) == 1:
                raise TypeError(f"estimator has no transformer before its predictor: {estimator!r}")
            return estimator[:-1].transform(X)
    if not hasattr(estimator, "transform"):
        raise TypeError(
            "SelectivityScorer needs a transformer, a pipeline of transformers, or a pipeline "
            f"that ends in a classifier or regressor, got {estimator!r}"
        )
    return estimator.transform(X)


class SelectivityScorer:
    """Mean over labels of the best selectivity, as a scikit-learn scorer.

    Called as ``scorer(estimator, X, y)`` with a fitted transformer, a pipeline of
    transformers, or a pipeline that ends in a classifier or regressor; of the last it scores
    what reaches the predictor, ``pipeline[:-1]``; a last step "passthrough" or None counts as
    not there. A fitted search is scored through its
    ``best_estimator_``. Works as ``scoring=`` of ``cross_validate`` and ``GridSearchCV``, alone
    or in a dict, with metadata routing on or off: it needs only `y`, which unsupervised steps
    ignore.

    Parameters
    ----------
    kind : {"average", "maximum"}, default="average"
        See :func:`selectivity_scores`.
    reference : {"pooled", "macro"}, default="pooled"
        See :func:`selectivity_scores`.
    active : {"nonzero", "positive"}, float or array-like, default="nonzero"
        See :func:`selectivity_scores`.
    labels : array-like or None, default=None
        Labels to average over; those that a fold lacks are passed over. Samples of other
        labels still count as "other" samples.
    exclude : array-like or None, default=None
        Labels whose samples are dropped before scoring, for example the control compound:
        they are then neither a label nor "other" samples.

    See Also
    --------
    selectivity_scores : The scores behind it.

    Notes
    -----
    The best component of each label is chosen and scored on the same samples, which favours
    more components and fewer samples per label. Compare candidates of equal size, or use
    :func:`held_out_selectivity` and :func:`selectivity_null`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import StratifiedKFold, cross_val_score
    >>> from skdict.metrics import SelectivityScorer
    >>> from skdict.preprocessing import LargestValuesSelector
    >>> X = np.random.default_rng(0).normal(size=(40, 6))
    >>> y = np.repeat(["a", "b"], 20)
    >>> X[y == "a", 0] += 5
    >>> scores = cross_val_score(
    ...     LargestValuesSelector(1), X, y, scoring=SelectivityScorer(), cv=StratifiedKFold(2)
    ... )
    >>> scores.shape
    (2,)
    """

    def __init__(
        self, kind="average", *, reference="pooled", active="nonzero", labels=None, exclude=None
    ):
        check_kind(kind, reference)
        check_active(active)
        self.kind = kind
        self.reference = reference
        self.active = active
        self.labels = labels
        self.exclude = exclude

    def __call__(self, estimator, X, y=None) -> float:
        """Score a fitted estimator on labelled samples.

        Parameters
        ----------
        estimator : estimator
            Fitted transformer, pipeline or search.
        X : array-like, shape (n_samples, n_features)
            Embeddings, before any step of the pipeline.
        y : array-like, shape (n_samples,)
            One label per sample.

        Returns
        -------
        float
            Mean over labels of the largest score over components, in [-1, 1].

        Raises
        ------
        ValueError
            If `y` is None, or fewer than two labels remain.
        """
        if y is None:
            raise ValueError(
                "y must hold one label per sample: pass the labels to fit or cross_validate as "
                "y (the unsupervised steps ignore it)"
            )
        codes = check_codes(_transform(estimator, X))
        classes, index = encode_labels(y, codes.shape[0])
        if self.exclude is not None:
            kept = ~np.isin(classes, np.asarray(self.exclude))[index]
            if not kept.any():
                raise ValueError(f"exclude={self.exclude!r} leaves no sample to score")
            codes, index = codes[kept], index[kept]
        labels = None
        if self.labels is not None:
            labels = np.intersect1d(np.asarray(self.labels), classes[np.unique(index)])
            if labels.shape[0] == 0:
                raise ValueError(f"labels={self.labels!r}: none of them occurs in y")
        scores = selectivity_scores(
            codes,
            classes[index],
            kind=self.kind,
            reference=self.reference,
            active=self.active,
            labels=labels,
        )
        return float(scores.max(axis=1).mean())

    def __sklearn_clone__(self):
        """Copy for ``sklearn.base.clone``."""
        return copy.deepcopy(self)

    def __repr__(self):
        """Constructor call that makes an equal scorer."""
        return (
            f"SelectivityScorer(kind={self.kind!r}, reference={self.reference!r}, "
            f"active={self.active!r}, labels={self.labels!r}, exclude={self.exclude!r})"
        )
