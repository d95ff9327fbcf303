"""avoid: drive about, turn away from what is ahead, touch nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest

from edge_vla.behaviours.state import Inputs, Phase, State
from edge_vla.behaviours.wander import wander
from edge_vla.obstacles import BODY_M, Obstacles
from edge_vla.types import ActionType, Look, Pose

S = 1_000_000_000
POSE = Pose(2 * S, 0.0, 0.0, 0.0)


@pytest.fixture
def act(make_look: Callable[..., Look], make_plan) -> Callable[..., tuple]:
    """act((x, y), ..., text=..., state=...): one tick of avoid among points."""

    def act(*points: tuple[float, float], text: str = "", **state: object) -> tuple:
        known = State(obstacles=Obstacles(tuple((*p, S) for p in points)), **state)  # type: ignore[arg-type]
        return wander(known, Inputs(2 * S, POSE, make_look(1.75, text=text), armed=True), make_plan("avoid", None))

    return act


def test_with_nothing_ahead_it_drives_on(act) -> None:
    state, action = act()
    assert (action.action_type, action.linear_x, action.angular_z) == (ActionType.AVOID, 0.25, 0.0)
    assert (state.phase, action.max_travel_m) == (Phase.ACT, 0.3)


@pytest.mark.parametrize(("points", "sign"), [([(0.4, y / 10) for y in range(-8, 2)], 1.0), ([(0.4, y / 10) for y in range(-1, 9)], -1.0)])
def test_before_a_wall_it_stops_and_turns_to_its_open_end(act, points: list, sign: float) -> None:
    state, action = act(*points)
    assert (action.linear_x, action.angular_z) == (0.0, pytest.approx(0.8 * sign))
    assert (state.turn_sign, action.description) == (sign, "turning to free space")


def test_it_keeps_to_the_side_it_has_begun_to_turn_to(act) -> None:
    wall_open_on_the_left = [(0.4, y / 10) for y in range(-8, 2)]
    _, action = act(*wall_open_on_the_left, turned_from_rad=0.0, turn_sign=-1.0)
    assert action.angular_z == pytest.approx(-0.8)


@pytest.mark.parametrize(("ahead_m", "drives"), [(0.85, False), (1.0, True)])  # less a body: 0.67 and 0.82, want 0.75
def test_a_turn_ends_only_with_room_ahead(act, ahead_m: float, drives: bool) -> None:
    wall = [(ahead_m, y / 10) for y in range(-20, 21)]
    state, action = act(*wall, turned_from_rad=0.0, turn_sign=1.0)
    assert (action.linear_x > 0.0) is drives
    assert (state.turned_from_rad is None) is drives


@pytest.mark.parametrize(("text", "sign"), [("turn left", 1), ("turn right", -1), ("go straight", 0), ("a cup on the floor", 0), ("", 0)])
def test_the_engines_sentence_pulls(act, text: str, sign: int) -> None:
    _, action = act(text=text)
    assert action.linear_x > 0.0
    assert action.angular_z == pytest.approx(0.6 * sign)  # 0.4 rad to that side, 1.5 rad/s per rad


def test_a_minute_among_posts(make_paper) -> None:
    posts = ((1.2, 0.3, 0.1), (-1.0, 1.3, 0.15), (0.2, -1.2, 0.05), (-1.5, -1.0, 0.2))
    paper = make_paper("avoid", posts=posts, half_m=2.2)
    state = paper.run(60.0)
    assert state.phase is Phase.ACT
    assert paper.closest_m > BODY_M
    assert sum(math.dist((a.x_m, a.y_m), (b.x_m, b.y_m)) for a, b in itertools.pairwise(paper.trail)) > 3.0
