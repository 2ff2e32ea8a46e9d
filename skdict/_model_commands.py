"""The commands ``skdict info`` and ``skdict transform``: models on disk."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import warnings
from pathlib import Path

from scipy import sparse
from sklearn.pipeline import Pipeline

from skdict._code_writer import CodeWriter
from skdict._embedding_files import open_embeddings
from skdict._read_ahead import stream_blocks
from skdict._sources import check_row_source
from skdict._streaming import BLOCK_ROWS
from skdict._validation import check_device, import_optional

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

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


# ---------------------------------------------------------------------- info


def run_info(arguments) -> int:
    """Print what a model is."""
    try:
        facts = _facts(Path(arguments.model))
    except (ImportError, OSError, ValueError) as error:
        return _told("info", error, USAGE)
    if arguments.json:
        print(json.dumps(facts, indent=1))
    else:
        print(_as_text(facts))
    if facts["problem"] is not None:
        return _told("info", facts["problem"], FAILED)
    return OK


def _facts(folder: Path) -> dict:
    """What is known of a model; of one whose arrays are damaged, what its model file says."""
    from skdict.persistence._errors import damage_in
    from skdict.persistence._folder import MODEL
    from skdict.persistence._load import read_record

    if _is_saelens(folder):
        model = _load_model(folder, "cpu")
        return {"path": str(folder), "format": "SAELens", "schema": None, "checksums": "none",
                "problem": None, "steps": _described(model), "provenance": {}}  # fmt: skip
    record = read_record(folder)
    facts = {
        "path": str(folder), "format": record["format"], "schema": record["schema"],
        "checksums": "ok", "problem": None,
    }  # fmt: skip
    try:
        facts["steps"] = _described(_load_model(folder, "cpu"))
    except (OSError, ValueError) as error:
        with damage_in(folder / MODEL):
            steps = [{"name": str(step["name"]), "class": str(step["class"])}
                     for step in record["steps"]]  # fmt: skip
        facts |= {"checksums": "damaged", "problem": str(error), "steps": steps}
    return facts | {"provenance": record.get("provenance")}


def _described(model) -> list[dict]:
    """Class, sizes and settings of each step."""
    described = []
    for name, step in model.steps if isinstance(model, Pipeline) else [("model", model)]:
        if step is None or isinstance(step, str):
            described.append({"name": name, "class": "passthrough"})
            continue
        entry = {"name": name, "class": type(step).__name__}
        if hasattr(step, "n_features_in_"):  # an unfitted Normalizer takes any
            entry["features"] = step.n_features_in_
        if hasattr(step, "_n_atoms"):
            entry |= {"atoms": step._n_atoms, "non_zeros": step._code_width(),
                      "dtype": str(step.components_.dtype)}  # fmt: skip
        parameters = type(step)().get_params(deep=False)
        entry["settings"] = {
            key: _plain(value)
            for key, value in step.get_params(deep=False).items()
            if _plain(value) != _plain(parameters[key])
        }
        described.append(entry)
    return described


def _plain(value):
    """A setting as JSON has it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return f"array of shape {value.shape}" if hasattr(value, "shape") else str(value)


def _as_text(facts) -> str:
    lines = [f"{facts['path']}: {facts['format']}"]
    for step in facts["steps"]:
        sizes = [f"{step['features']} features"] if "features" in step else []
        if "atoms" in step:
            sizes += [f"{step['atoms']} atoms", f"at most {step['non_zeros']} non-zeros",
                      step["dtype"]]  # fmt: skip
        lines.append(f"  {step['name']}: {step['class']}{', ' if sizes else ''}{', '.join(sizes)}")
        lines += [f"    {key} = {value}" for key, value in step.get("settings", {}).items()]
    provenance = facts["provenance"] if isinstance(facts["provenance"], dict) else {}
    lines += [f"{key}: {_words(value)}" for key, value in provenance.items()]
    lines.append(f"checksums: {facts['checksums']}")
    return "\n".join(lines)


def _words(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(entry)}" for key, entry in value.items())
    return " x ".join(map(_words, value)) if isinstance(value, list) else str(value)


