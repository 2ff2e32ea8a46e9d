"""The map of the samples, coloured by the activation of a concept."""

from __future__ import annotations

import numpy as np

from skdict._validation import import_optional
from skdict.explorer._app_style import QUIET

MOST_POINTS = 3000
# Light to dark along one hue: the colour-blind see lightness.
SHADES = ("#fee6ce", "#fdd0a2", "#fdae6b", "#fd8d3c", "#f16913", "#d94801", "#8c2d04")


class SampleMap:
    """A scatter plot that is updated in place.

    Parameters
    ----------
    bundle : Bundle
        A bundle with a map.
    seed : int, default=0
        Draws the samples that are shown where there are too many.
    """

    def __init__(self, bundle, seed: int = 0):
        plotting = import_optional("bokeh.plotting", extra="explorer")
        models = import_optional("bokeh.models", extra="explorer")
        self.bundle = bundle
        n_samples = bundle.n_samples
        rng = np.random.default_rng(seed)
        drawn = rng.choice(n_samples, min(MOST_POINTS, n_samples), replace=False)
        places = np.asarray(bundle.map[np.sort(drawn)], dtype=float)
        self._quiet = models.ColumnDataSource({"x": places[:, 0], "y": places[:, 1]})
        self._active = models.ColumnDataSource({"x": [], "y": [], "code": [], "name": []})
        self._colors = models.LinearColorMapper(palette=SHADES, low=0, high=1)
        figure = plotting.figure(
            height=300, sizing_mode="stretch_width", tools="pan,wheel_zoom,box_zoom,reset",
            toolbar_location="right", match_aspect=True,
        )  # fmt: skip
        figure.scatter("x", "y", source=self._quiet, size=3, color=QUIET, alpha=0.35)
        top = figure.scatter(
            "x", "y", source=self._active, size=5, line_color="#4d2b12", line_width=0.3,
            fill_color={"field": "code", "transform": self._colors},
        )  # fmt: skip
        hover = models.HoverTool(renderers=[top], tooltips=[("sample", "@name"), ("code", "@code")])
        figure.add_tools(hover)
        bar = models.ColorBar(color_mapper=self._colors, width=8, title="code")
        figure.add_layout(bar, "right")
        figure.axis.visible = False
        figure.grid.visible = False
        figure.outline_line_color = "#c8cdd4"
        self.figure = figure

    def show(self, concept: int) -> str:
        """Colour by a concept; returns what is shown.

        Parameters
        ----------
        concept : int
            The concept.

        Returns
        -------
        str
            How many samples of how many.
        """
        samples, values = self.bundle.activations(concept)
        n_active = samples.shape[0]
        if n_active > MOST_POINTS:
            kept = np.random.default_rng(concept).choice(n_active, MOST_POINTS, replace=False)
            samples, values = samples[kept], values[kept]
        order = np.argsort(values, kind="stable")  # the strongest on top
        samples, values = samples[order], values[order]
        places = np.asarray(self.bundle.map[samples], dtype=float)
        names = self.bundle.samples["name"].to_numpy()[samples]
        columns = {"x": places[:, 0], "y": places[:, 1], "code": values.astype(float),
                   "name": names.astype(str)}  # fmt: skip
        highest = float(values.max()) if values.size else 1.0
        # The document may be busy with the concept before: models of Bokeh wait for its lock.
        state = import_optional("panel", extra="explorer").state
        state.execute(lambda: self._draw(columns, highest), schedule=state.curdoc is not None)
        quiet = self._quiet.data["x"].shape[0]
        n_samples = self.bundle.n_samples
        some = f"{quiet:,} of all {n_samples:,} samples, drawn at random"
        grey = f"all {n_samples:,} samples" if quiet == n_samples else some
        shown = f"{samples.size:,} of {n_active:,}" if samples.size < n_active else f"{n_active:,}"
        return f"{shown} active samples, the strongest on top; grey: {grey}."

    def _draw(self, columns, highest) -> None:
        """Hand the points over to the browser."""
        self._colors.high = highest
        self._active.data = columns
