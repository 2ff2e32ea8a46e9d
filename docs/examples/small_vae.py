"""A small variational autoencoder for counts in plain torch, and its training.

What scVI [1]_ does with the least of parts: counts are negative binomial around the depth of the
cell (which is observed, not modelled) times a share of each gene, the shares are decoded from a
few latent coordinates, and these are normal around what the encoder makes of the counts. Trained on
the blood cells that skdict ships in seconds to a minute on two cores. ``long_gene_concepts.py``
reads concepts out of it.

.. [1] Lopez et al., "Deep generative modeling for single-cell transcriptomics", Nature Methods 15,
   2018.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import nn

# Counts are brought to this depth before the logarithm that the encoder sees.
TARGET_DEPTH = 1e4


class SmallVAE(nn.Module):
    """Variational autoencoder for counts of `n_genes` genes.

    Called with counts it gives the mean of the latent coordinates: the embedding of the cells.
    Normalisation happens inside, so that a count can be changed and the cell embedded again.

    Parameters
    ----------
    n_genes : int
        Columns of the counts. All that a cell has count for its depth: where genes were left out,
        append their sum as a last column.
    n_latent, n_hidden : int
        Latent coordinates, and width of the layers between them and the genes.
    """

    def __init__(self, n_genes: int, n_latent: int = 32, n_hidden: int = 128):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(n_genes, n_hidden), nn.LayerNorm(n_hidden), nn.ReLU()
        )
        self.mean = nn.Linear(n_hidden, n_latent)
        self.log_variance = nn.Linear(n_hidden, n_latent)
        self.decoder = nn.Sequential(
            nn.Linear(n_latent, n_hidden), nn.LayerNorm(n_hidden), nn.ReLU(),
            nn.Linear(n_hidden, n_genes),
        )  # fmt: skip
        # 1 / overdispersion of each gene; e**2 is near Poisson for counts as small as these
        self.log_inverse_dispersion = nn.Parameter(torch.full((n_genes,), 2.0))

    def forward(self, counts):
        """Embedding of cells, shape (n_cells, n_latent), of counts of any floating type."""
        return self.mean(self._encoded(counts))

    def _encoded(self, counts):
        """Hidden layer of the encoder; the same whatever the depth of the cells."""
        depth = counts.sum(dim=1, keepdim=True).clamp(min=1)
        return self.encoder(torch.log1p(counts / depth * TARGET_DEPTH))

    def loss(self, counts, *, weight: float = 1.0, generator=None):
        """Negative evidence lower bound, mean over cells.

        Parameters
        ----------
        counts : Tensor of shape (n_cells, n_genes)
            Counts.
        weight : float, default=1.0
            Of the divergence from the prior; less than 1 while training begins.
        generator : torch.Generator, default=None
            Draws the latent coordinates.
        """
        hidden = self._encoded(counts)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden).clamp(-8, 4)
        noise = torch.randn(mean.shape, generator=generator)
        latent = mean + noise * (log_variance / 2).exp()
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1)
        return (weight * divergence - self.log_likelihood(counts, latent)).mean()

    def log_likelihood(self, counts, latent):
        """Log-likelihood of each cell under its latent coordinates; constants are left out."""
        depth = counts.sum(dim=1, keepdim=True)
        log_share = torch.log_softmax(self.decoder(latent), dim=1)
        log_rate = log_share + depth.clamp(min=1).log()
        r = self.log_inverse_dispersion.exp()
        log_total = torch.logaddexp(self.log_inverse_dispersion, log_rate)
        per_gene = r * (self.log_inverse_dispersion - log_total) + counts * (log_rate - log_total)
        # gamma functions only where there is a count: elsewhere they cancel
        cell, gene = counts.nonzero(as_tuple=True)
        gamma = torch.lgamma(counts[cell, gene] + r[gene]) - torch.lgamma(r[gene])
        return per_gene.sum(dim=1).index_add(0, cell, gamma)


def train(counts, *, n_latent=32, n_epochs=60, batch_size=128, seed=0, verbose=True):
    """Train on counts; the seed decides the result.

    Parameters
    ----------
    counts : sparse or array-like of shape (n_cells, n_genes)
        Counts, with the sum of genes left out as a last column.
    n_latent : int, default=32
        Latent coordinates.
    n_epochs : int, default=60
        Passes over the cells; 0 gives an untrained network. The weight of the prior rises over the
        first half.
    batch_size : int, default=128
        Cells of a step.
    seed : int, default=0
        Of the first weights, the batches and the noise.
    verbose : bool, default=True
        Print the loss now and then.

    Returns
    -------
    model : SmallVAE
        In evaluation mode.
    losses : list of float
        Mean loss of each epoch.
    """
    cells = torch.from_numpy(as_dense(counts))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SmallVAE(cells.shape[1], n_latent)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    losses = []
    for epoch in range(n_epochs):
        weight = min(1.0, 2 * (epoch + 1) / n_epochs)
        total = 0.0
        for rows in torch.randperm(len(cells), generator=generator).split(batch_size):
            loss = model.loss(cells[rows], weight=weight, generator=generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(cells))
        if verbose and (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:4}  loss {losses[-1]:.1f}", flush=True)
    return model.eval(), losses


def embed(model, counts, batch_size: int = 1024) -> np.ndarray:
    """Embeddings of counts, dense or sparse, batch by batch."""
    starts = range(0, counts.shape[0], batch_size)
    with torch.no_grad():
        parts = [model(torch.from_numpy(as_dense(counts[i : i + batch_size]))) for i in starts]
    return torch.cat(parts).numpy()


def held_out_loss(model, counts) -> float:
    """Negative log-likelihood of cells under the mean of their latent coordinates."""
    with torch.no_grad():
        cells = torch.from_numpy(as_dense(counts))
        return -model.log_likelihood(cells, model(cells)).mean().item()


def as_dense(counts) -> np.ndarray:
    """Counts as dense float32."""
    counts = counts.toarray() if sparse.issparse(counts) else np.asarray(counts)
    return np.ascontiguousarray(counts, dtype=np.float32)
