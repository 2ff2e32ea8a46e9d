"""Models that travel: codes and reconstructions here and in the packages that wrote or read them.

For every format and direction one model is moved through files and codes the same rows on both
sides, with the packages themselves: SAELens, dictionary_learning, sparsify. Rows are the 2,280
wells of JUMP-Scope (216 features), as a dictionary would get them. In float32 two atoms may be
equal up to rounding, and then the choice between them is arbitrary: rows that differ by more than
1e-5 of the largest entry are counted, and the largest difference is that of all others. In float64
no row may differ so. ``--large`` adds dictionaries of 8,192 atoms and 1,024 features with random
weights and rows, where such ties are more frequent.

``make test-interop`` runs it as a test. The packages are not dependencies of skdict.
"""

import argparse
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from benchmarks.interop_models import PACKAGES, THEIRS, read_with
from benchmarks.machine import machine, package_version
from benchmarks.rst import table
from skdict import ControlPCAWhitener, ICFLDictionary, TopKSAE
from skdict.datasets import load_jump_scope
from skdict.interop import (
    from_dictionary_learning,
    from_saelens,
    from_sparsify,
    to_dictionary_learning,
    to_saelens,
)

LIMIT = 1e-5  # of the largest entry
LARGE = {"n_rows": 200, "n_features": 1024, "n_atoms": 8192}
RESULTS = Path(__file__).parent / "results" / "interop.json"
READERS = {
    "SAELens": from_saelens,
    "dictionary_learning": from_dictionary_learning,
    "sparsify": from_sparsify,
}


def wells(dtype):
    """Rows, controls, and the rows whitened on them and brought to unit length."""
    data = load_jump_scope()
    X = data.data.astype(dtype)
    return X, data.control


def our_models(dtype):
    """Name, model, rows to code, package and options of all that is written here."""
    X, control = wells(dtype)
    whitener = ControlPCAWhitener().fit(X, control=control)
    short_whitener = ControlPCAWhitener(n_components=40).fit(X, control=control)
    white, short = whitener.transform(X), short_whitener.transform(X)
    unit = Normalizer().fit_transform(white)
    sizes = {"n_components": 512, "max_steps": 200, "random_state": 0}
    topk = TopKSAE(n_nonzero_coefs=16, **sizes)
    linear = TopKSAE(n_nonzero_coefs=16, init="linear", auxk_coef=0, **sizes)
    pursuit = ICFLDictionary(n_nonzero_coefs=16, atoms_per_step=1, **sizes)
    icfl = ICFLDictionary(n_nonzero_coefs=18, atoms_per_step=5, **sizes)
    refit = ICFLDictionary(n_nonzero_coefs=18, selection="absolute", refit=True, **sizes)
    tied_model, icfl_model = topk.fit(unit), icfl.fit(unit)
    white_model = TopKSAE(n_nonzero_coefs=16, **sizes).fit(white)
    short_model = TopKSAE(n_nonzero_coefs=16, **sizes).fit(short)
    normalizer = Normalizer().fit(white)
    yield "TopK, tied start", tied_model, unit, "SAELens", {}
    yield "TopK, linear start", linear.fit(unit), unit, "SAELens", {}
    yield "unit norm, TopK", make_pipeline(normalizer, tied_model), white, "SAELens", {}
    yield "whitening, TopK", make_pipeline(whitener, white_model), X, "SAELens", {}
    yield (
        "whitening to 40 directions, TopK",
        make_pipeline(short_whitener, short_model),
        X,
        "SAELens",
        {},
    )
    yield "ICFL, one atom a step", pursuit.fit(unit), unit, "SAELens", {}
    yield "ICFL, five atoms a step", icfl_model, unit, "SAELens", {}
    yield "ICFL, absolute, refit", refit.fit(unit), unit, "SAELens", {}
    yield "unit norm, ICFL", make_pipeline(normalizer, icfl_model), white, "SAELens", {}
    chain = make_pipeline(whitener, normalizer, icfl_model)
    yield "whitening beside, unit norm, ICFL", chain, X, "SAELens", {"whitening": "sidecar"}
    if dtype == "float32":  # the class computes in it
        yield "TopK, tied start", tied_model, unit, "dictionary_learning", {}
        yield (
            "whitening, TopK",
            make_pipeline(whitener, white_model),
            X,
            "dictionary_learning",
            {},
        )


def ours(model, X):
    """Codes and reconstructions here, the latter at the length of the rows."""
    codes = model.transform(X)
    if not hasattr(model, "steps"):
        return codes.toarray(), model.inverse_transform(codes)
    *steps, dictionary = [step for _, step in model.steps]
    lengths = 1.0
    back = dictionary.inverse_transform(codes)
    for step in steps:
        if isinstance(step, Normalizer):
            lengths = np.linalg.norm(X, axis=1, keepdims=True)
        X = step.transform(X)
    back = back * lengths
    if isinstance(steps[0], ControlPCAWhitener):
        back = steps[0].inverse_transform(back)
    return codes.toarray(), back


