"""Variance explained by biology and technical factors, from cross products alone.

All least-squares fits of an audit share their columns, so that sums of products of columns and
activations are enough; a table of units and concepts is never made dense. The many labels of the
biology are indicators: they are taken out by group means, and what is left to solve is as small as
the technical columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.stats import f as f_distribution
from scipy.stats import false_discovery_control
from sklearn.utils import Bunch

from skdict.effects._audit_design import Design, indicators
from skdict.metrics._selectivity import scores_from_counts

# Columns have length one: a direction of which less than this share is new counts as aliased.
# Sums of products are known to about 1e-13, shares of real designs are far larger.
ALIASED = 1e-9


@dataclass(frozen=True)
class Products:
    """Sums of products of the columns of a design, about their means or within labels.

    Attributes
    ----------
    n_units : int
        Number of units.
    sizes : ndarray, shape (n_labels,)
        Units of each label.
    mean : ndarray, shape (n_columns,)
        Mean of each technical column.
    by_label : ndarray, shape (n_columns, n_labels)
        Sum of each technical column over the units of a label.
    gram : ndarray, shape (n_columns, n_columns)
        Products of technical columns about their means.
    within : ndarray, shape (n_columns, n_columns)
        The same about the means of the labels: what biology leaves of the technical columns.
    parts : list of slice
        The columns of each factor.
    technical : csr_array, shape (n_units, n_columns)
        The technical columns.
    biology : csr_array, shape (n_units, n_labels)
        The indicators of the labels.
    """

    n_units: int
    sizes: np.ndarray
    mean: np.ndarray
    by_label: np.ndarray
    gram: np.ndarray
    within: np.ndarray
    parts: list[slice]
    technical: sparse.csr_array
    biology: sparse.csr_array


def products_of(design: Design) -> Products:
    """Sums of products of a design's columns."""
    n_units, n_labels = design.label.shape[0], design.labels.shape[0]
    biology = indicators(design.label, n_labels)
    widths = [factor.columns.shape[1] for factor in design.factors]
    ends = np.cumsum(widths, dtype=int).tolist()
    technical = sparse.csr_array((n_units, 0))
    if widths:
        technical = sparse.csr_array(sparse.hstack([f.columns for f in design.factors]))
    sizes = np.bincount(design.label, minlength=n_labels).astype(np.float64)
    mean = technical.sum(axis=0) / n_units
    square = _dense(technical.T @ technical)
    by_label = _dense(technical.T @ biology)
    return Products(
        n_units, sizes, mean, by_label,
        gram=square - n_units * np.outer(mean, mean),
        within=square - (by_label / sizes) @ by_label.T,
        parts=[slice(end - width, end) for width, end in zip(widths, ends)],
        technical=technical, biology=biology,
    )  # fmt: skip


def basis(gram: np.ndarray) -> np.ndarray:
    """Coefficients of an orthonormal basis of columns, from their products; aliased ones drop.

    Parameters
    ----------
    gram : ndarray, shape (n_columns, n_columns)
        Products of the columns.

    Returns
    -------
    ndarray, shape (n_columns, rank)
        The columns times this are orthonormal.
    """
    if gram.shape[0] == 0:
        return np.zeros((0, 0))
    values, vectors = np.linalg.eigh(gram)
    kept = values > ALIASED
    return vectors[:, kept] / np.sqrt(values[kept])


def design_table(products: Products, design: Design) -> dict[str, np.ndarray]:
    """How far each factor, and all together, lie in the span of the biology and vice versa.

    Parameters
    ----------
    products : Products
        Products of the design's columns.
    design : Design
        The design.

    Returns
    -------
    dict of ndarray
        The columns; the last row is of all factors together.
    """
    everything = slice(0, products.gram.shape[0])
    rows = []
    for part in [*products.parts, everything]:
        gram, within = products.gram[part, part], products.within[part, part]
        inside = basis(gram)
        rank, beyond = inside.shape[1], basis(within).shape[1]
        # the sum of the squared canonical correlations with the biology
        overlap = rank - np.sum(inside * (within @ inside))
        rows.append((gram.shape[0], rank, rank - beyond, overlap))
    n_columns, ranks, lost, overlap = np.array(rows).T
    n_free = products.sizes.shape[0] - 1
    kinds = [factor.kind for factor in design.factors]
    return {
        "factor": np.array([*design.names, "all factors"]),
        "kind": np.array([*kinds, "together"]),
        "n_columns": n_columns.astype(int),
        "degrees_of_freedom": ranks.astype(int),
        "aliased_share": lost / n_free,
        "overlap": np.clip(overlap / n_free, 0.0, 1.0),
    }


class Explained:
    """Sums of squares of each concept that parts of a design explain.

    Parameters
    ----------
    products : Products
        Products of the design's columns.
    activation : csr_array or ndarray of float64, shape (n_units, n_concepts)
        Mean code of each unit; a dense one is centred in place.
    """

    def __init__(self, products: Products, activation):
        if not sparse.issparse(activation):
            activation -= activation.mean(axis=0)  # large means would cost digits
        self.products = products
        n_units, sizes = products.n_units, products.sizes[:, None]
        square = _sums_of_squares(activation)
        self.sums = activation.sum(axis=0)
        self.total = square - self.sums**2 / n_units
        by_label = _dense(products.biology.T @ activation)
        by_column = _dense(products.technical.T @ activation)
        self.biology = (by_label**2 / sizes).sum(axis=0) - self.sums**2 / n_units
        by_label /= sizes
        self.label_means = by_label
        self.about_mean = by_column - np.outer(products.mean, self.sums)
        self.about_labels = by_column - products.by_label @ by_label
        self.varies = self.total > 1e-12 * square

    def technical(self, columns) -> tuple[np.ndarray, int]:
        """Sum of squares and degrees of freedom of technical columns alone."""
        return _squares(self.products.gram, self.about_mean, columns)

    def technical_beyond_biology(self, columns) -> tuple[np.ndarray, int]:
        """The same of what biology leaves of them."""
        return _squares(self.products.within, self.about_labels, columns)

    def visible_shares(self) -> tuple[np.ndarray, np.ndarray]:
        """Share of the technical fit that lies beyond biology, and of biology's beyond technical.

        If a concept were technical through and through, the first would be the part of it that no
        biology can take; if it were biological, the second would.
        """
        products = self.products
        solve = basis(products.gram)
        scores = solve.T @ self.about_mean
        coefficients = solve @ scores
        technical = (scores**2).sum(axis=0)
        beyond = (coefficients * (products.within @ coefficients)).sum(axis=0)
        fitted = products.by_label @ self.label_means - np.outer(products.mean, self.sums)
        inside = ((solve.T @ fitted) ** 2).sum(axis=0)
        return (
            _ratio(beyond, technical, self.total),
            _ratio(self.biology - inside, self.biology, self.total),
        )


def shares(products: Products, activation) -> Bunch:
    """Shares of variance and F tests of every concept.

    Parameters
    ----------
    products : Products
        Products of the design's columns.
    activation : csr_array or ndarray of float64, shape (n_units, n_concepts)
        Mean code of each unit; a dense one is centred in place.

    Returns
    -------
    Bunch
        Shares and p-values, of shape (n_concepts,) or (n_factors, n_concepts).
    """
    found = Explained(products, activation)
    everything = np.arange(products.gram.shape[0])
    biology, n_biology = found.biology, products.sizes.shape[0] - 1
    technical, n_technical = found.technical(everything)
    gain, n_gain = found.technical_beyond_biology(everything)
    both, n_both = biology + gain, n_biology + n_gain
    n_left = products.n_units - 1 - n_both
    if n_left < 1:
        raise ValueError(
            f"factors leave nothing to judge by: {products.n_units} units, {n_biology + 1} labels "
            f"of the biology and {n_gain} further degrees of freedom of the factors; leave the "
            "factor with most levels out, join its levels, or pass finer units"
        )
    noise = np.maximum(found.total - both, 0.0) / n_left

    def share(squares, n_free):
        part = (squares - n_free * noise) / np.where(found.varies, found.total, 1.0)
        return np.where(found.varies, part, 0.0)

    def p_value(squares, n_free):
        # a perfect fit leaves rounding alone, which is no yardstick
        least = np.where(found.varies, 1e-13 * found.total, 1.0)
        return _f_test(squares, n_free, np.maximum(noise, least), n_left, found.varies)

    beyond, n_beyond = both - technical, n_both - n_technical
    visible_technical, visible_biology = found.visible_shares()
    return Bunch(
        varies=found.varies,
        technical_share=share(technical, n_technical),
        biology_share=share(biology, n_biology),
        total_share=share(both, n_both),
        unique_technical=share(gain, n_gain),
        unique_biology=share(beyond, n_beyond),
        technical_p_value=p_value(gain, n_gain),
        biology_p_value=p_value(beyond, n_beyond),
        technical_alone_p_value=p_value(technical, n_technical),
        biology_alone_p_value=p_value(biology, n_biology),
        visible_technical=visible_technical,
        visible_biology=visible_biology,
        noise_share=noise / np.where(found.varies, found.total, 1.0),
        n_biology=n_biology,
        n_unique_technical=n_gain,
        n_unique_biology=n_beyond,
        n_residual=n_left,
        **_by_factor(found, share, gain, n_gain),
    )


