"""Displays of channel correlations show the numbers they were given."""

import numpy as np
import pytest

from skdict.datasets import make_cell_fields
from skdict.display import ChannelCorrelationDisplay, ChannelSummaryDisplay
from skdict.imaging import channel_screen, pool_channels

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def fields():
    return make_cell_fields(n_images=6, n_wells=3, n_null=3, grid=(16, 16), random_state=0)


@pytest.fixture(scope="module")
def screen(fields):
    return channel_screen(
        fields.tokens, fields.directions, pool_channels(fields.images, (16, 16)),
        channels=fields.channels, units=fields.well, n_permutations=39, random_state=0,
    )  # fmt: skip


class TestChannelCorrelationDisplay:
    def test_numbers_are_those_of_the_result(self, screen, fields):
        display = ChannelCorrelationDisplay.from_correlations(
            screen, [3, 0], feature_names=fields.names, plot=False
        )
        data = display.source_data()
        assert data["feature"].tolist() == ["AGP"] * 7 + ["DNA"] * 7
        np.testing.assert_array_equal(data["r"], screen.trained.r[[3, 0]].ravel())
        np.testing.assert_array_equal(data["r_centered"], screen.centered.r[[3, 0]].ravel())
        assert data["channel"][:2].tolist() == ["DNA", "ER"]
        assert data["call"][0] == "specific: AGP"
        assert "null = shift" in display.methods() and "units = 3" in display.methods()

    def test_default_features_are_one_per_channel(self, screen, fields):
        display = ChannelCorrelationDisplay.from_correlations(
            screen, feature_names=fields.names, plot=False
        )
        assert {"DNA", "AGP", "Mito", "edge"} <= set(display.features)
        assert len(set(display.features)) == len(display.features) <= 7

    def test_panels(self, screen):
        display = ChannelCorrelationDisplay.from_correlations(screen, [0, 1, 2])
        assert len(display.axes_) == 3
        points = display.ax_.collections[0].get_offsets()
        np.testing.assert_allclose(points[:, 0], screen.trained.r[0])
        np.testing.assert_allclose(points[:, 1], np.arange(7))
        assert display.figure_.legends and not display.ax_.get_legend()
        assert len({ax.get_xlim() for ax in display.axes_}) == 1

    def test_save(self, screen, tmp_path):
        display = ChannelCorrelationDisplay.from_correlations(screen.trained, [0])
        display.save(tmp_path / "channels.svg")
        header = (tmp_path / "channels.csv").read_text().splitlines()[0]
        assert header.startswith("feature,channel,r,low,high,partial")

    def test_errors(self, screen):
        with pytest.raises(ValueError, match="features must be below 13, got 99"):
            ChannelCorrelationDisplay.from_correlations(screen, [99], plot=False)
        with pytest.raises(ValueError, match=r"low must have a row per feature .* \(1, 2\)"):
            ChannelCorrelationDisplay([[0, 1]], ["a", "b"], [1], low=[[0]], high=[[0]]).plot()
        with pytest.raises(ValueError, match="give both or neither"):
            ChannelCorrelationDisplay([[0, 1]], ["a", "b"], [1], low=[[0, 0]]).plot()
        nothing = screen.trained.copy()
        nothing["q_value"] = np.ones_like(nothing["q_value"])
        with pytest.raises(ValueError, match="none is called specific"):
            ChannelCorrelationDisplay.from_correlations(type(screen.trained)(**nothing))


class TestChannelSummaryDisplay:
    def test_every_feature_of_every_arm_is_there(self, screen):
        display = ChannelSummaryDisplay.from_screen(screen, plot=False)
        data = display.source_data()
        assert data["r"].size == 2 * 5 * 13
        first = data["r"][(data["model"] == "trained") & (data["channel"] == "ER")]
        assert (np.diff(np.abs(first)) <= 0).all()
        assert sorted(first) == sorted(screen.trained.r[:, 1])

    def test_curves_descend(self, screen):
        display = ChannelSummaryDisplay.from_screen(screen, channels=["AGP", "edge"])
        assert len(display.axes_) == 2
        for ax in display.axes_:
            for line in ax.lines:
                assert (np.diff(line.get_ydata()) <= 0).all()

    def test_errors(self, screen):
        with pytest.raises(ValueError, match="channel must be one of"):
            ChannelSummaryDisplay.from_screen(screen, channels=["Golgi"])
        with pytest.raises(ValueError, match="at least one model"):
            ChannelSummaryDisplay({}, ["ER"]).plot()
        with pytest.raises(ValueError, match=r"r of 'a' must have shape \(n_features, 2\)"):
            ChannelSummaryDisplay({"a": [[0.1]]}, ["ER", "DNA"]).plot()
