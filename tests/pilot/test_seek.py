"""find_object and navigate: approach, stop at the distance asked for, and one more look before saying reached."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_vla.behaviours.seek import LAST_LOOK_SLACK_M, seek
from edge_vla.behaviours.state import Inputs, Phase, Plan, State
from edge_vla.errors import ConfigError
from edge_vla.obstacles import BODY_M, Obstacles
from edge_vla.track import Track
from edge_vla.types import ActionType, Look, Pose

S = 1_000_000_000
CUP = Track(2.0, 0.0, 0.05, 0.95, S, hits=3)
AT = (0.0, 0.0, 0.0)


@pytest.fixture
def inputs(make_look: Callable[..., Look]) -> Callable[..., Inputs]:
    """inputs(at_s, pose, ...): a tick 0.25 s after a look; what else is given is the look's."""

    def make(at_s: float = 10.0, pose: tuple[float, float, float] = AT, look_s: float | None = None, **look: object) -> Inputs:
        captured = at_s - 0.25 if look_s is None else look_s
        return Inputs(round(at_s * S), Pose(round(at_s * S), *pose), make_look(captured, pose=pose, **look), armed=True)

    return make


@pytest.mark.parametrize("phase", [Phase.SEARCH, Phase.EXPLORE])
def test_a_sighting_ends_the_search(inputs, make_plan, phase: Phase) -> None:
    state, action = seek(State(phase=phase, track=CUP, waypoint=(1.0, 1.0), since_ns=1), inputs(), make_plan())
    assert (state.phase, state.since_ns, state.nearest_m) == (Phase.APPROACH, 10 * S, 2.0)
    assert (action.action_type, action.target_object, action.description) == (ActionType.NAVIGATE, "cup", "approaching")
    assert action.linear_x == 0.35  # clear, straight ahead and far away: as fast as it may
    assert action.angular_z == 0.0


@pytest.mark.parametrize("phase", [Phase.APPROACH, Phase.ARRIVED])
def test_a_lost_target_is_searched_for_again(inputs, make_plan, phase: Phase) -> None:
    state, action = seek(State(phase=phase, turned_from_rad=3.0), inputs(pose=(0, 0, 1.0)), make_plan())
    assert (state.phase, state.turned_from_rad, action.description) == (Phase.SEARCH, 1.0, "searching")


@pytest.mark.parametrize(("bearing", "rate"), [(0.4, 0.6), (-0.4, -0.6), (1.2, 1.0)])
def test_an_unsure_target_is_faced_and_not_driven_to(inputs, make_plan, bearing: float, rate: float) -> None:
    track = Track(2 * math.cos(bearing), 2 * math.sin(bearing), 0.05, 0.5, S)
    _, action = seek(State(phase=Phase.APPROACH, track=track), inputs(), make_plan())
    assert (action.linear_x, action.angular_z) == (0.0, pytest.approx(rate))
    assert action.description == "is that it?"


@pytest.mark.parametrize(("bearing", "turns_first"), [(0.45, False), (0.55, True), (-0.55, True), (2.5, True)])
def test_it_turns_before_it_drives(inputs, make_plan, bearing: float, turns_first: bool) -> None:
    track = replace(CUP, x_m=2 * math.cos(bearing), y_m=2 * math.sin(bearing))
    _, action = seek(State(phase=Phase.APPROACH, track=track), inputs(), make_plan())
    assert (action.linear_x == 0.0) is turns_first
    assert math.copysign(1.0, action.angular_z) == math.copysign(1.0, bearing)
    assert action.max_travel_m <= (0.02 if turns_first else 0.5)


@pytest.mark.parametrize(("away_m", "arrived"), [(0.48, False), (0.46, True), (0.30, True)])
def test_it_stands_at_stop_at(inputs, make_plan, away_m: float, arrived: bool) -> None:
    state, action = seek(State(phase=Phase.APPROACH, track=replace(CUP, x_m=away_m)), inputs(), make_plan())
    assert (state.phase is Phase.ARRIVED) is arrived
    assert (action.linear_x == 0.0) is arrived
    if arrived:
        assert (state.since_ns, action.description) == (10 * S, "one more look")
    else:
        assert 0.0 < action.linear_x < 0.1  # slowly, this near


def test_near_but_not_facing_it_turns(inputs, make_plan) -> None:
    state, action = seek(State(phase=Phase.APPROACH, track=replace(CUP, x_m=0.4, y_m=0.2)), inputs(), make_plan())
    assert state.phase is Phase.APPROACH
    assert (action.linear_x, action.description) == (0.0, "facing it")
    assert action.angular_z == pytest.approx(1.5 * math.atan2(0.2, 0.4))


