"""The two files of a blinded study: what is shown, and the key that is kept from the experts."""

from __future__ import annotations

import json
from pathlib import Path

STUDY_FORMAT, KEY_FORMAT, VERSION = "skdict-blinded-study", "skdict-blinded-key", 1


def json_bytes(content: dict) -> bytes:
    """JSON with an item in each line."""
    head = {name: value for name, value in content.items() if name != "items"}
    text = json.dumps(head, ensure_ascii=False, indent=1)[:-2]
    lines = (json.dumps(item, ensure_ascii=False) for item in content["items"])
    return (text + ',\n "items": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n").encode()


def read_study_file(path) -> dict:
    """Content of a study file; raise ValueError unless it is one."""
    content = _read(path, STUDY_FORMAT, "blinded study")
    for name in ("title", "question", "bundle"):
        _check(path, isinstance(content.get(name), str), f"{name} must be a text")
    for item in content["items"]:
        examples = item.get("examples")
        whole = isinstance(examples, list) and all(type(sample) is int for sample in examples)
        _check(path, whole, "examples must be a list of integers")
    return content


def read_key_file(path, study_id: str | None = None) -> dict[str, dict]:
    """Kind, id and repeat of each code; raise ValueError unless it is the key of the study.

    Parameters
    ----------
    path : str or path-like
        The key.
    study_id : str or None, default=None
        Number of the study that it must be of.

    Returns
    -------
    dict of str to dict
        ``kind``, ``id`` and ``repeat`` (0: shown for the first time, 1: again) by code.
    """
    content = _read(path, KEY_FORMAT, "key of a blinded study")
    if study_id is not None and content["study"] != study_id:
        raise ValueError(
            f"key {str(path)!r} is that of study {content['study']}, not of study {study_id}; name "
            "the key that was written with the study"
        )
    for item in content["items"]:
        _check(path, isinstance(item.get("kind"), str), "kind must be a text")
        _check(path, isinstance(item.get("id"), (str, int)), "id must be a text or an integer")
        _check(path, item.get("repeat") in (0, 1), "repeat must be 0 or 1")
    return {item["code"]: item for item in content["items"]}


def _read(path, kind: str, what: str) -> dict:
    """JSON of one of the two formats, with codes that differ."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"path {str(path)!r} is no {what}: it is no JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != kind:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"path {str(path)!r} is no {what}: its format is {str(found)[:60]!r} instead of "
            f"{kind!r}"
        )
    if content.get("version") != VERSION:
        raise ValueError(
            f"path {str(path)!r} has version {str(content.get('version'))[:20]} of the format, and "
            f"this skdict reads version {VERSION}: install a newer skdict"
        )
    items = content.get("items")
    _check(path, isinstance(content.get("study"), str), "study must be a text")
    _check(path, isinstance(items, list) and len(items) > 0, "items must be a list of items")
    _check(path, all(isinstance(item, dict) for item in items), "items must be objects")
    codes = [item.get("code") for item in items]
    _check(path, all(isinstance(code, str) for code in codes), "code must be a text")
    _check(path, len(set(codes)) == len(codes), "codes must differ")
    return content


def _check(path, right: bool, expected: str) -> None:
    if not right:
        raise ValueError(f"{str(path)!r} is damaged: {expected}; take a copy that was not edited")
