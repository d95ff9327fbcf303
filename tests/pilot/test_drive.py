"""The two halves around the pure pilot: how long looks take and where they are placed, and what the guard is told."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edge_vla.behaviours.state import Plan, State
from edge_vla.drive import ARM_PERIOD_NS, HAND_OVER_NS, LATENCIES, Seeing, Steering
from edge_vla.guard.client import GuardClient
from edge_vla.guard.link import Command, Kind, Status
from edge_vla.guard.odometry import CAPACITY
from edge_vla.guard.state import GuardState, StopCause
from edge_vla.guard.types import STILL, Twist
from edge_vla.obstacles import Obstacles
from edge_vla.pilot import LEAD_NS
from edge_vla.track import Track
from edge_vla.types import Frame, Look, Pose, Reply

MS, S = 1_000_000, 1_000_000_000
NOTHING = Reply("", 0.9)
CUP = "<loc0400><loc0480><loc0700><loc0544> cup"


class Scripted:
    """Gives the same answer to everything."""

    targets = None

    def __init__(self, reply: Reply = NOTHING) -> None:
        self.reply = reply

    def ask(self, frame: Frame, prompt: str) -> Reply:
        return self.reply

    def close(self) -> None: ...


def frame(at_ns: int) -> Frame:
    return Frame(np.zeros((1, 1, 3), np.uint8), at_ns, at_ns // MS)


# -- Seeing


@pytest.fixture
def seeing(make_plan: Callable[..., Plan]) -> Callable[..., Seeing]:
    """A robot that turns at 1 rad/s from the clock's zero."""
    return lambda **plan: Seeing(Scripted(Reply(CUP, 0.9)), make_plan(**plan), lambda t_ns: Pose(t_ns, 0.0, 0.0, t_ns / S))


def note(seeing: Seeing, *latencies_ms: int) -> int:
    """The p99 after looks that took this long, in ms."""
    for k, latency in enumerate(latencies_ms):
        seeing.understand(NOTHING, frame(S + k), S + k + latency * MS)
    return seeing.p99_ns // MS


def test_p99_is_the_longest_while_there_are_few(seeing) -> None:
    hand_over = HAND_OVER_NS // MS
    assert note(seeing()) == 0
    assert note(seeing(), 300) == 300 + hand_over
    assert note(seeing(), 300, 100, 900, 200) == 900 + hand_over


def test_p99_passes_over_one_outlier_in_two_hundred_and_forgets(seeing) -> None:
    one = seeing()
    assert note(one, *[100] * 198, 5000) == 100 + HAND_OVER_NS // MS
    assert note(one, *[200] * LATENCIES) == 200 + HAND_OVER_NS // MS


@pytest.mark.parametrize("latency_ms", [50, 200, 240, 260, 500, 1000, 2000])
def test_a_steady_engines_looks_never_run_out_before_the_next_can_be_obeyed(seeing, latency_ms: int) -> None:
    """The next frame is exposed when the reply is there, at 15 fps up to 67 ms later; its own reply then waits for a STEER tick."""
    one = seeing()
    note(one, latency_ms)
    look = one.understand(NOTHING, frame(9 * S), 9 * S + latency_ms * MS)
    next_obeyed_ns = 9 * S + (latency_ms + 67 + latency_ms + 33) * MS
    assert look.evidence_deadline_ns - LEAD_NS > next_obeyed_ns


def test_a_sighting_is_placed_where_the_robot_was_at_exposure(seeing) -> None:
    """At 1 rad/s half a second of latency is half a radian: without compensation the target is that far off."""
    looked, uncompensated = (
        seeing(compensate=compensate).understand(Reply(CUP, 0.9), frame(2 * S), 2 * S + 500 * MS) for compensate in (True, False)
    )
    assert (looked.pose.yaw_rad, uncompensated.pose.yaw_rad) == (2.0, 2.5)
    assert math.atan2(looked.sighting.y_m, looked.sighting.x_m) == pytest.approx(2.0)
    assert math.atan2(uncompensated.sighting.y_m, uncompensated.sighting.x_m) == pytest.approx(2.5)
    assert looked.sighting.bearing_rad == uncompensated.sighting.bearing_rad == pytest.approx(0.0)
    assert looked.evidence_deadline_ns == uncompensated.evidence_deadline_ns  # the frame is as old either way


