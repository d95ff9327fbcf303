"""Manoeuvres through the real guard on a virtual clock: they end where they should, within budget, and stop when something is wrong."""

from __future__ import annotations

import math

import pytest

from calib.driver import Driver
from edge_vla.config import RobotProfile
from edge_vla.errors import GuardError
from edge_vla.guard.state import GuardState
from edge_vla.guard.types import STILL, Twist


def test_a_drive_ends_within_its_budget_and_standing(make_rig) -> None:
    rig = make_rig()
    start, end = Driver(rig).go(Twist(0.15), travel_m=1.0)
    assert end.x_m - start.x_m == pytest.approx(rig.travel_m, abs=2e-3)
    assert 0.97 < rig.travel_m <= 1.0
    assert rig.wheels.speeds() == pytest.approx((0.0, 0.0), abs=0.02)
    assert rig.guard.status.state is GuardState.DISARMED
    assert rig.fastest_mps == pytest.approx(0.15, abs=1e-3)


@pytest.mark.parametrize("rate", [0.5, -0.5])
def test_turns_are_counted_beyond_what_one_look_may_back(make_rig, rate: float) -> None:
    """Three turns are three times the guard's largest budget."""
    rig = make_rig()
    start, end = Driver(rig).go(Twist(0.0, 0.0, rate), turn_rad=6 * math.pi)
    assert end.yaw_rad - start.yaw_rad == pytest.approx(rig.turn_rad, abs=2e-2)
    assert 0.98 * 6 * math.pi < rig.turn_rad * math.copysign(1, rate) <= 6 * math.pi
    assert abs(rig.travel_m) < 1e-6


def test_one_manoeuvre_follows_the_other(make_rig) -> None:
    """The budget that the first has used up does not hold the second back."""
    rig = make_rig()
    driver = Driver(rig)
    driver.go(Twist(0.15), travel_m=0.5)
    driver.go(Twist(0.0, 0.0, 0.5), turn_rad=2 * math.pi)
    driver.go(Twist(-0.15), travel_m=0.5)
    assert rig.turn_deg == pytest.approx(360.0, abs=6.0)
    assert abs(rig.travel_m) < 0.05


def test_without_a_camera_it_is_no_faster_than_a_blind_robot(make_rig) -> None:
    rig = make_rig()
    Driver(rig).go(Twist(0.3), travel_m=0.5)
    assert rig.fastest_mps == pytest.approx(RobotProfile().limits.blind_linear_mps, abs=1e-3)


def test_a_base_that_says_nothing_is_not_driven(make_rig) -> None:
    rig = make_rig()
    rig.line.read = lambda _now_ns: b""
    with pytest.raises(GuardError, match=r"not ready within 10 s: boot, fault none"):
        Driver(rig).go(Twist(0.15), travel_m=0.5)
    assert rig.travel_m == 0.0


def test_a_stuck_wheel_ends_the_manoeuvre(make_rig) -> None:
    """At this speed the guard itself cannot tell a stuck wheel from a slow one."""
    rig = make_rig()
    rig.wheels.gains = [0.0, 0.0]
    with pytest.raises(GuardError, match=r"0\.00 m and 0 degrees in half as long again as it should take: is a wheel stuck\?"):
        Driver(rig).go(Twist(0.09), travel_m=0.5)


def test_a_latch_ends_the_manoeuvre(make_rig) -> None:
    rig = make_rig()

    def unplug() -> None:
        if rig.travel_m > 0.2:
            rig.line.read = lambda _now_ns: b""

    rig.each = unplug
    with pytest.raises(GuardError, match=r"latched a fault: fault_latched, fault feedback_gap"):
        Driver(rig).go(Twist(0.15), travel_m=1.0)
    assert rig.travel_m < 0.3


def test_a_guard_that_is_disarmed_meanwhile_ends_the_manoeuvre(make_rig) -> None:
    rig = make_rig()
    rig.each = lambda: rig.guard.disarm() if rig.travel_m > 0.2 else None
    with pytest.raises(GuardError, match=r"the guard stopped the base: disarmed"):
        Driver(rig).go(Twist(0.15), travel_m=1.0)


def test_silence_stops_it(make_rig) -> None:
    """The program may die at any time: what it asked for last does not live on."""
    rig = make_rig()
    driver = Driver(rig)
    driver.arm()
    for _ in range(100):
        driver.tick(Twist(0.15), 5.0)
    assert rig.guard.status.applied == Twist(0.15)
    for _ in range(50):
        rig.wait()
        rig.guard.poll()
    assert rig.guard.poll().applied == STILL
    assert rig.wheels.speeds() == pytest.approx((0.0, 0.0), abs=0.02)


def test_every_command_says_how_far_it_may_still_go(make_rig) -> None:
    """A command repeated by mistake cannot carry the robot further than the manoeuvre."""
    rig = make_rig()
    driver = Driver(rig)
    driver.arm()
    for _ in range(300):
        driver.tick(Twist(0.15), 0.3 - rig.travel_m)
    assert 0.27 < rig.travel_m <= 0.302
