"""The command line: ``skdict demo``, ``example``, ``explore``, ``info`` and ``transform``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from skdict._explore_command import add_commands
from skdict._model_commands import add_model_commands
from skdict._model_info import drop_output
from skdict._version import __version__

OK = 0
FAILED = 1
"""The work was done but could not be saved where it was wanted."""
USAGE = 2
"""Nothing was computed: an argument or the installation does not allow it."""
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments; ``None`` takes those of the process.

    Returns
    -------
    int
        Exit code: 0 done, 1 computed but not saved where it was wanted, 2 wrong usage or a
        missing package (nothing was computed), 130 interrupted from the keyboard.
    """
    arguments = _parser().parse_args(argv)
    # A console that lacks a sign such as ± shows a substitute instead of failing.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")
    try:
        return arguments.command(arguments)
    except KeyboardInterrupt:
        _stop_workers()
        print("\ninterrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # who read the output has closed it, such as head
        drop_output()
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skdict", description="Sparse concept dictionaries of foundation-model embeddings."
    )
    parser.add_argument("--version", action="version", version=f"skdict {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo = commands.add_parser(
        "demo",
        help="compare ICFL with a TopK SAE, PCA and a random dictionary on Cell Painting profiles",
        description=(
            "Fits dictionaries to the Cell Painting profiles that ship with skdict, prints what "
            "was found and writes it as one HTML page. Takes about two minutes on two cores."
        ),
    )
    demo.add_argument(
        "--output", default="skdict_demo.html", metavar="PATH",
        help="the HTML page to write (default: %(default)s)",
    )  # fmt: skip
    demo.add_argument(
        "--seeds", type=_positive, default=None, metavar="N",
        help="repetitions with another start and other splits (default: 3; 1 with --quick)",
    )  # fmt: skip
    demo.add_argument(
        "--quick", action="store_true",
        help="small models and one seed: a look at the output in seconds, no basis for conclusions",
    )  # fmt: skip
    demo.set_defaults(command=_demo)
    add_commands(commands)
    add_model_commands(commands)
    return parser


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return number


def _demo(arguments) -> int:
    """Run the demo: check first, compute, print, then write."""
    # Imported here so that --help and usage errors answer at once.
    from skdict import _demo as demo
    from skdict._validation import import_optional
    from skdict.datasets import load_jump_scope
    from skdict.report import check_output_path

    try:
        output = check_output_path(arguments.output)
        import_optional("matplotlib.figure", extra="plot")
    except (OSError, ImportError) as error:
        print(f"skdict demo: {error}", file=sys.stderr)
        return USAGE
    settings = demo.QUICK if arguments.quick else demo.Settings()
    if arguments.seeds is not None:
        settings = dataclasses.replace(settings, seeds=tuple(range(arguments.seeds)))
    start = time.perf_counter()
    data = load_jump_scope()
    results = demo.run(data, settings)
    print(demo.text_report(results), flush=True)
    try:
        page = demo.demo_page(results)
    except Exception as error:
        # The numbers are printed already; a fault of the page must not look like a success.
        print(f"skdict demo: the report could not be made: {error!r}", file=sys.stderr)
        return FAILED
    code = _save(page, output, start)
    return _explorable(results.pipeline, data, output) or code


def _save(page: str, output: Path, start: float) -> int:
    """Write the page; where that fails now, save it in the folder for temporary files."""
    from skdict.report import write_page

    try:
        path = write_page(output, page)
    except OSError as error:
        print(f"skdict demo: {str(output)!r} could not be written: {error}", file=sys.stderr)
        path = write_page(Path(tempfile.mkdtemp(prefix="skdict_demo_")) / "skdict_demo.html", page)
        print(f"The report was saved as {path} instead.", file=sys.stderr)
        return FAILED
    print(f"\nReport: {path} ({time.perf_counter() - start:.0f} s)")
    return OK


def _explorable(pipeline, data, output: Path) -> int:
    """Write the concepts as a bundle beside the page, and say how to look at them."""
    from skdict._explore_command import how_to_explore
    from skdict.explorer import build_bundle

    folder = output.with_name(f"{output.stem}_concepts")
    names = ("compound", "moa", "plate", "well", "batch")
    try:
        build_bundle(
            folder, pipeline.transform(data.data), components=pipeline[-1].components_,
            embeddings=pipeline[:-1].transform(data.data), label_columns=list(names[:3]),
            metadata={name: data[name] for name in names}, random_state=0, overwrite=True,
            title="Concepts of Cell Painting profiles",
            description="What skdict demo has learned from JUMP-Scope plates. A compound never "
            "changes its wells: what marks a compound may mark its place on the plate.",
        )  # fmt: skip
    except ImportError:
        print('Explore its concepts: pip install "skdict[explorer]", then run skdict demo again')
        return OK
    except OSError as error:
        print(f"skdict demo: the concepts could not be saved: {error}", file=sys.stderr)
        return FAILED
    print(how_to_explore(folder))
    return OK


def _stop_workers() -> None:
    """End the processes that joblib keeps for later."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)


if __name__ == "__main__":
    sys.exit(main())
