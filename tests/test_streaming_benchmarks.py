"""The benchmarks of streaming measure what they say, at small sizes."""

import os
import signal
import sys
import time

import numpy as np
import pytest

from benchmarks import callback_costs, streaming_projection, streaming_scale
from benchmarks.streaming_scale import Run, Usage, make_rows
from skdict import _large_rows

SIZES = {"shape": (4000, 16), "atoms": 32, "nonzero": 3, "batch": 256, "steps": 20}
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def path(tmp_path):
    make_rows(tmp_path / "rows.npy", SIZES["shape"], block_rows=1500)
    return tmp_path / "rows.npy"


def test_rows_are_units_and_written_once(path):
    rows = np.load(path)
    assert (rows.shape, rows.dtype) == (SIZES["shape"], np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert len(np.unique(rows[:, 0])) > 3900
    before = path.stat().st_mtime_ns
    make_rows(path, SIZES["shape"])
    assert path.stat().st_mtime_ns == before


@linux
def test_usage_sees_memory_that_is_gone_at_the_end():
    with Usage() as nothing:
        pass
    with Usage() as usage:
        array = np.ones(10_000_000)
        time.sleep(0.1)
        del array
    assert usage.found["peak_bytes"] - nothing.found["peak_bytes"] > 60e6
    assert usage.found["seconds"] >= 0.1


@linux
def test_ways_give_the_same_codes(path, monkeypatch):
    monkeypatch.setattr(_large_rows, "LARGE_BYTES", _large_rows.LARGE_BYTES)  # restored
    monkeypatch.setattr(streaming_scale, "anonymous_memory", lambda: 0)
    found = {}
    for way in streaming_scale.WAYS:
        run = Run(1)
        run.setup(path, way, SIZES)
        _large_rows.LARGE_BYTES = 2**62 if way == "memory" else 1
        found[way] = run.fit()["crc32"]
        run.transform(path.with_name(way))
        agreement = run.agreement(path.with_name(way))
        assert agreement["equal_supports"] > 0.99 and agreement["residual_difference"] < 1e-5
    assert found["map"] == found["streamed"] != found["memory"]
    run.model.components_ = run.model.components_[::-1].copy()
    assert run.agreement(path.with_name(way))["equal_supports"] < 0.9


def one_run(way, rate, *, cold=False, peak=1e9):
    part = {"rows_per_second": rate, "processor_seconds": 1.0, "peak_bytes": peak, "crc32": 1}
    return {"way": way, "cold": cold, "bare_bytes": 2e8, "fit": part, "transform": part}


def test_summary_takes_medians_of_warm_runs():
    runs = [one_run("map", 1.0, cold=True, peak=2e9), one_run("streamed", 7.0)]
    runs += [one_run("map", rate) for rate in (8.0, 9.0, 50.0)]
    runs += [one_run("memory", rate, peak=9e9) for rate in (10.0, 10.0, 1.0)]
    summary = streaming_scale.summarise(runs)
    assert summary["fit_ratio"] == summary["transform_ratio"] == 0.9
    assert "fit_cold_ratio" not in summary  # nothing to compare with
    assert summary["fit_peak_gb"] == 2.0


def test_projection_multiplies_what_was_measured():
    sizes = {"rows": 36_000_000, "batch": 10_000, "shape": (1, 100)}
    usage = {"peak_bytes": 1e9}
    found = {
        "fit": {"step_seconds": 1.0, "step_processor_seconds": 3.0, "checkpoint_seconds": 6.0,
                "usage": usage},
        "reset_seconds": 100.0,
        "transform": {"rows_per_second": 10_000, "rows_per_processor_second": 5000,
                      "bytes_per_row": 8, "usage": usage},
        "read_cold": {"bytes_per_second": 4e6},
        "read_cached": {"bytes_per_second": 4e9},
    }  # fmt: skip
    projected = streaming_projection.project(sizes, found)
    assert projected["fit_hours"] == pytest.approx(2.0)
    assert projected["fit_core_hours"] == pytest.approx(4.0)
    assert projected["transform_hours"] == pytest.approx(1.0)
    assert projected["transform_core_hours"] == pytest.approx(2.0)
    assert projected["read_hours_cold"] == pytest.approx(1.0)
    assert (projected["rows_gb"], projected["codes_gb"]) == pytest.approx((14.4, 0.288))
    assert projected["checkpoint_share"] == pytest.approx(0.01)


def test_shares_of_bars_are_those_of_medians():
    def fits(*measured):
        return [dict(zip(("seconds", "processor_seconds"), one, strict=True)) for one in measured]

    times = {"fit none": fits((10, 20), (10, 20), (99, 99)), "asleep none": fits((30, 1))}
    for way in ("file", "terminal"):
        times |= {f"fit {way}": fits((11, 21)), f"asleep {way}": fits((30, 1.3))}
    summary = callback_costs.summarise(times)
    assert summary["file"]["seconds_ratio"] == pytest.approx(1.1)
    assert summary["terminal"]["processor_ratio"] == pytest.approx(1.05)
    assert summary["terminal"]["processor_seconds_a_minute"] == pytest.approx(0.6)


@linux
def test_a_bar_is_drawn_into_the_terminal_alone(monkeypatch, capsys):
    pytest.importorskip("rich")
    seen = []
    monkeypatch.setattr(callback_costs, "_drain", lambda ours: seen.append(_read(ours)))
    fits = callback_costs.Fits(1)
    fits.setup(callback_costs.QUICK | {"asleep": 0.5})
    seen.clear()
    assert fits.asleep("terminal")["seconds"] >= 0.5
    assert b"ICFLDictionary" in seen[0] and b"\x1b[" in seen[0]
    assert capsys.readouterr().out == ""


def _read(descriptor):
    text = b""
    try:
        while part := os.read(descriptor, 2**16):
            text += part
    except OSError:
        pass
    return text


class Sleeper:
    """A worker that notes when it runs, as far as a thread of this process can be one."""

    def __init__(self, pid, seconds):
        self._pid, self._seconds = pid, seconds

    def call(self, method):
        if method == "pid":
            return self._pid
        time.sleep(self._seconds)
        return {"seconds": -1.0}


@linux
def test_turns_stop_all_but_one(monkeypatch):
    running, stopped = set(), []

    def kill(pid, number):
        (running.add if number == signal.SIGCONT else running.discard)(pid)
        stopped.append(len(running))

    monkeypatch.setattr(streaming_scale.os, "kill", kill)
    workers = {"a": Sleeper(1, 0.5), "b": Sleeper(2, 0.2)}
    found = streaming_scale.by_turns(workers, "work", {"a": (), "b": ()}, turn=0.05)
    turns = stopped[2:-4]
    assert max(turns[:4]) == 1 and running == {1, 2}
    assert found["a"]["seconds"] + found["b"]["seconds"] == pytest.approx(0.5, abs=0.15)
