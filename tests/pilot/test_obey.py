"""command: the operator's sentence, carried out to its budgets and never into something."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_vla.behaviours.obey import obey, refusal
from edge_vla.behaviours.state import Inputs, Phase, Plan, State
from edge_vla.obstacles import BODY_M, MARGIN_M, Obstacles
from edge_vla.parse import parse_all
from edge_vla.types import Look, Pose

S = 1_000_000_000


@pytest.fixture
def told(make_paper, make_plan: Callable[..., Plan]) -> Callable:
    """told("turn left 90 degrees", ...): the world on paper after that, at most half a minute later."""

    def told(text: str, **world: object):
        paper = make_paper(plan=make_plan("command", None, text=text), **world)
        paper.run(30.0)
        return paper

    return told


@pytest.mark.parametrize(
    ("text", "degrees"),
    [("turn left 90 degrees", 90), ("turn right 45 degrees", -45), ("turn around", 180), ("왼쪽으로 90도 돌아", 90)],
)
def test_turns(told, text: str, degrees: float) -> None:
    paper = told(text)
    assert paper.state.outcome == "reached"
    assert paper.state.why == "1 command done"
    assert abs(math.degrees(paper.yaw_rad)) == pytest.approx(abs(degrees), abs=2.0)
    assert degrees == 180 or paper.yaw_rad * degrees > 0
    assert paper.x_m == paper.y_m == 0.0
    assert max(action.max_turn_rad for _, action in paper.actions) <= 0.7


@pytest.mark.parametrize(("text", "x_m"), [("move forward 0.5 m", 0.5), ("go forward 1.2 meters", 1.2), ("move back 0.3 m", -0.3)])
def test_drives(told, text: str, x_m: float) -> None:
    paper = told(text)
    assert paper.state.outcome == "reached"
    assert paper.x_m == pytest.approx(x_m, abs=0.02)
    assert (paper.y_m, paper.yaw_rad) == (0.0, 0.0)
    assert max(action.max_travel_m for _, action in paper.actions) <= 0.5


@pytest.mark.parametrize(
    "text", ["turn left 90 degrees", "move forward 0.5 m", "look left", "stop", "wait", "turn right, then move back 0.3 m", "앞으로 가"]
)
def test_what_has_an_end_is_obeyed(text: str) -> None:
    assert [refusal(command) for command in parse_all(text)] == [""] * len(parse_all(text))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("avoid the chair", "use --goal avoid"),
        ("의자를 피해", "use --goal avoid"),
        ("look at the cup", "use --goal look --target 'cup'"),
        ("look around", "say where to"),
        ("follow the person", "--goal follow --target 'person'"),
        ("follow me", "--goal follow --target ..."),
        ("find the cup", "use --goal navigate --target 'cup'"),
        ("pick up the cup", "goal 'grab' needs an arm"),
        ("release", "goal 'release' needs an arm"),
        ("the sky is blue", "no command in"),
    ],
)
def test_what_has_none_names_the_goal_that_has(text: str, hint: str) -> None:
    """Nothing would have been done, and "reached" said."""
    assert hint in refusal(parse_all(text)[0])


def test_two_commands_in_turn(told) -> None:
    paper = told("turn left 90 degrees, then move forward 0.5 m")
    assert (paper.state.outcome, paper.state.why) == ("reached", "2 commands done")
    assert math.degrees(paper.yaw_rad) == pytest.approx(90, abs=2.0)
    assert (paper.x_m, paper.y_m) == (pytest.approx(0.0, abs=0.02), pytest.approx(0.5, abs=0.02))
    turned = [state.index for state, action in paper.actions if action.linear_x]
    assert set(turned) == {1}  # it drives only once it has turned


def test_stop_is_done_at_once(told) -> None:
    paper = told("stop")
    assert paper.state.outcome == "reached"
    assert (paper.x_m, paper.yaw_rad) == (0.0, 0.0)


def test_a_way_that_is_blocked_ends_the_run(told) -> None:
    paper = told("move forward 2 m", half_m=1.0)
    assert paper.state.outcome == "not_found"
    assert "something is in the way" in paper.state.why
    assert BODY_M + MARGIN_M - 0.01 < 1.0 - paper.x_m < 0.5
    assert paper.t_s - 1.0 < 14.0


@pytest.mark.parametrize(("waited_s", "over"), [(7.9, False), (8.1, True)])
def test_it_waits_eight_seconds_for_the_way_to_clear(make_look, make_plan, waited_s: float, over: bool) -> None:
    plan, pose = make_plan("command", None, text="move forward 1 m"), Pose(0, 0.0, 0.0, 0.0)
    state = State(obstacles=Obstacles(((0.4, 0.0, 20 * S),)), mark=pose, since_ns=20 * S)
    now = 20 + waited_s
    after, action = obey(state, Inputs(round(now * S), pose, make_look(now - 0.25), armed=True), plan)
    assert (after.phase is Phase.DONE) is over
    assert action.linear_x == 0.0


def test_it_slows_down_towards_the_end(make_look: Callable[..., Look], make_plan) -> None:
    plan, start = make_plan("command", None, text="move forward 0.5 m"), Pose(0, 0.0, 0.0, 0.0)

    def speed(left_m: float) -> float:
        inputs = Inputs(2 * S, replace(start, x_m=0.5 - left_m), make_look(1.75), armed=True)
        return obey(State(mark=start, since_ns=S), inputs, plan)[1].linear_x

    assert speed(0.4) == pytest.approx(0.2)
    assert speed(0.1) == pytest.approx(0.15)
    assert speed(0.02) == pytest.approx(0.07)
    assert speed(0.009) == 0.0
