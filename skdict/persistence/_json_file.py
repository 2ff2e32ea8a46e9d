"""JSON that means one thing: no duplicate keys, no NaN, no numbers beyond 64 bits."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

# Whole numbers of the files are those that fit into 64 bits with a sign.
SMALLEST, LARGEST = -(2**63), 2**63 - 1


def parse(content: bytes) -> Any:
    """Parsed content of a file.

    Parameters
    ----------
    content : bytes
        JSON in UTF-8.

    Raises
    ------
    ValueError
        If it is no JSON, or an object has a key twice, or a number is not finite or too large.
    RecursionError
        If it is nested too deeply.
    """
    return json.loads(
        content.decode("utf-8"),
        object_pairs_hook=_object,
        parse_int=_int,
        parse_float=_float,
        parse_constant=_refused,
    )


def format_record(record: dict) -> bytes:
    """Content of the file of a record.

    Parameters
    ----------
    record : dict
        Plain values; the floats among them finite.
    """
    return (json.dumps(record, indent=1, allow_nan=False) + "\n").encode()


def digest_of(record: dict) -> str:
    """SHA-256 of a record without its own checksum, whatever spaces its file has.

    Parameters
    ----------
    record : dict
        Content of the file.
    """
    canonical = {key: value for key, value in record.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


def _object(pairs):
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:80]!r} is there twice")
        found[key] = value
    return found


def _int(text):
    if len(text) > 20 or not SMALLEST <= int(text) <= LARGEST:
        raise ValueError(f"the number {text[:30]} does not fit into 64 bits")
    return int(text)


def _float(text):
    if not math.isfinite(float(text)):
        raise ValueError(f"the number {text[:30]} is not finite")
    return float(text)


def _refused(text):
    raise ValueError(f"{text} is no number")
