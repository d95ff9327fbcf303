"""Physics: what is commanded is driven, what is hit is counted, what is free is measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_vla.sim.world import World

Make = Callable[..., Any]


def test_a_metre_commanded_is_a_metre_driven(make_robot: Make) -> None:
    robot = make_robot(start=(-1.0, 0.0, 0.5))
    robot.drive(0.25, 0.25, 4.0)
    robot.rest()
    pose = robot.world.pose()
    assert math.hypot(pose.x_m + 1.0, pose.y_m) == pytest.approx(1.0, rel=0.03)
    assert math.atan2(pose.y_m, pose.x_m + 1.0) == pytest.approx(0.5, abs=0.01)
    assert pose.yaw_rad == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_quarter_turn_loses_a_tenth_to_slip_and_stays_in_place(make_robot: Make, sign: int) -> None:
    robot = make_robot()
    rim_mps = 0.5 * robot.world.robot.track_m / 2  # 0.5 rad/s
    robot.drive(-sign * rim_mps, sign * rim_mps, math.pi / 2 / 0.5)
    robot.rest()
    pose = robot.world.pose()
    assert 0.88 < sign * pose.yaw_rad / (math.pi / 2) < 0.96
    assert math.hypot(pose.x_m, pose.y_m) < 0.005


def test_motors_lag_by_their_time_constant(make_robot: Make) -> None:
    robot = make_robot()
    robot.drive(0.3, 0.3, 0.152)
    assert robot.world.wheel_speeds() == pytest.approx((0.3 * (1 - math.exp(-1)),) * 2, rel=0.08)


def test_driving_into_a_wall_is_one_contact_with_its_name(make_robot: Make) -> None:
    robot = make_robot(size=(4.0, 4.0), start=(1.4, 0.0, 0.0))
    robot.drive(0.2, 0.2, 1.0)
    assert robot.world.contacts.episodes == 0
    robot.drive(0.2, 0.2, 4.0)  # pushes for seconds: still one
    assert (robot.world.contacts.episodes, robot.world.contacts.things) == (1, ["wall0"])
    assert robot.world.contacts.peak_n > 5.0
    assert robot.world.pose().x_m == pytest.approx(2.0 - robot.world.robot.length_m / 2, abs=0.01)


def test_two_bumps_are_two_contacts(make_robot: Make) -> None:
    robot = make_robot(size=(4.0, 4.0), start=(1.7, 0.0, 0.0))
    for _ in range(2):
        robot.drive(0.2, 0.2, 2.0)
        robot.drive(-0.2, -0.2, 2.0)
    assert robot.world.contacts.episodes == 2


@pytest.mark.parametrize("name", ["cup", "bottle", "ball", "box", "can", "book", "plant", "cone", "door", "person"])
def test_everything_low_enough_is_hit_and_named(make_robot: Make, name: str) -> None:
    """A cone's foot is lower than the chassis: it is the caster that meets it."""
    robot = make_robot((name, 0.7, 0.0, 0.0))
    robot.drive(0.3, 0.3, 2.5)
    assert robot.world.contacts.things == [name]


def test_the_floor_is_no_contact(make_robot: Make) -> None:
    robot = make_robot()
    robot.drive(0.4, -0.1, 3.0)
    assert robot.world.contacts.episodes == 0
    assert robot.world.contacts.peak_n == 0.0


def wall_distance(x: float, y: float, heading: float, half: tuple[float, float]) -> float:
    c, s = math.cos(heading), math.sin(heading)
    along_x = (math.copysign(half[0], c) - x) / c if c else math.inf
    along_y = (math.copysign(half[1], s) - y) / s if s else math.inf
    return min(along_x, along_y)


@pytest.mark.parametrize(("x", "y", "yaw"), [(0.0, 0.0, 0.0), (1.0, -0.8, 0.7), (-2.0, 1.5, -2.5), (2.5, 0.0, math.pi)])
def test_free_distances_in_an_empty_room_are_the_walls(make_world: Make, x: float, y: float, yaw: float) -> None:
    world: World = make_world(size=(6.0, 4.0), start=(x, y, yaw))
    bearings = np.linspace(-0.6, 0.6, 16)
    eye_x, eye_y = x + 0.08 * math.cos(yaw), y + 0.08 * math.sin(yaw)
    want = [min(4.0, wall_distance(eye_x, eye_y, yaw + b, (3.0, 2.0))) for b in bearings]
    assert world.free_distances(bearings) == pytest.approx(want, abs=1e-6)


def test_where_nothing_is_ahead_the_cap_is(make_world: Make) -> None:
    world: World = make_world(start=(50.0, 0.0, 0.0))
    assert world.free_distances(np.array([0.0]), cap_m=4.0).tolist() == [4.0]


def test_free_distance_ends_at_the_nearest_thing(make_world: Make) -> None:
    world: World = make_world(("can", 1.0, 0.0, 0.0))
    ahead, left = world.free_distances(np.array([0.0, 0.5]))
    assert 1.0 - 0.08 - 0.052 < ahead < 1.0 - 0.08 - 0.035  # a can's radius
    assert left > 2.0


def test_surface_distance_is_to_the_nearest_side(make_world: Make) -> None:
    world: World = make_world(("can", 1.0, 0.0, 0.0), ("ball", -1.0, 0.0, 0.0))
    assert 1.0 - 0.052 < world.surface_distance(0) < 1.0 - 0.035
    world.place_robot(0.5, 0.0, 0.0)
    assert 0.5 - 0.052 < world.surface_distance(0) < 0.5 - 0.035
    world.remove_thing(0)
    world.settle()
    assert world.surface_distance(0) >= 20.0
