"""The commands ``skdict info`` and ``skdict transform``: models on disk."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import warnings
from pathlib import Path

from scipy import sparse

from skdict._code_files import beside
from skdict._code_writer import CodeWriter
from skdict._embedding_files import open_embeddings
from skdict._model_info import (
    FAILED,
    INTERRUPTED,
    OK,
    USAGE,
    estimators_of,
    load_model,
    run_info,
    told,
)
from skdict._read_ahead import stream_blocks
from skdict._sources import check_row_source
from skdict._streaming import BLOCK_ROWS, _check_same_codes, _written_before
from skdict._validation import check_device, import_optional

# Seconds between two lines of progress.
_LINE_SECONDS = 5.0


def add_model_commands(commands) -> None:
    """Add both commands to the command line.

    Parameters
    ----------
    commands : argparse action
        As ``ArgumentParser.add_subparsers`` returns it.
    """
    info = commands.add_parser(
        "info",
        help="say what a saved model is, and whether its files are whole",
        description="Says what a saved model is: classes, sizes, settings, where it comes from, "
        "and whether its files are as they were written. Nothing in them is executed.",
    )
    info.add_argument("model", metavar="MODEL", help="folder that skdict.save or SAELens wrote")
    info.add_argument("--json", action="store_true", help="as JSON")
    info.set_defaults(command=run_info)
    transform = commands.add_parser(
        "transform",
        help="code embeddings in files with a saved model",
        description="Codes the rows of files with a saved model, in bounded memory. Codes go to a "
        "folder that skdict.load_codes opens, or to a file of scipy.sparse if its name ends in "
        ".npz; then all codes are in memory.",
    )
    transform.add_argument("model", metavar="MODEL",
                           help="folder that skdict.save or SAELens wrote")  # fmt: skip
    transform.add_argument(
        "embeddings", metavar="EMBEDDINGS",
        help=".npy, .npz, .parquet, .zarr or .h5ad file, folder of shards, or quoted pattern",
    )  # fmt: skip
    transform.add_argument("-o", "--output", metavar="CODES", required=True,
                           help="folder to write, or .npz file")  # fmt: skip
    transform.add_argument("--key", metavar="NAME",
                           help="array in .npz and .zarr; key of obsm, or X, in .h5ad")  # fmt: skip
    transform.add_argument(
        "--columns", metavar="NAMES",
        help="columns of parquet files, with commas between (default: the names of the features "
        "that the model was fitted on, otherwise all)",
    )  # fmt: skip
    transform.add_argument(
        "--device", default="cpu", metavar="DEVICE",
        help="cpu, cuda, cuda:N or torch:cpu (default: %(default)s)",
    )  # fmt: skip
    transform.add_argument("--block-rows", type=int, default=BLOCK_ROWS, metavar="N",
                           help="rows at a time (default: %(default)s)")  # fmt: skip
    transform.add_argument(
        "--resume", action="store_true", help="go on behind the rows of an interrupted run"
    )
    transform.add_argument("--overwrite", action="store_true", help="replace codes that are there")
    transform.add_argument("--quiet", action="store_true", help="no progress")
    transform.set_defaults(command=run_transform)


# ---------------------------------------------------------------------- transform


def run_transform(arguments) -> int:
    """Code the rows of files."""
    n_done = 0
    try:
        model = _model_for_codes(arguments)
        _check_output(arguments)
        features = _features(model)
        columns = _columns(arguments, features)
        with (
            open_embeddings(
                arguments.embeddings, key=arguments.key, columns=columns, features=features,
                note=lambda text: told("transform", f"note: {text}", OK),
            ) as rows,
            warnings.catch_warnings(),
        ):  # fmt: skip
            # of names of features, which were looked after when the files were opened
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            n_rows = _checked_rows(rows, model)
            if not _all_are_written(arguments, model, rows):
                with (
                    _output(arguments, model, rows) as output,
                    _Progress(n_rows, arguments.quiet) as progress,
                ):
                    n_done = output.n_rows
                    for start, block in stream_blocks(rows, arguments.block_rows, start=n_done):
                        output.write(model.transform(block))
                        n_done = start + block.shape[0]
                        progress.update(n_done)
    except KeyboardInterrupt:
        return told("transform", f"interrupted after {n_done} rows{_safe(arguments)}", INTERRUPTED)
    except (ImportError, OSError, TypeError, ValueError) as error:
        if n_done == 0:
            return told("transform", _in_flags(str(error)), USAGE)
        message = f"{_in_flags(str(error))}, after {n_done} rows{_safe(arguments)}"
        return told("transform", message, FAILED)
    if not arguments.quiet:
        how = "coded" if n_done else "are coded already"
        print(f"{n_rows:,} rows {how}: {arguments.output}", file=sys.stderr)
    return OK


def _safe(arguments) -> str:
    if _is_npz(arguments):
        return "; nothing was written"
    flags = "--resume --overwrite" if arguments.overwrite else "--resume"
    return f"; go on with {flags}, what was written is kept"


def _in_flags(message: str) -> str:
    """Messages of Python functions, with the flags of the command line for their arguments."""
    for written, flag in (
        ("CodeWriter(..., resume=True)", "--resume"),
        ("set overwrite=True and resume=False", "use --overwrite without --resume"),
        ("set resume=False and overwrite=True", "use --overwrite without --resume"),
        ("set resume=True", "use --resume"),
        ("set overwrite=True", "use --overwrite"),
        ("resume=True", "--resume"),
        ("overwrite=True", "--overwrite"),
    ):
        message = message.replace(written, flag)
    return message


def _all_are_written(arguments, model, rows) -> bool:
    """Whether --resume finds all codes; raise if it finds those of another model or other rows."""
    if not arguments.resume:
        return False
    path = Path(arguments.output)
    written = _written_before(beside(path) if arguments.overwrite else path)
    if written is None:
        return False
    _check_same_codes(written, model, rows, check_row_source(rows)[2])
    return written.path == path


def _model_for_codes(arguments):
    """The model; raise unless it gives codes."""
    check_device(arguments.device)
    if arguments.block_rows < 1:
        raise ValueError(f"--block-rows must be at least 1, got {arguments.block_rows}")
    folder = Path(arguments.model)
    model = load_model(folder, arguments.device)
    estimators = estimators_of(model)
    if not hasattr(estimators[-1], "_n_atoms"):
        raise ValueError(
            f"{folder} ends in {type(estimators[-1]).__name__}, which gives no codes; save a "
            "dictionary, or a pipeline that ends in one"
        )
    for step in estimators:
        step.set_output(transform="default")  # codes go to files, never to a data frame
    return model


def _features(model) -> list[str] | None:
    """Names of the features of the first step that knows its features, if it knows them by name."""
    for step in estimators_of(model):
        if hasattr(step, "n_features_in_"):  # an unfitted Normalizer passes on what it gets
            names = getattr(step, "feature_names_in_", None)
            return None if names is None else [str(name) for name in names]
    return None


def _columns(arguments, features) -> list[str] | None:
    """Columns of parquet files that are asked for."""
    if arguments.columns is None:
        return None
    columns = [name.strip() for name in arguments.columns.split(",")]
    if features is not None and columns != features and sorted(columns) == sorted(features):
        raise ValueError(
            "--columns has the features of the model in another order than it was fitted on; "
            "leave --columns away"
        )
    return columns


def _checked_rows(rows, model) -> int:
    """Number of rows; raise unless they have the features of the model."""
    n_rows, n_features, _ = check_row_source(rows, name="EMBEDDINGS")
    known = (step for step in estimators_of(model) if hasattr(step, "n_features_in_"))
    wanted = next(known).n_features_in_
    if n_features != wanted:
        raise ValueError(
            f"the model takes {wanted} features, but the rows have {n_features}; choose the array "
            "with --key or columns with --columns"
        )
    return n_rows


# ---------------------------------------------------------------------- what is written


def _is_npz(arguments) -> bool:
    return Path(arguments.output).suffix == ".npz"


def _check_output(arguments) -> None:
    """Raise where a .npz file cannot be written; CodeWriter looks after folders."""
    if not _is_npz(arguments):
        return
    output = Path(arguments.output)
    if arguments.resume:
        raise ValueError("--resume goes with a folder of codes, not with a .npz file")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"{str(output.parent)!r} does not exist; create it first")
    if not output.exists():
        return
    embeddings = Path(arguments.embeddings)
    if output.is_dir() or (embeddings.exists() and output.samefile(embeddings)):
        raise FileExistsError(f"{str(output)!r} cannot be replaced; choose another --output")
    if not arguments.overwrite:
        raise FileExistsError(f"{str(output)!r} is there; choose another --output or --overwrite")


def _output(arguments, model, rows):
    """Where codes go, as context manager with `n_rows` and `write`."""
    if _is_npz(arguments):
        return _NpzCodes(Path(arguments.output))
    return CodeWriter(
        arguments.output, estimators_of(model)[-1]._n_atoms, dtype=check_row_source(rows)[2],
        overwrite=arguments.overwrite, resume=arguments.resume,
    )  # fmt: skip


class _NpzCodes:
    """Codes kept in memory and written to a .npz file of scipy.sparse in the end."""

    n_rows = 0

    def __init__(self, path):
        self._path, self._blocks = path, []

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is not None:
            return
        beside = self._path.with_name(f".{self._path.stem}.{os.getpid()}.npz")
        try:
            sparse.save_npz(beside, sparse.vstack(self._blocks, "csr"), compressed=False)
            beside.replace(self._path)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)

    def write(self, codes):
        """Append rows."""
        self._blocks.append(sparse.csr_array(codes))


class _Progress:
    """Rows done, on standard error: a bar on a terminal if rich is there, lines otherwise."""

    def __init__(self, n_rows, quiet):
        self._n_rows, self._bar = n_rows, None
        self._quiet, self._last = quiet, time.monotonic()
        if not quiet and sys.stderr.isatty():
            with contextlib.suppress(ImportError):
                console = import_optional("rich.console", extra="progress").Console(stderr=True)
                progress = import_optional("rich.progress", extra="progress").Progress
                self._bar = progress(console=console)
                self._task = self._bar.add_task("rows", total=n_rows)

    def __enter__(self):
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind, error, traceback):
        if self._bar is not None:
            self._bar.stop()

    def update(self, n_done):
        """Show how many rows are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=n_done)
        elif not self._quiet and time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            share = n_done / self._n_rows
            print(f"{n_done:,} of {self._n_rows:,} rows ({share:.0%})", file=sys.stderr, flush=True)
