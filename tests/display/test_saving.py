"""Saving: the figure, the numbers behind it, the paragraph; all of them or none."""

import csv
import errno
import os

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure

import skdict
from skdict import display
from skdict.display import (
    AtomUsageDisplay,
    BinarizerComparisonDisplay,
    BoundaryProfileDisplay,
    CellAlignmentDisplay,
    CellOutlineDisplay,
    ChannelCorrelationDisplay,
    ChannelSummaryDisplay,
    ConceptGalleryDisplay,
    DeadAtomsDisplay,
    DecodedImagesDisplay,
    DirectionHistogramDisplay,
    DoseCurveDisplay,
    GeneAttributionDisplay,
    InterpretableShareDisplay,
    LearningRateDisplay,
    PlateMapDisplay,
    PowerCurveDisplay,
    ProbeAccuracyDisplay,
    ProbeSparsityDisplay,
    SegmentAlignmentDisplay,
    SelectivityCountDisplay,
    SelectivityDisplay,
    SimilarityMapDisplay,
    SparsityReconstructionDisplay,
    StabilityDisplay,
    SubspaceProbeDisplay,
    SweepDisplay,
    TechnicalAuditDisplay,
    TokenHeatmapDisplay,
    VolcanoDisplay,
)

DISPLAYS = {
    "BoundaryProfileDisplay": BoundaryProfileDisplay([-1, 0, 1], [[0.1, 0.2]]),
    "CellAlignmentDisplay": CellAlignmentDisplay(
        [0.1, 0.4], [False, True], ["f", "f"], effect=0.3, wells=["w"], well_effect=[0.3]
    ),
    "CellOutlineDisplay": CellOutlineDisplay([[0.1, 0.2]], np.array([[0, 1]])),
    "ChannelCorrelationDisplay": ChannelCorrelationDisplay([[0.6, 0.1]], ["ER", "DNA"], ["c"]),
    "ChannelSummaryDisplay": ChannelSummaryDisplay({"trained": [[0.1], [-0.6]]}, ["ER"]),
    "ConceptGalleryDisplay": ConceptGalleryDisplay(
        np.arange(16.0).reshape(2, 2, 2, 2), [0.5, -0.5], ["most", "least"]
    ),
    "DecodedImagesDisplay": DecodedImagesDisplay({"layer 1": np.eye(4)[None, None]}),
    "GeneAttributionDisplay": GeneAttributionDisplay(["CD3E", "LYZ"], [0.5, -0.1]),
    "InterpretableShareDisplay": InterpretableShareDisplay(["concepts", "neurons"], [0.5, 0.2]),
    "SegmentAlignmentDisplay": SegmentAlignmentDisplay(
        np.ones((3, 2), int), [0, 1, 2], mean=[1, 1, 1]
    ),
    "TokenHeatmapDisplay": TokenHeatmapDisplay(np.eye(4)[None, None]),
    "AtomUsageDisplay": AtomUsageDisplay([0.5, 0.0], n_samples=10),
    "BinarizerComparisonDisplay": BinarizerComparisonDisplay([0.5, 0.25, 0.1], [0.5, 0.3, 0.2]),
    "DeadAtomsDisplay": DeadAtomsDisplay(["a", "b"], ["x", "x"], [1, 2], 4),
    "DirectionHistogramDisplay": DirectionHistogramDisplay(
        [[0, 3]], [[5, 1]], [-1, 0, 1], labels=["a"]
    ),
    "LearningRateDisplay": LearningRateDisplay([1e-4, 1e-3], [0.5, 0.6]),
    "ProbeAccuracyDisplay": ProbeAccuracyDisplay(["t", "t"], ["raw", "codes"], [0.5, 0.4]),
    "ProbeSparsityDisplay": ProbeSparsityDisplay([5, 10], [0.3, 0.4], raw=0.5),
    "SelectivityCountDisplay": SelectivityCountDisplay([0.1, 0.5], [10, 1]),
    "SelectivityDisplay": SelectivityDisplay([0.5, 0.7], labels=["a", "b"]),
    "SimilarityMapDisplay": SimilarityMapDisplay([[1, 0.2], [0.2, 1]], labels=["a", "b"]),
    "SparsityReconstructionDisplay": SparsityReconstructionDisplay([1, 2], [0.5, 0.6]),
    "StabilityDisplay": StabilityDisplay([0.9, np.nan, 0.2], threshold=0.5),
    "SubspaceProbeDisplay": SubspaceProbeDisplay(["row", "null"], [0.6, 1.0]),
    "SweepDisplay": SweepDisplay([1, 2], [0.5, 0.6]),
    "DoseCurveDisplay": DoseCurveDisplay([0.1, 1], [0.0, 0.5], low=[-0.1, 0.2], high=[0.1, 0.8]),
    "PlateMapDisplay": PlateMapDisplay([1, 2], [1, 1], [0.5, 2.0]),
    "PowerCurveDisplay": PowerCurveDisplay(["a", "a"], [1, 2], [0.2, 0.9], limit=[1.8, 1.8]),
    "TechnicalAuditDisplay": TechnicalAuditDisplay([0.5, 0.0], [0.1, 0.0], [0.0, 0.3]),
    "VolcanoDisplay": VolcanoDisplay([0.5, 0.0], [1e-6, 0.8], [1e-5, 0.9], ["3", "4"]),
}


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_display_is_tested_here():
    assert set(DISPLAYS) == set(display.__all__)


