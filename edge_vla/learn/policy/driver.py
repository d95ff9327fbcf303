"""A policy as it was trained, driving in torch: for another round of episodes, and to compare an exported bundle with."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edge_vla.action_scaling import ActionScaling
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import load_policy
from edge_vla.learn.policy.teacher import LAYOUT
from edge_vla.types import Chunk, Frame, Reply, Twist


class Driver:
    """Actions of a head that speaks a lesson's two numbers. Every question runs the whole window."""

    targets = None
    moves = frozenset(LAYOUT)

    def __init__(self, model: BaseRoboVLM) -> None:
        self._model, self._scaling = model.eval(), ActionScaling.from_config(model.configs)
        self._period_s, self._execute = float(model.configs["action_period_s"]), model.configs["action_execute"]
        self._frames: deque[Tensor] = deque(maxlen=model.window_size)

    @classmethod
    def load(cls, folder: Path) -> Driver:
        """The policy that `release` has written. Raises ConfigError."""
        return cls(load_policy(folder))

    def ask(self, frame: Frame, prompt: str) -> Reply:
        self._frames.append(self._model.preprocess(frame.rgb))
        text = torch.tensor([self._model.instruction_ids(prompt)])
        if self._model.act_head is not None:
            self._model.act_head.reset()
        said = self._model.inference(torch.stack(list(self._frames))[None], text)["action"][0]
        numbers = self._scaling.decode(np.asarray(said[0, -1].double()))
        twists = tuple(Twist(float(speed), 0.0, float(rate)) for speed, rate in numbers)
        return Reply("", 1.0, chunk=Chunk(twists, self._period_s, self._execute))

    def forget(self) -> None:
        self._frames.clear()

    def close(self) -> None:
        """Nothing is held."""
