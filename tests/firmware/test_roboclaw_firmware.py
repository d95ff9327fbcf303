"""The RoboClaw's simulator against what its manual says: packets, the 10 ms rule, the serial timeout, status."""

from __future__ import annotations

import binascii
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from edge_vla.bases.roboclaw import RoboClaw
from edge_vla.guard.types import NO_HAZARD, Hazard
from edge_vla.sim.firmware.roboclaw import RoboClawFirmware, Unit
from edge_vla.sim.firmware.wheels import WheelLog

MS = 1_000_000
VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "golden" / "serial_vectors.json").read_text())[
    "roboclaw_packet_serial"
]["driver_recorded"]["vectors"]
ACK = b"\xff"


def packet(command: int, data: bytes = b"", address: int = 0x80) -> bytes:
    body = bytes((address, command)) + data
    return body + struct.pack(">H", binascii.crc_hqx(body, 0))


def drive(left: int, right: int) -> bytes:
    return packet(37, struct.pack(">2i", left, right))


class Targets:
    """Wheels that only remember what they were told."""

    def __init__(self) -> None:
        self.target: tuple[float, ...] = (0.0, 0.0)
        self.told = 0

    def set_target(self, *targets_mps: float) -> None:
        self.target = targets_mps
        self.told += 1

    def speeds(self) -> tuple[float, ...]:
        return self.target


class Rig:
    """A controller whose clock is moved by hand."""

    def __init__(self, **options: Any) -> None:
        self.wheels = Targets()
        self.firmware = RoboClawFirmware(self.wheels, **options)
        self.now_ns = 1_000 * MS
        self.firmware.step(self.now_ns)

    def say(self, data: bytes) -> bytes:
        """What it answers."""
        self.firmware.feed(data, self.now_ns)
        return self.firmware.read(self.now_ns)

    def ask(self, command: int, address: int = 0x80) -> bytes:
        """The data of its answer, whose checksum covers the question."""
        said = self.say(bytes((address, command)))
        assert struct.unpack(">H", said[-2:]) == (binascii.crc_hqx(bytes((address, command)) + said[:-2], 0),)
        return said[:-2]

    def run(self, ms: int) -> bytes:
        for _ in range(ms):
            self.now_ns += MS
            self.firmware.step(self.now_ns)
        return self.firmware.read(self.now_ns)


@pytest.fixture
def rig() -> Rig:
    return Rig()


# -- packets


@pytest.mark.parametrize(
    "vector", [vector for vector in VECTORS if vector["call"].startswith("SpeedM1M2")], ids=lambda vector: vector["call"]
)
def test_golden_speeds(rig: Rig, vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["hex"])
    assert rig.say(frame) == ACK
    assert rig.wheels.target == tuple(count / 10000.0 for count in struct.unpack(">2i", frame[2:10]))


def test_the_golden_timeout(rig: Rig) -> None:
    assert rig.say(bytes.fromhex(VECTORS[-1]["hex"])) == ACK
    assert rig.ask(15) == b"\x05"


def test_one_wheel_at_a_time(rig: Rig) -> None:
    assert rig.say(packet(35, struct.pack(">i", 1000))) == ACK
    assert rig.wheels.target == (0.1, 0.0)
    assert rig.say(packet(36, struct.pack(">i", -2000))) == ACK
    assert rig.wheels.target == (0.1, -0.2)


