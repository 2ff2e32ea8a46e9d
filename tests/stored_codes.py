"""What tests of codes on disk share."""

import numpy as np
from numpy.testing import assert_array_equal
from scipy import sparse

from skdict._code_writer import CodeWriter


def random_codes(rng, n_rows, n_components=11, dtype=np.float32):
    codes = sparse.random_array((n_rows, n_components), density=0.3, rng=rng, dtype=dtype)
    return sparse.csr_array(codes)


def assert_same(found, expected):
    assert isinstance(found, sparse.csr_array) and found.dtype == expected.dtype
    assert found.shape == expected.shape
    for name in ("data", "indices", "indptr"):
        assert_array_equal(getattr(found, name), getattr(expected, name))


def write(path, blocks, **settings):
    with CodeWriter(path, blocks[0].shape[1], **settings) as writer:
        for block in blocks:
            writer.write(block)
    return writer
