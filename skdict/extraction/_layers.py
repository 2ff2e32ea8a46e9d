"""Names of a torch model's layers: all of them, and those of its transformer blocks."""

from __future__ import annotations

import difflib

from skdict._validation import check_choice, check_integer, import_optional

SOURCES = ("residual", "attention")
_ATTENTION_NAMES = ("attention", "attn", "self_attention", "self_attn")


def check_module(model) -> None:
    """Raise TypeError unless `model` is a torch module."""
    torch = import_optional("torch", extra="torch")
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")


def list_layers(model, containing: str = "") -> dict[str, str]:
    """List the layers of a torch model whose output can be collected.

    Parameters
    ----------
    model : torch.nn.Module
        The model.
    containing : str, default=""
        List only layers with this text in their name.

    Returns
    -------
    dict of str to str
        Name and class of each layer, in the order of ``model.named_modules()``.

    Raises
    ------
    TypeError
        If `model` is no torch module.

    See Also
    --------
    layer_name : Name of a transformer block or of its attention.

    Examples
    --------
    >>> from torch import nn
    >>> from skdict.extraction import list_layers
    >>> list_layers(nn.Sequential(nn.Linear(4, 8), nn.GELU()))
    {'0': 'Linear', '1': 'GELU'}
    """
    check_module(model)
    modules = model.named_modules()
    return {name: type(module).__name__ for name, module in modules if name and containing in name}


def layer_name(model, index: int, source: str = "residual") -> str:
    """Name of a transformer block of a model, or of its attention.

    The residual stream after block `index` is the output of the block itself. The attention
    output is that of its attention module, after the output projection (the ICFL paper, sections
    4 and 5, uses the first and compares with the second). Knows the Hugging Face models
    ``ViTModel`` and ``ViTMAEModel``, with or without a head or decoder on top, the vision
    transformers of timm and torchvision, and every module that keeps its blocks in one list or
    sequence, each with an attention called "attention", "attn", "self_attention" or "self_attn".

    Parameters
    ----------
    model : torch.nn.Module
        The model.
    index : int
        Block, counted from 0; -1 is the last one.
    source : {"residual", "attention"}, default="residual"
        Name the block, or its attention.

    Returns
    -------
    str
        Name to pass to :func:`collect_tokens`.

    Raises
    ------
    TypeError
        If `model` is no torch module or `index` no integer.
    ValueError
        If the model has no such blocks, more than one list of them, or fewer than `index` asks
        for; find the name with :func:`list_layers` in the first two cases.

    Examples
    --------
    >>> from torch import nn
    >>> from skdict.extraction import layer_name
    >>> model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, batch_first=True), 3)
    >>> layer_name(model, -1), layer_name(model, 0, "attention")
    ('layers.2', 'layers.0.self_attn')
    """
    check_module(model)
    check_choice("source", source, SOURCES)
    blocks = _blocks(model)
    check_integer("index", index, -len(blocks))
    if index >= len(blocks):
        raise ValueError(
            f"index must be in [{-len(blocks)}, {len(blocks) - 1}]: the model has {len(blocks)} "
            f"blocks, '{blocks[0][0]}' to '{blocks[-1][0]}'; got {index}"
        )
    block, attention = blocks[index]
    return block if source == "residual" else f"{block}.{attention}"


def _blocks(model) -> list[tuple[str, str]]:
    """Name of each transformer block of the encoder and of the attention in it."""
    found = {}
    for name, module in model.named_modules():
        if "decoder" not in name:
            blocks = _blocks_in(name, module)
            if blocks:
                found[name] = blocks
    if len(found) == 1:
        return next(iter(found.values()))
    what = f"several lists of blocks: {', '.join(map(repr, found))}" if found else "no blocks"
    raise ValueError(
        f"model {type(model).__name__} has {what}, where one list with an attention module in "
        f"each block is wanted ({', '.join(_ATTENTION_NAMES)}); list_layers(model) lists all "
        "layers to choose from"
    )


def _blocks_in(name, module) -> list[tuple[str, str]]:
    """Blocks in a list or sequence of modules; none where an entry has no attention."""
    torch = import_optional("torch", extra="torch")
    if not isinstance(module, (torch.nn.ModuleList, torch.nn.Sequential)):
        return []
    blocks = []
    for child_name, child in module.named_children():
        inside = dict(child.named_children())
        attention = next((known for known in _ATTENTION_NAMES if known in inside), None)
        if attention is None:
            return []
        blocks.append((f"{name}.{child_name}" if name else child_name, attention))
    return blocks


def find_layers(model, names) -> dict:
    """Modules of these names; raise ValueError with the closest names for one that is not there."""
    modules = dict(model.named_modules())
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"layer must be a name or a list of names, got {name!r}")
        if not name or name not in modules:
            close = difflib.get_close_matches(name, modules, n=5, cutoff=0.3)
            hint = f"closest are {', '.join(map(repr, close))}; " if close else ""
            raise ValueError(
                f"layer {name!r} is no layer of {type(model).__name__}; {hint}"
                "list_layers(model) lists all"
            )
    return {name: modules[name] for name in names}
