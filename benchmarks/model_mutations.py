"""Saved models, damaged in every way that comes to mind, and what loading them leads to.

A mutation either must be refused or means nothing (a space in the JSON, the card, provenance).
Edits that make another valid model, such as another number in an array together with its checksum,
are left out: nobody can tell such a model from one that was meant. So parameters are not changed
to values that their estimator accepts, arrays of one shape are not exchanged, and square ones are
not transposed.
"""

from __future__ import annotations

import hashlib
import json
import time
import tracemalloc
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)

from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE
from skdict.persistence import ModelFileError, load
from skdict.persistence._json_file import digest_of
from skdict.persistence._models import CLASSES
from skdict.persistence._values import from_json

MODEL, ARRAYS, CARD = "model.json", "arrays.safetensors", "README.md"
SECONDS, MEGABYTES = 5.0, 64  # that no load of these small models may take

_ODD = (
    None, True, False, 0, -1, 3, 2**40, 2**62, -(2**62), 0.5, 1e308, "", "x", "../x", [], [0], {},
    {"x": 1}, {"list": [1]}, {"array": "x"}, {"dict": {}}, {"float": "nan"}, {"strings": [""]},
)  # fmt: skip
_HUGE = (0, -1, 10**9, 2**40, 2**62, 2**63, 10**30, 10**400)


def small_models(random_state=0):
    """Name, fitted model and rows to probe it with, of each kind of model."""
    rng = np.random.default_rng(random_state)
    X = rng.normal(size=(200, 6))
    X[:, 3] = 2.0  # constant among controls: an infinite severity
    control = np.arange(200) < 100
    short = {"n_nonzero_coefs": 3, "max_steps": 3}
    seed = np.random.RandomState(3)
    whitener = ControlPCAWhitener().fit(X, control=control)
    unit = Normalizer().fit(X)
    white = unit.transform(whitener.transform(X)).astype(np.float32)
    pipeline = make_pipeline(whitener, unit, ICFLDictionary(9, random_state=0, **short).fit(white))
    scalers = make_pipeline(StandardScaler(), MinMaxScaler(), "passthrough", MaxAbsScaler(),
                            RobustScaler(), StandardScaler(with_mean=False))  # fmt: skip
    single = X.astype(np.float32)
    named = TopKSAE(8, random_state=seed, **short).fit(single).set_output(transform="default")
    named.feature_names_in_ = np.array([f"µ{i}" for i in range(6)], dtype=object)
    return {
        "TopKSAE": (named, single[:9]),
        "ICFLDictionary": (
            ICFLDictionary(8, init=rng.normal(size=(8, 6)), solver="online", **short).fit(X), X[:9],
        ),
        "ControlPCAWhitener": (whitener, X[:9]),
        "pipeline": (pipeline, single[:9]),
        "scalers": (scalers.fit(X), X[:9]),
    }  # fmt: skip


def transformed(model, rows):
    """Result of `transform`; that the rows do not name their features is no concern here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        return model.transform(rows)


def codes_of(model, rows) -> bytes:
    """Result of `transform`, bit by bit."""
    codes = transformed(model, rows)
    if hasattr(codes, "indptr"):
        return b"".join(part.tobytes() for part in (codes.data, codes.indices, codes.indptr))
    return np.ascontiguousarray(codes).tobytes()


# ---------------------------------------------------------------------- damage


def _any_file(rng):
    return (MODEL, ARRAYS, CARD)[rng.choice(3, p=(0.45, 0.45, 0.1))]  # the card is never read


def flip(files, rng):
    """Change a few bytes of a file."""
    name = _any_file(rng)
    content = bytearray(files[name])
    for _ in range(rng.integers(1, 9)):
        content[rng.integers(len(content))] ^= int(rng.integers(1, 256))
    files[name] = bytes(content)


def cut(files, rng):
    """Drop the end of a file."""
    name = _any_file(rng)
    files[name] = files[name][: rng.integers(len(files[name]))]


def extend(files, rng):
    """Add to the end of a file."""
    tail = (b" ", b"\n", b"\0" * 8, rng.bytes(5), b"{}")[rng.integers(5)]
    files[_any_file(rng)] += tail


def exchange_blocks(files, rng):
    """Exchange two parts of a file."""
    name = _any_file(rng)
    content = files[name]
    a, b, c = np.sort(rng.integers(0, len(content) + 1, size=3)).tolist()
    files[name] = content[:a] + content[b:c] + content[a:b] + content[c:]


def lose_file(files, rng):
    """Drop a file, or empty it."""
    name = _any_file(rng)
    if rng.integers(2):
        del files[name]
    else:
        files[name] = b""


def noise(files, rng):
    """Replace a file by noise of any length."""
    files[_any_file(rng)] = rng.bytes(int(rng.integers(1, 3000)))


# ---------------------------------------------------------------------- JSON, checksum made anew


def _entries(value, path=()):
    """Paths of all entries of nested objects and lists."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, entry in pairs:
        yield (*path, key)
        if isinstance(entry, (dict, list)):
            yield from _entries(entry, (*path, key))


