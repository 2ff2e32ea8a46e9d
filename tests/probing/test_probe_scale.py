"""The benchmark of large probes makes readable labels and measures what it says."""

import numpy as np
import pytest
from scipy import sparse

from benchmarks import probe_scale


@pytest.mark.parametrize("name", list(probe_scale.QUICK))
def test_probes_of_a_small_problem(name):
    probes = probe_scale.Probes(1)
    probes.setup(*probe_scale.QUICK[name], 0)
    assert probes.X.dtype == np.float32 and sparse.issparse(probes.X) == (name == "codes")
    one = probes.probe(1.0)
    assert one["converged"] and one["balanced_accuracy"] > one["chance"]
    interval = probes.interval()
    assert interval["low"] <= one["balanced_accuracy"] <= interval["high"]
    assert 0.01 < one["peak_gib"] <= interval["peak_gib"] < 16
    if name == "codes":
        assert {"with 1", "with 2", "with 5"} <= set(probes.sparse_probe())


def test_the_command_names_unknown_problems(capsys):
    with pytest.raises(SystemExit):
        probe_scale.main(["nothing"])
    assert "unknown problem ['nothing']" in capsys.readouterr().err
