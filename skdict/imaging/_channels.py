"""Which stain a concept follows: heatmaps against channels for all features at once."""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch, check_random_state

from skdict._tables import table
from skdict._validation import check_integer, check_real
from skdict.imaging._channel_calls import call_features
from skdict.imaging._channel_tally import PositionShare, Tally
from skdict.imaging._channel_weights import ImageWeights, tie_of_images, varies
from skdict.imaging._spatial_null import StainDraws, unit_rows
from skdict.imaging._stains import ARTEFACTS, artefact_maps, check_stains
from skdict.imaging._tokens import PreparedTokens, output_array

# Features worked on at once: their heatmaps of one image (4 MB) stay in the cache.
_BLOCK = 1024


class ChannelCorrelations(Bunch):
    """Result of :func:`channel_correlations`; prints what was compared and what was found.

    See :func:`channel_correlations` for the entries.

    Parameters
    ----------
    **kwargs : dict
        The entries.
    """

    def position(self, channel: str) -> int:
        """Column of a channel, by name.

        Parameters
        ----------
        channel : str
            Its name.

        Returns
        -------
        int
            Its column in ``r`` and the other arrays.

        Raises
        ------
        ValueError
            If there is no such channel; the message lists those that exist.
        """
        names = self.channels.tolist()
        if channel not in names:
            raise ValueError(
                f"channel must be one of {', '.join(map(repr, names))}, got {channel!r}"
            )
        return names.index(channel)

    def pairs(self, level: float = 0.05, *, min_effect: float = 0.0, as_frame: bool = False):
        """Table of the pairs of feature and channel that are significant.

        Parameters
        ----------
        level : float, default=0.05
            Pairs with a `q_value` of at most this; 1 lists all pairs.
        min_effect : float, default=0
            Least absolute mean correlation.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            Columns ``feature``, ``channel``, ``r``, ``low``, ``high``, ``partial``, ``z``,
            ``p_value``, ``family_wise_p_value``, ``q_value``, ``n_images`` and ``n_units``,
            sorted by descending absolute correlation.
        """
        check_real("level", level, 0, 1)
        check_real("min_effect", min_effect, 0, 1)
        feature, channel = np.nonzero((self.q_value <= level) & (np.abs(self.r) >= min_effect))
        order = np.argsort(-np.abs(self.r[feature, channel]), kind="stable")
        feature, channel = feature[order], channel[order]
        columns = {"feature": feature, "channel": self.channels[channel]}
        for name in ("r", "low", "high", "partial", "z", "p_value", "family_wise_p_value",
                     "q_value", "n_images", "n_units"):  # fmt: skip
            columns[name] = self[name][feature, channel]
        return table(columns, as_frame)

    def calls(
        self,
        level: float = 0.05,
        *,
        min_effect: float = 0.1,
        margin: float = 0.1,
        as_frame: bool = False,
    ):
        """Say in one word what each feature follows.

        The first of these that holds:

        * ``"light leak"``, ``"edge"``: the artefact is significant, its correlation at least
          `min_effect` and larger than that of any stain on the same images;
        * ``"inverse"``: every stain is significantly negative, one by at least `min_effect`
          (the *inverse focus* of the paper: the feature looks where no cell is);
        * ``"specific"``: one stain is significant with at least `min_effect`, and its *partial*
          correlation leads that of all others by `margin`, positive or negative;
        * ``"several"``: at least one stain is significant with at least `min_effect`;
        * ``"none"``.

        Parameters
        ----------
        level : float, default=0.05
            Largest `q_value` that counts as significant.
        min_effect : float, default=0.1
            Least absolute mean correlation.
        margin : float, default=0.1
            Lead of a specific channel in absolute partial correlation.
        as_frame : bool, default=False
            Return a pandas DataFrame instead of a Bunch.

        Returns
        -------
        Bunch or DataFrame
            One row per feature: ``feature``, ``call``, ``channel`` (the channel that decided; for
            "inverse" and "several" the one with the largest absolute correlation; "" for "none"),
            its ``r``, ``low``, ``high``, ``partial`` and ``q_value``.

        Raises
        ------
        ValueError
            If a number is out of range.
        """
        check_real("level", level, 0, 1)
        check_real("min_effect", min_effect, 0, 1)
        check_real("margin", margin, 0, 2)
        call, column = call_features(self, level, min_effect, margin)
        there = call != "none"
        feature = np.arange(call.size)
        columns = {"feature": feature, "call": call}
        columns["channel"] = np.where(there, self.channels[column], "")
        for name in ("r", "low", "high", "partial", "q_value"):
            columns[name] = np.where(there, self[name][feature, column], np.nan)
        return table(columns, as_frame)

    def __repr__(self):
        """Summary: what was compared, against which null, and what is significant."""
        n_images, n_features, n_columns = self.image_r.shape
        found = np.count_nonzero(self.q_value <= 0.05, axis=0)
        units = self.n_units.max()
        lines = [
            f"ChannelCorrelations of {n_features} features x {n_columns} channels on {n_images} "
            f"images ({units} unit{'s' if units != 1 else ''}"
            + ("; one unit has no interval)" if units == 1 else ")"),
            f"  null            {self.null}, {self.n_permutations} draws; smallest p of a single "
            f"pair {self.smallest_p_value:.2g}",
            f"  positions       {'centred' if self.center_positions else 'as they are'}",
            "  q <= 0.05       "
            + ", ".join(f"{name} {n}" for name, n in zip(self.channels, found, strict=True)),
        ]
        return "\n".join(lines)


