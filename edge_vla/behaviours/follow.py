"""Keep a distance to something that moves, until the time is over."""

from __future__ import annotations

from dataclasses import replace

from edge_vla.behaviours.go import Way, go_to
from edge_vla.behaviours.search import search
from edge_vla.behaviours.state import Inputs, Phase, Plan, State, turn
from edge_vla.types import ActionType, RobotAction

BAND_M = 0.1  # around the distance kept, where only the heading is corrected


def follow(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """One tick: search until seen, then stay `stop_at_m` behind it. Never backs up: there is no eye at the back."""
    track, pose, look = state.track, inputs.pose, inputs.look
    if pose is None or look is None:
        raise ValueError("following needs a pose and a look")
    if track is None or not track.sure:
        state = replace(state, phase=Phase.SEARCH)
        if track is not None:
            return state, turn(plan, look, 1.5 * track.seen_from(pose)[1], ActionType.LOOK, plan.target, "is that it?")
        state, action = search(state, inputs, plan)
        if state.phase is Phase.SEARCH:
            return state, action
        return replace(state, phase=Phase.SEARCH, outcome="", why="", waypoint=None, turned_from_rad=None, visited=()), action
    away, bearing = track.seen_from(pose)
    side = 1.0 if bearing >= 0 else -1.0
    state = replace(state, phase=Phase.ACT, turned_from_rad=None, turn_sign=side)
    if away <= plan.stop_at_m + BAND_M:
        return state, turn(plan, look, 1.5 * bearing, ActionType.NAVIGATE, plan.target, "keeping distance")
    way = Way((track.x_m, track.y_m), ActionType.NAVIGATE, "following", stop_m=plan.stop_at_m, ignore_m=max(0.45, track.half_width_m + 0.3))
    return state, go_to(state, inputs, plan, way)
