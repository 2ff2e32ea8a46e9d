"""The blood cells that ship with the package: counts of ten purified populations."""

from __future__ import annotations

import io

import numpy as np
from sklearn.utils import Bunch

from skdict.datasets import _descriptions
from skdict.datasets._convert_pbmc import LABELS, unpack_counts
from skdict.datasets._shipped import _read_checked


def load_pbmc() -> Bunch:
    """Load counts of 1,500 blood cells of ten purified populations (10x v1).

    150 cells of each population, 2,000 genes. **Each population was a library of its own**, so
    that type and batch coincide: what tells populations apart here may be the library. Depth goes
    with the population, too. The text in ``DESCR`` has the numbers and the other traps.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        counts : csr_array of float32, shape (1500, 2000)
            UMI counts, as published.
        genes : ndarray of str, shape (2000,)
            Gene symbols, unique.
        ensembl : ndarray of str, shape (2000,)
            Ensembl identifiers.
        cells : ndarray of str, shape (1500,)
            Barcodes, unique.
        cell_type : ndarray of str, shape (1500,)
            Population that the cell was purified as, ten of them.
        cell_group : ndarray of str, shape (1500,)
            "B cell", "T cell", "NK cell", "CD14+" or "CD34+".
        split : ndarray of str, shape (1500,)
            "train" or "test", as in the source.
        n_counts : ndarray of int32, shape (1500,)
            Counts of the cell over all 16,791 genes of the source, to normalise with.
        DESCR, license, source : str
            Description, licence and attribution, and where the data come from.

    Raises
    ------
    FileNotFoundError, ValueError
        If the shipped file is missing or damaged.

    References
    ----------
    .. [1] Zheng et al., "Massively parallel digital transcriptional profiling of single cells",
       Nature Communications 8, 14049, 2017. doi:10.1038/ncomms14049

    Examples
    --------
    Normalised to the depth of the cell over all genes:

    >>> import numpy as np
    >>> from skdict.datasets import load_pbmc
    >>> pbmc = load_pbmc()
    >>> pbmc.counts.shape, len(set(pbmc.cell_type))
    ((1500, 2000), 10)
    >>> logarithm = pbmc.counts.multiply(2000 / pbmc.n_counts[:, None]).log1p().tocsr()
    >>> expression = logarithm[:, pbmc.genes == "CD79A"].toarray().ravel()
    >>> groups = sorted(set(pbmc.cell_group.tolist()))
    >>> max(groups, key=lambda group: expression[pbmc.cell_group == group].mean())
    'B cell'
    """
    with np.load(io.BytesIO(_read_checked("pbmc")), allow_pickle=False) as members:
        columns = {name: np.char.decode(members[name]) for name in ("genes", "ensembl", "cells")}
        for name in LABELS:
            categories = np.char.decode(members[f"categories.{name}"])
            columns[name] = categories[members[f"codes.{name}"]]
        return Bunch(
            counts=unpack_counts(members),
            n_counts=members["n_counts"],
            **columns,
            DESCR=_descriptions.PBMC,
            license="BSD-2-Clause; data of 10x Genomics, to our knowledge CC BY 4.0",
            source=(
                "https://github.com/stephenslab/fastTopics "
                "at 8406f5f4de379e7ff8b43ecfee93cca42a8e7a57, data/pbmc_facs.RData; "
                "Zheng et al. 2017, doi:10.1038/ncomms14049"
            ),
        )