# ---------------------------------------------------------------------- transform


def run_transform(arguments) -> int:
    """Code the rows of files."""
    n_done = 0
    try:
        model = _model_for_codes(arguments)
        _check_output(arguments)
        columns = _columns(arguments, model)
        with (
            open_embeddings(arguments.embeddings, key=arguments.key, columns=columns) as rows,
            warnings.catch_warnings(),
        ):
            # of names of features, which files of numbers do not have
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            n_rows = _checked_rows(rows, model)
            with (
                _output(arguments, model, rows) as output,
                _Progress(n_rows, arguments.quiet) as progress,
            ):
                if output.n_rows > n_rows:
                    raise ValueError(f"{output.n_rows} rows are written, of {n_rows}: other rows")
                n_done = output.n_rows
                for start, block in stream_blocks(rows, arguments.block_rows, start=n_done):
                    output.write(model.transform(block))
                    n_done = start + block.shape[0]
                    progress.update(n_done)
    except KeyboardInterrupt:
        return _told("transform", f"interrupted after {n_done} rows{_safe(arguments)}", INTERRUPTED)
    except (ImportError, OSError, TypeError, ValueError) as error:
        if n_done == 0:
            return _told("transform", error, USAGE)
        return _told("transform", f"{error}, after {n_done} rows{_safe(arguments)}", FAILED)
    if not arguments.quiet:
        print(f"{n_rows:,} rows coded: {arguments.output}", file=sys.stderr)
    return OK


def _safe(arguments) -> str:
    if _is_npz(arguments):
        return "; nothing was written"
    return "; go on with --resume, what was written is kept"


def _model_for_codes(arguments):
    """The model; raise unless it gives codes."""
    check_device(arguments.device)
    if arguments.block_rows < 1:
        raise ValueError(f"--block-rows must be at least 1, got {arguments.block_rows}")
    folder = Path(arguments.model)
    model = _load_model(folder, arguments.device)
    estimators = _estimators(model)
    if not hasattr(estimators[-1], "_n_atoms"):
        raise ValueError(
            f"{folder} ends in {type(estimators[-1]).__name__}, which gives no codes; save a "
            "dictionary, or a pipeline that ends in one"
        )
    for step in estimators:
        step.set_output(transform="default")  # codes go to files, never to a data frame
    return model


def _estimators(model) -> list:
    """Steps of a model, without those that pass rows on."""
    steps = model.steps if isinstance(model, Pipeline) else [("model", model)]
    return [step for _, step in steps if step is not None and not isinstance(step, str)]


def _load_model(folder: Path, device: str):
    from skdict.persistence import load

    if not _is_saelens(folder):
        return load(folder, mmap_mode="c", device=device)
    from skdict.interop import from_saelens

    model = from_saelens(folder)
    _estimators(model)[-1].set_params(device=device)
    return model


def _is_saelens(folder: Path) -> bool:
    return (folder / "cfg.json").is_file() and not (folder / "model.json").is_file()


def _columns(arguments, model):
    """Columns of parquet files: those that are asked for, or the features of the model."""
    if arguments.columns is not None:
        return [name.strip() for name in arguments.columns.split(",")]
    path = Path(arguments.embeddings)
    of_parquet = path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet")))
    names = getattr(_estimators(model)[0], "feature_names_in_", None)
    return None if names is None or not of_parquet else [str(name) for name in names]


def _checked_rows(rows, model) -> int:
    """Number of rows; raise unless they have the features of the model."""
    n_rows, n_features, _ = check_row_source(rows, name="EMBEDDINGS")
    known = (step for step in _estimators(model) if hasattr(step, "n_features_in_"))
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
        arguments.output, _estimators(model)[-1]._n_atoms, dtype=check_row_source(rows)[2],
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


def _told(command: str, error, code: int) -> int:
    """Print an error as one line; give the exit code back."""
    message = " ".join(str(error).split()) or type(error).__name__
    print(f"skdict {command}: {message}", file=sys.stderr)
    return code
