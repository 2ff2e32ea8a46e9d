"""The way to the class that needs SAELens."""

from __future__ import annotations

from importlib import import_module


def register_saelens():
    """Let SAELens load the architecture ``"icfl"`` that `to_saelens` writes.

    Registers a class with ``sae_lens.register_sae_class`` that codes as
    :class:`~skdict.ICFLDictionary` does, in torch, wherever the model lies (tested on
    the CPU). Called once in a process, before ``SAE.load_from_disk``; a second call does nothing.

    Raises
    ------
    ImportError
        If SAELens or torch is not installed (extra ``saelens``).
    ValueError
        If another class has that name in SAELens.

    See Also
    --------
    to_saelens : Writes such models.

    Examples
    --------
    >>> from skdict.interop import register_saelens
    >>> register_saelens()  # doctest: +SKIP
    >>> from sae_lens import SAE  # doctest: +SKIP
    >>> sae = SAE.load_from_disk("concepts")  # doctest: +SKIP
    """
    import_module("skdict.interop._saelens_class").register()
