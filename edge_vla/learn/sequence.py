"""Embeddings into the places a layout gives them, and hidden states out of the places a head reads."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edge_vla.layout import Layout, Source


@dataclass(frozen=True, slots=True)
class Parts:
    """The embeddings a sequence is made of, (rows, n, d) each; None for what it does not have."""

    text: Tensor
    image: Tensor | None = None
    hand: Tensor | None = None
    act: Tensor | None = None
    state: Tensor | None = None
    image_start: Tensor | None = None
    image_end: Tensor | None = None


def assemble(layout: Layout, parts: Parts) -> Tensor:
    """(rows, positions, d): every position's embedding, gathered from the part its source names."""
    by_source = {
        Source.TEXT: parts.text, Source.IMAGE: parts.image, Source.HAND: parts.hand, Source.ACT: parts.act,
        Source.STATE: parts.state, Source.IMAGE_START: parts.image_start, Source.IMAGE_END: parts.image_end,
    }  # fmt: skip
    start = np.zeros(len(Source), np.int64)
    tables, length = [], 0
    for source, part in by_source.items():
        if part is not None:
            start[source] = length
            length += part.shape[1]
            tables.append(part.to(parts.text.dtype))
    where = torch.from_numpy(start[layout.source] + layout.index).to(parts.text.device)
    return take(torch.cat(tables, 1), where)


def take(values: Tensor, positions: Tensor) -> Tensor:
    """(rows, n, d) of `values` (rows, N, d) at `positions` (rows, n)."""
    return values.gather(1, positions[..., None].expand(-1, -1, values.shape[-1]))


def read_out(hidden: Tensor, positions: np.ndarray) -> Tensor:
    """(rows, frames, n, d) of `hidden` (rows, N, d) at `positions` (rows, frames, n)."""
    rows, frames, n = positions.shape
    flat = torch.from_numpy(positions.reshape(rows, frames * n)).to(hidden.device)
    return take(hidden, flat).reshape(rows, frames, n, hidden.shape[-1])


def attention(mask: Tensor, n: int, dtype: torch.dtype, *, both_ways: bool = False) -> Tensor:
    """Additive (rows, 1, n, past + n) for the newest n of `mask` (rows, past + n): causal, or both ways among the newest.

    What is masked gets the smallest finite number, so that a pad's own row stays finite. A mask that is additive already, with four
    axes, is given back: an exported graph is fed with one.
    """
    if mask.ndim == 4:
        return mask.to(dtype)
    total = mask.shape[1]
    seen = torch.ones(n, total, dtype=torch.bool, device=mask.device)
    if not both_ways:
        seen = seen.tril(total - n)
    allowed = seen[None] & mask[:, None, :]
    return torch.zeros(allowed.shape, dtype=dtype, device=mask.device).masked_fill(~allowed, torch.finfo(dtype).min)[:, None]
