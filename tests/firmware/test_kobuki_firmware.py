"""What a Kobuki does with speed and radius, its power rails, and what it reports about what it touches."""

from __future__ import annotations

import struct

import pytest

from edge_vla.bases.kobuki import Kobuki, _frame
from edge_vla.guard.types import NO_HAZARD, STILL, Hazard, Twist
from edge_vla.sim.firmware.kobuki import KobukiFirmware
from edge_vla.sim.firmware.wheels import FirstOrderWheels

MS = 1_000_000


class Motors(FirstOrderWheels):
    target: tuple[float, ...] = ()

    def set_target(self, *targets_mps: float) -> None:
        super().set_target(*targets_mps)
        self.target = targets_mps


@pytest.fixture
def motors() -> Motors:
    return Motors()


@pytest.fixture
def board(motors: Motors) -> KobukiFirmware:
    return KobukiFirmware(motors)


def control(speed: int, radius: int) -> bytes:
    return _frame(1, struct.pack("<2h", speed, radius))


@pytest.mark.parametrize(
    ("speed", "radius", "wheels"),
    [
        (200, 0, (0.2, 0.2)), (-200, 0, (-0.2, -0.2)), (57, 1, (-0.057, 0.057)), (-57, 1, (0.057, -0.057)),
        (615, 500, (0.385, 0.615)),  # the faster wheel runs the speed: left turn, right wheel
        (615, -500, (0.615, 0.385)), (-615, 500, (-0.385, -0.615)),
    ],
)  # fmt: skip
def test_speed_and_radius(board: KobukiFirmware, motors: Motors, speed: int, radius: int, wheels: tuple[float, float]) -> None:
    board.feed(control(speed, radius), 0)
    assert motors.target == pytest.approx(wheels)


def test_the_codec_says_what_it_drives(board: KobukiFirmware, motors: Motors) -> None:
    base = Kobuki()
    for twist in (Twist(0.2, 0.0, -0.4), Twist(-0.1, 0.0, 0.7), Twist(0.0, 0.0, -1.0), Twist(0.3), STILL):
        frame = base.encode(twist)
        board.feed(frame, 0)
        assert motors.target == pytest.approx(base.traits.drive.wheels(base.decode_command(frame)), abs=1e-9)


def test_nobody_stops_it(board: KobukiFirmware, motors: Motors) -> None:
    board.feed(control(200, 0), 0)
    for t in range(0, 60_000, 20):
        board.step(t * MS)
    assert motors.target == (0.2, 0.2)


@pytest.mark.parametrize(("bits", "powered"), [(0x00F0, True), (0x0000, False), (0x00E0, False), (0x0FF0, True)])
def test_a_frame_without_the_rails_takes_them_away(board: KobukiFirmware, bits: int, powered: bool) -> None:
    board.feed(_frame(12, struct.pack("<H", bits)), 0)
    assert board.powered is powered


def test_none_of_our_own_frames_does(board: KobukiFirmware) -> None:
    base = Kobuki()
    for frame in (*base.init_frames(), base.encode(Twist(0.3)), base.encode(STILL), base.traits.resync):
        board.feed(frame, 0)
    assert board.powered


def test_two_commands_in_one_frame(board: KobukiFirmware, motors: Motors) -> None:
    payload = bytes((12, 2, 0xF0, 0)) + bytes((1, 4)) + struct.pack("<2h", 100, 0)
    body = bytes((len(payload),)) + payload
    check = 0
    for byte in body:
        check ^= byte
    board.feed(b"\xaa\x55" + body + bytes((check,)), 0)
    assert motors.target == (0.1, 0.1)


@pytest.mark.parametrize("damage", range(2, 10))
def test_a_damaged_frame_is_dropped_and_the_next_one_heard(board: KobukiFirmware, motors: Motors, damage: int) -> None:
    frame = bytearray(control(200, 0))
    frame[damage] ^= 0x01
    board.feed(bytes(frame), 0)
    assert motors.target == ()
    board.feed(control(100, 0) * 30, 0)
    assert motors.target == (0.1, 0.1)


def test_reports_fifty_times_a_second(board: KobukiFirmware) -> None:
    base, count = Kobuki(), 0
    for t in range(0, 2000, 5):
        board.step(t * MS)
        count += len(base.feed(board.read(0), t * MS))
    assert count == 100


@pytest.mark.parametrize("hazard", [Hazard.BUMPER, Hazard.CLIFF, Hazard.WHEEL_DROP, Hazard.OVER_CURRENT])
def test_hazards_arrive_and_its_own_reflex_is_off(board: KobukiFirmware, motors: Motors, hazard: Hazard) -> None:
    base = Kobuki()
    board.feed(control(200, 0), 0)
    board.hazards = hazard
    board.step(0)
    (report,) = base.feed(board.read(0), 0)
    assert report.hazards == hazard
    assert motors.target == (0.2, 0.2), "the host has to react"
    board.hazards = NO_HAZARD
    board.step(20 * MS)
    assert base.feed(board.read(0), 0)[0].hazards == NO_HAZARD


def test_the_gyro_and_the_battery(motors: Motors) -> None:
    board, base = KobukiFirmware(motors, gyro=lambda: -0.5), Kobuki()
    board.battery_v = 14.23
    board.step(0)
    (report,) = base.feed(board.read(0), 0)
    assert (report.gyro_z_radps, report.battery_v) == (pytest.approx(-0.5, abs=1e-4), 14.2)


def test_a_brown_out_is_a_second_of_silence_and_counters_from_zero(board: KobukiFirmware, motors: Motors) -> None:
    board.feed(control(200, 0), 0)
    for t in range(0, 3000, 5):
        motors.advance(0.005)
        board.step(t * MS)
    board.read(0)
    board.reboot(3000 * MS)
    board.feed(control(200, 0), 3500 * MS)
    motors.advance(3.0)
    board.step(3990 * MS)
    assert board.read(0) == b""
    assert motors.target == (0.0, 0.0)
    board.step(4000 * MS)
    core = board.read(0)[5:]
    assert struct.unpack_from("<2H", core, 5) == (0, 0)
