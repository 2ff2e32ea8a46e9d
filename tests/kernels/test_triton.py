"""The fused kernels for GPUs, run on the host by Triton's interpreter, and compiled without a GPU.

Whether Triton interprets is settled when it is imported, so the tests run in a process of their
own: there this file is collected again.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from skdict.kernels import _cpu
from tests.kernels.test_torch import (
    dense,
    problem,
    relative_residual,
    sparse_codes,
    tensors,
    tolerance,
)
from tests.reference import unit_rows

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

from skdict.kernels import (  # noqa: E402
    _torch,
    _torch_learning,
    _torch_precision,
    _triton,
    _triton_adam,
    _triton_omp,
    _triton_sparse,
)

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs in a process of its own")
compiled = pytest.mark.skipif(INTERPRETED, reason="interpreted kernels cannot be compiled")


@compiled
def test_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    ran = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout


@pytest.fixture
def fused(monkeypatch):
    """Let the torch backend take the kernels for tensors on the host."""
    for module in (_torch, _torch_learning):
        monkeypatch.setattr(module, "fused_kernels", lambda array: _triton)


def half_gram(gram):
    """The Gram matrix as `quantize` gives it on a GPU."""
    scale = torch.tensor(2.0)
    return _torch_precision.HalfGram((gram / scale).half(), scale)


# ------------------------------------------------------------------------------ interpreted


@interpreted
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("n_atoms", "n_features", "width", "per_step"),
    [(150, 24, 12, 4), (130, 33, 11, 5), (64, 16, 6, 1), (100, 40, 20, 8), (7, 3, 2, 2)],
)
def test_icfl(rng, fused, absolute, half, n_atoms, n_features, width, per_step):
    X = rng.normal(size=(9, n_features)).astype(np.float32)
    dictionary = unit_rows(rng.normal(size=(n_atoms, n_features))).astype(np.float32)
    gram, intercept = _cpu.gram_matrix(dictionary), X[3].copy()  # one row is zero
    options = {"n_nonzero_coefs": width, "atoms_per_step": per_step, "absolute": absolute}
    expected = dense(_cpu.encode_icfl(X, dictionary, gram, intercept, **options), n_atoms)
    native = tensors(X, dictionary, gram, intercept)
    quantized = half_gram(native[2]) if half else None
    found = dense(_torch.encode_icfl(*native, quantized=quantized, **options), n_atoms)
    np.testing.assert_array_equal(found != 0, expected != 0)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    left = [relative_residual(codes, X, dictionary, intercept) for codes in (found, expected)]
    np.testing.assert_allclose(left[0], left[1], atol=1e-6)


@interpreted
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("refit", [False, True])
def test_residual_norms_on_a_coherent_dictionary(rng, fused, half, refit):
    """Cosines around 0.5, against float64."""
    X, dictionary, intercept = problem(rng, np.float64, n_rows=30, offset=1.0)
    gram = dictionary @ dictionary.T
    options = {"n_nonzero_coefs": 12, "atoms_per_step": 4, "absolute": True, "refit": refit}
    expected = dense(_cpu.encode_icfl(X, dictionary, gram, intercept, **options), 150)
    native = [part.float() for part in tensors(X, dictionary, gram, intercept)]
    quantized = half_gram(native[2]) if half else None
    found = dense(_torch.encode_icfl(*native, quantized=quantized, **options), 150)
    left = [relative_residual(codes, X, dictionary, intercept) for codes in (found, expected)]
    np.testing.assert_allclose(left[0], left[1], atol=1e-4)


@interpreted
def test_atoms_found_with_tf32_are_chosen_exactly(rng, fused, monkeypatch):
    """The search sees 10 bits of mantissa; with no spare atoms many rows would go other ways."""

    def rounded(matrix):
        return (matrix.contiguous().view(torch.int32) + 4096 & -8192).view(torch.float32)

    monkeypatch.setattr(_torch, "search_product", lambda a, b: rounded(a) @ rounded(b).T)
    dictionary = unit_rows(rng.normal(size=(1000, 128)))
    X = unit_rows(rng.normal(size=(24, 128)))
    gram, intercept = dictionary @ dictionary.T, np.zeros(128)
    options = {"n_nonzero_coefs": 60, "atoms_per_step": 5}
    expected = dense(_cpu.encode_icfl(X, dictionary, gram, intercept, **options), 1000)
    native = [part.float() for part in tensors(X, dictionary, gram, intercept)]
    options["quantized"] = half_gram(native[2])
    found = dense(_torch.encode_icfl(*native, **options), 1000)
    left = relative_residual(expected, X, dictionary, 0)
    np.testing.assert_allclose(relative_residual(found, X, dictionary, 0), left, atol=1e-4)
    monkeypatch.setattr(_triton, "SPARE_ATOMS", 0)
    found = dense(_torch.encode_icfl(*native, **options), 1000)
    assert (np.abs(relative_residual(found, X, dictionary, 0) - left) > 1e-4).any()


@interpreted
def test_rows_stop_at_rounding_noise_after_a_refresh(rng, fused):
    """Half precision alone would not find three atoms whose coefficients span four decades."""
    dictionary = unit_rows(rng.normal(size=(64, 32))).astype(np.float32)
    X = np.stack([a + 1e-3 * b + 1e-5 * c for a, b, c in dictionary[:60].reshape(20, 3, 32)])
    native = tensors(X.astype(np.float32), dictionary, dictionary @ dictionary.T)
    quantized = half_gram(native[2])
    intercept = torch.zeros(32)
    options = {"n_nonzero_coefs": 24, "atoms_per_step": 1, "absolute": True}
    codes = _torch.encode_icfl(*native, intercept, quantized=quantized, **options)
    found = dense(codes, 64)
    assert np.median(relative_residual(found, X, dictionary, 0)) < 3e-6
    orthogonal = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0)))[0]
    X = 3 * orthogonal[2:3] + orthogonal[5:6]
    codes = _torch.encode_icfl(X, orthogonal, torch.eye(16), torch.zeros(16), **options | {
        "n_nonzero_coefs": 9})  # fmt: skip
    assert set(np.flatnonzero(dense(codes, 16)[0])) == {2, 5}


@interpreted
def test_ties_and_dependent_atoms(fused):
    dictionary = torch.eye(12).repeat(3, 1)
    gram = dictionary @ dictionary.T
    codes = _torch.encode_icfl(
        torch.ones(2, 12), dictionary, gram, torch.zeros(12), n_nonzero_coefs=9, atoms_per_step=3
    )
    np.testing.assert_array_equal(codes[1], [range(9)] * 2)
    twins = torch.eye(12).repeat_interleave(2, 0)
    codes = _torch.encode_icfl(
        torch.ones(1, 12), twins, twins @ twins.T, torch.zeros(12), n_nonzero_coefs=4,
        atoms_per_step=4,
    )  # fmt: skip
    np.testing.assert_array_equal(dense(codes, 24)[0, :4], [1, 0, 1, 0])
    assert codes[2] == 2


@interpreted
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, in the interpreter
def test_overflow_stays_within_bounds(fused, rng):
    """Correlations that are not numbers must not be used to find an address."""
    dictionary = torch.tensor(unit_rows(rng.normal(size=(20, 50)))).float()
    rows = torch.full((2, 50), 3e38)
    gram = dictionary @ dictionary.T
    atoms, _ = _triton.icfl_picks(
        rows, torch.full((2, 20), torch.nan), dictionary, gram, None, n_nonzero_coefs=6,
        atoms_per_step=3, absolute=False,
    )  # fmt: skip
    assert ((atoms >= 0) & (atoms < 20)).all()


@interpreted
@pytest.mark.parametrize("spare", [0, 3])
@pytest.mark.parametrize(
    ("n_atoms", "n_features", "width"), [(150, 24, 20), (130, 33, 11), (64, 16, 1), (7, 3, 5)]
)
def test_omp(rng, fused, monkeypatch, spare, n_atoms, n_features, width):
    """Some rows are zero or end early, in fewer features than atoms may be chosen."""
    monkeypatch.setattr(_triton_omp, "uses_tf32", lambda array: spare > 0)
    X = rng.normal(size=(9, n_features)).astype(np.float32)
    dictionary = unit_rows(rng.normal(size=(n_atoms, n_features))).astype(np.float32)
    gram, intercept = _cpu.gram_matrix(dictionary), X[3].copy()  # one row is zero
    X[4] = intercept + 2 * dictionary[5] - dictionary[2]
    arguments = X, dictionary, gram, intercept
    expected = dense(_cpu.encode_omp(*arguments, n_nonzero_coefs=width), n_atoms)
    found = dense(_torch.encode_omp(*tensors(*arguments), n_nonzero_coefs=width), n_atoms)
    np.testing.assert_array_equal(found != 0, expected != 0)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert not found[3].any()


@interpreted
def test_orthogonal_pursuit_needs_only_a_rough_search(rng, fused, monkeypatch):
    """The search sees 6 bits of mantissa and atoms in pairs, the rest is exact."""

    def rounded(matrix):
        return (matrix.contiguous().view(torch.int32) + 65536 & -131072).view(torch.float32)

    monkeypatch.setattr(_triton_omp, "search_product", lambda a, b: rounded(a) @ rounded(b).T)
    monkeypatch.setattr(_triton_omp, "uses_tf32", lambda array: True)
    dictionary = rng.normal(size=(50, 64))
    dictionary = unit_rows(
        np.concatenate([dictionary, dictionary + 0.02 * rng.normal(size=(50, 64))])
    )
    X = unit_rows(rng.normal(size=(32, 64)))
    gram, intercept = dictionary @ dictionary.T, np.zeros(64)
    expected = _cpu.encode_omp(X, dictionary, gram, intercept, n_nonzero_coefs=12)
    expected = dense(expected, 100)
    native = [part.float() for part in tensors(X, dictionary, gram, intercept)]
    found = dense(_torch.encode_omp(*native, n_nonzero_coefs=12), 100)
    np.testing.assert_array_equal(found != 0, expected != 0)
    monkeypatch.setattr(_triton_omp, "SPARE_ATOMS", 0)
    found = dense(_torch.encode_omp(*native, n_nonzero_coefs=12), 100)
    assert ((found != 0) != (expected != 0)).any()


@interpreted
def test_omp_takes_the_lower_of_equal_atoms_and_stops_at_noise(fused):
    twins = torch.eye(12).repeat(2, 1)
    rows = torch.arange(1.0, 13)[None] * torch.tensor([[1.0], [-1.0], [torch.nan]])
    gram, intercept = twins @ twins.T, torch.zeros(12)
    codes = _torch.encode_omp(rows, twins, gram, intercept, n_nonzero_coefs=20)
    np.testing.assert_array_equal(codes[2][:2], [12, 12])
    np.testing.assert_array_equal(codes[1][:2, :12], [range(12)] * 2)
    np.testing.assert_array_equal(codes[0][:2, :12], rows[:2])
    assert torch.isnan(codes[0][2]).any()  # refused later


@interpreted
@pytest.mark.parametrize("shift", [0.0, -1.5, -9.0])
def test_topk(rng, fused, shift):
    encoder = rng.normal(size=(60, 17)).astype(np.float32)
    bias = (rng.normal(size=60) + shift).astype(np.float32)
    X, intercept = rng.normal(size=(20, 17)).astype(np.float32), np.ones(17, np.float32)
    options = {"n_nonzero_coefs": [6, 4], "candidates": [None, np.array([3, 7, 20, 40, 41])]}
    expected = _cpu.encode_topk(X, encoder, bias, intercept, **options)
    found = _torch.encode_topk(*tensors(X, encoder, bias, intercept), **options)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(dense(one, 60), dense(other, 60), atol=1e-5)


@interpreted
def test_topk_ties_take_the_lower_index_and_nan_stays():
    rows = torch.tensor([[1.0, 2, 2, 2, 0, -1], [0, 0, 5, -3, -0.0, 0], [1, torch.nan, 3, 2, 2, 2]])
    values, indices, counts = _triton.topk(rows, 3)
    np.testing.assert_array_equal(counts, [3, 1, 3])
    np.testing.assert_array_equal(indices, [[1, 2, 3], [2, 0, 0], [1, 2, 3]])
    np.testing.assert_array_equal(values, [[2, 2, 2], [5, 0, 0], [np.nan, 3, 2]])


@interpreted
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_products(rng, fused, monkeypatch, dtype):
    monkeypatch.setattr(_triton_sparse, "BLOCK_COLUMNS", 16)  # several blocks of 37 columns
    fixed = sparse_codes(rng, dtype, n_rows=12, n_atoms=20, width=11)
    codes, native = _cpu.compress(*fixed), _torch.compress(*tensors(*fixed))
    samples = rng.normal(size=(12, 37)).astype(dtype)
    dictionary = unit_rows(rng.normal(size=(20, 37))).astype(dtype)
    decoded = _torch.decode(native, *tensors(dictionary, samples[0]))
    expected = _cpu.decode(codes, dictionary, samples[0])
    np.testing.assert_allclose(decoded, expected, atol=tolerance(dtype))
    by_code = _torch.code_gradient(*tensors(samples), native, torch.tensor(dictionary), scale=0.3)
    expected = _cpu.code_gradient(samples, codes, dictionary, scale=0.3)
    np.testing.assert_allclose(by_code[native[0] != 0], expected, atol=tolerance(dtype))
    columns = _cpu.by_atom(codes, 20), _torch.by_atom(native, 20)
    for accumulate in (False, True):
        found, expected = torch.tensor(dictionary), dictionary.copy()
        options = {"scale": 0.3, "accumulate": accumulate}
        _torch.sparse_gradient(columns[1], native[0], *tensors(samples), out=found, **options)
        _cpu.sparse_gradient(columns[0], codes[0], samples, out=expected, **options)
        np.testing.assert_allclose(found, expected, atol=tolerance(dtype))


@interpreted
@pytest.mark.parametrize("unit_norm", [False, True])
def test_adam(rng, fused, unit_norm):
    """Rows that were reset a while ago, one with no gradient yet, one that is zero."""
    shape = 6, 37
    start = unit_rows(rng.normal(size=shape)).astype(np.float32)
    start[5] = 0
    steps = np.array([0, 0, 3, 500, 2, 0])
    arrays = [start, *np.zeros((2, *shape), np.float32), steps]
    ours, theirs = [array.copy() for array in arrays], tensors(*arrays)
    for _ in range(4):
        gradient = rng.normal(size=shape).astype(np.float32)
        gradient[[1, 5]] = 0
        one, two = ours[0], theirs[0]
        _cpu.adam(one, gradient.copy(), *ours[1:], learning_rate=0.01, unit_norm=unit_norm)
        rate = torch.tensor(0.01, dtype=torch.float64)
        _torch.adam(
            two, torch.tensor(gradient), *theirs[1:], learning_rate=rate, unit_norm=unit_norm
        )
    for expected, found in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=3e-6)


@interpreted
def test_adam_keeps_what_is_not_a_number(fused):
    parameters, moments = torch.ones(2, 5), torch.zeros(2, 2, 5)
    gradient = torch.ones(2, 5)
    gradient[1, 2] = torch.nan
    steps = torch.zeros(2, dtype=torch.int64)
    _torch.adam(parameters, gradient, *moments, steps, learning_rate=0.1, unit_norm=True)
    assert torch.isfinite(parameters[0]).all() and torch.isnan(parameters[1]).all()


# ------------------------------------------------------------------------------ compiled


def compile_for_hopper(kernel, signature, constants, num_warps):
    """Compile a kernel for an H200 as a launch would, with sizes that are multiples of 16."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = kernel.arg_names
    aligned = [
        i for i, name in enumerate(names)
        if signature.get(name, "").startswith("*") or name in ("n_atoms", "n_features", "n_columns")
    ]  # fmt: skip
    source = ASTSource(
        fn=kernel,
        signature={name: signature.get(name, "constexpr") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    options = {"num_warps": num_warps, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


ICFL = {
    **dict.fromkeys(("x", "correlations", "dictionary", "gram", "scale"), "*fp32"),
    **{"chosen": "*i64", "coefficients": "*fp64", "n_nonzero_coefs": "i32"},
    **{"n_atoms": "i32", "n_features": "i32"},
    **dict.fromkeys(("stop", "refresh", "tolerance"), "fp32"),
}
SPARSE = {"indices": "*i32", "pointer": "*i64", "n_columns": "i32"}
BLOCKS = {"BLOCK_ENTRIES": 8, "BLOCK_COLUMNS": 512}


@compiled
@pytest.mark.parametrize("search", ["*fp32", "*fp16"])
def test_the_pursuit_compiles(search):
    constants = {"ATOMS_PER_STEP": 5, "ABSOLUTE": False, "BLOCK_REFRESHED": 4}
    constants["SPARE_ATOMS"] = 3 if search == "*fp16" else 0
    constants |= {"BLOCK_ATOMS": 8192, "BLOCK_FEATURES": 2048}
    ran = compile_for_hopper(_triton._icfl_kernel, ICFL | {"search": search}, constants, 8)
    # Rows of the Gram matrix are read 16 bytes at a time.
    assert "ld.global.v4.b32" in ran.asm["ptx"]


@compiled
@pytest.mark.parametrize("spare", [0, 3])
def test_orthogonal_pursuit_compiles(spare):
    pointers = {name: "*fp32" for name in ("x", "residual", "correlations", "dictionary", "gram")}
    pointers |= {"chosen": "*i64", "coefficients": "*fp64", "inverse": "*fp64"}
    pointers |= {"limit": "*fp64", "active": "*i32"}
    numbers = dict.fromkeys(("n_chosen", "n_atoms", "n_features", "n_nonzero_coefs"), "i32")
    constants = {"SPARE_ATOMS": spare, "BLOCK_ATOMS": 8192, "BLOCK_FEATURES": 1024}
    constants |= {"BLOCK_CHOSEN": 128, "BLOCK_SUBTRACTED": 8, "FACTOR_ROWS": 8}
    signature = pointers | numbers | {"tolerance": "fp32"}
    ran = compile_for_hopper(_triton_omp._omp_kernel, signature, constants, 8)
    assert "ld.global.v4.b32" in ran.asm["ptx"]


@compiled
def test_the_other_kernels_compile():
    topk = {"pre_activations": "*fp32", "values": "*fp32", "indices": "*i32", "counts": "*i32"}
    topk |= {"n_features": "i32", "width": "i32"}
    sums = SPARSE | {"weights": "*fp32", "matrix": "*fp32", "out": "*fp32"}
    products = SPARSE | {"rows": "*fp32", "matrix": "*fp32", "parts": "*fp32", "n_entries": "i32"}
    adam = dict.fromkeys(("parameters", "gradient", "first_moment", "second_moment"), "*fp32")
    adam |= {"rates": "*fp32", "floors": "*fp32", "n_columns": "i32"}
    adam |= {"decay1": "fp32", "decay2": "fp32"}
    for kernel, signature, constants, warps in (
        (_triton_sparse._topk_kernel, topk, {"BLOCK": 8192}, 16),
        (_triton_sparse._sum_of_rows_kernel, sums, {**BLOCKS, "ACCUMULATE": True}, 4),
        (_triton_sparse._row_products_kernel, products, BLOCKS, 4),
        (_triton_adam._adam_kernel, adam, {"UNIT_NORM": True, "BLOCK": 2048}, 4),
    ):
        assert compile_for_hopper(kernel, signature, constants, warps).asm["cubin"]
