"""The two halves of a run around the pure pilot: Seeing asks about frames, Steering talks to the guard. No threads, clocks injected."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge_vla.behaviours.state import Inputs, Phase, Plan, State
from edge_vla.errors import GuardError
from edge_vla.goals import GOALS
from edge_vla.guard.client import Evidence, GuardClient
from edge_vla.guard.link import Status
from edge_vla.guard.odometry import PoseHistory
from edge_vla.guard.state import ARMED, LATCHED, GuardState
from edge_vla.obstacles import clear_ahead
from edge_vla.pilot import see, step, understand
from edge_vla.sightings import refuse_numbers
from edge_vla.types import STILL, Engine, Frame, Look, Pose, Reply, RobotAction, acting

CLEAR_M = 3.0  # free distances say no more than this about what the robot's lane meets
ARM_PERIOD_NS = 200_000_000  # between two requests to arm
LATENCIES = 256  # looks remembered for the engine's p99
NONSENSE = 3  # replies of that kind, and the run is over
HAND_OVER_NS = 90_000_000  # from a reply to wheels that obey it, and half of what passes before the next frame is exposed


class Seeing:
    """Frames to looks, and how long that takes."""

    def __init__(self, engine: Engine, plan: Plan, pose_at: Callable[[int], Pose]) -> None:
        self.engine, self.plan = engine, plan
        if acting(engine):
            engine.forget()
        self._pose_at = pose_at
        self.broken = ""  # why the engine is no longer believed: several replies running had numbers that are none
        self._latencies_ns: deque[int] = deque(maxlen=LATENCIES)
        self._nonsense = 0

    @property
    def p99_ns(self) -> int:
        """From exposure to wheels that can obey the reply; the longest one while there are few.

        Twice this is how long a look may be relied on. Without the hand-over a steady engine slower than a quarter of a second
        would always be a tick late with the next look, and the robot would never move.
        """
        kept = sorted(self._latencies_ns)
        return kept[min(len(kept) - 1, round(0.99 * len(kept)))] if kept else 0

    def ask(self, frame: Frame) -> Reply:
        """The engine's answer to the goal's question about this frame. Raises EngineError."""
        return see(self.engine, frame, self.plan)

    def understand(self, reply: Reply, frame: Frame, ready_ns: int) -> Look:
        """The reply as a look. Raises GuardError when no odometry reaches back to the frame."""
        self._latencies_ns.append(ready_ns - frame.t_capture_ns + HAND_OVER_NS)
        why = refuse_numbers(reply)
        self._nonsense = self._nonsense + 1 if why else 0
        if self._nonsense >= NONSENSE:
            self.broken = f"{self._nonsense} replies running: {why}"
        pose = self._pose_at(frame.t_capture_ns if self.plan.compensate else ready_ns)
        return understand(reply, frame, pose, self.plan, (ready_ns, self.p99_ns))


@dataclass(frozen=True, slots=True)
class Tick:
    """One STEER tick as it is recorded: its inputs, and what was asked of the base."""

    inputs: Inputs
    phase: Phase
    action: RobotAction
    guard: str
    cause: str
    applied_linear_x: float
    applied_angular_z: float
    late_ns: int = 0


class Steering:
    """The fast half: status in, one pilot step, one command out."""

    def __init__(self, guard: GuardClient, plan: Plan, ttl_ms: int) -> None:
        self.guard, self.plan, self.ttl_ms = guard, plan, ttl_ms
        self.state = State(turn_sign=1.0)
        self._arm_asked_ns = -ARM_PERIOD_NS
        self._driven = 0.0
        self._driven_ns = 0  # up to when; the history of poses forgets, this sum must not

    @property
    def done(self) -> bool:
        return self.state.phase is Phase.DONE

    def driven(self) -> float:
        """How far the robot has turned (rad) and driven (m) so far, summed: it only matters whether it grows."""
        return self._driven

    def tick(self, now_ns: int, look: Look | None, late_ns: int = 0) -> Tick:
        """Poll the guard, step the pilot, send the action with the lifetimes of the look it rests on."""
        status = self.guard.poll()
        self._arm_when_ready(now_ns, status, look)
        armed = status is not None and status.state in ARMED
        self._sum_driven()
        inputs = Inputs(now_ns, pose_at(self.guard.poses, now_ns), look, armed=armed, held=bool(status and status.held))
        self.state, action = step(self.state, inputs, self.plan)
        self._send(action, inputs)
        applied = status.applied if status else STILL
        return Tick(
            inputs, self.state.phase, action, status.state.name if status else "", status.cause.name if status else "",
            applied.linear_x, applied.angular_z, late_ns,
        )  # fmt: skip

    def _sum_driven(self) -> None:
        newest = self.guard.poses.newest
        if newest is not None:
            self._driven += sum(self.guard.poses.since(self._driven_ns))
            self._driven_ns = newest.t_ns

    def _arm_when_ready(self, now_ns: int, status: Status | None, look: Look | None) -> None:
        """`run` is the request to arm: it is made once the base answers and a look is there that may still be relied on."""
        fresh = look is not None and now_ns < look.evidence_deadline_ns
        ready = fresh and status is not None and status.state is GuardState.DISARMED and GOALS[self.plan.goal].moves
        if ready and now_ns - self._arm_asked_ns >= ARM_PERIOD_NS:
            self.guard.arm()
            self._arm_asked_ns = now_ns

    def _send(self, action: RobotAction, inputs: Inputs) -> None:
        look, pose = inputs.look, inputs.pose
        if action.twist == STILL or look is None or pose is None or not inputs.armed:
            self.guard.send(STILL, ttl_ms=self.ttl_ms)
            return
        evidence = Evidence(
            look.t_capture_ns, look.evidence_deadline_ns, action.max_turn_rad, action.max_travel_m, self._clear_m(look, pose)
        )
        self.guard.send(action.twist, evidence, ttl_ms=self.ttl_ms)

    def _clear_m(self, look: Look, pose: Pose) -> float | None:
        """Clear way ahead as of capture: what is clear now plus what has been driven since."""
        if look.free_distance_m is None:
            return None
        track = self.state.track
        target = None if track is None else (track.x_m, track.y_m, track.own_m)
        return clear_ahead(self.state.obstacles.around(pose, target=target), 0.0, CLEAR_M) + self.guard.poses.since(look.t_capture_ns)[1]


def pose_at(poses: PoseHistory, t_ns: int) -> Pose | None:
    """The pose at a moment, None before there is any odometry."""
    try:
        return poses.at(t_ns)
    except GuardError:
        return None


def latched(status: Status | None) -> bool:
    return status is not None and status.state in LATCHED
