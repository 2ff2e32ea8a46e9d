"""What is wrong with the files of a model, in one kind of error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ModelFileError(ValueError):
    """The files of a model are damaged, incomplete, or of a format that cannot be read.

    Examples
    --------
    >>> from skdict.persistence import ModelFileError
    >>> issubclass(ModelFileError, ValueError)
    True
    """


@contextmanager
def damage_in(path: Path) -> Iterator[None]:
    """Turn whatever unexpected values of a file lead to into a ModelFileError.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ModelFileError
        In place of errors of values, types, look-ups, arithmetic and recursion.
    """
    try:
        yield
    except ModelFileError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{path} is damaged ({type(error).__name__}: {str(error)[:300]}); copy the model again"
        ) from error
    except RecursionError as error:
        raise ModelFileError(f"{path} is damaged (nested too deeply)") from error
