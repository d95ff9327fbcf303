"""Optimiser, schedule and gradient limit of a configuration, against RoboVLMs' trainer by hand and transformers' own schedules."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup

from edge_vla.errors import ConfigError
from edge_vla.learn.optimisation import build_optimiser, build_schedule, clip_gradients, gradient_limit, span

RUN: dict[str, Any] = {"learning_rate": 2e-5, "trainer": {"max_epochs": 5, "max_steps": -1}}


def model() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    net[0].requires_grad_(requires_grad=False)
    return net


def test_all_that_learns_is_in_one_group_and_decays_alike() -> None:
    net = model()
    optimiser = build_optimiser(net, RUN | {"weight_decay": 0.1, "optimizer": None})
    assert type(optimiser) is torch.optim.AdamW
    (group,) = optimiser.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in net.parameters() if p.requires_grad]
    assert len(group["params"]) == 4, "weights, biases and the norm"
    assert (group["lr"], group["weight_decay"]) == (2e-5, 0.1)


@pytest.mark.parametrize("decay", [0, 0.1])
def test_adam_is_adamw_without_decay_and_is_said_not_to_be_with_it(decay: float) -> None:
    after = []
    for name in ("adam", "adamw"):
        net = model()
        config = RUN | {"learning_rate": 0.1, "optimizer": name, "weight_decay": decay}
        if name == "adam" and decay:
            with pytest.warns(UserWarning, match=r"optimizer 'adam' with weight_decay 0\.1: .* RoboVLMs trains with adamw"):
                optimiser = build_optimiser(net, config)
        else:
            optimiser = build_optimiser(net, config)
        for _ in range(3):
            optimiser.zero_grad()
            net(torch.ones(2, 3)).pow(2).sum().backward()
            optimiser.step()
        after.append(net[2].weight.detach())
    assert torch.equal(*after) is (decay == 0)


def rates(config: dict[str, Any], steps_per_epoch: float, count: int) -> list[float]:
    optimiser = build_optimiser(model(), config)
    schedule, seen = build_schedule(optimiser, config, steps_per_epoch), []
    for _ in range(count):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return seen


def theirs(make: Any, count: int, *args: Any) -> list[float]:
    optimiser = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=2e-5)
    schedule, seen = make(optimiser, *args), []
    for _ in range(count):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return seen


@pytest.mark.parametrize("warm", [{}, {"warmup_steps": 7}, {"warmup_epochs": 0.25}, {"warmup_epochs": 0.25, "warmup_steps": 5}])
def test_constant_and_cosine_are_transformers(warm: dict[str, float]) -> None:
    first = warm.get("warmup_epochs", 0) * 20 + warm.get("warmup_steps", 0)
    for name in ("constant", None):
        want = theirs(get_constant_schedule_with_warmup, 100, first)
        assert rates(RUN | warm | {"scheduler": name}, 20, 100) == pytest.approx(want, abs=1e-12)
    want = theirs(get_cosine_schedule_with_warmup, 100, first, 100)
    assert rates(RUN | warm | {"scheduler": "cosine"}, 20, 100) == pytest.approx(want, abs=1e-12)


def test_half_a_cosine_is_the_references() -> None:
    config = RUN | {"scheduler": "half-cosine", "min_lr_scale": 0.1, "warmup_epochs": 1}
    got = rates(config, 20, 101)
    for step, rate in enumerate(got):
        wanted = step / 20 if step < 20 else 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (step - 20) / (100 - 20)))
        assert rate == pytest.approx(2e-5 * wanted, abs=1e-12)
    default = rates(config | {"min_lr_scale": None}, 20, 101)
    assert default[100] == pytest.approx(2e-5 * 0.01), "every shipped configuration's"


@pytest.mark.parametrize(
    ("said", "warmup", "steps"),
    [
        ({}, 0, math.inf),
        ({"trainer": {"max_epochs": 5}}, 0, 100),
        ({"trainer": {"max_epochs": 5, "max_steps": 50}}, 0, 50),
        ({"trainer": {"max_epochs": 5, "max_steps": 500}}, 0, 100),
        ({"trainer": {"max_epochs": -1, "max_steps": 500}}, 0, 500),
        ({"trainer": {"max_epochs": None, "max_steps": -1}}, 0, math.inf),
        ({"warmup_epochs": 0.25, "warmup_steps": 3}, 8, math.inf),
        ({"warmup_ratio": 0.1, "trainer": {"max_epochs": 5}}, 10, 100),
        ({"warmup_ratio": 0.1, "warmup_steps": 3, "trainer": {"max_epochs": 5}}, 3, 100),
        ({"warmup_ratio": None, "warmup_epochs": None}, 0, math.inf),
        ({"warmup_steps": 500, "trainer": {"max_steps": 100}}, 500, 500),
    ],
)
def test_the_length_of_a_run(said: dict[str, Any], warmup: float, steps: float) -> None:
    found = span(said, 20)
    assert (found.warmup, found.steps) == (warmup, steps)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"learning_rate": None}, "learning_rate: not given"),
        ({"optimizer": "sgd"}, "optimizer 'sgd': want one of adam, adamw"),
        ({"scheduler": "linear"}, "scheduler 'linear': want one of constant, half-cosine, cosine"),
        ({"min_lr_scale": 2}, "min_lr_scale 2.0: want a number from 0 to 1"),
        ({"scheduler": "cosine", "trainer": {}}, "scheduler 'cosine': falls towards an end; want trainer.max_epochs"),
        ({"warmup_ratio": 0.1, "trainer": {}}, "warmup_ratio 0.1: of no known length"),
    ],
)
def test_what_cannot_train(said: dict[str, Any], message: str) -> None:
    config = RUN | said
    with pytest.raises(ConfigError, match=message):
        build_schedule(build_optimiser(model(), config), config, 20)


@pytest.mark.parametrize("steps", [0, -1, math.nan, math.inf])
def test_an_epoch_has_steps(steps: float) -> None:
    with pytest.raises(ConfigError, match=r"steps_per_epoch .*: want a finite number above 0"):
        span(RUN, steps)


def test_nothing_that_learns_is_refused() -> None:
    with pytest.raises(ConfigError, match="train_setup: no parameter learns"):
        build_optimiser(model().requires_grad_(requires_grad=False), RUN)


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ({}, 0.0),
        ({"gradient_clip_val": 1.0}, 1.0),
        ({"trainer": {"gradient_clip_val": 1.0}}, 1.0),
        ({"gradient_clip_val": 0.5, "trainer": {"gradient_clip_val": 1.0}}, 0.5),
        ({"gradient_clip_val": 0.0, "trainer": {"gradient_clip_val": 1.0}}, 0.0),
    ],
)
def test_gradients_are_limited_by_what_is_said_first(said: dict[str, Any], limit: float) -> None:
    """The reference takes the top's or 0, and so loses the 1.0 that every shipped file has in its `trainer`."""
    assert gradient_limit(said) == limit
    net = model()
    for p in net.parameters():
        p.grad = torch.full_like(p, 3.0) if p.requires_grad else None
    size = 3 * math.sqrt(sum(p.numel() for p in net.parameters() if p.requires_grad))
    assert float(clip_gradients(net, said)) == pytest.approx(size)
    left = math.sqrt(sum(float(p.grad.pow(2).sum()) for p in net.parameters() if p.grad is not None))
    assert left == pytest.approx(limit or size, rel=1e-5)
