"""Texts that are given to a bundle."""

from __future__ import annotations

from collections.abc import Mapping


def plain_text(value) -> str:
    """Text of a value that UTF-8 can hold: lone surrogates become question marks."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def texts(name: str, values, n: int, what: str) -> list[str]:
    """One text for each of n things; empty ones for None.

    Parameters
    ----------
    name : str
        Name of the parameter, for the messages.
    values : sequence, mapping from numbers, or None
        The texts. A mapping may leave some out.
    n : int
        How many there must be.
    what : str
        What they name.

    Returns
    -------
    list of str
        The texts.

    Raises
    ------
    ValueError
        If there are more or fewer, or a number is none of theirs.
    """
    if values is None:
        return [""] * n
    if isinstance(values, Mapping):
        wrong = [key for key in values if isinstance(key, bool) or key not in range(n)]
        if wrong:
            raise ValueError(f"{name} must have keys from 0 to {n - 1}, got {wrong[0]!r}")
        return [plain_text(values.get(place, "")) for place in range(n)]
    if isinstance(values, (str, bytes)) or len(values) != n:
        raise ValueError(
            f"{name} must hold one text for each of the {n} {what}, got "
            f"{values!r:.60}" + ("" if isinstance(values, (str, bytes)) else f" ({len(values)})")
        )
    return [plain_text(value) for value in values]
