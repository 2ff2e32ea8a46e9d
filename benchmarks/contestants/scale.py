"""Work at full scale that has no opponent: a memory map, and selectivity of many labels."""

from pathlib import Path

import numpy as np

from benchmarks.contestants.base import Contestant
from benchmarks.processes import PeakMemory


class MemoryMapTransform(Contestant):
    """`ICFLDictionary.transform` of a memory map."""

    label = "skdict, transform of a memory map"

    def setup(self, problem):
        """Build the dictionary; its Gram matrix is not computed yet."""
        from skdict import ICFLDictionary

        self.problem = problem
        dictionary = problem.load("dictionary")
        self.model = ICFLDictionary(
            problem.n_atoms,
            n_nonzero_coefs=problem.n_nonzero,
            atoms_per_step=problem.atoms_per_step,
            init=dictionary,
            max_steps=0,
            fit_intercept=False,
        ).fit(dictionary[:1000])

    def run(self, n_rows):
        """Code the rows, then say what was needed."""
        rows = np.load(Path(self.problem.folder) / "X.npy", mmap_mode="r")[:n_rows]
        with PeakMemory() as memory:
            codes = self.model.transform(rows)
        result = codes.data.nbytes + codes.indices.nbytes + codes.indptr.nbytes
        residual = rows[:256] - self.model.inverse_transform(codes[:256])
        return {
            "peak_bytes": memory.above,
            "result_bytes": result,
            "gram_bytes": 4 * self.problem.n_atoms**2,
            "non_zeros": int(codes.nnz),
            "residual": float(np.mean(np.linalg.norm(residual, axis=1))),
        }

    def result(self, n_rows):
        """Memory figures of one transform."""
        return self.run(n_rows)


class Selectivity(Contestant):
    """`skdict.metrics.selectivity_scores` of sparse codes."""

    label = "skdict, selectivity"

    def setup(self, n_rows, n_atoms, n_nonzero, n_labels):
        """Draw codes with a fixed number of non-zeros per row, and labels."""
        from scipy import sparse

        rng = np.random.default_rng(0)
        # An odd stride visits a power of two numbers of atoms without repeating one.
        stride = 2 * rng.integers(0, n_atoms // 2, n_rows) + 1
        indices = rng.integers(0, n_atoms, n_rows)[:, None] + stride[:, None] * np.arange(n_nonzero)
        indices = np.sort((indices % n_atoms).astype(np.int32), axis=1).ravel()
        values = rng.standard_normal(indices.size, np.float32)
        pointer = np.arange(0, indices.size + 1, n_nonzero)
        self.codes = sparse.csr_matrix((values, indices, pointer), shape=(n_rows, n_atoms))
        self.y = rng.integers(0, n_labels, n_rows)

    def run(self, n_rows):
        """Score all labels and atoms."""
        from skdict.metrics import selectivity_scores

        return selectivity_scores(self.codes[:n_rows], self.y[:n_rows])

    def result(self, n_rows):
        """Largest difference to the definition, on the atoms of one label."""
        scores = self.run(n_rows)
        y, labels = self.y[:n_rows], np.unique(self.y[:n_rows])
        inside = y == labels[0]
        active = self.codes[:n_rows] != 0
        expected = np.asarray(active[inside].mean(axis=0) - active[~inside].mean(axis=0)).ravel()
        return float(np.abs(scores[0] - expected).max())


class Growing(Contestant):
    """skdict's work at sizes given point by point."""

    label = "skdict"

    def setup(self, work, n_rows, n_features, n_atoms, n_nonzero):
        """Draw arrays of these sizes; the first call compiles."""
        from benchmarks.problems import random_arrays
        from skdict.kernels import get_kernels

        self.work, self.n_nonzero = work, n_nonzero
        self.X, self.dictionary = random_arrays(n_rows, n_features, n_atoms)
        self.gram = get_kernels("cpu").gram_matrix(self.dictionary)
        self.model = None
        if work == "icfl_step":
            from skdict import ICFLDictionary

            self.model = ICFLDictionary(
                n_atoms, n_nonzero_coefs=n_nonzero, batch_size=n_rows, init=self.dictionary
            ).partial_fit(self.X)

    def run(self, n_rows):
        """Do the work once."""
        from skdict import sparse_encode
        from skdict.kernels import get_kernels

        if self.work == "gram":
            get_kernels("cpu").gram_matrix(self.dictionary)
        elif self.work == "icfl_step":
            self.model.partial_fit(self.X)
        else:
            sparse_encode(
                self.X,
                self.dictionary,
                algorithm=self.work,
                n_nonzero_coefs=self.n_nonzero,
                gram=self.gram,
            )
