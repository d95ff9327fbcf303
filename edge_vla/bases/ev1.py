"""EV1, our own line protocol for bases of one's own making: every velocity carries a number, a lifetime and a checksum. Knows no port.

The firmware's half is `edge_vla/sim/firmware/ev1/ev1.h`, which also describes the lines. The base stops by itself when a velocity has
outlived its `TTL_MS`, repeats none, and drives only after it has been told the nonce that it reports.
"""

from __future__ import annotations

import math
import re

from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.limits import check_finite
from edge_vla.guard.types import NO_HAZARD, BaseTraits, Drive, Feedback, Hazard, Speeds, Twist
from edge_vla.guard.wheels import Differential, Mecanum, quanta

VERSION = 1
TTL_MS = 200
FEEDBACK_MS = 50
QUANTUM = 1e-3  # mm/s and mrad/s
MAX_LINEAR, MAX_TURN = 2000, 6000  # mm/s, mrad/s: the base refuses more
MAX_SEQ = 0xFFFFFFFF
MAX_LINE_BYTES = 160
PLAUSIBLE_MPS = 3.0
STAMP_RANGE, COUNTER_RANGE = 1 << 32, 1 << 31
DISARMED, ARMED, LATCHED = 0, 1, 2
FLAGS = {1: Hazard.BUMPER, 2: Hazard.CLIFF, 4: Hazard.WHEEL_DROP, 8: Hazard.OVER_CURRENT}
INTEGER = rb"(0|-?[1-9]\d{0,9})"
VELOCITY = re.compile(rb"V ([1-9]\d{0,9}) " + INTEGER + b" " + INTEGER + b" " + INTEGER + rb" (\d{1,3}) \*[0-9A-F]{4}\n")
NUMBER = re.compile(INTEGER)
ORDER = "HRSV"  # what only a host says: an echo


