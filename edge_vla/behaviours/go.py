"""Drive towards a point around what stands in the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_vla.behaviours.state import Inputs, Plan, State, drive_speed, turn, turn_speed
from edge_vla.geometry import to_robot
from edge_vla.obstacles import BODY_M, MARGIN_M, best_heading, clear_ahead
from edge_vla.types import ActionType, RobotAction

TURN_FIRST_RAD = 0.5  # beyond this, turn on the spot before driving
STEER_GAIN = 2.0  # rad/s per rad
BRAKE_S = 1.1  # drive no faster than the clear way over this time
REACH_M = 1.3  # as far as the way is planned around obstacles
FURTHEST_M = REACH_M + 2 * BODY_M  # nothing beyond this can touch the lane


@dataclass(frozen=True, slots=True)
class Way:
    """Where to: a point of the odometry frame, to end `stop_m` short of it.

    What stands within `ignore_m` of the point is the target itself, not an obstacle.
    """

    point: tuple[float, float]
    kind: ActionType
    why: str
    stop_m: float = 0.0
    ignore_m: float = 0.0


def go_to(state: State, inputs: Inputs, plan: Plan, way: Way) -> RobotAction:
    """One action along the way, around what stands in it."""
    pose, look = inputs.pose, inputs.look
    if pose is None or look is None:
        raise ValueError("going somewhere needs a pose and a look")
    x, y = to_robot(pose, *way.point)
    away, bearing = math.hypot(x, y), math.atan2(y, x)
    left_m = max(0.0, away - way.stop_m)
    points = state.obstacles.around(pose, FURTHEST_M, target=(*way.point, way.ignore_m) if way.ignore_m > 0 else None)
    heading, clear = best_heading(points, bearing, max(0.35, min(left_m + 0.25, REACH_M)))
    if abs(heading) > TURN_FIRST_RAD or clear < BODY_M + 0.02:
        rate = STEER_GAIN * heading if abs(heading) > 0.05 else (0.5 if bearing >= 0 else -0.5)
        return turn(plan, look, rate, way.kind, plan.target, way.why)
    ahead = clear_ahead(points, 0.0, REACH_M)
    speed = min(drive_speed(plan, look), 0.05 + 0.9 * left_m, max(0.0, (min(clear, ahead) - BODY_M - MARGIN_M) / BRAKE_S))
    speed *= max(0.0, 1 - abs(heading) / TURN_FIRST_RAD) ** 0.5
    rate = max(-turn_speed(plan, look), min(turn_speed(plan, look), STEER_GAIN * heading))
    return RobotAction(
        way.kind, linear_x=speed, angular_z=rate, target_object=plan.target, confidence=1.0, description=way.why,
        max_turn_rad=0.55 * plan.camera.hfov_rad, max_travel_m=min(0.5, left_m + 0.05),
    )  # fmt: skip
