"""Drive about and touch nothing: the avoid goal."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from edge_vla.behaviours.state import Inputs, Phase, Plan, State, drive_speed, turn, turn_speed
from edge_vla.errors import EdgeVLAError
from edge_vla.obstacles import BODY_M, MARGIN_M, best_heading, clear_ahead, freer_side
from edge_vla.parse import VLAActionParser
from edge_vla.types import ActionType, RobotAction

ROOM_M = 0.75  # clear way needed to drive on
REACH_M = 1.4
HINT_RAD = 0.4  # how far the engine's "turn left" or "turn right" pulls the wanted heading


def wander(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """One tick of avoid: ahead while there is room, else turn towards more of it, one side at a time."""
    pose, look = inputs.pose, inputs.look
    if pose is None or look is None:
        raise ValueError("wandering needs a pose and a look")
    state = replace(state, phase=Phase.ACT)
    points = state.obstacles.around(pose)
    heading, clear = best_heading(points, _hint(look.text), REACH_M, widest_rad=0.7)
    ahead = clear_ahead(points, 0.0, REACH_M)
    if state.turned_from_rad is not None or min(clear, ahead) < BODY_M + 0.15:
        if min(clear, ahead) > ROOM_M:
            state = replace(state, turned_from_rad=None)
        else:
            sign = state.turn_sign if state.turned_from_rad is not None else freer_side(points)
            state = replace(state, turned_from_rad=pose.yaw_rad, turn_sign=sign)
            return state, turn(plan, look, sign * 0.8, ActionType.AVOID, None, "turning to free space")
    speed = min(drive_speed(plan, look), 0.25, max(0.0, (min(clear, ahead) - BODY_M - MARGIN_M) / 1.3))
    rate = max(-turn_speed(plan, look), min(turn_speed(plan, look), 1.5 * heading))
    action = RobotAction(
        ActionType.AVOID, linear_x=speed, angular_z=rate, confidence=1.0, description="wandering",
        max_turn_rad=0.55 * plan.camera.hfov_rad, max_travel_m=0.3,
    )  # fmt: skip
    return state, action


@lru_cache(maxsize=64)  # a look's sentence is asked about in each of its ticks, and an engine has few of them
def _hint(text: str) -> float:
    """The heading a movement sentence suggests; straight on for anything that is none."""
    try:
        said = VLAActionParser().parse_text_output(text)
    except EdgeVLAError:
        return 0.0
    return HINT_RAD * (said.angular_z > 0) - HINT_RAD * (said.angular_z < 0) if said.action_type is ActionType.TURN else 0.0
