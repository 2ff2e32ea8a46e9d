"""Channel correlations beside their controls: centred positions, and a network never trained."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skdict._tables import table
from skdict._validation import check_real
from skdict.imaging._channels import ChannelCorrelations, channel_correlations

_NETWORK = ("tokens", "directions", "transformer")


class ChannelScreen(Bunch):
    """Result of :func:`channel_screen`; prints how many features follow what in each arm.

    See :func:`channel_screen` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def arms(self) -> dict[str, ChannelCorrelations]:
        """Correlations of all arms that were computed, by name.

        Returns
        -------
        dict of ChannelCorrelations
            ``trained``, ``centered``, ``untrained`` and ``untrained_centered``.
        """
        names = ("trained", "centered", "untrained", "untrained_centered")
        return {name: self[name] for name in names if self[name] is not None}

    def pairs(self, level: float = 0.05, *, min_effect: float = 0.0, as_frame: bool = False):
        """Table of the significant pairs of feature and channel, with their controls.

        Parameters
        ----------
        level : float, default=0.05
            Pairs whose `q_value` on the trained network is at most this; 1 lists all.
        min_effect : float, default=0
            Least absolute mean correlation.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            The columns of :meth:`ChannelCorrelations.pairs`, then ``r_centered``,
            ``low_centered``, ``high_centered`` and ``q_centered`` after subtracting each
            position's mean token, and ``untrained_share`` and ``untrained_share_centered``: the
            share of the untrained network's features that follow the channel at least as closely,
            (1 + their number) / (1 + features). NaN where an arm was not computed.
        """
        found = self.trained.pairs(level, min_effect=min_effect)
        column = [self.trained.position(name) for name in found.channel]
        place = found.feature, np.array(column, dtype=np.intp)
        columns = dict(found)
        for name in ("r", "low", "high", "q_value"):
            values = np.full(place[0].size, np.nan)
            if self.centered is not None:
                values = self.centered[name][place]
            columns[f"{name.removesuffix('_value')}_centered"] = values
        shape = self.trained.r.shape
        columns["untrained_share"] = _share(self.trained, self.untrained, shape)[place]
        centered = _share(self.centered, self.untrained_centered, shape)
        columns["untrained_share_centered"] = centered[place]
        return table(columns, as_frame)

    def calls(
        self,
        level: float = 0.05,
        *,
        min_effect: float = 0.1,
        margin: float = 0.1,
        as_frame: bool = False,
    ):
        """What each feature follows, and whether that survives the controls.

        Parameters
        ----------
        level : float, default=0.05
            Largest `q_value`, and largest share of untrained features.
        min_effect : float, default=0.1
            See :meth:`ChannelCorrelations.calls`.
        margin : float, default=0.1
            See :meth:`ChannelCorrelations.calls`.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            The columns of :meth:`ChannelCorrelations.calls`, then ``centered_call``;
            ``survives_centering``: the same channel is significant with the same sign and at
            least `min_effect` after subtracting each position's mean token;
            ``untrained_share``; and ``beyond_untrained``: that share is at most `level`.
        """
        check_real("level", level, 0, 1)
        called = self.trained.calls(level, min_effect=min_effect, margin=margin)
        column = np.array(
            [self.trained.position(name) if name else 0 for name in called.channel], dtype=np.intp
        )
        place, there = (called.feature, column), called.call != "none"
        columns = dict(called)
        columns["centered_call"] = np.full(there.size, "", dtype="<U10")
        columns["survives_centering"] = np.zeros(there.size, dtype=bool)
        if self.centered is not None:
            other = self.centered
            columns["centered_call"] = other.calls(level, min_effect=min_effect, margin=margin).call
            r = other.r[place]
            same = (other.q_value[place] <= level) & (np.abs(r) >= min_effect)
            columns["survives_centering"] = there & same & (np.sign(r) == np.sign(called.r))
        share = _share(self.trained, self.untrained, self.trained.r.shape)
        share = np.where(there, share[place], np.nan)
        columns["untrained_share"] = share
        columns["beyond_untrained"] = share <= level
        return table(columns, as_frame)

    def __repr__(self):
        """Features of each arm by call."""
        arms = {name: found.calls().call for name, found in self.arms().items()}
        words = ["specific", "several", "inverse", "light leak", "edge", "none"]
        lines = ["ChannelScreen: features by call"]
        lines.append(" " * 20 + "".join(f"{word:>12}" for word in words))
        for name, call in arms.items():
            counts = "".join(f"{np.count_nonzero(call == word):>12}" for word in words)
            lines.append(f"  {name:<18}" + counts)
        return "\n".join(lines)


