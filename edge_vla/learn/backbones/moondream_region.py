"""Moondream's coordinates (layout D): places and sizes in and out of the language model as vectors, not as words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edge_vla.errors import ConfigError
from edge_vla.grammars import Told
from edge_vla.grammars.machine import NEAR
from edge_vla.grammars.spots import Located, Spot, told_of
from edge_vla.learn import speaker
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
        return self.read_coordinate(hidden)[0]

    def decode_size(self, hidden: Tensor) -> Tensor:
        """(..., d) to (..., 2): width and height."""
        return self.read_size(hidden)[0]

    def read_coordinate(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """`decode_coordinate`, and the probability of all that is within a side / NEAR of it."""
        logits = self.coord_decoder(hidden)[..., None, :]
        return _likeliest(logits, torch.arange(logits.shape[-1], device=hidden.device) / logits.shape[-1])

    def read_size(self, hidden: Tensor, *, least: int = 0) -> tuple[Tensor, Tensor]:
        """`decode_size` of the bins from `least` on, and the probability of all these that are within a side / NEAR of it."""
        logits = self.size_decoder(hidden).unflatten(-1, (2, -1))
        bins, last = torch.arange(logits.shape[-1], device=hidden.device), logits.shape[-1] - 1
        return _likeliest(logits, torch.exp2(bins / last * OCTAVES - OCTAVES) if self.log_sizes else bins / (last + 1), least)


def _likeliest(logits: Tensor, values: Tensor, least: int = 0) -> tuple[Tensor, Tensor]:
    """(..., n, bins) with the values of the bins to (..., n) values and (..., n) probabilities."""
    best = values[logits[..., least:].argmax(-1) + least]
    near = (values - best[..., None]).abs() <= 1 / NEAR + 1e-6
    near[..., :least] = False
    return best.to(logits.dtype), (logits.double().softmax(-1) * near).sum(-1)


def _waves(value: Tensor, frequencies: Tensor) -> Tensor:
    angles = 2 * math.pi * value @ frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


@torch.no_grad()
def locate(model: RoboMoonDream, kind: str, thing: str, features: Tensor, *, most: int = MOST_OBJECTS, least: int = 0) -> Located:
    """Where things are in a picture of these features (1, 1, tokens, d), `kind` "detect" for boxes or "point".

    As in Moondream's own code any row but the end is followed by a place. Sizes are of bins from `least` on. Raises ConfigError for a
    model that has no region model.
    """
    region = model.backbone.region_model
    if region is None:
        raise ConfigError("Moondream's releases before 2025 answer in words only; detect and point need layout D")
    walk = speaker.ask(model, model.place_ids(kind, thing), 1, features)
    ends, logits = sorted(model.end_ids()), walk.logits[0]
    absent = float(logits.double().softmax(-1)[ends].sum())
    found: list[Spot] = []
    while len(found) < most and int(logits.argmax()) not in ends:
        values, chances = [], []
        for _ in range(2):
            value, chance = region.read_coordinate(walk.hidden)
            walk.step(region.encode_coordinate(value))
            values.append(value)
            chances.append(chance)
        if kind == "detect":
            value, chance = region.read_size(walk.hidden, least=least)
            walk.step(region.encode_size(value))
            values.append(value)
            chances.append(chance)
        logits = walk.logits[0]
        found.append(Spot(tuple(torch.cat(values, -1).flatten().tolist()), tuple(torch.cat(chances, -1).flatten().tolist())))
    return Located(tuple(found), max(0.0, 1 - absent))


def tell(model: RoboMoonDream, thing: str, features: Tensor, most: int) -> Told:
    """The answer to "detect" as its JSON.

    A size of 0, which releases of the first months of 2025 could say, is never said: it is no box.
    """
    least = 0 if model.backbone.region_model.log_sizes else 1
    return told_of(locate(model, "detect", thing, features, most=min(most, MOST_OBJECTS), least=least))