def _by_factor(found: Explained, share, gain, n_gain: int) -> dict:
    """Share of each factor alone, beyond everything else, and that it has in common with biology.

    `gain` is what all factors together add to the biology, with `n_gain` degrees of freedom.
    """
    columns = np.arange(found.products.gram.shape[0])
    alone, unique, common = [], [], []
    for part in found.products.parts:
        own, others = columns[part], np.delete(columns, part)
        alone.append(share(*found.technical(own)))
        common.append(alone[-1] - share(*found.technical_beyond_biology(own)))
        left, n_left = found.technical_beyond_biology(others)
        unique.append(share(gain - left, n_gain - n_left))
    shape = (len(alone), gain.shape[0])
    names = ("factor_share", "factor_unique", "factor_shared")
    return {name: np.reshape(rows, shape) for name, rows in zip(names, (alone, unique, common))}


def adjusted_selectivity(products: Products, rates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label of the largest selectivity of each concept, that selectivity, and its adjusted value.

    Parameters
    ----------
    products : Products
        Products of the design's columns.
    rates : csr_array of float64, shape (n_units, n_concepts)
        Share of active rows of each unit.

    Returns
    -------
    label : ndarray of int, shape (n_concepts,)
        Index of the label.
    selectivity : ndarray, shape (n_concepts,)
        Share of active units of the label minus that of all others.
    adjusted : ndarray, shape (n_concepts,)
        The label's coefficient beside the technical columns; NaN where they determine the label.
    """
    n_units, sizes = products.n_units, products.sizes
    counts = _dense(products.biology.T @ rates)
    scores = scores_from_counts(counts, sizes, kind="average", reference="pooled")
    label, concepts = scores.argmax(axis=0), np.arange(counts.shape[1])
    selectivity = scores[label, concepts]
    sums = rates.sum(axis=0)
    solve = basis(products.gram)
    by_label = solve.T @ (products.by_label - np.outer(products.mean, sizes))
    by_concept = solve.T @ (_dense(products.technical.T @ rates) - np.outer(products.mean, sums))
    whole = sizes * (1 - sizes / n_units)
    left = whole - (by_label**2).sum(axis=0)
    slope = counts[label, concepts] - sizes[label] * sums / n_units
    slope -= (by_label[:, label] * by_concept).sum(axis=0)
    known = left > ALIASED * whole
    left = np.where(known, left, np.nan)
    return label, selectivity, slope / left[label]


def q_values(p_value: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's q-values over the concepts tested; 1 for the others."""
    q_value = np.ones_like(p_value)
    if tested.any():
        q_value[tested] = false_discovery_control(p_value[tested])
    return q_value


def _squares(gram, products, columns) -> tuple[np.ndarray, int]:
    """Sum of squares explained by some columns, and their degrees of freedom."""
    solve = basis(gram[np.ix_(columns, columns)])
    return ((solve.T @ products[columns]) ** 2).sum(axis=0), solve.shape[1]


def _f_test(squares, n_free: int, noise, n_left: int, varies) -> np.ndarray:
    """P-value of the F test of a sum of squares; 1 where there is nothing to test."""
    if n_free == 0:
        return np.ones(squares.shape[0])
    statistic = np.maximum(squares, 0.0) / n_free / noise
    return np.where(varies, f_distribution.sf(statistic, n_free, n_left), 1.0)


def _ratio(part, whole, total) -> np.ndarray:
    """Part of a whole, between 0 and 1; 0 where the whole is nothing."""
    some = whole > 1e-12 * total
    return np.clip(np.where(some, part, 0.0) / np.where(some, whole, 1.0), 0.0, 1.0)


def _sums_of_squares(matrix) -> np.ndarray:
    """Sum of squares of each column; no copy of a dense matrix is made."""
    if sparse.issparse(matrix):
        return np.bincount(matrix.indices, weights=matrix.data**2, minlength=matrix.shape[1])
    return np.einsum("ij,ij->j", matrix, matrix)


def _dense(product) -> np.ndarray:
    """A product with few rows, dense."""
    return product.toarray() if sparse.issparse(product) else np.asarray(product)