@pytest.mark.parametrize("name", sorted(DISPLAYS))
@pytest.mark.parametrize("suffix", [".svg", ".PDF"])
def test_three_files_with_all_numbers(tmp_path, name, suffix):
    shown = DISPLAYS[name]
    before = dict(rcParams)
    path = tmp_path / f"figure.v1{suffix}"
    assert shown.save(path) == path
    assert dict(rcParams) == before
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["figure.v1.csv", path.name, "figure.v1.txt"]
    )  # and no scratch file
    start = path.read_bytes()[:200]
    assert b"%PDF" in start if suffix == ".PDF" else b"<?xml" in start
    columns, rows = shown.source_data(), read(tmp_path / "figure.v1.csv")
    assert list(rows[0]) == list(columns)
    for key, column in columns.items():
        for row, value in zip(rows, column, strict=True):
            if column.dtype.kind == "f":
                assert row[key] == "" if np.isnan(value) else float(row[key]) == value
            else:
                assert row[key] == str(value)
    text = (tmp_path / "figure.v1.txt").read_text(encoding="utf-8")
    assert skdict.__version__ in text and np.__version__ in text
    assert text.startswith(shown.methods()[:40])


@pytest.mark.parametrize("name", sorted(DISPLAYS))
def test_source_data_as_frame_equals_the_columns(name):
    pytest.importorskip("pandas")
    frame, columns = DISPLAYS[name].source_data(as_frame=True), DISPLAYS[name].source_data()
    assert list(frame) == list(columns)
    for key, column in columns.items():
        np.testing.assert_array_equal(frame[key].to_numpy(), column)


def test_all_curves_of_a_figure_are_saved(tmp_path):
    figure = Figure()
    first, second = figure.subplots(1, 2)
    a = SweepDisplay([1, 2], [0.1, 0.2], name="a").plot(first)
    SweepDisplay([3], [0.3], low=[0.2], high=[0.4], name="b, or not").plot(first)
    StabilityDisplay([0.5], name="c").plot(second)
    a.save(tmp_path / "all.svg")
    rows = read(tmp_path / "all.csv")
    assert [row["panel"] for row in rows] == ["1", "1", "1", "2"]
    assert [row["name"] for row in rows] == ["a", "a", "b, or not", "c"]
    assert [row["score"] for row in rows] == ["0.1", "0.2", "0.3", ""]
    assert [row["low"] for row in rows] == ["", "", "0.2", ""]
    text = (tmp_path / "all.txt").read_text(encoding="utf-8")
    assert text.count("scikit-learn") == 1
    assert all(f"{name}: The figure" in text for name in ["a", "b, or not", "c"])


