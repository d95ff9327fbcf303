"""Looking for what is not in view: a full turn, another place, and in the end the sentence that gives up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_vla.behaviours.search import CLEARANCE_M, LONGEST_M, PLACES, explore, leave, search
from edge_vla.behaviours.state import Inputs, Phase, Plan, State
from edge_vla.obstacles import BODY_M, Obstacles
from edge_vla.types import ActionType, Look, Pose

S = 1_000_000_000
HFOV = math.radians(70)


@pytest.fixture
def inputs(make_look: Callable[..., Look]) -> Callable[..., Inputs]:
    """inputs(at_s, (x, y, yaw)): a tick shortly after a look that took 0.2 s."""

    def make(at_s: float = 2.0, pose: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Inputs:
        return Inputs(round(at_s * S), Pose(round(at_s * S), *pose), make_look(at_s - 0.25), armed=True)

    return make


def test_a_search_turns_on_the_spot_as_fast_as_looks_overlap(inputs, make_plan) -> None:
    state, action = search(State(), inputs(), make_plan())
    assert (action.action_type, action.linear_x, action.angular_z) == (ActionType.LOOK, 0.0, 1.0)
    assert action.max_turn_rad == pytest.approx(0.55 * HFOV)
    assert state.turned_from_rad == 0.0


@pytest.mark.parametrize(("point", "sign"), [((0.5, 0.4), -1.0), ((0.5, -0.4), 1.0)])
def test_it_turns_to_the_side_with_more_room_first(inputs, make_plan, point: tuple[float, float], sign: float) -> None:
    state, action = search(State(obstacles=Obstacles(((*point, 0),))), inputs(), make_plan())
    assert (state.turn_sign, action.angular_z) == (sign, sign)


@pytest.mark.parametrize(("turned", "over"), [(2 * math.pi - 0.31 * HFOV, False), (2 * math.pi - 0.29 * HFOV, True)])
@pytest.mark.parametrize("side", [1, -1])
def test_a_turn_is_full_when_the_view_has_closed_the_circle(inputs, make_plan, turned: float, over: bool, side: int) -> None:
    state, _ = search(State(turned_from_rad=0.0, turn_sign=side), inputs(pose=(0.3, 0.4, side * turned)), make_plan())
    assert (state.phase is Phase.EXPLORE) is over
    assert state.visited == (((0.3, 0.4),) if over else ())


def test_the_next_place_has_room_around_it_and_lies_away_from_the_others(inputs, make_plan) -> None:
    ring = tuple((1.6 * math.cos(a / 20), 1.6 * math.sin(a / 20), 0) for a in range(126) if not 10 < a < 22)  # a gap half left
    posts = ((1.0, 1.2, 0),)  # in the gap
    state, action = leave(State(obstacles=Obstacles(ring + posts), visited=((0.0, 0.0),)), inputs(3.0), make_plan())
    assert state.waypoint is not None
    assert min(math.dist(state.waypoint, point[:2]) for point in ring + posts) >= CLEARANCE_M
    assert 0.4 <= math.hypot(*state.waypoint) <= LONGEST_M
    assert (state.phase, state.since_ns, action.twist.linear_x) == (Phase.EXPLORE, 3 * S, 0.0)


def test_of_two_free_ways_the_one_not_searched_yet_is_taken(inputs, make_plan) -> None:
    state, _ = leave(State(visited=((0.0, 0.0), (2.0, 0.0), (2.0, 1.5), (2.0, -1.5))), inputs(), make_plan())
    assert state.waypoint is not None
    assert state.waypoint[0] < -1.9


@pytest.mark.parametrize(("count", "words"), [(1, "no cup seen from 1 place"), (3, "no cup seen from 3 places")])
def test_with_no_way_out_it_gives_up_and_says_so(inputs, make_plan, count: int, words: str) -> None:
    pen = tuple((0.5 * math.cos(a / 10), 0.5 * math.sin(a / 10), 0) for a in range(63))
    state, action = leave(State(obstacles=Obstacles(pen), visited=((0.0, 0.0),) * count), inputs(), make_plan())
    assert (state.phase, state.outcome, state.why) == (Phase.DONE, "not_found", words)
    assert (action.action_type, action.description) == (ActionType.STOP, words)


def test_it_gives_up_after_the_last_place(inputs, make_plan) -> None:
    visited = tuple((float(k), 0.0) for k in range(PLACES))
    assert leave(State(visited=visited[:-1]), inputs(), make_plan())[0].phase is Phase.EXPLORE
    state, _ = leave(State(visited=visited), inputs(), make_plan())
    assert (state.outcome, state.why) == ("not_found", "no cup seen from 6 places")


@pytest.mark.parametrize(("away_m", "searches"), [(0.19, True), (0.21, False)])
def test_exploring_ends_at_its_place(inputs, make_plan, away_m: float, searches: bool) -> None:
    state = State(phase=Phase.EXPLORE, waypoint=(1.0, 0.0), since_ns=S, turned_from_rad=4.0)
    after, action = explore(state, inputs(pose=(1.0 - away_m, 0.0, 0.0)), make_plan())
    assert after.phase is (Phase.SEARCH if searches else Phase.EXPLORE)
    if searches:
        assert (after.waypoint, after.turned_from_rad, action.linear_x) == (None, None, 0.0)
    else:
        assert action.linear_x > 0


def test_exploring_does_not_last_for_ever(inputs, make_plan) -> None:
    state = State(phase=Phase.EXPLORE, waypoint=(2.0, 0.0), since_ns=S)
    assert explore(state, inputs(14.99), make_plan())[0].phase is Phase.EXPLORE
    assert explore(state, inputs(15.01), make_plan())[0].phase is Phase.SEARCH


def test_an_absent_target_is_looked_for_everywhere_without_touching_anything(make_paper) -> None:
    posts = ((1.2, 0.3, 0.1), (-1.0, 1.3, 0.15), (0.2, -1.2, 0.05), (-1.5, -1.0, 0.2), (1.7, 1.7, 0.1))
    paper = make_paper(posts=posts, half_m=2.4)
    state = paper.run(150.0)
    assert (state.outcome, state.why) == ("not_found", "no cup seen from 6 places")
    assert paper.closest_m > BODY_M
    xs, ys = zip(*state.visited, strict=True)
    assert max(max(xs) - min(xs), max(ys) - min(ys)) > 1.5  # and it did go somewhere


def test_a_pen_is_searched_once(make_paper) -> None:
    paper = make_paper(half_m=0.6)
    assert paper.run(30.0).why == "no cup seen from 1 place"
    assert max(abs(pose.x_m) + abs(pose.y_m) for pose in paper.trail) == 0.0


def test_slower_replies_turn_slower(make_plan: Callable[..., Plan], inputs, make_look) -> None:
    """Between two looks no more than 0.45 of half a view goes by, so that they overlap."""

    def rate(reply_s: float) -> float:
        return search(State(), replace(inputs(), look=make_look(1.0, reply_s=reply_s)), make_plan())[1].angular_z

    assert rate(0.05) == rate(0.2) == 1.0
    assert rate(0.5) == pytest.approx(0.45 * HFOV / 0.5 / 2)
    assert rate(2.0) == pytest.approx(0.45 * HFOV / 2.0 / 2)
