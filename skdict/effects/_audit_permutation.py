"""P-values of an audit by permutation, for the concepts whose F test says yes.

Sparse activations have few active units: that two of them meet in one label is rare, but far more
frequent than an F distribution has it. So a yes of the F test is put to permutations, as many as
the number of concepts asks for. They take sums of products only, as the shares do.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.stats import pearson3

from skdict.effects._audit_variance import Products, basis, q_values

_FEWEST_DRAWS, _MOST_DRAWS = 199, 10_000
# Units drawn in all for one test: about a minute where there are very many.
_MOST_UNITS_DRAWN = 4e8


def permute(shares, products: Products, design, activation, active, *, min_share, level, rng):
    """Replace the p-values of `shares` by those of permutations where they could count.

    Parameters
    ----------
    shares : Bunch
        Shares and p-values of every concept; its p-values are changed in place.
    products : Products
        Products of the design's columns.
    design : Design
        The design.
    activation : csr_array or ndarray of float64, shape (n_units, n_concepts)
        Mean code of each unit.
    active : ndarray of bool, shape (n_concepts,)
        Concepts that are active in some row.
    min_share, level : float
        Smallest share and largest q-value that count.
    rng : RandomState
        Draws the permutations.
    """
    tests = {
        "technical_alone": ("technical_share", TechnicalAlone, None),
        "biology_alone": ("biology_share", BiologyAlone, None),
        "technical": ("unique_technical", TechnicalBeyondBiology, design.label),
        "biology": ("unique_biology", BiologyBeyondTechnical, "main factor"),
    }
    by_concept = activation.tocsc() if sparse.issparse(activation) else activation
    for name, (share, test, strata) in tests.items():
        p_value = shares[f"{name}_p_value"]
        hopeful = (shares[share] >= min_share) & (q_values(p_value, active) <= level) & active
        if not hopeful.any():
            continue
        concepts, n_active = np.flatnonzero(hopeful), np.count_nonzero(active)
        n_possible = int(np.count_nonzero(active & (q_values(p_value, active) <= level)))
        groups = [(strata, concepts)]
        if isinstance(strata, str):
            groups = _groups_by_main_factor(shares, design, concepts)
        for stratum, concepts in groups:
            run = test(products, by_concept[:, concepts])
            found, n_lost = _sequential(
                run, stratum, products.n_units, n_possible, level / n_active, rng
            )
            n_possible -= n_lost
            p_value[concepts] = np.maximum(p_value[concepts], found)


def _groups_by_main_factor(shares, design, concepts):
    """Concepts by the categorical factor that explains most of them, with its levels."""
    levels = [factor.levels for factor in design.factors]
    named = [i for i, level in enumerate(levels) if level is not None]
    if not named:
        return [(None, concepts)]
    main = np.array(named)[shares.factor_share[np.ix_(named, concepts)].argmax(axis=0)]
    return [(levels[i], concepts[main == i]) for i in np.unique(main)]


def _sequential(test, strata, n_units: int, n_possible: int, step: float, rng):
    """P-values of concepts by permutation, and the number of those left early as hopeless.

    Of `n_possible` concepts that may still count, none can with a p-value above `n_possible` times
    `step`, by the rule of Benjamini and Hochberg. Four times the draws that such a p-value takes
    are made. A concept leaves once so many have reached it that it will not get there, or once it
    lies so many standard deviations above all draws that Cantelli's inequality settles it.
    """
    observed = test.statistic(np.arange(n_units)) * (1 - 1e-9)
    draws = _Draws(observed.shape[0])
    most = int(np.clip(_MOST_UNITS_DRAWN / n_units, 1000, _MOST_DRAWS))
    kept, n_lost, n_done, n_next = np.arange(observed.shape[0]), 0, 0, 50
    while kept.size:
        largest = max(step * (n_possible - n_lost), 1e-12)
        goal = int(np.clip(np.ceil(4 / largest), _FEWEST_DRAWS, most))
        n_next = min(n_next, goal - n_done)
        if n_next <= 0:
            break
        run = test.of(kept)
        for _ in range(n_next):
            draws.add(kept, run.statistic(_exchange(strata, n_units, rng)), observed)
        n_done, n_next = n_done + n_next, min(2 * n_next, 1000)
        hopeless = (draws.reached[kept] + 1) / (goal + 1) > largest
        n_lost += int(np.count_nonzero(hopeless))
        kept = kept[~hopeless & (draws.bound(observed)[kept] > largest / 2)]
    p_value = (draws.reached + 1) / (draws.n_drawn + 1)
    p_value = np.minimum(p_value, draws.bound(observed))
    beyond = (draws.reached == 0) & (draws.n_drawn >= most)
    p_value[beyond] = np.minimum(p_value, draws.tail(observed))[beyond]
    return p_value, n_lost


class _Draws:
    """Statistics drawn for some concepts: how many reach the observed one, and their moments."""

    def __init__(self, size: int):
        self.reached, self.n_drawn = np.zeros(size, dtype=int), np.zeros(size, dtype=int)
        self.powers = np.zeros((3, size))

    def add(self, concepts, drawn, observed) -> None:
        """Add a draw for some of the concepts."""
        self.n_drawn[concepts] += 1
        self.reached[concepts] += drawn >= observed[concepts]
        self.powers[:, concepts] += np.stack([drawn, drawn**2, drawn**3])

    def _standardised(self, observed):
        """Observed statistics and the skewness, in standard deviations of the draws."""
        mean, square, cube = self.powers / self.n_drawn
        spread = np.sqrt(np.maximum(square - mean**2, 1e-15 * square + 1e-300))
        skew = (cube - 3 * mean * square + 2 * mean**3) / spread**3
        return (observed - mean) / spread, np.clip(skew, 0.0, None)

    def bound(self, observed) -> np.ndarray:
        """Largest p-value that any distribution of twice the standard deviation allows."""
        z = self._standardised(observed)[0]
        return np.where(self.reached == 0, 1 / (1 + np.maximum(z, 0) ** 2 / 4), 1.0)

    def tail(self, observed) -> np.ndarray:
        """Upper tail of Pearson's third type that has the moments of the draws."""
        return pearson3.sf(*self._standardised(observed))


