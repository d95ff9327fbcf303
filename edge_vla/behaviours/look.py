"""Turn on the spot until the target is seen, and face it."""

from __future__ import annotations

import math
from dataclasses import replace

from edge_vla.behaviours.search import FULL_TURN_RAD, search
from edge_vla.behaviours.state import Inputs, Phase, Plan, State, halt, turn
from edge_vla.types import ActionType, RobotAction

FACING_RAD = 0.1


def look_for(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """One tick of look: reached when a sure target is straight ahead, not_found after a full turn."""
    pose, look = inputs.pose, inputs.look
    if pose is None or look is None:
        raise ValueError("looking needs a pose and a look")
    if state.track is not None:
        away, bearing = state.track.seen_from(pose)
        if state.track.sure and abs(bearing) < FACING_RAD:
            why = f"{plan.target} seen {away:.1f} m ahead, {math.degrees(bearing):+.0f} degrees"
            return replace(state, phase=Phase.DONE, outcome="reached", why=why), halt(why, ActionType.LOOK)
        return state, turn(plan, look, 1.5 * bearing, ActionType.LOOK, plan.target, "facing it")
    if state.turned_from_rad is not None and abs(pose.yaw_rad - state.turned_from_rad) >= FULL_TURN_RAD - 0.35 * plan.camera.hfov_rad:
        why = f"no {plan.target} in a full turn"
        return replace(state, phase=Phase.DONE, outcome="not_found", why=why), halt(why, ActionType.LOOK)
    return search(state, inputs, plan)
