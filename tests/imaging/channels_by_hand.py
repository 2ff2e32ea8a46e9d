"""Channel correlations with numbers made by hand."""

import numpy as np

from skdict.imaging import ChannelCorrelations


def correlations_by_hand(r, significant, partial):
    """Correlations of one feature with two stains and an artefact, by hand."""
    r = np.array([r])
    return ChannelCorrelations(
        r=r, low=r - 0.1, high=r + 0.1, q_value=np.where(np.array([significant]), 0.05, 0.06),
        partial=np.array([[*partial, np.nan]]), n_stains=2,
        channels=np.array(["DNA", "ER", "edge"]), r_with_artefact=np.abs(r[:, None, :2]),
    )  # fmt: skip
