"""Planted cells of several types in several batches: what steering may remove and what not."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch, check_random_state

from skdict._validation import check_integer, check_real
from skdict.datasets._superposition import make_superposition


def make_batches(
    n_samples: int = 3000,
    n_features: int = 32,
    *,
    n_components: int = 40,
    n_active: int = 4,
    n_types: int = 5,
    n_batches: int = 3,
    n_units: int = 4,
    atoms_per_batch: int = 2,
    batch_effect: float = 0.8,
    batch_strength: float = 1.0,
    composition: float = 0.0,
    noise: float = 0.05,
    random_state=None,
) -> Bunch:
    """Draw cells whose types and batches have atoms of their own.

    A row is a sparse sum of atoms of biology, drawn by :func:`make_superposition` with the types as
    labels, plus atoms of its batch, plus noise. Types occur in every batch, so that what belongs
    to a batch can be told from what belongs to a type.

    Parameters
    ----------
    n_samples : int, default=3000
        Number of cells.
    n_features : int, default=32
        Dimension of the rows.
    n_components : int, default=40
        Atoms of biology, two of each type among them.
    n_active : int, default=4
        Active atoms of biology in a row, at least 2.
    n_types : int, default=5
        Number of cell types.
    n_batches : int, default=3
        Number of batches.
    n_units : int, default=4
        Units (donors) in each batch.
    atoms_per_batch : int, default=2
        Atoms that belong to a batch.
    batch_effect : float, default=0.8
        Probability that a row has each atom of its batch.
    batch_strength : float, default=1.0
        What coefficients of the atoms of batches are multiplied by; those of biology have mean 2.
    composition : float, default=0.0
        How far the types of a batch depart from equal shares: with this probability a cell of type
        t lies in batch ``t % n_batches``, otherwise in any.
    noise : float, default=0.05
        Norm of the noise relative to that of the biology.
    random_state : int, RandomState instance or None, default=None
        Pass an int for the same data at every call.

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        data : ndarray of float32, shape (n_samples, n_features)
            The rows.
        components : ndarray of float32, shape (n_components + n_batches * atoms_per_batch, \
n_features)
            The atoms, unit norm: those of biology first.
        codes : csr_array, shape (n_samples, n_atoms)
            Their coefficients.
        cell_type, batch, unit : ndarray of int, shape (n_samples,)
            Type and batch of each cell, and its unit, which lies in one batch.
        type_atoms : ndarray of int, shape (n_types, 2)
            Atoms that belong to each type.
        batch_atoms : ndarray of int, shape (n_batches, atoms_per_batch)
            Atoms that belong to each batch.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of its range, or the atoms do not suffice for the types.

    Examples
    --------
    >>> from skdict.datasets import make_batches
    >>> planted = make_batches(600, random_state=0)
    >>> planted.data.shape, planted.components.shape
    ((600, 32), (46, 32))
    >>> active = planted.codes[:, planted.batch_atoms[1]].count_nonzero(axis=1)
    >>> [round(float(active[planted.batch == b].mean()), 1) for b in range(3)]
    [0.0, 1.6, 0.0]
    """
    for name, value in (("n_batches", n_batches), ("n_units", n_units)):
        check_integer(name, value, 1)
    check_integer("atoms_per_batch", atoms_per_batch, 1)
    check_integer("n_types", n_types, 2)
    check_integer("n_active", n_active, 2)
    check_real("batch_effect", batch_effect, 0, 1)
    check_real("batch_strength", batch_strength, 0, 1e6)
    check_real("composition", composition, 0, 1)
    seed = check_random_state(random_state).randint(2**31, size=2)
    biology = make_superposition(
        n_samples, n_features, n_components, n_active, n_labels=n_types, atoms_per_label=2,
        unit_norm=False, noise=noise, random_state=int(seed[0]),
    )  # fmt: skip
    rng = np.random.default_rng(seed[1])
    batch = rng.integers(n_batches, size=n_samples)
    favoured = rng.random(n_samples) < composition
    batch = np.where(favoured, biology.target % n_batches, batch)
    own = np.arange(n_batches * atoms_per_batch).reshape(n_batches, atoms_per_batch)
    atoms = rng.standard_normal((own.size, n_features))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    values = np.zeros((n_samples, own.size))
    active = rng.random((n_samples, atoms_per_batch)) < batch_effect
    coefficients = batch_strength * rng.standard_gamma(2.0, size=active.shape) * active
    np.put_along_axis(values, own[batch], coefficients, axis=1)
    return Bunch(
        data=(biology.data + values @ atoms).astype(np.float32),
        components=np.vstack([biology.components, atoms]).astype(np.float32),
        codes=sparse.csr_array(
            sparse.hstack([biology.codes, sparse.csr_array(values)]), dtype=np.float32
        ),
        cell_type=biology.target,
        batch=batch,
        unit=batch * n_units + rng.integers(n_units, size=n_samples),
        type_atoms=biology.label_atoms,
        batch_atoms=n_components + own,
    )