def channel_correlations(
    tokens,
    directions,
    stains,
    *,
    channels=None,
    transformer=None,
    kind: str = "cosine",
    units=None,
    strata=None,
    chosen=None,
    null: str = "shift",
    n_permutations: int = 99,
    center_positions: bool = False,
    artefacts: bool = True,
    confidence_level: float = 0.95,
    out=None,
    random_state=None,
) -> ChannelCorrelations:
    r"""Correlate the heatmaps of all features with all stains, against a spatial null (Fig. 5).

    On image i the correlation of feature m and channel c is Pearson's r over the tokens p,

    .. math::

       r_{imc} = \mathrm{corr}_p(h_{imp}, s_{icp}),

    with the heatmap h of :func:`token_heatmaps` and the stain s on the grid of tokens. The effect
    is its mean over the images of each unit, then over units. Neighbouring tokens are alike, so
    the textbook p-value of a correlation over 1,024 tokens is far too small. Here the stains of
    each image are moved at random as a whole and everything is computed again.

    Parameters
    ----------
    tokens : array-like, shape (n_images, n_rows, n_columns, n_features)
        Patch tokens in their places, read one image at a time.
    directions : array-like, shape (n_directions, n_features)
        Feature directions in the space behind `transformer`, usually ``components_``.
    stains : array-like, shape (n_images, n_channels, n_rows, n_columns)
        Channels on the grid of tokens: ``pool_channels(images, grid)``.
    channels : sequence of str or None, default=None
        Their names; None numbers them.
    transformer : fitted transformer or None, default=None
        Whitening, applied to the tokens first; see :func:`token_heatmaps`.
    kind : {"cosine", "inner"}, default="cosine"
        See :func:`token_heatmaps`.
    units : array-like, shape (n_images,), or None, default=None
        The independent unit of each image, usually its well. Units count alike, and intervals
        come from their spread. None makes every image a unit.
    strata : array-like, shape (n_images,), or None, default=None
        With ``null="swap"``, images are swapped within the same stratum, for example the plate.
    chosen : array-like of bool, shape (n_images,) or (n_images, n_directions), or None
        Images that were used to choose the features (the top images of a gallery, say). They have
        their ``image_r``, count for the mean of each position, and take no part in anything else.
    null : {"shift", "swap"}, default="shift"
        ``"shift"`` moves the stains of an image circularly over the field that is mirrored at its
        borders, all channels together. ``"swap"`` gives an image the stains of another one; what
        lies in one place of *all* images stays in this null. It needs many images, and the
        artefacts are shifted all the same.
    n_permutations : int, default=99
        Draws per image. They cost a product of ``n_permutations * n_channels`` columns.
    center_positions : bool, default=False
        Subtract each position's mean token first, and each position's mean stain, also from every
        draw. The edge is nothing but position: its numbers are NaN then. What is left of two
        images is the same up to its sign: three are the fewest that have an interval.
    artefacts : bool, default=True
        Add the two maps of :func:`artefact_maps` as channels "light leak" and "edge". Only images
        with a light leak count for the former; without any, its numbers are NaN.
    confidence_level : float, default=0.95
        Level of the intervals.
    out : ndarray or None, default=None
        Array or writable memory map for ``image_r``.
    random_state : int, RandomState instance or None, default=None
        Seed of the draws.

    Returns
    -------
    ChannelCorrelations
        A Bunch with methods ``pairs(level)``, the table of significant pairs, and
        ``position(channel)``. K is the number of channels with the artefacts:

        r : ndarray, shape (n_directions, K)
            Mean correlation.
        low, high : ndarray, shape (n_directions, K)
            Student's t interval of the mean over units; NaN for a single unit.
        partial : ndarray, shape (n_directions, K)
            Mean partial correlation: what is left of r when the other stains of the image are
            held fixed. NaN for the artefacts.
        null_mean, null_spread : ndarray, shape (n_directions, K)
            Mean and standard deviation of the effect under the null.
        z : ndarray, shape (n_directions, K)
            The effect in these standard deviations.
        p_value : ndarray, shape (n_directions, K)
            Two-sided p-value of the pair alone: the share of its own draws that reach `z`.
        family_wise_p_value : ndarray, shape (n_directions, K)
            Corrected for all pairs: the share of draws whose largest absolute z reaches this one.
        q_value : ndarray, shape (n_directions, K)
            Benjamini-Hochberg adjusted p-values over all pairs (false discovery rate), where the
            draws of all features of a channel together give the p-value. Standardised, they are
            alike, and so many draws reach where the few of one pair cannot.
        image_r : ndarray of float32, shape (n_images, n_directions, K)
            Correlation on every image; NaN where the stain is constant, 0 where the heatmap is.
        position_share : ndarray, shape (n_directions,)
            Share of the heatmaps' variance that is the same on all images, free of the bias of
            few images; NaN for one image and with centred positions. Near one, the feature answers
            to the position.
        r_with_artefact : ndarray, shape (n_directions, K - n_stains, n_stains)
            Mean correlation with the stains over the images that count for each artefact: what
            the artefact has to exceed to be called.
        n_images, n_units : ndarray of int, shape (n_directions, K)
            Images and units behind the mean.
        channels : ndarray of str, shape (K,)
            Names; the last two are the artefacts.
        n_stains : int
            Number of real channels.
        smallest_p_value : float
            Smallest value of `p_value` and `family_wise_p_value`.
        null, n_permutations, kind, center_positions, confidence_level : object
            The settings.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is NaN or infinite, a channel is constant on all images that
        count, or an option is unknown.

    See Also
    --------
    channel_screen : The same beside its controls: centred positions and an untrained network.

    Notes
    -----
    The null says that stain and heatmap of an image are unrelated *given how smooth each of them
    is*. It is not exact: a mirrored window varies a little more or less than the field. On
    random fields smoothed over 1 to 3 of 32 patches the standard deviation of the null was within
    6% of the truth, that of a plain circular shift 2 to 10% too small, that of permuted blocks of
    8 x 8 patches 7 to 24%. Where both are smooth over 6 patches it was 4% too small, over 10
    patches 7%: expect p-values below 0.05 in 7% of the pairs. The p-value tests whether there is
    a relation on *these* images; the interval says how far it holds for other units.

    All stains are bright in cells and dark elsewhere, so that a feature of "cell" correlates with
    all of them. Compare r with `partial`, and with the other channels.

    References
    ----------
    .. [1] Donhauser et al., "Towards scientific discovery with dictionary learning:
       extracting biological concepts from microscopy foundation models", ICML 2025, section 7.
    .. [2] Mrkvicka et al., "Revisiting the random shift approach for testing in spatial
       statistics", Spatial Statistics 42, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.ndimage import gaussian_filter
    >>> from skdict.imaging import channel_correlations
    >>> rng = np.random.default_rng(0)
    >>> stains = gaussian_filter(rng.normal(size=(6, 2, 16, 16)), (0, 0, 1, 1))
    >>> tokens = 0.05 * rng.normal(size=(6, 16, 16, 8))
    >>> tokens[..., 0] += stains[:, 1]  # the first feature follows the second stain
    >>> found = channel_correlations(
    ...     tokens, np.eye(8), stains, channels=["DNA", "ER"], kind="inner", artefacts=False,
    ...     random_state=0)
    >>> found.pairs(0.05).channel, found.pairs(0.05).feature
    (array(['ER'], dtype='<U3'), array([0]))
    """
    prepared = PreparedTokens(tokens, transformer, kind, center_positions=center_positions)
    directions = prepared.directions(directions)
    stains = _checked_stains(stains, prepared)
    names = _names(channels, stains.shape[1], artefacts)
    n_stains = stains.shape[1]
    if artefacts:
        stains = np.concatenate([stains, artefact_maps(stains)], axis=1)
    valid = varies(stains)
    if center_positions:
        stains = stains - stains.mean(axis=0)
        valid &= varies(stains)
    check_integer("n_permutations", n_permutations, 1)
    check_real("confidence_level", confidence_level, 0.0, 1.0, open_low=True)
    weights = ImageWeights.read(units, chosen, valid, directions.shape[0], names[:n_stains])
    rng = check_random_state(random_state)
    tie = tie_of_images(len(prepared), center_positions)
    draws = StainDraws(stains, n_stains, null, n_permutations, strata, rng, center=center_positions)

    image_r = output_array(out, (len(prepared), directions.shape[0], len(names)), np.float32)
    tally = Tally(directions.shape[0], len(names), n_permutations)
    position = PositionShare(directions)
    partial = np.zeros((directions.shape[0], n_stains))
    with_artefact = np.zeros((directions.shape[0], len(names) - n_stains, n_stains))
    for image, rows in enumerate(prepared):
        rows = rows - rows.mean(axis=0)
        position.add(rows)
        fields = unit_rows(stains[image].reshape(1, len(names), -1))
        fields = np.concatenate([fields, draws[image]]).astype(rows.dtype, copy=False)
        inverse = np.linalg.pinv(fields[0, :n_stains] @ fields[0, :n_stains].T, hermitian=True)
        for block, r, square in _blocks(directions, rows, fields):
            image_r[image, block] = np.where(weights.valid[image], r[:, 0], np.nan)
            weight = weights.of(image, block)
            tally.add(block, r, weight)
            position.add_squares(block, square)
            own = r[:, 0, :n_stains]
            partial[block] += weight[:, :n_stains] * _partial(own, inverse)
            with_artefact[block] += weight[:, n_stains:, None] * own[:, None]
    low, high = weights.interval(image_r, confidence_level, tie)
    padding = ((0, 0), (0, len(names) - n_stains))
    return ChannelCorrelations(
        **tally.result(weights.n_units() > 0, draws.smallest_p_value, tie), low=low, high=high,
        partial=np.pad(partial, padding, constant_values=np.nan), r_with_artefact=with_artefact,
        image_r=image_r, position_share=position.share(len(prepared), center_positions),
        n_images=weights.n_images(), n_units=weights.n_units(), channels=np.array(names),
        n_stains=n_stains, smallest_p_value=draws.smallest_p_value, null=null,
        n_permutations=n_permutations, kind=kind, center_positions=bool(center_positions),
        confidence_level=confidence_level,
    )  # fmt: skip