@pytest.mark.parametrize(
    ("look_s", "sees", "misses", "reached"),
    [
        (10.19, True, 0, False),  # exposed while it was still coming to rest
        (10.21, True, 0, True),
        (10.21, False, 0, False),  # stands, looks, and it is not there
        (10.21, True, 1, False),
    ],
)
def test_reached_needs_a_look_taken_after_standing(inputs, make_plan, look_s: float, sees: bool, misses: int, reached: bool) -> None:
    state = State(phase=Phase.ARRIVED, since_ns=10 * S, track=replace(CUP, x_m=0.46, misses=misses))
    after, action = seek(state, inputs(10.6, look_s=look_s, sees=(0.46, 0.0) if sees else None), make_plan())
    assert after.outcome == ("reached" if reached else "")
    assert action.twist.linear_x == action.twist.angular_z == 0.0
    assert after.why == ("cup reached: 0.46 m ahead, +0 degrees" if reached else "")


@pytest.mark.parametrize(
    ("place", "stays"),
    [
        ((0.45 + LAST_LOOK_SLACK_M - 0.01, 0.0), True),
        ((0.45 + LAST_LOOK_SLACK_M + 0.01, 0.0), False),
        ((0.4, 0.12), True),
        ((0.4, 0.13), False),
    ],
)
def test_a_target_that_turns_out_to_be_elsewhere_is_approached_again(inputs, make_plan, place: tuple[float, float], stays: bool) -> None:
    state = State(phase=Phase.ARRIVED, since_ns=10 * S, track=replace(CUP, x_m=place[0], y_m=place[1]))
    after, _ = seek(state, inputs(10.1), make_plan())
    assert after.phase is (Phase.ARRIVED if stays else Phase.APPROACH)


def test_an_approach_that_comes_no_nearer_is_given_up_for_another_place(inputs, make_plan) -> None:
    state = State(phase=Phase.APPROACH, track=CUP, nearest_m=2.0, nearest_ns=10 * S)
    before, _ = seek(state, inputs(18.99), make_plan())
    assert (before.phase, before.track) == (Phase.APPROACH, CUP)
    after, _ = seek(state, inputs(19.01), make_plan())
    assert (after.phase, after.track, after.visited) == (Phase.EXPLORE, None, ((0.0, 0.0),))


def test_the_targets_own_edge_is_no_obstacle_but_a_post_before_it_is(inputs, make_plan) -> None:
    def ahead(*points: tuple[float, float]) -> float:
        obstacles = Obstacles(tuple((*p, S) for p in points))
        return seek(State(phase=Phase.APPROACH, track=replace(CUP, x_m=0.9), obstacles=obstacles), inputs(), make_plan())[1].linear_x

    assert ahead((0.9, 0.0), (0.92, 0.1)) == ahead() > 0.2
    assert ahead((0.5, 0.0)) < 0.1


@pytest.mark.parametrize("stop_at", [0.45, 0.8])
@pytest.mark.parametrize("target", [(1.6, 0.0), (1.0, 1.4), (-1.8, 0.3), (-0.5, -1.5)])
def test_it_ends_in_front_of_the_target(make_paper, make_plan, target: tuple[float, float], stop_at: float) -> None:
    paper = make_paper(target=target, plan=make_plan(stop_at_m=stop_at))
    state = paper.run(30.0)
    assert (state.outcome, state.phase) == ("reached", Phase.DONE)
    assert paper.away_m() == pytest.approx(stop_at, abs=0.05)
    assert abs(math.degrees(paper.bearing_rad())) < 9
    assert min(action.linear_x for _, action in paper.actions) >= 0.0


def test_it_drives_around_a_post_on_the_way(make_paper) -> None:
    paper = make_paper(target=(2.2, 0.0), posts=((1.1, 0.03, 0.1),))
    assert paper.run(40.0).outcome == "reached"
    assert paper.closest_m > BODY_M
    assert max(abs(pose.y_m) for pose in paper.trail) > 0.2


@pytest.mark.parametrize(
    ("stop_at", "fine"), [(0.40, False), (0.41, True), (3.0, True), (3.01, False), (math.nan, False), (math.inf, False)]
)
def test_a_distance_at_which_the_camera_sees_no_foot_is_refused(make_plan: Callable[..., Plan], stop_at: float, fine: bool) -> None:
    if fine:
        assert make_plan(stop_at_m=stop_at).stop_at_m == stop_at
        return
    with pytest.raises(ConfigError, match=r"want 0\.41 to 3\.0"):
        make_plan(stop_at_m=stop_at)
    assert make_plan("stop", target=None, stop_at_m=stop_at)  # goals that go nowhere do not ask
