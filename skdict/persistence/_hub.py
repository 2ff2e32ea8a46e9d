"""Upload of a saved model to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from skdict._validation import import_optional
from skdict.persistence._folder import ARRAYS, CARD, MODEL
from skdict.persistence._load import load


def push_to_hub(folder, repo_id, *, private=True, token=None, revision=None):
    """Upload a saved model to the Hugging Face hub: its three files and nothing else.

    The model is loaded before, so that a damaged one is not published.

    Parameters
    ----------
    folder : str or Path
        What :func:`skdict.save` wrote. The card, ``README.md``, may have been edited.
    repo_id : str
        Where it goes, such as ``"lab/concepts-of-cells"``; made if it is not there.
    private : bool, default=True
        Whether a repository that is made is private. One that is there stays as it is.
    token : str or None, default=None
        Access token; None takes that of ``hf auth login``.
    revision : str or None, default=None
        Branch, made if it is not there; None takes the main one.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ModelFileError
        If the model is damaged.
    ImportError
        If huggingface_hub (extra ``hub``) is not installed.

    See Also
    --------
    skdict.load : Reads the folder that ``huggingface_hub.snapshot_download`` gives.

    Examples
    --------
    >>> from skdict.persistence import push_to_hub
    >>> push_to_hub("model", "lab/concepts-of-cells")  # doctest: +SKIP
    """
    folder = Path(folder)
    load(folder)
    if not (folder / CARD).is_file():
        raise FileNotFoundError(f"{folder / CARD} is missing: save the model again, or write it")
    hub = import_optional("huggingface_hub", extra="hub")
    api = hub.HfApi(token=token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    if revision is not None:
        api.create_branch(repo_id, branch=revision, exist_ok=True)
    operations = [
        hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(folder / name))
        for name in (MODEL, ARRAYS, CARD)
    ]
    commit = api.create_commit(
        repo_id, operations, commit_message="Upload a model of skdict", revision=revision
    )
    return str(commit.commit_url)
