"""Sparse coding and the Gram matrix it needs."""

import tempfile
from pathlib import Path

import numpy as np

from skdict import ICFLDictionary, sparse_encode
from skdict.kernels import get_kernels

from .arrays import SIZES, unit_rows


class Encode:
    """Codes over a given dictionary, its Gram matrix given."""

    params = (SIZES, ("icfl", "omp"))
    param_names = ("size", "algorithm")

    def setup(self, size, algorithm):
        """Draw rows and atoms; compile."""
        n_features, n_atoms, self.n_nonzero = size
        self.X = unit_rows(2048 if algorithm == "icfl" else 256, n_features, 0)
        self.dictionary = unit_rows(n_atoms, n_features, 1)
        self.gram = get_kernels("cpu").gram_matrix(self.dictionary)
        self.algorithm = algorithm
        self._encode(self.X[:2])

    def _encode(self, rows):
        return sparse_encode(
            rows,
            self.dictionary,
            algorithm=self.algorithm,
            n_nonzero_coefs=self.n_nonzero,
            gram=self.gram,
        )

    def time_encode(self, size, algorithm):
        """Seconds."""
        self._encode(self.X)

    def peakmem_encode(self, size, algorithm):
        """Memory of the whole process, arrays included."""
        self._encode(self.X)

    def track_residual(self, size, algorithm):
        """Mean norm of what the codes leave of unit rows."""
        rows = self.X[:64]
        left = rows - self._encode(rows) @ self.dictionary
        return float(np.linalg.norm(left, axis=1).mean())

    track_residual.unit = "norm"


class Gram:
    """The Gram matrix of a dictionary."""

    params = (SIZES,)
    param_names = ("size",)

    def setup(self, size):
        """Draw the atoms."""
        n_features, n_atoms, _ = size
        self.dictionary = unit_rows(n_atoms, n_features, 1)

    def time_gram(self, size):
        """Seconds."""
        get_kernels("cpu").gram_matrix(self.dictionary)

    def peakmem_gram(self, size):
        """Memory of the whole process."""
        get_kernels("cpu").gram_matrix(self.dictionary)

    def track_error(self, size):
        """Largest difference to float64 among the first atoms."""
        gram = get_kernels("cpu").gram_matrix(self.dictionary)[:64]
        exact = self.dictionary[:64].astype(np.float64) @ self.dictionary.T.astype(np.float64)
        return float(np.abs(gram - exact).max())

    track_error.unit = "difference"


class MemoryMap:
    """`transform` of rows that lie on disk."""

    params = ((20_000,),)
    param_names = ("n_rows",)

    def setup(self, n_rows):
        """Write the rows and build the dictionary."""
        n_features, n_atoms, n_nonzero = SIZES[0]
        self.folder = tempfile.TemporaryDirectory(prefix="skdict-bench-")
        path = Path(self.folder.name) / "X.npy"
        np.save(path, unit_rows(n_rows, n_features, 0))
        self.rows = np.load(path, mmap_mode="r")
        self.model = ICFLDictionary(
            n_atoms,
            n_nonzero_coefs=n_nonzero,
            init=unit_rows(n_atoms, n_features, 1),
            max_steps=0,
            fit_intercept=False,
        ).fit(np.asarray(self.rows[:64]))
        self.model.transform(self.rows[:2])

    def teardown(self, n_rows):
        """Remove the file."""
        del self.rows
        self.folder.cleanup()

    def time_transform(self, n_rows):
        """Seconds."""
        self.model.transform(self.rows)

    def peakmem_transform(self, n_rows):
        """Memory of the whole process, mapped pages included."""
        self.model.transform(self.rows)

    def track_residual(self, n_rows):
        """Mean norm of what the codes leave of unit rows."""
        rows = self.rows[:64]
        left = rows - self.model.inverse_transform(self.model.transform(rows))
        return float(np.linalg.norm(left, axis=1).mean())

    track_residual.unit = "norm"
