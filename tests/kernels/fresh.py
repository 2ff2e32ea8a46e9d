"""A fresh interpreter, for what would harm or outlive the process of the tests."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROBLEM = """
import numpy as np
from skdict import ICFLDictionary
X = np.random.default_rng(0).normal(size=(700, 37))
model = ICFLDictionary(600, n_nonzero_coefs=9, max_steps=3, random_state=0)
"""


def run_python(code, *, problem=PROBLEM, folder=ROOT, timeout=120, **environment):
    """Run code after `problem` with `folder` as the only path; gives the finished process."""
    done = subprocess.run(
        [sys.executable, "-c", problem + textwrap.dedent(code)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": str(folder), **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