def _pick(record, rng, where=lambda path: True):
    paths = [path for path in _entries(record) if path[0] != "sha256" and where(path)]
    path = paths[rng.integers(len(paths))]
    holder = record
    for key in path[:-1]:
        holder = holder[key]
    return path, holder, path[-1]


def _rewrite(files, record, text=None):
    record["sha256"] = digest_of(record)
    files[MODEL] = json.dumps(record).encode() if text is None else text.encode()


def _is_valid_parameter(record, path, value):
    """Whether a value makes another model that the estimator accepts."""
    if len(path) != 4 or path[2] != "parameters":
        return False
    cls = CLASSES[record["steps"][path[1]]["class"]].estimator
    try:
        cls(**{path[3]: from_json(value, {})})._validate_params()
    except Exception:
        return False
    return True


def drop_key(files, rng):
    """Remove an entry."""
    record = json.loads(files[MODEL])
    _, holder, key = _pick(record, rng)
    del holder[key]
    _rewrite(files, record)


def rename_key(files, rng):
    """Give an entry of an object another name."""
    record = json.loads(files[MODEL])
    _, holder, key = _pick(record, rng, lambda path: isinstance(path[-1], str))
    new = (f"{key}x", "", "__class__", "components_", key.upper() + "_")[rng.integers(5)]
    value = holder.pop(key)
    holder[new] = value
    _rewrite(files, record)


def retype(files, rng):
    """Put a value of another kind in the place of one."""
    record = json.loads(files[MODEL])
    path, holder, key = _pick(record, rng)
    value = _ODD[rng.integers(len(_ODD))]
    same = type(value) is type(holder[key]) and not isinstance(value, (str, list, dict))
    if same or _is_valid_parameter(record, path, value):
        value = {"unknown": value}
    holder[key] = value
    _rewrite(files, record)


def huge_number(files, rng):
    """Put a number that cannot be in the place of one."""
    record = json.loads(files[MODEL])
    path, holder, key = _pick(record, rng, lambda path: True)
    value = _HUGE[rng.integers(len(_HUGE))]
    if not _is_valid_parameter(record, path, value):
        holder[key] = value
    _rewrite(files, record)


def other_reference(files, rng):
    """Let an attribute name another array, or be of another kind."""
    record = json.loads(files[MODEL])
    kinds = ("array", "scalar", "transposed")
    _, holder, key = _pick(record, rng, lambda path: path[-1] in kinds)
    others = ["x", "../x", "", *(n for n in _header(files)[0] if n not in (holder[key], "x"))]
    if rng.integers(2):
        holder[key] = others[rng.integers(len(others))]
    else:
        name = holder.pop(key)
        new = ("list", "tuple", "float", "strings", "text", "dict", "object", "random state")
        holder[new[rng.integers(8)]] = name
    _rewrite(files, record)


def other_class(files, rng):
    """Let a step be of another class."""
    record = json.loads(files[MODEL])
    step = record["steps"][rng.integers(len(record["steps"]))]
    names = ["os.system", "builtins.eval", "FunctionTransformer", "", None, ["x"], "passthrough",
             *CLASSES]  # fmt: skip
    names = [name for name in names if name != step["class"]]
    step["class"] = names[rng.integers(len(names))]
    _rewrite(files, record)


def other_header(files, rng):
    """Change format, schema, pipeline or place of the arrays."""
    record = json.loads(files[MODEL])
    edits = (
        ("format", "pickle"), ("format", None), ("schema", 2), ("schema", 0), ("schema", True),
        ("schema", 1.0), ("schema", "1"), ("pipeline", None), ("pipeline", 1), ("steps", []),
        ("steps", {}), ("steps", record["steps"] * 2),
    )  # fmt: skip
    places = ("../arrays.safetensors", "/etc/passwd", "README.md", "model.json", "", None, ["x"])
    if rng.integers(3) == 0:
        record["arrays"]["file"] = places[rng.integers(len(places))]
    else:
        key, value = edits[rng.integers(len(edits))]
        record[key] = value
    _rewrite(files, record)


