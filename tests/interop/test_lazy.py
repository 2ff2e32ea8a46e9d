"""AnnData is an extra: loaded when it is needed, and asked for by name when it is not there."""

import subprocess
import sys

import pytest

from skdict.interop import concepts_to_anndata


def test_importing_loads_no_anndata():
    code = "import sys, skdict.interop; assert not {'anndata', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(ImportError, match=r'pip install "skdict\[anndata\]"'):
        concepts_to_anndata(None)
