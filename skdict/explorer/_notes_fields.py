"""What a note is made of, and which values its fields may have."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from skdict._validation import check_integer, check_real

LARGEST_CONCEPT = 2**31 - 1
LONGEST = {"expert": 200, "name": 1_000, "text": 50_000, "tag": 200}
MOST_TAGS = 50


class Note(NamedTuple):
    """What an expert says of a concept at one time.

    Parameters
    ----------
    id : str
        32 hexadecimal digits; no two notes have the same.
    concept : int
        Index of the concept.
    expert : str
        Who says it.
    time : str
        When, UTC, as ``2026-01-31T12:00:00.000000Z``: as text it sorts by time.
    name : str
        Name of the concept; empty if none is given.
    text : str
        Free text.
    rating : int or None
        How well the concept can be interpreted, 1 (not at all) to 5 (clearly); None: not rated.
    confidence : float or None
        How sure the expert is, 0 to 1; None: not said.
    tags : tuple of str
        Tags, each once.
    bundle : str
        Fingerprint of the bundle that the expert looked at; empty if not known.

    Examples
    --------
    >>> from skdict.explorer import Note
    >>> Note._fields[1:6]
    ('concept', 'expert', 'time', 'name', 'text')
    """

    id: str
    """32 hexadecimal digits."""
    concept: int
    """Index of the concept."""
    expert: str
    """Who says it."""
    time: str
    """When, UTC."""
    name: str
    """Name of the concept."""
    text: str
    """Free text."""
    rating: int | None
    """1 to 5, or None."""
    confidence: float | None
    """0 to 1, or None."""
    tags: tuple[str, ...]
    """Tags."""
    bundle: str
    """Fingerprint of the bundle."""


def check_concept(value, n_concepts: int | None = None) -> int:
    """Index of a concept as an int; raise unless it is one (of the bundle)."""
    check_integer("concept", value, 0)
    largest = LARGEST_CONCEPT if n_concepts is None else n_concepts - 1
    if value > largest:
        raise ValueError(f"concept must be an index from 0 to {largest}, got {value!r}")
    return int(value)


def check_expert(value) -> str:
    """Name of an expert; raise if it is empty or has blanks at its ends."""
    expert = check_text("expert", value)
    if not expert or expert != expert.strip():
        raise ValueError(
            f"expert must be a name without blanks at its ends, for example 'anna', got {value!r}"
        )
    return expert


def check_text(name: str, value) -> str:
    """Text as it is; raise unless it can be stored and given back the same."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {value!r} of type {type(value).__name__}")
    if len(value) > LONGEST[name]:
        raise ValueError(
            f"{name} must have at most {LONGEST[name]} characters, got {len(value)}; shorten it"
        )
    # Half a surrogate pair has no UTF-8, and SQL ends text at a null character.
    if re.search("[\ud800-\udfff\0]", value):
        raise ValueError(
            f"{name} must hold no null character and no half of a surrogate pair, got {value!r}"
        )
    return str(value)


def check_rating(value) -> int | None:
    """Rating as an int or None."""
    check_integer("rating", value, 1, none=True)
    if value is not None and value > 5:
        raise ValueError(f"rating must be an integer from 1 to 5 or None, got {value!r}")
    return None if value is None else int(value)


def check_confidence(value) -> float | None:
    """Confidence as a float or None."""
    if value is None:
        return None
    check_real("confidence", value, 0, 1)
    return float(value)


def check_tags(value) -> tuple[str, ...]:
    """Tags in their order, each once."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"tags must be a list of str, for example ['nuclei'], got {value!r}")
    tags = tuple(dict.fromkeys(check_text("tag", tag) for tag in value))
    if "" in tags or len(tags) > MOST_TAGS:
        raise ValueError(
            f"tags must be at most {MOST_TAGS} and not empty, got {len(tags)}"
            + (" with an empty one" if "" in tags else "")
        )
    return tags


def check_time(value) -> str:
    """Time as stored, UTC to the microsecond; raise unless it is ISO 8601, zoned and past."""
    try:
        moment = datetime.fromisoformat(value)
        soon = datetime.now(UTC) + timedelta(days=1)  # a later one would hide all that follow
        if moment.tzinfo is not None and moment <= soon:
            return time_text(moment)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(
        "time must be ISO 8601 with a time zone, not in the future, for example "
        "2026-01-31T12:00:00Z, got "
        f"{str(value)[:60]!r}"
    )


def time_text(moment: datetime) -> str:
    """UTC to the microsecond, as text that sorts by time."""
    moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="microseconds") + "Z"


def time_after(last: str | None) -> str:
    """Now, or just after `last` where that is later: a clock that goes back hides no new row."""
    now = time_text(datetime.now(UTC))
    if last is None or now > last:
        return now
    return time_text(datetime.fromisoformat(last) + timedelta(microseconds=1))
