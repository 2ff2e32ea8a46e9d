"""scikit-learn's callbacks while fitting: progress, scores, early stop.

The one place that touches `sklearn.callback`, which is experimental: it may change in any release.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.callback import CallbackSupportMixin, with_callbacks

__all__ = ["CallbackSupportMixin", "FitTasks", "with_callbacks"]


class FitTasks:
    """A fit as a task, and its blocks of steps as subtasks.

    Parameters
    ----------
    estimator : estimator
        What is fitted; its ``fit`` is decorated with `with_callbacks`.
    n_blocks : int
        Number of blocks; 0 for a fit in one go.
    X : array-like
        Rows that scores are computed on.
    y : array-like or None
        Labels, if ``fit`` got any. Without labels callbacks get zeros: scorers of rows alone do
        not look at them, and scikit-learn's ``ScoringMonitor`` computes nothing without any.
    active : bool, default=True
        Whether callbacks are called; of several processes that fit together one calls them.
    """

    def __init__(self, estimator, n_blocks: int, X, y=None, *, active: bool = True):
        self._block: Any = None
        self._active = active
        if not active:
            return
        self._estimator = estimator
        self._data = {"X": X, "y": np.zeros(X.shape[0]) if y is None else y}
        self._root = estimator._init_callback_context(max_subtasks=n_blocks)
        self._root.call_on_fit_task_begin(estimator=estimator, **self._data)

    def begin_block(self) -> None:
        """Begin a block of steps, unless one was begun."""
        if not self._active or self._block is not None:
            return
        self._block = self._root.subcontext(task_name="steps")
        self._block.call_on_fit_task_begin(estimator=self._estimator, **self._data)

    def end_block(self, attributes) -> bool:
        """End a block of steps, if one was begun; whether a callback asks to stop.

        Parameters
        ----------
        attributes : callable
            Gives the fitted attributes as they are now; called only if a callback wants them.
        """
        block, self._block = self._block, None
        if block is None:
            return False
        return block.call_on_fit_task_end(
            estimator=self._estimator, reconstruction_attributes=attributes, **self._data
        )

    def end(self, attributes) -> None:
        """End the fit."""
        if not self._active:
            return
        self._root.call_on_fit_task_end(
            estimator=self._estimator, reconstruction_attributes=attributes, **self._data
        )
