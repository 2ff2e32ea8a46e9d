"""Which stains features follow (Fig. 5 of the ICFL paper, for all features)."""

from __future__ import annotations

import numpy as np

from skdict._validation import check_integer
from skdict.display._saving import SavedDisplay, interval_columns, listed, vector
from skdict.display._style import (
    COLORS,
    CURVE,
    GREY,
    MARKERS,
    check_panels,
    legend,
    new_panels,
    wrapped,
)


class ChannelCorrelationDisplay(SavedDisplay):
    """Correlation of the heatmaps of some features with every stain.

    A panel per feature. Dots are the mean correlation over units with its interval, the grey
    band is where 95% of the spatial null lies, open squares are the same correlations after
    subtracting each position's mean token, and crosses the partial correlations: what is left
    of a correlation when the other stains are held fixed.

    Parameters
    ----------
    r : array-like of float, shape (n_features, n_channels)
        Mean correlations.
    channels : array-like of str, shape (n_channels,)
        Names of the channels.
    features : array-like, shape (n_features,)
        Names or numbers of the features.
    low, high : array-like of float, shape (n_features, n_channels), default=None
        Limits of the intervals; NaN draws none.
    partial : array-like of float, shape (n_features, n_channels), default=None
        Partial correlations; NaN draws none.
    null_mean, null_spread : array-like of float, shape (n_features, n_channels), default=None
        Mean and standard deviation of the null.
    r_centered : array-like of float, shape (n_features, n_channels), default=None
        Correlations with centred positions.
    calls : array-like of str, shape (n_features,), default=None
        What each feature follows, for the titles.
    confidence_level : float, default=0.95
        Level of the intervals.
    name : str, default=None
        Name of the model, for :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        The panels.
    ax_ : matplotlib Axes
        The first panel.
    figure_ : matplotlib Figure
        Their figure.

    See Also
    --------
    ChannelSummaryDisplay : All features at once.

    References
    ----------
    .. [1] Donhauser, K. et al. (2025). "Towards Scientific Discovery with Dictionary Learning:
       Extracting Biological Concepts from Microscopy Foundation Models". ICML. arXiv:2412.16247.

    Examples
    --------
    >>> from skdict.display import ChannelCorrelationDisplay
    >>> display = ChannelCorrelationDisplay([[0.6, 0.1]], ["ER", "DNA"], ["concept 3"])
    >>> display.source_data()["r"]
    array([0.6, 0.1])
    """

    def __init__(self, r, channels, features, *, low=None, high=None, partial=None,
                 null_mean=None, null_spread=None, r_centered=None, calls=None,
                 confidence_level=0.95, name=None, settings=None):  # fmt: skip
        self.r = r
        self.channels = channels
        self.features = features
        self.low = low
        self.high = high
        self.partial = partial
        self.null_mean = null_mean
        self.null_spread = null_spread
        self.r_centered = r_centered
        self.calls = calls
        self.confidence_level = confidence_level
        self.name = name
        self.settings = settings

    @classmethod
    def from_correlations(cls, found, features=None, *, centered=None, feature_names=None,
                          name=None, axes=None, plot=True):  # fmt: skip
        """Show features of :func:`~skdict.imaging.channel_correlations`.

        Parameters
        ----------
        found : ChannelCorrelations or ChannelScreen
            What was computed; of a screen the trained network, with centred positions beside it.
        features : array-like of int, default=None
            Features to show. ``None`` takes, for each channel, the feature with the largest
            absolute correlation among those called specific for it (or the artefact), in the
            order of the channels. They were chosen for being large: the figure illustrates them
            and tests nothing.
        centered : ChannelCorrelations, default=None
            The same with centred positions; taken from a screen if not given.
        feature_names : array-like of str, default=None
            Names of all features; ``None`` numbers them.
        name : str, default=None
            Name of the model.
        axes : sequence of matplotlib Axes, default=None
            One per feature; ``None`` makes a figure.
        plot : bool, default=True
            False makes the display without drawing.

        Returns
        -------
        ChannelCorrelationDisplay
            The display, drawn unless ``plot=False``.

        Raises
        ------
        ValueError
            If a feature does not exist, or none is called specific and `features` is None.
        """
        if "trained" in found:
            centered = found.centered if centered is None else centered
            found = found.trained
        called = found.calls()
        features = _best_by_channel(found, called) if features is None else features
        features = np.atleast_1d(np.asarray(features))
        for feature in features:
            check_integer("features", feature, 0)
        if features.max() >= found.r.shape[0]:
            raise ValueError(
                f"features must be below {found.r.shape[0]}, got {int(features.max())}"
            )
        names = [f"feature {feature}" for feature in features]
        if feature_names is not None:
            names = np.asarray(feature_names)[features]
        display = cls(
            found.r[features], found.channels, names,
            low=found.low[features], high=found.high[features], partial=found.partial[features],
            null_mean=found.null_mean[features], null_spread=found.null_spread[features],
            r_centered=None if centered is None else centered.r[features],
            calls=[f"{call}: {channel}" if call == "specific" else call
                   for call, channel in zip(called.call[features], called.channel[features],
                                            strict=True)],
            confidence_level=found.confidence_level, name=name,
            settings={"null": found.null, "n_permutations": found.n_permutations,
                      "images": int(found.image_r.shape[0]), "units": int(found.n_units.max()),
                      "kind": found.kind},
        )  # fmt: skip
        return display.plot(axes) if plot else display

    def plot(self, axes=None):
        """Draw a panel per feature.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, default=None
            One per feature; ``None`` makes a figure.

        Returns
        -------
        ChannelCorrelationDisplay
            This display, with ``axes_``, ``ax_`` and ``figure_``.
        """
        table = self._tables()
        features, channels = table["features"], table["channels"]
        size = len(features)
        own_figure = axes is None
        if axes is None:
            height = 1.3 + 0.3 * len(channels)
            axes = new_panels(size, n_columns=min(size, 4) if size != 5 else 3, height=height)
        axes = check_panels(axes, size)
        limit = self._limit(table)
        for i, ax in enumerate(axes):
            self._panel(ax, i, table)
            ax.set_xlim(-limit, limit)
            ax.set_title(self._title(i, features), fontsize="medium")
            ax.set_xlabel("Correlation of heatmap and stain")
            ax.set_ylim(len(channels) - 0.5, -0.5)
            ax.set_yticks(range(len(channels)), channels)
            if i and axes[0].get_gridspec() is not None and ax.get_subplotspec().colspan.start:
                ax.set_yticklabels([])
        self.axes_ = list(axes)
        legend(axes[0], loc="upper left", bbox_to_anchor=(0.0, -0.2))
        self._drawn_on(axes[0], axes[0].collections[-1])
        return self.share_legend() if own_figure else self

    def _panel(self, ax, i: int, table) -> None:
        places = np.arange(len(table["channels"]))
        ax.axvline(0.0, color=GREY, linewidth=0.8, zorder=0)
        ax.scatter(table["r"][i], places, marker=MARKERS[0], s=26, color=COLORS[0], gid=CURVE,
                   label="mean over units", zorder=4)  # fmt: skip
        if table["low"] is not None:
            ax.hlines(places, table["low"][i], table["high"][i], color=COLORS[0], linewidth=1.6)
        if table["partial"] is not None:
            ax.scatter(table["partial"][i], places, marker="x", s=30, color=COLORS[1],
                       label="given the other stains (partial)", zorder=3)  # fmt: skip
        if table["r_centered"] is not None:
            ax.scatter(table["r_centered"][i], places, marker=MARKERS[1], s=42, facecolor="none",
                       edgecolor=COLORS[2], label="positions centred", zorder=3)  # fmt: skip
        if table["null_spread"] is not None:
            middle, half = table["null_mean"][i], 1.96 * table["null_spread"][i]
            ax.barh(places, 2 * half, left=middle - half, height=0.7, color="0.85", zorder=0,
                    label="95% of the null")  # fmt: skip

    def _title(self, i: int, features) -> str:
        title = wrapped(features[i], 28, max_lines=2)
        if self.calls is None:
            return title
        return f"{title}\n{vector('calls', self.calls, len(features), dtype=str)[i]}"

    def _limit(self, table) -> float:
        """Half width of the axes: all that is shown, the same for all panels."""
        shown = [table[name] for name in ("r", "low", "high", "partial", "r_centered")]
        values = np.concatenate([np.abs(values).ravel() for values in shown if values is not None])
        return float(min(1.0, 1.1 * max(np.nanmax(values), 0.2)))

    def _tables(self) -> dict:
        features = vector("features", np.atleast_1d(np.asarray(self.features)), dtype=str)
        channels = vector("channels", np.atleast_1d(np.asarray(self.channels)), dtype=str)
        shape = (features.size, channels.size)
        table = {"features": features.tolist(), "channels": channels.tolist()}
        for name in ("r", "low", "high", "partial", "null_mean", "null_spread", "r_centered"):
            values = getattr(self, name)
            if values is None and name == "null_mean" and self.null_spread is not None:
                values = np.zeros(shape)
            table[name] = None if values is None else np.asarray(values, dtype=float)
            if values is not None and table[name].shape != shape:
                raise ValueError(
                    f"{name} must have a row per feature and a column per channel, {shape}, got "
                    f"shape {table[name].shape}"
                )
        interval_columns(
            None if self.low is None else table["low"].ravel(),
            None if self.high is None else table["high"].ravel(), table["r"].size,
        )  # fmt: skip
        return table

    def _columns(self) -> dict:
        table = self._tables()
        n_features, n_channels = table["r"].shape
        columns = {
            "feature": np.repeat(table["features"], n_channels),
            "channel": np.tile(table["channels"], n_features),
        }
        for name in ("r", "low", "high", "partial", "null_mean", "null_spread", "r_centered"):
            if table[name] is not None:
                columns[name] = table[name].ravel()
        if self.calls is not None:
            columns["call"] = np.repeat(
                vector("calls", self.calls, n_features, dtype=str), n_channels
            )
        return columns

    def _description(self) -> str:
        table = self._tables()
        text = (
            "The figure shows the Pearson correlation over tokens between the heatmaps of "
            f"{len(table['features'])} feature(s) and {len(table['channels'])} channels "
            f"({listed(table['channels'])}) on the grid of tokens, averaged over images and units."
        )
        if table["low"] is not None:
            text += (
                f" Lines are {100 * self.confidence_level:.4g}% intervals of Student's t over "
                "units."
            )
        if table["null_spread"] is not None:
            text += " The grey band is the mean of the spatial null ± 1.96 standard deviations."
        if table["partial"] is not None:
            text += " Crosses are partial correlations given the other stains."
        if table["r_centered"] is not None:
            text += " Open squares are correlations after subtracting each position's mean."
        return text


