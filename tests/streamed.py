"""What tests of streamed rows share: a source that keeps a record, and orders to draw from."""

import time

from hypothesis import strategies as st

from skdict._block_shuffle import BlockShuffle

shuffles = st.fixed_dictionaries(
    {
        "n_rows": st.integers(8, 130),
        "block_rows": st.integers(1, 40),
        "blocks_in_buffer": st.integers(1, 5),
        "random_state": st.integers(0, 3),
    }
)


class Source:
    """A row source that notes what is read, and may fail."""

    def __init__(self, X, fail_at=None, seconds=0.0):
        self.X, self.fail_at, self.seconds, self.read = X, fail_at, seconds, []
        self.shape, self.dtype = X.shape, X.dtype

    def __getitem__(self, rows):
        time.sleep(self.seconds)
        self.read.append((rows.start, rows.stop))
        if self.fail_at is not None and rows.start <= self.fail_at < rows.stop:
            raise OSError("the disk is gone")
        return self.X[rows]


def order_of(X, **settings):
    return BlockShuffle(len(X), **{"block_rows": 5, "blocks_in_buffer": 2, "random_state": 0}
                        | settings)  # fmt: skip
