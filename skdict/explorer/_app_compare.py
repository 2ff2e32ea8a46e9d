"""Two concepts side by side."""

from __future__ import annotations

import numpy as np

from skdict._validation import import_optional
from skdict.explorer import _app_fragments as fragments
from skdict.explorer._app_concept import examples, genes, head, labels
from skdict.explorer._app_style import FRAGMENT


class ComparePage:
    """The concept that is open beside another one.

    Parameters
    ----------
    session : Session
        What the reader looks at.
    """

    def __init__(self, session):
        pn = import_optional("panel", extra="explorer")
        self.session = session
        last = session.bundle.n_concepts - 1
        self.other = pn.widgets.IntInput(
            label="Other concept", value=min(1, last), start=0, end=last, width=140
        )
        self.shared, self.left, self.right = (
            pn.pane.HTML("", sizing_mode="stretch_width", stylesheets=[FRAGMENT]) for _ in range(3)
        )
        self.other.param.watch(lambda _: self.update(), "value")

    def view(self):
        """Return the page."""
        pn = import_optional("panel", extra="explorer")
        columns = pn.Row(self.left, self.right, sizing_mode="stretch_width")
        return pn.Column(self.other, self.shared, columns, sizing_mode="stretch_width")

    def update(self) -> None:
        """Show both concepts."""
        concept, other = self.session.concept, self.other.value
        if concept is None or other is None:
            return
        self.shared.object = in_common(self.session.bundle, concept, other)
        self.left.object, self.right.object = (one_side(self.session, c) for c in (concept, other))


def one_side(session, concept) -> str:
    """Return what is compared of a concept."""
    bundle = session.bundle
    parts = [head(session, concept), examples(bundle, concept, "top")]
    parts += [labels(bundle, concept, column) for column in bundle.label_columns[:1]]
    return "".join([*parts, genes(bundle, concept)])


def in_common(bundle, first, second) -> str:
    """Return how far two concepts are active in the same samples."""
    one, other = (bundle.activations(concept)[0] for concept in (first, second))
    both = np.intersect1d(one, other).size
    expected = one.size * other.size / bundle.n_samples
    union = one.size + other.size - both
    return fragments.note(
        f"Both are active in {both:,} samples, expected of unrelated ones {expected:,.1f}; "
        f"{first} in {one.size:,}, {second} in {other.size:,}. Jaccard index "
        f"{fragments.number(both / union if union else float('nan'), 2)}."
    )
