"""Fits on several GPUs or machines: processes of ``torchrun`` that share each batch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np

from skdict._ranks import OneProcess, SeveralProcesses, fitting_with
from skdict._validation import check_real, import_optional


@contextmanager
def data_parallel(*, backend=None, timeout=10.0) -> Iterator[OneProcess]:
    """Share the fits in this block with the other processes of ``torchrun``.

    Each process runs the same script on the same data and takes its part of each batch: of W
    processes, process r encodes rows r B / W to (r + 1) B / W - 1 of the B rows. The gradient, the
    mean residual, the loss and the uses of the atoms are added up over all processes in one message
    a step, and all take the same step. One process alone decides on resets, calls callbacks, prints
    and writes checkpoints. At the end every process holds the same dictionary.

    Outside of ``torchrun`` the block fits in this process alone, so that one script serves both.

    Parameters
    ----------
    backend : str or None, default=None
        What carries the messages. None takes ``"nccl"`` for arrays on CUDA devices and ``"gloo"``
        for those on the CPU.
    timeout : float, default=10.0
        Minutes that a process waits for a message before it gives the others up.

    Yields
    ------
    ranks : object
        ``rank``, ``n_ranks`` and ``is_first`` of this process, to save the result once, say.

    Raises
    ------
    ImportError
        If torch is not installed.
    RuntimeError
        If the processes do not find each other.
    ConnectionError
        From ``fit``, if another process ends or does not answer, and from every later fit in this
        block. With ``checkpoint=`` the fit goes on from the last checkpoint, on any number of
        processes.

    See Also
    --------
    skdict.Checkpoint : What a restarted fit goes on from.

    Notes
    -----
    `batch_size` is the number of rows over all processes and must be a multiple of their number.

    Rows in memory come in the order of a fit in one process. Larger ones, read in blocks, are cut
    into as many streams as there are processes: each reads its own blocks and no others. A fit that
    is resumed on fewer processes keeps the streams where they can be shared equally.

    A message has ``M d + M + d + 1`` numbers for M atoms of d features (:class:`~skdict.TopKSAE`:
    ``2 M d + 2 M + d + 1``, and one number before it while atoms are dead); each process sends and
    receives about twice that. At the start, at the end and every 100 steps, or every hundredth of
    the fit where that is longer, the first process hands out the parameters, in case machines round
    differently; after every hundredth it says whether a callback asks to stop.

    On CUDA, process r of a machine uses GPU r: leave ``device="cuda"``. Steps are not recorded as a
    graph there, as they are in one process.

    ``partial_fit`` and ``solver="online"`` are refused. Whitening, ``transform`` and ``score`` are
    done by every process on all rows that it is given. Searches are shared fit by fit with
    ``n_jobs=1``, where all processes have to draw the same folds: seed the splitter. Threads and
    workers that are started inside the block fit alone.

    Each process reads ahead into 512 MB of buffers; resumed on fewer processes, each has those of
    all the streams that it reads.

    Examples
    --------
    A script ``fit.py``, run as ``torchrun --nproc-per-node 2 fit.py``:

    >>> import numpy as np
    >>> from skdict import ICFLDictionary
    >>> from skdict.parallel import data_parallel
    >>> X = np.random.default_rng(0).normal(size=(1000, 16)).astype(np.float32)
    >>> with data_parallel() as ranks:
    ...     dictionary = ICFLDictionary(64, n_nonzero_coefs=4, max_steps=50).fit(X)
    >>> ranks.n_ranks, dictionary.components_.shape
    (1, (64, 16))
    """
    check_real("timeout", timeout, 0.01, 1e6)
    if os.environ.get("WORLD_SIZE", "1") in ("", "1") and not _is_initialized():
        yield OneProcess()
        return
    distributed = import_optional("torch.distributed", extra="torch")
    if not distributed.is_available():
        raise RuntimeError("this build of torch has no torch.distributed; install another one")
    start = not distributed.is_initialized()
    if start:
        _start(backend, timeout)
    try:
        with fitting_with(ranks := TorchRanks(owns_group=start)):
            yield ranks
    finally:
        if start and distributed.is_initialized():
            distributed.destroy_process_group()


def _is_initialized():
    """Whether somebody has joined a group of processes, without importing torch."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def _start(backend, timeout):
    """Join the processes that torchrun started."""
    import torch
    import torch.distributed as distributed

    if backend is None:
        backend = "gloo"
        if torch.cuda.is_available() and distributed.is_nccl_available():
            backend = "cpu:gloo,cuda:nccl"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        distributed.init_process_group(
            backend, timeout=timedelta(minutes=timeout), **_store_of_this_attempt()
        )
    except (AssertionError, KeyError, RuntimeError, ValueError) as error:
        raise RuntimeError(
            f"the processes did not find each other with backend={backend!r} ({error}): start "
            "them with torchrun, --nproc-per-node for the number on each machine"
        ) from error


def _store_of_this_attempt():
    """Where the processes find each other's addresses, apart from those before a restart.

    Torchrun keeps one store over restarts; a process that is started first would read the address
    of one that has been killed.
    """
    from torch.distributed import PrefixStore, TCPStore

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    n_ranks, rank = (int(os.environ[name]) for name in ("WORLD_SIZE", "RANK"))
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = PrefixStore(f"skdict attempt {attempt}", TCPStore(*address, n_ranks, False))
    return {"store": store, "world_size": n_ranks, "rank": rank}


class TorchRanks(SeveralProcesses):
    """Processes of an initialised group of ``torch.distributed``.

    Parameters
    ----------
    owns_group : bool
        Whether the group may be ended when this process has to leave it.
    """

    def __init__(self, owns_group):
        import torch.distributed as distributed

        self.rank, self.n_ranks = distributed.get_rank(), distributed.get_world_size()
        self._owns_group = owns_group

    def add_up(self, array):
        """Replace an array by its sum over all processes."""
        import torch.distributed as distributed

        with self._message():
            distributed.all_reduce(_as_tensor(array))

    def hand_out(self, array):
        """Replace an array by the one of the first process."""
        import torch.distributed as distributed

        with self._message():
            distributed.broadcast(_as_tensor(array), src=0)

    def _object_of_first(self, given):
        import torch.distributed as distributed

        objects = [given]
        with self._message():
            distributed.broadcast_object_list(objects, src=0)
        return objects[0]

    def _objects_of_all(self, given):
        import torch.distributed as distributed

        objects = [None] * self.n_ranks
        with self._message():
            distributed.all_gather_object(objects, given)
        return objects

    def _leave(self):
        import torch.distributed as distributed

        if self._owns_group and distributed.is_initialized():
            distributed.destroy_process_group()

    @contextmanager
    def _message(self):
        """Say what a failed message means."""
        self._check_connected()
        try:
            yield
        except RuntimeError as error:
            raise ConnectionError(
                f"process {self.rank} of {self.n_ranks} lost another one: it failed, was killed or "
                "cannot be reached; look at its messages first. With checkpoint= set, start again "
                'with resume="auto", on any number of processes'
            ) from error


def _as_tensor(array):
    """Tensor on the memory of a NumPy array or a tensor."""
    import torch

    return torch.from_numpy(array) if isinstance(array, np.ndarray) else array
