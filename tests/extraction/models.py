"""Small transformers without a library, with the names that timm gives its layers."""

import pytest

torch = pytest.importorskip("torch")


class Attention(torch.nn.Module):
    """Self-attention with its output projection; the output is a tuple, as in some libraries."""

    def __init__(self, n_features):
        super().__init__()
        self.qkv = torch.nn.Linear(n_features, 3 * n_features)
        self.proj = torch.nn.Linear(n_features, n_features)

    def forward(self, x):
        query, key, value = self.qkv(x).chunk(3, dim=-1)
        attended = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        return self.proj(attended), None


class Block(torch.nn.Module):
    """Attention and a perceptron, added to the residual stream, in place without gradients."""

    def __init__(self, n_features):
        super().__init__()
        self.norm1, self.norm2 = (torch.nn.LayerNorm(n_features) for _ in range(2))
        self.attn = Attention(n_features)
        self.mlp = torch.nn.Sequential(
            torch.nn.Linear(n_features, n_features), torch.nn.GELU(), torch.nn.Dropout(0.5)
        )

    def forward(self, x):
        for part in (lambda x: self.attn(self.norm1(x))[0], lambda x: self.mlp(self.norm2(x))):
            x = x + part(x) if torch.is_grad_enabled() else x.add_(part(x))
        return x


class PlainTransformer(torch.nn.Module):
    """A vision transformer; with `channel_wise` there is a token per patch and channel."""

    def __init__(self, n_features=16, n_blocks=3, n_prefix_tokens=1, channel_wise=None, patch=8):
        super().__init__()
        self.channel_wise = channel_wise
        n_channels = 1 if channel_wise else 6
        self.patch_embed = torch.nn.Conv2d(n_channels, n_features, patch, patch)
        self.prefix = torch.nn.Parameter(torch.randn(1, n_prefix_tokens, n_features))
        self.blocks = torch.nn.ModuleList([Block(n_features) for _ in range(n_blocks)])
        self.norm = torch.nn.LayerNorm(n_features)
        self.n_forward = 0

    def embed(self, images):
        """Tokens as they enter the first block."""
        if self.channel_wise is None:
            patches = self.patch_embed(images).flatten(2).transpose(1, 2)
        else:
            n_images, n_channels = images.shape[:2]
            # (n_images, n_channels, n_features, n_patches)
            patches = self.patch_embed(images.flatten(0, 1)[:, None]).flatten(2)
            patches = patches.unflatten(0, (n_images, n_channels))
            order = (0, 1, 3, 2) if self.channel_wise == "channel" else (0, 3, 1, 2)
            patches = patches.permute(order).flatten(1, 2)
        prefix = self.prefix.expand(len(images), -1, -1)
        return torch.cat([prefix, patches], dim=1)

    def forward(self, images):
        self.n_forward += 1
        x = self.embed(images)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    @torch.no_grad()
    def streams(self, images):
        """Residual stream after each block, and attention output of each, computed by hand."""
        x, residual, attention = self.embed(images), [], []
        for block in self.blocks:
            attended = block.attn(block.norm1(x))[0]
            x = x + attended
            x = x + block.mlp(block.norm2(x))
            residual.append(x)
            attention.append(attended)
        return residual, attention


def plain_transformer(**options):
    """A transformer with random weights that are the same each time."""
    torch.manual_seed(0)
    return PlainTransformer(**options).eval()


def images(n_images, size=32, n_channels=6, seed=0):
    """Random images."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n_images, n_channels, size, size, generator=generator)
