"""Memory of a torch device: how many rows are worked on at a time, and what if it is full."""

from __future__ import annotations

from contextlib import contextmanager

import torch

# Bytes that one chunk of rows may take on the host, and on a GPU without asking how much is free.
HOST_BYTES = 2**28
UNASKED_BYTES = 2**31

REMEDIES = (
    "Use a smaller batch_size, fewer atoms, precompute=False (no Gram matrix of the atoms), or "
    "another device"
)

# Share of the free memory of a GPU that one chunk may take: a size is an estimate, and others
# may allocate beside us.
SHARE_OF_FREE = 0.5


def chunk_bytes(device, wanted):
    """Bytes that one chunk of rows may take on a device, where `wanted` would be all rows."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return HOST_BYTES
    if wanted <= UNASKED_BYTES:
        return wanted
    if torch.cuda.is_current_stream_capturing():
        return UNASKED_BYTES  # nothing may be asked while a graph is recorded
    free, _ = torch.cuda.mem_get_info(device)
    # What torch holds without using it is free too.
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(UNASKED_BYTES, int(SHARE_OF_FREE * (free + unused)))


def is_out_of_memory(error):
    """Whether an error of torch says that memory ran out, on a GPU or on the host."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError)
        and ("out of memory" in str(error) or "can't allocate memory" in str(error))
    )


def chunked(function, inputs, outputs, *, row_bytes):
    """Run a function on chunks of rows; where memory runs out, on half as many at a time.

    Parameters
    ----------
    function : callable
        Gets the rows of each input, returns the rows of each output.
    inputs, outputs : sequence of tensor
        All of the same length; the outputs are filled.
    row_bytes : int
        Bytes that the function takes for a row.

    Raises
    ------
    MemoryError
        If the memory is not enough for a single row.
    """
    n_rows, device = inputs[0].shape[0], inputs[0].device
    start = 0
    n_chunk = max(1, min(n_rows, chunk_bytes(device, n_rows * row_bytes) // row_bytes))
    while start < n_rows:
        rows = slice(start, start + n_chunk)
        try:
            results = function(*(tensor[rows] for tensor in inputs))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            results = None
            if n_chunk == 1:
                raise MemoryError(_advice(device, row_bytes)) from error
        # Only here, after the handler, are the tensors of the failed attempt gone.
        if results is None:
            n_chunk = (n_chunk + 1) // 2
            if device.type == "cuda":
                torch.cuda.empty_cache()
            continue
        for output, result in zip(outputs, results, strict=True):
            output[rows] = result
        start += n_chunk


def _advice(device, row_bytes):
    free = ""
    if device.type == "cuda" and torch.cuda.is_available():
        free = f" ({torch.cuda.mem_get_info(device)[0] / 2**20:.4g} MiB are free)"
    return (
        f"out of memory on device {str(device)!r}{free}: a single row takes about "
        f"{row_bytes / 2**20:.3g} MiB beside the dictionary and what is held for it. {REMEDIES}"
    )


@contextmanager
def with_advice():
    """Turn torch's error of memory that ran out into one that says what to do."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryError(f"out of memory ({error}). {REMEDIES}") from error
