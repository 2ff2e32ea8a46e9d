"""What a saved model is, said by ``skdict info``; how commands load models and end."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

# Levels of provenance that are shown as text.
_MOST_LEVELS = 8


def run_info(arguments) -> int:
    """Print what a model is."""
    try:
        facts = _facts(Path(arguments.model))
        text = json.dumps(facts, indent=1, default=_plain) if arguments.json else _as_text(facts)
    except RecursionError:
        return told("info", f"{arguments.model} has entries nested too deeply", USAGE)
    except (ImportError, OSError, ValueError) as error:
        return told("info", error, USAGE)
    code = _printed(text)
    if facts["problem"] is not None:
        return told("info", facts["problem"], FAILED)
    return code


def _facts(folder: Path) -> dict:
    """What is known of a model; of one whose arrays are damaged, what its model file says."""
    from skdict.persistence._errors import damage_in
    from skdict.persistence._folder import MODEL
    from skdict.persistence._load import read_record

    if _is_saelens(folder):
        model = load_model(folder, "cpu")
        return {"path": str(folder), "format": "SAELens", "schema": None, "checksums": "none",
                "problem": None, "steps": _described(model), "provenance": {}}  # fmt: skip
    record = read_record(folder)
    facts = {
        "path": str(folder), "format": record["format"], "schema": record["schema"],
        "checksums": "ok", "problem": None,
    }  # fmt: skip
    try:
        facts["steps"] = _described(load_model(folder, "cpu"))
    except (OSError, ValueError) as error:
        with damage_in(folder / MODEL):
            steps = [{"name": str(step["name"]), "class": str(step["class"])}
                     for step in record["steps"]]  # fmt: skip
        facts |= {"checksums": "damaged", "problem": str(error), "steps": steps}
    return facts | {"provenance": record.get("provenance")}


def _described(model) -> list[dict]:
    """Class, sizes and settings of each step."""
    described = []
    for name, step in model.steps if isinstance(model, Pipeline) else [("model", model)]:
        if step is None or isinstance(step, str):
            described.append({"name": name, "class": "passthrough"})
            continue
        entry = {"name": name, "class": type(step).__name__}
        if hasattr(step, "n_features_in_"):  # an unfitted Normalizer takes any
            entry["features"] = step.n_features_in_
        if hasattr(step, "_n_atoms"):
            entry |= {"atoms": step._n_atoms, "non_zeros": step._code_width(),
                      "dtype": str(step.components_.dtype)}  # fmt: skip
        parameters = type(step)().get_params(deep=False)
        entry["settings"] = {
            key: _plain(value)
            for key, value in step.get_params(deep=False).items()
            if _plain(value) != _plain(parameters[key])
        }
        described.append(entry)
    return described


def _plain(value):
    """A setting as JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return f"array of shape {value.shape}" if hasattr(value, "shape") else str(value)


def _as_text(facts) -> str:
    lines = [f"{facts['path']}: {facts['format']}"]
    for step in facts["steps"]:
        sizes = [f"{step['features']} features"] if "features" in step else []
        if "atoms" in step:
            sizes += [f"{step['atoms']} atoms", f"at most {step['non_zeros']} non-zeros",
                      step["dtype"]]  # fmt: skip
        lines.append(f"  {step['name']}: {step['class']}{', ' if sizes else ''}{', '.join(sizes)}")
        lines += [f"    {key} = {value}" for key, value in step.get("settings", {}).items()]
    provenance = facts["provenance"] if isinstance(facts["provenance"], dict) else {}
    lines += [f"{key}: {_words(value)}" for key, value in provenance.items()]
    lines.append(f"checksums: {facts['checksums']}")
    return "\n".join(map(printable, lines))


def _words(value, level: int = 0) -> str:
    if isinstance(value, (dict, list)) and level == _MOST_LEVELS:
        return "..."
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(entry, level + 1)}" for key, entry in value.items())
    if isinstance(value, list):
        return " x ".join(_words(entry, level + 1) for entry in value)
    return str(value)


def _printed(text: str) -> int:
    """Print to standard output; exit code, 1 if there was no room for it."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # who reads it, such as head, has seen enough
        drop_output()
    except OSError as error:
        drop_output()
        return told("info", f"standard output: {error}", FAILED)
    return OK


# ---------------------------------------------------------------------- of all commands


def estimators_of(model) -> list:
    """Steps of a model, without those that pass rows on."""
    steps = model.steps if isinstance(model, Pipeline) else [("model", model)]
    return [step for _, step in steps if step is not None and not isinstance(step, str)]


def load_model(folder: Path, device: str):
    """Load what skdict.save or SAELens wrote."""
    from skdict.persistence import load

    if not _is_saelens(folder):
        return load(folder, mmap_mode="c", device=device)
    from skdict.interop import from_saelens

    model = from_saelens(folder)
    estimators_of(model)[-1].set_params(device=device)
    return model


def _is_saelens(folder: Path) -> bool:
    return (folder / "cfg.json").is_file() and not (folder / "model.json").is_file()


def told(command: str, error, code: int) -> int:
    """Print an error as one line; give the exit code back."""
    message = printable(" ".join(str(error).split())) or type(error).__name__
    print(f"skdict {command}: {message}", file=sys.stderr)
    return code


def printable(text: str) -> str:
    """Text of a file with signs escaped that steer terminals or begin lines."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def drop_output() -> None:
    """Send what is still to be printed nowhere: Python would fail at it once more when it ends."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # it is no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
