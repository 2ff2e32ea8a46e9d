"""The machine and the versions behind a figure."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def describe_machine() -> str:
    """One line: processor, cores, Python and the versions that matter."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn", "numba", "skdict")
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{processor}, {cores} cores, Python {platform.python_version()}, {packages}"
