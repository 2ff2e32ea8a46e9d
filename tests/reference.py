"""Naive references in plain NumPy that the compiled kernels are compared with."""

import numpy as np


def icfl_code(x, dictionary, n_nonzero_coefs, atoms_per_step, absolute=False):
    """Algorithm 1 of the ICFL paper, word for word, with the documented stopping rule.

    Returns the code, the residual and whether the code is well defined: no choice between
    atoms was a matter of rounding and no block was close to dependent.
    """
    n_features = x.shape[0]
    residual = x.astype(np.float64)
    dictionary = dictionary.astype(np.float64)
    start = np.linalg.norm(residual)
    code = np.zeros(dictionary.shape[0])
    used = 0
    defined = True
    while used < n_nonzero_coefs:
        if np.linalg.norm(residual) <= 10 * np.finfo(x.dtype).eps * np.sqrt(n_features) * start:
            break
        width = min(atoms_per_step, n_nonzero_coefs - used)
        correlations = dictionary @ residual
        ranking = np.abs(correlations) if absolute else correlations
        order = np.argsort(-ranking, kind="stable")
        block = order[:width]
        if width < order.size and ranking[block[-1]] - ranking[order[width]] < 1e-9 * start:
            defined = False
        if np.linalg.cond(dictionary[block] @ dictionary[block].T) > 1e10:
            defined = False
        fit = np.linalg.lstsq(dictionary[block].T, residual, rcond=None)[0]
        residual = residual - fit @ dictionary[block]
        code[block] += fit
        used += width
    return code, residual, defined


def topk_code(x, encoder, bias, intercept, n_nonzero_coefs):
    """ReLU(TopK(W_enc (x - b_pre) + b_enc)); ties take the lower index."""
    pre_activations = encoder @ (x - intercept) + bias
    chosen = np.argsort(-pre_activations, kind="stable")[:n_nonzero_coefs]
    code = np.zeros(encoder.shape[0])
    code[chosen] = np.maximum(pre_activations[chosen], 0)
    return code


def unit_rows(matrix):
    """Rows scaled to unit length."""
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
