"""What turns models of older schemas into the present one.

A schema is a number in ``model.json`` that says what is where. Whoever changes that, raises it in
`_folder` and adds a function here; a stored file of the older schema stays in the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

# Older schema: function of its record and arrays that gives those of the next one.
_migrations: dict[int, Callable[[dict[str, Any], Arrays], tuple[dict[str, Any], Arrays]]] = {}


def readable_schemas(present: int) -> set[int]:
    """Schemas from which functions lead to the present one.

    Parameters
    ----------
    present : int
        The schema that is written.
    """
    schemas = {present}
    while min(schemas) - 1 in _migrations:
        schemas.add(min(schemas) - 1)
    return schemas


def migrate(record: dict[str, Any], arrays: Arrays, present: int) -> tuple[dict[str, Any], Arrays]:
    """Record and arrays as the present schema has them.

    Parameters
    ----------
    record : dict
        Content of the model file, of one of the `readable_schemas`.
    arrays : dict of str to ndarray
        Its arrays.
    present : int
        The schema that is written.
    """
    for schema in range(record["schema"], present):
        record, arrays = _migrations[schema](record, arrays)
        record = {**record, "schema": schema + 1}
    return record, arrays
