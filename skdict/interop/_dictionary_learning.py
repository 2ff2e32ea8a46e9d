"""Models of the package dictionary_learning in and out."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np

from skdict._icfl import ICFLDictionary
from skdict._validation import check_integer, import_optional
from skdict._whole_files import write_whole
from skdict.interop._fitted import topk_from_arrays
from skdict.interop._folding import chain_of, folded
from skdict.interop._model_files import (
    check_arrays,
    check_count,
    read_settings,
    setting,
    start_folder,
    to_dtype,
    write_settings,
)

WEIGHTS, SETTINGS = "ae.pt", "config.json"
CLASS = "AutoEncoderTopK"


def to_dictionary_learning(model, folder, *, lm_name="unknown", layer=0, ctx_len=1):
    """Write a TopK autoencoder as ``ae.pt`` and ``config.json`` of dictionary_learning.

    Needs torch (extra ``torch``). ``dictionary_learning.utils.load_dictionary(folder, device)``
    and ``AutoEncoderTopK.from_pretrained`` load it, with the same codes and reconstructions.

    Parameters
    ----------
    model : TopKSAE or Pipeline
        The fitted autoencoder, alone or after whiteners, which are folded into the weights.
    folder : str or Path
        Where to; made if need be, a model in it is replaced.
    lm_name : str, default="unknown"
        Name of the model that the embeddings come from; tools for language models ask for it.
    layer : int, default=0
        Its layer.
    ctx_len : int, default=1
        Length of a context: 1 where rows stand alone.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ImportError
        If torch is not installed.
    TypeError
        If the dictionary is an ICFLDictionary, which the package has no class for, or there is a
        step that it has no words for.
    ValueError
        If there is a Normalizer, which the package has not, or weights overflow float32.
    sklearn.exceptions.NotFittedError
        If the model is not fitted.

    See Also
    --------
    from_dictionary_learning : The way back.
    to_saelens : A format that also holds unit norm and ICFL, and needs no torch.

    Examples
    --------
    >>> from skdict.interop import to_dictionary_learning
    >>> to_dictionary_learning(autoencoder, "topk")  # doctest: +SKIP
    """
    torch = import_optional("torch", extra="torch")
    check_integer("layer", layer, 0)
    check_integer("ctx_len", ctx_len, 1)
    steps, dictionary = chain_of(model)
    if isinstance(dictionary, ICFLDictionary):
        raise TypeError(
            "dictionary_learning has no pursuit: write an ICFLDictionary with to_saelens"
        )
    weights, _ = folded(steps, dictionary, "dictionary_learning", normalises=False)
    arrays = {
        "encoder.weight": weights.encoder,
        "encoder.bias": weights.encoder_bias,
        "decoder.weight": weights.atoms.T,
        "b_dec": weights.intercept,
    }
    n_atoms, n_features = weights.atoms.shape
    width = int(dictionary._code_width())
    state = {
        name: torch.from_numpy(np.array(array, order="C"))
        for name, array in to_dtype(arrays, "float32").items()
    }
    state["k"] = torch.tensor(width, dtype=torch.int32)
    state["threshold"] = torch.tensor(-1.0)  # none
    trainer = {
        "trainer_class": "TopKTrainer",
        "dict_class": CLASS,
        "activation_dim": n_features,
        "dict_size": n_atoms,
        "k": width,
        "layer": int(layer),
        "lm_name": str(lm_name),
    }
    content = BytesIO()
    torch.save(state, content)
    folder = start_folder(folder, SETTINGS, "trainer")
    write_whole(folder / WEIGHTS, content.getvalue())
    settings = {"trainer": trainer, "buffer": {"d_submodule": n_features, "ctx_len": int(ctx_len)}}
    write_settings(folder / SETTINGS, settings)
    return folder


def from_dictionary_learning(path, *, n_nonzero_coefs=None):
    """Read a TopK autoencoder of dictionary_learning. Needs torch (extra ``torch``).

    Weights are read by torch's loader that executes nothing (``weights_only=True``).

    Parameters
    ----------
    path : str or Path
        A folder with ``ae.pt`` and ``config.json``, or a file such as ``ae.pt``; a
        ``config.json`` beside it is read where there is one.
    n_nonzero_coefs : int or None, default=None
        Entries kept in a code. None means k of the files; older ones have it in
        ``config.json`` only.

    Returns
    -------
    TopKSAE
        The fitted autoencoder. ``components_`` have the length that they have in the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If torch is not installed.
    ValueError
        If a file is damaged, weights are missing or have wrong shapes, NaN or infinity, k is
        unknown, or ``config.json`` names another class than ``AutoEncoderTopK``.

    See Also
    --------
    to_dictionary_learning : The way there.

    Notes
    -----
    Without ``config.json`` nothing tells a ``BatchTopKSAE`` from a TopK autoencoder: its file
    has the same arrays, its codes keep what lies above a threshold instead.

    Examples
    --------
    >>> from skdict.interop import from_dictionary_learning
    >>> autoencoder = from_dictionary_learning("topk/ae.pt")  # doctest: +SKIP
    """
    path = Path(path)
    if path.is_dir():
        path = path / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path.name} in {path.parent}")
    trainer, config = {}, path.with_name(SETTINGS)
    if config.is_file():
        trainer = setting(read_settings(config), "trainer", dict, config)
        if setting(trainer, "dict_class", str, config) != CLASS:
            raise ValueError(
                f"dict_class in {config} must be {CLASS!r} to be read, got "
                f"{trainer['dict_class']!r}: its codes are not those of a TopK autoencoder"
            )
    arrays = _read_tensors(path)
    arrays.pop("threshold", None)  # for codes of single rows above a threshold, an option there
    stored = arrays.pop("k", None)
    k = _n_nonzero_coefs(n_nonzero_coefs, stored, trainer, path, config)
    encoder = arrays.get("encoder.weight", np.empty(()))
    if encoder.ndim != 2:
        raise ValueError(f"encoder.weight in {path} must have two dimensions, got {encoder.shape}")
    n_atoms, n_features = encoder.shape
    shapes = {
        "encoder.weight": (n_atoms, n_features),
        "encoder.bias": (n_atoms,),
        "decoder.weight": (n_features, n_atoms),
        "b_dec": (n_features,),
    }
    check_arrays(arrays, shapes, path)
    check_count("k", k, n_atoms, path)
    return topk_from_arrays(
        arrays["decoder.weight"].T,
        encoder,
        arrays["encoder.bias"],
        arrays["b_dec"],
        n_nonzero_coefs=k,
    )


def _n_nonzero_coefs(given, stored, trainer, path, config):
    """What was asked for, otherwise k of the weights, otherwise of the settings."""
    if given is not None:
        check_integer("n_nonzero_coefs", given, 1)
        return int(given)
    if stored is not None:
        if stored.ndim or stored != np.round(stored) or not 1 <= stored < 2**31:
            raise ValueError(f"k in {path} must be an integer >= 1, got {stored}")
        return int(stored)
    if "k" in trainer:
        return setting(trainer, "k", int, config)
    raise ValueError(f"neither {path} nor {config} has k: say it with n_nonzero_coefs=")


def _read_tensors(path):
    """Arrays of a file of torch, floating-point ones as float32 or float64."""
    torch = import_optional("torch", extra="torch")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    # Whatever a damaged or foreign file makes the unpickler stumble over.
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as weights alone ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}): it is damaged, or holds "
            "objects besides tensors, which are not executed here"
        ) from error
    if not isinstance(tensors, dict):
        raise ValueError(f"{path} must hold a dict of tensors, got {type(tensors).__name__}")
    n_bytes = path.stat().st_size
    arrays = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{path} must hold tensors by name, got {type(tensor).__name__}")
        # A view may claim to be larger than all that is stored.
        if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > n_bytes:
            raise ValueError(f"{name} in {path} must be a plain array as large as the file says")
        if tensor.is_complex() or tensor.is_quantized:
            raise ValueError(f"{name} in {path} must be real, got {tensor.dtype}")
        keep = tensor.dtype == torch.float64 or not tensor.is_floating_point()
        arrays[name] = (tensor if keep else tensor.float()).detach().numpy()
    return arrays
