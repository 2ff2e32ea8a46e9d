"""Arrays that all contestants of a race share, written once and read by every process."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Problem:
    """Sizes of a race and the folder with its arrays."""

    n_features: int
    n_atoms: int
    n_nonzero: int
    n_rows: int
    atoms_per_step: int = 5
    folder: str = ""

    def load(self, name):
        """One of ``"X"``, ``"dictionary"`` and ``"gram"``."""
        return np.load(Path(self.folder) / f"{name}.npy")

    def describe(self):
        """Sizes as a dictionary, without the folder."""
        sizes = asdict(self)
        del sizes["folder"]
        return sizes


def random_arrays(n_rows, n_features, n_atoms, *, seed=0):
    """Unit rows and unit atoms in float32, both uniform on the sphere."""
    rng = np.random.default_rng(seed)
    dictionary = rng.standard_normal((n_atoms, n_features), np.float32)
    X = rng.standard_normal((n_rows, n_features), np.float32)
    for rows in (dictionary, X):
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return X, dictionary


def write_problem(problem, folder):
    """Write the arrays of a problem to a folder; the problem that knows where they lie."""
    X, dictionary = random_arrays(problem.n_rows, problem.n_features, problem.n_atoms)
    for name, array in {
        "X": X,
        "dictionary": dictionary,
        "gram": dictionary @ dictionary.T,
    }.items():
        np.save(Path(folder) / f"{name}.npy", array)
    return Problem(**problem.describe(), folder=str(folder))
