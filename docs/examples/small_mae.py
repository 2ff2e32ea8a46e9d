"""A small masked autoencoder in plain torch, and its training on the images that skdict ships.

The vision transformer of He et al. [1]_ with the patches (8 x 8 pixels), the six channels and the
images (256 x 256 pixels) of the ICFL paper, small enough to be trained on two cores in minutes.
``long_image_concepts.py`` runs the paper on it.

.. [1] He et al., "Masked autoencoders are scalable vision learners", CVPR 2022.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

CHANNELS = ("DNA", "ER", "RNA", "AGP", "Mito", "Brightfield")
PATCH = 8
IMAGE = 256
# Side of the windows and their number in a batch, each for a third of the training: a batch has
# 2,048 patches throughout. Small windows first: on whole images alone the network learned nothing
# in the same time.
WINDOWS = ((64, 32), (128, 8), (256, 2))
# Patches that are seen count, too, though less: the decoder has to draw them in Fig. 7A.
WEIGHT_OF_SEEN = 0.2


class Attention(nn.Module):
    """Self-attention of all tokens of an image with each other."""

    def __init__(self, width: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens):
        """Mix the tokens of each image, shape (n_images, n_tokens, width)."""
        shape = (*tokens.shape[:2], 3, self.n_heads, -1)
        query, key, value = self.qkv(tokens).reshape(shape).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Transformer block: attention, then two layers on each token, both added to the tokens."""

    def __init__(self, width: int, n_heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, n_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens):
        """Take the tokens one step along the residual stream."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class SmallMAE(nn.Module):
    """Masked autoencoder for images of several stains.

    Called with images it runs the encoder on all patches; this is what tokens are collected from.
    Its blocks have the names that timm's have. In training :meth:`reconstruct` hides patches.

    Parameters
    ----------
    n_channels : int, default=6
        Channels of an image.
    width, depth, n_heads : int
        Length of a token, number of blocks, and heads of their attention.
    decoder_width, decoder_depth : int
        The same of the decoder.
    """

    def __init__(self, n_channels=6, *, width=128, depth=4, n_heads=4, decoder_width=64,
                 decoder_depth=1):  # fmt: skip
        super().__init__()
        grid = IMAGE // PATCH
        self.patch_embed = nn.Conv2d(n_channels, width, PATCH, stride=PATCH)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList([Block(width, n_heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.decoder_embed = nn.Linear(width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.decoder_blocks = nn.ModuleList(
            [Block(decoder_width, n_heads) for _ in range(decoder_depth)]
        )
        self.decoder_norm = nn.LayerNorm(decoder_width)
        self.decoder_pred = nn.Linear(decoder_width, n_channels * PATCH**2)
        for name, size in (("positions", width), ("decoder_positions", decoder_width)):
            self.register_buffer(name, sine_positions(grid, size), persistent=False)
        self.apply(_initialise)

    def forward(self, images):
        """Tokens behind the last block and its norm: the class token, then patches row by row."""
        return self._encode(self._embed(images, _places(images)))

    def reconstruct(self, images, n_seen: int, *, corner=(0, 0), generator=None):
        """Hide all but some patches of each image, and draw the whole image.

        Parameters
        ----------
        images : tensor, shape (n_images, n_channels, height, width)
            Images of at most 256 x 256 pixels.
        n_seen : int
            Patches of each image that the encoder sees.
        corner : tuple of (int, int), default=(0, 0)
            Row and column that the first patch has in an image of 256 x 256.
        generator : torch.Generator or None, default=None
            Draws the patches.

        Returns
        -------
        patches : tensor, shape (n_images, n_patches, n_channels * 64)
            Pixels of all patches.
        hidden : tensor of bool, shape (n_images, n_patches)
            Which of them the encoder did not see.
        """
        places = _places(images, corner)
        patches = self._embed(images, places)
        seen, hidden = _hide(patches.shape[:2], n_seen, generator)
        found = self.decoder_embed(
            self._encode(patches.gather(1, seen.expand(-1, -1, patches.shape[2])))
        )
        tokens = self.mask_token.expand(*patches.shape[:2], -1)
        tokens = tokens.scatter(1, seen.expand(-1, -1, tokens.shape[2]), found[:, 1:])
        return self._decode(torch.cat([found[:, :1], tokens], dim=1), places), hidden

    def draw(self, tokens, class_tokens):
        """Images of the tokens of any block: what ``decode_tokens`` takes as a decoder.

        Parameters
        ----------
        tokens : tensor, shape (n_images, n_rows, n_columns, width)
            Patch tokens in their places, before the last norm.
        class_tokens : tensor, shape (n_images, width)
            Class tokens of the same block.

        Returns
        -------
        tensor, shape (n_images, n_channels, height, width)
            The images.
        """
        grid = tokens.shape[1:3]
        sequence = torch.cat([class_tokens[:, None], tokens.flatten(1, 2)], dim=1)
        images = torch.empty(0, 0, *(PATCH * size for size in grid))
        patches = self._decode(self.decoder_embed(self.norm(sequence)), _places(images))
        return to_images(patches, grid)

    def _embed(self, images, places):
        """Patches as tokens that know their place."""
        return self.patch_embed(images).flatten(2).transpose(1, 2) + self.positions[places]

    def _encode(self, patches):
        """Run all blocks on the class token and the patches that are there."""
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    def _decode(self, tokens, places):
        """Pixels of all patches, from the class token and a token for each of them."""
        patches = tokens[:, 1:] + self.decoder_positions[places]
        tokens = torch.cat([tokens[:, :1], patches], dim=1)
        for block in self.decoder_blocks:
            tokens = block(tokens)
        return self.decoder_pred(self.decoder_norm(tokens[:, 1:]))


def _initialise(module) -> None:
    """Draw the weights as the authors of the method do."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight.view(len(module.weight), -1))
        nn.init.zeros_(module.bias)
    for name, parameter in module.named_parameters(recurse=False):
        if name in ("cls_token", "mask_token"):
            nn.init.normal_(parameter, std=0.02)


