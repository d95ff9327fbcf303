"""Tiny policies, the engine that acts as they do, and what they do by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_vla.backends.policy import PolicyEngine
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.types import Frame
from tests.backends.models.torch_graphs import TorchGraphs, policy_bundle
from tests.learn.backbones.engines import camera

SIZE = (64, 48)
TASK = "go to the cup"
STEP_NS = 200_000_000


def frames(count: int, size: tuple[int, int] = SIZE) -> list[Frame]:
    """One darker than the other."""
    return [Frame(camera(*size, seed) // (1 + seed % 3), seed * STEP_NS, seed) for seed in range(count)]


def shaken(model: BaseRoboVLM) -> BaseRoboVLM:
    """With an action token that is not zero, open gates and a head with large weights, or what it sees would hardly show."""
    generator = torch.Generator().manual_seed(3)
    gains = {"FCDecoder": 0.7, "GPTDecoder": 1.2}  # with more its numbers lie at the ends of their range
    gain = gains.get(type(model.act_head).__name__, 2.0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name == "action_token":
                p.copy_(torch.randn(p.shape, generator=generator) * 0.3)
            elif name.endswith("_gate"):
                p.fill_(1.0)
            elif name.startswith("act_head.") and p.ndim == 2:
                p.copy_(torch.randn(p.shape, generator=generator) * gain / p.shape[1] ** 0.5)
    return model.eval()


def host(model: BaseRoboVLM, folder: Path, **changes: Any) -> PolicyEngine:
    bundle = policy_bundle(model, folder, **changes)
    return PolicyEngine(bundle, TorchGraphs(model, bundle))


def itself(model: BaseRoboVLM, window: list[Frame], task: str = TASK, **batch: Any) -> np.ndarray:
    """(C, A) that the model's own `inference` says about the last frame of a window, its memory fresh."""
    if model.act_head is not None:
        model.act_head.reset()
    vision = torch.stack([model.preprocess(frame.rgb) for frame in window])[None]
    text = torch.tensor([model.instruction_ids(task)])
    action = model.inference(vision, text, **batch)["action"]
    if isinstance(action, np.ndarray):
        return action[0]
    arm, gripper = action
    said = arm if gripper is None else torch.cat([arm, gripper], -1)
    return (said[0] if said.dim() == 3 else said[0, -1]).numpy()


def whole(model: BaseRoboVLM) -> list[list[int]]:
    """All rows: then the likeliest is the likeliest of all, as in the model's own decoding."""
    return [[0, len(model.word_embedding.weight)]]
