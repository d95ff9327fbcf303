"""Image fractions to the floor against trigonometry done by hand, and the two frames as each other's inverse."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.geometry import FARTHEST_M, CameraPose, to_odom, to_robot, wrap
from edge_vla.types import Box, Pose

near_m = st.floats(-20, 20)
poses = st.builds(Pose, st.just(0), near_m, near_m, st.floats(-30, 30))


@pytest.mark.parametrize(
    ("x_fraction", "degrees"),
    [(0.5, 0.0), (0.0, 35.0), (1.0, -35.0), (0.25, 19.2958), (0.75, -19.2958), (0.9, -29.2552)],  # atan((0.5 - x) * 2 tan 35)
)
def test_a_column_is_a_bearing_left_positive(camera: CameraPose, x_fraction: float, degrees: float) -> None:
    assert math.degrees(camera.bearing(x_fraction)) == pytest.approx(degrees, abs=1e-3)


def test_column_bearings_are_those_of_the_columns_middles(camera: CameraPose) -> None:
    assert camera.column_bearings(2) == [camera.bearing(0.25), camera.bearing(0.75)]
    assert camera.column_bearings(1) == [0.0]


@pytest.mark.parametrize("columns", [1, 9, 16])
def test_a_point_along_a_columns_bearing_is_in_that_column(camera: CameraPose, columns: int) -> None:
    for k, bearing in enumerate(camera.column_bearings(columns)):
        point = np.array([[0.08 + 2 * math.cos(bearing), 2 * math.sin(bearing)]])
        assert camera.columns(point, columns).tolist() == [pytest.approx(k, abs=1e-9)]


@pytest.mark.parametrize("point", [(0.08, 0.0), (0.0, 0.5), (-1.0, 0.0), (1.08, 0.69), (1.08, -0.69)])  # beside and behind; 34.6 degrees
def test_a_point_out_of_view_is_in_no_column(camera: CameraPose, point: tuple[float, float]) -> None:
    assert np.isnan(camera.columns(np.array([point]), 16)).tolist() == [True]


@pytest.mark.parametrize(
    ("image", "floor"),
    [
        ((0.5, 0.5), (0.08 + 0.25 / math.tan(math.radians(10)), 0.0)),  # the axis looks 10 degrees down
        ((0.5, 1.0), (0.08 + 0.25 / math.tan(math.radians(10) + math.atan(math.tan(math.radians(35)) * 0.75)), 0.0)),
        ((0.25, 0.5), (0.08 + 1.4178205, 0.5040421)),  # reach 0.25 / sin 10 = 1.4396926, times cos 10 and 0.5 tan 35
        ((0.75, 0.5), (0.08 + 1.4178205, -0.5040421)),
    ],
)
def test_floor_point(camera: CameraPose, image: tuple[float, float], floor: tuple[float, float]) -> None:
    assert camera.floor_point(*image) == pytest.approx(floor, abs=1e-6)


def test_the_lower_edge_sees_the_floor_forty_centimetres_ahead(camera: CameraPose) -> None:
    assert camera.floor_point(0.5, 1.0)[0] == pytest.approx(0.4035, abs=5e-4)


@given(x_m=st.floats(0.45, 5.0), across=st.floats(-0.6, 0.6))
def test_a_floor_point_projected_into_the_picture_comes_back(camera: CameraPose, project: Callable, x_m: float, across: float) -> None:
    point = (x_m, across * (x_m - camera.forward_m))
    assert camera.floor_point(*project(*point)) == pytest.approx(point, abs=1e-6)


@given(x_fraction=st.floats(0, 1), y_fraction=st.floats(0, 1))
def test_no_floor_point_is_behind_the_camera_or_beyond_the_farthest(camera: CameraPose, x_fraction: float, y_fraction: float) -> None:
    x, y = camera.floor_point(x_fraction, y_fraction)
    assert x > camera.forward_m
    assert math.hypot(x - camera.forward_m, y) <= FARTHEST_M + 1e-9


@pytest.mark.parametrize("x_fraction", [0.5, 0.1])
def test_above_the_horizon_is_as_far_as_it_gets(camera: CameraPose, x_fraction: float) -> None:
    x, y = camera.floor_point(x_fraction, 0.0)
    assert math.hypot(x - camera.forward_m, y) == pytest.approx(FARTHEST_M)
    assert math.atan2(y, x - camera.forward_m) * (0.5 - x_fraction) >= 0


def test_a_boxs_foot_is_the_middle_of_its_lower_edge(camera: CameraPose) -> None:
    assert camera.foot(Box(0.2, 0.3, 0.7, 0.5)) == camera.floor_point(0.4, 0.7)


def test_the_pictures_size_is_not_asked_for() -> None:
    """Only its shape is: the same fractions of a frame of any size are the same place."""
    small, large = (CameraPose(1.2, w / h, 0.25, 0.2, 0.1) for w, h in ((224, 168), (1280, 960)))
    assert small.floor_point(0.3, 0.8) == large.floor_point(0.3, 0.8)


def test_frames_by_hand() -> None:
    pose = Pose(0, 2.0, 1.0, math.pi / 2)  # at (2, 1), looking along +y
    assert to_odom(pose, 1.0, 0.0) == pytest.approx((2.0, 2.0))
    assert to_odom(pose, 0.0, 1.0) == pytest.approx((1.0, 1.0))
    assert to_robot(pose, 2.0, 2.0) == pytest.approx((1.0, 0.0))
    assert to_robot(pose, 1.0, 1.0) == pytest.approx((0.0, 1.0))


@given(pose=poses, x_m=near_m, y_m=near_m)
def test_robot_and_odometry_frame_are_inverse(pose: Pose, x_m: float, y_m: float) -> None:
    assert to_robot(pose, *to_odom(pose, x_m, y_m)) == pytest.approx((x_m, y_m), abs=1e-9)
    assert to_odom(pose, *to_robot(pose, x_m, y_m)) == pytest.approx((x_m, y_m), abs=1e-9)
    assert math.hypot(*to_robot(pose, x_m, y_m)) == pytest.approx(math.dist((x_m, y_m), (pose.x_m, pose.y_m)), abs=1e-9)


@given(turns=st.integers(-5, 5), angle=st.floats(-3.1, 3.1))
def test_wrap_takes_full_turns_away(turns: int, angle: float) -> None:
    assert wrap(angle + turns * 2 * math.pi) == pytest.approx(angle, abs=1e-9)
