"""How kernels written in Triton are run, and what fits into one program."""

from __future__ import annotations

import torch

# What fits in the registers of a program: a row of correlations, a row of features, and the small
# problem of a step, which is written out in scalars.
MOST_ATOMS = 16_384
MOST_FEATURES = 8_192
MOST_ATOMS_PER_STEP = 8

# Where correlations are only good enough to search with, so many atoms more than needed are looked
# at exactly in each step. Rounding would decide which are taken in one row out of eight otherwise.
SPARE_ATOMS = 3


def launch(kernel, grid, *arguments, **options):
    """Run a kernel on the device of its first argument."""
    with torch.cuda.device_of(arguments[0]):
        # Products and sums may be fused: said aloud, because the default of Triton changes.
        kernel[grid](*arguments, enable_fp_fusion=True, **options)
