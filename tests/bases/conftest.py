"""What the contract suite needs to know about each base. A base registered without an entry here fails `test_every_base_is_here`."""

from __future__ import annotations

import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import xor

import pytest

from edge_vla.bases.create2 import COUNT_M
from edge_vla.bases.ev1 import _sealed


@dataclass(frozen=True)
class Sample:
    """One base's own words: what it says of one motion, what that means, and a sign of a reboot if it gives one.

    `before` is what has to be heard first, `again` a later report of the same. Times of receipt are 50 ms apart.
    """

    report: bytes
    wheels_mps: tuple[float, ...]
    battery_v: float | None
    boot: bytes | None = None
    before: bytes = b""
    again: bytes | None = None
    options: Mapping[str, object] = field(default_factory=dict)


def rosmaster(function: int, data: bytes) -> bytes:
    body = bytes((len(data) + 3, function)) + data
    return b"\xff\xfb" + body + bytes((sum(body) & 0xFF,))


def kobuki(stamp: int, left: int, right: int) -> bytes:
    payload = bytes((1, 15)) + struct.pack("<H3B2H2b4B", stamp, 0, 0, 0, left, right, 0, 0, 0, 0, 164, 0)
    body = bytes((len(payload),)) + payload
    return b"\xaa\x55" + body + bytes((reduce(xor, body),))


def roboclaw(left: int, right: int) -> bytes:
    def answer(command: int, data: bytes) -> bytes:
        return data + struct.pack(">H", binascii.crc_hqx(bytes((0x80, command)) + data, 0))

    counts = answer(16, struct.pack(">iB", left, 0)) + answer(17, struct.pack(">iB", right, 0))
    return answer(24, struct.pack(">H", 121)) + answer(90, bytes(4)) + counts


def create2(left: int, right: int) -> bytes:
    body = bytes((19, 23, 7, 0, 9, 0, 10, 0, 11, 0, 12, 0, 14, 0, 22)) + struct.pack(">H", 15_800) + bytes((35, 2))
    body += struct.pack(">BhBh", 43, left, 44, right)
    return body + bytes((-sum(body) & 0xFF,))


SAMPLES = {
    "waveshare": Sample(
        report=b'{"T":1001,"L":0.12,"R":-0.3,"ax":0,"ay":0,"az":8192,"gx":0,"gy":0,"gz":82,"mx":0,"my":0,"mz":0,"odl":12,"odr":-3,"v":1156}\r\n',
        wheels_mps=(0.12, -0.3),
        battery_v=11.56,
        boot=b"ets Jul 29 2019 12:21:46\r\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n",
    ),
    "rosmaster": Sample(
        report=rosmaster(0x0A, struct.pack("<3hB", 200, -50, 500, 118)),
        wheels_mps=(0.1677, 0.2323, 0.0677, 0.3323),
        battery_v=11.8,
        boot=rosmaster(0x0D, struct.pack("<4i", 5000, 5000, 5000, 5000)) + rosmaster(0x0D, struct.pack("<4i", 0, 1, 0, 0)),
    ),
    "ros_arduino": Sample(
        before=b"10000 20000\r\n",
        report=b"10166 19834\r\n",
        again=b"10332 19668\r\n",
        wheels_mps=(166 / 16571 / 0.05, -166 / 16571 / 0.05),
        battery_v=None,
        boot=b"0 0\r\n",
    ),
    "roboclaw": Sample(
        before=roboclaw(20_000, 10_000),
        report=roboclaw(20_100, 9_800),
        again=roboclaw(20_200, 9_600),
        wheels_mps=(0.2, -0.4),
        battery_v=12.1,
        boot=roboclaw(0, 0),
    ),
    "kobuki": Sample(
        before=kobuki(1000, 0, 0),
        report=kobuki(1020, 50, 65486),
        again=kobuki(1040, 100, 65436),
        wheels_mps=(0.21323, -0.21323),
        battery_v=16.4,
        boot=kobuki(3, 60000, 0),
    ),
    "create2": Sample(  # a beat of 15 ms, and a sixteenth of the 35 ms that the host's clock is ahead
        before=create2(32_760, -5),
        report=create2(-32_766, -25),
        again=create2(-32_756, -45),
        wheels_mps=(10 * COUNT_M / 0.0171875, -20 * COUNT_M / 0.0171875),
        battery_v=15.8,
        boot=b"\r\nRoomba by iRobot!\r\n",
    ),
    "ev1": Sample(
        before=_sealed("A 1000 7 1 99 11800 0 0 100 -100"),
        report=_sealed("A 1050 8 1 99 11800 0 0 150 -200"),
        again=_sealed("A 1100 9 1 99 11800 0 0 200 -300"),
        wheels_mps=(0.2, -0.4),
        battery_v=11.8,
        boot=_sealed("B 1"),
    ),
}


@pytest.fixture
def samples() -> dict[str, Sample]:
    return SAMPLES
