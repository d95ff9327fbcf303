"""What is remembered of the way ahead, when it is forgotten, how far a lane is clear, and the way around a post."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.geometry import CameraPose, to_odom, to_robot
from edge_vla.obstacles import BEYOND_M, CELL_M, DOUBT_NS, FAR_M, FORGET_NS, Obstacles, best_heading, clear_ahead
from edge_vla.types import Look, Pose

FAR = 4.0
Looks = Callable[..., Look]


def test_the_edge_of_the_free_distance_is_an_obstacle(make_look: Looks, camera: CameraPose) -> None:
    ahead = Obstacles().seen(make_look(2.0, free=[1.0]), camera)
    assert ahead.points == ((1.08, 0.0, 2_000_000_000),)  # from the camera, 0.08 m ahead of the wheel axis
    left = Obstacles().seen(make_look(2.0, free=[1.0], pose=(2.0, 1.0, math.pi / 2)), camera)
    assert left.points[0][:2] == pytest.approx((2.0, 2.08))


@pytest.mark.parametrize(("free", "remembered"), [(2.59, 1), (2.6, 0), (4.0, 0)])
def test_what_is_far_away_is_no_obstacle(make_look: Looks, camera: CameraPose, free: float, remembered: int) -> None:
    assert len(Obstacles().seen(make_look(free=[free]), camera).points) == remembered


def test_an_engine_without_free_distances_changes_nothing(make_look: Looks, camera: CameraPose) -> None:
    known = Obstacles(((1.0, 0.0, 0),))
    assert known.seen(make_look(90.0), camera) is known


@pytest.mark.parametrize("wall_m", [0.15, 0.3, 0.6, 1.2])
def test_all_of_a_wall_is_remembered_however_near(make_look: Looks, camera: CameraPose, wall_m: float) -> None:
    """Neighbouring columns meet a near wall within one cell of each other: none may push out the whole row."""
    free = [wall_m / math.cos(b) for b in camera.column_bearings(16)]
    points = Obstacles().seen(make_look(free=free), camera).points
    across = sorted(y for _, y, _ in points)
    edge = wall_m * math.tan(camera.column_bearings(16)[0])
    assert max(across) == pytest.approx(edge, abs=0.08)
    assert min(across) == pytest.approx(-edge, abs=0.08)
    assert max(b - a for a, b in itertools.pairwise(across)) <= max(0.16, 0.1 * wall_m)
    assert {round(x, 9) for x, _, _ in points} == {round(0.08 + wall_m, 9)}


def test_one_point_a_cell_and_the_newest(make_look: Looks, camera: CameraPose) -> None:
    points = Obstacles().seen(make_look(1.0, free=[1.0]), camera).seen(make_look(1.2, free=[1.01]), camera).points
    assert points == ((1.09, 0.0, 1_200_000_000),)


@pytest.mark.parametrize(("age_s", "kept"), [(29.9, True), (30.0, False)])
def test_what_has_not_been_seen_for_long_is_forgotten(make_look: Looks, camera: CameraPose, age_s: float, kept: bool) -> None:
    behind = Obstacles(((-1.0, 0.0, 1_000_000_000),))
    assert bool(behind.seen(make_look(1.0 + age_s, free=FAR), camera).points) is kept


@pytest.mark.parametrize(
    ("free", "kept"),
    [
        (1.35, True),  # a look must reach 0.35 m beyond it
        (1.36, False),
        ([1.36] * 7 + [1.2] + [1.36] * 8, True),  # and in both columns beside it
        ([1.36] * 8 + [1.2] + [1.36] * 7, True),
        ([1.36] * 6 + [1.2] + [1.36] * 9, False),
    ],
)
def test_what_is_seen_through_is_forgotten(make_look: Looks, camera: CameraPose, free: float | list[float], kept: bool) -> None:
    post = (1.08, 0.0, 0)
    assert (post in Obstacles((post,)).seen(make_look(2.0, free=free), camera).points) is kept


@pytest.mark.parametrize("place", [(-1.0, 0.0), (0.05, 0.3), (1.08, 0.75)])
def test_what_is_out_of_view_cannot_be_seen_through(make_look: Looks, camera: CameraPose, place: tuple[float, float]) -> None:
    point = (*place, 0)
    assert Obstacles((point,)).seen(make_look(2.0, free=FAR), camera).points == (point,)


@pytest.mark.parametrize(("age_s", "kept"), [(1.4, True), (1.6, False)])
def test_a_thin_leg_between_two_columns_is_not_forgotten_at_once(make_look: Looks, camera: CameraPose, age_s: float, kept: bool) -> None:
    leg = Obstacles().seen(make_look(1.0, free=[FAR] * 8 + [1.0] + [FAR] * 7), camera)
    assert bool(leg.seen(make_look(1.0 + age_s, free=FAR), camera).points) is kept


def test_without_a_target_and_around_a_pose() -> None:
    obstacles = Obstacles(((1.0, 0.0, 0), (1.0, 0.5, 0), (3.0, 1.0, 0)))
    pose = Pose(0, 1.0, -1.0, math.pi / 2)
    assert obstacles.around(pose, target=(1.0, 0.1, 0.41)).tolist() == [pytest.approx((2.0, -2.0))]
    assert obstacles.around(pose, target=(1.0, 0.1, 0.3)).tolist() == [pytest.approx((1.5, 0.0)), pytest.approx((2.0, -2.0))]
    assert obstacles.around(pose, 1.6, target=(1.0, 0.1, 0.3)).tolist() == [pytest.approx((1.5, 0.0))]
    assert obstacles.around(pose).tolist() == [pytest.approx((1.0, 0.0)), pytest.approx((1.5, 0.0)), pytest.approx((2.0, -2.0))]
    assert obstacles.around(pose, 1.4).tolist() == [pytest.approx((1.0, 0.0))]
    assert Obstacles().around(pose).shape == (0, 2)


@pytest.mark.parametrize(
    ("point", "heading", "clear"),
    [
        ((1.0, 0.0), 0.0, 0.82),  # a body's radius short of it
        ((1.0, 0.12), 0.0, 0.91),  # half way to the lane's edge: half of that
        ((1.0, -0.12), 0.0, 0.91),
        ((1.0, 0.2399), 0.0, 0.999925),
        ((1.0, 0.24), 0.0, 2.0),  # a body and its margin beside the lane
        ((-0.1, 0.0), 0.0, 2.0),  # behind
        ((0.1, 0.0), 0.0, 0.0),  # as near as the body
        ((0.0, 1.0), math.pi / 2, 0.82),
        ((0.0, 1.0), 0.0, 2.0),
        ((3.0, 0.0), 0.0, 2.0),  # further than asked
    ],
)
def test_clear_ahead(point: tuple[float, float], heading: float, clear: float) -> None:
    assert clear_ahead([point], heading, 2.0) == pytest.approx(clear)


def test_the_nearest_obstacle_counts() -> None:
    assert clear_ahead([(1.5, 0.0), (1.0, 0.0), (1.8, 0.1)], 0.0, 2.0) == pytest.approx(0.82)
    assert clear_ahead([], 0.0, 2.0) == 2.0


@pytest.mark.parametrize("wanted", [0.0, 0.4, -2.0])
def test_a_clear_way_is_taken_straight(wanted: float) -> None:
    assert best_heading([], wanted, 1.3) == (wanted, 1.3)


@pytest.mark.parametrize(("post", "side"), [((0.8, 0.1), -1), ((0.8, -0.1), 1)])
def test_a_post_is_passed_on_the_shorter_side(post: tuple[float, float], side: int) -> None:
    heading, clear = best_heading([post], 0.0, 1.3)
    assert clear == 1.3
    assert 0.05 < side * heading < 0.5
    assert clear_ahead([post], heading, 1.3) == 1.3


def test_in_a_dead_end_the_freest_way_is_offered_with_its_true_length() -> None:
    wall = [(0.5, y / 20) for y in range(-40, 41)]
    heading, clear = best_heading(wall, 0.0, 1.3)
    assert clear == pytest.approx(clear_ahead(wall, heading, 1.3))
    assert clear < 1.3


@given(
    points=st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), max_size=30),
    wanted=st.floats(-3.1, 3.1),
    reach=st.floats(0.35, 1.4),
)
def test_the_clear_distance_promised_is_the_lanes(points: list[tuple[float, float]], wanted: float, reach: float) -> None:
    heading, clear = best_heading(points, wanted, reach)
    assert abs(heading - wanted) <= 1.3 + 1e-9
    assert clear == pytest.approx(clear_ahead(points, heading, reach), abs=1e-9)


places_m = st.floats(-40, 40)
known = st.lists(st.tuples(places_m, places_m, st.integers(0, 50 * 10**9)), max_size=60)


@given(known, st.tuples(places_m, places_m, st.floats(-4, 4)), st.lists(st.floats(0, 5), min_size=1, max_size=16))
def test_remembering_is_what_its_rules_say_point_by_point(
    points: list[tuple[float, float, int]], pose: tuple[float, float, float], free: list[float]
) -> None:
    """The arrays against a loop over the rules: forget the old and what is seen through, add the edges, keep the newest of a cell."""
    camera = CameraPose(hfov_rad=1.2, aspect=4 / 3, height_m=0.25, pitch_rad=0.17, forward_m=0.08)
    look = Look(1, 50 * 10**9, 50 * 10**9, 51 * 10**9, Pose(50 * 10**9, *pose), "", free_distance_m=tuple(free))
    wanted: dict[tuple[float, float], tuple[float, float, int]] = {}
    for x, y, seen_ns in points:
        age_ns = look.t_capture_ns - seen_ns
        ahead, left = to_robot(look.pose, x, y)
        column = -1.0
        if ahead > camera.forward_m:
            column = (0.5 - left / (ahead - camera.forward_m) / (2 * math.tan(0.6))) * len(free) - 0.5
        through = 0 <= column <= len(free) - 1
        if through:
            first = min(int(column), max(0, len(free) - 2))
            through = min(free[first : first + 2]) > math.hypot(ahead - camera.forward_m, left) + BEYOND_M
        if age_ns < DOUBT_NS or (age_ns < FORGET_NS and not through):
            wanted[x // CELL_M, y // CELL_M] = (x, y, seen_ns)
    for bearing, distance in zip(camera.column_bearings(len(free)), free, strict=True):
        if distance < FAR_M:
            x, y = to_odom(look.pose, camera.forward_m + distance * math.cos(bearing), distance * math.sin(bearing))
            wanted[x // CELL_M, y // CELL_M] = (x, y, look.t_capture_ns)
    found = Obstacles(points).seen(look, camera).points
    assert len(found) == len(wanted)
    assert sorted(p[2] for p in found) == sorted(p[2] for p in wanted.values())
    assert sorted(p[:2] for p in found) == [pytest.approx(p[:2], abs=1e-9) for p in sorted(wanted.values())]
