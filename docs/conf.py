"""Configuration of the documentation. Builds without network; warnings are errors (make docs)."""

import os
from html import escape
from importlib.metadata import version as installed_version

from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

project = "skdict"
author = "skdict developers"
project_copyright = "2026, skdict developers"
release = version = installed_version("skdict")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples"]
templates_path = ["_templates"]
default_role = "code"
autosummary_generate = True
numpydoc_show_class_members = False
math_number_all = False
html_math_renderer = "mathml"

html_theme = "pydata_sphinx_theme"
html_title = f"skdict {release}"
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "api": []}
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}

# make docs runs what takes under 30 seconds (plot_*), make gallery everything.
run_everything = os.environ.get("SKDICT_GALLERY") == "all"
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/(plot|long|run)_" if run_everything else r"/plot_",
    # what the examples import lies beside them and is no page
    "ignore_pattern": r"__init__\.py|(^|/)(small|image)_[a-z]+\.py",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skdict",),
    "reference_url": {"skdict": None},
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,  # its page would load scripts from the network
}

logger = logging.getLogger(__name__)


def is_foreign(app, what, name, obj, skip, options):
    """Leave methods that scikit-learn brings out of the API pages: their texts link elsewhere."""
    module = getattr(obj, "__module__", None) or ""
    if name.startswith("set_") and (name.endswith("_request") or name == "set_output"):
        return True
    return True if module.startswith("sklearn") else skip


def math_as_mathml(translator, source, *, block):
    """Write a formula as MathML, which browsers show without a script from the network."""
    try:
        translator.body.append(tex2mathml(source, as_block=block))
    except MathError as error:
        logger.warning("cannot turn into MathML: %s (%s)", source, error)
        translator.body.append(f"<code>{escape(source)}</code>")


def visit_inline_math(translator, node):
    """Write one formula within a line."""
    math_as_mathml(translator, node.astext(), block=False)
    node.children = []


def visit_math_block(translator, node):
    """Write one formula on its own line."""
    translator.body.append('<div style="margin: 1em 0; text-align: center">')
    math_as_mathml(translator, node.astext(), block=True)
    translator.body.append("</div>")
    node.children = []


def setup(app):
    """Register the two hooks above."""
    app.connect("autodoc-skip-member", is_foreign)
    app.add_html_math_renderer("mathml", (visit_inline_math, None), (visit_math_block, None))
