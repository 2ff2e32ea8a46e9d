"""Which bundle notes and studies are on."""

from __future__ import annotations

import hashlib


def bundle_fingerprint(bundle) -> str:
    """Fingerprint of the concepts of a bundle: their activations on all samples.

    Pictures, names and statistics do not enter, so that a bundle that is built again with more of
    them keeps its notes.

    Parameters
    ----------
    bundle : Bundle, str or None
        The bundle; a str is a fingerprint already, and None has the empty one.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    TypeError
        If it is none of them.

    Examples
    --------
    >>> from skdict.explorer import bundle_fingerprint
    >>> bundle_fingerprint(None)
    ''
    """
    if bundle is None or isinstance(bundle, str):
        return bundle or ""
    files = getattr(bundle, "manifest", {}).get("files")
    if files is None:
        raise TypeError(
            "bundle must be what skdict.explorer.open_bundle returns, a fingerprint or None, got "
            f"{type(bundle).__name__}"
        )
    names = sorted(name for name in files if name.startswith("codes_by_concept/"))
    parts = [f"{name} {files[name]['sha256']}" for name in names]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