def compare(first, second):
    """Differences between two pairs of codes and reconstructions of the same rows."""
    (codes, back), (other_codes, other_back) = first, second
    largest, largest_back = np.abs(codes).max(), np.abs(back).max()
    apart = np.abs(codes - other_codes).max(axis=1)
    back_apart = np.abs(back - other_back).max(axis=1)
    same = apart <= LIMIT * max(1.0, largest)
    return {
        "codes": float(apart[same].max(initial=0.0)),
        "largest_code": float(largest),
        "reconstructions": float(back_apart[same].max(initial=0.0)),
        "largest_reconstruction": float(largest_back),
        "rows": codes.shape[0],
        "rows_beyond": int((~same).sum()),
        "largest_difference": float(apart.max()),
    }


def run_ours(dtype, packages):
    """Models written here, read there and read back here."""
    for name, model, X, package, options in our_models(dtype):
        if package not in packages:
            continue
        with tempfile.TemporaryDirectory() as folder:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # matching pursuit that may differ
                if package == "SAELens":
                    to_saelens(model, folder, dtype=dtype, **options)
                else:
                    to_dictionary_learning(model, folder)
            here, there = ours(model, X), read_with(package, folder, X)
            again = ours(READERS[package](folder), X)
        facts = {"format": package, "model": name, "dtype": dtype}
        yield {**facts, "direction": "ours to theirs", **compare(here, there)}
        yield {**facts, "direction": "ours to ours", **compare(here, again)}


def run_theirs(dtype, packages):
    """Models written there, read here."""
    X, control = wells(dtype)
    X = ControlPCAWhitener().fit(X, control=control).transform(X)
    X = X / np.sqrt((X**2).sum(axis=1).mean()).astype(dtype)  # lengths about 1
    for name, (package, write) in THEIRS.items():
        if package not in packages or (package == "dictionary_learning" and dtype != "float32"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            there = write(Path(folder), X)
            model = READERS[package](folder)
            facts = {"format": package, "model": name, "dtype": dtype}
            yield {**facts, "direction": "theirs to ours", **compare(there, ours(model, X))}


def run_large():
    """Dictionaries of a realistic size with random weights, written here and read there."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((LARGE["n_rows"], LARGE["n_features"]), np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    sizes = {"n_components": LARGE["n_atoms"], "n_nonzero_coefs": 100, "random_state": 0}
    models = {
        "TopK": TopKSAE(max_steps=0, **sizes),
        "ICFL, one atom a step": ICFLDictionary(max_steps=0, atoms_per_step=1, **sizes),
        "ICFL, five atoms a step": ICFLDictionary(max_steps=0, **sizes),
    }
    for name, model in models.items():
        model.fit(X)
        with tempfile.TemporaryDirectory() as folder:
            to_saelens(model, folder)
            found = compare(ours(model, X), read_with("SAELens", folder, X))
        yield {"format": "SAELens", "model": f"{name}, large", "dtype": "float32",
               "direction": "ours to theirs", **found}  # fmt: skip


def run(packages=tuple(PACKAGES), dtypes=("float32", "float64")):
    """All comparisons, as a list of dicts."""
    rows = []
    for dtype in dtypes:
        rows += [*run_ours(dtype, packages), *run_theirs(dtype, packages)]
    return rows


def relative(row, what, largest):
    """A difference relative to the largest entry, or absolute where that is below 1."""
    value = row[what] / max(1.0, row[largest])
    return "0" if value == 0 else f"{value:.0e}"


def page(rows):
    """Table of the comparisons in float32, with the errors of float64 beside them."""
    wide = {
        (row["format"], row["model"], row["direction"]): row
        for row in rows
        if row["dtype"] == "float64"
    }
    cells = []
    for row in rows:
        if row["dtype"] != "float32" or row["direction"] == "ours to ours":
            continue
        other = wide.get((row["format"], row["model"], row["direction"]))
        cells.append([
            row["format"], row["model"], row["direction"],
            relative(row, 'codes', 'largest_code'),
            relative(row, 'reconstructions', 'largest_reconstruction'),
            f"{row['rows_beyond']} of {row['rows']:,}",
            relative(other, 'largest_difference', 'largest_code') if other else "",
        ])  # fmt: skip
    header = ["format", "model", "direction", "codes", "reconstructions", "rows beyond 1e-5",
              "codes, float64"]  # fmt: skip
    return table(header, cells)


def main(arguments=None):
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interop")
    parser.add_argument("--output", type=Path, default=None, help=f"for example {RESULTS.name}")
    parser.add_argument("--large", action="store_true", help="8,192 atoms too, some minutes")
    options = parser.parse_args(arguments)
    rows = run() + (list(run_large()) if options.large else [])
    print(page(rows))
    if options.output is not None:
        versions = {name: package_version(name) for name in (*PACKAGES.values(), "torch")}
        facts = {"machine": machine(), "versions": versions, "rows": rows}
        options.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
