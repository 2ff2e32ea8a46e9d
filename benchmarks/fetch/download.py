"""Download one file over HTTPS: whole or not at all, with errors that say what to do."""

import errno
import hashlib
import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager, suppress

from benchmarks.fetch import FetchError

URL = "https://raw.githubusercontent.com/{repository}/{commit}/{path}"
# Large files of some repositories are stored apart: the first address then gives a pointer.
LFS_URL = "https://media.githubusercontent.com/media/{repository}/{commit}/{path}"
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
TIMEOUT = 60  # seconds without a byte
CHUNK = 1 << 16


def address(pattern, source):
    """URL of a source."""
    return pattern.format(
        repository=source.repository, commit=source.commit, path=urllib.parse.quote(source.path)
    )


@contextmanager
def writing(path):
    """Give a temporary name to write to; renamed to `path` at the end, removed after a failure.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "a.txt"
    ...     with writing(path) as temporary:
    ...         _ = temporary.write_text("whole")
    ...     path.read_text(), temporary.exists()
    ('whole', False)
    """
    # The suffix stays at the end: writers and readers choose the format by it.
    temporary = path.with_name(f"part-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FetchError(
                f"{path}: the disk is full. Make room, or choose another folder with --output; "
                "what was finished is kept."
            ) from error
        raise FetchError(f"{path} cannot be written: {error}.") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def received(url):
    """Chunks of what a URL answers.

    Raises
    ------
    FetchError
        If there is no answer, an HTTP error, or fewer bytes than announced.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "skdict-benchmarks"})
    n_bytes, announced = 0, None
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            announced = response.headers["Content-Length"]
            while chunk := response.read(CHUNK):
                n_bytes += len(chunk)
                yield chunk
    except urllib.error.HTTPError as error:
        hint = "Run the command again later."
        if error.code in (404, 410):
            hint = "The source is no longer there: its owner moved or removed it."
        raise FetchError(f"{url}: HTTP {error.code} {error.reason}. {hint}") from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise interrupted(url, n_bytes, announced, error) from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise FetchError(
            f"{url}: no answer ({reason}). Is there a network, and do the variables http_proxy and "
            "https_proxy fit it?"
        ) from error
    if announced is not None and n_bytes != int(announced):
        raise interrupted(url, n_bytes, announced, "the connection ended")


def interrupted(url, n_bytes, announced, reason):
    """Error of a download that ended early."""
    size = "an unknown number" if announced is None else announced
    return FetchError(
        f"{url}: interrupted after {n_bytes} of {size} bytes ({str(reason) or 'no reason given'}). "
        "Run the command again: it goes on with this file."
    )


def download(source, path, *, url=None, expected=None):
    """Download a source to a path.

    Parameters
    ----------
    source : Source
        Repository, commit and path.
    path : Path
        Where to write; nothing is left there by a download that fails.
    url : str, default=None
        Pattern of the address; that of raw files by default.
    expected : tuple of (str, int), default=None
        SHA-256 and number of bytes that a pointer announced.

    Raises
    ------
    FetchError
        If the file cannot be downloaded whole, or not written.
    """
    url = address(url or URL, source)
    chunks = received(url)
    with writing(path) as temporary:
        sha, n_bytes = hashlib.sha256(), 0
        with temporary.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
                sha.update(chunk)
                n_bytes += len(chunk)
        if expected is not None and (sha.hexdigest(), n_bytes) != expected:
            raise FetchError(
                f"{url}: {n_bytes} bytes with SHA-256 {sha.hexdigest()}, but the repository "
                f"announces {expected[1]} bytes with {expected[0]}. Run the command again."
            )
    pointer = read_pointer(path) if expected is None else None
    if pointer is not None:
        path.unlink()
        download(source, path, url=LFS_URL, expected=pointer)


def read_pointer(path):
    """SHA-256 and size from the pointer to a file that is stored apart; None if it is a file."""
    with path.open("rb") as file:
        head = file.read(1024)
    if not head.startswith(LFS_POINTER):
        return None
    fields = dict(line.split(" ", 1) for line in head.decode().splitlines() if " " in line)
    return fields["oid"].removeprefix("sha256:"), int(fields["size"])
