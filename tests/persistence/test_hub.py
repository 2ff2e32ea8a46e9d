"""Upload: three files, after the model was loaded, to a repository that is private."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.model_mutations import ARRAYS, CARD, MODEL, small_models
from skdict.persistence import ModelFileError, push_to_hub, save


@pytest.fixture
def hub(monkeypatch):
    """A fake of huggingface_hub that writes down what is asked of it."""
    calls = []

    class HfApi:
        def __init__(self, token=None):
            calls.append(("token", token))

        def create_repo(self, repo_id, *, private, exist_ok):
            calls.append(("repo", repo_id, private, exist_ok))

        def create_branch(self, repo_id, *, branch, exist_ok):
            calls.append(("branch", repo_id, branch, exist_ok))

        def create_commit(self, repo_id, operations, *, commit_message, revision=None):
            files = {o.path_in_repo: Path(o.path_or_fileobj).read_bytes() for o in operations}
            calls.append(("commit", repo_id, files, revision))
            return SimpleNamespace(commit_url=f"https://hub.test/{repo_id}/commit/1")

    fake = SimpleNamespace(HfApi=HfApi, CommitOperationAdd=lambda **given: SimpleNamespace(**given))
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return calls


@pytest.fixture
def folder(tmp_path):
    folder = save(small_models()["pipeline"][0], tmp_path / "model", license="MIT")
    (folder / "notes.txt").write_text("not to be published")
    return folder


def test_exactly_three_files(hub, folder):
    url = push_to_hub(folder, "lab/model", token="secret")
    assert url == "https://hub.test/lab/model/commit/1"
    files = {name: (folder / name).read_bytes() for name in (MODEL, ARRAYS, CARD)}
    assert hub == [
        ("token", "secret"),
        ("repo", "lab/model", True, True),
        ("commit", "lab/model", files, None),
    ]


def test_a_branch(hub, folder):
    push_to_hub(folder, "lab/model", private=False, revision="v2")
    assert ("repo", "lab/model", False, True) in hub
    assert ("branch", "lab/model", "v2", True) in hub
    assert hub[-1][-1] == "v2"


def test_nothing_is_asked_for_what_cannot_be_loaded(hub, folder, tmp_path):
    (folder / CARD).unlink()
    with pytest.raises(FileNotFoundError, match="README"):
        push_to_hub(folder, "lab/model")
    (folder / ARRAYS).write_bytes(b"damaged")
    with pytest.raises(ModelFileError):
        push_to_hub(folder, "lab/model")
    with pytest.raises(FileNotFoundError):
        push_to_hub(tmp_path, "lab/model")
    assert hub == []


def test_without_the_package(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r'pip install "skdict\[hub\]"'):
        push_to_hub(folder, "lab/model")


def test_the_real_package_takes_these_arguments():
    hub = pytest.importorskip("huggingface_hub")
    from inspect import signature

    for method, names in (
        (hub.HfApi.create_repo, {"private", "exist_ok"}),
        (hub.HfApi.create_branch, {"branch", "exist_ok"}),
        (hub.HfApi.create_commit, {"commit_message", "revision"}),
        (hub.CommitOperationAdd, {"path_in_repo", "path_or_fileobj"}),
    ):
        assert names <= set(signature(method).parameters)
