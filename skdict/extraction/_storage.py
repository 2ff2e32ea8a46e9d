"""What of a layer's output is stored, and in which form."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from skdict._token_layout import TokenLayout
from skdict._validation import check_boolean_or, check_choice, import_optional


class Storage:
    """Patch tokens or their means, with or without the tokens before them.

    Parameters
    ----------
    layout : TokenLayout
        Where the tokens lie.
    pool : "mean" or None
        Store means over patches.
    keep_prefix : bool
        Store the tokens before the patches, too.
    dtype : {"float32", "float16"}
        Type of the stored values.

    Raises
    ------
    TypeError, ValueError
        If one of them is something else.
    """

    def __init__(self, layout: TokenLayout, pool, keep_prefix, dtype):
        if not isinstance(layout, TokenLayout):
            raise TypeError(f"layout must be a TokenLayout, got {layout!r}")
        if pool is not None:
            check_choice("pool", pool, ("mean",))
        check_boolean_or("keep_prefix", keep_prefix, ())
        check_choice("dtype", dtype, ("float32", "float16"))
        if keep_prefix and not layout.n_prefix_tokens:
            raise ValueError("keep_prefix needs a layout with n_prefix_tokens of at least 1, got 0")
        self.layout, self.pool, self.keep_prefix, self.dtype = layout, pool, keep_prefix, dtype

    @property
    def settings(self) -> dict:
        """What is stored, as a record can hold it."""
        layout = asdict(self.layout)
        return {
            "layout": {**layout, "grid": list(layout["grid"])},
            "pool": self.pool,
            "keep_prefix": bool(self.keep_prefix),
            "dtype": self.dtype,
        }

    def take(self, name: str, tokens, images: range) -> list:
        """Patch tokens and those before them, checked and copied, on their device.

        Parameters
        ----------
        name : str
            The layer.
        tokens : torch.Tensor, shape (n_images, n_tokens, n_features)
            Its output.
        images : range
            Numbers of the images.

        Returns
        -------
        list of torch.Tensor
            Shape (n_images, n_channels, ..., n_features), and (n_images, n_prefix_tokens,
            n_features) where the tokens before the patches are kept.

        Raises
        ------
        TypeError, ValueError
            If the tokens are no floats, not finite, too large, or do not fit the layout.
        """
        torch = import_optional("torch", extra="torch")
        if not tokens.is_floating_point():
            raise TypeError(f"layer {name!r} must give floats, got {tokens.dtype}")
        if tokens.ndim != 3 or tokens.shape[0] != len(images):
            raise ValueError(
                f"layer {name!r} must give tokens (n_images, n_tokens, n_features) for a batch of "
                f"{len(images)} images, got shape {tuple(tokens.shape)}"
            )
        try:
            patches = self.layout.place(tokens)
        except ValueError as error:
            raise ValueError(f"layer {name!r} does not fit the layout: {error}") from error
        if self.pool is not None:
            wide = torch.promote_types(tokens.dtype, torch.float32)
            patches = patches.mean(dim=(2, 3), dtype=wide)
        parts = [patches]
        if self.keep_prefix:
            parts.append(tokens[:, : self.layout.n_prefix_tokens])
        return [self._stored(name, part, images) for part in parts]

    def _stored(self, name, part, images):
        """Copy in the stored type; raise where a value is not finite, or is not any more."""
        torch = import_optional("torch", extra="torch")
        stored = part.to(getattr(torch, self.dtype), copy=True)
        # NaN and infinity stay in a sum, which is several times quicker than to look at each value
        if torch.isfinite(stored.flatten(1).sum(dim=1, dtype=torch.float32)).all():
            return stored
        finite = torch.isfinite(stored).flatten(1).all(dim=1)
        if finite.all():  # only the sum was too large
            return stored
        first = int(finite.logical_not().nonzero()[0, 0])
        values = part[first]
        if torch.isfinite(values).all():
            raise ValueError(
                f"dtype {self.dtype!r} is too small for layer {name!r}: image {images[first]} "
                f"has a value of {float(values.abs().max()):.3g}, the largest that can be stored "
                f"is {torch.finfo(stored.dtype).max:.3g}; choose a wider dtype"
            )
        raise ValueError(
            f"layer {name!r} gives NaN or infinite tokens for image {images[first]}: look for such "
            "values in the image, and compute with a wider autocast or none"
        )

    def rows(self, parts) -> list[np.ndarray]:
        """Arrays of rows for the files: patches or means (n_rows, n_features), then the others."""
        patches, *prefix = (part.cpu().numpy() for part in parts)
        return [patches.reshape(-1, patches.shape[-1]), *prefix]
