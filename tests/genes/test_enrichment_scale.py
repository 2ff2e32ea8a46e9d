"""The benchmark of over-representation runs and refuses what disagrees."""

import pytest

from benchmarks import enrichment_scale


def test_small_problem():
    problem = enrichment_scale.Enrichment(1)
    problem.setup(*enrichment_scale.QUICK, None)
    found = problem.test()
    assert found["planted"] > 0.7 and found["unplanted"] < 0.1 * found["planted"] * 256
    assert found["worst"] < 1e-9 and found["seconds"] > 0


def test_sets_of_a_file(tmp_path):
    from skdict.genes import write_gmt

    sets = {f"S{i}": [f"G{j}" for j in range(10 * i, 10 * i + 40)] for i in range(60)}
    write_gmt(tmp_path / "sets.gmt.gz", sets)
    problem = enrichment_scale.Enrichment(1)
    problem.setup(16, 0, 0, str(tmp_path / "sets.gmt.gz"))
    assert problem.genes.shape[0] == 630
    assert problem.test()["pairs"] == 16 * 60


def test_disagreement_is_refused(monkeypatch):
    class Wrong:
        def __init__(self, *arguments):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def call(self, name, *arguments):
            return {"worst": 0.5}

    monkeypatch.setattr(enrichment_scale, "Worker", Wrong)
    with pytest.raises(SystemExit, match=r"differ from scipy's by a factor of 1 \+ 0.5"):
        enrichment_scale.run(quick=True)
