"""A configuration to an optimiser, its schedule and the limit of its gradients, as RoboVLMs' trainer makes them. Knows no data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from edge_vla.errors import ConfigError
from edge_vla.learn.config import given
from edge_vla.learn.schedule import SCHEDULES

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
MIN_LR_SCALE = 0.01  # of every shipped configuration


@dataclass(frozen=True, slots=True)
class Span:
    """A training run in optimiser steps; `steps` is infinite where no end is given."""

    warmup: float
    steps: float


def build_optimiser(model: nn.Module, config: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Over the parameters that learn, all in one group: in the reference `weight_decay` spares none of them, biases and norms included.

    AdamW where `optimizer` is not given. The reference's trainer takes AdamW whatever that says; without decay the two are one. Raises
    ConfigError without a `learning_rate`, and where nothing learns.
    """
    said = given(config)
    rate, decay, name = said.get("learning_rate"), float(said.get("weight_decay", 0.0)), said.get("optimizer", "adamw")
    if rate is None:
        raise ConfigError("learning_rate: not given, and there is no default")
    if name not in OPTIMISERS:
        raise ConfigError(f"optimizer {name!r}: want one of {', '.join(OPTIMISERS)}")
    learning = [p for p in model.parameters() if p.requires_grad]
    if not learning:
        raise ConfigError("train_setup: no parameter learns")
    if name == "adam" and decay:
        warnings.warn(
            f"optimizer 'adam' with weight_decay {decay}: it adds the decay to the gradient; RoboVLMs trains with adamw whatever is named",
            stacklevel=2,
        )
    return OPTIMISERS[name](learning, lr=float(rate), weight_decay=decay)


def span(config: Mapping[str, Any], steps_per_epoch: float) -> Span:
    """Warm-up and length of a run, at `steps_per_epoch` optimiser steps an epoch. Raises ConfigError.

    The warm-up is `warmup_epochs` and `warmup_steps` together, as in the reference. `warmup_ratio`, which that never reads, is the share
    of the run that warms up where the other two say nothing. The run is over after `trainer.max_epochs` or `trainer.max_steps`.
    """
    if not (math.isfinite(steps_per_epoch) and steps_per_epoch > 0):
        raise ConfigError(f"steps_per_epoch {steps_per_epoch}: want a finite number above 0")
    said = given(config)
    epochs, most = (said.get("trainer", {}).get(key, -1) for key in ("max_epochs", "max_steps"))
    steps = min(math.inf if epochs == -1 else epochs * steps_per_epoch, math.inf if most == -1 else most)
    warmup = said.get("warmup_epochs", 0) * steps_per_epoch + said.get("warmup_steps", 0)
    share = said.get("warmup_ratio", 0)
    if share and not warmup:
        if steps == math.inf:
            raise ConfigError(f"warmup_ratio {share}: of no known length; want trainer.max_epochs or trainer.max_steps")
        warmup = share * steps
    return Span(warmup, max(steps, warmup))  # a run may end while it warms up


def build_schedule(optimiser: torch.optim.Optimizer, config: Mapping[str, Any], steps_per_epoch: float) -> LambdaLR:
    """`scheduler` (constant where not given, as in the reference) by optimiser step, from `learning_rate` down to `min_lr_scale` of it.

    Raises ConfigError for an unknown schedule, and for one that falls towards an end that is not given.
    """
    said, run = given(config), span(config, steps_per_epoch)
    name, low = said.get("scheduler", "constant"), float(said.get("min_lr_scale", MIN_LR_SCALE))
    if name not in SCHEDULES:
        raise ConfigError(f"scheduler {name!r}: want one of {', '.join(SCHEDULES)}")
    if not 0 <= low <= 1:
        raise ConfigError(f"min_lr_scale {low}: want a number from 0 to 1")
    if name != "constant" and run.steps == math.inf:
        raise ConfigError(f"scheduler {name!r}: falls towards an end; want trainer.max_epochs or trainer.max_steps")
    return LambdaLR(optimiser, lambda step: SCHEDULES[name](step, warmup_iters=run.warmup, iters=run.steps, min_lr_scale=low))


def gradient_limit(config: Mapping[str, Any]) -> float:
    """`gradient_clip_val`, else `trainer`'s, which the reference overwrites with 0 where the first is not given; 0 is no limit."""
    said = given(config)
    return float(said.get("gradient_clip_val", said.get("trainer", {}).get("gradient_clip_val", 0.0)))


def clip_gradients(model: nn.Module, config: Mapping[str, Any]) -> Tensor:
    """Scales the gradients down to the limit, all of them together by their norm, which is what is given back: before, not after."""
    learning = [p for p in model.parameters() if p.grad is not None]
    return nn.utils.clip_grad_norm_(learning, gradient_limit(config) or math.inf)
