"""Sparse coders: rows of X over a given dictionary, with its Gram matrix where one can give it."""

import numpy as np

from benchmarks.contestants.base import Contestant, limit_torch_threads
from benchmarks.processes import elapsed


class Product(Contestant):
    """The one product every coder needs, into an array that exists already."""

    label = "the product X D^T alone"
    package = "numpy"
    algorithm = "product"
    first_rows = 512

    def setup(self, problem):
        """Load rows and atoms."""
        self.X = problem.load("X")
        self.dictionary = problem.load("dictionary")
        self.out = np.empty((problem.n_rows, problem.n_atoms), np.float32)

    def run(self, n_rows):
        """Multiply."""
        np.matmul(self.X[:n_rows], self.dictionary.T, out=self.out[:n_rows])


class TorchProduct(Contestant):
    """The same with the BLAS that torch brings along."""

    label = "the product X D^T in torch"
    package = "torch"
    algorithm = "product"
    first_rows = 512

    def setup(self, problem):
        """Make tensors of the arrays."""
        self.torch = limit_torch_threads(self.n_threads)
        self.X = self.torch.from_numpy(problem.load("X"))
        self.dictionary = self.torch.from_numpy(problem.load("dictionary"))
        self.out = self.torch.empty((problem.n_rows, problem.n_atoms))

    def run(self, n_rows):
        """Multiply."""
        self.torch.mm(self.X[:n_rows], self.dictionary.T, out=self.out[:n_rows])


class Coder(Contestant):
    """Base of the coders."""

    def setup(self, problem):
        """Load rows, atoms and Gram matrix."""
        self.problem = problem
        self.X = problem.load("X")
        self.dictionary = problem.load("dictionary")
        self.gram = problem.load("gram")

    def result(self, n_rows):
        """Return dense codes of the first rows."""
        codes = self.run(n_rows)
        return np.asarray(codes.toarray() if hasattr(codes, "toarray") else codes)


class SkdictICFL(Coder):
    """`skdict.sparse_encode`, iterative codebook feature learning."""

    label = "skdict, ICFL"
    algorithm = "icfl"
    first_rows = 512

    def run(self, n_rows):
        """Code the rows."""
        from skdict import sparse_encode

        return sparse_encode(
            self.X[:n_rows],
            self.dictionary,
            algorithm=self.algorithm,
            n_nonzero_coefs=self.problem.n_nonzero,
            atoms_per_step=self.problem.atoms_per_step,
            gram=self.gram,
        )


class SkdictOMP(SkdictICFL):
    """`skdict.sparse_encode`, orthogonal matching pursuit."""

    label = "skdict, OMP"
    algorithm = "omp"


class ScikitLearnOMP(Coder):
    """`sklearn.linear_model.orthogonal_mp_gram`."""

    label = "scikit-learn, OMP"
    package = "scikit-learn"
    algorithm = "omp"
    note = "copies the Gram matrix for every row; one row after another"
    first_rows = 2

    def run(self, n_rows):
        """Code the rows, the product included."""
        from sklearn.linear_model import orthogonal_mp_gram

        codes = orthogonal_mp_gram(
            self.gram,
            self.dictionary @ self.X[:n_rows].T,
            n_nonzero_coefs=self.problem.n_nonzero,
        )
        return codes.T.reshape(n_rows, -1)


class DictlearnOMP(Coder):
    """Batch-OMP of dictlearn, compiled by numba when that is installed."""

    label = "dictlearn, OMP"
    package = "dictlearn"
    algorithm = "omp"
    note = "float64 only, compiled by numba if that is installed; one row after another"
    first_rows = 8

    def setup(self, problem):
        """Convert the Gram matrix beforehand, which it would do at every call."""
        super().setup(problem)
        from dictlearn._coders._omp import batch_omp_gram

        self.code = batch_omp_gram
        self.gram = self.gram.astype(np.float64)

    def run(self, n_rows):
        """Code the rows, the product included."""
        correlations = self.dictionary @ self.X[:n_rows].T
        return self.code(self.gram, correlations, n_nonzero_coefs=self.problem.n_nonzero).T


