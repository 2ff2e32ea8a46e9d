"""Codes written in shards: nothing is lost when the writer is interrupted."""

import errno
import json
import resource
import signal
import subprocess
import sys
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skdict._code_store import load_codes
from skdict._code_writer import CodeWriter
from tests.stored_codes import assert_same, random_codes, write


@pytest.fixture
def path(tmp_path):
    return tmp_path / "codes"


@pytest.fixture
def codes(rng):
    return random_codes(rng, 100)


@contextmanager
def largest_file(n_bytes):
    """Writing more than this to a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_codes_appear_when_they_are_complete(path, codes):
    with CodeWriter(path, 11) as writer:
        writer.write(codes)
        assert not path.exists()
        with pytest.raises(ValueError, match="are unfinished: 0 rows"):
            load_codes(path)
    assert load_codes(path).shape == (100, 11)
    assert [entry.name for entry in path.parent.iterdir()] == ["codes"]


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_writer_is_continued(path, codes, kind):
    with pytest.raises(kind):
        with CodeWriter(path, 11, rows_per_shard=30) as writer:
            writer.write(codes[:40])
            raise kind
    with pytest.raises(ValueError, match="unfinished: 40 rows.*resume=True"):
        load_codes(path)
    assert_same(load_codes(path, allow_unfinished=True, verify=True).to_csr(), codes[:40])
    with pytest.raises(FileExistsError, match="40 rows of an interrupted writer.*resume=True"):
        CodeWriter(path, 11)
    with CodeWriter(path, 11, rows_per_shard=30, resume=True) as writer:
        assert writer.n_rows == 40
        writer.write(codes[writer.n_rows :])
    assert_same(load_codes(path, verify=True).to_csr(), codes)


def test_a_killed_writer_is_continued(path, codes):
    """What SIGKILL leaves: shards that were closed are safe, the one being written is not."""
    code = (
        "import os, sys, numpy as np\n"
        "from skdict._code_writer import CodeWriter\n"
        "block = np.eye(10, 11, dtype=np.float32)\n"
        "with CodeWriter(sys.argv[1], 11, rows_per_shard=30) as writer:\n"
        "    for _ in range(7): writer.write(block)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    with CodeWriter(path, 11, rows_per_shard=50, resume=True) as writer:
        assert writer.n_rows == 60
        writer.write(codes)
    expected = np.concatenate([np.tile(np.eye(10, 11, dtype=np.float32), (6, 1)), codes.toarray()])
    assert_array_equal(load_codes(path, verify=True).to_csr().toarray(), expected)


def test_resume_starts_where_nothing_is(path, codes):
    write(path, [codes], resume=True)
    assert_same(load_codes(path).to_csr(), codes)


def test_an_append_that_stops_halfway_is_cut_off(path, codes, monkeypatch):
    writer = CodeWriter(path, 11, rows_per_shard=1000)
    with writer:
        writer.write(codes[:20])
        indices = writer._shard.growing[1]
        monkeypatch.setattr(indices, "append", lambda values: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(MemoryError):
            writer.write(codes[20:50])
        monkeypatch.undo()
        assert writer.n_rows == 20
        writer.write(codes[20:])
    assert_same(load_codes(path, verify=True).to_csr(), codes)


def test_a_full_disk_keeps_what_is_finished(path, codes):
    before = write(path, [codes[:2]])
    assert before.n_rows == 2
    safe = r"codes.unfinished', where 60 rows are safe.*resume=True"
    with pytest.raises(OSError, match=safe) as e:
        with CodeWriter(path, 11, rows_per_shard=60, overwrite=True) as writer:
            writer.write(codes[:60])
            writer.rows_per_shard = 10**9
            with largest_file(60_000):
                for _ in range(200):
                    writer.write(codes)
    assert e.value.errno in (errno.EFBIG, errno.ENOSPC)
    assert_same(load_codes(path).to_csr(), codes[:2])  # the old codes stand
    unfinished = load_codes(path.with_name("codes.unfinished"), allow_unfinished=True, verify=True)
    assert_same(unfinished.to_csr(), codes[:60])
    with CodeWriter(path, 11, overwrite=True, resume=True) as writer:
        writer.write(codes[60:])
    assert_same(load_codes(path, verify=True).to_csr(), codes)


def test_codes_are_overwritten_on_request_only(path, codes):
    write(path, [codes])
    with pytest.raises(FileExistsError, match="holds codes.*overwrite=True"):
        CodeWriter(path, 11)
    with pytest.raises(RuntimeError):
        with CodeWriter(path, 11, overwrite=True) as writer:
            writer.write(codes[:5])
            raise RuntimeError
    assert_same(load_codes(path).to_csr(), codes)
    write(path, [codes[:7]], overwrite=True)  # drops the unfinished ones
    assert_same(load_codes(path, verify=True).to_csr(), codes[:7])
    assert [entry.name for entry in path.parent.iterdir()] == ["codes"]


@pytest.mark.parametrize("suffix", ["", ".unfinished"])
def test_other_folders_are_never_overwritten(path, suffix):
    other = path.with_name(path.name + suffix)
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds no codes"):
        CodeWriter(path, 11, overwrite=True)
    assert (other / "thesis.txt").read_text() == "mine"


def test_writer_refuses_what_it_cannot_store(path, codes):
    for settings, message in [
        ({"n_components": 0}, "n_components must be an integer >= 1"),
        ({"n_components": 2**31}, "n_components must be below"),
        ({"rows_per_shard": 0}, "rows_per_shard must be an integer >= 1"),
        ({"dtype": np.int32}, "dtype must be float32, float64 or None"),
    ]:
        with pytest.raises(ValueError, match=message):
            CodeWriter(path, **{"n_components": 11} | settings)
    with pytest.raises(FileNotFoundError, match="folder that does not exist"):
        CodeWriter(path / "deeper", 11)
    with pytest.raises(ValueError, match="within the with block"):
        CodeWriter(path, 11).write(codes)
    with CodeWriter(path, 12) as writer:
        with pytest.raises(ValueError, match="must have n_components=12 columns, got 11"):
            writer.write(codes)
        with pytest.raises(ValueError, match="codes must be float32 or float64, got int64"):
            writer.write(np.ones((2, 12), int))


def test_resume_refuses_codes_of_another_kind(path, codes):
    with pytest.raises(RuntimeError):
        with CodeWriter(path, 11) as writer:
            writer.write(codes)
            raise RuntimeError
    with pytest.raises(ValueError, match="n_components=11, dtype=float32, but 12, float32"):
        CodeWriter(path, 12, resume=True)
    with pytest.raises(ValueError, match="but 11, float64 are asked for"):
        CodeWriter(path, 11, dtype=np.float64, resume=True)


def test_entries_are_counted_beyond_32_bits(path, codes):
    """A writer whose shard holds 2**31 entries already, as far as it knows."""
    with CodeWriter(path, 11, dtype=np.float32) as writer:
        writer.write(codes)
        shard = writer._shard
        shard.nnz += 2**31
        writer.write(codes)
        assert shard.ends[-1].dtype == np.int64 and shard.ends[-1][-1] == 2**31 + 2 * codes.nnz
        assert writer.nnz == 2**31 + 2 * codes.nnz
        shard.nnz -= 2**31
        shard.ends[-1] -= 2**31
    assert load_codes(path, verify=True).nnz == 2 * codes.nnz


def test_checksums_are_those_of_the_contents(path, codes):
    write(path, [codes])
    shard = json.loads((path / "codes.json").read_text())["shards"][0]
    assert shard["crc32"]["data"] == zlib.crc32(codes.data.tobytes())
