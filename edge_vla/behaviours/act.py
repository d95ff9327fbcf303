"""Carry out what a policy wants driven, and end where it has come to rest."""

from __future__ import annotations

from dataclasses import replace

from edge_vla.behaviours.state import Inputs, Phase, Plan, State, halt, reply_time_s
from edge_vla.goals import Goal
from edge_vla.types import STILL, ActionType, Chunk, Look, RobotAction, Twist

ENDS_AT_REST = (Goal.FIND_OBJECT, Goal.NAVIGATE)  # the others last as long as they are given
REST_MPS, REST_RPS = 0.02, 0.05  # a policy has no word for having arrived: slower than this is one
REST_NS = 1_500_000_000
TRAVEL_M = 0.5
KINDS = {Goal.LOOK: ActionType.LOOK, Goal.AVOID: ActionType.AVOID, Goal.COMMAND: ActionType.MOVE}


def act(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """One tick of a policy. `since_ns` is the capture of the first look of its rest, 0 while it wants to move."""
    look = inputs.look
    if look is None:
        raise ValueError("acting needs a look")
    if look.chunk is None:
        return state, halt("no action in the reply")
    at_rest = all(rests(twist) for twist in look.chunk.carried)
    began_ns = (state.since_ns or look.t_capture_ns) if at_rest else 0
    state = replace(state, phase=Phase.ACT, since_ns=began_ns)
    if at_rest and plan.goal in ENDS_AT_REST and look.t_capture_ns - began_ns >= REST_NS:
        why = f"the policy stands still; told to {plan.instruction}"
        return replace(state, phase=Phase.DONE, outcome="reached", why=why), halt(why)
    twist = twist_at(look.chunk, inputs.now_ns - look.t_capture_ns)
    if rests(twist):
        return state, halt("the policy stands still")
    turn_rad, travel_m = budgets(look, plan)
    action = RobotAction(
        KINDS.get(plan.goal, ActionType.NAVIGATE), twist.linear_x, twist.linear_y, twist.angular_z, plan.target, 1.0, plan.instruction,
        turn_rad, travel_m,
    )  # fmt: skip
    return state, action


def rests(twist: Twist) -> bool:
    """Too slow to be a wish to move."""
    return abs(twist.linear_x) < REST_MPS and abs(twist.linear_y) < REST_MPS and abs(twist.angular_z) < REST_RPS


def twist_at(chunk: Chunk, age_ns: int) -> Twist:
    """What the chunk wants driven so long after its frame: the first, or in its time each; after the last one nothing."""
    if chunk.execute == "first":
        return chunk.twists[0]
    index = age_ns * 1e-9 / chunk.period_s
    return chunk.twists[int(index)] if 0 <= index < len(chunk.twists) else STILL


def budgets(look: Look, plan: Plan) -> tuple[float, float]:
    """(rad, m) that the look backs from its capture on: the same in each of its ticks, for the guard lets no budget grow.

    Until the reply the robot drove on what came before it, at most as fast as it may; from then on at the fastest of the chunk.
    Never more than half a view, and never more than half a metre.
    """
    if look.chunk is None:
        return 0.0, 0.0
    before_s = reply_time_s(look)
    after_s = max(0.0, (look.evidence_deadline_ns - look.t_ready_ns) * 1e-9)
    fastest_rps = min(plan.max_angular_rps, max(abs(twist.angular_z) for twist in look.chunk.carried))
    fastest_mps = min(plan.max_linear_mps, max(max(abs(twist.linear_x), abs(twist.linear_y)) for twist in look.chunk.carried))
    turn_rad = plan.max_angular_rps * before_s + fastest_rps * after_s
    travel_m = plan.max_linear_mps * before_s + fastest_mps * after_s
    return min(0.55 * plan.camera.hfov_rad, turn_rad), min(TRAVEL_M, travel_m)
