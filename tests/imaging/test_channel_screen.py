"""Channel correlations beside their controls."""

import numpy as np
import pytest

from skdict.imaging import ChannelScreen, channel_screen
from tests.imaging.channels_by_hand import correlations_by_hand


@pytest.fixture(scope="module")
def screen(fields, stains):
    """Planted features beside those of a network that carries the brightness of one channel."""
    rng = np.random.default_rng(1)
    brightness = np.moveaxis(stains[:, :1], 1, -1) - stains[:, 0].mean()
    tokens = 0.01 * rng.normal(size=fields.tokens.shape) + brightness
    tokens[..., 0] += 10.0  # so that all tokens have nearly the same length
    untrained = {"tokens": tokens, "directions": rng.normal(size=(30, tokens.shape[-1]))}
    return channel_screen(
        fields.tokens, fields.directions, stains, channels=fields.channels,
        units=fields.well, untrained=untrained, random_state=0,
    )  # fmt: skip


class TestScreen:
    def test_arms(self, screen, fields):
        assert list(screen.arms()) == ["trained", "centered", "untrained", "untrained_centered"]
        assert screen.untrained.r.shape == (30, 7) and screen.centered.center_positions
        assert "untrained_centered" in repr(screen)

    def test_real_features_survive_and_position_does_not(self, screen, fields):
        calls = screen.calls()
        assert calls.survives_centering[:5].all()
        assert not calls.survives_centering[fields.names == "edge"].any()
        assert not calls.survives_centering[fields.names == "null"].any()

    @pytest.mark.parametrize(
        ("r", "significant", "survives"),
        [(0.2, 1, True), (0.2, 0, False), (-0.2, 1, False), (0.09, 1, False)],
    )
    def test_what_survives_centering(self, r, significant, survives):
        screen = ChannelScreen(
            trained=correlations_by_hand((0.3, 0.0, 0.0), (1, 0, 0), (0.3, 0.0)),
            centered=correlations_by_hand((r, 0.0, np.nan), (significant, 0, 0), (r, 0.0)),
            untrained=None, untrained_centered=None,
        )  # fmt: skip
        assert screen.calls().survives_centering.tolist() == [survives]

    def test_untrained_features_that_follow_a_channel_are_counted(self, screen):
        calls = screen.calls()
        # All of the untrained features follow DNA, hardly any follows another channel as well.
        assert not calls.beyond_untrained[0] and calls.untrained_share[0] > 0.2
        assert calls.beyond_untrained[[2, 3, 4]].all()
        pairs = screen.pairs(0.05)
        column = [screen.trained.position(channel) for channel in pairs.channel]
        for name, found, other in (
            ("untrained_share", screen.trained, screen.untrained),
            ("untrained_share_centered", screen.centered, screen.untrained_centered),
        ):
            r, untrained = found.r[pairs.feature, column], other.r[:, column]
            share = (1 + (np.abs(untrained) >= np.abs(r)).sum(axis=0)) / 31
            np.testing.assert_allclose(pairs[name], np.where(np.isnan(r), np.nan, share))
        assert (pairs.untrained_share != pairs.untrained_share_centered).any()

    def test_without_controls(self, fields, stains):
        screen = channel_screen(
            fields.tokens[:1], fields.directions[:3], stains[:1], n_permutations=9, random_state=0
        )
        assert list(screen.arms()) == ["trained"]
        assert np.isnan(screen.pairs(1).r_centered).all()
        assert np.isnan(screen.pairs(1).untrained_share_centered).all()
        assert not screen.calls().beyond_untrained.any()

    def test_frames(self, screen):
        pandas = pytest.importorskip("pandas")
        assert isinstance(screen.pairs(as_frame=True), pandas.DataFrame)
        assert len(screen.calls(as_frame=True)) == screen.trained.r.shape[0]
        assert isinstance(screen.trained.pairs(as_frame=True), pandas.DataFrame)

    def test_errors(self, fields, stains):
        with pytest.raises(ValueError, match="channel_screen sets center_positions itself"):
            channel_screen(fields.tokens, fields.directions, stains, center_positions=True)
        with pytest.raises(ValueError, match="a dict with 'tokens' and 'directions'"):
            channel_screen(fields.tokens, fields.directions, stains, untrained={"tokens": 1})
