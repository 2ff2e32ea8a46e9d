"""Weights of a dictionary with the preprocessing before it taken into them.

With atoms as rows: codes are z = TopK(E (x - b) + c), reconstructions x^ = z D + b. All in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils.validation import check_is_fitted

from skdict._icfl import ICFLDictionary
from skdict._topk_sae import TopKSAE
from skdict._validation import to_numpy
from skdict._whitening import ControlPCAWhitener


@dataclass(frozen=True)
class Weights:
    """Atoms and intercept, and the encoder of an autoencoder (None: pursuit over the atoms)."""

    atoms: np.ndarray
    intercept: np.ndarray
    encoder: np.ndarray | None = None
    encoder_bias: np.ndarray | None = None

    @classmethod
    def of(cls, dictionary):
        """The weights of a fitted dictionary."""
        weights = cls(dictionary.components_, dictionary.intercept_)
        if isinstance(dictionary, ICFLDictionary):
            return weights
        return replace(weights, encoder=dictionary.encoder_, encoder_bias=dictionary.encoder_bias_)

    def after_unit_norm(self, scale):
        """Weights for rows of length `scale` instead of 1, with the same codes.

        For u = x / scale: E u = (E / scale) x, and D and b grow with x.
        """
        atoms, intercept = _float64(self.atoms) * scale, _float64(self.intercept) * scale
        encoder = None if self.encoder is None else _float64(self.encoder) / scale
        return replace(self, atoms=atoms, intercept=intercept, encoder=encoder)

    def after_whitening(self, whitener):
        """Weights for rows x instead of z = (x - mean) M, with M^- for the way back.

        D M^- and b M^- + mean reconstruct x. E M encodes it; where M^- M is not the identity
        (directions were dropped), the offset that b would have lost goes to the encoder bias.
        """
        matrix, inverse, mean = whitening_arrays(whitener)
        intercept = _float64(self.intercept) @ inverse + mean
        lost = (intercept - mean) @ matrix - self.intercept
        return Weights(
            atoms=_float64(self.atoms) @ inverse,
            intercept=intercept,
            encoder=_float64(self.encoder) @ matrix.T,
            encoder_bias=self.encoder_bias + _float64(self.encoder) @ lost,
        )

    def without_atom_lengths(self):
        """Weights with atoms of unit length, whose codes were weighed by their length before.

        For codes |D| (E (x - b) + c) that are divided by |D| before the reconstruction.
        """
        lengths = np.linalg.norm(_float64(self.atoms), axis=1)
        if not (lengths > 0).all():
            raise ValueError(
                "codes are weighed by the length of the atoms, but some atoms are zero: drop them"
            )
        return Weights(
            atoms=self.atoms / lengths[:, None],
            intercept=self.intercept,
            encoder=self.encoder * lengths[:, None],
            encoder_bias=self.encoder_bias * lengths,
        )


def whitening_arrays(whitener):
    """Matrix (d, p), inverse (p, d) and mean (d,) with z = (x - mean) @ matrix, in float64."""
    arrays = (whitener.components_, whitener._inverse, whitener.mean_)
    matrix, inverse, mean = (np.asarray(to_numpy(array), np.float64) for array in arrays)
    return matrix.T, inverse.T, mean


def chain_of(model):
    """Preprocessing steps and dictionary of a fitted dictionary or pipeline.

    Raises
    ------
    TypeError
        If there is a step that other packages have no words for.
    sklearn.exceptions.NotFittedError
        If a step is not fitted.
    """
    steps = [step for _, step in model.steps] if isinstance(model, Pipeline) else [model]
    steps = [step for step in steps if step is not None and not isinstance(step, str)]
    dictionary = steps[-1] if steps else None
    if not isinstance(dictionary, (TopKSAE, ICFLDictionary)):
        raise TypeError(
            "model must be a TopKSAE, an ICFLDictionary, or a Pipeline that ends with one, got "
            f"{type(dictionary).__name__}"
        )
    check_is_fitted(dictionary, "components_")
    for step in steps[:-1]:
        if isinstance(step, ControlPCAWhitener):
            check_is_fitted(step, "components_")
        elif not (isinstance(step, Normalizer) and step.norm == "l2"):
            raise TypeError(
                "steps before the dictionary must be ControlPCAWhitener or Normalizer(norm='l2'), "
                f"got {step!r}: export the dictionary alone and apply that step beforehand"
            )
    return steps[:-1], dictionary


def folded(steps, dictionary, package, *, normalises):
    """Weights with the steps before the dictionary folded in, and whether rows are normalised.

    Parameters
    ----------
    steps : list
        Whiteners and normalizers, in the order in which they are applied.
    dictionary : TopKSAE or ICFLDictionary
        The dictionary.
    package : str
        Name of the other package, for errors.
    normalises : bool
        Whether it can bring rows to length sqrt(n_features) before all else.

    Returns
    -------
    Weights
        The weights.
    bool
        Whether rows have to be brought to that length.

    Raises
    ------
    ValueError
        If the steps cannot be expressed.
    """
    weights, normalised = Weights.of(dictionary), False
    for step in reversed(steps):
        if normalised:
            raise ValueError(
                f"{package} normalises rows before it subtracts anything, so a "
                f"{type(step).__name__} before the Normalizer cannot be expressed; keep the "
                "whitener beside the model (to_saelens(..., whitening='sidecar')), or export "
                "the dictionary alone and preprocess beforehand"
            )
        if isinstance(step, Normalizer):
            if not normalises:
                raise ValueError(
                    f"{package} has no unit norm: export the steps after the Normalizer and bring "
                    "rows to unit length beforehand"
                )
            weights, normalised = weights.after_unit_norm(sqrt(weights.atoms.shape[1])), True
        elif weights.encoder is None:
            raise ValueError(
                "a whitener cannot be folded into pursuit, which selects atoms by their products "
                "with whitened rows: keep it beside the model "
                "(to_saelens(..., whitening='sidecar')) or export the dictionary alone"
            )
        else:
            weights = weights.after_whitening(step)
    return weights, normalised


def _float64(array):
    return np.asarray(array, np.float64)
