"""Models of the package sparsify (EleutherAI) in."""

from __future__ import annotations

from pathlib import Path

from skdict.interop._fitted import topk_from_arrays
from skdict.interop._model_files import (
    check_arrays,
    check_count,
    read_arrays,
    read_settings,
    setting,
)

SETTINGS, WEIGHTS = "cfg.json", "sae.safetensors"


def from_sparsify(folder):
    """Read a TopK autoencoder of sparsify: ``cfg.json`` and ``sae.safetensors``.

    Nothing in the files is executed, and neither sparsify nor torch is needed.

    Parameters
    ----------
    folder : str or Path
        What ``SparseCoder.save_to_disk`` wrote.

    Returns
    -------
    TopKSAE
        The fitted autoencoder, with the same codes and reconstructions as
        ``SparseCoder.encode`` and ``decode``.

    Raises
    ------
    FileNotFoundError
        If one of the files is missing.
    ValueError
        If a file is damaged, weights are missing or have wrong shapes, NaN or infinity, or the
        model is no TopK autoencoder: a transcoder, one with a skip connection, or "groupmax".

    See Also
    --------
    from_saelens : Models of SAELens.

    Examples
    --------
    >>> from skdict.interop import from_sparsify
    >>> autoencoder = from_sparsify("sae/layers.16")  # doctest: +SKIP
    """
    folder = Path(folder)
    path = folder / SETTINGS
    settings = read_settings(path)
    activation = setting(settings, "activation", str, path, default="topk")
    if activation != "topk":
        raise ValueError(f"activation in {path} must be 'topk' to be read, got {activation!r}")
    for name in ("transcode", "skip_connection", "signed"):
        if setting(settings, name, bool, path, default=False):
            raise ValueError(
                f"{name} in {path} must be false to be read: such a model is no autoencoder "
                "with codes of a TopK"
            )
    n_features = setting(settings, "d_in", int, path)
    n_atoms = settings.get("num_latents")
    if n_atoms in (None, 0):
        n_atoms = n_features * setting(settings, "expansion_factor", int, path)
    else:
        n_atoms = setting(settings, "num_latents", int, path)
    k = setting(settings, "k", int, path)
    check_count("k", k, n_atoms, path)
    arrays = read_arrays(folder / WEIGHTS)
    shapes = {
        "encoder.weight": (n_atoms, n_features),
        "encoder.bias": (n_atoms,),
        "W_dec": (n_atoms, n_features),
        "b_dec": (n_features,),
    }
    check_arrays(arrays, shapes, folder / WEIGHTS)
    return topk_from_arrays(
        arrays["W_dec"],
        arrays["encoder.weight"],
        arrays["encoder.bias"],
        arrays["b_dec"],
        n_nonzero_coefs=k,
    )