def odd_text(files, rng):
    """Duplicate keys, constants that JSON has not, numbers and depths beyond all bounds."""
    record = json.loads(files[MODEL])
    _, holder, key = _pick(record, rng, lambda path: isinstance(path[-1], str))
    kept, depth = holder[key], int(rng.integers(20, 100_000))
    holder[key] = "MARK"
    texts = (
        "NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "[" * depth + "]" * depth,
        '{"list":[' * depth + "]}" * depth, '"\\ud800"', "01", "'x'",
        f'{json.dumps(kept)}, {json.dumps(key)}: {json.dumps(kept)}',
    )  # fmt: skip
    _rewrite(files, record, json.dumps(record).replace('"MARK"', texts[rng.integers(len(texts))]))


# ---------------------------------------------------------------------- arrays, checksum made anew


def _header(files):
    content = files[ARRAYS]
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _seal(files, content):
    """Put arrays in place, with the checksums that belong to them."""
    files[ARRAYS] = content
    record = json.loads(files[MODEL])
    record["arrays"] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    _rewrite(files, record)


def _with_header(files, text, data, padding=True):
    text = text.encode() if isinstance(text, str) else text
    text += b" " * (-len(text) % 8 if padding else 0)
    _seal(files, len(text).to_bytes(8, "little") + text + data)


def header_entry(files, rng):
    """Change type, shape or offsets of an array, its name, or the keys of its entry."""
    header, data = _header(files)
    name = list(header)[rng.integers(len(header))]
    entry, what = header[name], rng.integers(9)
    if what == 0:
        others = [t for t in ("F64", "F32", "F16", "BF16", "BOOL", "U8", "C64", "", None, 7, [])
                  if t != entry["dtype"]]  # fmt: skip
        entry["dtype"] = others[rng.integers(len(others))]
    elif what == 1:
        odd = ([], [-1], [2**62], [2**40, 2**40], [0], [1] * 40, [True], [2.0], "8", None, {})
        odd = [shape for shape in odd if shape != entry["shape"]]
        entry["shape"] = odd[rng.integers(len(odd))]
    elif what == 2:
        entry["shape"] = [*entry["shape"], 1]
    elif what == 3:
        at = int(rng.integers(2))
        entry["data_offsets"][at] += int(rng.choice([-8, -4, -1, 1, 4, 8, 2**40, -(2**40)]))
    elif what == 4:
        odd = ([0], [], [8, 0], [0, 2**62], [-8, 0], None, "0", [0, 0], [0.0, 8.0], [None, 8])
        odd = [o for o in odd if o != entry["data_offsets"]]
        entry["data_offsets"] = odd[rng.integers(len(odd))]
    elif what == 5:
        header[f"{name}x"] = header.pop(name)
    elif what == 6:
        del header[name]
    elif what == 7:
        entry[("x", "dtype2")[rng.integers(2)]] = 1
    else:
        del entry[("dtype", "shape", "data_offsets")[rng.integers(3)]]
    _with_header(files, json.dumps(header), data, padding=bool(rng.integers(4)))


