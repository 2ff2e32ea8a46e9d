"""How precisely matrices of float32 are multiplied on a GPU.

The matrix units of a GPU multiply TF32 numbers (10 bits of mantissa) many times as fast as
the other units multiply float32. In the default mode they are used where coefficients stay exact:

- to search atoms: a few more than needed are found, and which of them are taken, with what
  coefficients, is computed in float32 (`_triton`);
- for other products, split in three: each number is the sum of two TF32 numbers, and only the
  product of the two small parts is left out, about 1e-7 of the product of the lengths.

In the exact mode (`precision`) every product is IEEE float32. float64 and the host are always
exact. Torch's own setting of the precision plays no part in these products, and is restored.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch

# Whether products of float32 on a GPU are IEEE float32, in this thread.
_exact: ContextVar[bool] = ContextVar("exact", default=False)

# The setting belongs to the whole process.
_setting = threading.RLock()


class HalfGram(NamedTuple):
    """Gram matrix in half precision: gram = scale * matrix, to about 5e-4 of each entry."""

    matrix: torch.Tensor  # (M, M) float16
    scale: torch.Tensor  # no dimension, float32


@contextmanager
def precision(mode):
    """Products of float32 on a GPU in "default" or "exact" precision, in this thread."""
    token = _exact.set(mode == "exact")
    try:
        yield
    finally:
        _exact.reset(token)


def uses_tf32(array):
    """Whether products with this tensor may use TF32."""
    return array.device.type == "cuda" and array.dtype == torch.float32 and not _exact.get()


@contextmanager
def _products(units):
    """Products of float32 on a GPU with "tf32" or "ieee" numbers; restored at the end."""
    matmul = torch.backends.cuda.matmul
    # The name since torch 2.9; the old one refuses to be read where somebody used the new one.
    name = "fp32_precision" if hasattr(matmul, "fp32_precision") else "allow_tf32"
    with _setting:
        before = getattr(matmul, name)
        setattr(matmul, name, units if name == "fp32_precision" else units == "tf32")
        try:
            yield
        finally:
            setattr(matmul, name, before)


def search_product(rows, atoms):
    """rows @ atoms.T, good enough to find the largest entries."""
    if not uses_tf32(rows):
        return exact_product(rows, atoms)
    with _products("tf32"):
        return rows @ atoms.T


def exact_product(rows, atoms):
    """rows @ atoms.T with the rounding errors of float32."""
    if rows.device.type != "cuda" or rows.dtype != torch.float32:
        return rows @ atoms.T
    if uses_tf32(rows):
        with _products("tf32"):
            return split_product(rows, atoms)
    with _products("ieee"):
        return rows @ atoms.T


def split_product(rows, atoms):
    """rows @ atoms.T as three products of numbers that TF32 holds."""
    high_rows, low_rows = split(rows)
    high_atoms, low_atoms = split(atoms)
    # The small contributions first: they would be rounded away one by one.
    product = high_rows @ low_atoms.T
    product.addmm_(low_rows, high_atoms.T)
    return product.addmm_(high_rows, high_atoms.T)


def split(matrix):
    """Two matrices of float32 whose sum is `matrix`; the first one has 10 bits of mantissa."""
    high = (matrix.view(torch.int32) & -8192).view(torch.float32)
    return high, matrix - high
