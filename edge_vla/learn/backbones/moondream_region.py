"""Moondream's coordinates (layout D): places and sizes in and out of the language model as vectors, not as words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.moondream_layout import RegionShape
from edge_vla.learn.backbones.moondream_vision import Mlp

if TYPE_CHECKING:
    from edge_vla.learn.backbones.moondream import RoboMoonDream

OCTAVES = 10.0  # sizes go from 2**-10 of the picture to all of it
MOST_OBJECTS = 50


class RegionModel(nn.Module):
    """Fractions of the picture's width and height to embeddings, and hidden states before the last norm to such fractions."""

    def __init__(self, shape: RegionShape, *, log_sizes: bool) -> None:
        super().__init__()
        self.log_sizes = log_sizes
        self.coord_encoder = nn.Linear(shape.coord_feat_dim, shape.dim)
        self.coord_decoder = Mlp(shape.dim, shape.inner_dim, shape.coord_out_dim, "tanh")
        self.size_encoder = nn.Linear(shape.size_feat_dim, shape.dim)
        self.size_decoder = Mlp(shape.dim, shape.inner_dim, shape.size_out_dim, "tanh")
        self.coord_features = nn.Parameter(torch.empty(1, shape.coord_feat_dim // 2))
        self.size_features = nn.Parameter(torch.empty(2, shape.size_feat_dim // 2))

    def encode_coordinate(self, value: Tensor) -> Tensor:
        """(..., 1) x or y to (..., d)."""
        return self.coord_encoder(_waves(value, self.coord_features))

    def encode_size(self, value: Tensor) -> Tensor:
        """(..., 2) width and height to (..., d)."""
        return self.size_encoder(_waves(value, self.size_features))

    def decode_coordinate(self, hidden: Tensor) -> Tensor:
        """(..., d) to (..., 1): the likeliest of the bins' left edges."""
        logits = self.coord_decoder(hidden)
        return logits.argmax(-1, keepdim=True).to(hidden.dtype) / logits.shape[-1]

    def decode_size(self, hidden: Tensor) -> Tensor:
        """(..., d) to (..., 2): width and height."""
        logits = self.size_decoder(hidden).unflatten(-1, (2, -1))
        bins, last = logits.argmax(-1).to(hidden.dtype), logits.shape[-1] - 1
        return torch.exp2(bins / last * OCTAVES - OCTAVES) if self.log_sizes else bins / (last + 1)


def _waves(value: Tensor, frequencies: Tensor) -> Tensor:
    angles = 2 * math.pi * value @ frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


@torch.no_grad()
def locate(model: RoboMoonDream, thing: str, rgb: NDArray[np.uint8], *, sizes: bool, most: int = MOST_OBJECTS) -> list[tuple[float, ...]]:
    """Where things are in an (H, W, 3) picture, in fractions of it: (x, y) or, with `sizes`, (x, y, width, height) around a middle.

    Raises ConfigError for a model that has no region model.
    """
    region = model.backbone.region_model
    if region is None:
        raise ConfigError("Moondream's releases before 2025 answer in words only; detect and point need layout D")
    ids = torch.tensor([model.place_ids("detect" if sizes else "point", thing)], device=model.device)
    dtype = next(model.backbone.parameters()).dtype
    image = model.encode_images(model.preprocess(rgb)[None].to(model.device, dtype))[:, 0]
    words = model.word_embedding(ids)
    walk = _Walk(model, torch.cat([words[:, :1], image, words[:, 1:]], 1))
    found: list[tuple[float, ...]] = []
    while len(found) < most and int(model.logits(walk.hidden).argmax()) not in model.end_ids():
        values = []
        for _ in range(2):
            value = region.decode_coordinate(walk.hidden)
            values.append(value)
            walk.step(region.encode_coordinate(value))
        if sizes:
            size = region.decode_size(walk.hidden)
            values.append(size)
            walk.step(region.encode_size(size))
        found.append(tuple(float(v) for v in torch.cat(values, -1).flatten()))
    return found


class _Walk:
    """The language model's state while vectors are fed to it one at a time."""

    def __init__(self, model: RoboMoonDream, embeddings: Tensor) -> None:
        self.model = model
        self.mask = torch.ones(embeddings.shape[:2], dtype=torch.bool, device=embeddings.device)
        positions = torch.arange(self.mask.shape[1], device=embeddings.device)[None]
        out = model.run_text(embeddings, self.mask, positions, keep=True)
        self.hidden, self.cache = out.hidden[:, -1:], out.cache

    def step(self, embedding: Tensor) -> None:
        """Feed (1, 1, d)."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(1, 1)], 1)
        position = torch.tensor([[self.mask.shape[1] - 1]], device=self.mask.device)
        out = self.model.run_text(embedding, self.mask, position, self.cache, keep=True)
        self.hidden, self.cache = out.hidden, out.cache
