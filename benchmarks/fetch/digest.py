"""SHA-256 of what a file holds rather than of its bytes.

The bytes of parquet, npz and gzip files depend on the library that wrote them; names, types and
values do not.
"""

import gzip
import hashlib

import numpy as np

from skdict._validation import import_optional


def array_digest(arrays):
    """Digest of named arrays: names, types, shapes and values, in their order.

    Parameters
    ----------
    arrays : iterable of (str, ndarray)
        Numbers of any byte order, booleans, or text (``None`` where it is missing).

    Returns
    -------
    str
        SHA-256 in hexadecimal.

    Examples
    --------
    >>> import numpy as np
    >>> one = array_digest([("x", np.array([1.0, np.nan]))])
    >>> one == array_digest([("x", np.array([1.0, -np.nan], ">f8"))])
    True
    >>> one == array_digest([("x", np.array([1.0, np.nan], np.float32))])
    False
    """
    sha = hashlib.sha256()
    for name, values in arrays:
        values = np.asarray(values)
        is_text = values.dtype.kind not in "biufc"
        kind = "text" if is_text else values.dtype.newbyteorder("<").str
        sha.update(f"{name}\n{kind}\n{values.shape}\n".encode())
        if is_text:
            for value in values.ravel():
                encoded = b"" if value is None else str(value).encode()
                length = -1 if value is None else len(encoded)
                sha.update(length.to_bytes(8, "little", signed=True) + encoded)
        else:
            values = values.astype(kind)
            if values.dtype.kind == "f":
                values = np.where(np.isnan(values), values.dtype.type(np.nan), values)
            sha.update(np.ascontiguousarray(values).tobytes())
    return sha.hexdigest()


def parquet_columns(path):
    """Columns of a parquet file as pairs of name and array; text as objects."""
    table = import_optional("pyarrow.parquet", extra="io").read_table(path)
    for name in table.column_names:
        column = table[name]
        if str(column.type) in ("string", "large_string", "string_view"):
            yield name, np.array(column.to_pylist(), dtype=object)
        else:
            yield name, column.to_numpy()


def file_digest(path):
    """Digest of the content of a file: arrays of parquet and npz, unpacked bytes of the others."""
    if path.suffix == ".parquet":
        return array_digest(parquet_columns(path))
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return array_digest((name, arrays[name]) for name in sorted(arrays))
    content = path.read_bytes()
    return hashlib.sha256(gzip.decompress(content) if path.suffix == ".gz" else content).hexdigest()