def test_what_several_displays_share_is_said_once(tmp_path):
    first = SweepDisplay([1], [0.1], name="a", settings={"rows": 5}).plot()
    for name, rows in (("b", 5), ("c", 6), ("a", 5)):
        SweepDisplay([1], [0.2], name=name, settings={"rows": rows}).plot(first.ax_)
    SweepDisplay([1], [0.2], settings={"rows": 5}).plot(first.ax_)
    first.save(tmp_path / "f.svg")
    shared, other, nameless, _ = (tmp_path / "f.txt").read_text(encoding="utf-8").split("\n\n")
    assert shared.startswith("a; b: The figure") and shared.endswith("Settings: rows = 5.")
    assert other.startswith("c: The figure") and other.endswith("Settings: rows = 6.")
    assert nameless.startswith("The figure")


def test_cleared_and_repeated_drawings_leave_no_rows(tmp_path):
    gone = SweepDisplay([1], [0.1], name="gone").plot()
    ax = gone.ax_
    ax.clear()
    stays = SweepDisplay([1], [0.2], name="stays").plot(ax)
    stays.plot(ax)
    stays.save(tmp_path / "f.svg")
    assert [row["name"] for row in read(tmp_path / "f.csv")] == ["stays"]


def test_the_same_numbers_give_the_same_files(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for suffix in ("svg", "pdf"):
            SweepDisplay([1, 2], [0.1, 0.2]).save(tmp_path / folder / f"f.{suffix}")
    for name in os.listdir(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("name", ["figure.png", "figure", "svg"])
def test_other_suffixes_are_refused_before_anything_is_written(tmp_path, name):
    shown = SweepDisplay([1], [0.1])
    with pytest.raises(ValueError, match=r"path must end in \.svg or \.pdf.*savefig"):
        shown.save(tmp_path / name)
    assert not os.listdir(tmp_path) and not hasattr(shown, "figure_")


def test_folders_are_checked_before_drawing(tmp_path):
    shown = SweepDisplay([1], [0.1])
    with pytest.raises(FileNotFoundError, match="does not exist; create"):
        shown.save(tmp_path / "missing" / "f.svg")
    (tmp_path / "f.csv").mkdir()
    with pytest.raises(IsADirectoryError, match=r"f\.csv' is a folder"):
        shown.save(tmp_path / "f.svg")
    assert not hasattr(shown, "figure_") and os.listdir(tmp_path) == ["f.csv"]


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch, fails_at):
    SweepDisplay([1], [0.1], name="old").save(tmp_path / "f.svg")
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device; could not write .*f\.csv"):
        SweepDisplay([2], [0.2], name="new").save(tmp_path / "f.svg")
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_methods_name_the_settings_given():
    shown = SweepDisplay(
        [1, 2], [0.1, 0.2], low=[0, 0.1], high=[0.2, 0.3], confidence_level=0.9, name="ICFL",
        settings={"n_resamples": 500, "labels": ["a", "b"], "alpha": 0.05},
    )  # fmt: skip
    text = shown.methods()
    assert text.startswith("ICFL: The figure shows score against value at 2 values.")
    assert "90% intervals of resampled units" in text
    assert "Settings: n_resamples = 500; labels = a, b; alpha = 0.05." in text
    assert "interval" not in SweepDisplay([1], [0.1]).methods()


def test_computed_displays_state_their_settings():
    codes, y = [[1, 0], [1, 0], [0, 1], [0, 1]], ["a", "a", "b", "b"]
    shown = SelectivityDisplay.from_codes(
        codes, y, n_permutations=3, strata=[0, 1, 0, 1], random_state=0, plot=False
    )
    text = shown.methods()
    for words in ("2 labels", "rows = 4", "components = 2", "n_permutations = 3", "within strata"):
        assert words in text