def _exchange(strata, n_units: int, rng) -> np.ndarray:
    """Units in an order drawn at random, exchanged within strata."""
    if strata is None:
        return rng.permutation(n_units)
    order = np.empty(n_units, dtype=np.intp)
    order[np.argsort(strata, kind="stable")] = np.argsort(strata + rng.random_sample(n_units))
    return order


class TechnicalAlone:
    """Sum of squares that technical columns explain when units are exchanged.

    Parameters
    ----------
    products : Products
        Products of the design's columns.
    activation : csc_array or ndarray, shape (n_units, n_concepts)
        Mean code of each unit.
    """

    def __init__(self, products: Products, activation):
        self.products, self.activation = products, activation
        self.n_concepts = activation.shape[1]
        self.by_concept = sparse.csr_array(activation.T) if sparse.issparse(activation) else (
            np.ascontiguousarray(activation.T))  # fmt: skip
        self.columns = self._columns()

    def _columns(self) -> np.ndarray:
        """Orthonormal columns of what is tested, shape (n_units, rank)."""
        products = self.products
        solve = basis(products.gram)
        return products.technical @ solve - products.mean @ solve

    def of(self, concepts):
        """Return the same test of some of the concepts."""
        return type(self)(self.products, self.activation[:, concepts])

    def statistic(self, order: np.ndarray) -> np.ndarray:
        """Statistic of every concept where unit i has the design of unit ``order[i]``."""
        return ((self.by_concept @ self.columns[order]) ** 2).sum(axis=1)