def channel_screen(
    tokens, directions, stains, *, transformer=None, untrained=None, random_state=None, **options
) -> ChannelScreen:
    """Channel correlations of all features beside those of their controls.

    A feature may follow a stain for reasons that have nothing to do with what the network learned.
    Two controls stand beside every number:

    * **Centred positions.** A network that writes the position into its tokens, and a stain
      that is brighter in the middle of the field, correlate on every image. Each position's
      mean over the images is subtracted from tokens and stains.
    * **An untrained network of the same shape.** Patches of random weights still carry
      brightness. Its features come from the same steps (whitening, dictionary) fitted on *its*
      tokens, so they have no partner among the trained ones; what is compared is how closely the
      closest of them follow a channel.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        As in :func:`channel_correlations`.
    directions : array-like, shape (n_directions, n_features)
        As in :func:`channel_correlations`.
    stains : array-like, shape (n_images, n_channels, n_rows, n_columns)
        As in :func:`channel_correlations`.
    transformer : fitted transformer or None, default=None
        As in :func:`channel_correlations`.
    untrained : dict or None, default=None
        ``{"tokens": ..., "directions": ..., "transformer": ...}`` of the untrained network on the
        same images; ``transformer`` may be left out. None leaves the control out.
    random_state : int, RandomState instance or None, default=None
        Seed; all arms get the same draws.
    **options : dict
        Further options of :func:`channel_correlations`: ``channels``, ``units``, ``chosen``, ...

    Returns
    -------
    ChannelScreen
        A Bunch with methods ``pairs``, ``calls`` and ``arms``:

        trained, centered : ChannelCorrelations
            The features as they are and with centred positions; `centered` is None for one image.
        untrained, untrained_centered : ChannelCorrelations or None
            The same for the untrained network.

    Raises
    ------
    ValueError
        As :func:`channel_correlations`, or if `untrained` has other entries.

    See Also
    --------
    channel_correlations : One arm.

    Notes
    -----
    Subtracting the mean of n images takes 1/n of each image away with it and mixes the others in.
    With four images that weakens real correlations by a quarter; with a hundred it does not
    matter. Use many images, or read the centred arm for its sign only.

    Examples
    --------
    >>> from skdict.datasets import make_cell_fields
    >>> from skdict.imaging import channel_screen, pool_channels
    >>> fields = make_cell_fields(n_images=8, n_null=2, random_state=0)
    >>> stains = pool_channels(fields.images, (32, 32))
    >>> screen = channel_screen(
    ...     fields.tokens, fields.directions, stains, channels=fields.channels,
    ...     units=fields.well, n_permutations=49, random_state=0)
    >>> calls = screen.calls()
    >>> for name, call, channel in zip(fields.names[:6], calls.call, calls.channel):
    ...     print(name, "->", call, channel)
    DNA -> specific DNA
    ER -> specific ER
    RNA -> specific RNA
    AGP -> specific AGP
    Mito -> specific Mito
    no cell -> inverse RNA
    """
    reserved = sorted({"center_positions", "out"} & set(options))
    if reserved:
        raise ValueError(f"channel_screen sets {', '.join(reserved)} itself; leave it out")
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)

    def arm(network, centered):
        if network is None or (centered and len(network["tokens"]) < 2):
            return None
        return channel_correlations(
            network["tokens"], network["directions"], stains,
            transformer=network.get("transformer"), center_positions=centered,
            random_state=seed, **options,
        )  # fmt: skip

    own = {"tokens": tokens, "directions": directions, "transformer": transformer}
    other = None if untrained is None else _checked_network(untrained)
    return ChannelScreen(
        trained=arm(own, False), centered=arm(own, True),
        untrained=arm(other, False), untrained_centered=arm(other, True),
    )  # fmt: skip


def _checked_network(untrained) -> dict:
    if not hasattr(untrained, "keys") or not set(_NETWORK[:2]) <= set(untrained) <= set(_NETWORK):
        got = sorted(untrained) if hasattr(untrained, "keys") else type(untrained).__name__
        raise ValueError(
            "untrained must be a dict with 'tokens' and 'directions', and 'transformer' if there "
            f"is one, got {got}"
        )
    return dict(untrained)


def _share(found, untrained, shape) -> np.ndarray:
    """Share of the untrained features that follow a channel at least as closely, by channel."""
    share = np.full(shape, np.nan)
    if found is None or untrained is None:
        return share
    for k in range(share.shape[1]):
        other = np.sort(np.abs(untrained.r[:, k]))
        reached = other.size - np.searchsorted(other, np.abs(found.r[:, k]))
        share[:, k] = (1 + reached) / (1 + other.size)
    return np.where(np.isfinite(found.r), share, np.nan)
