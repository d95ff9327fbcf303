"""Goal and camera to safe motion, in two rates. SEE asks the engine about a frame; STEER drives on what was seen last.

    frame + goal ─► prompt ─► engine ─► parse ─► Look        (slow: see)
    Look + pose  ─► behaviour ─► validate ─► RobotAction     (fast: step, pure)

A policy comes the same way: its prompt is an instruction, its look holds actions, its behaviour carries them out.
Knows no clock, no thread and no wire: `run` and the lockstep simulation drive the very same functions.
"""

from __future__ import annotations

from dataclasses import replace

from edge_vla.behaviours import behaviour_of
from edge_vla.behaviours.act import ENDS_AT_REST
from edge_vla.behaviours.state import Inputs, Phase, Plan, State, halt
from edge_vla.geometry import CameraPose
from edge_vla.goals import GOALS, Answer, Goal, get_vlm_prompt
from edge_vla.sightings import interpret
from edge_vla.track import update
from edge_vla.types import Engine, Frame, Look, Pose, Reply, RobotAction
from edge_vla.validate import ActionValidator

EVIDENCE_FLOOR_NS = 500_000_000
EVIDENCE_CEILING_NS = 5_000_000_000
LEAD_NS = 60_000_000  # a STEER tick, a guard tick and some scheduling: by then a zero has replaced the last motion at the guard
STILL_THERE_NS = 2_000_000_000  # a follower that saw its target this recently has not lost it


def see(engine: Engine, frame: Frame, plan: Plan) -> Reply:
    """Ask the engine what the goal wants to know about this frame. Raises EngineError."""
    return engine.ask(frame, prompt_of(plan))


def prompt_of(plan: Plan) -> str:
    """A policy's instruction, or the goal's prompt; goals that ask nothing still need to know the way ahead while they move."""
    return plan.instruction or get_vlm_prompt(plan.goal, plan.target) or "drive"


def understand(reply: Reply, frame: Frame, pose: Pose, plan: Plan, timing_ns: tuple[int, int]) -> Look:
    """The reply as a look: parsed, placed in the odometry frame at `pose`, with the time it may be relied on.

    `timing_ns` is (when the reply was ready, the engine's measured p99 from capture to reply).
    """
    ready_ns, p99_ns = timing_ns
    lasts_ns = min(EVIDENCE_CEILING_NS, max(EVIDENCE_FLOOR_NS, 2 * p99_ns))
    target = plan.target if GOALS[plan.goal].answer is Answer.BOXES and not plan.instruction else None
    return interpret(reply, frame, (ready_ns, frame.t_capture_ns + lasts_ns), pose, plan.camera, target=target)


def step(state: State, inputs: Inputs, plan: Plan) -> tuple[State, RobotAction]:
    """One STEER tick: what is known in, the next state and a validated action out. The same inputs give the same action."""
    if inputs.pose is None or state.phase is Phase.DONE:
        return state, halt("waiting for odometry" if inputs.pose is None else state.why)
    look = inputs.look
    if look is not None and look.seq != state.look_seq:
        state = notice(state, look, plan)
    if look is None or inputs.now_ns >= look.evidence_deadline_ns - LEAD_NS:  # a late look is a pause; the guard makes it a soft stop
        return state, halt("waiting for a look")
    if look.rejected:
        return state, halt(f"reply refused: {look.rejected}")
    state, action = behaviour_of(plan)(state, inputs, plan)
    validator = ActionValidator(plan.max_linear_mps, plan.max_angular_rps)
    return state, validator.validate_action(action)


def notice(state: State, look: Look, plan: Plan) -> State:
    """Take one new look in: obstacles, and the target if the goal has one. A refused reply says nothing about either."""
    if look.rejected:
        return replace(state, look_seq=look.seq, looks=state.looks + 1)
    camera: CameraPose = plan.camera
    obstacles = state.obstacles.seen(look, camera)
    track = update(state.track, look, camera, moving=plan.target_moves) if plan.target and not plan.instruction else None
    return replace(state, look_seq=look.seq, looks=state.looks + 1, obstacles=obstacles, track=track, words=look.text)


def time_over(state: State, look: Look | None, plan: Plan) -> State:
    """The run's time is up. Goals that last as long as they are given have then succeeded; the others have not."""
    if plan.instruction and plan.goal not in ENDS_AT_REST:
        why = f"the policy drove until the time was over; told to {plan.instruction}"
        return replace(state, phase=Phase.DONE, outcome="reached", why=why)
    if plan.goal is Goal.AVOID:
        return replace(state, phase=Phase.DONE, outcome="reached", why="wandered until the time was over")
    seen = state.track is not None and look is not None and look.t_capture_ns - state.track.seen_ns < STILL_THERE_NS
    if plan.goal is Goal.FOLLOW and seen:
        return replace(state, phase=Phase.DONE, outcome="reached", why=f"followed the {plan.target} until the time was over")
    what = f"no {plan.target} reached" if plan.target else "not done"
    return replace(state, phase=Phase.DONE, outcome="timeout", why=f"{what} before the time was over")
