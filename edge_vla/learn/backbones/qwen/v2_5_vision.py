"""Qwen2.5-VL's image encoder for one square size, with transformers' weights: windows are a batch dimension, nothing depends on data.

transformers' own forward cuts windows by lengths it reads from a tensor, which no exporter follows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from edge_vla.learn.backbones.qwen.v1_vision import attend


def encode(visual: Any, images: Tensor) -> Tensor:
    """(n, 3, size, size), size a multiple of the window, to (n, merged patches in reading order, text width)."""
    config = visual.config
    merge, per_window = config.spatial_merge_size, config.window_size // config.patch_size
    side = images.shape[-1] // config.patch_size
    windows = side // per_window
    x = functional.linear(_patches(images, config.patch_size, per_window, merge), visual.patch_embed.proj.weight.sum(2).flatten(1))
    rows, columns = _places(side, per_window, merge, images.device)
    turn = [part.reshape(1, 1, side * side, -1) for part in _angles(visual, rows, columns)]
    for number, block in enumerate(visual.blocks):
        whole = number in config.fullatt_block_indexes
        parts = 1 if whole else windows * windows
        again = block.training and getattr(block, "gradient_checkpointing", False)  # as transformers' own call of a block would
        x = checkpoint(_block, block, x, turn, parts, use_reentrant=False) if again else _block(block, x, turn, parts)
    merged = visual.merger(x.flatten(0, 1)).unflatten(0, (images.shape[0], -1))
    inner = per_window // merge
    grid = merged.reshape(-1, windows, windows, inner, inner, merged.shape[-1])
    return grid.transpose(2, 3).flatten(1, 4)


def _patches(images: Tensor, patch: int, per_window: int, merge: int) -> Tensor:
    """(n, patches, 3 * patch * patch): window by window, in it each square of `merge` patches, in that each patch."""
    inner = per_window // merge
    windows = images.shape[-1] // (patch * per_window)
    cut = images.reshape(-1, 3, windows, inner, merge, patch, windows, inner, merge, patch)
    return cut.permute(0, 2, 6, 3, 7, 4, 8, 1, 5, 9).flatten(1, 6).flatten(2)


def _places(side: int, per_window: int, merge: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Row and column of each patch in the order of `_patches`."""
    inner, windows = per_window // merge, side // per_window
    numbers = torch.arange(side * side, device=device).reshape(windows, inner, merge, windows, inner, merge)
    ordered = numbers.permute(0, 3, 1, 4, 2, 5).flatten()
    return ordered // side, ordered % side


def _angles(visual: Any, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """(cos, sin), each (patches, head channels): a quarter of the channels turns with the row, a quarter with the column, twice."""
    frequency = visual.rotary_pos_emb.inv_freq.to(rows.device, torch.float32)
    half = torch.cat([rows[:, None] * frequency, columns[:, None] * frequency], -1)
    angle = torch.cat([half, half], -1)
    return angle.cos(), angle.sin()


def _block(block: Any, x: Tensor, turn: list[Tensor], parts: int) -> Tensor:
    """One layer; attention stays inside each of `parts` equal runs of patches."""
    heads = block.attn.num_heads
    qkv = block.attn.qkv(block.norm1(x)).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # (3, n, heads, patches, channels)
    q, k = (_rotate(part, turn) for part in (qkv[0], qkv[1]))
    # runs become rows: (n * parts, heads, patches of a run, channels)
    q, k, v = (part.unflatten(2, (parts, -1)).transpose(1, 2).flatten(0, 1) for part in (q, k, qkv[2]))
    x = x + block.attn.proj(attend(q, k, v).reshape(x.shape))
    out: Tensor = x + block.mlp(block.norm2(x))
    return out


def _rotate(x: Tensor, turn: list[Tensor]) -> Tensor:
    left, right = x.float().chunk(2, -1)
    return (x.float() * turn[0] + torch.cat([-right, left], -1) * turn[1]).to(x.dtype)
