"""Planted counts of cells, and a model of them whose driver genes are known."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch, check_random_state

from skdict._validation import check_choice, check_integer, check_real

MODELS = ("linear", "log")
# Weights of the drivers of a concept fall from the first to the second.
_WEIGHTS = (1.0, 0.5)
# Coordinates of the embedding that no concept lies along, and genes that each of them reads.
_N_OTHER, _N_READ = 4, 12


def make_driver_genes(
    n_cells: int = 800,
    n_genes: int = 300,
    n_concepts: int = 3,
    *,
    n_drivers: int = 5,
    n_confounders: int = 10,
    n_interactions: int = 0,
    active_fraction: float = 0.2,
    fold_change: float = 6.0,
    mean_count: float = 0.7,
    depth_spread: float = 0.3,
    batch_effect: float = 0.2,
    n_donors: int = 6,
    n_batches: int = 2,
    model: str = "linear",
    random_state=None,
) -> Bunch:
    r"""Draw counts of cells, and a model that embeds them by the driver genes of its concepts.

    A cell is in the state of each concept with a chance that varies between donors. In that
    state the concept's *drivers* and *confounders* are expressed `fold_change` times as strongly.
    The model reads the drivers and never the confounders: these mark the state as well as the
    drivers do, and no change of theirs changes an activation. Counts are Poisson around
    depth x batch factor x mean of the gene.

    The activation of concept k before anything is cut off is

    .. math::

       h_k = \sum_{g \in D_k} w_{kg}\, f(x_g)
       \qquad\text{or}\qquad
       h_k = w_k\, f(x_a)\, f(x_b)

    for the last `n_interactions` concepts, which two genes drive together, with
    :math:`f(x) = x` for the linear model and :math:`f(x) = \log(1 + x)` otherwise. Four more
    coordinates read genes of which half vary with a state of their own, and the embedding is a
    rotation of all coordinates.

    Parameters
    ----------
    n_cells : int, default=800
        Number of cells.
    n_genes : int, default=300
        Number of genes. Those that are left over are ignored by the model and vary with nothing
        but depth and batch.
    n_concepts : int, default=3
        Number of concepts.
    n_drivers : int, default=5
        Drivers of each concept; an interaction has two.
    n_confounders : int, default=10
        Confounders of each concept.
    n_interactions : int, default=0
        Concepts, the last ones, that are driven by a product of two genes.
    active_fraction : float, default=0.2
        Mean share of the cells in the state of a concept.
    fold_change : float, default=6.0
        Expression in the state over that outside.
    mean_count : float, default=0.7
        Mean count of drivers and confounders outside the state, at depth 1. The means of the
        other genes vary around it.
    depth_spread : float, default=0.3
        Standard deviation of the logarithm of the depth.
    batch_effect : float, default=0.2
        Standard deviation of the logarithm of each gene's factor in a batch.
    n_donors : int, default=6
        Number of donors; cell i is of donor ``i % n_donors``.
    n_batches : int, default=2
        Number of batches; donor d is in batch ``d % n_batches``.
    model : {"linear", "log"}, default="linear"
        Whether the model reads counts or their logarithm. It does not normalise them: a gene that
        it ignores has no influence, not even through the depth.
    random_state : int, RandomState instance or None, default=None
        Seed.

    Returns
    -------
    Bunch
        counts : csr_array of float32, shape (n_cells, n_genes)
            The counts.
        genes : ndarray of str, shape (n_genes,)
            Names that tell what a gene is: "driver0.1", "confounder2.7", "read3.5" (of another
            coordinate) or "ignored12".
        embed : callable
            ``embed(X)``: embeddings, shape (n_rows, n_concepts + 4), of counts, dense or CSR.
        directions : ndarray, shape (n_concepts, n_concepts + 4)
            Unit directions: ``embed(X) @ directions.T`` are the activations h.
        driver, confounder : ndarray of bool, shape (n_concepts, n_genes)
            Which genes are what of which concept.
        weights : ndarray, shape (n_concepts, n_genes)
            The weights of the drivers.
        interaction : ndarray of bool, shape (n_concepts,)
            Concepts that are a product of two genes.
        ignored : ndarray of bool, shape (n_genes,)
            Genes that the model never reads, the confounders among them.
        state : ndarray of bool, shape (n_cells, n_concepts)
            Which cells are in the state of which concept.
        donor, batch : ndarray of str, shape (n_cells,)
            Donor and batch of each cell.
        depth : ndarray, shape (n_cells,)
            Depth that the counts were drawn with, not the sum of the counts.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or the genes do not suffice.

    Examples
    --------
    >>> from skdict.datasets import make_driver_genes
    >>> data = make_driver_genes(random_state=0)
    >>> data.counts.shape, data.embed(data.counts).shape
    ((800, 300), (800, 7))
    >>> data.genes[data.driver[0]].tolist()
    ['driver0.0', 'driver0.1', 'driver0.2', 'driver0.3', 'driver0.4']
    """
    for name, value in {
        "n_cells": n_cells,
        "n_genes": n_genes,
        "n_concepts": n_concepts,
        "n_drivers": n_drivers,
        "n_donors": n_donors,
        "n_batches": n_batches,
    }.items():
        check_integer(name, value, 1)
    check_integer("n_confounders", n_confounders, 0)
    check_integer("n_interactions", n_interactions, 0)
    check_real("active_fraction", active_fraction, 0, 1, open_low=True)
    check_real("fold_change", fold_change, 1, 1e6)
    check_real("mean_count", mean_count, 0, 1e6, open_low=True)
    check_real("depth_spread", depth_spread, 0, 10)
    check_real("batch_effect", batch_effect, 0, 10)
    check_choice("model", model, MODELS)
    if n_interactions > n_concepts:
        raise ValueError(f"n_interactions must be at most n_concepts={n_concepts}, got "
                         f"{n_interactions}")  # fmt: skip
    rng = check_random_state(random_state)
    interaction = np.arange(n_concepts) >= n_concepts - n_interactions
    roles = _roles(n_genes, interaction, n_drivers, n_confounders)
    donor = np.arange(n_cells) % n_donors
    batch = donor % n_batches
    state = _states(rng, donor, n_donors, n_concepts, active_fraction)
    depth = np.exp(rng.normal(0, depth_spread, n_cells)) if depth_spread else np.ones(n_cells)
    counts = _counts(rng, roles, state, depth, batch, fold_change, mean_count, batch_effect)
    embedding = _PlantedEmbedding(rng, roles, interaction, model)
    return Bunch(
        counts=counts,
        genes=roles.names,
        embed=embedding,
        directions=embedding.rotation[:n_concepts].copy(),
        driver=roles.driver,
        confounder=roles.confounder,
        weights=embedding.weights[:n_concepts],
        interaction=interaction,
        ignored=~(roles.driver.any(axis=0) | roles.read.any(axis=0)),
        state=state,
        donor=np.array([f"donor{d}" for d in donor]),
        batch=np.array([f"batch{b}" for b in batch]),
        depth=depth,
    )


def _roles(n_genes, interaction, n_drivers, n_confounders) -> Bunch:
    """Names of the genes, and which of them belong to which concept or other coordinate."""
    names, owners = [], []
    for k, pair in enumerate(interaction):
        for role, number in (("driver", 2 if pair else n_drivers), ("confounder", n_confounders)):
            names += [f"{role}{k}.{i}" for i in range(number)]
            owners += [(role, k)] * number
    for other in range(_N_OTHER):
        names += [f"read{other}.{i}" for i in range(_N_READ)]
        owners += [("read", other)] * _N_READ
    if len(names) > n_genes:
        raise ValueError(
            f"n_genes must be at least {len(names)} for these drivers, confounders and genes that "
            f"other coordinates read, got {n_genes}"
        )
    names += [f"ignored{i}" for i in range(n_genes - len(names))]
    sizes = {
        "driver": interaction.shape[0],
        "confounder": interaction.shape[0],
        "read": _N_OTHER,
    }
    masks = {role: np.zeros((size, n_genes), dtype=bool) for role, size in sizes.items()}
    for gene, (role, owner) in enumerate(owners):
        masks[role][owner, gene] = True
    return Bunch(names=np.array(names), **masks)


def _states(rng, donor, n_donors, n_concepts, active_fraction) -> np.ndarray:
    """Which cells are in which state: independent, at a chance that varies between donors."""
    chance = active_fraction
    if active_fraction < 1:
        concentration = 20.0
        chance = rng.beta(
            concentration * active_fraction,
            concentration * (1 - active_fraction),
            size=(n_donors, n_concepts),
        )[donor]
    return rng.random_sample((donor.shape[0], n_concepts)) < chance


def _counts(rng, roles, state, depth, batch, fold_change, mean_count, batch_effect):
    """Poisson counts, as CSR of float32."""
    n_cells, n_genes = state.shape[0], roles.names.shape[0]
    named = (roles.driver | roles.confounder).any(axis=0)
    means = np.where(named, mean_count, mean_count * np.exp(rng.normal(0, 0.7, n_genes)))
    logarithm = state @ ((roles.driver | roles.confounder) * np.log(fold_change))
    # half the genes of another coordinate follow a state of their own
    other = rng.random_sample((n_cells, _N_OTHER)) < 0.3
    varied = roles.read & (np.cumsum(roles.read, axis=1) <= _N_READ // 2)
    logarithm = logarithm + other @ (varied * np.log(fold_change))
    factors = rng.normal(0, batch_effect, (int(batch.max()) + 1, n_genes)) if batch_effect else 0
    logarithm += factors[batch] if batch_effect else 0
    return sparse.csr_array(
        rng.poisson(depth[:, None] * means * np.exp(logarithm)), dtype=np.float32
    )


class _PlantedEmbedding:
    """The model: coordinates that read few genes each, rotated."""

    def __init__(self, rng, roles, interaction, model):
        self.model, self.interaction = model, np.append(interaction, np.zeros(_N_OTHER, bool))
        self.weights = np.concatenate([roles.driver, roles.read]).astype(np.float64)
        for k in np.flatnonzero(~interaction):
            genes = np.flatnonzero(roles.driver[k])
            self.weights[k, genes] = np.linspace(*_WEIGHTS, genes.shape[0])
        self.weights[interaction.shape[0] :] *= rng.uniform(0.3, 0.7, (_N_OTHER, 1))
        n_features = self.weights.shape[0]
        self.rotation = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]

    def __call__(self, X):
        X = X.toarray() if sparse.issparse(X) else np.asarray(X)
        X = X.astype(np.float64, copy=False)
        read = np.log1p(X) if self.model == "log" else X
        activations = read @ self.weights.T
        for k in np.flatnonzero(self.interaction):
            genes = np.flatnonzero(self.weights[k])
            activations[:, k] = self.weights[k, genes[0]] * read[:, genes].prod(axis=1)
        return activations @ self.rotation
