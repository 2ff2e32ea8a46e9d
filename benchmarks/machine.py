"""The machine and the versions behind a figure, and how fast its memory is."""

import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import skdict

PACKAGES = ("numpy", "scipy", "scikit-learn", "numba", "skdict")


def n_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def package_version(name: str) -> str | None:
    """Installed version of a distribution, None where it is missing."""
    if name == "skdict":  # may be a checkout on the path that is not installed
        return skdict.__version__
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine() -> dict:
    """Processor, cores, memory, system and the versions that matter."""
    facts = {
        "processor": processor(),
        "cores": n_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: package_version(name) for name in PACKAGES},
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        facts["memory_gb"] = round(size / 2**30)
    return facts


def describe_machine() -> str:
    """One line: processor, cores, Python and the versions that matter."""
    facts = machine()
    packages = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    return f"{facts['processor']}, {facts['cores']} cores, Python {facts['python']}, {packages}"


def read_bandwidth(n_threads: int, *, megabytes: int = 512, repeats: int = 3) -> float:
    """GB/s at which `n_threads` threads together read arrays that no cache holds."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    parts = np.ones((n_threads, megabytes * 2**20 // 4 // n_threads), np.float32)
    with threadpool_limits(1), ThreadPoolExecutor(n_threads) as pool:
        best = 0.0
        for _ in range(repeats + 1):  # the first one touches the pages
            start = time.perf_counter()
            list(pool.map(lambda part: float(part @ part), parts))
            best = max(best, parts.nbytes / (time.perf_counter() - start) / 1e9)
    return best