class SpamsOMP(Coder):
    """`spams.omp`, which is orthogonal least squares."""

    label = "SPAMS, OLS"
    package = "spams-bin"
    algorithm = "ols"
    note = (
        "spams.omp chooses as orthogonal least squares does; it cannot be given the Gram matrix, "
        "so that the part of its time that does not grow with the rows is taken off"
    )
    first_rows = 128

    def setup(self, problem):
        """Bring the arrays into SPAMS's layout, one column per row."""
        import spams

        self.problem = problem
        self.spams = spams
        self.X = np.asfortranarray(problem.load("X").T)
        self.atoms = np.asfortranarray(problem.load("dictionary").T)
        self.fixed_seconds = self.time_of_no_rows()

    def time_of_no_rows(self):
        """Seconds that every call takes, from two sizes: one row alone forms no Gram matrix."""
        many = min(4 * self.first_rows, self.problem.n_rows)
        few = many // 2
        self.run(few)
        short, long = (min(elapsed(self.run, n) for _ in range(3)) for n in (few, many))
        return max(0.0, 2 * short - long)

    def run(self, n_rows):
        """Code the rows."""
        return self.spams.omp(
            np.asfortranarray(self.X[:, :n_rows]),
            self.atoms,
            L=self.problem.n_nonzero,
            # Left out, its stopping threshold is whatever lies in memory (spams-bin 2.6.14).
            eps=0.0,
            lambda1=0.0,
            numThreads=self.n_threads,
        ).T

    def seconds(self, n_rows):
        """Time a run, without the Gram matrix that every call computes again."""
        return max(elapsed(self.run, n_rows) - self.fixed_seconds, 1e-6)


class BatchedOMP(Coder):
    """`orthogonal-matching-pursuit-gpu` on the CPU, its variant "v0"."""

    label = "orthogonal-matching-pursuit-gpu, OMP"
    package = "orthogonal-matching-pursuit-gpu"
    algorithm = "omp"
    note = "on the CPU, float32; rows in groups of 64, since it needs n K M numbers of scratch"
    first_rows = 8
    group = 64
    device = "cpu"

    def setup(self, problem):
        """Make tensors of the arrays."""
        super().setup(problem)
        self.torch = limit_torch_threads(self.n_threads)
        from orthogonal_matching_pursuit_gpu import omp_v0

        self.code = omp_v0
        self.X = self.torch.from_numpy(self.X).to(self.device)
        self.atoms = self.torch.from_numpy(self.dictionary.T.copy()).to(self.device)
        self.gram = self.torch.from_numpy(self.gram).to(self.device)

    def run(self, n_rows):
        """Code the rows; support and coefficients, one pair a group."""
        groups = []
        with self.torch.no_grad():
            for start in range(0, n_rows, self.group):
                rows = self.X[start : min(start + self.group, n_rows)]
                support, values, _ = self.code(
                    self.atoms, rows, self.gram, n_nonzero_coefs=self.problem.n_nonzero
                )
                groups.append((support, values[..., 0]))
        return groups

    def result(self, n_rows):
        """Return dense codes of the first rows."""
        codes = self.torch.zeros((n_rows, self.problem.n_atoms))
        start = 0
        for support, values in self.run(n_rows):
            codes[start : start + len(support)].scatter_(1, support.cpu(), values.cpu())
            start += len(support)
        return codes.numpy()


class TorchICFL(Coder):
    """Algorithm 1 as the paper writes it: the residual multiplied with all atoms at every step."""

    label = "torch, ICFL, residual recomputed"
    package = "torch"
    algorithm = "icfl"
    note = "plain torch on the CPU, as the paper writes Algorithm 1"

    def setup(self, problem):
        """Make tensors of the arrays."""
        super().setup(problem)
        self.torch = limit_torch_threads(self.n_threads)
        self.X = self.torch.from_numpy(self.X)
        self.dictionary = self.torch.from_numpy(self.dictionary)

    def run(self, n_rows):
        """Code the rows."""
        problem = self.problem
        with self.torch.no_grad():
            return icfl_codes(
                self.torch,
                self.X[:n_rows],
                self.dictionary,
                problem.n_nonzero,
                problem.atoms_per_step,
            )


def icfl_codes(torch, X, dictionary, n_nonzero, atoms_per_step):
    """Dense ICFL codes: choose the best atoms, fit these to the residual, subtract, repeat."""
    residual = X.clone()
    codes = X.new_zeros((X.shape[0], dictionary.shape[0]))
    for done in range(0, n_nonzero, atoms_per_step):
        width = min(atoms_per_step, n_nonzero - done)
        correlations, chosen = torch.topk(residual @ dictionary.T, width, dim=1)
        atoms = dictionary[chosen]  # (n, width, d)
        block = torch.linalg.solve(atoms @ atoms.transpose(1, 2), correlations)
        residual -= torch.bmm(block[:, None, :], atoms)[:, 0]
        codes.scatter_add_(1, chosen, block)
    return codes