def header_text(files, rng):
    """A header that is no header, lies about its length, or names an array twice."""
    header, data = _header(files)
    text = json.dumps(header)
    what = rng.integers(6)
    if what == 0:
        length = int(rng.choice([0, 1, len(text) // 2, 2**21, 2**31, 2**62]))
        _seal(files, length.to_bytes(8, "little") + text.encode() + data)
    elif what == 1:
        name = next(iter(header))
        twice = f"{text[:-1]}, {json.dumps(name)}: {json.dumps(header[name])}}}"
        _with_header(files, twice, data)
    elif what == 2:
        _with_header(files, "[" * 50_000, data)
    elif what == 3:
        _with_header(files, ("null", "[]", '""', "7", "{}", "{]")[rng.integers(6)], data)
    elif what == 4:
        _with_header(files, rng.bytes(int(rng.integers(0, 200))), data)
    else:
        _with_header(files, text, data[: rng.integers(len(data))] if rng.integers(2) else data * 2)


def not_finite(files, rng):
    """NaN or infinity in arrays that are computed with."""
    header, data = _header(files)
    record = json.loads(files[MODEL])
    used = {
        value["array"] if "array" in value else value["transposed"]
        for step in record["steps"]
        for key, value in step.get("attributes", {}).items()
        if isinstance(value, dict) and value.keys() & {"array", "transposed"}
        and key != "outlier_severity_"
    }  # fmt: skip
    names = sorted(name for name in used if header[name]["dtype"] in ("F32", "F64"))
    entry = header[names[rng.integers(len(names))]]
    dtype = {"F32": "<f4", "F64": "<f8"}[entry["dtype"]]
    data = bytearray(data)
    view = np.frombuffer(data, np.uint8)[slice(*entry["data_offsets"])].view(dtype)
    view[rng.integers(view.size)] = (np.nan, np.inf, -np.inf)[rng.integers(3)]
    _with_header(files, json.dumps(header), bytes(data))


MUTATIONS = (
    flip, cut, extend, exchange_blocks, lose_file, noise, drop_key, rename_key, retype, retype,
    huge_number, other_reference, other_class, other_header, odd_text, header_entry, header_entry,
    header_text, not_finite,
)  # fmt: skip


# ---------------------------------------------------------------------- outcomes


def outcome_of(folder: Path, rows, expected: bytes, mmap_mode=None) -> str:
    """What loading a folder leads to: "refused", "missing", "equal", or what is wrong with it."""
    start = time.perf_counter()
    # Not the peak of the process, below which a load could take as much as an earlier one.
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    try:
        model = load(folder, mmap_mode=mmap_mode)
    except ModelFileError:
        model, outcome = None, "refused"
    except FileNotFoundError:
        model, outcome = None, "missing"
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    finally:
        taken = (tracemalloc.get_traced_memory()[1] - before) / 2**20
        if not traced:
            tracemalloc.stop()
    seconds = time.perf_counter() - start
    if seconds > SECONDS or taken > MEGABYTES:
        return f"took {seconds:.1f} s and {taken:.0f} MB"
    if model is None:
        return outcome
    try:
        return "equal" if codes_of(model, rows) == expected else "gives other codes"
    except Exception as error:
        return f"transform raised {type(error).__name__}: {error}"


def unverified_outcome(folder: Path) -> str:
    """What loading without checksums of the arrays leads to: never another error."""
    try:
        load(folder, verify=False)
    except (ModelFileError, FileNotFoundError):
        return "refused"
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    return "loaded"


def fuzz(folder: Path, saved: dict, n_mutations: int, random_state: int = 0):
    """Damage saved models one at a time.

    Parameters
    ----------
    folder : Path
        Where damaged models are written, one over the other.
    saved : dict of str to (dict of str to bytes, ndarray, bytes)
        By name: files of a model, rows to probe it with, and their codes.
    n_mutations : int
        How many.
    random_state : int, default=0
        Seed.

    Returns
    -------
    counts : dict of str to dict of str to int
        Outcomes by mutation.
    defects : list of dict
        Outcomes that must not be, with all that it takes to see them again.
    """
    counts: dict[str, Counter] = {}
    defects = []
    for number in range(n_mutations):
        rng = np.random.default_rng([random_state, number])
        name = list(saved)[number % len(saved)]
        files, rows, expected = saved[name]
        files = dict(files)
        mutate = MUTATIONS[(number // len(saved)) % len(MUTATIONS)]
        mutate(files, rng)
        _write(folder, files)
        outcome = outcome_of(folder, rows, expected, (None, "r", "c")[rng.integers(3)])
        unverified = unverified_outcome(folder)
        if outcome not in ("refused", "missing", "equal") or unverified.startswith("raised"):
            defects.append({"model": name, "mutation": mutate.__name__, "number": number,
                            "outcome": outcome, "unverified": unverified})  # fmt: skip
            outcome = "defect"
        counts.setdefault(mutate.__name__, Counter())[outcome] += 1
    return {kind: dict(sorted(found.items())) for kind, found in counts.items()}, defects


def _write(folder, files):
    folder.mkdir(exist_ok=True)
    for name in (MODEL, ARRAYS, CARD):
        # a new file each time: arrays of the last one may still be mapped
        (folder / name).unlink(missing_ok=True)
        if name in files:
            (folder / name).write_bytes(files[name])


def saved_models(folder: Path) -> dict:
    """Files, probe rows and codes of each of the small models, as `fuzz` takes them."""
    from skdict.persistence import save

    saved = {}
    for name, (model, rows) in small_models().items():
        place = save(model, folder / name)
        files = {path.name: path.read_bytes() for path in place.iterdir()}
        saved[name] = files, rows, codes_of(model, rows)
    return saved