def test_a_packet_with_any_bit_changed_is_met_with_silence() -> None:
    frame = drive(1000, 2000)
    for bit in range(16, 8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        rig = Rig()
        assert rig.say(bytes(damaged)) == b""
        assert rig.wheels.told == 0


def test_a_packet_split_at_every_byte_runs_once(rig: Rig) -> None:
    frame = drive(1000, -1000)
    for cut in range(1, len(frame)):
        assert rig.say(frame[:cut]) == b""
        rig.run(10)
        assert rig.say(frame[cut:]) == ACK
    assert rig.wheels.told == len(frame) - 1


def test_half_a_packet_is_thrown_away_after_10_ms_and_not_before(rig: Rig) -> None:
    rig.say(drive(1000, 1000)[:7])
    rig.run(10)
    assert rig.say(drive(0, 0)) == b"", "swallowed"
    rig.run(11)
    assert rig.say(drive(2000, 2000)) == ACK
    rig.say(drive(1000, 1000)[:7])
    rig.run(11)
    assert rig.say(drive(0, 0)) == ACK
    assert rig.wheels.target == (0.0, 0.0)


@pytest.mark.parametrize("noise", [b"\x00", b"\x7f\x25\xff", packet(37, bytes(8), 0x81)])
def test_what_is_for_nobody_or_another_is_skipped(rig: Rig, noise: bytes) -> None:
    assert rig.say(noise + drive(1000, 1000)) == ACK


@pytest.mark.parametrize("address", [0x80, 0x87])
def test_it_has_an_address(address: int) -> None:
    rig = Rig(unit=Unit(address=address))
    assert rig.ask(24, address) == b"\x00\x78"
    assert rig.say(bytes((0x83, 24))) == b""


def test_what_it_does_not_know_makes_it_deaf_until_a_pause(rig: Rig) -> None:
    """Assumed."""
    assert rig.say(b"\x80\xfa" + drive(1000, 1000)) == b""
    rig.run(11)
    assert rig.say(drive(1000, 1000)) == ACK


def test_questions_in_one_go_are_answered_in_order(rig: Rig) -> None:
    assert rig.say(b"\x80\x18\x80\x5a") == rig.say(b"\x80\x18") + rig.say(b"\x80\x5a")


# -- what it says


def test_counters_are_four_bytes_and_a_direction() -> None:
    rig = Rig(measure=lambda: (0.25, -0.125))
    rig.run(1000)
    left, right = struct.unpack(">iB", rig.ask(16)), struct.unpack(">iB", rig.ask(17))
    assert (left[1], right[1]) == (0, 2)
    assert (left[0], right[0]) == pytest.approx((2500, -1250), abs=1)
    assert rig.say(packet(20)) == ACK
    assert rig.ask(16) == bytes(5)


@pytest.mark.parametrize(("volts", "data"), [(12.0, b"\x00\x78"), (24.06, b"\x00\xf1"), (33.9, b"\x01\x53")])
def test_the_battery_in_tenths(rig: Rig, volts: float, data: bytes) -> None:
    rig.firmware.battery_v = volts
    assert rig.ask(24) == data


@pytest.mark.parametrize(
    ("size", "hazards", "bits"),
    [
        (4, NO_HAZARD, 0), (4, Hazard.OVER_CURRENT, 0x30000), (4, Hazard.TRIPPED, 1), (4, Hazard.OVER_CURRENT | Hazard.TRIPPED, 0x30001),
        (4, Hazard.BUMPER, 0), (2, NO_HAZARD, 0), (2, Hazard.OVER_CURRENT, 3), (2, Hazard.TRIPPED, 4),
    ],
)  # fmt: skip
def test_the_status_in_both_layouts(size: int, hazards: Hazard, bits: int) -> None:
    rig = Rig(unit=Unit(status_bytes=size))
    rig.firmware.hazards = hazards
    assert rig.ask(90) == bits.to_bytes(size, "big")


def test_an_emergency_stop_stops_and_forgets(rig: Rig) -> None:
    rig.say(drive(1000, 1000))
    rig.firmware.hazards = Hazard.TRIPPED
    rig.run(1)
    assert rig.wheels.target == (0.0, 0.0)
    assert rig.say(drive(2000, 2000)) == ACK
    rig.firmware.hazards = NO_HAZARD
    rig.run(10)
    assert rig.wheels.target == (0.0, 0.0)
    rig.say(drive(500, 500))
    assert rig.wheels.target == (0.05, 0.05)


# -- the serial timeout


def test_without_a_timeout_nobody_stops_it(rig: Rig) -> None:
    rig.say(drive(1000, 1000))
    rig.run(30_000)
    assert rig.wheels.target == (0.1, 0.1)


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_the_timeout_is_in_tenths_of_a_second(rig: Rig, steps: int) -> None:
    rig.say(packet(14, bytes((steps,))))
    rig.say(drive(1000, 1000))
    rig.run(100 * steps)
    assert rig.wheels.target == (0.1, 0.1)
    rig.run(1)
    assert rig.wheels.target == (0.0, 0.0)
    told = rig.wheels.told
    rig.run(1000)
    assert rig.wheels.told == told
    rig.say(drive(1000, 1000))
    assert rig.wheels.target == (0.1, 0.1), "nothing is latched"


@pytest.mark.parametrize("byte", [b"\x00", b"\x80\x18", drive(1000, 1000)[:5]])
def test_any_byte_puts_it_off(rig: Rig, byte: bytes) -> None:
    rig.say(packet(14, b"\x03"))
    rig.say(drive(1000, 1000))
    for _ in range(10):
        rig.run(250)
        rig.say(byte)
    assert rig.wheels.target == (0.1, 0.1)


def test_no_bytes_are_none(rig: Rig) -> None:
    """The codec has nothing to resynchronise with."""
    rig.say(packet(14, b"\x03"))
    rig.say(drive(1000, 1000))
    rig.run(200)
    assert rig.say(RoboClaw().traits.resync) == b""
    rig.run(101)
    assert rig.wheels.target == (0.0, 0.0)


def test_a_brown_out_loses_everything() -> None:
    rig = Rig(measure=lambda: (0.1, 0.1))
    rig.say(packet(14, b"\x03") + drive(1000, 1000))
    rig.run(100)
    rig.firmware.feed(drive(1000, 1000)[:4] + b"\x80\x18", rig.now_ns)
    rig.firmware.reboot(rig.now_ns)
    assert rig.wheels.target == (0.0, 0.0)
    rig.run(499)
    assert rig.say(b"\x80\x18") == b""
    assert rig.say(drive(1000, 1000)) == b""
    rig.run(1)
    assert rig.ask(15) == b"\x00"
    assert rig.ask(16) in (bytes(5), b"\0\0\0\1\0")
    assert rig.wheels.target == (0.0, 0.0)


def test_the_log_holds_what_was_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "wheels.jsonl"
    with WheelLog(path) as log:
        rig = Rig(log=log)
        rig.say(drive(1000, -2000) + packet(14, b"\x03") + b"\x80\x18")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"t_ns": 1000 * MS, "wheels": [0.1, -0.2], "accepted": drive(1000, -2000).hex(" "), "targets": [0.1, -0.2]}
    ]
