"""A policy's actions: which of a chunk is driven when, how far a look backs them, when the robot has arrived, and what never moves it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.behaviours.act import TRAVEL_M, budgets, rests, twist_at
from edge_vla.behaviours.state import Inputs, Phase, Plan, State
from edge_vla.drive import Seeing
from edge_vla.errors import ConfigError
from edge_vla.geometry import CameraPose
from edge_vla.goals import Goal, get_instruction
from edge_vla.pilot import LEAD_NS, prompt_of, see, step, time_over, understand
from edge_vla.robot import instructed
from edge_vla.types import STILL, ActionType, Chunk, Frame, Look, Pose, Reply, Twist, acting
from edge_vla.validate import ActionValidator

MS, S = 1_000_000, 1_000_000_000
AT = Pose(2 * S, 0.0, 0.0, 0.0)
NO_IMAGE = np.zeros((1, 1, 3), np.uint8)
CAMERA = CameraPose(math.radians(70), 4 / 3, 0.25, math.radians(10), 0.08)
GO = Chunk((Twist(0.1, 0.0, 0.2), Twist(0.2, 0.0, 0.0), Twist(0.0, 0.0, -0.4)), 0.2)
REST = Chunk((Twist(0.019, 0.0, -0.049),), 0.2)
ENDING, LASTING = ("find_object", "navigate"), ("follow", "look", "avoid", "command")


class Policy:
    """Says one chunk, and remembers what it was asked."""

    targets = None
    moves = frozenset({"linear_x", "angular_z"})

    def __init__(self, chunk: Chunk = GO) -> None:
        self.chunk, self.asked, self.forgotten = chunk, list[str](), 0

    def ask(self, frame: Frame, prompt: str) -> Reply:
        self.asked.append(prompt)
        return Reply("", 1.0, chunk=self.chunk)

    def forget(self) -> None:
        self.forgotten += 1

    def close(self) -> None: ...


@pytest.fixture
def policy_plan(make_plan):
    """policy_plan(goal): told "turn left at the door" for a command, else the goal's own words about a cup."""

    def make(goal: str = "find_object", **other: object) -> Plan:
        return instructed(make_plan(goal, "cup" if goal not in ("avoid", "command") else None, **other), "turn left at the door")

    return make