class TechnicalBeyondBiology(TechnicalAlone):
    """The same for what technical columns add to biology; units are exchanged within labels."""

    def _columns(self) -> np.ndarray:
        products = self.products
        solve = basis(products.within)
        of_label = (products.by_label / products.sizes).T @ solve
        return products.technical @ solve - products.biology @ of_label


class BiologyAlone:
    """Sum of squares between labels when units are exchanged.

    Parameters
    ----------
    products : Products
        Products of the design's columns.
    activation : csc_array or ndarray, shape (n_units, n_concepts)
        Mean code of each unit.
    """

    def __init__(self, products: Products, activation):
        self.products, self.activation = products, activation
        self.n_concepts = activation.shape[1]
        self.label = products.biology.indices
        self.sums = np.asarray(activation.sum(axis=0))
        if sparse.issparse(activation):
            entries = activation.tocoo()
            self.unit, concept = entries.coords
            self.concept, self.values = concept.astype(np.intp), entries.data

    def of(self, concepts):
        """Return the same test of some of the concepts."""
        return type(self)(self.products, self.activation[:, concepts])

    def statistic(self, order: np.ndarray) -> np.ndarray:
        """Statistic of every concept where unit i has the design of unit ``order[i]``."""
        return self._between(self._by_label(order))

    def _by_label(self, order) -> np.ndarray:
        """Sum of each concept over the units of a label, shape (n_labels, n_concepts)."""
        shape = (self.products.sizes.shape[0], self.n_concepts)
        if not sparse.issparse(self.activation):
            return self._indicators(order) @ self.activation
        place = self.label[order][self.unit] * np.intp(shape[1]) + self.concept
        return np.bincount(place, self.values, minlength=shape[0] * shape[1]).reshape(shape)

    def _between(self, by_label) -> np.ndarray:
        """Sum of squares between labels."""
        return (1 / self.products.sizes) @ by_label**2 - self.sums**2 / self.products.n_units

    def _indicators(self, order) -> sparse.csc_array:
        """One where a unit has a label, shape (n_labels, n_units)."""
        size = order.shape[0]
        parts = (np.ones(size), self.label[order], np.arange(size + 1))
        return sparse.csc_array(parts, shape=(self.products.sizes.shape[0], size))


class BiologyBeyondTechnical(BiologyAlone):
    """Partial share of biology in residuals of the technical fit (Freedman and Lane).

    Residuals are exchanged within the levels of the factor that explains most: where concepts are
    active on some plates alone, residuals of other plates are no substitute for theirs.
    """

    def __init__(self, products: Products, activation):
        super().__init__(products, activation)
        alone = TechnicalAlone(products, activation)
        self.columns, self.by_concept = alone.columns, alone.by_concept
        self.fit = (self.by_concept @ self.columns).T
        square = activation.power(2) if sparse.issparse(activation) else activation**2
        self.left = square.sum(axis=0) - self.sums**2 / products.n_units
        self.left -= (self.fit**2).sum(axis=0)
        # What the technical columns add to the labels, from scores and sums over labels: the raw
        # columns about their means are `raw` times the orthonormal ones.
        solve, raw = basis(products.within), basis(products.gram).T @ products.gram
        self.of_scores = (raw @ solve).T
        self.of_labels = solve.T @ (products.by_label / products.sizes)
        self.of_sums = np.outer(products.mean @ solve, self.sums)

    def statistic(self, order: np.ndarray) -> np.ndarray:
        """Statistic of every concept where unit i has the design of unit ``order[i]``."""
        by_label = self._by_label(order) - (self._indicators(order) @ self.columns) @ self.fit
        columns = self.columns[order]
        scores = (self.by_concept @ columns).T - (columns.T @ self.columns) @ self.fit
        added = self.of_scores @ scores + self.of_sums - self.of_labels @ by_label
        technical = (scores**2).sum(axis=0)
        beyond = self._between(by_label) + (added**2).sum(axis=0) - technical
        left = self.left - technical
        return beyond / np.where(left > 0, left, np.inf)
