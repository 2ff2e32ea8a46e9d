"""Interrupted collections: nothing complete is lost, and the end is the same to the byte."""

import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from skdict.extraction import TokenLayout, _growing_array, collect_tokens, open_tokens
from skdict.extraction._token_writer import TokenWriter
from tests.extraction.models import images, plain_transformer, torch

LAYOUT = TokenLayout((4, 4))
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tokens.npy"


def batches(n_batches=4, n_images=2):
    return [images(n_images, seed=seed) for seed in range(n_batches)]


def collect(output, some=None, model=None, layer="blocks.1", **options):
    some = batches() if some is None else some
    options = {"layout": LAYOUT, "checkpoint_every": 0} | options
    return collect_tokens(model or plain_transformer(), layer, some, output=output, **options)


def content(path):
    """Bytes of the tokens, and what the record says."""
    record = json.loads(path.with_name(path.name + ".json").read_text())
    files = [file.read_bytes() for file in sorted(path.parent.glob(f"{path.stem}*.npy"))]
    return files, record


class Killed(BaseException):
    """The process ends here: nothing that would run afterwards does."""


def kill_after(monkeypatch, n_calls):
    """Raise Killed at one of the calls that change the disk; a write is cut short by it."""
    calls = iter(range(n_calls))

    def counted(do, cut_short=None):
        def wrapped(*arguments):
            if next(calls, None) is None:
                if cut_short is not None:
                    cut_short(*arguments)
                raise Killed
            return do(*arguments)

        return wrapped

    write = _growing_array._write
    half = lambda file, data: write(file, memoryview(data)[: len(data) // 2])  # noqa: E731
    monkeypatch.setattr(_growing_array, "_write", counted(write, half))
    monkeypatch.setattr("os.fsync", counted(lambda descriptor: None))
    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(TokenWriter, "keep", TokenWriter.close)


def test_killed_at_every_step(path, tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    some = batches(3)
    whole = tmp_path / "whole"
    whole.mkdir()
    collect(whole / path.name, some, keep_prefix=True)
    wanted = content(whole / path.name)
    n_calls, opened = 0, []
    while True:
        path.with_name("tokens.npy.json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            kill_after(patch, n_calls)
            try:
                collect(path, some, keep_prefix=True)
                break
            except Killed:
                pass
        try:
            opened.append(open_tokens(path).n_images)
        except (FileNotFoundError, ValueError):
            opened.append(0)
        collect(path, some, keep_prefix=True)
        assert content(path) == wanted
        n_calls += 1
    assert n_calls > 30 and opened == sorted(opened) and set(opened) == {0, 2, 4, 6}


def test_killed_process(path, tmp_path):
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from tests.extraction.test_resume import batches, collect, torch
torch.set_num_threads(1)
def slow():
    for batch in batches():
        yield batch
        time.sleep(0.5)
collect({str(path)!r}, slow())
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not path.exists() or path.stat().st_size < 3000:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not open_tokens(path).complete
    collect(path)
    other = tmp_path / "whole"
    other.mkdir()
    collect(other / path.name)
    assert content(path) == content(other / path.name)


def test_an_error_of_a_batch_keeps_the_ones_before_it(path):
    def fail():
        yield from batches()[:3]
        raise RuntimeError("the share is gone")

    with pytest.raises(RuntimeError, match="the share is gone"):
        collect(path, fail(), checkpoint_every=1000)
    tokens = open_tokens(path)
    assert tokens.n_images == 6 and not tokens.complete
    assert repr(tokens).startswith("TokenArray of layer 'blocks.1', 6 images (interrupted)")
    np.testing.assert_array_equal(np.load(path), tokens.data)
    model = plain_transformer()
    tokens = collect(path, model=model)
    assert model.n_forward == 1 and tokens.n_images == 8 and tokens.complete


def test_a_complete_file_is_not_computed_again_and_more_batches_are_added(path, tmp_path):
    collect(path)
    stat = path.stat()
    model = plain_transformer()
    found = collect(path, model=model)
    assert model.n_forward == 0 and found.complete
    assert path.stat().st_mtime_ns == stat.st_mtime_ns
    collect(path, batches(6), model=model)
    assert model.n_forward == 2
    other = tmp_path / "whole"
    other.mkdir()
    collect(other / path.name, batches(6))
    assert content(path) == content(other / path.name)


@pytest.fixture
def small_files():
    """Limit the size of files, so that writing fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(n_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk(path, tmp_path, small_files):
    some, model = batches(), plain_transformer()
    small_files(128 + 5 * 16 * 16 * 4)  # header, and 5 of 8 images
    with pytest.raises(OSError, match="of which 4 images are complete: free some space") as error:
        collect(path, some, model=model, checkpoint_every=1000)
    assert error.value.errno == errno.EFBIG and str(path) in str(error.value)
    small_files(resource.RLIM_INFINITY)
    tokens = open_tokens(path)
    assert tokens.n_images == 4 and path.stat().st_size == 128 + tokens.data.nbytes
    model.n_forward = 0
    collect(path, some, model=model)
    assert model.n_forward == 2
    other = tmp_path / "whole"
    other.mkdir()
    collect(other / path.name, some)
    assert content(path) == content(other / path.name)


def test_full_disk_while_the_record_is_written(path, monkeypatch):
    some = batches()
    collect(path, some[:2])

    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="No space left on device; could not write") as error:
            collect(path, some)
    assert error.value.errno == errno.ENOSPC
    assert {file.name for file in path.parent.iterdir()} == {"tokens.npy", "tokens.npy.json"}
    assert open_tokens(path).n_images == 4
    assert collect(path, some).n_images == 8


def test_other_images_are_refused(path):
    some = batches()
    collect(path, some)
    before = content(path)
    some[2] = some[2].clone()
    some[2][1, 0, 5, 5] += 1e-6
    with pytest.raises(ValueError, match=r"batch 2 is not the one .*\(images 4 to 5\)"):
        collect(path, some)
    with pytest.raises(ValueError, match="batch 0 is not the one"):
        collect(path, torch.cat(batches()).split(4))
    with pytest.raises(ValueError, match=r"ended after 3, but .* of 4 \(8 images\)"):
        collect(path, batches(3))
    assert content(path) == before


class Renamed(type(plain_transformer())):
    """Another class with the same weights."""


def renamed():
    torch.manual_seed(0)
    return Renamed().eval()


def changed_bias():
    model = plain_transformer()
    with torch.no_grad():
        model.blocks[0].attn.proj.bias[3] += 1e-3
    return model


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"layer": "blocks.0"}, "layer 'blocks.1' there and 'blocks.0' here"),
        ({"layout": TokenLayout((2, 8))}, r"layout .*\[4, 4\].* there and .*\[2, 8\]"),
        ({"pool": "mean"}, "pool None there and 'mean' here"),
        ({"keep_prefix": True}, "keep_prefix False there and True here"),
        ({"dtype": "float16"}, "dtype 'float32' there and 'float16' here"),
        ({"autocast": "bfloat16"}, "autocast None there and 'bfloat16' here"),
        ({"model": renamed()}, "model 'tests.*PlainTransformer' there and '.*Renamed' here"),
        ({"model": changed_bias()}, "weights '.*' there and '.*' here"),
        ({"model": plain_transformer().double()}, "weights '.*' there and '.*' here"),
    ],
)
def test_other_settings_are_refused(path, options, match):
    collect(path)
    before = content(path)
    with pytest.raises(ValueError, match=match) as error:
        collect(path, **options)
    assert str(error.value).count(" there and ") == 1
    assert content(path) == before


def test_files_that_are_not_ours_are_left_alone(path):
    np.save(path, np.arange(3))
    with pytest.raises(FileExistsError, match="no record beside it says that collect_tokens"):
        collect(path)
    assert np.load(path).tolist() == [0, 1, 2]
    record = path.with_name("tokens.npy.json")
    for text in ("{}", "[1]", "no json", '{"format": 99}'):
        record.write_text(text)
        with pytest.raises(ValueError, match=r"is no record of tokens|has format 99"):
            collect(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder; name a file in it"):
        collect(path)


def test_deleting_the_file_starts_again(path):
    collect(path, batches(2))
    wanted = content(path)
    collect(path, batches(4))
    path.unlink()
    collect(path, batches(2))
    assert content(path) == wanted


@pytest.mark.parametrize("damage", ["cut", "overwritten", "no array", "gone"])
def test_damaged_files(path, damage):
    tokens = collect(path, batches(2), keep_prefix=True)
    del tokens
    prefix = path.with_name("tokens.prefix.npy")
    if damage == "cut":
        os.truncate(prefix, 200)
    elif damage == "overwritten":
        np.save(prefix, np.zeros(50))
    elif damage == "no array":
        prefix.write_bytes(b"none")
    else:
        prefix.unlink()
    with pytest.raises((ValueError, OSError), match=r"changed or damaged|No such file"):
        open_tokens(path)
    with pytest.raises(ValueError, match=r"prefix.npy' was changed or damaged: .*4 rows of shape"):
        collect(path, batches(4), keep_prefix=True)


def test_a_file_that_another_process_writes(path):
    collect(path, batches(2))
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        collect(path, batches(2))  # only read
        with pytest.raises(BlockingIOError, match="is being written by another process; wait"):
            collect(path, batches(3))
    assert collect(path, batches(3)).n_images == 6


def test_a_file_that_grew_meanwhile(path):
    collect(path, batches(1))

    def slowly():
        yield from batches(1)
        collect(path, batches(3))
        yield from batches(4)[1:]

    with pytest.raises(BlockingIOError, match="was written by another process meanwhile"):
        collect(path, slowly())
    assert collect(path, batches(3)).complete
    assert collect(path, batches(4)).n_images == 8


def test_layers_that_stopped_at_different_places(tmp_path):
    collect(tmp_path, batches(3), layer=["blocks.0"])
    collect(tmp_path, batches(1), layer=["blocks.1"])
    model = plain_transformer()
    found = collect(tmp_path, batches(4), model=model, layer=["blocks.0", "blocks.1"])
    assert model.n_forward == 3
    for name in found:
        alone = collect(tmp_path / f"{name}_alone.npy", batches(4), layer=name)
        assert found[name].path.read_bytes() == alone.path.read_bytes()


def test_checkpoints_wait_for_their_time(path, monkeypatch):
    calls = []
    monkeypatch.setattr("os.fsync", lambda descriptor: calls.append(descriptor))
    collect(path, batches(20), checkpoint_every=1000)
    few = len(calls)
    calls.clear()
    collect(path.with_name("often.npy"), batches(20), checkpoint_every=0)
    assert few < 10 < 40 < len(calls)


def test_opening(path):
    with pytest.raises(FileNotFoundError, match=r"tokens.npy' is not there: .*tokens.npy.json"):
        open_tokens(path)
    tokens = collect(path, keep_prefix=True)
    again = open_tokens(str(path))
    np.testing.assert_array_equal(again.data, tokens.data)
    np.testing.assert_array_equal(again.prefix, tokens.prefix)
    assert (again.layout, again.layer, again.pool) == (LAYOUT, "blocks.1", None)
    assert again.prefix.shape == (8, 1, 16) and again.complete
    assert repr(again) == (
        "TokenArray of layer 'blocks.1', 8 images\n"
        "  an image  4 x 4 patches\n"
        f"  data      128 x 16 float32, 0.0 MB in {str(path)!r}\n"
        "  prefix    1 tokens before the patches"
    )
    with pytest.raises(ValueError, match="assignment destination is read-only"):
        again.data[0, 0] = 1
    with pytest.raises(ValueError, match="rows must be below 128, got 128"):
        again.locate([128])
