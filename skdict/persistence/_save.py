"""Save a fitted model as a folder: model.json, arrays.safetensors and a model card."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skdict._validation import to_numpy
from skdict.persistence._array_file import array_bytes, arrays_in
from skdict.persistence._card import model_card
from skdict.persistence._checks import check_agreement, check_attributes
from skdict.persistence._errors import ModelFileError
from skdict.persistence._folder import (
    ARRAYS,
    CARD,
    FORMAT,
    LARGEST_MODEL_FILE,
    MODEL,
    SCHEMA,
    check_place,
    write_folder,
)
from skdict.persistence._json_file import digest_of, format_record, parse
from skdict.persistence._load import build_model
from skdict.persistence._models import class_of
from skdict.persistence._provenance import provenance_of
from skdict.persistence._values import to_json

# Attributes that are made anew: optimiser moments of partial_fit, callbacks, metadata requests.
_DROPPED = {"_partial_state", "_skl_callbacks", "_metadata_request"}


def save(model, path, *, overwrite=False, evaluation=None, description=None, license=None):
    """Save a fitted model as a folder that :func:`skdict.load` reads without executing code.

    The folder holds ``model.json`` (parameters, plain attributes, provenance), the arrays as
    ``arrays.safetensors``, both with checksums, and a model card, ``README.md``. It is written
    beside its place and renamed, after the model has been built from what is to be written.

    Parameters
    ----------
    model : estimator
        A fitted :class:`~skdict.ICFLDictionary`, :class:`~skdict.TopKSAE` or
        :class:`~skdict.ControlPCAWhitener`, one of scikit-learn's ``Normalizer`` (which need not
        be fitted), ``StandardScaler``, ``MinMaxScaler``, ``MaxAbsScaler`` and ``RobustScaler``, or
        a :class:`~sklearn.pipeline.Pipeline` of these.
    path : str or Path
        The folder; those above it are made. Where it is a symbolic link, the folder that it leads
        to is written.
    overwrite : bool, default=False
        Whether a model that is there is replaced. Other folders never are.
    evaluation : dict or None, default=None
        Quality figures for the card: names, and numbers or short texts.
    description : str or None, default=None
        What the model is, of which data, and what it is not good for: a paragraph for the card.
    license : str or None, default=None
        Licence of the model, for the card.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    TypeError
        If the model or a parameter is of a kind that is not saved.
    ValueError
        If a parameter is out of range, fitted arrays hold NaN or do not fit together, or a step of
        a pipeline has a name that scikit-learn refuses.
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    FileExistsError
        If the path is there and is not to be, or cannot be, overwritten: it is no model, or the
        current folder.
    OSError
        If it cannot be written; what was there is untouched.

    See Also
    --------
    skdict.load : Read it.

    Notes
    -----
    Not saved are what belongs to a run (`checkpoint`, `resume`, `verbose`, callbacks, metadata
    requests, ``memory`` and ``transform_input`` of a pipeline), and the moments of the optimiser:
    ``partial_fit`` begins with fresh ones. Arrays on a device are saved as NumPy arrays.

    With `overwrite` the old model is moved aside for the moment of the renaming: a kill between
    two system calls leaves it beside, named ``.<name>.<letters>.old``. Without, nothing is moved: a
    folder that appears at the path meanwhile stays, and there is a ``FileExistsError``. The new
    folder has the permissions of the one that it replaces.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import skdict
    >>> X = np.random.default_rng(0).normal(size=(200, 8))
    >>> model = skdict.ICFLDictionary(16, n_nonzero_coefs=2, max_steps=5, random_state=0).fit(X)
    >>> folder = skdict.save(model, tempfile.mkdtemp() + "/model")
    >>> sorted(path.name for path in folder.iterdir())
    ['README.md', 'arrays.safetensors', 'model.json']
    >>> again = skdict.load(folder)
    >>> bool((again.components_ == model.components_).all())
    True
    """
    path = Path(path)
    steps, is_pipeline = _steps_of(model)
    check_place(path, overwrite)
    arrays: dict[str, np.ndarray] = {}
    written = [_written(name, step, arrays) for name, step in steps]
    content = array_bytes(arrays)
    record: dict[str, Any] = {
        "format": FORMAT,
        "schema": SCHEMA,
        "pipeline": is_pipeline,
        "steps": written,
        "arrays": {
            "file": ARRAYS, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(),
        },
        "provenance": provenance_of([step for step in steps if step[1] is not None]),
    }  # fmt: skip
    record["sha256"] = digest_of(record)
    card = model_card(
        model, evaluation=evaluation, description=description, license=license,
        provenance=record["provenance"],
    )  # fmt: skip
    model_file = format_record(record)
    if len(model_file) > LARGEST_MODEL_FILE:
        raise ValueError(
            f"model must fit into {LARGEST_MODEL_FILE} bytes of JSON beside its arrays, got "
            f"{len(model_file)}: shorten names of features, or give lists of numbers as arrays"
        )
    _check_loads(model_file, content)
    files = {ARRAYS: content, CARD: card.encode(errors="replace"), MODEL: model_file}
    write_folder(path, files, overwrite=overwrite)
    return path


def _steps_of(model):
    """Named estimators of a model, None for those that pass rows on, and if it is a Pipeline."""
    if not isinstance(model, Pipeline):
        class_of(model)
        return [("model", model)], False
    if type(model) is not Pipeline:
        raise TypeError(f"model must be a Pipeline itself, got {type(model).__name__}")
    steps = []
    for name, step in model.steps:
        if not isinstance(name, str):
            raise TypeError(f"names of steps must be strings, got {name!r}: rename that step")
        if step is None or isinstance(step, str):
            step = None
        else:
            class_of(step)
        steps.append((name, step))
    if all(step is None for _, step in steps):
        raise TypeError("model must have a step that is an estimator, got a Pipeline without one")
    return steps, True


def _check_loads(model_file, content):
    """Raise ValueError unless `load` would take the model."""
    try:
        record = parse(model_file)
        del record["sha256"]
        # NaN was looked for in each step.
        build_model(record, arrays_in(content), "cpu", finite=False)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
            RecursionError) as error:  # fmt: skip
        raise ValueError(
            f"model cannot be saved, since it could not be loaded: {str(error)[:500]}; change that "
            "and save it again"
        ) from error


def _written(name, step, arrays):
    """One estimator as JSON; its arrays are added to the others."""
    if step is None:
        return {"name": name, "class": "passthrough"}
    class_name, saved = class_of(step)
    check_is_fitted(step, "components_" if "components_" in saved.attributes else None)
    step._validate_params()
    parameters = step.get_params(deep=False)
    attributes = {
        key: tuple(value) if key == "_moments" else to_numpy(value)
        for key, value in step.__getstate__().items()
        if key not in parameters and key not in _DROPPED and key != "_sklearn_version"
    }
    try:
        sizes = check_attributes(class_name, attributes)
        check_agreement(class_name, step, sizes)
    except ModelFileError as error:
        raise ValueError(
            f"model cannot be saved: {error}. Fit it again with this version, and add nothing to it"
        ) from error
    start = f"{name}."
    return {
        "name": name,
        "class": class_name,
        "parameters": {
            key: to_json(value, f"{start}{key}", arrays)
            for key, value in parameters.items()
            if key not in saved.not_saved
        },
        "attributes": {
            key: to_json(value, f"{start}{key}", arrays) for key, value in attributes.items()
        },
    }
