"""Rebuild the public data sets of the study: ``python -m benchmarks.fetch_data --output DIR``.

Downloads each set from the repository and commit that `benchmarks.fetch.sources` names, converts
it, checks the SHA-256 of the result (names, types and values) and writes ``DIR/SET/FILE``, so
that the variable SKDICT_DATA can point at DIR. Sets that are there and right are skipped; what was
downloaded before an interruption is used again. Downloads of a set go to ``DIR/downloads/SET`` and
are deleted once the set is right.

Not covered, with the reasons in ``--list``: jump_scope_wells and pediatric_cell_atlas_wells (the
versions that the study uses come with skdict), the two sets of images, the two of single-cell RNA.
"""

import argparse
import gzip
import shutil
import sys
from pathlib import Path

import numpy as np

from benchmarks.fetch import UNREADABLE, FetchError
from benchmarks.fetch.digest import file_digest
from benchmarks.fetch.download import download, writing
from benchmarks.fetch.sources import BY_NAME, NOT_COVERED, SETS


def parse_arguments(arguments=None):
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fetch_data", description=__doc__.splitlines()[0]
    )
    parser.add_argument("sets", nargs="*", metavar="SET", help="all that are covered by default")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--output", type=Path, metavar="DIR", help="where to write the sets")
    what.add_argument("--list", action="store_true", help="say what is covered, and what is not")
    what.add_argument(
        "--digest", type=Path, metavar="FOLDER", help="print digests of the sets in a folder"
    )
    options = parser.parse_args(arguments)
    for name in options.sets:
        if name in NOT_COVERED:
            parser.error(f"{name} cannot be rebuilt: {NOT_COVERED[name]}")
        if name not in BY_NAME:
            parser.error(f"unknown set {name!r}; covered are {', '.join(BY_NAME)}")
    return options


def digest_or_none(path):
    """Digest of a file; None where it is missing or cannot be read."""
    try:
        return file_digest(path) if path.is_file() else None
    except UNREADABLE:
        return None


def write_content(content, path):
    """Write a data frame, a dictionary of arrays, or bytes in the format of the suffix."""
    if path.suffix == ".parquet":
        content.to_parquet(path, index=False)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **content)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(content, mtime=0))
    else:
        path.write_bytes(content)


def download_all(data_set, folder):
    """Paths of the sources by name; those that were downloaded before are not again."""
    paths = {source.name: folder / source.name for source in data_set.sources}
    for source in data_set.sources:
        if not paths[source.name].exists():
            print(f"  {source.repository}: {source.path}", flush=True)
            download(source, paths[source.name])
    return paths


def converted(data_set, paths):
    """Contents of the files of a set by name."""
    try:
        return data_set.converter(paths)
    except UNREADABLE as error:
        raise FetchError(
            f"{data_set.name} cannot be converted ({type(error).__name__}: {error}). The downloads "
            f"are in {next(iter(paths.values())).parent}; delete them to download again."
        ) from error


def write_checked(data_set, contents, output, downloads):
    """Write every file of a set and check it, before any of them gets its name.

    Raises
    ------
    FetchError
        If the digest of a file is not that of the set; nothing is replaced then.
    """
    folder = output / data_set.name
    staged = downloads / "converted"
    try:
        for name, expected in data_set.digests.items():
            with writing(staged / name) as temporary:
                write_content(contents[name], temporary)
            found = file_digest(staged / name)
            if found != expected:
                raise FetchError(
                    f"{data_set.name}/{name} is not what the study used: SHA-256 of its content "
                    f"is {found}, expected {expected}. Nothing was written; the downloads are in "
                    f"{downloads}. Delete them to download again. If they are whole, the source "
                    "or a library that reads it has changed."
                )
        for name in data_set.digests:
            with writing(folder / name) as temporary:
                (staged / name).replace(temporary)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def fetch(data_set, output):
    """Download, convert, check and write one set.

    Parameters
    ----------
    data_set : DataSet
        What to fetch.
    output : Path
        Folder of the sets.

    Returns
    -------
    bool
        Whether it was fetched; False where it was there and right.

    Raises
    ------
    FetchError
        If the set cannot be had as it was.
    """
    folder, downloads = output / data_set.name, output / "downloads" / data_set.name
    found = {name: digest_or_none(folder / name) for name in data_set.digests}
    if found == data_set.digests:
        return False
    for name, expected in data_set.digests.items():
        if (folder / name).exists() and found[name] != expected:
            print(f"  {folder / name} is not what it should be: it will be replaced.")
    paths = download_all(data_set, downloads)
    write_checked(data_set, converted(data_set, paths), output, downloads)
    shutil.rmtree(downloads)
    if not any(downloads.parent.iterdir()):
        downloads.parent.rmdir()
    return True


def fetch_all(data_sets, output):
    """Fetch sets one by one, going on after a failure; number of failures."""
    failures = 0
    for data_set in data_sets:
        print(f"{data_set.name} ({data_set.licence})", flush=True)
        try:
            fetched = fetch(data_set, output)
        except (FetchError, ImportError) as error:
            failures += 1
            print(f"  FAILED: {error}", file=sys.stderr, flush=True)
        else:
            print("  written and checked" if fetched else "  is there and right", flush=True)
    if failures < len(data_sets):
        print(f"\nexport SKDICT_DATA={output.resolve()}")
    return failures


def print_list():
    """Say what is covered, from where, and what is not."""
    for data_set in SETS:
        origins = dict.fromkeys((s.repository, s.commit[:10]) for s in data_set.sources)
        print(f"{data_set.name}: {data_set.title} ({data_set.licence})")
        print("".join(f"    {repository} @ {commit}\n" for repository, commit in origins), end="")
    print("\nNot covered:")
    for name, reason in NOT_COVERED.items():
        print(f"{name}: {reason}")


def print_digests(data_sets, folder):
    """Print the digests of the sets in a folder; number of files that are not as expected."""
    wrong = 0
    for data_set in data_sets:
        for name, expected in data_set.digests.items():
            found = digest_or_none(folder / data_set.name / name)
            wrong += found != expected
            verdict = "as expected" if found == expected else f"expected {expected}"
            print(f"{data_set.name}/{name}: {found or 'missing or unreadable'} ({verdict})")
    return wrong


def main(arguments=None):
    """Run the command; exit status."""
    options = parse_arguments(arguments)
    data_sets = [BY_NAME[name] for name in options.sets] or list(SETS)
    if options.list:
        print_list()
        return 0
    if options.digest is not None:
        return int(print_digests(data_sets, options.digest) > 0)
    return int(fetch_all(data_sets, options.output) > 0)


if __name__ == "__main__":
    sys.exit(main())
