"""What every firmware simulator must do with its own codec. One joins by being registered."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bases import BASES, make_base
from edge_vla.errors import ConfigError
from edge_vla.guard.types import STILL, Twist
from edge_vla.sim.firmware import FIRMWARES, make_firmware
from edge_vla.sim.firmware.wheels import FirstOrderWheels
from tests.firmware.drivers import MS, Pair

every_base = pytest.mark.parametrize("kind", BASES)


def test_every_base_has_one() -> None:
    assert list(FIRMWARES) == list(BASES)


@every_base
@pytest.mark.parametrize("twist", [Twist(0.3), Twist(-0.2), Twist(0.2, 0.0, 0.6), Twist(0.0, 0.0, -1.0)], ids=str)
def test_what_is_commanded_is_driven_and_reported(kind: str, twist: Twist) -> None:
    pair = Pair(kind).start()
    pair.run(1500, twist)
    drive = pair.base.traits.drive
    for got in (pair.wheels.speeds(), pair.newest.wheels_mps):
        assert got == pytest.approx(drive.wheels(twist), abs=2 * pair.base.traits.wheel_quantum_mps + 0.02 * 0.3)


@every_base
def test_zero_stops_it(kind: str) -> None:
    pair = Pair(kind).start()
    pair.run(1000, Twist(0.3, 0.0, 0.5))
    pair.run(1000)
    assert max(map(abs, pair.wheels.speeds())) < 0.005
    assert max(map(abs, pair.newest.wheels_mps or ())) < 0.02


@every_base
def test_its_reports_keep_their_period(kind: str) -> None:
    pair = Pair(kind).start()
    reports = [report for report in pair.run(5000, Twist(0.1)) if report.wheels_mps is not None]
    assert len(reports) == pytest.approx(5000 / pair.base.traits.feedback_period_ms, rel=0.25)
    gaps = [b.t_ns - a.t_ns for a, b in pairwise(reports)]
    assert max(gaps) <= 3 * pair.base.traits.feedback_period_ms * MS


@every_base
def test_odometry_comes_out_where_the_wheels_went(kind: str) -> None:
    """A quarter circle, within a centimetre and a degree and a half."""
    pair = Pair(kind).start()
    drive, x, y, yaw = pair.base.traits.drive, 0.0, 0.0, 0.0
    start = pair.odometry.poses.newest
    assert start is not None

    def follow() -> None:
        nonlocal x, y, yaw
        twist = drive.twist(pair.wheels.speeds())
        yaw += twist.angular_z * 0.02
        x, y = x + twist.linear_x * 0.02 * math.cos(yaw), y + twist.linear_x * 0.02 * math.sin(yaw)

    pair.run(3000, Twist(0.2, 0.0, 0.5), each=follow)
    pair.run(1500, each=follow)
    pose = pair.odometry.poses.newest
    assert pose is not None
    assert pose.yaw_rad - start.yaw_rad == pytest.approx(yaw, abs=0.03)
    assert math.hypot(pose.x_m - start.x_m - x, pose.y_m - start.y_m - y) < 0.02


@every_base
def test_silence_stops_it_within_the_watchdog_or_never(kind: str) -> None:
    """What the traits promise is what the firmware does; without a watchdog the base drives on, and the traits say so."""
    pair = Pair(kind).start()
    pair.run(1000, Twist(0.3))
    watchdog_ms = pair.base.traits.watchdog_ms
    pair.run((watchdog_ms or 1000) + 60, say=False)
    stopping = min(pair.wheels.speeds()) < 0.29
    assert stopping is (watchdog_ms is not None)
    if watchdog_ms is not None:
        pair.run(1500, say=False)
        assert max(map(abs, pair.wheels.speeds())) < 0.02


@every_base
def test_a_brown_out_stops_the_wheels_and_is_noticed(kind: str) -> None:
    """By what it says, or by a gap longer than the guard allows."""
    pair = Pair(kind).start()
    pair.run(2000, Twist(0.3))
    pair.firmware.reboot(pair.now_ns)
    pair.run(300, say=False)
    assert max(pair.wheels.speeds()) < 0.1
    reports = pair.run(4000)
    quiet_ns = max((b.t_ns - a.t_ns for a, b in pairwise(pair.heard)), default=0)
    assert any(report.rebooted for report in reports) or quiet_ns > 200 * MS


@every_base
def test_after_a_brown_out_it_can_be_configured_again(kind: str) -> None:
    pair = Pair(kind).start()
    pair.run(500, Twist(0.2))
    pair.firmware.reboot(pair.now_ns)
    pair.run(3000)
    pair.start()
    pair.run(1000, Twist(0.2))
    assert pair.wheels.speeds() == pytest.approx(pair.base.traits.drive.wheels(Twist(0.2)), abs=0.01)


@every_base
@given(data=st.binary(max_size=300), cut=st.integers(0, 40))
def test_any_bytes_are_survived_and_a_stop_repeated_three_times_is_obeyed(kind: str, data: bytes, cut: int) -> None:
    """Behind garbage or half a frame: resync, then zeros as the guard's burst writes them."""
    pair = Pair(kind).start()
    pair.run(200, Twist(0.2))
    pair.firmware.feed(data, pair.now_ns)
    pair.firmware.feed(pair.base.encode(Twist(0.2))[:cut], pair.now_ns)
    pair.tell(pair.base.traits.resync)
    pair.run(60)
    pair.run(1500)
    assert max(map(abs, pair.wheels.speeds())) < 0.02


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigError, match="track_mm"):
        make_firmware("waveshare", {"track_mm": 1.0}, FirstOrderWheels())


def test_geometry_reaches_the_board() -> None:
    pair = Pair("ev1", {"track_m": 0.4}).start()
    pair.run(1500, Twist(0.0, 0.0, 1.0))
    assert pair.wheels.speeds() == pytest.approx((-0.2, 0.2), abs=2e-3)
    assert make_base("ev1", {"track_m": 0.4}).encode(STILL)
