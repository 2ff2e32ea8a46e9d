"""Representations of a fold: the pipeline and its baselines, fitted on the training rows."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.metadata_routing import get_routing_for_object

from skdict.probing._folds import Features, Source
from skdict.probing._logistic import scaler_of
from skdict.probing._rows import ProbedRows, take_rows

REPRESENTATIONS = ("raw", "preprocessed", "codes", "reconstruction")


def drop_passthrough(pipeline, name: str = "pipeline"):
    """Return `pipeline` without trailing steps "passthrough" or None, which do nothing."""
    if not isinstance(pipeline, Pipeline):
        return pipeline
    n_steps = len(pipeline.steps)
    while n_steps and pipeline.steps[n_steps - 1][1] in (None, "passthrough"):
        n_steps -= 1
    if n_steps == 0:
        raise ValueError(
            f"{name} must have a step besides 'passthrough' as its dictionary, got "
            f'{pipeline!r}; pass pipeline=None with representations=("raw",) to probe X alone'
        )
    return pipeline if n_steps == len(pipeline.steps) else pipeline[:n_steps]


def check_representations(representations, pipeline, *, may_be_empty=False) -> tuple[str, ...]:
    """Validate the names and that the pipeline can give these representations."""
    if isinstance(representations, str):
        representations = (representations,)
    representations = tuple(representations)
    unknown = [name for name in representations if name not in REPRESENTATIONS]
    empty = not representations and not may_be_empty
    if unknown or empty or len(set(representations)) < len(representations):
        raise ValueError(
            f"representations must be distinct names among {REPRESENTATIONS}, "
            f"got {representations!r}"
        )
    if pipeline is None and set(representations) - {"raw"}:
        raise ValueError('pipeline must not be None unless representations=("raw",)')
    if "reconstruction" in representations:
        last = pipeline.steps[-1][1] if isinstance(pipeline, Pipeline) else pipeline
        if not hasattr(last, "inverse_transform"):
            raise ValueError(
                'representations holds "reconstruction", but the last step of pipeline has no '
                f"inverse_transform: {last!r}"
            )
    return representations


def check_baselines(baselines) -> dict:
    """Validate names and transformers of the baselines."""
    if baselines is None:
        return {}
    if not hasattr(baselines, "items"):
        raise TypeError(f"baselines must be a dict of name: transformer, got {baselines!r}")
    for name, baseline in baselines.items():
        if not isinstance(name, str) or name in REPRESENTATIONS:
            raise ValueError(
                f"baselines must have names other than {REPRESENTATIONS}, got {name!r}; rename it"
            )
        if not hasattr(baseline, "fit") or not hasattr(baseline, "transform"):
            raise TypeError(f"baselines[{name!r}] must be a transformer, got {baseline!r}")
    return {
        name: drop_passthrough(baseline, f"baselines[{name!r}]")
        for name, baseline in baselines.items()
    }


def fitted_in_fold(pipeline, X, data: ProbedRows, representations, baselines) -> Source:
    """Source of the raw rows, the representations of `pipeline` and the baselines."""

    def source(train, test, controls):
        def parts():  # cut out anew by each user, so that none of them keeps the rows in memory
            return [take_rows(X, data.rows[train]), take_rows(X, data.rows[test])]

        if "raw" in representations:
            yield _features("raw", [_plain(part) for part in parts()])
        if set(representations) - {"raw"}:
            model = _fit(pipeline, X, data, train, controls)
            yield from _of_pipeline(model, parts(), representations)
        for name, baseline in baselines.items():
            model = _fit(baseline, X, data, train, controls)
            yield _features(name, [_plain(model.transform(part)) for part in parts()])

    return source


def _of_pipeline(model, parts, representations):
    """Yield the representations of a fitted pipeline in the order of their making."""
    dictionary = model.steps[-1][1]
    if len(model) > 1:
        parts = [model[:-1].transform(part) for part in parts]
    if "preprocessed" in representations:
        yield _features("preprocessed", [_plain(part) for part in parts])
    if not {"codes", "reconstruction"} & set(representations):
        return
    codes = [dictionary.transform(part) for part in parts]
    del parts  # the embeddings are not needed any more: memory for the reconstruction
    if "codes" in representations:
        yield _features("codes", [_plain(part) for part in codes], keep_zeros=True)
    if "reconstruction" in representations:
        yield _features("reconstruction", [_plain(dictionary.inverse_transform(z)) for z in codes])


def _features(name, parts, *, keep_zeros=False) -> Features:
    return Features(name, scaler_of(parts[0], keep_zeros=keep_zeros), *parts)


def _plain(part):
    """CSR or ndarray, so that folds can be cut out of it."""
    return part.tocsr() if sparse.issparse(part) else np.asarray(part)


def _fit(pipeline, X, data, train, controls) -> Pipeline:
    """Fit a clone without labels; the control mask goes to the steps that request it."""
    fit_rows = np.sort(np.concatenate([data.rows[train], controls]))
    rows_to_fit = take_rows(X, fit_rows)
    model = clone(pipeline)
    if not isinstance(model, Pipeline):
        model = make_pipeline(model)
    if data.controls.shape[0] == 0:
        return model.fit(rows_to_fit)
    with config_context(enable_metadata_routing=True):
        if get_routing_for_object(model).consumes("fit", ["control"]):
            return model.fit(rows_to_fit, control=np.isin(fit_rows, controls))
        return model.fit(rows_to_fit)
