"""Qwen-VL's image encoder: a ViT, read by learned queries. Names as in the public checkpoint under `transformer.visual`."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

EPS = 1e-6
STORED = 16  # positions a side in the checkpoint: of its first, 224-pixel training
POOL_HEAD = 128  # channels of a head of the pooling attention


def attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
    """(b, heads, n, c) queries to (b, n, heads * c); `allowed` is added to the scores."""
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if allowed is not None:
        scores = scores + allowed
    return (scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v).transpose(1, 2).flatten(2)


def enlarging(source: int, target: int) -> Tensor:
    """(target * target, source * source): bicubic interpolation of a square grid as one matrix, which an exporter folds away."""
    grid = torch.eye(source * source, device="cpu").reshape(-1, 1, source, source)
    return functional.interpolate(grid, size=(target, target), mode="bicubic", align_corners=False).flatten(1).T.contiguous()


class VisualAttention(nn.Module):
    """`in_proj` gives q, k and v head by head: [q0 k0 v0 q1 k1 v1 ...], not in three blocks."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.in_proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2).chunk(3, -1)
        out: Tensor = self.out_proj(attend(q, k, v))
        return out


class VisualBlock(nn.Module):
    """Pre-norm attention and feed-forward with the exact GELU."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)
        self.attn = VisualAttention(width, heads)
        steps = [("c_fc", nn.Linear(width, feed_forward)), ("gelu", nn.GELU()), ("c_proj", nn.Linear(feed_forward, width))]
        self.mlp = nn.Sequential(OrderedDict(steps))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class VisualBlocks(nn.Module):
    """The stack, under the checkpoint's name for it."""

    def __init__(self, width: int, layers: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(VisualBlock(width, heads, feed_forward) for _ in range(layers))
        self.recompute = False

    def forward(self, x: Tensor) -> Tensor:
        for block in self.resblocks:
            x = checkpoint(block, x, use_reentrant=False) if self.recompute and torch.is_grad_enabled() else block(x)
        return x


class PoolAttention(nn.Module):
    """`nn.MultiheadAttention` with separate queries, keys and values, and its names for the weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // POOL_HEAD
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        parts = zip((query, key, value), weights, biases, strict=True)
        q, k, v = (functional.linear(x, w, b).unflatten(-1, (self.heads, -1)).transpose(1, 2) for x, w, b in parts)
        out: Tensor = self.out_proj(attend(q, k, v))
        return out


class QueryPool(nn.Module):
    """Learned queries read the patches once; the positions of both are the same sinusoids, stretched for the patches."""

    pos_embed: Tensor
    to_patches: Tensor

    def __init__(self, queries: int, width: int, patch_width: int, grid: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(queries, width))
        self.register_buffer("pos_embed", torch.empty(queries, width))  # stored, never trained
        self.register_buffer("to_patches", enlarging(math.isqrt(queries), grid), persistent=False)
        self.kv_proj = nn.Identity() if patch_width == width else nn.Linear(patch_width, width, bias=False)
        self.attn = PoolAttention(width)
        self.ln_q, self.ln_kv = nn.LayerNorm(width, eps=EPS), nn.LayerNorm(width, eps=EPS)

    def forward(self, patches: Tensor) -> Tensor:
        values = self.ln_kv(self.kv_proj(patches))
        places = stretch(self.to_patches, self.pos_embed)
        queries = (self.ln_q(self.query) + self.pos_embed).expand(patches.shape[0], -1, -1)
        out: Tensor = self.attn(queries, values + places, values)
        return out


class VisionTransformer(nn.Module):
    """(n, 3, size, size) to (n, queries, output_dim)."""

    to_patches: Tensor

    def __init__(  # noqa: PLR0913 - config.json's `visual`
        self, *, image_size: int, patch_size: int, width: int, layers: int, heads: int, mlp_ratio: float, output_dim: int,
        n_queries: int = 256,
    ) -> None:  # fmt: skip
        super().__init__()
        self.image_size, grid = image_size, image_size // patch_size
        self.conv1 = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        self.positional_embedding = nn.Parameter(torch.empty(STORED * STORED, width))
        self.register_buffer("to_patches", enlarging(STORED, grid), persistent=False)
        self.ln_pre = nn.LayerNorm(width, eps=EPS)
        self.transformer = VisualBlocks(width, layers, heads, int(width * mlp_ratio))
        self.attn_pool = QueryPool(n_queries, output_dim, width, grid)
        self.ln_post = nn.LayerNorm(output_dim, eps=EPS)
        self.proj = nn.Parameter(torch.empty(output_dim, output_dim))

    def forward(self, images: Tensor) -> Tensor:
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        patches = self.ln_pre(patches + stretch(self.to_patches, self.positional_embedding))
        out: Tensor = self.ln_post(self.attn_pool(self.transformer(patches))) @ self.proj
        return out


def stretch(matrix: Tensor, positions: Tensor) -> Tensor:
    """Stored positions on the grid of patches, interpolated in float32 whatever the weights are in."""
    return (matrix.float() @ positions.float()).to(positions.dtype)
