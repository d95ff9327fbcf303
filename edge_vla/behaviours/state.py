"""What the pilot knows between two ticks, frozen, and the few moves every behaviour shares."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

from edge_vla.errors import ConfigError
from edge_vla.geometry import CameraPose
from edge_vla.goals import GOALS, Goal
from edge_vla.obstacles import Obstacles
from edge_vla.track import Track
from edge_vla.types import ActionType, Look, Pose, RobotAction

FARTHEST_STOP_M = 3.0


class Phase(Enum):
    """What the pilot is busy with."""

    SEARCH = "search"  # turning on the spot
    EXPLORE = "explore"  # driving to another place to search from
    APPROACH = "approach"
    ARRIVED = "arrived"  # standing in front of it, waiting for one more look
    ACT = "act"  # following, wandering, obeying, telling
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Plan:
    """What the operator wants, with the numbers of the robot it is wanted from."""

    goal: Goal
    target: str | None
    camera: CameraPose
    stop_at_m: float = 0.45
    max_linear_mps: float = 0.35
    max_angular_rps: float = 1.0
    compensate: bool = True  # odometry compensation; off only as a control in evaluations
    commands: tuple[RobotAction, ...] = ()
    instruction: str = ""  # what a policy is told that drives by itself; "" where an engine is asked

    def __post_init__(self) -> None:
        """Raise ConfigError for a distance at which the target's foot is below the picture: arriving needs a look at it."""
        nearest_m = math.ceil(100 * self.camera.floor_point(0.5, 1.0)[0]) / 100
        if GOALS[self.goal].needs_target and not nearest_m <= self.stop_at_m <= FARTHEST_STOP_M:
            raise ConfigError(f"stop_at {self.stop_at_m} m: want {nearest_m} to {FARTHEST_STOP_M}, or its foot is below the picture")

    @property
    def target_moves(self) -> bool:
        return self.goal is Goal.FOLLOW


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything one tick may depend on."""

    now_ns: int
    pose: Pose | None
    look: Look | None
    armed: bool = False
    held: bool = False  # the guard holds: the motion budget of this look is used up


@dataclass(frozen=True, slots=True)
class State:
    """The pilot's memory."""

    phase: Phase = Phase.SEARCH
    since_ns: int = 0  # when the phase began
    look_seq: int = -1
    looks: int = 0
    track: Track | None = None
    obstacles: Obstacles = field(default_factory=Obstacles)
    turned_from_rad: float | None = None  # heading at which the search's turn began
    turn_sign: float = 1.0
    visited: tuple[tuple[float, float], ...] = ()  # places searched from
    waypoint: tuple[float, float] | None = None
    nearest_m: float = math.inf  # best range of this approach
    nearest_ns: int = 0  # and when it was reached
    mark: Pose | None = None  # where the current command began
    index: int = 0  # of the current command
    words: str = ""
    outcome: str = ""  # "reached" or "not_found" when done
    why: str = ""


def halt(why: str, kind: ActionType = ActionType.STOP) -> RobotAction:
    """Stand still, saying why."""
    return RobotAction(kind, confidence=1.0, description=why, max_turn_rad=0.0, max_travel_m=0.0)


def reply_time_s(look: Look) -> float:
    """From exposure to reply: what a motion based on this look is late by."""
    return (look.t_ready_ns - look.t_capture_ns) * 1e-9


def turn_speed(plan: Plan, look: Look) -> float:
    """The fastest turn at which the next look still overlaps this one by half a view."""
    return min(plan.max_angular_rps, 0.45 * plan.camera.hfov_rad / max(0.2, reply_time_s(look)) / 2)


def drive_speed(plan: Plan, look: Look) -> float:
    """The fastest drive: no more than 0.35 m until the look after the next."""
    return min(plan.max_linear_mps, 0.35 / (2 * max(0.2, reply_time_s(look))))


def turn(plan: Plan, look: Look, rate: float, kind: ActionType, target: str | None, why: str) -> RobotAction:
    """Turn on the spot at up to `rate` rad/s, never more than half a view past what was seen."""
    fastest = turn_speed(plan, look)
    return RobotAction(
        kind, angular_z=max(-fastest, min(fastest, rate)), target_object=target, confidence=1.0, description=why,
        max_turn_rad=0.55 * plan.camera.hfov_rad, max_travel_m=0.02,
    )  # fmt: skip
