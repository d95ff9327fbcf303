"""Built policies whose weights are wide enough to matter, and what they are given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import build_policy

Config = dict[str, Any]


def given(model: BaseRoboVLM, rows: int = 2, frames: int = 2) -> dict[str, Any]:
    generator, side = torch.Generator().manual_seed(4), model.image_size
    ids = torch.tensor([model.instruction_ids("go to the cup")] * rows)
    return {"vision_x": torch.randn(rows, frames, 3, side, side, generator=generator), "lang_x": ids}


def labels(model: BaseRoboVLM, rows: int = 2, frames: int = 2) -> tuple[Tensor, Tensor]:
    assert model.act_head is not None
    chunk = (rows, frames, model.fwd_pred_next_n)
    return torch.full((*chunk, model.act_head.action_dim - 1), 0.5), torch.ones(chunk)


def build(config: Config) -> BaseRoboVLM:
    torch.manual_seed(0)
    model = build_policy(config)
    generator = torch.Generator().manual_seed(2)
    for p in model.act_head.parameters() if model.act_head is not None else ():
        nn.init.normal_(p, std=0.1, generator=generator)
    if hasattr(model, "action_token"):
        nn.init.normal_(model.action_token, generator=generator)
    return model
