"""The commands ``skdict explore`` and ``skdict example``."""

from __future__ import annotations

import sys
from pathlib import Path

OK, FAILED, USAGE = 0, 1, 2


def add_commands(commands) -> None:
    """Add both commands to the command line.

    Parameters
    ----------
    commands : argparse action
        As ``ArgumentParser.add_subparsers`` returns it.
    """
    explore = commands.add_parser(
        "explore",
        help="look into a concept bundle in the browser",
        description=(
            "Shows a concept bundle in the browser and keeps notes of experts. Listens on this "
            "machine only, unless --address says otherwise: then the link holds a token. Stop it "
            "with Ctrl+C; notes are on disk as soon as they are saved."
        ),
    )
    explore.add_argument("bundle", metavar="BUNDLE", help="folder that build_bundle wrote")
    for name, metavar, text in (
        ("--notes", "FILE", "SQLite file of the notes (default: BUNDLE.notes.sqlite)"),
        ("--expert-study", "FILE", "show this blinded study and nothing else"),
        ("--answers", "FILE", "SQLite file of its answers (default: STUDY.answers.sqlite)"),
        ("--key", "FILE", "its key: results are shown at the end; not for experts"),
        ("--address", "ADDRESS", "where to listen (default: 127.0.0.1, this machine only)"),
    ):
        explore.add_argument(name, metavar=metavar, help=text)
    explore.add_argument("--port", type=int, default=0, metavar="N",
                         help="port (default: a free one)")  # fmt: skip
    explore.add_argument("--show-labels", action="store_true",
                         help="in a study: show labels of samples without pictures")  # fmt: skip
    explore.add_argument("--no-browser", action="store_true", help="only print the link")
    explore.set_defaults(command=run_explore)
    example = commands.add_parser(
        "example",
        help="make a concept bundle from data that ship with skdict",
        description="Makes a concept bundle to explore, in a minute, without a network.",
    )
    example.add_argument("name", choices=("cell-painting", "pbmc"), help="which one")
    example.add_argument("--output", metavar="FOLDER",
                         help="folder of the bundle (default: skdict_NAME)")  # fmt: skip
    example.add_argument("--gene-sets", metavar="FILE",
                         help="pbmc: GMT file of pathways (default: lists of markers)")  # fmt: skip
    example.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    example.set_defaults(command=run_example)


def run_explore(arguments) -> int:
    """Serve a bundle until it is stopped."""
    from skdict.explorer._blinded import open_blinded_study
    from skdict.explorer._bundle import open_bundle
    from skdict.explorer._notes import NotesStore
    from skdict.explorer._serve import serve

    alone = [name for name in ("answers", "key") if getattr(arguments, name) is not None]
    if arguments.expert_study is None and alone:
        print(f"skdict explore: --{alone[0]} goes with --expert-study only", file=sys.stderr)
        return USAGE
    try:
        bundle = open_bundle(arguments.bundle)
        options = {"port": arguments.port, "show": not arguments.no_browser}
        if arguments.address is not None:
            options["address"] = arguments.address
        if arguments.expert_study is not None:
            study = open_blinded_study(arguments.expert_study)
            answers = arguments.answers or f"{arguments.expert_study}.answers.sqlite"
            serve(bundle, study=study, answers=answers, key=arguments.key,
                  show_labels=arguments.show_labels, **options)  # fmt: skip
            return OK
        path = arguments.notes or f"{bundle.path}.notes.sqlite"  # beside it, also of "."
        with NotesStore(path, bundle=bundle) as notes:
            serve(bundle, notes=notes, **options)
    except (ImportError, OSError, ValueError) as error:
        print(f"skdict explore: {error}", file=sys.stderr)
        return USAGE
    return OK


def run_example(arguments) -> int:
    """Make an example bundle and say how to look at it."""
    from skdict.explorer._examples import EXAMPLES

    output = arguments.output or f"skdict_{arguments.name.replace('-', '_')}"
    if arguments.gene_sets is not None and arguments.name != "pbmc":
        print("skdict example: --gene-sets goes with pbmc only", file=sys.stderr)
        return USAGE
    if Path(output).exists() and not arguments.overwrite:
        print(f"skdict example: {output!r} is there already; choose another --output, or add "
              "--overwrite if it is a bundle", file=sys.stderr)  # fmt: skip
        return USAGE
    sets = arguments.gene_sets
    if sets is not None and not Path(sets).is_file():
        print(f"skdict example: --gene-sets must name a GMT file, got {sets!r}", file=sys.stderr)
        return USAGE
    try:
        bundle = EXAMPLES[arguments.name](
            output, gene_sets=arguments.gene_sets, overwrite=arguments.overwrite
        )
    except (ImportError, OSError, ValueError) as error:
        print(f"skdict example: {error}", file=sys.stderr)
        return USAGE
    print(f"{bundle.n_concepts} concepts of {bundle.n_samples:,} samples: {bundle.path}")
    print(how_to_explore(bundle.path))
    return OK


def how_to_explore(path) -> str:
    """Return the command that shows a bundle.

    Parameters
    ----------
    path : str or path-like
        Folder of the bundle.

    Returns
    -------
    str
        One line.
    """
    from importlib.util import find_spec

    install = "" if find_spec("panel") else 'pip install "skdict[explorer]" && '
    return f"Explore it: {install}skdict explore {path}"