def _checked_stains(stains, prepared: PreparedTokens) -> np.ndarray:
    stains = check_stains(stains)
    if stains.shape[0] != len(prepared):
        raise ValueError(
            f"stains must have one entry per image of tokens, got {stains.shape[0]} for "
            f"{len(prepared)} images"
        )
    if stains.shape[2:] != prepared.grid:
        raise ValueError(
            f"the token grid does not match the stains: {prepared.n_rows} x {prepared.n_columns} "
            f"tokens, stains of {stains.shape[2]} x {stains.shape[3]}; use pool_channels"
        )
    return stains


def _names(channels, n_channels: int, artefacts: bool) -> list[str]:
    names = [f"channel {i}" for i in range(n_channels)] if channels is None else list(channels)
    names = [str(name) for name in names]
    if len(names) != n_channels:
        raise ValueError(
            f"channels must name the {n_channels} channels of stains, got {len(names)}: {names}"
        )
    names += ARTEFACTS if artefacts else ()
    if len(set(names)) != len(names):
        raise ValueError(f"channels must be different names, got {names}")
    return names


def _blocks(directions: np.ndarray, rows: np.ndarray, fields: np.ndarray):
    """Yield blocks of features with their correlations (features, 1 + draws, K) and squares.

    With H = D R^T the heatmaps, centred because R is, r = H F^T / |H| for unit fields F. With far
    fewer features than tokens R = Q L, and the same inner products are had in the space of L.
    """
    flat = fields.reshape(-1, fields.shape[-1])
    if 2 * rows.shape[1] <= rows.shape[0]:
        basis, rows = np.linalg.qr(rows)
        flat = flat @ basis
    rows = rows.T
    # Rounding leaves a constant heatmap this long.
    nothing = 10 * np.finfo(rows.dtype).eps * np.linalg.norm(rows)
    directions = directions.astype(rows.dtype, copy=False)
    for start in range(0, directions.shape[0], _BLOCK):
        block = slice(start, min(start + _BLOCK, directions.shape[0]))
        heatmaps = directions[block] @ rows
        square = np.einsum("ij,ij->i", heatmaps, heatmaps)
        length = np.sqrt(square)
        scale = np.linalg.norm(directions[block], axis=1)
        inverse = np.where(length > nothing * scale, 1 / np.where(length > 0, length, 1), 0)
        r = heatmaps @ flat.T
        r *= inverse[:, None].astype(r.dtype)
        yield block, r.reshape(-1, *fields.shape[:2]), square


def _partial(r: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Partial correlation with each stain given the others, from r and the stains' own inverse."""
    slopes = r @ inverse
    left = np.maximum(1 - np.einsum("ij,ij->i", slopes, r), 0)[:, None]
    part = slopes / np.sqrt(np.maximum(np.diag(inverse), np.finfo(np.float32).tiny))
    size = np.sqrt(left + part**2)
    return part / np.where(size > 0, size, 1)
