"""Keeping a distance to something that moves: never backwards, never for good given up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.behaviours.follow import follow
from edge_vla.behaviours.state import Inputs, Phase, Plan, State
from edge_vla.obstacles import Obstacles
from edge_vla.track import Track
from edge_vla.types import Look, Pose

S = 1_000_000_000
PERSON = Track(2.0, 0.0, 0.2, 0.95, S, hits=3)
coordinate = st.floats(-4, 4)


@pytest.fixture(scope="session")
def inputs(make_look: Callable[..., Look]) -> Inputs:
    return Inputs(2 * S, Pose(2 * S, 0.0, 0.0, 0.0), make_look(1.75), armed=True)


@pytest.fixture(scope="session")
def plan(make_plan: Callable[..., Plan]) -> Plan:
    return make_plan("follow", "person", stop_at_m=0.8)


@given(x_m=coordinate, y_m=coordinate, points=st.lists(st.tuples(coordinate, coordinate), max_size=8), hits=st.integers(1, 3))
def test_it_never_backs_up(inputs: Inputs, plan: Plan, x_m: float, y_m: float, points: list, hits: int) -> None:
    """There is no eye at the back: when the target comes nearer, it stands."""
    track = Track(x_m, y_m, 0.2, 0.5, S, hits=hits)
    _, action = follow(State(track=track, obstacles=Obstacles(tuple((*p, S) for p in points))), inputs, plan)
    assert action.linear_x >= 0.0
    assert action.linear_y == 0.0


@pytest.mark.parametrize(("away_m", "drives"), [(0.5, False), (0.8, False), (0.89, False), (0.91, True), (2.0, True)])
def test_inside_its_distance_it_only_faces_the_target(inputs, plan, away_m: float, drives: bool) -> None:
    bearing = 0.2
    track = replace(PERSON, x_m=away_m * math.cos(bearing), y_m=away_m * math.sin(bearing))
    state, action = follow(State(track=track), inputs, plan)
    assert (action.linear_x > 0.0) is drives
    assert action.angular_z == pytest.approx(0.4 if drives else 0.3)
    assert (state.phase, action.description) == (Phase.ACT, "following" if drives else "keeping distance")


def test_an_unsure_target_is_faced(inputs, plan) -> None:
    _, action = follow(State(track=replace(PERSON, hits=1, confidence=0.5, y_m=1.0)), inputs, plan)
    assert (action.linear_x, action.description) == (0.0, "is that it?")
    assert action.angular_z == pytest.approx(1.5 * math.atan2(1.0, 2.0))


def test_it_searches_towards_where_the_target_went(inputs, plan) -> None:
    state, _ = follow(State(track=replace(PERSON, y_m=-1.0)), inputs, plan)
    assert state.turn_sign == -1.0
    state, action = follow(replace(state, track=None), inputs, plan)
    assert (state.phase, action.description) == (Phase.SEARCH, "searching")


def test_a_lost_target_is_searched_for_without_end(inputs, plan) -> None:
    state = State(turned_from_rad=-2 * math.pi, visited=((0.0, 0.0),) * 9)  # a seeker would have given up long ago
    state, action = follow(state, inputs, plan)
    assert (state.phase, state.outcome, state.visited, state.turned_from_rad) == (Phase.SEARCH, "", (), None)
    assert action.linear_x == action.angular_z == 0.0
    assert follow(state, inputs, plan)[1].description == "searching"


def test_it_stays_behind_a_walker(make_paper, plan) -> None:
    paper = make_paper(target=(1.5, 0.0), plan=plan, half_m=9.0, radius_m=0.15)
    gaps = []
    for _ in range(900):
        x, y = paper.target
        heading = 0.4 * (paper.t_s - 1.0) / 10  # a slow bend
        paper.target = (x + 0.15 / 30 * math.cos(heading), y + 0.15 / 30 * math.sin(heading))
        paper.tick()
        gaps.append(paper.away_m())
    assert not paper.done
    assert 0.7 < min(gaps[300:]) <= max(gaps[300:]) < 1.4
    assert abs(paper.bearing_rad()) < 0.3
