"""One saved model in several processes: whether they share its memory and give equal codes.

A process loads the model memory-mapped, codes rows, and keeps it until all others have done so.
Then each reads from ``/proc/self/smaps`` what it holds of the file: resident, its proportional
part, shared and private (Linux).
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from skdict.persistence import load

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Rss", "Pss", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty")


def share(folder, rows, n_processes: int, mmap_mode="r") -> list[dict]:
    """What each of several processes finds that have a model at the same time.

    Parameters
    ----------
    folder : path-like
        The model.
    rows : path-like
        A .npy file of rows to code.
    n_processes : int
        How many.
    mmap_mode : {"r", "c"} or None, default="r"
        As in `load`.
    """
    command = [sys.executable, "-m", "benchmarks.model_sharing", str(folder), str(rows)]
    processes = [
        subprocess.Popen([*command, str(mmap_mode)], cwd=ROOT, text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(n_processes)
    ]  # fmt: skip
    try:
        found = [json.loads(process.stdout.readline()) for process in processes]
        for process, entry in zip(processes, found, strict=True):
            process.stdin.write("measure\n")
            process.stdin.flush()
            entry |= json.loads(process.stdout.readline())
        return found
    finally:
        for process in processes:
            process.communicate("end\n", timeout=60)


def memory_of(file: str) -> dict:
    """Kilobytes that this process holds of a mapped file."""
    held, inside = dict.fromkeys(PARTS, 0), False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if "-" in line.split(" ", 1)[0] and not line.split(" ", 1)[0].endswith(":"):
            inside = line.endswith(file)
        elif inside and name in PARTS:
            held[name] += int(value.split()[0])
    return held


def work(folder, rows, mmap_mode) -> None:
    """What one of the processes does."""
    model = load(folder, mmap_mode=None if mmap_mode == "None" else mmap_mode)
    codes = model.transform(np.load(rows))
    digest = hashlib.sha256()
    for part in (codes.data, codes.indices, codes.indptr):
        digest.update(part.tobytes())
    print(json.dumps({"codes": digest.hexdigest()}), flush=True)
    sys.stdin.readline()
    print(json.dumps(memory_of(str(Path(folder).resolve() / "arrays.safetensors"))), flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    work(*sys.argv[1:])
