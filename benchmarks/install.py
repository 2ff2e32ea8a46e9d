"""Install what can be installed of the opponents: ``python -m benchmarks.install``."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def read_requirements(text):
    """Requirements and options of pip, one pair per line that is not a comment.

    Parameters
    ----------
    text : str
        Content of ``requirements.txt``.

    Returns
    -------
    list of (str, list of str)
        Requirement and its options.
    """
    lines = []
    for line in text.splitlines():
        requirement, _, comment = (part.strip() for part in line.partition("#"))
        if requirement:
            lines.append((requirement, ["--no-deps"] if comment == "no-deps" else []))
    return lines


def install(requirement, options):
    """Install one requirement; the last line of pip's complaint, or None where it worked."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--constraint", str(HERE.parent / ".ci" / "constraints.txt"), *options, requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["pip failed"])[-1]


def main():
    """Try every opponent and list what is missing."""
    missing = 0
    for requirement, options in read_requirements((HERE / "requirements.txt").read_text()):
        complaint = install(requirement, options)
        missing += complaint is not None
        print(f"{requirement:44} {complaint or 'installed'}", flush=True)
    if missing:
        print(f"{missing} missing: the benchmarks run without them and say so.")


if __name__ == "__main__":
    main()
