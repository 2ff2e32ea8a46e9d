"""Cells with counts, logarithms and embeddings: in memory, and from every kind of file."""

import pytest

OPENED = ["memory h5ad", "backed", "lazy h5ad", "memory zarr", "lazy zarr"]


@pytest.fixture
def counts():
    from tests.interop.cells import make_counts

    return make_counts()


@pytest.fixture
def adata():
    from tests.interop.cells import make_adata

    return make_adata()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Folder with the cells in both formats."""
    from tests.interop.cells import make_adata, write

    return write(make_adata(), tmp_path_factory.mktemp("cells"))


@pytest.fixture(params=OPENED)
def opened(request, folder):
    """The cells from a file."""
    from tests.interop.cells import open_as

    with open_as(folder, request.param) as opened:
        yield opened
