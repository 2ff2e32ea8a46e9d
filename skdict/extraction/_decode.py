"""Tokens of any layer through the decoder of a masked autoencoder (the ICFL paper, Fig. 7A)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skdict._validation import check_integer, import_optional
from skdict.extraction._batches import as_tensor, is_tensor
from skdict.extraction._forward import check_model, home_of
from skdict.extraction._token_array import TokenArray


def mae_decoder(model):
    r"""Decoder of a Hugging Face masked autoencoder, as a function of tokens of any layer.

    The decoder was trained on the tokens of the last layer. Given those of an earlier one,

    .. math:: \text{image} = \mathrm{unpatchify}(\mathrm{decoder}(\mathrm{norm}(x))),

    where norm is the final layer norm of the encoder, it shows how far the layers before it have
    come (Fig. 7A of [1]_).

    Parameters
    ----------
    model : transformers.ViTMAEForPreTraining
        The model, in eval mode. It is not changed.

    Returns
    -------
    callable
        ``decoder(tokens, class_tokens=None)`` takes torch tensors of shape (n_images, n_rows,
        n_columns, n_features), patch tokens of the residual stream, and (n_images, n_features),
        and returns the images, shape (n_images, n_channels, height, width). Where `class_tokens`
        are None the class token as it enters the first layer stands in, which is not what the
        decoder has seen with tokens of a later one: keep the class tokens of the same layer
        (``keep_prefix`` of :func:`collect_tokens`). ``decoder.normalized_pixels`` says whether
        the model predicts pixels in units of the mean and standard deviation of each patch
        (``config.norm_pix_loss``): brightness then tells nothing across patches.

    Raises
    ------
    TypeError
        If the model is not such a masked autoencoder. :func:`decode_tokens` takes any other
        decoder as a callable.
    ValueError
        If the model is in training mode.

    See Also
    --------
    decode_tokens : Decode arrays, in batches.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025, Fig. 7A.
    """
    for name in ("vit", "decoder", "unpatchify"):
        if not hasattr(model, name):
            raise TypeError(
                "model must be a ViTMAEForPreTraining of Hugging Face's transformers, got "
                f"{type(model).__name__}, which has no {name!r}; for another model pass "
                "decode_tokens a callable that makes images of tokens"
            )
    check_model(model)
    return _MaskedAutoencoderDecoder(model)


class _MaskedAutoencoderDecoder:
    """Tokens of the residual stream to images, see :func:`mae_decoder`."""

    def __init__(self, model):
        self.model = model
        self.normalized_pixels = bool(model.config.norm_pix_loss)

    def __call__(self, tokens, class_tokens=None):
        torch = import_optional("torch", extra="torch")
        embeddings = self.model.vit.embeddings
        patches = embeddings.patch_embeddings
        image, patch = patches.image_size, patches.patch_size
        grid = (image[0] // patch[0], image[1] // patch[1])
        if tokens.ndim != 4 or tuple(tokens.shape[1:3]) != grid:
            raise ValueError(
                f"token grid does not match the decoder: it takes tokens of shape (n_images, "
                f"{grid[0]}, {grid[1]}, n_features), got {tuple(tokens.shape)}"
            )
        n_images = tokens.shape[0]
        if class_tokens is None:
            first = embeddings.cls_token[:, 0] + embeddings.position_embeddings[:, 0]
            class_tokens = first.expand(n_images, -1)
        sequence = torch.cat([class_tokens[:, None], tokens.flatten(1, 2)], dim=1)
        order = torch.arange(grid[0] * grid[1], device=tokens.device).expand(n_images, -1)
        decoded = self.model.decoder(self.model.vit.layernorm(sequence), order)
        return self.model.unpatchify(decoded.logits, original_image_size=tuple(image))


def decode_tokens(decoder, tokens, *, class_tokens=None, batch_size: int = 32, device=None):
    """Make images of tokens, in batches, with NumPy arrays in and out.

    Tokens of several layers, decoded side by side, show how the picture is refined from layer to
    layer (the ICFL paper, Fig. 7A). Tokens to which a concept was added show what it does to the
    picture.

    Parameters
    ----------
    decoder : callable
        Makes a tensor of images (n_images, n_channels, height, width) of a tensor of tokens
        (n_images, n_rows, n_columns, n_features): :func:`mae_decoder`, a torch module, or any
        other function. Where there are class tokens they are its second argument.
    tokens : array-like, tensor, TokenArray, or dict of these
        Patch tokens in their places, shape (n_images, n_rows, n_columns, n_features). Of a
        TokenArray that kept the tokens before the patches, the first of them are the class
        tokens. A dict, such as :func:`collect_tokens` returns for several layers, is decoded
        entry by entry.
    class_tokens : array-like or tensor, shape (n_images, n_features), or dict of these, or None
        Class tokens of the same layer; a dict where `tokens` is one.
    batch_size : int, default=32
        Images decoded at a time.
    device : str, torch.device or None, default=None
        Where tokens are brought before they are decoded; None is where the weights of the
        decoder lie, and the CPU for a function that has none.

    Returns
    -------
    ndarray, or dict of ndarray
        The images, shape (n_images, n_channels, height, width), float32; by name for a dict.

    Raises
    ------
    TypeError
        If `decoder` is not callable.
    ValueError
        If the decoder is in training mode, shapes do not fit, or a token is NaN or infinite.
    ImportError
        If torch is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from skdict.extraction import decode_tokens
    >>> def brightness(tokens):  # one pixel per patch: its first feature
    ...     return tokens[..., :1].permute(0, 3, 1, 2)
    >>> decode_tokens(brightness, np.ones((2, 4, 4, 8))).shape
    (2, 1, 4, 4)
    """
    if not callable(decoder):
        raise TypeError(f"decoder must be callable, got {decoder!r}")
    check_integer("batch_size", batch_size, 1)
    home = _home_of_decoder(decoder, device)
    if not isinstance(tokens, Mapping) or isinstance(tokens, TokenArray):
        return _decode(decoder, _read(tokens, class_tokens), batch_size, home)
    if class_tokens is None:
        class_tokens = dict.fromkeys(tokens)
    if not isinstance(class_tokens, Mapping) or set(class_tokens) != set(tokens):
        raise ValueError(f"class_tokens must be a dict with the names of tokens, {list(tokens)}")
    return {
        name: _decode(decoder, _read(some, class_tokens[name]), batch_size, home)
        for name, some in tokens.items()
    }


def _home_of_decoder(decoder, device) -> tuple:
    """Device and type that the decoder takes tokens in; raise if it is in training mode."""
    torch = import_optional("torch", extra="torch")
    module = getattr(decoder, "model", decoder)
    home, dtype = torch.device("cpu"), None
    if isinstance(module, torch.nn.Module):
        check_model(module)
        home, dtype = home_of(module)
    return home if device is None else torch.device(device), dtype or torch.float32


def _read(tokens, class_tokens) -> dict:
    """Arrays of patch tokens and of class tokens where there are any, of shapes that fit."""
    if isinstance(tokens, TokenArray):
        if class_tokens is None and tokens.prefix is not None:
            class_tokens = tokens.prefix[:, 0]
        tokens = tokens.grid()
    tokens = tokens if hasattr(tokens, "ndim") else np.asarray(tokens)
    if tokens.ndim != 4 or 0 in tokens.shape:
        raise ValueError(
            "tokens must have shape (n_images, n_rows, n_columns, n_features) and not be empty, "
            f"got {tuple(tokens.shape)}"
        )
    if class_tokens is None:
        return {"tokens": tokens}
    wanted, shape = (tokens.shape[0], tokens.shape[3]), np.shape(class_tokens)
    if shape != wanted:
        raise ValueError(f"class_tokens must have shape {wanted}, got {shape}")
    return {"tokens": tokens, "class_tokens": class_tokens}


def _decode(decoder, arrays, batch_size, home) -> np.ndarray:
    """Images of the tokens, a batch at a time."""
    torch = import_optional("torch", extra="torch")
    n_images = arrays["tokens"].shape[0]
    images = np.empty(0)
    for start in range(0, n_images, batch_size):
        rows = slice(start, min(start + batch_size, n_images))
        inputs = [_on_device(name, array[rows], *home) for name, array in arrays.items()]
        with torch.no_grad():
            batch = decoder(*inputs)
        batch = batch.float().cpu().numpy() if isinstance(batch, torch.Tensor) else batch
        if np.ndim(batch) != 4 or len(batch) != rows.stop - start:
            raise ValueError(
                "decoder must return images (n_images, n_channels, height, width), one for each "
                f"of {rows.stop - start} grids of tokens; got shape {np.shape(batch)}"
            )
        if not start:
            images = np.empty((n_images, *batch.shape[1:]), dtype=np.float32)
        images[rows] = batch
    return images


def _on_device(name, array, device, dtype):
    """Tensor of a slice of an array; raise if it holds NaN or infinity."""
    torch = import_optional("torch", extra="torch")
    tensor = array.detach() if is_tensor(array) else as_tensor(np.asarray(array))
    if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
        dtype_name = str(tensor.dtype).removeprefix("torch.")
        fault = "NaN or infinity" if tensor.is_floating_point() else f"dtype {dtype_name}"
        raise ValueError(f"{name} must hold finite floats, got {fault}")
    return tensor.to(device=device, dtype=dtype)
