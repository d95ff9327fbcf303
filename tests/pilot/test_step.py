"""pilot.step as a function: what it depends on, when it stands still, and what no action of it ever exceeds."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vla.behaviours.state import Inputs, Phase, Plan, State
from edge_vla.goals import Goal
from edge_vla.pilot import LEAD_NS, see, step, time_over, understand
from edge_vla.track import Track
from edge_vla.types import STILL, ActionType, Frame, Pose, Reply

MS, S = 1_000_000, 1_000_000_000
AT = Pose(2 * S, 0.0, 0.0, 0.0)
CUP = "<loc0400><loc0480><loc0700><loc0544> cup"  # straight ahead, foot at 0.68 of the height
MOVING = ["find_object", "navigate", "follow", "look", "avoid", "command"]
MAX_TURN_RAD = 0.55 * math.radians(70)
OBEY_TURN_RAD, TRAVEL_M = 0.7, 0.5


def run(plan: Plan, ticks: list[Inputs]) -> list[tuple[State, object]]:
    state, done = State(), []
    for inputs in ticks:
        state, action = step(state, inputs, plan)
        done.append((state, action))
    return done


# -- standing still


@pytest.mark.parametrize("goal", MOVING)
def test_without_odometry_or_a_look_it_waits(make_plan, make_look, goal: str) -> None:
    plan = make_plan(goal, "cup", text="go forward" if goal == "command" else "")
    for inputs, why in ((Inputs(2 * S, None, make_look()), "waiting for odometry"), (Inputs(2 * S, AT, None), "waiting for a look")):
        state, action = step(State(), inputs, plan)
        assert (state, action.twist, action.action_type, action.description) == (State(), STILL, ActionType.STOP, why)
        assert (action.max_turn_rad, action.max_travel_m) == (0.0, 0.0)


@pytest.mark.parametrize("goal", MOVING)
def test_after_the_evidence_deadline_it_halts(make_plan, make_look, goal: str) -> None:
    plan = make_plan(goal, "cup", text="go forward" if goal == "command" else "")
    look = make_look(1.0, sees=(2.0, 1.0))

    def twist(now_ns: int) -> object:
        return step(State(), Inputs(now_ns, AT, look, armed=True), plan)[1].twist

    early = look.evidence_deadline_ns - LEAD_NS  # so that the guard has the zero before the deadline, and no soft stop to make
    assert twist(early - 1) != STILL
    assert twist(early) == STILL
    assert twist(look.evidence_deadline_ns) == STILL
    assert twist(look.evidence_deadline_ns + S) == STILL


def test_a_refused_reply_is_a_stop_and_proves_nothing(make_plan, make_look) -> None:
    """It neither moves the robot nor counts as not having seen the target."""
    state = State(phase=Phase.APPROACH, track=Track(2.0, 0.0, 0.1, 0.9, S, hits=2))
    look = make_look(1.75, free=0.3, rejected="want 4 <locNNNN>, got 3")
    after, action = step(state, Inputs(2 * S, AT, look, armed=True), make_plan())
    assert (action.twist, action.description) == (STILL, "reply refused: want 4 <locNNNN>, got 3")
    assert after == replace(state, look_seq=look.seq, looks=1)


@pytest.mark.parametrize("outcome", ["reached", "not_found"])
def test_done_is_done(make_plan, make_look, outcome: str) -> None:
    state = State(phase=Phase.DONE, outcome=outcome, why="because")
    after, action = step(state, Inputs(2 * S, AT, make_look(1.75, sees=(1.0, 0.0)), armed=True), make_plan())
    assert after == state
    assert (action.twist, action.description) == (STILL, "because")


# -- what it is a function of


def test_a_look_is_taken_in_once(make_plan, make_look) -> None:
    look = make_look(1.75, sees=(2.0, 0.0), confidence=0.5)
    (one, _), (two, _) = run(make_plan(), [Inputs(2 * S, AT, look, armed=True)] * 2)
    assert one.track is not None
    assert one.track.hits == two.track.hits == 1
    again = replace(look, seq=look.seq + 1, t_capture_ns=look.t_capture_ns + 1)
    assert step(two, Inputs(2 * S, AT, again, armed=True), make_plan())[0].track.hits == 2


def test_goals_without_a_target_keep_no_track(make_plan, make_look) -> None:
    state, _ = step(State(), Inputs(2 * S, AT, make_look(1.75, sees=(2.0, 0.0)), armed=True), make_plan("avoid", None))
    assert state.track is None


def test_slower_replies_drive_slower(make_plan, make_look) -> None:
    def speed(reply_s: float) -> float:
        look = make_look(1.0, sees=(3.0, 0.0), reply_s=reply_s)
        return step(State(), Inputs(look.t_ready_ns, AT, look, armed=True), make_plan())[1].linear_x

    assert speed(0.1) == speed(0.2) == pytest.approx(0.35)
    assert speed(0.5) == pytest.approx(0.35)
    assert speed(1.0) == pytest.approx(0.175)  # 0.35 m until the look after the next
    assert speed(2.0) == pytest.approx(0.0875)


@pytest.mark.parametrize("size", [(224, 224), (240, 320), (960, 1280)])
def test_the_images_size_does_not_matter(make_plan, size: tuple[int, int]) -> None:
    """Steering works on bearings: the same fractions of a small and of a large picture are the same action."""

    def act(height: int, width: int) -> object:
        frame = Frame(np.zeros((height, width, 3), np.uint8), S, 7)
        look = understand(
            Reply("<loc0400><loc0100><loc0700><loc0200> cup", 0.9), frame, replace(AT, t_ns=S), make_plan(), (S + 200 * MS, 0)
        )
        return step(State(), Inputs(S + 250 * MS, AT, look, armed=True), make_plan())

    assert act(*size) == act(240, 320)


def test_see_asks_what_the_goal_wants_to_know(make_plan) -> None:
    asked = []

    class Engine:
        targets = None

        def ask(self, frame: Frame, prompt: str) -> Reply:
            asked.append(prompt)
            return Reply("", 0.9)

        def close(self) -> None: ...

    frame = Frame(np.zeros((1, 1, 3), np.uint8), 0, 0)
    assert see(Engine(), frame, make_plan()) == Reply("", 0.9)
    assert asked == ["detect cup"]


# -- replies to looks


@pytest.mark.parametrize(("p99_s", "lasts_s"), [(0.0, 0.5), (0.25, 0.5), (0.4, 0.8), (2.5, 5.0), (9.0, 5.0)])
def test_how_long_a_look_may_be_relied_on(make_plan, p99_s: float, lasts_s: float) -> None:
    frame = Frame(np.zeros((1, 1, 3), np.uint8), 3 * S, 7)
    look = understand(Reply("", 0.9), frame, AT, make_plan(), (3 * S + 100 * MS, round(p99_s * S)))
    assert look.evidence_deadline_ns == 3 * S + round(lasts_s * S)
    assert (look.seq, look.t_capture_ns, look.t_ready_ns, look.pose) == (7, 3 * S, 3 * S + 100 * MS, AT)


def test_a_box_is_placed_where_the_camera_was(make_plan, camera) -> None:
    """Foot 0.6836 of the height down, 70 degrees wide: 18.0 degrees below the horizon, 0.77 m ahead of the lens."""
    frame, pose = Frame(np.zeros((1, 1, 3), np.uint8), S, 1), Pose(S, 1.0, 2.0, math.pi / 2)
    look = understand(Reply(CUP, 0.9), frame, pose, make_plan(), (S, 0))
    below = math.radians(10) + math.atan((700 / 1024 - 0.5) * 2 * math.tan(math.radians(35)) * 0.75)
    away = 0.08 + 0.25 / math.tan(below)
    sighting = look.sighting
    assert sighting is not None
    assert (sighting.x_m, sighting.y_m) == pytest.approx((1.0, 2.0 + away))
    assert (sighting.range_m, sighting.bearing_rad, sighting.confidence) == (pytest.approx(away), pytest.approx(0.0), 0.9)
    assert sighting.half_width_rad == pytest.approx(camera.bearing(480 / 1024))


@pytest.mark.parametrize(("confidence", "acted_on"), [(0.3, True), (0.299, False), (None, False), (1.0, True)])
def test_a_box_below_the_confidence_floor_is_no_sighting(make_plan, confidence: float | None, acted_on: bool) -> None:
    look = understand(Reply(CUP, confidence), Frame(np.zeros((1, 1, 3), np.uint8), S, 1), AT, make_plan(), (S, 0))
    assert look.box is not None
    assert (look.sighting is not None) is acted_on
    assert look.rejected == ""


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("<loc0400><loc0480><loc0700> cup", 0.9), "want 4 <locNNNN>"),
        (Reply("<loc0400><loc0480><loc0700><loc1024> cup", 0.9), "want <loc0000>..<loc1023>"),
        (Reply("I see a cup", 0.9), "want 4 <locNNNN>"),
        (Reply(CUP, math.nan), "want a confidence in 0..1, got nan"),
        (Reply(CUP, 1.01), "want a confidence in 0..1, got 1.01"),
        (Reply(CUP, -0.01), "want a confidence in 0..1, got -0.01"),
        (Reply(CUP, 0.9, (1.0, math.nan, 1.0)), "want a free distance that is finite and not negative"),
        (Reply(CUP, 0.9, (1.0, math.inf)), "want a free distance"),
        (Reply("", 0.9, (-0.1, 1.0)), "want a free distance"),
    ],
)
def test_a_reply_that_is_none_is_refused_with_the_reason(make_plan, reply: Reply, reason: str) -> None:
    look = understand(reply, Frame(np.zeros((1, 1, 3), np.uint8), S, 1), AT, make_plan(), (S, 0))
    assert look.rejected.startswith(reason)
    assert look.sighting is None
    assert 0 <= look.confidence <= 1
    assert all(0 <= distance < math.inf for distance in look.free_distance_m or ())


def test_words_are_not_read_as_boxes(make_plan) -> None:
    look = understand(Reply("a cup", 0.9), Frame(np.zeros((1, 1, 3), np.uint8), S, 1), AT, make_plan("describe_scene", None), (S, 0))
    assert (look.text, look.rejected, look.box) == ("a cup", "", None)


# -- the run's time is up


@pytest.mark.parametrize(
    ("goal", "outcome", "why"),
    [
        ("avoid", "reached", "wandered until the time was over"),
        ("find_object", "timeout", "no cup reached before the time was over"),
        ("look", "timeout", "no cup reached before the time was over"),
        ("command", "timeout", "not done before the time was over"),
    ],
)
def test_time_over(make_plan, make_look, goal: str, outcome: str, why: str) -> None:
    target = "cup" if goal in ("find_object", "look") else None
    state = time_over(State(), make_look(), make_plan(goal, target))
    assert (state.phase, state.outcome, state.why) == (Phase.DONE, outcome, why)


@pytest.mark.parametrize(("unseen_s", "outcome"), [(1.9, "reached"), (2.1, "timeout")])
def test_a_follower_has_succeeded_when_its_target_was_seen_lately(make_plan, make_look, unseen_s: float, outcome: str) -> None:
    state = State(track=Track(1.0, 0.0, 0.1, 0.9, 10 * S))
    assert time_over(state, make_look(10.0 + unseen_s), make_plan("follow", "person")).outcome == outcome


# -- whatever it is shown


metres = st.floats(-4, 4)
poses = st.tuples(metres, metres, st.floats(-9, 9))
moments = st.fixed_dictionaries(
    {
        "sees": st.none() | st.tuples(metres, metres),
        "pose": poses,
        "free": st.none() | st.lists(st.floats(0, 4), min_size=1, max_size=6),
        "reply_s": st.floats(0.0, 2.4),
        "confidence": st.floats(0.0, 1.0),
        "text": st.sampled_from(["", "turn left", "go forward 3 m quickly", "don't move"]),
    }
)
sentences = st.sampled_from(["turn left 90 degrees", "go forward 3 m, then turn right", "back up"])


@settings(max_examples=80)
@given(goal=st.sampled_from(MOVING), text=sentences, run=st.lists(st.tuples(moments, poses, st.floats(0.01, 0.5)), min_size=1, max_size=5))
def test_no_action_exceeds_its_bounds(make_plan, make_look, goal: str, text: str, run: list) -> None:
    """Random looks from random places, poses that jump: speeds within the plan, budgets finite and small, never sideways."""
    plan = make_plan(goal, "cup", text=text if goal == "command" else "", max_linear_mps=0.3, max_angular_rps=0.8)
    most_turn = OBEY_TURN_RAD if goal == "command" else MAX_TURN_RAD
    state, now_s = State(), 1.0
    for moment, pose, later_s in run:
        look = make_look(now_s, **moment)
        now_s += later_s
        inputs = Inputs(round(now_s * S), Pose(round(now_s * S), *pose), look, armed=True)
        before = copy.deepcopy((state, inputs, plan))
        state, action = step(state, inputs, plan)
        assert before[1:] == (inputs, plan)
        assert (state, action) == step(*before)  # the same inputs, the same answer
        assert abs(action.linear_x) <= 0.3 + 1e-9
        assert action.linear_y == 0.0
        assert abs(action.angular_z) <= 0.8 + 1e-9
        assert 0.0 <= action.max_turn_rad <= most_turn + 1e-9, action.description
        assert 0.0 <= action.max_travel_m <= TRAVEL_M
        assert action.confidence == 1.0
        if look.evidence_deadline_ns - LEAD_NS <= inputs.now_ns:
            assert action.twist == STILL


def test_every_goal_that_a_base_can_do_has_a_behaviour() -> None:
    from edge_vla.behaviours import BEHAVIOURS
    from edge_vla.goals import GOALS

    assert set(BEHAVIOURS) == {goal for goal in Goal if not GOALS[goal].needs_arm}