def look_of(chunk: Chunk | None, at_ns: int = 2 * S, plan: Plan | None = None, ready_ns: int = 200 * MS, p99_ns: int = 300 * MS) -> Look:
    """By default taken at 2 s, ready 0.2 s later, to be relied on until 2.6 s."""
    plan = plan or instructed(Plan(Goal.FIND_OBJECT, "cup", CAMERA))
    return understand(Reply("", 1.0, chunk=chunk), Frame(NO_IMAGE, at_ns, at_ns // MS), AT, plan, (at_ns + ready_ns, p99_ns))


def acts(plan: Plan, look: Look, now_ns: int, state: State | None = None):
    return step(state or State(), Inputs(now_ns, AT, look, armed=True), plan)


# -- which action


def test_the_first_action_is_driven_until_the_look_is_too_old(policy_plan) -> None:
    look = look_of(GO)
    for now in (2 * S + 210 * MS, 2 * S + 450 * MS, look.evidence_deadline_ns - LEAD_NS - 1):
        state, action = acts(policy_plan(), look, now)
        assert action.twist == GO.twists[0]
        assert (action.action_type, action.target_object, action.confidence) == (ActionType.NAVIGATE, "cup", 1.0)
        assert action.description == "find the cup"
        assert state.phase is Phase.ACT
    assert acts(policy_plan(), look, look.evidence_deadline_ns - LEAD_NS)[1].twist == STILL


@pytest.mark.parametrize(
    ("age_ms", "twist"),
    [
        (0, GO.twists[0]),
        (199, GO.twists[0]),
        (200, GO.twists[1]),
        (399, GO.twists[1]),
        (400, GO.twists[2]),
        (599, GO.twists[2]),
        (600, STILL),
    ],
)
def test_a_chunk_is_driven_in_its_time(age_ms: int, twist: Twist) -> None:
    assert twist_at(replace(GO, execute="chunk"), age_ms * MS) == twist
    assert twist_at(GO, age_ms * MS) == GO.twists[0]


def test_after_a_chunks_end_the_robot_stands(policy_plan) -> None:
    look = look_of(replace(GO, execute="chunk"), p99_ns=S)
    assert acts(policy_plan(), look, 2 * S + 500 * MS)[1].twist == GO.twists[2]
    state, action = acts(policy_plan(), look, 2 * S + 700 * MS)
    assert (action.twist, action.description) == (STILL, "the policy stands still")
    assert state.phase is Phase.ACT


def test_a_reply_without_a_chunk_moves_nothing(policy_plan) -> None:
    state, action = acts(policy_plan(), look_of(None), 2 * S + 300 * MS)
    assert (action.twist, action.description) == (STILL, "no action in the reply")
    assert state.outcome == ""


@pytest.mark.parametrize(
    ("goal", "kind"),
    [("look", ActionType.LOOK), ("avoid", ActionType.AVOID), ("command", ActionType.MOVE), ("follow", ActionType.NAVIGATE)],
)
def test_what_an_action_is_called(policy_plan, goal: str, kind: ActionType) -> None:
    plan = policy_plan(goal)
    assert acts(plan, look_of(GO, plan=plan), 2 * S + 300 * MS)[1].action_type is kind


# -- how far a look backs it


def test_budgets_are_speed_times_the_time_a_look_lasts(policy_plan) -> None:
    """0.2 s at the robot's own limits, which the reply was late by, then 0.4 s at the fastest that is carried out."""
    turn_rad, travel_m = budgets(look_of(GO), policy_plan())
    assert turn_rad == pytest.approx(0.2 * 1.0 + 0.4 * 0.2)
    assert travel_m == pytest.approx(0.2 * 0.35 + 0.4 * 0.1)
    turn_rad, travel_m = budgets(look_of(replace(GO, execute="chunk")), policy_plan())
    assert turn_rad == pytest.approx(0.2 * 1.0 + 0.4 * 0.4)
    assert travel_m == pytest.approx(0.2 * 0.35 + 0.4 * 0.2)


def test_budgets_are_the_same_in_each_tick_of_a_look(policy_plan) -> None:
    look = look_of(replace(GO, execute="chunk"))
    given_out = {(a.max_turn_rad, a.max_travel_m) for t in (210, 390, 410) for _, a in [acts(policy_plan(), look, 2 * S + t * MS)]}
    assert given_out == {budgets(look, policy_plan())}


def test_budgets_never_exceed_half_a_view_and_half_a_metre(policy_plan) -> None:
    look = look_of(Chunk((Twist(9.0, 0.0, 9.0),), 0.2), p99_ns=3 * S)
    assert budgets(look, policy_plan()) == (0.55 * CAMERA.hfov_rad, TRAVEL_M)


# -- when it has arrived


def stand(plan: Plan, chunks: list[Chunk], apart_ns: int = 250 * MS) -> State:
    """The state after a look every `apart_ns`, two ticks each."""
    state = State()
    for k, chunk in enumerate(chunks):
        look = look_of(chunk, 2 * S + k * apart_ns, plan)
        for late in (210, 240):
            state, _ = acts(plan, look, look.t_capture_ns + late * MS, state)
    return state


@pytest.mark.parametrize("goal", ENDING)
def test_a_policy_that_rests_for_a_second_and_a_half_has_arrived(policy_plan, goal: str) -> None:
    plan = policy_plan(goal)
    assert stand(plan, [GO] + [REST] * 6).phase is Phase.ACT  # 1.25 s from the first to the last
    done = stand(plan, [GO] + [REST] * 7)
    assert (done.phase, done.outcome) == (Phase.DONE, "reached")
    assert done.why == f"the policy stands still; told to {plan.instruction}"
    assert stand(plan, [REST] * 6 + [GO] + [REST] * 6).phase is Phase.ACT  # it starts anew


@pytest.mark.parametrize("goal", LASTING)
def test_other_goals_last_until_the_time_is_over(policy_plan, goal: str) -> None:
    plan = policy_plan(goal)
    state = stand(plan, [REST] * 40)
    assert state.phase is Phase.ACT
    over = time_over(state, None, plan)
    assert (over.phase, over.outcome) == (Phase.DONE, "reached")
    assert over.why == f"the policy drove until the time was over; told to {plan.instruction}"


@pytest.mark.parametrize("goal", ENDING)
def test_what_should_have_arrived_has_not_when_the_time_is_over(policy_plan, goal: str) -> None:
    over = time_over(State(), None, policy_plan(goal))
    assert (over.outcome, over.why) == ("timeout", "no cup reached before the time was over")


@pytest.mark.parametrize(
    ("twist", "still"),
    [
        (Twist(0.0199, 0.0, 0.0499), True), (Twist(0.02, 0.0, 0.0), False), (Twist(-0.02, 0.0, 0.0), False), (Twist(0.0, 0.02, 0.0), False),
        (Twist(0.0, 0.0, 0.05), False), (Twist(0.0, 0.0, -0.05), False), (STILL, True),
    ],
)  # fmt: skip
def test_what_is_rest(twist: Twist, still: bool) -> None:
    assert rests(twist) is still


def test_only_what_is_carried_out_counts_as_a_wish_to_move(policy_plan) -> None:
    restless = Chunk((STILL, Twist(0.1, 0.0, 0.0)), 0.2)
    assert stand(policy_plan(), [restless] * 8).outcome == "reached"
    assert stand(policy_plan(), [replace(restless, execute="chunk")] * 8).outcome == ""


def test_a_policy_at_rest_does_not_creep(policy_plan) -> None:
    _, action = acts(policy_plan(), look_of(REST), 2 * S + 300 * MS)
    assert (action.twist, action.max_turn_rad, action.max_travel_m) == (STILL, 0.0, 0.0)


# -- what is no chunk


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (Chunk((), 0.2), "want one action or more, got none"),
        (Chunk((STILL, Twist(math.nan)), 0.2), "want actions that are finite, got Twist(linear_x=nan"),
        (Chunk((Twist(0.0, math.inf),), 0.2), "want actions that are finite"),
        (Chunk((Twist(0.0, 0.0, -math.inf),), 0.2), "want actions that are finite"),
        (Chunk((STILL,), 0.0), "want a period of more than 0 s, got 0.0"),
        (Chunk((STILL,), -0.1), "want a period of more than 0 s"),
        (Chunk((STILL,), math.nan), "want a period of more than 0 s"),
        (Chunk((STILL,), math.inf), "want a period of more than 0 s"),
    ],
)
def test_a_chunk_that_is_none_is_refused_with_the_reason(policy_plan, chunk: Chunk, reason: str) -> None:
    look = look_of(chunk)
    assert look.rejected.startswith(reason)
    assert look.chunk is None
    state, action = acts(policy_plan(), look, 2 * S + 300 * MS)
    assert action.description == f"reply refused: {look.rejected}"
    assert (action.twist, state.phase, state.looks) == (STILL, Phase.SEARCH, 1)


