"""Forward passes in batches of one shape, and what can be trusted of them."""

from __future__ import annotations

import sys

import numpy as np

from skdict.genes._concepts import check_embeddings

# Largest difference between equal rows, relative to the largest value, that is rounding.
_ROUNDING = 1e-4


class Forward:
    """Calls a model with dense batches that always have the same shape.

    The last batch is filled up with copies of its first row. So the rounding of a row does not
    depend on how many rows came with it, and an interrupted run goes on bit by bit.

    Parameters
    ----------
    embed : callable or torch.nn.Module
        ``embed(X)`` gives embeddings (n_rows, n_features), NumPy or torch.
    n_genes : int
        Columns of a batch.
    batch_size : int
        Rows of a batch.
    dtype : dtype
        Type of a batch.

    Attributes
    ----------
    n_padding : int
        Rows that only filled a batch up, so far.
    """

    def __init__(self, embed, n_genes: int, batch_size: int, dtype):
        self.embed = as_function(embed)
        self.batch = np.zeros((batch_size, n_genes), dtype=dtype)
        self.n_padding = 0
        self._n_features = None

    @property
    def batch_size(self) -> int:
        """Rows of a batch."""
        return self.batch.shape[0]

    def run(self, n_rows: int) -> np.ndarray:
        """Embeddings of the first `n_rows` rows of ``batch``, in float64."""
        size = self.batch_size
        self.batch[n_rows:] = self.batch[0]
        self.n_padding += size - n_rows
        found = check_embeddings(self.embed(self.batch), "embed(X)")
        if found.shape[0] != size or self._n_features not in (None, found.shape[1]):
            columns = "n_features" if self._n_features is None else self._n_features
            raise ValueError(
                f"embed must give an embedding per row, shape ({size}, {columns}), got "
                f"{found.shape}"
            )
        self._n_features = found.shape[1]
        # a copy: the model may hand out a view of the batch, which is overwritten next
        return np.array(found[:n_rows], dtype=np.float64)

    def run_rows(self, rows) -> np.ndarray:
        """Embeddings of dense rows, batch by batch."""
        found = []
        for start in range(0, rows.shape[0], self.batch_size):
            taken = rows[start : start + self.batch_size]
            self.batch[: taken.shape[0]] = taken
            found.append(self.run(taken.shape[0]))
        return np.concatenate(found)

    def is_steady(self, row, embedding) -> bool:
        """Whether equal rows get equal embeddings, bit by bit, anywhere in a batch.

        Parameters
        ----------
        row : ndarray, shape (n_genes,)
            A cell.
        embedding : ndarray, shape (n_features,)
            Its embedding, from a batch with other cells.

        Returns
        -------
        bool
            False where they differ by rounding.

        Raises
        ------
        ValueError
            Where they differ by more.
        """
        self.batch[:] = row
        found = self.run(self.batch_size)
        difference, largest = np.abs(found - embedding).max(), np.abs(embedding).max()
        if difference > _ROUNDING * largest:
            raise ValueError(
                "embed must give one cell the same embedding each time, whatever cells are beside "
                f"it, but values of up to {largest:.3g} differ by {difference:.2g}: switch off "
                "dropout, sampling and batch statistics (model.eval())"
            )
        return difference == 0


def as_function(embed):
    """Function from dense rows to embeddings; a torch module is called on its own device."""
    if is_module(embed):
        check_eval(embed)
        return _of_module(embed)
    if not callable(embed):
        hint = "; pass its method transform" if hasattr(embed, "transform") else ""
        raise TypeError(f"embed must be callable, got {embed!r}{hint}")
    return embed


def is_module(embed) -> bool:
    """Whether `embed` is a module of torch, which then is loaded already."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(embed, torch.nn.Module)


def check_eval(embed) -> None:
    """Raise where a module, or a part of it, is in training mode."""
    for name, module in embed.named_modules():
        if module.training:
            where = f"its layer {name!r} is" if name else "it is"
            raise ValueError(
                f"embed must be in eval mode, but {where} in training mode, in which dropout and "
                "batch statistics change the embeddings; call embed.eval() first"
            )


def _of_module(module):
    """Function that calls a module on its device, without gradients."""
    torch = sys.modules["torch"]
    device = next((value.device for value in module.parameters()), torch.device("cpu"))

    def function(X):
        with torch.no_grad():
            return module(torch.from_numpy(X).to(device))

    return function
