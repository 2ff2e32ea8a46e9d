"""Vector operations of the kernels against NumPy."""

import numpy as np
import pytest
from numba import njit

from skdict.kernels import _simd as simd

LANES = 16


@njit
def arithmetic(a, b, number, out):
    x, y = simd.load(a, 1, LANES), simd.load(b, 0, LANES)
    simd.store(out, 0, simd.multiply_add(x, y, simd.fill(number, LANES)))
    simd.store(out, LANES, simd.multiply_add(x, number, y))
    simd.store(out, 2 * LANES, simd.maximum(simd.absolute_value(x), simd.add(x, y)))
    return simd.largest(x), simd.total(x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arithmetic(dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, LANES + 1)).astype(dtype)
    out = np.full(3 * LANES + 1, 7, dtype)
    largest, total = arithmetic(a, b, dtype(0.5), out)
    x, y = a[1:], b[:LANES]
    tolerance = 4 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(out[:LANES], x * y + dtype(0.5), atol=tolerance)
    np.testing.assert_allclose(out[LANES : 2 * LANES], x * dtype(0.5) + y, atol=tolerance)
    np.testing.assert_array_equal(out[2 * LANES : -1], np.maximum(np.abs(x), x + y))
    assert out[-1] == 7  # nothing was written beyond
    assert largest == x.max()
    assert total == pytest.approx(float(x.sum()), abs=10 * tolerance)


@njit
def search(a, number):
    x = simd.load(a, 0, 128)
    replaced = simd.replace_lane(x, 77, number)
    return simd.first_equal(x, number), simd.first_equal(replaced, number)


def test_first_equal_lane_across_words():
    a = np.zeros(128, np.float32)
    assert search(a, np.float32(1)) == ((128, 0), (77, 1))
    a[[70, 100]] = 1
    assert search(a, np.float32(1)) == ((70, 2), (70, 3))


@njit
def gathered(a, narrow, out):
    simd.store(out, 0, simd.load_strided(a, 3, 5, LANES))
    simd.store(out, LANES, simd.load_int16(narrow, 2, LANES))
    simd.prefetch(a, a.size + 10**6)  # beyond the end: allowed


def test_strided_and_narrow_loads():
    a = np.arange(100, dtype=np.float32)
    narrow = np.linspace(-32768, 32767, 20).astype(np.int16)
    out = np.empty(2 * LANES, np.float32)
    gathered(a, narrow, out)
    np.testing.assert_array_equal(out[:LANES], a[3 : 3 + 5 * LANES : 5])
    np.testing.assert_array_equal(out[LANES:], narrow[2 : 2 + LANES].astype(np.float32))


def test_trailing_zeros():
    count = njit(lambda word: simd.trailing_zeros(word))
    for place in range(64):
        assert count(np.uint64(1) << np.uint64(place)) == place
    assert count(np.uint64(0)) == 64
