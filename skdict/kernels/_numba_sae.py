"""Kernels of the TopK sparse autoencoder: selection of the K largest and the sparse backward."""

from __future__ import annotations

import numpy as np
from numba import njit

FASTMATH = {"nnan", "nsz", "reassoc", "contract"}


@njit(cache=True, nogil=True, error_model="numpy")
def _sift_down(heap_values, heap_indices, size, root):
    """Restore the heap order: the root is the smallest value, of equal values the highest index."""
    value = heap_values[root]
    index = heap_indices[root]
    while True:
        child = 2 * root + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            heap_values[right] < heap_values[child]
            or (
                heap_values[right] == heap_values[child]
                and heap_indices[right] > heap_indices[child]
            )
        ):
            child = right
        if heap_values[child] < value or (
            heap_values[child] == value and heap_indices[child] > index
        ):
            heap_values[root] = heap_values[child]
            heap_indices[root] = heap_indices[child]
            root = child
        else:
            break
    heap_values[root] = value
    heap_indices[root] = index


@njit(cache=True, nogil=True, error_model="numpy")
def topk_tile(
    pre_activations,  # IN (rows, M)
    candidates,  # IN (n_candidates,) indices of the features that may be chosen
    n_nonzero_coefs,  # at most n_candidates
    values,  # OUT (rows, n_nonzero_coefs)
    indices,  # OUT (rows, n_nonzero_coefs), ascending in each row
    counts,  # OUT (rows,)
):
    """ReLU(TopK(pre_activations)): the K largest signed entries, of which only the positive stay.

    Ties take the lower index.
    """
    n_candidates = candidates.shape[0]
    heap_values = np.empty(n_nonzero_coefs, pre_activations.dtype)
    heap_indices = np.empty(n_nonzero_coefs, np.int64)
    for r in range(pre_activations.shape[0]):
        row = pre_activations[r]
        for k in range(n_nonzero_coefs):
            heap_values[k] = row[candidates[k]]
            heap_indices[k] = candidates[k]
        for root in range(n_nonzero_coefs // 2 - 1, -1, -1):
            _sift_down(heap_values, heap_indices, n_nonzero_coefs, root)
        for k in range(n_nonzero_coefs, n_candidates):
            value = row[candidates[k]]
            if value > heap_values[0]:
                heap_values[0] = value
                heap_indices[0] = candidates[k]
                _sift_down(heap_values, heap_indices, n_nonzero_coefs, 0)
        count = 0
        for k in range(n_nonzero_coefs):
            if heap_values[k] <= 0:
                continue
            position = count
            while position > 0 and indices[r, position - 1] > heap_indices[k]:
                indices[r, position] = indices[r, position - 1]
                values[r, position] = values[r, position - 1]
                position -= 1
            indices[r, position] = heap_indices[k]
            values[r, position] = heap_values[k]
            count += 1
        counts[r] = count


@njit(cache=True, nogil=True, error_model="numpy", fastmath=FASTMATH)
def code_gradient_rows(
    start,
    stop,
    residual,  # IN (n, d) reconstruction minus input
    indptr,  # IN (n + 1,)
    indices,  # IN (nnz,)
    decoder,  # IN (M, d)
    scale,
    gradient,  # OUT (nnz,) derivative of the loss by each active code
):
    """Backward through the sparse decoder: scale * residual . decoder atom, active codes only."""
    n_features = residual.shape[1]
    for i in range(start, stop):
        for p in range(indptr[i], indptr[i + 1]):
            atom = indices[p]
            s = residual.dtype.type(0)
            for f in range(n_features):
                s += residual[i, f] * decoder[atom, f]
            gradient[p] = scale * s
