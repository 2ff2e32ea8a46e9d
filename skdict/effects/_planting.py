"""Effects planted in control rows, and the rows that hold them among the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from skdict.effects._relabel import take_rows


def check_directions(directions, n_features: int) -> np.ndarray | None:
    """Return directions as an array, or None; raise ValueError naming what is wrong."""
    if directions is None:
        return None
    directions = np.asarray(directions, dtype=np.float64)
    if directions.ndim != 2 or directions.shape[1] != n_features or directions.shape[0] == 0:
        raise ValueError(
            f"directions must have the shape (n_directions, {n_features}), that of the rows of X, "
            f"got shape {directions.shape}"
        )
    for i, direction in enumerate(directions):
        if not np.isfinite(direction).all() or not direction.any():
            raise ValueError(f"directions must be finite and not zero, but row {i} is not")
    return directions


@dataclass(frozen=True)
class Planting:
    """Control rows that effects are added to.

    Attributes
    ----------
    X : ndarray or DataFrame, shape (n_rows, n_features)
        The control rows.
    standard : ndarray of float64, shape (n_rows, n_features)
        The same without the mean of their plate, divided by `deviation`.
    deviation : ndarray, shape (n_features,)
        Standard deviation of each feature within plates; 0 for constant ones.
    n_free : int
        Rows less plates: what sums of squares are divided by.
    directions : ndarray, shape (n_directions, n_features), or None
        Directions to take in turn.
    """

    X: Any
    standard: np.ndarray
    deviation: np.ndarray
    n_free: int
    directions: np.ndarray | None

    @classmethod
    def of(cls, X, controls, directions) -> Planting:
        """Take the control rows of X; raise where nothing can be planted in them."""
        if sparse.issparse(X):
            raise TypeError(
                "X must be dense, since effects are added to all features, got a sparse matrix: "
                "pass X.toarray()"
            )
        X = take_rows(X, controls.rows)
        try:
            values = np.asarray(X, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"X must hold numbers in all columns ({error}); leave columns of text out"
            ) from error
        if not np.isfinite(values).all():
            raise ValueError("X holds NaN or infinite values in control rows; impute or drop them")
        plate = controls.plate[controls.unit]
        sizes = np.bincount(plate)
        to_plate = sparse.csr_array((np.ones(plate.size), (plate, np.arange(plate.size))))
        centred = values - ((to_plate @ values) / sizes[:, None])[plate]
        n_free = plate.size - sizes.size
        deviation = np.sqrt((centred**2).sum(axis=0) / n_free)
        # what rounding leaves of a constant feature is no spread
        deviation[deviation <= 1e-12 * np.abs(values).max(axis=0)] = 0.0
        centred /= np.where(deviation > 0, deviation, np.inf)
        planting = cls(X, centred, deviation, n_free, directions)
        planting._check_spread()
        return planting

    def _check_spread(self) -> None:
        """Raise unless an effect along each direction can be measured by the controls."""
        varies = self.deviation > 0
        if not varies.any():
            raise ValueError("X must vary among the controls of a plate, but all is constant")
        for i, direction in enumerate(() if self.directions is None else self.directions):
            if not direction[varies].any():
                raise ValueError(
                    f"directions must have weight on features that vary among the controls, but "
                    f"row {i} has none; leave it out"
                )

    def effect(self, repeat: int, rng) -> tuple[np.ndarray, float]:
        """Effect of strength 1 in a repetition, shape (n_features,), and its sigma."""
        varies = self.deviation > 0
        if self.directions is None:
            direction = rng.standard_normal(varies.shape[0]) * self.deviation
        else:
            direction = self.directions[repeat % self.directions.shape[0]]
        standard = np.divide(direction, self.deviation, out=np.zeros(varies.shape), where=varies)
        length = np.linalg.norm(standard)
        along = self.standard @ (standard / length)
        sigma = float(np.sqrt(along @ along / self.n_free))
        return direction * (sigma / length), sigma

    def rows(self, places=None, strengths=None, effect=None):
        """Rows as the pipelines take them: unchanged, or with the effect at every strength.

        Parameters
        ----------
        places : ndarray of int, shape (n_places,), or None
            Rows to change; None returns all rows unchanged.
        strengths : ndarray, shape (n_strengths,), or None
            Strengths of the effect.
        effect : ndarray, shape (n_features,), or None
            The effect at strength 1.

        Returns
        -------
        ndarray or DataFrame, shape (n_strengths * n_places, n_features)
            The rows at the first strength, then those at the second, and so on.
        """
        if places is None:
            return self.X
        taken = take_rows(self.X, np.tile(places, strengths.shape[0]))
        values = np.asarray(taken, dtype=np.float64)
        values = values + np.repeat(strengths, places.shape[0])[:, None] * effect
        if hasattr(taken, "iloc"):
            return type(taken)(values, columns=taken.columns, index=taken.index)
        return values.astype(taken.dtype if taken.dtype.kind == "f" else np.float64)


def replace_rows(codes, places, rows):
    """Copy of `codes` with other rows in some places; CSR stays CSR."""
    if sparse.issparse(codes):
        order = np.arange(codes.shape[0])
        order[places] = codes.shape[0] + np.arange(places.shape[0])
        return sparse.csr_array(sparse.vstack([codes, rows], format="csr"))[order]
    # an effect is no whole number, nor are codes of changed rows, even where the others are
    replaced = codes.astype(np.result_type(codes, rows))
    replaced[places] = rows
    return replaced
