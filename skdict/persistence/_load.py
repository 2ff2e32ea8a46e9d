"""Load a model that `save` wrote. Nothing in its files is imported or called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from skdict import _whitening
from skdict._validation import check_device
from skdict.persistence._array_file import read_arrays
from skdict.persistence._checks import check_agreement, check_attributes
from skdict.persistence._errors import ModelFileError, damage_in
from skdict.persistence._folder import ARRAYS, FORMAT, LARGEST_MODEL_FILE, MODEL, SCHEMA
from skdict.persistence._json_file import digest_of, parse
from skdict.persistence._migrations import migrate, readable_schemas
from skdict.persistence._models import CLASSES
from skdict.persistence._reading import FolderChangedError, opened_folder, patiently
from skdict.persistence._values import from_json

_KEYS = {"format", "schema", "pipeline", "steps", "arrays", "provenance"}


def load(path, *, mmap_mode=None, device="cpu", verify=True):
    """Load a model that :func:`skdict.save` wrote.

    No code is executed, whatever the files hold: classes come from a fixed list, and everything
    is checked before it is used.

    Parameters
    ----------
    path : str or Path
        The folder.
    mmap_mode : {"r", "c"} or None, default=None
        None reads the arrays into memory. "r" leaves them in the file and reads what is used;
        several processes share that memory, and the arrays cannot be written to. "c" is the same
        with changes that stay in this process. A mapped file must not be changed while the model
        is in use: save a new model to a new place, or with ``overwrite=True``, which leaves the
        mapped file to those that have it.
    device : str, default="cpu"
        Device for the dictionaries of the model, wherever they were fitted.
    verify : bool, default=True
        Whether the arrays are read once to compare their checksum and to find NaN. What follows
        from the sizes is checked in any case.

    Returns
    -------
    estimator
        The fitted model.

    Raises
    ------
    FileNotFoundError
        If there is no model.
    ModelFileError
        A :class:`ValueError`: the files are damaged, incomplete or changed, or of a newer version.
    ValueError
        If `mmap_mode` is another word, or `device` is not there.

    See Also
    --------
    skdict.save : Write it.

    Notes
    -----
    The kernels of the CPU are compiled once more for arrays that cannot be written to ("r"), which
    takes some seconds at the first `transform` on a machine. "c" shares memory as well, as long as
    nothing is written, and needs none of that.

    Checksums find accidents, not forgers: who changes a model on purpose can compute them anew.
    It is then another model, but still nothing that runs.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import skdict
    >>> X = np.random.default_rng(0).normal(size=(200, 8))
    >>> model = skdict.TopKSAE(16, n_nonzero_coefs=2, max_steps=5, random_state=0).fit(X)
    >>> folder = skdict.save(model, tempfile.mkdtemp() + "/model")
    >>> again = skdict.load(folder, mmap_mode="r")
    >>> bool((again.transform(X) != model.transform(X)).nnz == 0)
    True
    """
    if mmap_mode not in (None, "r", "c"):
        raise ValueError(f"mmap_mode must be None, 'r' or 'c', got {mmap_mode!r}")
    check_device(device)
    folder = Path(path)
    record, arrays = patiently(lambda: _read(folder, mmap_mode, verify))
    with damage_in(folder / MODEL):
        record, arrays = migrate(record, arrays, SCHEMA)
        return build_model(record, dict(arrays), device, verify)


def _read(folder, mmap_mode, verify):
    """Record and arrays that belong together."""
    with opened_folder(folder) as open_file:
        content, damage, arrays = _model_file(open_file), None, {}
        record = _checked(content, folder / MODEL)
        with damage_in(folder / MODEL):
            file, n_bytes, digest = (record["arrays"][key] for key in ("file", "bytes", "sha256"))
            if file != ARRAYS or set(record["arrays"]) != {"file", "bytes", "sha256"}:
                raise ModelFileError(f"the arrays of {folder} must be in {ARRAYS}")
        try:
            with open_file(ARRAYS) as opened:
                arrays = read_arrays(
                    opened, folder / ARRAYS,
                    n_bytes=n_bytes, digest=digest, mmap_mode=mmap_mode, verify=verify,
                )  # fmt: skip
        except (FileNotFoundError, ModelFileError) as error:
            damage = error
        # Other arrays of the same size would go unnoticed without the checksum.
        if not _is_still(content, open_file):
            raise FolderChangedError(
                f"the model in {folder} changed while it was read; load it again when nothing "
                "writes to it"
            ) from damage
        if damage is not None:
            raise damage
    return record, arrays


def read_record(folder: Path) -> dict[str, Any]:
    """Content of the model file as it was written, its format, schema and checksum checked.

    Parameters
    ----------
    folder : Path
        Folder of the model.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ModelFileError
        If it is damaged or of another version.
    """

    def read():
        with opened_folder(folder) as open_file:
            return _model_file(open_file)

    return _checked(patiently(read), folder / MODEL)


def _model_file(open_file):
    """Bytes of the model file, one more than it may have at most."""
    with open_file(MODEL) as opened:
        return opened.read(LARGEST_MODEL_FILE + 1)


def _is_still(content, open_file):
    """Whether the model file has this content."""
    try:
        return _model_file(open_file) == content
    except FileNotFoundError:
        return False


def _checked(content, file):
    """Record of a model file."""
    if len(content) > LARGEST_MODEL_FILE:
        raise ModelFileError(f"{file} is larger than any model file, {LARGEST_MODEL_FILE} bytes")
    with damage_in(file):
        record = parse(content)
        if record["format"] != FORMAT:
            raise ModelFileError(f"{file} is of the format {str(record['format'])[:80]!r}")
        _check_schema(record.get("schema"), file)
        if record.pop("sha256", None) != digest_of(record):
            raise ModelFileError(
                f"{file} was changed after it was written: its checksum differs; copy the model "
                "again"
            )
    return record


def _check_schema(schema, file):
    readable = readable_schemas(SCHEMA)
    if type(schema) is int and schema in readable:
        return
    remedy = "copy the model again"
    if type(schema) is int:
        remedy = "install a newer one" if schema > SCHEMA else "load and save it with an older one"
    raise ModelFileError(
        f"{file} has schema {str(schema)[:80]}, this skdict reads "
        f"{', '.join(map(str, sorted(readable)))}: {remedy}"
    )


def build_model(record: dict[str, Any], arrays: dict[str, np.ndarray], device: str, finite: bool):
    """The model of a record.

    Parameters
    ----------
    record : dict
        Content of the model file without its checksum, of the present schema.
    arrays : dict of str to ndarray
        Its arrays; they are taken out.
    device : str
        Device for the dictionaries.
    finite : bool
        Whether to look for NaN and infinity.

    Raises
    ------
    ModelFileError
        If something is missing, unknown, or does not fit together. What a file should not hold may
        lead to other errors, for which there is `damage_in`.
    """
    _check_keys(record, _KEYS, "the model")
    if type(record["pipeline"]) is not bool or not isinstance(record["steps"], list):
        raise ModelFileError("pipeline must be true or false, and steps a list")
    steps, n_features = [], None
    for written in record["steps"]:
        step, n_features = _step(written, arrays, device, n_features, finite)
        steps.append((written["name"], step))
    if arrays:
        raise ModelFileError(f"the arrays {sorted(arrays)[:5]} belong to nothing in the model")
    if not record["pipeline"] and len(steps) != 1:
        raise ModelFileError(f"the model must be one estimator, got {len(steps)}")
    if all(step == "passthrough" for _, step in steps):
        raise ModelFileError("the model holds no estimator")
    if not record["pipeline"]:
        return steps[0][1]
    pipeline = Pipeline(steps)
    pipeline._validate_names([name for name, _ in steps])
    return pipeline


def _check_keys(written, keys, what):
    if not isinstance(written, dict) or set(written) != keys:
        found = sorted(written) if isinstance(written, dict) else str(written)
        raise ModelFileError(f"{what} must have the keys {sorted(keys)}, got {str(found)[:200]}")


def _step(written, arrays, device, n_features, finite):
    """One estimator, and the number of features that it gives."""
    name = written["class"]
    if type(written["name"]) is not str:
        raise ModelFileError(f"a step must have a name, got {str(written['name'])[:80]}")
    if name == "passthrough":
        _check_keys(written, {"name", "class"}, "a step that passes rows on")
        return "passthrough", n_features
    if name not in CLASSES:
        raise ModelFileError(
            f"the model file holds the class {str(name)[:80]!r}, which is none of "
            f"{', '.join(CLASSES)}"
        )
    _check_keys(written, {"name", "class", "parameters", "attributes"}, name)
    estimator = _unfitted(name, written["parameters"], arrays, device)
    attributes = {key: from_json(value, arrays) for key, value in written["attributes"].items()}
    sizes = check_attributes(name, attributes, finite=finite)
    taken = sizes.get("features", n_features)
    if n_features is not None and taken != n_features:
        raise ModelFileError(
            f"{name} takes {taken} features, but the step before gives {n_features}"
        )
    if "_moments" in attributes:
        attributes["_moments"] = _whitening._Moments(*attributes["_moments"])
    for key, value in attributes.items():
        setattr(estimator, key, value)
    if hasattr(estimator, "history_"):
        estimator._partial_state = None
    check_agreement(name, estimator, sizes)
    return estimator, sizes.get("atoms", sizes.get("kept", taken))


def _unfitted(name, parameters, arrays, device):
    """An estimator of the class with parameters that it accepts."""
    saved = CLASSES[name]
    values = {key: from_json(value, arrays) for key, value in parameters.items()}
    known = set(saved.estimator._get_param_names()) - set(saved.not_saved)
    unknown = sorted(set(values) - known)
    missing = sorted(set(known if saved.parameters is None else saved.parameters) - set(values))
    if unknown or missing:
        raise ModelFileError(
            f"{name} lacks the parameters {missing} and has the unknown {unknown}: it is damaged "
            "or of another version"
        )
    if "device" in known:
        if not isinstance(values["device"], str):
            raise ModelFileError(f"device of {name} must be a name")
        values["device"] = device
    estimator = saved.estimator(**values)
    estimator._validate_params()
    return estimator