class EV1:
    """The codec of one base. `counts_per_m`: of its counters on a metre of wheel; with `drive` "mecanum" `reach_m` stands for the track."""

    def __init__(
        self, track_m: float = 0.2, max_wheel_mps: float = 0.7, counts_per_m: float = 5000.0, drive: str = "differential",
        reach_m: float = 0.2,
    ) -> None:  # fmt: skip
        ranges = (
            ("track_m", track_m, 1.0),
            ("max_wheel_mps", max_wheel_mps, 2.0),
            ("counts_per_m", counts_per_m, 1e7),
            ("reach_m", reach_m, 1.0),
        )
        for name, value, most in ranges:
            if not (math.isfinite(value) and 0.0 < value <= most):
                raise ConfigError(f"ev1 {name}={value}: want more than 0 and at most {most}")
        if drive not in ("differential", "mecanum"):
            raise ConfigError(f"ev1 drive={drive!r}: want differential or mecanum")
        geometry: Drive = Mecanum(reach_m) if drive == "mecanum" else Differential(track_m)
        quantum = QUANTUM * (2.0 + reach_m if drive == "mecanum" else 1.0 + track_m / 2.0)
        self._traits = BaseTraits(geometry, max_wheel_mps, quantum, FEEDBACK_MS, TTL_MS, b"\n", 1.0 / counts_per_m)
        self._wheels = 4 if drive == "mecanum" else 2
        self._per_m = counts_per_m
        self._seq = 0
        self._line = bytearray()
        self._garbage_bytes = 0
        self._forget()

    def _forget(self) -> None:
        """The base has started anew."""
        self._state = DISARMED
        self._nonce: int | None = None
        self._stamp_ms: int | None = None
        self._counts: tuple[int, ...] | None = None
        self._travelled = [0] * self._wheels

    @property
    def traits(self) -> BaseTraits:
        return self._traits

    @property
    def garbage_bytes(self) -> int:
        return self._garbage_bytes

    def init_frames(self) -> list[bytes]:
        """A hello to a base that nothing is known of yet: it stops, disarms and forgets earlier numbers."""
        return [_sealed("H")] if self._nonce is None else []

    def poll_frames(self) -> list[bytes]:
        """Arms a base that has booted, until it says that it is armed. A latch of its own is left alone."""
        return self._armed() if self._state == DISARMED else []

    def restart_frames(self) -> list[bytes]:
        """Clears its latch as well."""
        return self._armed() if self._state != ARMED else []

    def _armed(self) -> list[bytes]:
        return [] if self._nonce is None else [_sealed(f"R {self._nonce}")]

    def sent(self, frame: bytes, now_ns: int) -> None:
        """Its lines say what they answer."""

    def encode(self, twist: Twist) -> bytes:
        """One numbered velocity in mm/s and mrad/s, cut towards zero: no two are alike. Raises UnsafeCommand."""
        check_finite(twist)
        if twist.linear_y != 0.0 and not self._traits.drive.sideways:
            raise UnsafeCommand(f"linear_y={twist.linear_y} m/s: a differential base cannot move sideways")
        wheels = self._traits.drive.wheels(twist)
        if not max(map(abs, wheels)) <= self._traits.max_wheel_mps * (1.0 + 1e-9):
            raise UnsafeCommand(f"wheels {wheels} m/s: want at most {self._traits.max_wheel_mps}")
        x, y, turn = (quanta(value, QUANTUM) for value in (twist.linear_x, twist.linear_y, twist.angular_z))
        if not _taken(x, y, turn):
            raise UnsafeCommand(f"{twist}: want at most {MAX_LINEAR * QUANTUM} m/s and {MAX_TURN * QUANTUM} rad/s")
        if self._seq == MAX_SEQ:
            raise UnsafeCommand(f"number {MAX_SEQ} is the last: no more velocities in this session")
        self._seq += 1
        return _sealed(f"V {self._seq} {x} {y} {turn} {TTL_MS}")

    def decode_command(self, frame: bytes) -> Twist:
        """The twist of a velocity as `encode` writes it, whatever its number. Raises UnsafeCommand for anything else."""
        match = VELOCITY.fullmatch(frame)
        if match is None or frame != _sealed(frame[:-7].decode()) or int(match[1]) > MAX_SEQ or int(match[5]) != TTL_MS:
            raise UnsafeCommand(f"{frame!r} is no velocity")
        x, y, turn = (int(match[k]) for k in (2, 3, 4))
        if not _taken(x, y, turn):
            raise UnsafeCommand(f"{frame!r}: want at most {MAX_LINEAR} mm/s and {MAX_TURN} mrad/s")
        return Twist(x * QUANTUM, y * QUANTUM, turn * QUANTUM)

    def feed(self, data: bytes, now_ns: int) -> list[Feedback]:
        """Reports in `data`, whatever it is split by. Echoed lines are known and dropped."""
        reports: list[Feedback] = []
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._line += end
            report = self._read_line(bytes(self._line), now_ns)
            self._line.clear()
            if report is not None:
                reports.append(report)
        self._line += rest
        if len(self._line) > MAX_LINE_BYTES:
            self._garbage_bytes += len(self._line)
            self._line.clear()
        return reports

    def _read_line(self, line: bytes, now_ns: int) -> Feedback | None:
        words = _opened(line)
        if words is None:
            self._garbage_bytes += len(line)
            return None
        kind, numbers = words
        if kind == "B":
            self._forget()
            return Feedback(now_ns, rebooted=True)
        if kind == "A" and len(numbers) == 7 + self._wheels and numbers[2] in (DISARMED, ARMED, LATCHED):
            return self._report(numbers, now_ns)
        if kind not in ORDER:
            self._garbage_bytes += len(line)
        return None

    def _report(self, numbers: list[int], now_ns: int) -> Feedback | None:
        """None for a time stamp that has not moved on: the same report again."""
        stamp_ms, _, self._state, self._nonce, millivolts, flags, _, *counters = numbers
        passed_ms = None if self._stamp_ms is None else (stamp_ms - self._stamp_ms) % STAMP_RANGE
        if passed_ms is not None and not 0 < passed_ms < STAMP_RANGE // 2:
            return None
        last, self._stamp_ms, self._counts = self._counts, stamp_ms, tuple(counters)
        speeds = None if last is None or passed_ms is None else self._moved(last, passed_ms)
        hazards = Hazard.TRIPPED if self._state != ARMED else NO_HAZARD
        for bit, hazard in FLAGS.items():
            hazards |= hazard if flags & bit else NO_HAZARD
        travel = tuple(count / self._per_m for count in self._travelled)
        battery = millivolts / 1000.0 if millivolts > 0 else None
        return Feedback(now_ns, speeds, battery_v=battery, travel_m=travel, hazards=hazards)

    def _moved(self, last: tuple[int, ...], passed_ms: int) -> Speeds | None:
        """Speeds since the last report; None, and nothing travelled, where no wheel can have done that."""
        assert self._counts is not None  # noqa: S101 - for mypy: set by the caller
        steps = [(now - then + COUNTER_RANGE) % (2 * COUNTER_RANGE) - COUNTER_RANGE for now, then in zip(self._counts, last, strict=True)]
        speeds = tuple(step / self._per_m / (passed_ms * 1e-3) for step in steps)
        if max(map(abs, speeds)) > PLAUSIBLE_MPS:
            return None
        self._travelled = [sum(pair) for pair in zip(self._travelled, steps, strict=True)]
        return speeds


def _taken(x: int, y: int, turn: int) -> bool:
    """Whether the base takes so many mm/s and mrad/s."""
    return max(abs(x), abs(y)) <= MAX_LINEAR and abs(turn) <= MAX_TURN


def _sealed(text: str) -> bytes:
    return b"%s *%04X\n" % (text.encode(), _crc16(text.encode()))


def _opened(line: bytes) -> tuple[str, list[int]] | None:
    """Kind and numbers of a line whose checksum holds."""
    text, mark, crc = line.rpartition(b" *")
    if not mark or not text or crc != b"%04X" % _crc16(text):
        return None
    kind, *words = text.split(b" ")
    if len(kind) != 1 or not kind.isalpha() or not all(NUMBER.fullmatch(word) for word in words):
        return None
    return kind.decode(), [int(word) for word in words]


def _crc16(data: bytes) -> int:
    """Polynomial 0x1021 from 0xFFFF."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc
