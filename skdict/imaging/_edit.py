"""Tokens with more or less of a concept, to see what a direction does to the picture."""

from __future__ import annotations

import numpy as np

from skdict._validation import check_choice, check_real
from skdict.imaging._tokens import PreparedTokens, check_directions

MODES = ("add", "set")


def edit_tokens(
    tokens, direction, amount: float, *, mode: str = "add", transformer=None, where=None
) -> np.ndarray:
    r"""Add a concept to tokens, or set how much of it they hold.

    A step along the direction :math:`w` (of unit length) behind the whitening T is a step
    :math:`\delta = T^{-1}(w) - T^{-1}(0)` of the token. With ``mode="add"`` the tokens become

    .. math::

       t' = t + a\,\delta,

    and with ``mode="set"`` their coordinate along the direction becomes a, whatever it was:

    .. math::

       t' = t + (a - w \cdot T(t))\,\delta.

    ``mode="set"`` with ``amount=0`` removes the concept. All that is orthogonal to it behind the
    whitening stays as it is. Decode the result (``skdict.extraction.decode_tokens``) to see it.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        Patch tokens in their places.
    direction : array-like, shape (n_outputs,)
        The direction in the space behind `transformer`.
    amount : float
        How much, in the units of that space: after whitening, standard deviations of the controls.
    mode : {"add", "set"}, default="add"
        Add to the coordinate or set it.
    transformer : fitted transformer or None, default=None
        Affine transformer with ``inverse_transform``, usually a
        :class:`~skdict.ControlPCAWhitener`. Scaling to unit length has no inverse: leave a
        ``Normalizer`` out.
    where : array-like of bool, shape (n_images, n_rows, n_columns), or None, default=None
        Tokens to edit; None edits all.

    Returns
    -------
    ndarray, shape (n_images, n_rows, n_columns, n_features)
        The edited tokens, a copy.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is NaN or infinite, the direction is zero, or the transformer
        does not undo its inverse (it is not affine).
    TypeError
        If the transformer has no ``inverse_transform``.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.imaging import edit_tokens
    >>> tokens = np.ones((1, 1, 2, 2))
    >>> edit_tokens(tokens, [1.0, 0.0], 3.0)[0, 0]
    array([[4., 1.],
           [4., 1.]])
    >>> edit_tokens(tokens, [1.0, 0.0], 0.0, mode="set", where=[[[True, False]]])[0, 0]
    array([[0., 1.],
           [1., 1.]])
    """
    check_choice("mode", mode, MODES)
    check_real("amount", amount, -np.inf, np.inf)
    prepared = PreparedTokens(tokens, transformer, "inner")
    direction = check_directions(direction, prepared.n_features, "cosine")
    if direction.shape[0] != 1:
        raise ValueError(
            f"direction must be a single one, shape ({prepared.n_features},), got "
            f"{direction.shape[0]}; edit with one after the other"
        )
    direction = direction[0]
    shift = _shift_of(direction, transformer)
    edited = np.array(prepared.tokens, dtype=np.result_type(prepared.tokens.dtype, np.float32))
    place = _checked_where(where, edited.shape[:3])
    for image, rows in enumerate(prepared):
        step = np.full(rows.shape[0], float(amount))
        if mode == "set":
            step -= rows @ direction
        step = np.where(place[image].ravel(), step, 0)
        edited[image] += (step[:, None] * shift).reshape(edited.shape[1:]).astype(edited.dtype)
    return edited


def _shift_of(direction: np.ndarray, transformer) -> np.ndarray:
    """Step of a token that is a unit step along the direction behind the transformer."""
    if transformer is None:
        return direction
    if not hasattr(transformer, "inverse_transform"):
        raise TypeError(
            f"transformer must have inverse_transform, got {type(transformer).__name__}; pass the "
            "whitener alone, without steps that have no inverse"
        )
    ends = np.stack([np.zeros_like(direction), direction])
    back = np.asarray(transformer.inverse_transform(ends))
    again = np.asarray(transformer.transform(back))
    # The whitening stretches directions in which controls do not vary: single precision is coarse.
    if not np.allclose(again[1] - again[0], direction, atol=1e-2):
        raise ValueError(
            f"transformer {type(transformer).__name__} does not undo its own inverse_transform "
            "along this direction: it must be affine (a whitener, without Normalizer), and the "
            "direction must lie in what it can reach"
        )
    return back[1] - back[0]


def _checked_where(where, shape) -> np.ndarray:
    if where is None:
        return np.ones(shape, dtype=bool)
    where = np.asarray(where)
    if where.shape != shape or where.dtype != np.bool_:
        raise ValueError(
            f"where must be a boolean mask of shape {shape}, got dtype {where.dtype} and shape "
            f"{where.shape}"
        )
    return where