def _hide(shape, n_seen: int, generator):
    """Number of the patches that are seen, (n_images, n_seen, 1), and which ones are hidden."""
    seen = torch.rand(shape, generator=generator).argsort(dim=1)[:, :n_seen]
    hidden = torch.ones(shape, dtype=torch.bool).scatter(1, seen, False)
    return seen[:, :, None], hidden


def _places(images, corner=(0, 0)):
    """Number that each patch of an image has among the patches of 256 x 256 pixels."""
    rows, columns = (
        start + torch.arange(size // PATCH) for start, size in zip(corner, images.shape[2:])
    )
    return (rows[:, None] * (IMAGE // PATCH) + columns).flatten()


def sine_positions(grid: int, width: int):
    """Fixed positions: sines and cosines of row and column, shape (grid * grid, width)."""
    frequency = 10000.0 ** -(torch.arange(width // 4) / (width // 4))
    angle = torch.arange(grid)[:, None] * frequency
    line = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows, columns = line[:, None].expand(-1, grid, -1), line[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)


def to_patches(images):
    """Pixels by patch, shape (n_images, n_patches, n_channels * 64)."""
    return functional.unfold(images, PATCH, stride=PATCH).transpose(1, 2)


def to_images(patches, grid):
    """Undo :func:`to_patches`, given the rows and columns of patches."""
    size = (grid[0] * PATCH, grid[1] * PATCH)
    return functional.fold(patches.transpose(1, 2), size, PATCH, stride=PATCH)


def standardise(images, field):
    """Logarithm of the pixels, with mean 0 and standard deviation 1 per field and channel.

    Parameters
    ----------
    images : ndarray, shape (n_images, n_channels, height, width)
        Images as acquired.
    field : array-like, shape (n_images,)
        Field of each image.

    Returns
    -------
    values : ndarray of float32, shape (n_images, n_channels, height, width)
        The standardised images.
    mean, spread : ndarray of float32, shape (n_images, n_channels, 1, 1)
        What undoes it: ``numpy.expm1(mean + spread * values)``.
    """
    values = np.log1p(images.astype(np.float32))
    mean = np.empty((*values.shape[:2], 1, 1), np.float32)
    spread = np.empty_like(mean)
    for name in np.unique(field):
        own = np.asarray(field) == name
        mean[own] = values[own].mean(axis=(0, 2, 3), keepdims=True)
        spread[own] = values[own].std(axis=(0, 2, 3), keepdims=True)
    return (values - mean) / spread, mean, spread


def in_six_channels(images, names):
    """Give images a plane of zeros for each channel that they lack; actin is the A of AGP.

    Parameters
    ----------
    images : ndarray, shape (n_images, n_channels, height, width)
        Images.
    names : sequence of str
        Names of their channels.

    Returns
    -------
    images : ndarray of float32, shape (n_images, 6, height, width)
        The same in the order of ``CHANNELS``.
    present : ndarray of bool, shape (n_images, 6)
        Which channels are there.
    """
    places = [CHANNELS.index("AGP" if name == "Actin" else name) for name in names]
    padded = np.zeros((len(images), len(CHANNELS), *images.shape[2:]), np.float32)
    padded[:, places] = images
    present = np.zeros((len(images), len(CHANNELS)), bool)
    present[:, places] = True
    return padded, present


def train(model, images, present, *, n_steps: int = 2000, learning_rate: float = 2e-3,
          seed: int = 0, verbose: bool = True) -> np.ndarray:  # fmt: skip
    """Train a masked autoencoder on random windows, turned and mirrored at random.

    A window keeps the place of a random part of a 256 x 256 image, so that all positions are
    learned from windows of any size. From a half to three quarters of its patches are hidden.

    Parameters
    ----------
    model : SmallMAE
        The model, trained in place and left in eval mode.
    images : list of ndarray, shape (6, height, width)
        Standardised images, each as likely as the others.
    present : ndarray of bool, shape (n_images, 6)
        Channels that count in the loss.
    n_steps : int, default=2000
        Batches of 2,048 patches.
    learning_rate : float, default=2e-3
        Largest step size of AdamW.
    seed : int, default=0
        Draws windows and hidden patches.
    verbose : bool, default=True
        Print ten lines of progress.

    Returns
    -------
    ndarray, shape (n_steps,)
        Loss of every step.
    """
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, weight_decay=0.05, betas=(0.9, 0.95)
    )
    model.train()
    losses = np.empty(n_steps)
    start = time.perf_counter()
    for step in range(n_steps):
        warm_up = min(1.0, (step + 1) / min(100, 1 + n_steps // 10))
        decay = (1 + np.cos(np.pi * step / n_steps)) / 2
        optimiser.param_groups[0]["lr"] = learning_rate * warm_up * decay
        size, n_windows = WINDOWS[step * len(WINDOWS) // n_steps]
        windows, counts = draw_windows(images, present, size, n_windows, rng)
        grid = size // PATCH
        corner = tuple(rng.integers(0, IMAGE // PATCH - grid + 1, size=2).tolist())
        n_seen = round(grid**2 * (1 - rng.uniform(0.5, 0.75)))
        loss = weighted_loss(model, windows, counts, n_seen, corner, generator)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses[step] = loss.item()
        if verbose and (step + 1) % max(1, n_steps // 10) == 0:
            recent = losses[max(0, step - 49) : step + 1].mean()
            print(f"step {step + 1:5}  windows of {size:3}  loss {recent:.3f}  "
                  f"{time.perf_counter() - start:4.0f} s")  # fmt: skip
    model.eval()
    return losses


def weighted_loss(model, images, counts, n_seen: int, corner=(0, 0), generator=None):
    """Squared error of the channels that count, of hidden patches and, less, of those seen."""
    drawn, hidden = model.reconstruct(images, n_seen, corner=corner, generator=generator)
    weight = torch.where(hidden, 1.0, WEIGHT_OF_SEEN)[:, :, None] * counts[:, None]
    return (weight * patch_errors(drawn, images)).sum() / weight.sum()


def draw_windows(images, present, size: int, n_windows: int, rng):
    """Random windows of random images, turned and mirrored, and the channels that they have."""
    windows = np.empty((n_windows, len(CHANNELS), size, size), np.float32)
    chosen = rng.integers(0, len(images), size=n_windows)
    for i, image in enumerate(chosen):
        y, x = (rng.integers(0, side - size + 1) for side in images[image].shape[1:])
        window = np.rot90(images[image][:, y : y + size, x : x + size], rng.integers(4), (1, 2))
        windows[i] = window if rng.random() < 0.5 else window[:, :, ::-1]
    return torch.from_numpy(windows), torch.from_numpy(present[chosen].astype(np.float32))


def patch_errors(patches, images):
    """Mean squared error by patch and channel, shape (n_images, n_patches, n_channels)."""
    square = (patches - to_patches(images)) ** 2
    return square.unflatten(2, (images.shape[1], -1)).mean(dim=3)


@torch.no_grad()
def masked_error(reconstruct, images, *, share_hidden: float = 0.75, seed: int = 0) -> np.ndarray:
    """Mean squared error of the hidden patches of images, by channel.

    Parameters
    ----------
    reconstruct : callable
        ``SmallMAE.reconstruct`` of a model, or a rule in its place such as
        :func:`nearest_seen`.
    images : ndarray of float32, shape (n_images, n_channels, height, width)
        Standardised images.
    share_hidden : float, default=0.75
        Share of the patches that is hidden.
    seed : int, default=0
        Draws the patches, the same for every model.

    Returns
    -------
    ndarray, shape (n_channels,)
        The errors.
    """
    images = torch.from_numpy(images)
    n_patches = images[0, 0].numel() // PATCH**2
    generator = torch.Generator().manual_seed(seed)
    drawn, hidden = reconstruct(images, round(n_patches * (1 - share_hidden)), generator=generator)
    return patch_errors(drawn, images)[hidden].mean(dim=0).numpy()


def nearest_seen(images, n_seen: int, *, generator=None):
    """Rule without a network: a hidden patch is as bright as the nearest one that is seen.

    Parameters, and what is returned, are those of ``SmallMAE.reconstruct``.
    """
    patches = to_patches(images)
    seen, hidden = _hide(patches.shape[:2], n_seen, generator)
    columns = images.shape[3] // PATCH
    number = torch.arange(patches.shape[1])
    places = torch.stack([number // columns, number % columns], dim=1).float()
    channels = patches.unflatten(2, (images.shape[1], -1))
    mean = channels.mean(dim=3, keepdim=True).expand_as(channels).flatten(2)
    nearest = [own[torch.cdist(places, places[own]).argmin(dim=1)] for own in seen[..., 0]]
    return torch.stack([mean[i, own] for i, own in enumerate(nearest)]), hidden


def mean_image(images, n_seen: int, *, generator=None):
    """Rule that knows nothing: every pixel has the mean of its field, which is 0."""
    patches = to_patches(images)
    return torch.zeros_like(patches), _hide(patches.shape[:2], n_seen, generator)[1]
