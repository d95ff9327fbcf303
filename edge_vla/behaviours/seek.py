"""Find a thing and stop in front of it: search, approach, one more look, reached."""

from __future__ import annotations

import math
from dataclasses import replace

from edge_vla.behaviours.go import Way, go_to
from edge_vla.behaviours.search import explore, leave, search
from edge_vla.behaviours.state import Inputs, Phase, Plan, State, halt, turn
from edge_vla.types import ActionType, RobotAction

FACING_RAD = 0.15
LAST_LOOK_SLACK_M = 0.12  # range estimates differ by this much between two looks from one place
STUCK_NS = 9_000_000_000  # without getting 0.1 m nearer


def seek(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """One tick of find_object and navigate."""
    if state.track is not None and state.phase in (Phase.SEARCH, Phase.EXPLORE):
        state = replace(state, phase=Phase.APPROACH, since_ns=inputs.now_ns, nearest_m=math.inf, nearest_ns=inputs.now_ns)
    if state.track is None and state.phase in (Phase.APPROACH, Phase.ARRIVED):
        state = replace(state, phase=Phase.SEARCH, since_ns=inputs.now_ns, turned_from_rad=None)
    match state.phase:
        case Phase.APPROACH:
            return approach(state, inputs, plan)
        case Phase.ARRIVED:
            return arrived(state, inputs, plan)
        case Phase.EXPLORE:
            return explore(state, inputs, plan)
        case _:
            return search(state, inputs, plan)


def approach(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """Face the target until it is sure, then drive to `stop_at_m` of it."""
    track, pose, look = state.track, inputs.pose, inputs.look
    if track is None or pose is None or look is None:
        raise ValueError("an approach needs a track, a pose and a look")
    away, bearing = track.seen_from(pose)
    if not track.sure:
        return state, turn(plan, look, 1.5 * bearing, ActionType.LOOK, plan.target, "is that it?")
    if away < state.nearest_m - 0.1:
        state = replace(state, nearest_m=away, nearest_ns=inputs.now_ns)
    if away <= plan.stop_at_m + 0.02:
        if abs(bearing) > FACING_RAD:
            return state, turn(plan, look, 1.5 * bearing, ActionType.NAVIGATE, plan.target, "facing it")
        return replace(state, phase=Phase.ARRIVED, since_ns=inputs.now_ns), halt("one more look")
    if inputs.now_ns - state.nearest_ns > STUCK_NS:
        return leave(replace(state, track=None, visited=(*state.visited, (pose.x_m, pose.y_m))), inputs, plan)
    way = Way(
        (track.x_m, track.y_m), ActionType.NAVIGATE, "approaching", stop_m=plan.stop_at_m - 0.02,
        ignore_m=track.own_m,
    )  # fmt: skip
    return state, go_to(state, inputs, plan, way)


def arrived(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """Stand; a look taken since standing must still see it there."""
    track, pose, look = state.track, inputs.pose, inputs.look
    if track is None or pose is None or look is None:
        raise ValueError("arriving needs a track, a pose and a look")
    away, bearing = track.seen_from(pose)
    if away > plan.stop_at_m + LAST_LOOK_SLACK_M or abs(bearing) > 2 * FACING_RAD:
        return replace(state, phase=Phase.APPROACH, nearest_m=math.inf, nearest_ns=inputs.now_ns), halt("not there yet")
    if look.t_capture_ns > state.since_ns + 200_000_000 and look.sighting is not None and track.misses == 0:
        why = f"{plan.target} reached: {away:.2f} m ahead, {math.degrees(bearing):+.0f} degrees"
        return replace(state, phase=Phase.DONE, outcome="reached", why=why), halt(why)
    return state, halt("one more look")
