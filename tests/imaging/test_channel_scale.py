"""The benchmark of channel correlations runs and refuses what disagrees."""

import pytest

from benchmarks import channel_scale


def test_small_problem():
    channels = channel_scale.Channels(1)
    channels.setup(*channel_scale.QUICK, 0)
    assert channels.agreement() < 1e-5
    assert channels.product(2) > 0
    found = channels.correlate(3)
    assert found["seconds"] > 0 and found["result_gib"] > 0


def test_disagreement_takes_no_time(monkeypatch):
    class Wrong:
        def __init__(self, *arguments):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def call(self, name, *arguments):
            assert name in ("setup", "agreement")
            return 0.5

    monkeypatch.setattr(channel_scale, "Worker", Wrong)
    with pytest.raises(SystemExit, match="disagree"):
        channel_scale.run(quick=True)
