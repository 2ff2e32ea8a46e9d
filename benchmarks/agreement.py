"""Judges: whether contestants did the same work, before anyone is timed.

The same algorithm has to give the same support and coefficients on nearly all rows; at a near-tie
float32 rounding may part two supports, so that residual norms are compared as well. Where the
algorithm differs, it has to leave no larger a residual at equally many non-zeros.
"""

import numpy as np
from sklearn.linear_model import orthogonal_mp_gram

SAME_SUPPORTS = 0.75  # least share of rows
SAME_RESIDUAL = 1e-3  # largest relative difference of the mean residual norm
SAME_COEFFICIENT = 1e-3  # largest difference, relative to the largest coefficient
# Least squares leave less on average, but not on every row, and few rows are compared.
OTHER_RESIDUAL = 1.05
SAME_LOSS = 1e-3
SAME_STEP = 0.98  # least cosine between two first steps


class CodesJudge:
    """Compares dense codes with a reference in float64.

    Parameters
    ----------
    problem : Problem
        The shared arrays.
    n_rows : int, default=8
        Rows compared.
    """

    def __init__(self, problem, n_rows=8):
        self.problem = problem
        self.n_rows = min(n_rows, problem.n_rows)

    def n_rows_for(self, algorithm):
        """Rows judged, few: the references are slow."""
        return self.n_rows

    def __call__(self, results, algorithms):
        """Return a verdict for each contestant."""
        self._X = self.problem.load("X")[: self.n_rows].astype(np.float64)
        self._dictionary = self.problem.load("dictionary").astype(np.float64)
        references = {}
        verdicts = {}
        for path, codes in results.items():
            algorithm = algorithms[path]
            reference = "omp" if algorithm == "ols" else algorithm
            if reference not in references:
                references[reference] = self._reference(reference)
            verdicts[path] = self._compare(codes, references[reference], algorithm)
        return verdicts

    def _reference(self, algorithm):
        if algorithm == "omp":
            correlations = self._dictionary @ self._X.T
            gram = self._dictionary @ self._dictionary.T
            codes = orthogonal_mp_gram(gram, correlations, n_nonzero_coefs=self.problem.n_nonzero)
            return codes.T.reshape(len(self._X), -1)
        return icfl_reference(
            self._X, self._dictionary, self.problem.n_nonzero, self.problem.atoms_per_step
        )

    def _residuals(self, codes):
        return np.linalg.norm(self._X - codes @ self._dictionary, axis=1)

    def _compare(self, codes, reference, algorithm):
        quality = float(self._residuals(codes).mean())
        expected = float(self._residuals(reference).mean())
        if algorithm == "ols":
            counts = np.count_nonzero(codes, axis=1)
            agrees = (
                np.all(counts == self.problem.n_nonzero) and quality <= OTHER_RESIDUAL * expected
            )
            agreement = f"residual {quality / expected:.3f} of OMP's, {counts.min()} non-zeros"
            return {"quality": quality, "agreement": agreement, "agrees": bool(agrees)}
        same = np.all((codes != 0) == (reference != 0), axis=1)
        differences = np.abs(codes[same] - reference[same]).max(initial=0.0)
        relative = differences / np.abs(reference).max()
        agrees = (
            same.mean() >= SAME_SUPPORTS
            and abs(quality - expected) <= SAME_RESIDUAL * expected
            and relative <= SAME_COEFFICIENT
        )
        agreement = f"{same.sum()} of {len(same)} supports, coefficients to {relative:.0e}"
        return {"quality": quality, "agreement": agreement, "agrees": bool(agrees)}


def icfl_reference(X, dictionary, n_nonzero, atoms_per_step):
    """Algorithm 1 in plain NumPy, the residual recomputed at every step."""
    codes = np.zeros((X.shape[0], dictionary.shape[0]))
    for code, row in zip(codes, X):
        residual = row.copy()
        for done in range(0, n_nonzero, atoms_per_step):
            width = min(atoms_per_step, n_nonzero - done)
            block = np.argsort(-(dictionary @ residual), kind="stable")[:width]
            fit = np.linalg.lstsq(dictionary[block].T, residual, rcond=None)[0]
            residual -= fit @ dictionary[block]
            code[block] += fit
    return codes


class StepsJudge:
    """Compares the first training step with the plain torch one, by loss and by direction.

    Without torch there is nothing to compare with, which is said. A coder that runs beside the
    steps is judged as a coder.
    """

    def __init__(self, problem, reference):
        self.problem = problem
        self.reference = reference
        self._codes = CodesJudge(problem)

    def n_rows_for(self, algorithm):
        """Rows judged: the whole batch of a step."""
        return self._codes.n_rows if algorithm == "icfl" else self.problem.n_rows

    def __call__(self, results, algorithms):
        """Return a verdict for each contestant."""
        coders = {path: codes for path, codes in results.items() if algorithms[path] == "icfl"}
        verdicts = self._codes(coders, algorithms)
        reference = results.get(self.reference)
        for path, result in results.items():
            if path in coders:
                continue
            verdict = {"quality": result["loss"], "agreement": "", "agrees": True}
            if path == self.reference:
                verdict["agreement"] = "reference"
            elif algorithms[path].startswith("other"):
                verdict["agreement"] = "another model"
                verdict["agrees"] = bool(np.isfinite(result["loss"]))
            elif reference is None:
                verdict["agreement"] = "nothing to compare with"
            else:
                self._compare(verdict, result, reference, algorithms[path])
            verdicts[path] = verdict
        return verdicts

    @staticmethod
    def _compare(verdict, result, reference, algorithm):
        difference = abs(result["loss"] - reference["loss"]) / reference["loss"]
        verdict["agreement"] = f"loss to {difference:.0e}"
        verdict["agrees"] = bool(difference <= SAME_LOSS)
        if algorithm.endswith("step"):
            a, b = result["moved"].ravel(), reference["moved"].ravel()
            cosine = float(a @ b / np.sqrt((a @ a) * (b @ b)))
            verdict["agreement"] += f", cosine of the steps {cosine:.4f}"
            verdict["agrees"] &= cosine >= SAME_STEP
