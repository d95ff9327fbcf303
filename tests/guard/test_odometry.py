"""Poses between, before and beyond what is known, and circles that close."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.errors import GuardError
from edge_vla.guard.odometry import CAPACITY, Odometry, PoseHistory
from edge_vla.guard.types import BaseTraits, Feedback, Pose
from edge_vla.guard.wheels import Differential

MS = 1_000_000
TRACK_M = 0.172
TRAITS = BaseTraits(Differential(TRACK_M), 1.3, 1e-4, 50, 300, b"\n")


def history(*poses: tuple[int, float, float, float]) -> PoseHistory:
    out = PoseHistory()
    for t_ms, x_m, y_m, yaw_rad in poses:
        assert out.add(Pose(t_ms * MS, x_m, y_m, yaw_rad))
    return out


STRAIGHT = history((1000, 0.0, 0.0, 0.0), (1100, 0.1, 0.0, 0.2), (1200, 0.3, 0.0, 0.2))


@pytest.mark.parametrize(
    ("t_ms", "x_m", "yaw_rad"),
    [
        (1000, 0.0, 0.0),
        (1050, 0.05, 0.1),
        (1100, 0.1, 0.2),
        (1150, 0.2, 0.2),
        (1200, 0.3, 0.2),
        (1250, 0.4, 0.2),  # carried on at 2 m/s
        (1300, 0.5, 0.2),
        (5000, 0.5, 0.2),  # for a tenth of a second
        (0, 0.0, 0.0),  # before the first report nothing moved
    ],
)
def test_at(t_ms: int, x_m: float, yaw_rad: float) -> None:
    pose = STRAIGHT.at(t_ms * MS)
    assert pose.t_ns == t_ms * MS
    assert (pose.x_m, pose.y_m, pose.yaw_rad) == pytest.approx((x_m, 0.0, yaw_rad))


@pytest.mark.parametrize(
    ("since_ms", "until_ms", "turn_rad", "travel_m"),
    [(1000, None, 0.2, 0.3), (1050, None, 0.1, 0.25), (1150, 1250, 0.0, 0.2), (0, 1100, 0.2, 0.1), (1200, 1100, 0.0, 0.0)],
)
def test_since(since_ms: int, until_ms: int | None, turn_rad: float, travel_m: float) -> None:
    used = STRAIGHT.since(since_ms * MS, None if until_ms is None else until_ms * MS)
    assert used == pytest.approx((turn_rad, travel_m))


def test_going_back_and_forth_adds_up() -> None:
    there_and_back = history((0, 0.0, 0.0, 0.0), (100, 0.3, 0.4, 1.0), (200, 0.0, 0.0, -0.5))
    assert there_and_back.since(0) == pytest.approx((2.5, 1.0))


def test_nothing_known_yet() -> None:
    empty = PoseHistory()
    assert empty.newest is None
    assert empty.since(0) == (0.0, 0.0)
    with pytest.raises(GuardError, match="no odometry"):
        empty.at(0)


def test_one_report_stands_still() -> None:
    one = history((1000, 1.0, 2.0, 3.0))
    for t_ms in (0, 1000, 9000):
        assert one.at(t_ms * MS) == Pose(t_ms * MS, 1.0, 2.0, 3.0)
    assert one.since(0, 9000 * MS) == (0.0, 0.0)


def test_old_and_equal_stamps_are_dropped() -> None:
    poses = history((1000, 0.0, 0.0, 0.0), (1100, 1.0, 0.0, 0.0))
    assert not poses.add(Pose(1100 * MS, 9.0, 0.0, 0.0))
    assert not poses.add(Pose(1050 * MS, 9.0, 0.0, 0.0))
    assert poses.at(1100 * MS).x_m == 1.0


def test_memory_is_bounded_and_what_is_forgotten_is_not_invented() -> None:
    poses = PoseHistory()
    for i in range(10 * CAPACITY):
        poses.add(Pose(i * MS, float(i), 0.0, 0.0))
    assert len(poses.recent(10**9)) <= 2 * CAPACITY
    assert poses.since((10 * CAPACITY - 11) * MS) == pytest.approx((0.0, 10.0))
    assert poses.since(0) == (math.inf, math.inf)
    with pytest.raises(GuardError):
        poses.at(0)


def drive(left: float, right: float, seconds: float, hz: int = 20, gyro: float | None = None, *, use_gyro: bool = False) -> Pose:
    odometry = Odometry(TRAITS, use_gyro=use_gyro)
    for i in range(round(seconds * hz) + 1):
        odometry.hear(Feedback(i * 1_000_000_000 // hz, (left, right), gyro))
    pose = odometry.poses.newest
    assert pose is not None
    return pose


def test_straight_ahead() -> None:
    pose = drive(0.3, 0.3, 2.0)
    assert (pose.x_m, pose.y_m, pose.yaw_rad) == pytest.approx((0.6, 0.0, 0.0))  # steady from the first report on


def test_a_circle_closes() -> None:
    v, w = 0.3, 0.6
    pose = drive(v - w * TRACK_M / 2, v + w * TRACK_M / 2, 2 * math.pi / w, hz=60)
    assert pose.yaw_rad == pytest.approx(2 * math.pi, rel=0.005)  # not wrapped
    assert math.hypot(pose.x_m, pose.y_m) < 0.02


def test_a_coarse_quarter_circle_ends_where_it_should() -> None:
    v, w = 0.3, 0.6
    pose = drive(v - w * TRACK_M / 2, v + w * TRACK_M / 2, 2.6, hz=5)  # 1.56 rad in 13 steps
    assert (pose.x_m, pose.y_m) == pytest.approx((v / w * math.sin(1.56), v / w * (1 - math.cos(1.56))), abs=1e-3)


def test_the_gyro_counts_only_when_asked_for() -> None:
    assert drive(0.1, 0.1, 1.0, gyro=0.5).yaw_rad == 0.0
    assert drive(0.1, 0.1, 1.0, gyro=0.5, use_gyro=True).yaw_rad == pytest.approx(0.5)
    assert drive(0.0, TRACK_M, 1.0, use_gyro=True).yaw_rad == pytest.approx(1.0)  # no gyro: the wheels


def test_reports_without_wheels_and_late_reports_move_nothing() -> None:
    odometry = Odometry(TRAITS)
    odometry.hear(Feedback(0, battery_v=11.0))
    assert odometry.poses.newest is None
    odometry.hear(Feedback(10, (0.1, 0.1)))
    odometry.hear(Feedback(10, (0.5, 0.5)))
    assert odometry.measured is not None
    assert odometry.measured.linear_x == 0.1


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(-1, 1), st.floats(-1, 1)), min_size=2, max_size=40), st.integers(0, 12_000))
def test_sums_never_run_backwards(steps: list[tuple[int, float, float]], t_ms: int) -> None:
    odometry, t_ns = Odometry(TRAITS), 0
    for dt_ms, left, right in steps:
        t_ns += dt_ms * MS
        odometry.hear(Feedback(t_ns, (left, right)))
    turn, travel = odometry.poses.since(t_ms * MS)
    more_turn, more_travel = odometry.poses.since(t_ms * MS - 50 * MS)
    assert 0.0 <= turn <= more_turn + 1e-9
    assert 0.0 <= travel <= more_travel + 1e-9
