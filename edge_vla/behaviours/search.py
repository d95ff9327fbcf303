"""Look for the target: a full turn on the spot, then another place, until every place is used up."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edge_vla.behaviours.go import Way, go_to
from edge_vla.behaviours.state import Inputs, Phase, Plan, State, halt, turn
from edge_vla.geometry import to_odom
from edge_vla.obstacles import clear_ways, freer_side
from edge_vla.types import ActionType, Pose, RobotAction

FULL_TURN_RAD = 2 * math.pi
PLACES = 6  # searched from before the target is declared absent
EXPLORE_NS = 14_000_000_000  # give a place up after this long
LONGEST_M = 2.2
CLEARANCE_M = 0.35  # from a place to search from to everything remembered: room to turn on the spot, and for odometry's drift


def search(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """Turn until the target is seen; after a full turn go somewhere else. Ends as not_found."""
    pose, look = inputs.pose, inputs.look
    if pose is None or look is None:
        raise ValueError("search needs a pose and a look")
    if state.turned_from_rad is None:
        state = replace(state, turned_from_rad=pose.yaw_rad, turn_sign=freer_side(state.obstacles.around(pose)))
    turned = abs(pose.yaw_rad - (state.turned_from_rad or 0.0))
    if turned >= FULL_TURN_RAD - 0.3 * plan.camera.hfov_rad:
        return leave(replace(state, visited=(*state.visited, (pose.x_m, pose.y_m)), turned_from_rad=None), inputs, plan)
    return state, turn(plan, look, state.turn_sign * plan.max_angular_rps, ActionType.LOOK, plan.target, "searching")


def leave(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """Choose the next place to search from, or give up."""
    pose = inputs.pose
    if pose is None:
        raise ValueError("leaving needs a pose")
    waypoint = _next_place(state, pose) if len(state.visited) < PLACES else None
    if waypoint is None:
        why = f"no {plan.target} seen from {len(state.visited)} place{'s' if len(state.visited) != 1 else ''}"
        return replace(state, phase=Phase.DONE, outcome="not_found", why=why), halt(why)
    return replace(state, phase=Phase.EXPLORE, since_ns=inputs.now_ns, waypoint=waypoint), halt("turned once around")


def explore(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """Drive to the waypoint; close to it, or out of time or way, search again."""
    pose, waypoint = inputs.pose, state.waypoint
    if pose is None or waypoint is None:
        raise ValueError("exploring needs a pose and a waypoint")
    away = math.hypot(waypoint[0] - pose.x_m, waypoint[1] - pose.y_m)
    if away < 0.2 or inputs.now_ns - state.since_ns > EXPLORE_NS:
        state = replace(state, phase=Phase.SEARCH, since_ns=inputs.now_ns, waypoint=None, turned_from_rad=None)
        return state, halt("arrived at a new place")
    return state, go_to(state, inputs, plan, Way(waypoint, ActionType.NAVIGATE, "exploring"))


def _next_place(state: State, pose: Pose) -> tuple[float, float] | None:
    """The reachable place farthest from all places searched so far; None when there is no way out of here."""
    points, best, best_score = state.obstacles.around(pose), None, 0.0
    headings = FULL_TURN_RAD * np.arange(24) / 24
    for heading, clear in zip(headings.tolist(), clear_ways(points, headings, 3.5).tolist(), strict=True):
        reach = min(LONGEST_M, clear - CLEARANCE_M)
        if reach < 0.4:
            continue
        for share in (1.0, 0.6):
            ahead, left = share * reach * math.cos(heading), share * reach * math.sin(heading)
            if (np.hypot(points[:, 0] - ahead, points[:, 1] - left) < CLEARANCE_M).any():
                continue
            place = to_odom(pose, ahead, left)
            score = min((math.dist(place, seen) for seen in state.visited), default=1.0)
            if score > best_score:
                best, best_score = place, score
    return best
