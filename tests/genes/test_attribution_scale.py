"""The benchmark of attribution runs and refuses what disagrees."""

import pytest

from benchmarks import attribution_scale


def test_small_problem():
    pytest.importorskip("torch")
    contestant = attribution_scale.Attribution(1)
    made = contestant.setup(*attribution_scale.QUICK, "TopK")
    assert made["alive"] > 50
    pre, code = contestant.agreement()
    assert pre < 1e-4 and code < 0.5
    found = contestant.attribute(True)
    assert found["passes"]["n_swaps"] > 1000 and found["seconds"] > found["model_seconds"] > 0


def test_disagreement_takes_no_time(monkeypatch):
    class Wrong:
        def __init__(self, *arguments):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def call(self, name, *arguments):
            if name == "setup":
                return {"alive": 1, "density": 0.1, "null_seconds": 1.0}
            assert name == "agreement"
            return 0.5, 0.5

    monkeypatch.setattr(attribution_scale, "Worker", Wrong)
    with pytest.raises(SystemExit, match="batch sizes disagree"):
        attribution_scale.run(quick=True)
