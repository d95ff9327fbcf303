"""A robot profile in the words of its parts: the guard's settings, the pilot's camera and plan, and what an engine leaves of its speed."""

from __future__ import annotations

import math
from dataclasses import replace

from edge_vla.behaviours import BEHAVIOURS
from edge_vla.behaviours.state import FARTHEST_STOP_M, Plan
from edge_vla.config import LimitsProfile, RobotProfile
from edge_vla.errors import ConfigError
from edge_vla.geometry import CameraPose
from edge_vla.goals import GOALS, Goal, get_instruction
from edge_vla.guard.limits import Limits
from edge_vla.types import Engine, RobotAction

FOLLOW_M = 0.8  # what a follower keeps between its centre and the target, unless told otherwise


def guard_limits(profile: RobotProfile) -> Limits:
    """What the guard enforces."""
    p = profile.limits
    return Limits(
        max_linear_mps=p.max_linear_mps, max_angular_radps=p.max_angular_rps, acc_mps2=p.acc_linear_mps2, dec_mps2=p.dec_linear_mps2,
        acc_radps2=p.acc_angular_rps2, dec_radps2=p.dec_angular_rps2, max_wheel_mps=profile.base.max_wheel_mps,
        blind_mps=p.blind_linear_mps, reaction_s=p.reaction_s,
    )  # fmt: skip


def camera_pose(profile: RobotProfile) -> CameraPose:
    """Where the pilot believes the camera sits."""
    c = profile.camera
    return CameraPose(math.radians(c.hfov_deg), c.width / c.height, c.height_m, math.radians(c.pitch_deg), c.forward_m)


def make_plan(
    profile: RobotProfile, goal: Goal, target: str | None, *, stop_at_m: float | None = None,
    commands: tuple[RobotAction, ...] = (), compensate: bool = True,
) -> Plan:  # fmt: skip
    """The operator's wish with this robot's numbers. A follower keeps more distance than a finder.

    Raises ConfigError for a goal no behaviour does, a camera that cannot see the floor, a distance that cannot be kept.
    """
    if goal not in BEHAVIOURS:
        able = ", ".join(known.value for known in BEHAVIOURS)
        raise ConfigError(f"goal {goal.value!r} has no behaviour in this version, arm or not; there is one for {able}")
    if GOALS[goal].needs_target:
        _require_floor(profile)
    default_m = FOLLOW_M if goal is Goal.FOLLOW else profile.steer.stop_at_m
    return Plan(
        goal, target, camera_pose(profile), default_m if stop_at_m is None else stop_at_m, profile.limits.max_linear_mps,
        profile.limits.max_angular_rps, compensate, commands,
    )  # fmt: skip


def instructed(plan: Plan, sentence: str = "") -> Plan:
    """The plan for a policy, which is told what to do; `sentence` is the operator's own. Raises ConfigError for what no policy can do."""
    return replace(plan, instruction=get_instruction(plan.goal, plan.target, sentence), commands=())


def _require_floor(profile: RobotProfile) -> None:
    """Range is read off where a thing meets the floor: a camera that sees none of it cannot tell how far anything is."""
    nearest_m = camera_pose(profile).floor_point(0.5, 1.0)[0]
    if not nearest_m <= FARTHEST_STOP_M:
        c = profile.camera
        raise ConfigError(
            f"the camera sees no floor near enough: with [camera] pitch_deg = {c.pitch_deg}, height_m = {c.height_m} and hfov_deg = "
            f"{c.hfov_deg} its picture begins {nearest_m:.2f} m ahead, want at most {FARTHEST_STOP_M}; pitch it further down"
        )


def within(profile: RobotProfile, engine: Engine) -> tuple[RobotProfile, str]:
    """The profile no faster than the engine was evaluated at, and what that changed in words, "" for nothing."""
    manifest = getattr(engine, "manifest", None)
    if manifest is None:  # a bundle has one; the oracle is as fast as the robot
        return profile, ""
    asked = profile.limits
    linear, angular = min(asked.max_linear_mps, manifest.max_linear_mps), min(asked.max_angular_rps, manifest.max_angular_rps)
    if (linear, angular) == (asked.max_linear_mps, asked.max_angular_rps):
        return profile, ""
    slower = {"max_linear_mps": linear, "max_angular_rps": angular, "blind_linear_mps": min(asked.blind_linear_mps, linear)}
    limits = LimitsProfile.model_validate(asked.model_dump() | slower)
    words = f"{asked.max_linear_mps} m/s and {asked.max_angular_rps} rad/s to {linear} m/s and {angular} rad/s"
    return profile.model_copy(update={"limits": limits}), f"slowed from {words}: engine {manifest.name!r} was evaluated no faster"
