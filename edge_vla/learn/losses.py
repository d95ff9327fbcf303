"""What policy heads are taught with, part by part, and the weights that join the parts. Knows tensors and masks, no model.

Entries that are masked, or weigh 0, are left out before any arithmetic, so a nan in padding reaches neither a loss nor a gradient; a
batch with nothing left gives exactly 0, with a gradient of 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from edge_vla.actions import ActionBins

IGNORED = -100
LOGIT_EPS = 1e-6  # probabilities within this of 0 or 1 have no gradient
GRIPPER_RATIO = 0.01  # arm_gripper_loss_ratio of every shipped configuration

Kind = Literal["huber", "mse"]


def _kept(mask: Tensor | None, like: Tensor) -> Tensor:
    """A mask of `like`'s first dimensions, (b, l) of (b, l, C) too, for all of it."""
    if mask is None:
        return torch.ones_like(like, dtype=torch.bool)
    if not mask.dim() or mask.shape != like.shape[: mask.dim()]:
        raise ValueError(f"mask: want shape {tuple(like.shape)}, or its first dimensions, got {tuple(mask.shape)}")
    return mask.bool().reshape(*mask.shape, *[1] * (like.dim() - mask.dim())).expand_as(like)


def _weighed(mask: Tensor | None, weight: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor | None]:
    """What is kept of `like`, and the weights (m,) of that; what weighs 0 is not kept. Raises ValueError."""
    kept = _kept(mask, like)
    if weight is None:
        return kept, None
    if not bool((weight >= 0).all()):
        raise ValueError(f"weight: want numbers of at least 0, got {float(weight.min())}")
    wide = weight.expand(like.shape)
    kept = kept & (wide > 0)
    return kept, wide[kept]


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Weighted mean over the first axis of (m,) or (m, k); 0 of nothing, or of weights that are all 0."""
    if weight is None:
        return values.mean() if values.numel() else values.sum()  # the mean of nothing is nan
    weight = weight.to(values.dtype).reshape(-1, *[1] * (values.dim() - 1)).expand_as(values)
    total = weight.sum()
    return (values * weight).sum() / torch.where(total > 0, total, torch.ones_like(total))


def _same_shape(name: str, prediction: Tensor, label: Tensor) -> None:
    if prediction.shape != label.shape:
        raise ValueError(f"{name}: prediction {tuple(prediction.shape)} and label {tuple(label.shape)} differ in shape")


def regression(
    prediction: Tensor, label: Tensor, mask: Tensor | None = None, *, weight: Tensor | None = None, kind: Kind = "huber"
) -> Tensor:
    """Mean Huber (delta 1) or squared error of (..., k) under a mask and weights (...)."""
    _same_shape("arm", prediction, label)
    if kind not in {"huber", "mse"}:
        raise ValueError(f"arm loss: want huber or mse, got {kind!r}")
    kept, weighing = _weighed(mask, weight, label[..., 0])
    loss = F.huber_loss if kind == "huber" else F.mse_loss
    return _mean(loss(prediction[kept], label[kept].to(prediction.dtype), reduction="none"), weighing)


def binary(prediction: Tensor, label: Tensor, mask: Tensor | None = None, *, weight: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of logits (...) against {0, 1} under a mask and weights (...)."""
    _same_shape("gripper", prediction, label)
    kept, weighing = _weighed(mask, weight, label)
    return _mean(F.binary_cross_entropy_with_logits(prediction[kept], label[kept].to(prediction.dtype), reduction="none"), weighing)


