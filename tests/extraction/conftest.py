"""Small models run fastest, and the same on every machine, on one thread."""

import pytest


@pytest.fixture(autouse=True)
def one_thread():
    """Let torch use one thread during a test."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
