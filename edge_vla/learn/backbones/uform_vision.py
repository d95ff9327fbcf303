"""UForm-Gen2's eyes: a ViT whose positions are learned for 224 px and stretched to the picture's size, and a pooler to 256 latents."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

LEARNED_PX = 224  # the size the position embedding is stored for
STRETCH = 0.1  # patches added to the target before the scale is taken; moves every sample a little, so it has to be there


class Attention(nn.Module):
    """Every patch looks at every patch."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.hidden_layer = nn.Linear(dim, 4 * dim)
        self.output_layer = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_layer(F.gelu(self.hidden_layer(x)))


class LayerScale(nn.Module):
    """The library calls this weight `gamma`; checkpoints have it as `weight`, since transformers renames every gamma."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((dim,), 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim)
        self.ls2 = LayerScale(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class UformVision(nn.Module):
    """(n, 3, H, W) to (n, 1 + patches, dim): the class token first, the last norm over all."""

    def __init__(self, *, dim: int, patch: int, layers: int, heads: int) -> None:
        super().__init__()
        self.patch, self.learned = patch, LEARNED_PX // patch
        self.recompute = False
        self.patch_embed = nn.Conv2d(3, dim, patch, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.learned**2, dim))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, images: Tensor) -> Tensor:
        rows, columns = images.shape[-2] // self.patch, images.shape[-1] // self.patch
        x = self.patch_embed(images).flatten(2).transpose(1, 2) + self.positions(rows, columns)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.recompute and self.training else block(x)
        return self.norm(x)

    def positions(self, rows: int, columns: int) -> Tensor:
        """(1, rows * columns, dim) in float32's precision whatever the model's, as the original computes them.

        A product with a constant matrix: bicubic resampling is linear, and a matrix product exports everywhere.
        """
        if rows == columns == self.learned:
            return self.pos_embed
        stretched = stretching(self.learned, rows, columns).to(self.pos_embed.device) @ self.pos_embed.float()
        return stretched.to(self.pos_embed.dtype)

    def activation_checkpointing_enable(self) -> None:
        """Keep no activations inside the blocks while training; the backward pass computes them again."""
        self.recompute = True


def stretching(learned: int, rows: int, columns: int) -> Tensor:
    """(rows * columns, learned * learned): each new position as a bicubic mix of the learned ones."""
    unit = torch.eye(learned**2, device="cpu").unflatten(1, (1, learned, learned))
    scale = ((rows + STRETCH) / learned, (columns + STRETCH) / learned)
    mixed = F.interpolate(unit, scale_factor=scale, mode="bicubic", antialias=False)
    if mixed.shape[-2:] != (rows, columns):
        raise ValueError(f"{learned} positions a side do not stretch to {rows} x {columns}, but to {tuple(mixed.shape[-2:])}")
    return mixed.flatten(1).T.contiguous()


class UformPooler(nn.Module):
    """Learned latents that look at each other and then at the patches; a projection to the language model's width."""

    def __init__(self, *, dim: int, heads: int, inner: int, latents: int, out: int) -> None:
        super().__init__()
        self.pooler = nn.TransformerDecoderLayer(dim, heads, inner, activation=F.silu, batch_first=True, norm_first=True)
        self.image_latents = nn.Parameter(torch.zeros(1, latents, dim))
        self.projection = nn.Linear(dim, out)

    def forward(self, features: Tensor) -> Tensor:
        return self.projection(self.pooler(self.image_latents.expand(len(features), -1, -1), features))