def split_action(action: Tensor | Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
    """(arm (..., A - 1), gripper (...)) of one tensor (..., A) or of a pair whose gripper may end in a dimension of 1."""
    arm, gripper = (action[..., :-1], action[..., -1]) if isinstance(action, Tensor) else action
    if arm is None or gripper is None:
        raise ValueError("want an arm and a gripper, got None")
    if arm.shape[-1] == 0:
        raise ValueError("actions of 1 number: want an arm of at least 1, and a gripper")
    if gripper.dim() == arm.dim() and gripper.shape[-1] == 1:
        gripper = gripper[..., 0]
    if gripper.shape != arm.shape[:-1]:
        raise ValueError(f"gripper {tuple(gripper.shape)} does not belong to arm {tuple(arm.shape)}")
    return arm, gripper


def head_losses(
    predicted: Tensor | Sequence[Tensor | None],
    labels: Tensor | Sequence[Tensor | None],
    mask: Tensor | None = None,
    *,
    weight: Tensor | None = None,
    kind: Kind = "huber",
    probability: bool = False,
) -> dict[str, Tensor | float]:
    """loss_arm, loss_gripper and acc_gripper of a continuous head. `probability`: the gripper went through a sigmoid already."""
    (arm, gripper), (arm_label, gripper_label) = split_action(predicted), split_action(labels)
    logits = torch.logit(gripper.float(), eps=LOGIT_EPS) if probability else gripper
    _same_shape("arm", arm, arm_label)
    kept = _kept(mask, gripper_label)
    right = ((logits > 0) == (gripper_label > 0.5))[kept]
    return {
        "loss_arm": regression(arm, arm_label, kept, weight=weight, kind=kind),
        "loss_gripper": binary(logits, gripper_label, kept, weight=weight),
        "acc_gripper": float(_mean(right.float(), None)),
    }


def policy_loss(
    predicted_actions: Tensor | Sequence[Tensor | None],
    ground_truth_actions: Tensor | Sequence[Tensor | None],
    attention_mask: Tensor | None = None,
    *,
    weight: Tensor | None = None,
    kind: Kind = "huber",
    gripper_ratio: float = GRIPPER_RATIO,
) -> dict[str, Tensor]:
    """loss_arm, loss_gripper (from logits) and total_loss = arm + gripper_ratio * gripper; mask and weights (...) of actions (..., A)."""
    parts = head_losses(predicted_actions, ground_truth_actions, attention_mask, weight=weight, kind=kind)
    arm, gripper = torch.as_tensor(parts["loss_arm"]), torch.as_tensor(parts["loss_gripper"])
    return {"loss_arm": arm, "loss_gripper": gripper, "total_loss": arm + gripper_ratio * gripper}


def class_losses(logits: Tensor, label: Tensor, mask: Tensor | None = None, class_weights: Tensor | None = None) -> tuple[Tensor, float]:
    """Class-weighted cross-entropy of (..., classes) against (...), and the share that is right."""
    kept = _kept(mask, label)
    if logits.shape[:-1] != label.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and classes {tuple(label.shape)} do not belong together")
    rows, wanted = logits[kept], label[kept].long()
    if len(wanted) and not 0 <= int(wanted.min()) <= int(wanted.max()) < logits.shape[-1]:
        raise ValueError(f"classes: want 0 to {logits.shape[-1] - 1}, got {int(wanted.min())} to {int(wanted.max())}")
    values = F.cross_entropy(rows, wanted, reduction="none")
    right = (rows.argmax(-1) == wanted).float()
    return _mean(values, None if class_weights is None else class_weights[wanted]), float(_mean(right, None))


def discrete_losses(logits: Tensor, labels: Tensor, bins: ActionBins, action_dim: int) -> dict[str, Tensor | float]:
    """Of logits (b, s, vocabulary) and labels (b, s): loss_arm, the next-token cross-entropy over all labels that are not -100.

    Over action rows only, and without gradient: action_l1 of the decoded values, acc_arm and acc_gripper. A row's action tokens
    count round from its first, the last of every `action_dim` being the gripper.
    """
    if logits.dim() != 3 or logits.shape[:2] != labels.shape:
        raise ValueError(f"want logits (b, s, vocabulary) and labels (b, s), got {tuple(logits.shape)} and {tuple(labels.shape)}")
    ahead, wanted = logits[:, :-1], labels[:, 1:]
    learned = wanted != IGNORED
    loss = _mean(F.cross_entropy(ahead[learned], wanted[learned], reduction="none"), None)
    action = (wanted > bins.begin_idx) & (wanted < bins.end_idx)
    gripper = ((action.cumsum(1) - 1) % action_dim == action_dim - 1)[action]
    best, true = ahead.detach()[action].argmax(-1), wanted[action]
    right = (best == true).float()
    centers = torch.as_tensor(bins.centers, device=logits.device)
    off = centers[(bins.orig_size - best - 1).clamp(0, len(centers) - 1)] - centers[(bins.orig_size - true - 1).clamp(0, len(centers) - 1)]
    return {
        "loss_arm": loss,
        "action_l1": _mean(off.abs(), None),
        "acc_arm": _mean(right[~gripper], None),
        "acc_gripper": _mean(right[gripper], None),
    }


@dataclass(frozen=True, slots=True)
class LossRatios:
    """How much each part counts beside the arm. The defaults are the reference trainer's and its shipped configurations'."""

    arm_gripper_loss_ratio: float = GRIPPER_RATIO
    fwd_loss_ratio: float = 0.0
    cap_loss_ratio: float = 0.05
    kl_div_ratio: float = 0.05
    clip_norm_ratio: float = 0.05
    vl_cotrain_ratio: float = 0.05
    discrete: bool = False  # discrete actions learn from the same tokens as words do, so co-training counts ten times as much

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "LossRatios":
        """The ratios of a configuration under their own names; what it does not give is as above."""
        said = {field.name: config.get(field.name) for field in fields(cls) if field.name != "discrete"}
        space = (config.get("act_head") or {}).get("action_space")
        return cls(discrete=space == "discrete", **{name: float(ratio) for name, ratio in said.items() if ratio is not None})

    def of(self) -> dict[str, float]:
        return {
            "loss_arm": 1.0,
            "loss_velocity": 1.0,
            "loss_gripper": self.arm_gripper_loss_ratio,
            "loss_obs_fwd": self.fwd_loss_ratio,
            "loss_hand_obs_fwd": self.fwd_loss_ratio,
            "loss_cap": self.cap_loss_ratio,
            "loss_kl": self.kl_div_ratio,
            "text_l1_clip": self.clip_norm_ratio,
            "loss_vl_cotrain": self.vl_cotrain_ratio * (10 if self.discrete else 1),
        }


def total_loss(losses: Mapping[str, Tensor | float | None], ratios: LossRatios | None = None) -> Tensor:
    """The parts joined by their ratios; None parts and metrics do not count. A key may end in `_act`, as the reference's do.

    Raises ValueError for a loss without a ratio, or no loss at all.
    """
    table = (ratios or LossRatios()).of()
    total: Tensor | None = None
    for key, value in losses.items():
        name = key.removesuffix("_act")
        if isinstance(value, Tensor) and name in table:
            part = table[name] * value
            total = part if total is None else total + part
        elif isinstance(value, Tensor) and "loss" in key:
            raise ValueError(f"{key}: no such loss, known are {', '.join(table)}")
    if total is None:
        raise ValueError(f"no loss among {sorted(losses)}")
    return total
