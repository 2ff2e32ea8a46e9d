"""Adam in one pass: every parameter and moment is read and written once."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from skdict.kernels._triton_launch import MOST_FEATURES, launch


def serves_adam(parameters, gradient):
    """Whether `adam` takes parameters of this kind and size."""
    return (
        parameters.dtype == torch.float32
        and 1 < parameters.shape[1] <= MOST_FEATURES
        and parameters.is_contiguous()
        and gradient.is_contiguous()
    )


def adam(
    parameters, gradient, first_moment, second_moment, steps, *,
    learning_rate, unit_norm, decay1, decay2, beta1, beta2, epsilon,
):  # fmt: skip
    """One Adam step in place, row by row, with the step counters already increased.

    `decay1` and `decay2` are the betas in the type of the parameters, `learning_rate` is a tensor
    of float64 and no dimension.
    """
    n_rows, n_columns = parameters.shape
    count = steps.double()
    correction1, correction2 = 1.0 - beta1**count, (1.0 - beta2**count).sqrt()
    rates = (learning_rate * correction2 / correction1).float()
    floors = (epsilon * correction2).float()
    block = triton.next_power_of_2(n_columns)
    if n_rows:
        launch(
            _adam_kernel,
            (n_rows,),
            parameters,
            gradient,
            first_moment,
            second_moment,
            rates,
            floors,
            n_columns,
            decay1,
            decay2,
            UNIT_NORM=unit_norm,
            BLOCK=block,
            num_warps=max(1, min(8, block // 512)),
        )


@triton.jit
def _adam_kernel(
    parameters,  # IN, OUT (n, d)
    gradient,  # IN (n, d)
    first_moment,  # IN, OUT (n, d)
    second_moment,  # IN, OUT (n, d)
    rates,  # IN (n,) learning rates, corrected for the start
    floors,  # IN (n,)
    n_columns,
    decay1,
    decay2,
    UNIT_NORM: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One row."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < n_columns
    place = row * n_columns + columns
    value = tl.load(parameters + place, mask=inside, other=0.0)
    slope = tl.load(gradient + place, mask=inside, other=0.0)
    if UNIT_NORM:
        slope -= tl.sum(slope * value, axis=0) * value
    mean = decay1 * tl.load(first_moment + place, mask=inside, other=0.0)
    square = decay2 * tl.load(second_moment + place, mask=inside, other=0.0)
    mean += (1 - decay1) * slope
    square += (1 - decay2) * slope * slope
    tl.store(first_moment + place, mean, mask=inside)
    tl.store(second_moment + place, square, mask=inside)
    # Outside the row 0 / 0 must not come out: it would enter the length.
    root = tl.where(inside, tl.sqrt(square) + tl.load(floors + row), 1.0)
    value -= tl.load(rates + row) * mean / root
    if UNIT_NORM:
        wide = value.to(tl.float64)
        length = tl.sqrt(tl.sum(wide * wide, axis=0))
        value *= (1.0 / tl.where(length > 0, length, 1.0)).to(tl.float32)
    tl.store(parameters + place, value, mask=inside)
