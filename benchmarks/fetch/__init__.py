"""Rebuild public data sets from their sources: what, from where, how converted, how checked."""

import zipfile
import zlib

# What readers of csv, parquet, npz and gzip raise for content that is not theirs.
UNREADABLE = (ValueError, KeyError, OSError, EOFError, zlib.error, zipfile.BadZipFile)


class FetchError(Exception):
    """A data set could not be downloaded, converted or verified; the message says what to do."""
