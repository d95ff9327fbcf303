"""What can be seen of a configuration: of the policy that is built from it, of what trains it, of the numbers it is taught in."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from edge_vla.action_scaling import ActionScaling
from edge_vla.errors import ConfigError
from edge_vla.learn import actor
from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.build import build_policy
from edge_vla.learn.losses import LossRatios
from edge_vla.learn.optimisation import build_optimiser, build_schedule, clip_gradients

Config = Mapping[str, Any]
TASK = "go to the cup find a cup go to the cup"


def policy(config: Config) -> dict[str, Any]:
    """Of the model: what it is, what it learns, what it warned of, what its head reads, its losses and its actions; or its refusal."""
    seen: dict[str, Any] = {}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.manual_seed(0)
        try:
            model = build_policy(config)
            seen |= built(model)
            seen |= {"reads": reads(model)} if model.action_space != "discrete" and model.act_head is not None else {}
            seen |= taught(model)
            seen["acts"] = acts(model)
        except ConfigError as err:
            seen["refused"] = str(err)
    return seen | {"told": [str(one.message) for one in told]}


def built(model: BaseRoboVLM) -> dict[str, Any]:
    head: Any = model.act_head
    modules = dict(model.named_modules())
    weighing = getattr(head, "class_weights_tensor", None)
    bins = getattr(head, "action_tokenizer", None)
    return {
        "kind": [type(model).__name__, type(head).__name__],
        "shapes": {name: tuple(t.shape) for name, t in model.state_dict().items()},
        "learn": sorted(name for name, p in model.named_parameters() if p.requires_grad),
        "window": getattr(head, "window_size", None),
        "dropout": {name: m.p for name, m in modules.items() if isinstance(m, torch.nn.Dropout)},
        "rnn": getattr(getattr(head, "rnn", None), "dropout", None),
        "scales": [dict(m.scaling) for m in modules.values() if isinstance(getattr(m, "scaling", None), dict)],
        "weights": rounded(sum(p.detach().double().abs().sum() for p in model.backbone.parameters())),
        "recompute": [n for n, m in modules.items() if getattr(m, "gradient_checkpointing", False) or getattr(m, "recompute", False)],
        "words": model.instruction_ids(TASK), "tokens": len(model.tokenizer), "size": model.image_size,
        "bins": None if bins is None else bins.bins.tolist(), "weighing": None if weighing is None else weighing.tolist(),
    }  # fmt: skip


def batch(model: BaseRoboVLM) -> dict[str, Any]:
    generator, rows = torch.Generator().manual_seed(3), [model.instruction_ids("go to the cup"), model.instruction_ids("go")]
    longest, side = max(map(len, rows)), model.image_size
    pictures = torch.randn(2, 2, 2, 3, side, side, generator=generator)
    state = torch.randn(2, 2, 7, generator=generator)
    state[..., -1] = 1
    return {
        "vision_x": pictures[0], "vision_gripper": pictures[1], "lang_x": torch.tensor([row + [0] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]), "rel_state": state,
    }  # fmt: skip


def rounded(values: Any) -> Any:
    return np.asarray(values.detach().float() if isinstance(values, torch.Tensor) else values).round(4).tolist()


@torch.no_grad()
def reads(model: BaseRoboVLM) -> Any:
    given = batch(model)
    torch.nn.init.normal_(model.action_token, generator=torch.Generator().manual_seed(1)) if hasattr(model, "action_token") else None
    return rounded(actor.read(model.eval(), given["vision_x"], given["lang_x"], given["attention_mask"], given))


def taught(model: BaseRoboVLM) -> dict[str, Any]:
    if model.act_head is None or model.action_space == "discrete" or type(model.act_head).__name__.startswith("Mobile"):
        return {}
    given, frames = batch(model), () if (model.act_head_configs or {}).get("history_type") == "video" else (2,)
    chunk = (2, *frames, model.fwd_pred_next_n)
    labels = (torch.zeros(*chunk, model.act_head.action_dim - 1), torch.zeros(*chunk))
    found, dtypes = model.eval()(**given, action_labels=labels), set[str]()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _, __, out: dtypes.add(str(out.dtype)))
    model(**given, action_labels=labels)
    return {"losses": {key: value if value is None else rounded(value) for key, value in found.items()}, "dtypes": dtypes}


def acts(model: BaseRoboVLM) -> Any:
    if model.act_head is None:
        return None
    model.act_head.reset()
    return [None if part is None else rounded(part) for part in model.inference(**batch(model))["action"]]


def training(config: Config) -> dict[str, Any]:
    """Of the optimiser, its schedule at a hundred steps an epoch, and what is left of a gradient; or the refusal."""
    layer = torch.nn.Linear(4, 4)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            optimiser = build_optimiser(layer, config)
            schedule = build_schedule(optimiser, config, 100)
        except ConfigError as err:
            return {"refused": str(err)}
    (group,) = optimiser.param_groups
    layer.weight.grad, layer.bias.grad = torch.full((4, 4), 10.0), torch.full((4,), 10.0)
    clip_gradients(layer, config)
    rates = [schedule.lr_lambdas[0](step) for step in (0, 1, 5, 20, 60, 150, 300, 500)]
    return {
        "kind": type(optimiser).__name__, "rate": group["initial_lr"], "decay": group["weight_decay"], "factors": rates,
        "clipped": rounded(layer.weight.grad), "told": [str(one.message) for one in told],
    }  # fmt: skip


def ratios(config: Config) -> dict[str, float]:
    return LossRatios.from_config(config).of()


def scaling(config: Config) -> list[Any]:
    """Labels of an action, and what they are in robot units again."""
    scaled, robot = ActionScaling.from_config(config), [0.1, 0.2, 0.3, 0.4, -0.5, 0.6]
    labels = scaled.encode([0.3, -0.4, 0.1, 0.2, 0.3, -0.1, 1.0], robot)
    return [labels.round(6).tolist(), scaled.decode([0.1, 0.2, -0.3, 0.2, 0.3, -0.1, 1.0], robot).round(6).tolist()]


Look = Callable[[Config], Any]
