"""Tokens of a torch model's layers, streamed to disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from skdict._token_layout import TokenLayout
from skdict._validation import check_choice, check_integer, check_real
from skdict.extraction._batches import digest, read_batch, to_model
from skdict.extraction._forward import check_model, fingerprint, home_of, run_layers
from skdict.extraction._layers import find_layers
from skdict.extraction._progress import Progress
from skdict.extraction._storage import Storage
from skdict.extraction._token_array import TokenArray, open_tokens
from skdict.extraction._token_writer import TokenWriter


def collect_tokens(
    model,
    layer,
    batches,
    *,
    output,
    layout: TokenLayout,
    pool: str | None = None,
    keep_prefix: bool = False,
    dtype: str = "float32",
    autocast: str | None = None,
    forward: Callable | None = None,
    checkpoint_every: float = 10.0,
    verbose: int = 0,
) -> TokenArray | dict[str, TokenArray]:
    """Collect the patch tokens of a model's layers in files that open as memory maps.

    The model runs on one batch after the other. What the layer computes is written to disk
    behind the tokens of earlier batches: a row per patch token, or their mean (``pool="mean"``:
    the representation of a crop in the ICFL paper, section 5). The class token and registers are
    left out, as the layout says.

    An interrupted collection goes on where it stopped when the same call is made again, and ends
    with the same bytes: batches whose tokens are there are compared with a hash of their images
    and not computed again. So a call with a complete file computes nothing, and one with further
    batches computes these.

    Parameters
    ----------
    model : torch.nn.Module
        The model, in eval mode. It is left as it was. Batches are brought to the device of its
        first parameter and to its floating type: move the model to compute elsewhere. Nothing
        after the last of the layers is computed.
    layer : str or list of str
        Name of the layer whose output is collected, as in ``model.named_modules()``; for
        transformers :func:`layer_name` finds it. A list collects several layers in one pass, for
        example to choose one by its probes. The output must be tokens (n_images, n_tokens,
        n_features), or a tuple, list or mapping that begins with them.
    batches : iterable of array or dict
        Images (n_images, n_channels, height, width), floats scaled as the model expects them,
        NumPy or torch; or dicts of the arguments of the model.
    output : str or Path
        For one layer the ``.npy`` file; ``<output>.json`` beside it records what is in it. For a
        list of layers a folder, made if it is not there, with ``<layer>.npy`` for each.
    layout : TokenLayout
        Where the tokens lie on the image, and which of them are no patches.
    pool : {"mean"} or None, default=None
        "mean" stores the mean over the patches: a row per image, or per image and channel of a
        channel-wise transformer.
    keep_prefix : bool, default=False
        Store the tokens before the patches, too, in ``<output stem>.prefix.npy``: the decoder of
        a masked autoencoder takes the class token (:func:`mae_decoder`).
    dtype : {"float32", "float16"}, default="float32"
        Type of the stored values. Means are formed in float32 at least.
    autocast : {"bfloat16", "float16"} or None, default=None
        Compute with ``torch.autocast`` in this type where it serves; None computes in the type
        of the weights.
    forward : callable or None, default=None
        ``forward(model, batch)`` for models that are not run by calling them with the batch.
        Its result is not used.
    checkpoint_every : float, default=10.0
        Seconds between checkpoints, each of which waits for the disk. A process that is killed
        loses the work since the last one; after any error, the images before it are saved.
    verbose : int, default=0
        1 prints a line of progress about every ten seconds, 2 one per batch.

    Returns
    -------
    TokenArray, or dict of TokenArray
        The tokens, opened as memory maps; by name for a list of layers.

    Raises
    ------
    TypeError
        If the model is no torch module, or a batch no array of floats.
    ValueError
        If a layer is not there (the closest names are listed) or is not reached, the model is in
        training mode, there are no images, the number of tokens is not that of the layout, a
        token is NaN, infinite or too large for `dtype`, or if `output` holds tokens that were
        collected otherwise or from other images.
    OSError
        If a file cannot be written. What is complete stays, and the same call goes on from it.
    ImportError
        If torch is not installed.

    See Also
    --------
    open_tokens : Open the files again.
    layer_name : Name of a transformer block or of its attention.

    Notes
    -----
    Tokens take ``n_patch_tokens * n_features * itemsize`` bytes per image: for 32 x 32 patches
    and 1,024 features 4.2 MB in float32, so that 10,000 images take 42 GB; their means take 4 kB.

    Masked autoencoders of Hugging Face (``ViTMAEModel``, ``ViTMAEForPreTraining``) and of the
    authors of that method hide patches at random and shuffle the others, in eval mode too. While
    their tokens are collected they see all patches in order.

    The bits of a token depend on the device, the batch and the version of torch. The record
    holds the class of the model, a hash of samples of all weights, the type of the device and
    all parameters that matter, and a call that differs in one of them is refused. What `forward`
    does, it cannot know.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> from skdict.extraction import TokenLayout, collect_tokens
    >>> class Patches(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.embed = torch.nn.Conv2d(6, 16, kernel_size=8, stride=8)
    ...         self.block = torch.nn.Linear(16, 16)
    ...
    ...     def forward(self, images):
    ...         return self.block(self.embed(images).flatten(2).transpose(1, 2))
    >>> layout = TokenLayout.from_image(64, patch_size=8, n_prefix_tokens=0)
    >>> batches = [torch.rand(2, 6, 64, 64) for _ in range(3)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tokens = collect_tokens(
    ...         Patches().eval(), "block", batches, output=f"{folder}/tokens.npy", layout=layout
    ...     )
    ...     tokens.data.shape, tokens.grid().shape
    ((384, 16), (6, 8, 8, 16))
    """
    names, paths = _outputs(layer, output)
    storage = Storage(layout, pool, keep_prefix, dtype)
    if autocast is not None:
        check_choice("autocast", autocast, ("bfloat16", "float16"))
    check_real("checkpoint_every", checkpoint_every, 0, math.inf)
    check_integer("verbose", verbose, 0)
    check_model(model)
    layers = find_layers(model, names)
    if not isinstance(layer, str):
        _make_folder(Path(output))
    settings = {**storage.settings, "autocast": autocast, **_identity(model)}
    writers = {
        name: TokenWriter(path, {"layer": name, **settings}, checkpoint_every)
        for name, path in zip(names, paths)
    }
    run = partial(run_layers, model, forward=forward, autocast=autocast)
    progress = Progress(verbose, batches)
    try:
        n_batches = _write_all(batches, layers, writers, storage, run, home_of(model), progress)
        for writer in writers.values():
            writer.finish(n_batches)
    except BaseException:
        for writer in writers.values():
            writer.keep()
        raise
    progress.end()
    tokens = {name: open_tokens(path) for name, path in zip(names, paths)}
    return tokens[layer] if isinstance(layer, str) else tokens


def _outputs(layer, output) -> tuple[list[str], list[Path]]:
    """Names of the layers and the file of each."""
    output = Path(output)
    if isinstance(layer, str):
        return [layer], [output]
    if not isinstance(layer, Iterable):
        raise TypeError(f"layer must be a name or a list of names, got {layer!r}")
    names = list(layer)
    if not names or len(set(map(str, names))) < len(names):
        raise ValueError(f"layer must be a name or a list of distinct names, got {names}")
    if output.suffix == ".npy" or output.is_file():
        raise ValueError(
            f"output must be a folder for a list of layers, one file each, got {str(output)!r}"
        )
    return names, [output / f"{name}.npy" for name in names]


def _make_folder(output: Path) -> None:
    """Make the folder unless it is there; the one that it lies in must be."""
    try:
        output.mkdir(exist_ok=True)
    except OSError as error:
        raise OSError(
            error.errno, f"the output folder {str(output)!r} cannot be made "
            f"({error.strerror or error}); create the folder that it lies in, or choose another"
        ) from error  # fmt: skip


def _identity(model) -> dict[str, str]:
    """What tells a model from another one, cheap to find."""
    return {
        "model": f"{type(model).__module__}.{type(model).__qualname__}",
        "weights": fingerprint(model),
        "device": home_of(model)[0].type,
    }


def _write_all(batches, layers, writers, storage, run, home, progress) -> int:
    """Append the tokens of all batches that are not there yet; return the number of batches."""
    number, n_images = -1, 0
    for number, batch in enumerate(batches):
        batch, size = read_batch(batch, number)
        mark = digest(batch)
        wanted = {name: writers[name] for name in layers if not writers[name].holds(number, mark)}
        if wanted:
            take = partial(storage.take, images=range(n_images, n_images + size))
            try:
                found = run({name: layers[name] for name in wanted}, to_model(batch, *home), take)
            except Exception as error:
                error.add_note(f"This was batch {number}, images from {n_images} on.")
                raise
            for name, writer in wanted.items():
                writer.append(storage.rows(found[name]), size, mark)
        n_images += size
        progress.step(n_images, size if wanted else 0)
    if number < 0:
        raise ValueError(
            "batches is empty; an iterator can be used only once, pass a list or a loader"
        )
    return number + 1
