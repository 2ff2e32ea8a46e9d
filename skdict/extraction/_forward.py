"""One forward pass of a torch model that hands out what chosen layers compute."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from skdict._validation import import_optional
from skdict.extraction._layers import check_module

# Classes that mask patches at random, in eval mode too, and hand the others out shuffled.
# Hugging Face's, and that of the authors (github.com/facebookresearch/mae).
_MASKING_CLASSES = ("ViTMAEEmbeddings", "MaskedAutoencoderViT")


class _AllRecorded(BaseException):
    """Ends a forward pass; no Exception, so that no model takes it for an error of its own."""


def check_model(model) -> None:
    """Raise unless `model` is a torch module in eval mode that hooks can watch."""
    check_module(model)
    if type(model).__name__ == "DataParallel":
        raise ValueError(
            "model must not be a DataParallel: its copies each see a part of the batch; "
            "pass model.module"
        )
    for name, module in model.named_modules():
        if module.training:
            where = f"its layer {name!r} is" if name else "it is"
            raise ValueError(
                f"model must be in eval mode, but {where} in training mode, in which dropout and "
                "batch statistics change the tokens; call model.eval() first"
            )


def home_of(model) -> tuple[Any, Any]:
    """Device and floating dtype of a model's first floating parameter; the CPU and None without."""
    torch = import_optional("torch", extra="torch")
    known = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    for parameter in model.parameters():
        if parameter.dtype in known:
            return parameter.device, parameter.dtype
    return torch.device("cpu"), None


def fingerprint(model) -> str:
    """Hash of the names, shapes and dtypes of all weights and of at most 65 values of each."""
    torch = import_optional("torch", extra="torch")
    state = hashlib.sha256()
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            flat = value.detach().reshape(-1)
            some = flat[:: max(1, flat.numel() // 64)].contiguous().cpu()
            state.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            state.update(some.view(torch.uint8).numpy().tobytes())
    return state.hexdigest()[:16]


def run_layers(model, layers: dict, inputs, take: Callable, *, forward=None, autocast=None) -> dict:
    """Run a model on a batch and return what `take` makes of the output of each layer.

    Parameters
    ----------
    model : torch.nn.Module
        The model, in eval mode. It is left as it was: hooks are removed, also after an error.
    layers : dict of str to torch.nn.Module
        The layers.
    inputs : torch.Tensor or dict
        What the model is called with, or with which keyword arguments.
    take : callable
        ``take(name, tokens)`` is called while the model runs, before a later layer can change
        `tokens` in place. What it returns must not share their memory.
    forward : callable or None, default=None
        ``forward(model, inputs)`` in place of calling the model.
    autocast : str or None, default=None
        Name of a torch dtype for mixed precision.

    Returns
    -------
    dict
        What `take` returned for each layer.

    Raises
    ------
    TypeError
        If the output of a layer holds no tensor.
    ValueError
        If a layer is not reached, or more than once.
    """
    torch = import_optional("torch", extra="torch")
    precision = nullcontext()
    if autocast is not None:
        device, _ = home_of(model)
        precision = torch.autocast(device.type, dtype=getattr(torch, autocast))
    # not inference_mode: what a model caches while it runs must serve training later
    with torch.no_grad(), precision, unmasked(model), _hooks(model, layers, take) as found:
        try:
            (forward or _call)(model, inputs)
        except _AllRecorded:
            pass
    missing = [name for name in layers if name not in found]
    if missing:
        raise ValueError(
            f"layer {missing[0]!r} was not reached when the model ran: choose a layer that the "
            "forward pass uses (of a compiled model, pass the one before torch.compile)"
        )
    return found


def _call(model, inputs):
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)


@contextmanager
def _hooks(model, layers, take) -> Iterator[dict]:
    """While it lasts, layers hand their output to `take`; the last one ends the forward pass."""
    found: dict = {}
    # Hooks of accelerate bring offloaded weights back when a module ends: let all of them end.
    may_stop = not any(hasattr(module, "_hf_hook") for module in model.modules())

    def watch(name):
        def hook(module, arguments, output):
            if name in found:
                raise ValueError(
                    f"layer {name!r} runs more than once in a forward pass, so that it is not "
                    "clear which of its outputs is meant; choose another layer"
                )
            found[name] = take(name, tokens_of(output, name))
            if may_stop and len(found) == len(layers):
                raise _AllRecorded

        return hook

    handles = []
    try:
        for name, module in layers.items():
            handles.append(module.register_forward_hook(watch(name)))
        yield found
    finally:
        for handle in handles:
            handle.remove()


def tokens_of(output, name: str):
    """Tensor of tokens in the output of a layer, which may be a tuple, list or mapping."""
    torch = import_optional("torch", extra="torch")
    inner = output
    while not isinstance(inner, torch.Tensor):
        if isinstance(inner, Mapping) and inner:
            inner = inner.get("last_hidden_state", next(iter(inner.values())))
        elif isinstance(inner, (tuple, list)) and inner:
            inner = inner[0]
        else:
            raise TypeError(
                f"layer {name!r} must give a tensor of tokens, or a tuple, list or mapping that "
                f"begins with one, got {type(output).__name__}"
            )
    return inner


@contextmanager
def unmasked(model) -> Iterator[None]:
    """While it lasts, a masked autoencoder sees all patches, in their order."""
    changed = []
    try:
        for module in model.modules():
            classes = {kind.__name__ for kind in type(module).__mro__}
            if not classes.isdisjoint(_MASKING_CLASSES):
                # on the instance, where it hides the method of the class until it is deleted
                module.random_masking = _keep_all
                changed.append(module)
        yield
    finally:
        for module in changed:
            del module.random_masking


def _keep_all(sequence, *args, **kwargs):
    """All patches, a mask of zeros, and the order that restores them."""
    torch = import_optional("torch", extra="torch")
    n_images, n_patches = sequence.shape[:2]
    mask = torch.zeros(n_images, n_patches, device=sequence.device)
    order = torch.arange(n_patches, device=sequence.device).expand(n_images, -1)
    return sequence, mask, order
