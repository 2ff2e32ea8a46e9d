"""A GPU as the benchmarks see it: is it there, how fast is it, and clocks that wait for it."""

import re
import time
from contextlib import contextmanager

from skdict._validation import check_device

# The precision of the products: those of skdict have a default and an exact mode, those of the
# opponents are torch's. Next to each, the rate of the card that bounds it.
MODES = {"default": "TF32", "exact": "float32"}
OPPONENT_MODES = {"float32": "float32", "TF32": "TF32"}


def why_missing(device):
    """Why nothing can be measured on a device, None where it is there.

    Parameters
    ----------
    device : str
        ``"cuda"``, ``"cuda:<index>"`` or ``"torch:cpu"``, which stands in for a GPU in tests.
    """
    try:
        check_device(device)
    except (ImportError, ValueError) as error:
        return str(error)
    return None


def is_device(name):
    """Whether a name means a device of torch."""
    return re.fullmatch(r"cuda(:\d+)?|torch:cpu", name) is not None


def torch_device(device):
    """Torch's own name of a device."""
    return device.removeprefix("torch:")


def describe_card(device):
    """Name, memory and software of a GPU; None for the host, which is none."""
    import torch

    if device == "torch:cpu":
        return None
    facts = torch.cuda.get_device_properties(torch_device(device))
    try:
        from triton import __version__ as triton
    except ImportError:
        triton = None
    return {
        "name": facts.name,
        "memory_gb": round(facts.total_memory / 2**30),
        "multiprocessors": facts.multi_processor_count,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": triton,
    }


def synchronize(device):
    """Wait until a device has done everything it was given."""
    import torch

    if device != "torch:cpu":
        torch.cuda.synchronize(torch_device(device))


def time_runs(function, device, *, n_runs, n_calls=1, n_warm=1):
    """Seconds of a call, `n_runs` times; each is the mean of `n_calls` calls in a row.

    The device is waited for before the clock starts and before it stops. The first `n_warm` calls
    are not timed: kernels are compiled in them.
    """
    for _ in range(n_warm):
        function()
    runs = []
    for _ in range(n_runs):
        synchronize(device)
        start = time.perf_counter()
        for _ in range(n_calls):
            function()
        synchronize(device)
        runs.append((time.perf_counter() - start) / n_calls)
    return runs


@contextmanager
def mode_of_torch(mode):
    """Products of torch itself in "float32" or "TF32"."""
    from skdict.kernels import _torch_precision

    with _torch_precision._products("tf32" if mode == "TF32" else "ieee"):
        yield


def measure_rates(device, *, quick=False):
    """Copy bandwidth (bytes read and written) in GB/s, rates of a square product in GFLOP/s."""
    import torch

    n_runs, size = (3, 256) if quick else (7, 8192)
    place = torch_device(device)
    source = torch.ones(2**20 if quick else 2**30, device=place)  # float32
    target = torch.empty_like(source)
    copies = time_runs(lambda: target.copy_(source), device, n_runs=n_runs)
    rates = {"copy_gb_s": 2 * 4 * source.numel() / min(copies) / 1e9}
    left, right = (torch.randn(size, size, device=place) for _ in range(2))
    out = torch.empty_like(left)
    for mode in OPPONENT_MODES:
        with mode_of_torch(mode):
            products = time_runs(
                lambda: torch.mm(left, right, out=out), device, n_runs=n_runs, n_warm=3
            )
        rates[mode] = 2 * size**3 / min(products) / 1e9
    return rates
