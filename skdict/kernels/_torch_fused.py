"""Where kernels written for GPUs take over from plain torch operations."""

from __future__ import annotations

import functools


def fused_kernels(array):
    """The module of fused kernels if it serves this tensor, else None."""
    return _triton_kernels() if array.device.type == "cuda" else None


@functools.cache
def _triton_kernels():
    # Imported for tensors on a GPU only. CUDA builds of torch bring Triton, on Linux.
    try:
        from skdict.kernels import _triton
    except ImportError:
        return None
    return _triton
