"""Between a robot's units and a policy's numbers, as a training configuration says: one object for both ways. Knows no model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_vla.actions import (
    EPS,
    inverse_mu_law_companding,
    mu_law_companding,
    normalize_action,
    regularize_action,
    tcp_to_world_frame,
    unnormalize_action,
    unregularize_action,
    world_to_tcp_frame,
)
from edge_vla.errors import ConfigError

Array = NDArray[Any]
Numbers = float | tuple[float, ...]  # one for all dimensions, or one for each
WITHOUT_GRIPPER = {"MobileVLALSTMDecoder", "MobileVLAClassificationDecoder"}  # heads whose last dimension is a velocity or a class


@dataclass(frozen=True, slots=True)
class ActionScaling:
    """Normalise, regularise, compand, turn into the tool's frame: RoboVLMs' order in training, and backwards when a policy acts.

    Where the reference's evaluation leaves a step out (it never undoes `regular_action`) or does too much (it stretches the gripper),
    this is the plain inverse. Raises ConfigError for numbers that cannot be.
    """

    bounds: tuple[float, float] | None = None  # robot units of -1 and 1; None without normalisation
    mean: Numbers = 0.0  # of what normalisation leaves
    deviation: Numbers | None = None  # None without regularisation
    mu: float | None = None  # of the companding; None without
    tool_frame: bool = False  # labels are in the frame of the tool, robot units in the world's
    gripper: bool = True  # the last dimension is one, and stays out of all this

    def __post_init__(self) -> None:
        if self.bounds is not None and not (all(map(math.isfinite, self.bounds)) and self.bounds[0] < self.bounds[1]):
            raise ConfigError(f"norm_min and norm_max {self.bounds}: want finite numbers, the first below the second")
        if not np.isfinite(np.asarray(self.mean, float)).all():
            raise ConfigError(f"x_mean {self.mean}: want finite numbers")
        spread = np.asarray(1.0 if self.deviation is None else self.deviation, float)
        if not (np.isfinite(spread).all() and (spread >= 0).all()):
            raise ConfigError(f"x_std {self.deviation}: want finite numbers of at least 0")
        if self.mu is not None and not (math.isfinite(self.mu) and self.mu > 0):
            raise ConfigError(f"mu_val {self.mu}: want a finite number above 0")
        if self.tool_frame and not self.gripper:
            raise ConfigError("tcp_rel: only an arm with a gripper has a tool; set it to false")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ActionScaling:
        """Of `norm_*`, `regular_action`, `x_*`, `use_mu_law`, `mu_val` and `tcp_rel`; what is not given is RoboVLMs' default."""

        said = {key: value for key, value in config.items() if value is not None}
        mean, deviation = (tuple(v) if isinstance(v, list) else v for v in (said.get("x_mean", 0.0), said.get("x_std", 1.0)))
        bounds, regular = (float(said.get("norm_min", -1.0)), float(said.get("norm_max", 1.0))), said.get("regular_action", False)
        return cls(
            bounds=bounds if said.get("norm_action", False) else None, mean=mean if regular else 0.0,
            deviation=deviation if regular else None, mu=float(said.get("mu_val", 255.0)) if said.get("use_mu_law", False) else None,
            tool_frame=said.get("tcp_rel", False), gripper=said.get("act_head", {}).get("type") not in WITHOUT_GRIPPER,
        )  # fmt: skip

    def encode(self, action: ArrayLike, robot_obs: ArrayLike | None = None) -> Array:
        """Robot units (..., A) to labels: clipped to the bounds, and the gripper 1 where it was 1 (open) and 0 elsewhere.

        With `tool_frame` actions are (..., 7), relative, and `robot_obs` (..., 6 or more) is the state they start from.
        """
        keep, out = self.gripper, _numbers(action)
        if self.bounds is not None:
            out = normalize_action(out, *self.bounds, maintain_last=keep)
        if self.deviation is not None:
            out = regularize_action(out, self.mean, self.deviation, EPS, maintain_last=keep)
        if self.mu is not None:
            out = mu_law_companding(out, self.mu, maintain_last=keep)
        if self.tool_frame:
            out = world_to_tcp_frame(out, _needed(robot_obs))
        if keep:
            out[..., -1] = out[..., -1] == 1
        return out

    def decode(self, label: ArrayLike, robot_obs: ArrayLike | None = None) -> Array:
        """What a policy says (..., A) to robot units: the inverse of `encode`, nothing clipped, the gripper as it came."""
        keep, out = self.gripper, _numbers(label)
        if self.tool_frame:
            out = tcp_to_world_frame(out, _needed(robot_obs))
        if self.mu is not None:
            out = inverse_mu_law_companding(out, self.mu, maintain_last=keep)
        if self.deviation is not None:
            out = unregularize_action(out, self.mean, self.deviation, EPS, maintain_last=keep)
        if self.bounds is not None:
            out = unnormalize_action(out, *self.bounds, maintain_last=keep)
        return out


def _numbers(values: ArrayLike) -> Array:
    """A copy, in its own floating dtype or float64. Raises ValueError for nan, inf and a single number."""
    out = np.array(values)
    if out.ndim < 1 or out.dtype.kind not in "fiub":
        raise ValueError(f"action: want numbers (..., action_dim), got shape {out.shape} and dtype {out.dtype}")
    if not np.isfinite(out).all():
        raise ValueError("action: holds nan or inf")
    return out if out.dtype.kind == "f" else out.astype(np.float64)


def _needed(robot_obs: ArrayLike | None) -> ArrayLike:
    if robot_obs is None:
        raise ValueError("tcp_rel: actions in the tool's frame want robot_obs, the tool's pose in the world")
    return robot_obs
