"""The model card: what a model is, for those who find it."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from skdict.persistence._provenance import provenance_of

# Settings of a run, and of the machine that it was on.
_LEFT_OUT = {"checkpoint", "resume", "verbose", "device"}
_TAGS = ("skdict", "scikit-learn", "dictionary-learning", "interpretability")
# Identifiers that the hub knows; any other licence is "other" with a name.
_LICENSES = set(
    """
    afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m
    bigscience-bloom-rail-1.0 bigscience-openrail-m bsd bsd-2-clause bsd-3-clause
    bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0
    cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
    cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m ecl-2.0 epl-1.0 epl-2.0 etalab-2.0
    eupl-1.1 eupl-1.2 gemma gfdl gpl gpl-2.0 gpl-3.0 h-research intel-research isc lgpl lgpl-2.1
    lgpl-3.0 llama2 llama3 llama3.1 llama3.2 llama3.3 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by
    ofl-1.1 openrail openrail++ osl-3.0 pddl postgresql unknown unlicense wtfpl zlib
    """.split()
)
_LIMITS = """\
- Rows have to be embeddings of the same model, layer and preprocessing as in training; only the
  number of features is checked.
- A concept is a direction that helps to reconstruct embeddings. That it goes with a label does not
  make it a cause.
- What was not in the training data has no concepts of its own."""


def model_card(model, *, evaluation=None, description=None, license=None, provenance=None):
    """Describe a fitted model in Markdown, with the front matter that the Hugging Face hub reads.

    :func:`skdict.save` writes it beside the model as ``README.md``.

    Parameters
    ----------
    model : estimator
        The fitted model, or a pipeline of them.
    evaluation : dict or None, default=None
        Quality figures: names, and numbers or short texts.
    description : str or None, default=None
        What the model is, of which data, and what it is not good for.
    license : str or None, default=None
        Licence of the model, such as ``"bsd-3-clause"``. One that the hub has no identifier for is
        ``other`` in the front matter, with the text as its name.
    provenance : dict or None, default=None
        Where the model comes from, as a saved one says; None takes that of now.

    Returns
    -------
    str
        The card.

    Raises
    ------
    TypeError
        If `evaluation` is no dictionary, or `description` or `license` no string.

    Examples
    --------
    >>> import numpy as np
    >>> import skdict
    >>> from skdict.persistence import model_card
    >>> X = np.random.default_rng(0).normal(size=(200, 8))
    >>> model = skdict.ICFLDictionary(16, n_nonzero_coefs=2, max_steps=5, random_state=0).fit(X)
    >>> card = model_card(model, evaluation={"explained variance": model.score(X)})
    >>> print(card.partition("## Data")[0].partition("# ICFL")[2])
    Dictionary: 16 atoms of 8 features
    <BLANKLINE>
    | step | class | features | gives |
    |---|---|---|---|
    | 1 | ICFLDictionary | 8 | codes of 16 atoms, at most 2 non-zeros |
    <BLANKLINE>
    <BLANKLINE>
    """
    for name, text in (("description", description), ("license", license)):
        if text is not None and not isinstance(text, str):
            raise TypeError(f"{name} must be a string or None, got {text!r}")
    if evaluation is not None and not isinstance(evaluation, dict):
        raise TypeError(
            f"evaluation must be a dictionary of figures or None, got {type(evaluation).__name__}"
        )
    steps = [(name, step) for name, step in _steps(model) if not isinstance(step, str | None)]
    provenance = provenance_of(steps) if provenance is None else provenance
    parts = [
        _front_matter(steps, license),
        f"# {_title(steps)}",
        description or "",
        _table(("step", "class", "features", "gives"), _what(steps)),
        "## Data",
        _data(provenance),
        "## Settings that differ from the defaults",
        _table(("class", "setting", "value"), _settings(steps)) or "None.",
        "## Training",
        _table(("step", "steps", "passes", "loss at the end", "dead atoms"), _fits(provenance))
        or "Nothing was recorded.",
        "## Quality",
        _table(("figure", "value"), _figures(evaluation))
        or "No figures were given. Evaluate the model on data of your own.",
        "## Use",
        _use(steps),
        "## Limits",
        _LIMITS,
        "## Versions",
        _versions(provenance),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _steps(model):
    return model.steps if isinstance(model, Pipeline) else [("model", model)]


def _front_matter(steps, license):
    lines = ["---", "library_name: skdict", "tags:", *(f"- {tag}" for tag in _TAGS)]
    if any(hasattr(step, "encoder_") for _, step in steps):
        lines.append("- sparse-autoencoder")
    if license is not None:
        short = license.strip().lower()
        if short in _LICENSES:
            lines.append(f"license: {short}")
        else:
            lines += ["license: other", f"license_name: {_yaml_string(license)}"]
    return "\n".join([*lines, "---"])


def _yaml_string(text):
    # JSON has no escapes for signs beyond 16 bits, and YAML takes no pairs of escapes for them.
    text = json.dumps(text.encode(errors="replace").decode(), ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in text)


def _title(steps):
    name, last = type(steps[-1][1]).__name__, steps[-1][1]
    if hasattr(last, "_n_atoms"):
        return f"{name}: {last._n_atoms} atoms of {last.n_features_in_} features"
    return name if _features(last) is None else f"{name} of {_features(last)} features"


def _what(steps):
    for number, (_, step) in enumerate(steps, 1):
        features = "any" if _features(step) is None else _features(step)
        yield number, type(step).__name__, features, _gives(step)


def _features(step):
    """Features that an estimator takes; None if it takes any number, as an unfitted Normalizer."""
    return getattr(step, "n_features_in_", None)


def _gives(step):
    if hasattr(step, "_n_atoms"):
        width = step._n_nonzero_coefs
        if step.transform_n_nonzero_coefs is not None:
            width = min(step.transform_n_nonzero_coefs, step._n_atoms)
        return f"codes of {step._n_atoms} atoms, at most {width} non-zeros"
    kept = step.components_.shape[0] if hasattr(step, "components_") else _features(step)
    return "as many" if kept is None else f"{kept} features"


def _data(provenance):
    lines = []
    for name, fit in provenance.get("fits", {}).items():
        data = fit.get("data")
        if data is None:
            lines.append(f"- {name}: not recorded.")
            continue
        shape = " x ".join(map(str, data["shape"]))
        lines.append(
            f"- {name}: {shape} (rows x features) in {data['dtype']}, digest of some rows "
            f"`{data['digest']}`."
        )
    return "\n".join(lines) or "Not recorded."


def _settings(steps):
    for _, step in steps:
        defaults = inspect.signature(type(step)).parameters
        for name, value in step.get_params(deep=False).items():
            if name not in _LEFT_OUT and not _is_same(value, defaults[name].default):
                yield type(step).__name__, name, _short(value)


def _is_same(value, default):
    if isinstance(value, np.ndarray) or isinstance(default, np.ndarray):
        return value is default
    return type(value) is type(default) and value == default


def _short(value):
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}"
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fits(provenance):
    for name, fit in provenance.get("fits", {}).items():
        end = fit.get("end", {})
        loss, dead = end.get("loss"), end.get("dead_fraction")
        shown = "" if loss is None else f"{loss:.4g}", "" if dead is None else f"{dead:.1%}"
        yield name, fit.get("steps"), fit.get("passes"), *shown


def _figures(evaluation):
    for name, value in (evaluation or {}).items():
        number = value.item() if isinstance(value, np.generic) else value
        yield name, f"{number:.4g}" if isinstance(number, float) else number


def _use(steps):
    known = [_features(step) for _, step in steps if _features(step) is not None]
    rows = f"rows of {known[0]} features" if known else "rows"
    return (
        f"```python\nimport skdict\nmodel = skdict.load(\"FOLDER\")\n"
        f"codes = model.transform(X)  # X: {rows}\n```"
    )  # fmt: skip


def _versions(provenance):
    versions = ", ".join(f"{name} {number}" for name, number in provenance["versions"].items())
    return f"Saved {provenance['saved']} with {versions}."


def _table(head: tuple[str, ...], rows) -> str:
    """Markdown table; empty without rows."""
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    if not lines:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines])


def _cell(value: Any) -> str:
    # A backslash in front of it would undo the one that is put there.
    return re.sub(r"(\\*)\|", r"\1\1\\|", " ".join(str(value).split()))
