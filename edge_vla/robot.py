"""A robot profile in the words of its parts: the guard's settings, the pilot's camera and plan."""

from __future__ import annotations

import math

from edge_vla.behaviours.state import Plan
from edge_vla.config import RobotProfile
from edge_vla.geometry import CameraPose
from edge_vla.goals import Goal
from edge_vla.guard.limits import Limits
from edge_vla.types import RobotAction

FOLLOW_M = 0.8  # what a follower keeps between its centre and the target, unless told otherwise


def guard_limits(profile: RobotProfile) -> Limits:
    """What the guard enforces."""
    p = profile.limits
    return Limits(
        max_linear_mps=p.max_linear_mps, max_angular_radps=p.max_angular_rps, acc_mps2=p.acc_linear_mps2, dec_mps2=p.dec_linear_mps2,
        acc_radps2=p.acc_angular_rps2, dec_radps2=p.dec_angular_rps2, max_wheel_mps=profile.base.max_wheel_mps,
        blind_mps=p.blind_linear_mps,
    )  # fmt: skip


def camera_pose(profile: RobotProfile) -> CameraPose:
    """Where the pilot believes the camera sits."""
    c = profile.camera
    return CameraPose(math.radians(c.hfov_deg), c.width / c.height, c.height_m, math.radians(c.pitch_deg), c.forward_m)


def make_plan(
    profile: RobotProfile, goal: Goal, target: str | None, *, stop_at_m: float | None = None,
    commands: tuple[RobotAction, ...] = (), compensate: bool = True,
) -> Plan:  # fmt: skip
    """The operator's wish with this robot's numbers. A follower keeps more distance than a finder."""
    default_m = FOLLOW_M if goal is Goal.FOLLOW else profile.steer.stop_at_m
    return Plan(
        goal, target, camera_pose(profile), default_m if stop_at_m is None else stop_at_m, profile.limits.max_linear_mps,
        profile.limits.max_angular_rps, compensate, commands,
    )  # fmt: skip
