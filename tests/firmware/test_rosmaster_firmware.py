"""What the factory firmware does that a host has to know: it never stops by itself, clips wheels one by one, and waits for torn frames."""

from __future__ import annotations

import struct

import pytest

from edge_vla.bases.rosmaster import Rosmaster
from edge_vla.guard.types import STILL, Twist
from edge_vla.sim.firmware.rosmaster import RosmasterFirmware
from edge_vla.sim.firmware.wheels import FirstOrderWheels

MS = 1_000_000
ALONG = pytest.approx((0.2, 0.2, 0.2, 0.2))


class Motors(FirstOrderWheels):
    def __init__(self) -> None:
        super().__init__(gains=[1.0] * 4)
        self.target: tuple[float, ...] = ()

    def set_target(self, *targets_mps: float) -> None:
        super().set_target(*targets_mps)
        self.target = targets_mps


def motion(kind: int, x: int, y: int, turn: int, head: bytes = b"\xff\xfc") -> bytes:
    body = bytes((10, 0x12)) + struct.pack("<B3h", kind, x, y, turn)
    return head + body + bytes((sum(body) & 0xFF,))


@pytest.fixture
def board() -> RosmasterFirmware:
    return RosmasterFirmware(Motors())


def target(board: RosmasterFirmware) -> tuple[float, ...]:
    motors = board._wheels
    assert isinstance(motors, Motors)
    return motors.target


def step(board: RosmasterFirmware, ms: int, start_ms: int = 1000) -> None:
    for t in range(start_ms, start_ms + ms + 1, 5):
        board.step(t * MS)


def test_r1_nobody_stops_it(board: RosmasterFirmware) -> None:
    board.feed(motion(1, 200, 0, 0), 0)
    step(board, 3_600_000 // 60)  # a minute
    assert target(board) == ALONG


@pytest.mark.parametrize(
    ("numbers", "wheels"),
    [((300, 0, 0), (0.3, 0.3, 0.3, 0.3)), ((0, 300, 0), (-0.3, 0.3, 0.3, -0.3)), ((0, 0, 1000), (-0.1646, 0.1646, -0.1646, 0.1646))],
)
def test_its_kinematics(board: RosmasterFirmware, numbers: tuple[int, int, int], wheels: tuple[float, ...]) -> None:
    board.feed(motion(1, *numbers), 0)
    assert target(board) == pytest.approx(wheels)


def test_it_clips_wheels_one_by_one(board: RosmasterFirmware) -> None:
    """0.8 along and 0.4 across would be wheels of 1.2 and 0.4: it drives 1.0 and 0.4, another direction."""
    board.feed(motion(1, 800, 400, 0), 0)
    assert target(board) == pytest.approx((0.4, 1.0, 1.0, 0.4))


def test_yaw_hold_ignores_the_turn(board: RosmasterFirmware) -> None:
    board.feed(motion(0x81, 200, 0, 1000), 0)
    assert target(board) == ALONG


def test_a_torn_frame_eats_the_next_one_and_the_second_stop_is_obeyed(board: RosmasterFirmware) -> None:
    board.feed(motion(1, 200, 0, 0), 0)
    board.feed(motion(1, 100, 0, 0)[:7], 0)
    stop = Rosmaster().encode(STILL)
    board.feed(stop, 0)
    assert target(board) == ALONG, "swallowed"
    board.feed(stop, 0)
    assert target(board) == (0.0,) * 4


@pytest.mark.parametrize("damage", [2, 3, 5, 11])
def test_a_bad_sum_is_dropped(board: RosmasterFirmware, damage: int) -> None:
    frame = bytearray(motion(1, 200, 0, 0))
    frame[damage] ^= 0x40
    board.feed(bytes(frame) + bytes(20), 0)
    assert target(board) == ()


@pytest.mark.parametrize("garbage", [b"", b"\x00\x01", b"\xff", b"\xff\x00", b"\xff\xfb\x05", b"\xff\xfc\x02", b"\xff\xfc\xff"])
def test_it_finds_a_frame_behind_garbage(board: RosmasterFirmware, garbage: bytes) -> None:
    board.feed(garbage, 0)
    board.feed(motion(1, 200, 0, 0) * 2, 0)
    assert target(board) == ALONG


@pytest.mark.parametrize(("volts", "off"), [(9.7, False), (9.5, True), (8.0, False), (6.0, True), (13.0, False), (13.1, True)])
def test_a_bad_battery_stops_it_until_it_is_reset(board: RosmasterFirmware, volts: float, off: bool) -> None:
    board.feed(motion(1, 200, 0, 0), 0)
    board.battery_v = volts
    step(board, 2100)
    assert (target(board) == (0.0,) * 4) is off
    board.battery_v = 11.8
    step(board, 100, 4000)
    board.feed(motion(1, 200, 0, 0), 0)
    assert (target(board) == (0.0,) * 4) is off, "latched"
    board.feed(b"\xff\xfc\x04\x0f\x5f\x72" + motion(1, 200, 0, 0), 0)
    assert target(board) == ALONG


def test_reports_can_be_turned_off_and_are_on_after_a_boot(board: RosmasterFirmware) -> None:
    step(board, 410)
    assert len(board.read(0)) == 11 * 12 + 10 * 21  # speeds at once and every 41 ms, counters 10 ms behind
    board.feed(b"\xff\xfc\x05\x01\x00\x00\x06", 0)
    step(board, 410, 2000)
    assert board.read(0) == b""
    board.reboot(3000 * MS)
    step(board, 490, 3000)
    assert board.read(0) == b"", "booting"
    board.feed(motion(1, 200, 0, 0), 3400 * MS)
    assert target(board) == (0.0,) * 4, "deaf"
    step(board, 400, 3500)
    assert board.read(0) != b""


def test_the_other_car_is_longer_and_slower() -> None:
    board = RosmasterFirmware(Motors(), car_type=2)
    board.feed(motion(2, 800, 0, 0), 0)
    assert target(board) == pytest.approx((0.7,) * 4)
    board.feed(motion(2, 0, 0, 1000), 0)
    assert target(board) == pytest.approx((-0.2141, 0.2141, -0.2141, 0.2141))


def test_a_sideways_twist_comes_back() -> None:
    motors, base = Motors(), Rosmaster()
    board = RosmasterFirmware(motors)
    board.feed(base.encode(Twist(0.1, -0.2, 0.3)), 0)
    for t in range(0, 3000, 5):
        motors.advance(0.005)
        board.step(t * MS)
    reports = base.feed(board.read(0), 0)
    assert reports[-1].wheels_mps is not None
    twist = base.traits.drive.twist(reports[-1].wheels_mps)
    assert (twist.linear_x, twist.linear_y, twist.angular_z) == pytest.approx((0.1, -0.2, 0.3), abs=2e-3)
