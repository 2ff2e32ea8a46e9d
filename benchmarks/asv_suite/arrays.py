"""Arrays of the benchmarks."""

import numpy as np

# (features, atoms, non-zeros)
SIZES = ((256, 2048, 100), (1024, 8192, 100))


def unit_rows(n_rows, n_features, seed):
    """Rows uniform on the unit sphere, float32."""
    rows = np.random.default_rng(seed).standard_normal((n_rows, n_features), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def random_codes(n_rows, n_atoms, n_nonzero):
    """CSR codes with a fixed number of non-zeros in each row; n_atoms is a power of two."""
    from scipy import sparse

    rng = np.random.default_rng(0)
    # An odd stride visits a power of two numbers of atoms without repeating one.
    stride = 2 * rng.integers(0, n_atoms // 2, (n_rows, 1)) + 1
    indices = rng.integers(0, n_atoms, (n_rows, 1)) + stride * np.arange(n_nonzero)
    indices = np.sort((indices % n_atoms).astype(np.int32), axis=1).ravel()
    values = rng.standard_normal(indices.size, np.float32)
    pointer = np.arange(0, indices.size + 1, n_nonzero)
    return sparse.csr_matrix((values, indices, pointer), shape=(n_rows, n_atoms))
