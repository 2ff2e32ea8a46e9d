"""Every public name has a complete numpydoc docstring (the checks are those of pyproject.toml)."""

import importlib
import inspect
import tomllib
from pathlib import Path

import pytest
from numpydoc.validate import ERROR_MSGS, validate

MODULES = [
    "skdict",
    "skdict.baselines",
    "skdict.comparison",
    "skdict.concept_gallery",
    "skdict.datasets",
    "skdict.display",
    "skdict.effects",
    "skdict.explorer",
    "skdict.extraction",
    "skdict.genes",
    "skdict.imaging",
    "skdict.interop",
    "skdict.metrics",
    "skdict.model_selection",
    "skdict.parallel",
    "skdict.persistence",
    "skdict.preprocessing",
    "skdict.probing",
    "skdict.steering",
]
PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
SETTINGS = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["numpydoc_validation"]
CHECKS = set(ERROR_MSGS) - set(SETTINGS["checks"])  # ["all", ...] lists what is left out


def names_of(module):
    """Names in __all__, or those that the module itself defines without an underscore."""
    own = [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    ]
    return getattr(module, "__all__", own)


def public_names():
    """Public functions and classes, and the public methods that skdict itself defines for them."""
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in names_of(module):
            thing = getattr(module, name)
            if not callable(thing):
                continue  # a constant has no docstring of its own
            yield f"{module_name}.{name}"
            if not inspect.isclass(thing):
                continue
            for method_name, method in inspect.getmembers(thing):
                module_of_method = getattr(inspect.unwrap(method), "__module__", None) or ""
                generated = method_name.startswith("set_") and method_name.endswith("_request")
                if not (method_name.startswith("_") or generated) and callable(method):
                    if module_of_method.startswith("skdict"):
                        yield f"{module_name}.{name}.{method_name}"


def test_there_are_names():
    assert SETTINGS["checks"][0] == "all"
    assert {"skdict.ICFLDictionary.transform", "skdict.metrics.selectivity_scores"} <= set(
        public_names()
    )


@pytest.mark.parametrize("name", sorted(set(public_names())))
def test_docstring(name):
    errors = [error for error in validate(name)["errors"] if error[0] in CHECKS]
    assert not errors, f"{name}: {errors}"