NUMBER = st.one_of(st.floats(), st.floats(-1, 1))
TWISTS = st.lists(st.builds(Twist, NUMBER, NUMBER, NUMBER), max_size=5).map(tuple)


@given(st.builds(Chunk, TWISTS, NUMBER, st.sampled_from(("first", "chunk"))), st.integers(-S, 5 * S), st.integers(0, 4 * S))
def test_no_chunk_moves_the_robot_beyond_its_limits(chunk: Chunk, age_ns: int, p99_ns: int) -> None:
    plan = instructed(Plan(Goal.NAVIGATE, "cup", CAMERA, max_linear_mps=0.3, max_angular_rps=0.8))
    look = look_of(chunk, plan=plan, p99_ns=p99_ns)
    _, action = acts(plan, look, look.t_capture_ns + age_ns)
    assert ActionValidator(0.3, 0.8).is_safe_action(action)
    assert 0 <= action.max_turn_rad <= 0.55 * CAMERA.hfov_rad
    assert 0 <= action.max_travel_m <= TRAVEL_M
    if look.rejected or age_ns >= look.evidence_deadline_ns - look.t_capture_ns - LEAD_NS:
        assert action.twist == STILL


# -- what it is told


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ("find_object", "find the cup"), ("navigate", "go to the cup"), ("follow", "follow the cup"), ("look", "look at the cup"),
        ("avoid", "drive around and touch nothing"), ("command", "turn left at the door"),
    ],
)  # fmt: skip
def test_a_policy_is_told_what_to_do(policy_plan, goal: str, words: str) -> None:
    plan = policy_plan(goal)
    engine = Policy()
    assert (plan.instruction, prompt_of(plan)) == (words, words)
    assert see(engine, Frame(NO_IMAGE, 0, 0), plan).chunk == GO
    assert engine.asked == [words]


@pytest.mark.parametrize("goal", ["describe_scene", "identify_main_object", "save_image", "stop"])
def test_what_a_policy_cannot_do_is_refused(make_plan, goal: str) -> None:
    with pytest.raises(ConfigError, match=rf"goal '{goal}' is nothing a policy can do: .* it can find_object, navigate, follow, look"):
        instructed(make_plan(goal, None))


@pytest.mark.parametrize(
    ("sentence", "why"), [(" ", "says nothing"), ("x" * 201, "want at most 200"), ("go <loc0001>", "holds '<'"), ("a\x00b", "unprintable")]
)
def test_a_sentence_that_is_none_is_refused(sentence: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        get_instruction("command", sentence=sentence)


def test_a_sentence_is_one_line() -> None:
    assert get_instruction("command", sentence=" turn {left}\n  now ") == "turn {left} now"


def test_a_goal_with_a_target_wants_one() -> None:
    with pytest.raises(ConfigError, match="needs a target"):
        get_instruction("find_object")


def test_words_beside_a_chunk_are_no_boxes(policy_plan) -> None:
    look = understand(Reply("gibberish", 1.0, chunk=GO), Frame(NO_IMAGE, S, 1), AT, policy_plan(), (S, 0))
    assert (look.rejected, look.chunk, look.box) == ("", GO, None)


def test_a_run_begins_with_nothing_remembered(policy_plan) -> None:
    engine = Policy()
    Seeing(engine, policy_plan(), lambda _: AT)
    assert (engine.forgotten, engine.asked) == (1, [])


def test_an_engine_acts_by_what_it_moves() -> None:
    class Words:
        targets = ("cup",)

        def ask(self, frame: Frame, prompt: str) -> Reply:
            return Reply("", 0.5)

        def close(self) -> None: ...

    assert acting(Policy())
    assert not acting(Words())