def _best_by_channel(found, called) -> np.ndarray:
    """Feature with the largest correlation among those called for each channel."""
    best = []
    for k, channel in enumerate(found.channels):
        words = ("specific",) if k < found.n_stains else (str(channel),)
        there = np.flatnonzero(np.isin(called.call, words) & (called.channel == channel))
        if there.size:
            best.append(there[np.abs(found.r[there, k]).argmax()])
    if not best:
        raise ValueError(
            "features must be given: none is called specific for a channel, or an artefact"
        )
    return np.array(best)


class ChannelSummaryDisplay(SavedDisplay):
    """How closely the features of several models follow each channel: all of them, sorted.

    A panel per channel, a curve per model (trained, centred positions, untrained): the absolute
    mean correlation of every feature in descending order, over the share of the features. Curves
    of different models are sorted each by itself.

    Parameters
    ----------
    r : dict of array-like, shape (n_features, n_channels)
        Mean correlations by the name of the model; their numbers of features may differ.
    channels : array-like of str, shape (n_channels,)
        Names of the channels.
    name : str, default=None
        Name of the figure, for :meth:`methods` and :meth:`source_data`.
    settings : dict, default=None
        Further settings behind the numbers, for :meth:`methods`.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        The panels.
    ax_ : matplotlib Axes
        The first panel.
    figure_ : matplotlib Figure
        Their figure.

    See Also
    --------
    ChannelCorrelationDisplay : Some features with intervals and null.

    Examples
    --------
    >>> from skdict.display import ChannelSummaryDisplay
    >>> display = ChannelSummaryDisplay({"trained": [[0.1], [-0.6]]}, ["ER"])
    >>> display.source_data()["r"]  # sorted by absolute value
    array([-0.6,  0.1])
    """

    def __init__(self, r, channels, *, name=None, settings=None):
        self.r = r
        self.channels = channels
        self.name = name
        self.settings = settings

    @classmethod
    def from_screen(cls, screen, *, channels=None, name=None, axes=None, plot=True):
        """Show all arms of a :func:`~skdict.imaging.channel_screen`.

        Parameters
        ----------
        screen : ChannelScreen
            What was computed.
        channels : sequence of str, default=None
            Channels to show; ``None`` shows the real stains.
        name : str, default=None
            Name of the figure.
        axes : sequence of matplotlib Axes, default=None
            One per channel; ``None`` makes a figure.
        plot : bool, default=True
            False makes the display without drawing.

        Returns
        -------
        ChannelSummaryDisplay
            The display, drawn unless ``plot=False``.

        Raises
        ------
        ValueError
            If there is no such channel.
        """
        own = screen.trained
        names = own.channels[: own.n_stains] if channels is None else channels
        places = [own.position(channel) for channel in names]
        words = {"trained": "trained", "centered": "trained, positions centred",
                 "untrained": "untrained",
                 "untrained_centered": "untrained, positions centred"}  # fmt: skip
        display = cls(
            {words[arm]: found.r[:, places] for arm, found in screen.arms().items()},
            list(names), name=name,
            settings={"null": own.null, "images": int(own.image_r.shape[0]),
                      "units": int(own.n_units.max()), "kind": own.kind},
        )  # fmt: skip
        return display.plot(axes) if plot else display

    def plot(self, axes=None):
        """Draw a panel per channel.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, default=None
            One per channel; ``None`` makes a figure.

        Returns
        -------
        ChannelSummaryDisplay
            This display, with ``axes_``, ``ax_`` and ``figure_``.
        """
        models, channels = self._models()
        size = len(channels)
        if axes is None:
            axes = new_panels(size, n_columns=min(size, 3), height=2.6)
        axes = check_panels(axes, size)
        for k, ax in enumerate(axes):
            for i, (label, r) in enumerate(models.items()):
                values = np.abs(r[:, k])
                values = np.sort(values[np.isfinite(values)])[::-1]
                share = (np.arange(values.size) + 0.5) / max(values.size, 1)
                # A model and its centred twin share a colour; the twin is dashed.
                ax.plot(share, values, color=COLORS[i // 2 % len(COLORS)], linewidth=1.6,
                        linestyle=("-", "--")[i % 2], label=label, gid=CURVE)  # fmt: skip
            ax.set_title(channels[k], fontsize="medium")
            ax.set_xlabel("Share of features")
            ax.set_xlim(0, 1)
            ax.set_ylim(0, 1)
        axes[0].set_ylabel("Absolute correlation with the stain")
        legend(axes[0], loc="upper right")
        self.axes_ = list(axes)
        self._drawn_on(axes[0], axes[0].lines[-1])
        return self

    def _models(self):
        channels = vector("channels", np.atleast_1d(np.asarray(self.channels)), dtype=str)
        models = {str(key): np.asarray(values, float) for key, values in self.r.items()}
        if not models:
            raise ValueError("r must hold at least one model, got none")
        for key, values in models.items():
            if values.ndim != 2 or values.shape[1] != channels.size or not values.size:
                raise ValueError(
                    f"r of {key!r} must have shape (n_features, {channels.size}), one column per "
                    f"channel, got {values.shape}"
                )
        return models, channels.tolist()

    def _columns(self) -> dict:
        models, channels = self._models()
        rows: dict[str, list] = {"model": [], "channel": [], "feature": [], "r": []}
        for model, r in models.items():
            for k, channel in enumerate(channels):
                order = np.argsort(-np.abs(r[:, k]), kind="stable")
                rows["model"] += [model] * order.size
                rows["channel"] += [channel] * order.size
                rows["feature"] += order.tolist()
                rows["r"] += r[order, k].tolist()
        return {key: np.array(values) for key, values in rows.items()}

    def _description(self) -> str:
        models, channels = self._models()
        sizes = ", ".join(f"{model}: {r.shape[0]}" for model, r in models.items())
        return (
            "The figure shows the absolute mean correlation between heatmaps and the stains "
            f"{listed(channels)} for all features (number of features: {sizes}), each curve in "
            "descending order."
        )
