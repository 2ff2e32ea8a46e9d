"""An interrupted attribution goes on where it stopped, and never mixes inputs."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from skdict import TopKSAE
from skdict.genes import (
    DictionaryConcepts,
    DirectionConcepts,
    _swap_store,
    attribute_genes,
    find_counterfactuals,
)

SETUP = """
import time, sys
from skdict.datasets import make_driver_genes
from skdict.genes import *

data = make_driver_genes(n_cells=300, n_genes=120, n_concepts=2, random_state=0)
E = data.embed(data.counts)
model = DirectionConcepts.with_active_share(data.directions, E, share=0.2)
pairs = find_counterfactuals(E, model, [0, 1], units=data.donor, random_state=0)
null = null_counterfactuals(pairs, data.counts, E, model, n_null=2, random_state=0)
"""


class Problem:
    """A small attribution, and how many rows its model was given."""

    def __init__(self):
        names = {}
        exec(SETUP, names)
        self.data, self.pairs, self.null = (names[name] for name in ("data", "pairs", "null"))
        self.model, self.n_rows = names["model"], 0

    def embed(self, X):
        self.n_rows += len(X)
        return self.data.embed(X)

    def attribute(self, **options):
        self.n_rows = 0
        settings = {"genes": self.data.genes, "null": self.null, "batch_size": 16}
        arguments = {"X": self.data.counts, "embed": self.embed, "model": self.model}
        arguments |= {"pairs": self.pairs} | settings | options
        return attribute_genes(**arguments)


@pytest.fixture(scope="module")
def problem():
    return Problem()


@pytest.fixture(scope="module")
def whole(problem):
    return problem.attribute()


def assert_same(found, expected):
    for name in ("attribution", "confirmation", "standard_error", "null_mean", "z", "p_value"):
        np.testing.assert_array_equal(found[name], expected[name])
        np.testing.assert_array_equal(found.pre[name], expected.pre[name])
    for name, values in expected.pair_completeness.items():
        np.testing.assert_array_equal(found.pair_completeness[name], values)


def test_a_stop_after_any_part_changes_nothing(problem, whole, tmp_path):
    class Stop(Exception):
        pass

    folder, limit = tmp_path / "run", 1500
    for _ in range(50):

        def embed(X):
            if problem.n_rows > limit:
                raise Stop
            return Problem.embed(problem, X)

        try:
            found = problem.attribute(embed=embed, resume=folder)
            break
        except Stop:
            continue
    assert_same(found, whole)
    assert 0 < found.passes.n_kept < found.passes.n_swaps
    again = problem.attribute(resume=folder)
    assert_same(again, whole)
    assert again.passes.n_kept == again.passes.n_swaps
    assert problem.n_rows == 2 * 16  # the first prototypes, and the check of the model
    assert not list(folder.glob("*.part"))


def test_a_killed_process_leaves_parts_that_serve(problem, whole, tmp_path):
    folder = tmp_path / "run"
    code = SETUP + (
        "def embed(X):\n    time.sleep(0.002)\n    return data.embed(X)\n"
        "attribute_genes(data.counts, embed, model, pairs, genes=data.genes, null=null, "
        f"batch_size=16, resume={str(folder)!r})\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.getcwd()}
    )
    deadline = time.monotonic() + 60
    while len(list(folder.glob("part-*.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = len(list(folder.glob("part-*.npz")))
    found = problem.attribute(resume=folder)
    assert kept >= 3 and found.passes.n_kept > 0
    assert_same(found, whole)


def test_other_inputs_are_refused_and_named(problem, tmp_path):
    folder = tmp_path / "run"
    problem.attribute(resume=folder)
    counts = problem.data.counts.copy()
    counts.data[0] += 1
    used = problem.pairs.prototype[0]
    counts.data[counts.indptr[used]] += 1
    same = "holds a result of other inputs: "
    with pytest.raises(ValueError, match=same + "counts '.*' there and '.*' here"):
        problem.attribute(resume=folder, X=counts)
    with pytest.raises(ValueError, match=same + "genes"):
        problem.attribute(resume=folder, genes=problem.data.genes[::-1])
    with pytest.raises(ValueError, match=same + "genes"):
        problem.attribute(resume=folder, candidates=["driver0.0"])
    # not "counts", which are the same: only those of the cells in pairs are compared
    only_pairs = "pairs, their null included, '.*' there and '[^;]*$"
    with pytest.raises(ValueError, match=same + only_pairs):
        problem.attribute(resume=folder, null=None)
    with pytest.raises(ValueError, match=same + "batch_size 16 there and 32 here"):
        problem.attribute(resume=folder, batch_size=32)
    with pytest.raises(ValueError, match=same + "variant 'swap' there and 'mask' here"):
        problem.attribute(resume=folder, variant="mask", null=None)
    with pytest.raises(ValueError, match="holds a result of another embed or model"):
        problem.attribute(resume=folder, embed=lambda X: 1.01 * problem.data.embed(X))
    other = DirectionConcepts(1.01 * problem.data.directions, thresholds=problem.model.thresholds)
    with pytest.raises(ValueError, match="holds a result of another embed or model"):
        problem.attribute(resume=folder, model=other)
    # equal pre-activations, and other codes
    lower = problem.model.thresholds - 1
    with pytest.raises(ValueError, match="holds a result of another embed or model"):
        other = DirectionConcepts(problem.data.directions, thresholds=lower)
        problem.attribute(resume=folder, model=other)


def test_another_sparsity_is_another_model(problem, tmp_path):
    E = problem.data.embed(problem.data.counts)
    sae = TopKSAE(24, n_nonzero_coefs=3, max_steps=60, random_state=0).fit(E)
    model = DictionaryConcepts(sae)
    concepts = np.argsort(-np.diff(model.codes(E).tocsc().indptr))[:2]
    pairs = find_counterfactuals(E, model, concepts, n_prototypes=3, random_state=0)
    options = {"pairs": pairs, "null": None, "resume": tmp_path / "run", "model": model}
    problem.attribute(**options)
    assert problem.attribute(**options).passes.n_kept > 0
    # the code of a prototype, its largest pre-activation, is the same
    sae.set_params(transform_n_nonzero_coefs=6)
    with pytest.raises(ValueError, match="holds a result of another embed or model"):
        problem.attribute(**options)


def test_places_that_cannot_be_used(problem, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="resume must name a folder"):
        problem.attribute(resume=tmp_path / "file")
    with pytest.raises(FileNotFoundError, match="lies in a folder that does not exist"):
        problem.attribute(resume=tmp_path / "not" / "there")
    (tmp_path / "other").mkdir()
    np.savez(tmp_path / "other" / "mine.npz", a=1)
    with pytest.raises(ValueError, match=r"holds other files and no settings\.json"):
        problem.attribute(resume=tmp_path / "other")


def test_a_damaged_part_is_named_and_a_lost_one_computed_again(problem, whole, tmp_path):
    folder = tmp_path / "run"
    problem.attribute(resume=folder)
    first, second, *_ = sorted(folder.glob("part-*.npz"))
    first.write_bytes(first.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"part-000000\.npz' cannot be read .*delete it"):
        problem.attribute(resume=folder)
    first.unlink()
    second.unlink()
    assert_same(problem.attribute(resume=folder), whole)


def test_a_full_disk_keeps_what_is_done(problem, whole, tmp_path, monkeypatch):
    folder, written = tmp_path / "run", []
    savez = np.savez

    def full(file, **arrays):
        written.append(1)
        if len(written) > 4:
            file.write(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        savez(file, **arrays)

    monkeypatch.setattr(_swap_store.np, "savez", full)
    with pytest.raises(OSError, match="could not write part-000003.npz.*free some space") as error:
        problem.attribute(resume=folder)
    assert error.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert len(list(folder.glob("part-*.npz"))) == 3 and not list(folder.glob("*.part"))
    found = problem.attribute(resume=folder)
    assert found.passes.n_kept > 0
    assert_same(found, whole)


def test_the_record_says_what_the_folder_holds(problem, tmp_path):
    problem.attribute(resume=tmp_path / "run", layer="raw")
    record = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert record["layer"] == "raw" and record["variant"] == "swap" and record["format"] == 2
