"""What skops has to trust to load the estimators."""

from __future__ import annotations

SKOPS_TRUSTED = [
    "skdict._icfl.ICFLDictionary",
    "skdict._topk_sae.TopKSAE",
    "skdict._whitening.ControlPCAWhitener",
    "skdict._whitening._Moments",
]
"""Names of the types in fitted estimators of skdict, for ``skops.io.load(file, trusted=...)``.

scikit-learn's own types skops trusts by itself. None of these runs code when it is loaded. A
dictionary whose `checkpoint` is a path or :class:`~skdict.Checkpoint` needs
``set_params(checkpoint=None)`` before it is dumped: skops trusts no paths.
"""
