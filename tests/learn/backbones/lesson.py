"""What the tests of every backbone do with a policy: teach it a fixed batch, and let it act a frame at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edge_vla.learn.backbones.base import BaseRoboVLM

STEPS = 20


def learners(model: BaseRoboVLM) -> list[torch.nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def teach(model: BaseRoboVLM, optimiser: torch.optim.Optimizer, **given: Any) -> list[float]:
    """The loss before each of STEPS steps on one batch."""
    losses = []
    for _ in range(STEPS):
        loss: Tensor = model(**given)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def walk(model: BaseRoboVLM, vision_x: Tensor, **text: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """(arm, gripper) of each frame of a window, one frame a call, from a fresh start."""
    assert model.act_head is not None
    model.act_head.reset()
    return [model.inference(vision_x[:, k : k + 1], **text)["action"] for k in range(vision_x.shape[1])]
