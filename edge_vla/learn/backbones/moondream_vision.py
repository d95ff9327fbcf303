"""Moondream's eyes: a SigLIP encoder over one or several crops, two views of the picture side by side, a two-layer projection."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.moondream_layout import Generation, Release, VisionShape
from edge_vla.learn.pictures import HALF
from edge_vla.pictures import Preparation


class Attention(nn.Module):
    """Every patch looks at every patch."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, dim: int, inner: int, out: int, approximate: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, inner)
        self.fc2 = nn.Linear(inner, out)
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))


class Block(nn.Module):
    def __init__(self, shape: VisionShape, eps: float, approximate: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.enc_dim, eps=eps)
        self.attn = Attention(shape.enc_dim, shape.enc_n_heads)
        self.norm2 = nn.LayerNorm(shape.enc_dim, eps=eps)
        self.mlp = Mlp(shape.enc_dim, shape.enc_ff_dim, shape.enc_dim, approximate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class MoondreamVision(nn.Module):
    """(n, 3, H, W) as `preparation` has them to (n, tokens, width of the language model): always one token a patch of one crop.

    B sees the picture once. C and D see it whole and in tiles, whose features are averaged down to the whole's grid and put beside it.
    """

    def __init__(self, release: Release) -> None:
        super().__init__()
        shape = release.vision
        eps, approximate = (1e-6, "none") if release.timm else (1e-5, "tanh")
        self.generation, self.crop, self.patch = release.generation, shape.crop_size, shape.enc_patch_size
        self.grid = shape.crop_size // shape.enc_patch_size
        self.margin = shape.overlap_margin if self.generation is Generation.D else 0
        self.recompute = False
        self.patch_embed = nn.Linear(shape.in_channels * self.patch**2, shape.enc_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid**2, shape.enc_dim))
        self.blocks = nn.ModuleList(Block(shape, eps, approximate) for _ in range(shape.enc_n_layers))
        self.norm = nn.LayerNorm(shape.enc_dim, eps=eps)
        views = 1 if self.generation is Generation.B else 2
        self.projection = Mlp(views * shape.enc_dim, shape.proj_inner_dim, shape.proj_out_dim, approximate)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[-2:] == (self.crop, self.crop):
            seen = self.encode(images)
            return self.projection(seen if self.generation is Generation.B else torch.cat([seen, seen], -1))
        whole, tiles, (rows, columns) = self.views(images)
        seen, parts = self.encode(torch.cat([whole, tiles])).split([len(whole), len(tiles)])
        parts = parts.unflatten(1, (self.grid, self.grid)).unflatten(0, (-1, rows, columns))
        return self.projection(torch.cat([seen, averaged(stitched(parts, self.margin), self.grid).flatten(1, 2)], -1))

    def encode(self, crops: Tensor) -> Tensor:
        """(n, 3, crop, crop) to (n, patches, dim), after the last norm."""
        x = self.patch_embed(patches(crops, self.patch)) + self.pos_embed
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.recompute and self.training else block(x)
        return self.norm(x)

    def views(self, images: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """The whole picture at one crop's size, its tiles row by row, picture after picture, and how many rows and columns they make."""
        height, width = images.shape[-2:]
        extra = 1 if self.generation is Generation.D else 0  # D's first row of crops holds the whole
        rows, columns = height // self.crop - extra, width // self.crop
        if self.generation is Generation.B or rows < 1 or columns < 1 or height % self.crop or width % self.crop:
            raise ConfigError(f"pictures of {height} x {width} px: Moondream {self.generation.value} wants what its preprocess gives")
        if extra:
            whole, tiled = images[..., : self.crop, : self.crop], images[..., self.crop :, :]
        else:
            whole, tiled = F.interpolate(images, (self.crop, self.crop), mode="bilinear"), images
        tiles = tiled.unflatten(3, (columns, self.crop)).unflatten(2, (rows, self.crop)).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        return whole, tiles, (rows, columns)

    def activation_checkpointing_enable(self) -> None:
        """Keep no activations inside the blocks while training; the backward pass computes them again."""
        self.recompute = True


def patches(images: Tensor, size: int) -> Tensor:
    """(n, c, H, W) to (n, patches, c * size * size), a patch's values ordered by channel, row, column."""
    cut = images.unflatten(3, (-1, size)).unflatten(2, (-1, size))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def stitched(tiles: Tensor, margin: int) -> Tensor:
    """(n, rows, columns, g, g, d) features of overlapping tiles to one (n, H, W, d); of an overlap each tile gives its inner half."""
    rows, columns, size = tiles.shape[1], tiles.shape[2], tiles.shape[3]
    bands = []
    for r in range(rows):
        top, bottom = _inner(r, rows, size, margin)
        cuts = [_inner(c, columns, size, margin) for c in range(columns)]
        bands.append(torch.cat([tiles[:, r, c, top:bottom, left:right] for c, (left, right) in enumerate(cuts)], 2))
    return torch.cat(bands, 1)


def _inner(index: int, count: int, size: int, margin: int) -> tuple[int, int]:
    return margin if index else 0, size if index == count - 1 else size - margin


def averaged(features: Tensor, size: int) -> Tensor:
    """(n, H, W, d) to (n, size, size, d): the mean of what each cell covers, as torch's adaptive average pooling has it.

    By two matrices, since pooling to a size that does not divide the input exports to few runtimes.
    """
    down, across = (torch.from_numpy(_means(n, size)).to(features) for n in features.shape[1:3])
    return torch.einsum("yh,xw,nhwd->nyxd", down, across, features)


def _means(length: int, size: int) -> NDArray[np.float32]:
    """(size, length): row i averages what lies in [i / size, (i + 1) / size) of the length, every cell touched in full."""
    out = np.zeros((size, length), np.float32)
    for i in range(size):
        start, end = i * length // size, -(-(i + 1) * length // size)
        out[i, start:end] = 1 / (end - start)
    return out


# -- pictures


def preparation(camera: tuple[int, int], release: Release) -> Preparation:
    """How a release prepares a camera's pictures: squashed to a square, or in crops where there is more to see.

    C gives up to two by two crops as one picture. D gives crops of one size in rows, the whole picture first and alone in its row.
    """
    shape = release.vision
    crop, margin = shape.crop_size, shape.overlap_margin * shape.enc_patch_size
    if release.generation is Generation.B:
        return Preparation("squash", crop, crop, "bicubic", HALF, HALF)
    if release.generation is Generation.C:
        return Preparation("closest", crop, crop, "bicubic", HALF, HALF, crop=crop).laid_out(camera)
    return Preparation("mosaic", crop, crop, "lanczos", HALF, HALF, crop=crop, margin=margin, most=shape.max_crops).laid_out(camera)
