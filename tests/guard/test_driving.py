"""What is driven of what is asked: clamps, saturation, ramps, clear distance, odometry back."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from edge_vla.bases.waveshare import WaveshareUGV
from edge_vla.guard.client import Evidence
from edge_vla.guard.core import Guard
from edge_vla.guard.limits import Limits
from edge_vla.guard.state import GuardState
from edge_vla.guard.types import STILL, BaseTraits, Twist

MS = 1_000_000
SESSION = 77


def test_a_command_is_driven_and_measured(bench) -> None:
    status = bench.moving(Twist(0.3, 0.0, 0.5)).status
    assert (status.applied.linear_x, status.applied.angular_z) == pytest.approx((0.3, 0.5), abs=2e-3)
    assert status.measured is not None
    assert (status.measured.linear_x, status.measured.angular_z) == pytest.approx((0.3, 0.5), abs=0.02)
    assert status.battery_v == pytest.approx(11.8)
    assert bench.local.poses.newest == bench.guard.odometry.poses.newest


def test_odometry_reaches_the_worker_and_agrees_with_the_wheels(bench) -> None:
    bench.armed()
    travelled = 0.0
    for _ in range(50):
        bench.run(20, bench.drive(Twist(0.3)))
        travelled += sum(bench.wheels.speeds()) / 2 * 0.02
    assert bench.local.poses.at(bench.now_ns).x_m == pytest.approx(travelled, abs=0.01)


def test_frames_between_ticks_stay_within_the_acceleration(bench) -> None:
    bench.moving(Twist(0.5, 0.0, 0.4))
    bench.run(1000, bench.drive(Twist(-0.1, 0.0, -0.9)))
    for (_, a), (_, b) in pairwise(bench.frames):
        assert abs(b.linear_x - a.linear_x) <= 1.5 * 0.02 + 1e-4 + 1e-9
        assert abs(b.angular_z - a.angular_z) <= 6.0 * 0.02 + 2e-4 / 0.172 + 1e-9


@pytest.mark.parametrize(
    ("asked", "driven"),
    [(Twist(1.0, 0.0, 1.0), Twist(0.5, 0.0, 0.5)), (Twist(0.2, 0.0, 2.0), Twist(0.1, 0.0, 1.0)), (Twist(-1.0), Twist(-0.15))],
)
def test_too_much_is_clamped_along_the_curve(bench, asked: Twist, driven: Twist) -> None:
    status = bench.moving(asked).status
    assert (status.applied.linear_x, status.applied.angular_z) == pytest.approx((driven.linear_x, driven.angular_z), abs=2e-3)
    assert status.tally["clamps"] > 50


def test_wheels_are_saturated_together(make_bench) -> None:
    status = make_bench(Limits(max_wheel_mps=0.3)).moving(Twist(0.5, 0.0, 1.0)).status
    assert status.applied.linear_x == pytest.approx(0.5 * 0.3 / 0.586, abs=2e-4)
    assert status.applied.angular_z == pytest.approx(1.0 * 0.3 / 0.586, abs=2e-3)
    assert status.tally["saturations"] > 50


@pytest.mark.parametrize("most", [n / 100 for n in range(5, 131)])
def test_a_saturated_command_is_driven_whatever_the_wheels_may_do(make_bench, most: float) -> None:
    """On a track of a metre, so that the limits can ask for wheels of 1 m/s."""
    bench = make_bench(Limits(max_wheel_mps=most), base=WaveshareUGV(track_m=1.0, max_wheel_mps=most)).armed()
    status = bench.run(700, bench.drive(Twist(0.5, 0.0, 1.0)))
    assert "faults" not in status.tally
    assert status.applied.linear_x == pytest.approx(min(0.5, most / 2), abs=2e-4)
    assert (status.tally.get("saturations", 0) > 0) is (most < 1.0)


@pytest.mark.parametrize("axis", ["linear_x", "angular_z"])
def test_a_wish_slower_than_the_base_can_drive_is_none(bench, axis: str) -> None:
    bench.armed()
    status = bench.run(1000, bench.drive(Twist(**{axis: 0.0099})))
    assert (status.state, status.applied) == (GuardState.ARMED_IDLE, STILL)
    assert bench.run(1000, bench.drive(Twist(**{axis: 0.01}))).state is GuardState.MOVING


def test_a_configured_jerk_is_kept_frame_by_frame_and_reaches_the_speed(make_bench) -> None:
    bench = make_bench(Limits(jerk_mps3=2.0)).armed()
    bench.frames.clear()
    assert bench.run(1200, bench.drive(Twist(0.3))).applied == Twist(0.3)
    speeds = [twist.linear_x for _, twist in bench.frames]
    changes = [b - a for a, b in pairwise(speeds)]
    arrived = speeds.index(0.3)
    assert max(abs(b - a) for a, b in pairwise(changes[:arrived])) <= 2.0 * 0.02 * 0.02 + 3e-4  # two quanta and their rounding
    assert arrived > 1.1 * 0.3 / 0.8 / 0.02  # longer than with the acceleration alone


@pytest.mark.parametrize(("clear_m", "speed_mps"), [(None, 0.15), (0.05, 0.0), (0.1, -0.3 + math.sqrt(0.09 + 3.0 * 0.05)), (20.0, 0.5)])
def test_clear_distance_bounds_the_speed_ahead(bench, clear_m: float | None, speed_mps: float) -> None:
    bench.armed()  # every look sees the same gap again: the wall moves along
    status = bench.run(2000, lambda: bench.local.send(Twist(0.5), bench.look(age_ms=0, clear=clear_m)))
    assert status.applied.linear_x == pytest.approx(speed_mps, abs=1e-4)


def test_what_has_been_driven_since_the_look_is_taken_off_the_clear_distance(bench) -> None:
    bench.armed()
    look = Evidence(bench.now_ns, bench.now_ns + 4900 * MS, 6.0, 5.0, 0.5)
    bench.run(3000, lambda: bench.local.send(Twist(0.5), look))
    pose = bench.local.poses.newest
    assert pose is not None
    assert 0.44 < pose.x_m < 0.5  # a wall at half a metre is not reached on one old look


def test_turning_on_the_spot_needs_no_clear_distance(bench) -> None:
    bench.armed()
    status = bench.run(1000, lambda: bench.local.send(Twist(0.0, 0.0, 1.0), bench.look(clear=0.0)))
    assert status.applied.angular_z == pytest.approx(1.0, abs=2e-3)


def test_a_base_without_a_watchdog_is_slower(bench) -> None:
    class NoWatchdog(type(bench.base)):
        @property
        def traits(self) -> BaseTraits:
            return replace(super().traits, watchdog_ms=None)

    bench.base = NoWatchdog()
    bench.guard = bench.local.guard = Guard(bench.base, bench.limits, SESSION)
    assert bench.moving(Twist(0.5)).status.applied.linear_x == pytest.approx(0.25)