# -- Steering


class Post:
    """The guard's end of the link, in a list."""

    def __init__(self) -> None:
        self.sent: list[Command] = []
        self.statuses: list[bytes] = []

    def push(self, data: bytes) -> bool:
        self.sent.append(Command.unpack(data))
        return True

    def pull(self) -> list[bytes]:
        taken, self.statuses = self.statuses, []
        return taken


class Rig:
    """A Steering, the guard's statuses as a test wants them, and what was sent."""

    def __init__(self, plan: Plan) -> None:
        self.now_ns = 2 * S
        self.post = Post()
        self.steering = Steering(GuardClient(self.post, 1, lambda: self.now_ns), plan, ttl_ms=150)

    def hear(self, state: GuardState, *, pose: Pose | None = None, **status: object) -> None:
        poses = (pose or Pose(self.now_ns, 0.0, 0.0, 0.0),)
        self.post.statuses.append(Status(1, self.now_ns, state, poses=poses, **status).pack())  # type: ignore[arg-type]

    def tick(self, look: Look | None, state: GuardState | None = None, later_ms: int = 33) -> list[Command]:
        """What one tick says."""
        self.now_ns += later_ms * MS
        if state is not None:
            self.hear(state)
        self.post.sent.clear()
        self.last = self.steering.tick(self.now_ns, look)
        return list(self.post.sent)


@pytest.fixture
def rig(make_plan: Callable[..., Plan]) -> Rig:
    return Rig(make_plan())


def kinds(commands: list[Command]) -> list[Kind]:
    return [command.kind for command in commands]


@pytest.mark.parametrize("state", list(GuardState))
def test_it_asks_to_arm_only_when_disarmed(rig: Rig, make_look, state: GuardState) -> None:
    assert (Kind.ARM in kinds(rig.tick(make_look(2.0), state))) is (state is GuardState.DISARMED)


def test_it_asks_to_arm_only_with_a_look_that_still_counts(rig: Rig, make_look) -> None:
    assert Kind.ARM not in kinds(rig.tick(None, GuardState.DISARMED))
    old = make_look(1.5)
    assert old.evidence_deadline_ns < rig.now_ns + 33 * MS
    assert Kind.ARM not in kinds(rig.tick(old, GuardState.DISARMED))
    assert Kind.ARM in kinds(rig.tick(make_look(2.0), GuardState.DISARMED))


@pytest.mark.parametrize("goal", ["stop", "describe_scene", "identify_main_object", "save_image"])
def test_a_goal_that_does_not_move_does_not_arm(make_plan, make_look, goal: str) -> None:
    assert Kind.ARM not in kinds(Rig(make_plan(goal, None)).tick(make_look(2.0), GuardState.DISARMED))


def test_it_asks_to_arm_five_times_a_second(rig: Rig, make_look) -> None:
    asked = [Kind.ARM in kinds(rig.tick(make_look(rig.now_ns / S), GuardState.DISARMED, later_ms=20)) for _ in range(50)]
    assert asked[0]
    assert sum(asked) == S // ARM_PERIOD_NS


def test_before_the_guard_has_said_anything_it_sends_a_zero(rig: Rig, make_look) -> None:
    (command,) = rig.tick(make_look(2.0))
    assert (command.kind, command.twist) == (Kind.COMMAND, STILL)
    assert (rig.last.guard, rig.last.inputs.pose, rig.last.inputs.armed) == ("", None, False)


@pytest.mark.parametrize("state", [s for s in GuardState if s.name not in ("ARMED_IDLE", "MOVING", "SOFT_STOP")])
def test_unarmed_it_sends_only_zeros(rig: Rig, make_look, state: GuardState) -> None:
    commands = rig.tick(make_look(2.0), state)
    assert rig.last.action.angular_z != 0.0  # the pilot would turn
    assert [c.twist for c in commands if c.kind is Kind.COMMAND] == [STILL]


