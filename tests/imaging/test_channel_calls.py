"""What a feature follows, in one word."""

import numpy as np
import pytest

from tests.imaging.channels_by_hand import correlations_by_hand


@pytest.mark.parametrize(
    ("r", "significant", "partial", "call", "channel"),
    [
        ((0.3, 0.1, 0.0), (1, 0, 0), (0.3, 0.0), "specific", "DNA"),
        ((0.3, -0.4, 0.0), (1, 1, 0), (0.1, -0.3), "specific", "ER"),
        ((0.3, 0.2, 0.0), (1, 1, 0), (0.3, 0.25), "several", "DNA"),
        ((0.3, 0.1, 0.0), (0, 1, 0), (0.3, 0.0), "several", "ER"),
        ((0.09, 0.0, 0.0), (1, 0, 0), (0.3, 0.0), "none", ""),
        ((-0.2, -0.01, 0.0), (1, 1, 0), (-0.3, 0.0), "inverse", "DNA"),
        ((-0.09, -0.08, 0.0), (1, 1, 0), (-0.05, 0.0), "none", ""),
        ((-0.2, -0.3, 0.0), (1, 0, 0), (-0.3, 0.0), "specific", "DNA"),
        ((-0.3, 0.2, 0.0), (1, 1, 0), (-0.1, 0.1), "several", "DNA"),
        ((0.3, 0.1, 0.5), (1, 1, 1), (0.3, 0.0), "edge", "edge"),
        ((0.3, 0.1, -0.5), (1, 1, 1), (0.3, 0.0), "edge", "edge"),
        ((0.3, 0.1, 0.5), (1, 1, 0), (0.3, 0.0), "specific", "DNA"),
        ((0.3, 0.1, 0.25), (1, 1, 1), (0.3, 0.0), "specific", "DNA"),
        ((0.05, 0.0, 0.09), (1, 1, 1), (0.0, 0.0), "none", ""),
        ((np.nan, 0.3, np.nan), (0, 1, 0), (0.0, 0.3), "specific", "ER"),
    ],
)
def test_rules_one_by_one(r, significant, partial, call, channel):
    called = correlations_by_hand(r, significant, partial).calls()
    assert (called.call[0], called.channel[0]) == (call, channel)
    assert np.isnan(called.r[0]) if call == "none" else np.isfinite(called.r[0])
