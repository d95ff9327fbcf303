"""Carry out the operator's own sentence: each command in turn, up to its motion budget, never into something."""

from __future__ import annotations

import math
from dataclasses import replace

from edge_vla.behaviours.state import Inputs, Phase, Plan, State, halt
from edge_vla.obstacles import BODY_M, MARGIN_M, clear_ahead
from edge_vla.types import ActionType, RobotAction

STUCK_NS = 8_000_000_000
PAUSE = ActionType.STOP


def refusal(command: RobotAction) -> str:
    """Why a command is none that can be carried out as a motion with an end, naming the goal that can; "" if it is one."""
    kind, what = command.action_type, command.description or "no movement in it"
    thing = repr(command.target_object) if command.target_object else "..."
    moves = command.angular_z != 0.0 or command.linear_x != 0.0 or command.linear_y != 0.0
    match kind:
        case ActionType.MOVE | ActionType.TURN if moves:
            return ""
        case ActionType.LOOK if moves and command.target_object is None:
            return ""
        case ActionType.STOP:
            return ""
        case ActionType.NAVIGATE:
            return f"{what}: use --goal navigate --target {thing} to go there, --goal follow --target {thing} to stay behind it"
        case ActionType.LOOK:
            hint = "say where to, left or right" if command.target_object is None else f"use --goal look --target {thing}"
            return f"{what}: {hint}"
        case ActionType.AVOID:
            return f"{what}: use --goal avoid, which drives around whatever is in the way"
        case ActionType.GRAB | ActionType.RELEASE | ActionType.POINT:
            return f"{what}: goal {kind.value!r} needs an arm, and no behaviour here moves one"
    return what


def obey(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """One tick of command: done when the last budget is used up, not_found never; blocked commands end the run as such."""
    pose, look = inputs.pose, inputs.look
    if pose is None or look is None:
        raise ValueError("obeying needs a pose and a look")
    if state.index >= len(plan.commands):
        why = f"{len(plan.commands)} command{'s' if len(plan.commands) != 1 else ''} done"
        return replace(state, phase=Phase.DONE, outcome="reached", why=why), halt(why)
    command = plan.commands[state.index]
    if state.mark is None:
        state = replace(state, phase=Phase.ACT, mark=pose, since_ns=inputs.now_ns)
    mark = state.mark or pose
    turned, travelled = abs(pose.yaw_rad - mark.yaw_rad), math.hypot(pose.x_m - mark.x_m, pose.y_m - mark.y_m)
    turn_left, travel_left = max(0.0, command.max_turn_rad - turned), max(0.0, command.max_travel_m - travelled)
    turning, driving = command.angular_z != 0.0, command.linear_x != 0.0 or command.linear_y != 0.0
    if not (turning or driving) or (turning and turn_left < 0.02) or (driving and travel_left < 0.01):
        return replace(state, index=state.index + 1, mark=None), halt("next command", PAUSE)
    return _push(state, inputs, command, (turn_left, travel_left))


def _push(state: State, inputs: Inputs, command: RobotAction, left: tuple[float, float]) -> tuple[State, RobotAction]:
    """The command at the speed its rest and the way ahead allow."""
    pose = inputs.pose
    if pose is None:
        raise ValueError("obeying needs a pose")
    speed, rate = command.linear_x, command.angular_z
    if speed > 0:
        clear = clear_ahead(state.obstacles.around(pose), 0.0, 2.0) - BODY_M - MARGIN_M
        speed = min(speed, max(0.0, clear), 0.05 + left[1])
        if speed < 0.02 and inputs.now_ns - state.since_ns > STUCK_NS:
            why = f"{command.description or 'the command'}: something is in the way"
            return replace(state, phase=Phase.DONE, outcome="not_found", why=why), halt(why)
    rate = math.copysign(min(abs(rate), 0.1 + 1.5 * left[0]), rate) if rate else 0.0
    turn_rad, travel_m = min(0.7, left[0] + 0.05), min(0.5, left[1] + 0.02)
    return state, replace(command, linear_x=speed, angular_z=rate, confidence=1.0, max_turn_rad=turn_rad, max_travel_m=travel_m)