@pytest.mark.parametrize("state", [GuardState.ARMED_IDLE, GuardState.MOVING, GuardState.SOFT_STOP])
def test_a_motion_is_sent_with_the_evidence_it_rests_on(rig: Rig, make_look, state: GuardState) -> None:
    look = make_look(2.0)
    (command,) = rig.tick(look, state)
    action = rig.last.action
    assert command.twist == action.twist == Twist(0.0, 0.0, 1.0)
    assert (command.t_capture_ns, command.evidence_deadline_ns) == (look.t_capture_ns, look.evidence_deadline_ns)
    assert (command.max_turn_rad, command.max_travel_m) == (action.max_turn_rad, action.max_travel_m) == (0.55 * math.radians(70), 0.02)
    assert (command.ttl_ms, command.t_issue_ns, command.clear_m) == (150, rig.now_ns, None)


def test_nothing_moves_without_evidence(rig: Rig, make_look) -> None:
    """No look, an expired look, no pose: what is sent is a zero."""
    assert [c.twist for c in rig.tick(None, GuardState.MOVING)] == [STILL]
    look = make_look(2.0)
    while rig.now_ns + 33 * MS < look.evidence_deadline_ns - LEAD_NS:
        assert rig.tick(look, GuardState.MOVING)[-1].twist != STILL
    assert [c.twist for c in rig.tick(look, GuardState.MOVING)] == [STILL]


@pytest.mark.parametrize(
    ("points", "clear_m"),
    [((), 3.0), (((1.5, 0.0),), 1.32), (((1.5, 0.5),), 3.0), (((2.05, 0.0),), 3.0)],
    ids=["free", "a post", "beside the lane", "the target itself"],
)
def test_the_clear_way_is_what_the_lane_meets(rig: Rig, make_look, points: tuple, clear_m: float) -> None:
    rig.steering.state = State(track=Track(2.0, 0.0, 0.05, 0.95, S, hits=2), obstacles=Obstacles(tuple((*p, S) for p in points)))
    (command,) = rig.tick(make_look(2.0, free=4.0, sees=(2.0, 0.0)), GuardState.MOVING)
    assert command.clear_m == pytest.approx(clear_m)


def test_the_clear_way_counts_from_the_moment_of_the_look(rig: Rig, make_look) -> None:
    """The guard takes off what has been driven since; so what has been driven is added here."""
    rig.steering.state = State(obstacles=Obstacles(((1.5, 0.0, S),)))
    rig.hear(GuardState.MOVING, pose=Pose(2 * S, 0.0, 0.0, 0.0))
    rig.hear(GuardState.MOVING, pose=Pose(2 * S + 20 * MS, 0.25, 0.0, 0.0))
    (command,) = rig.tick(make_look(2.0, free=4.0), later_ms=20)
    assert command.clear_m == pytest.approx(1.32)


def test_a_tick_says_what_the_guard_did(rig: Rig, make_look) -> None:
    rig.hear(GuardState.SOFT_STOP, cause=StopCause.EVIDENCE, applied=Twist(0.1, 0.0, -0.2), held=True)
    rig.tick(make_look(2.0))
    tick = rig.last
    assert (tick.guard, tick.cause, tick.applied_linear_x, tick.applied_angular_z) == ("SOFT_STOP", "EVIDENCE", 0.1, -0.2)
    assert tick.inputs.armed
    assert tick.inputs.held


def test_what_has_been_driven_only_grows_and_is_never_forgotten(rig: Rig) -> None:
    """The pose history forgets after a minute; a camera that freezes then must still be found out."""
    driven = []
    for k in range(3 * CAPACITY):
        rig.hear(GuardState.MOVING, pose=Pose(rig.now_ns + 33 * MS, 0.01 * k, 0.0, 0.002 * k))
        rig.tick(None)
        driven.append(rig.steering.driven())
    assert driven[0] == 0.0
    assert driven[-1] == pytest.approx(0.012 * (3 * CAPACITY - 1))
    assert all(b - a == pytest.approx(0.012) for a, b in itertools.pairwise(driven))


def test_the_pilots_end_is_the_steerings(rig: Rig, make_look) -> None:
    assert not rig.steering.done
    rig.steering.state = replace(rig.steering.state, phase=type(rig.steering.state.phase).DONE)
    assert rig.steering.done
