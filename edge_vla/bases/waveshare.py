"""Waveshare UGV Rover, Beast and RaspRover: JSON lines over UART. Knows nothing about ports or time.

Only T:1 moves the wheels: the ROS firmware's watchdog does not see T:13, so a robot driven by it never stops when the host dies
(hazard W1), and a wheel beyond 2.0 m/s keeps the old speed alive (W2), so this codec refuses to say it.
"""

from __future__ import annotations

import json
import math
import re

from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.limits import check_finite
from edge_vla.guard.types import BaseTraits, Feedback, Twist
from edge_vla.guard.wheels import Differential, quanta

TRACK_M = 0.172  # UGV Rover; RaspRover 0.125, Beast 0.141
VENDOR_MAX_WHEEL_MPS = 1.3  # `max_speed` of the vendor's own host code
QUANTUM_MPS = 1e-4  # four decimals
ODOMETER_M = 0.01  # a count of `odl` and `odr`
WATCHDOG_MS = 300
FEEDBACK_MS = 50
FEEDBACK_T = 1001
MAX_LINE_BYTES = 1024  # the longest line the firmware sends is about 200
PLAUSIBLE_MPS = 3.0  # faster is a flipped bit, not a wheel
GYRO_RADPS = math.pi / (16.4 * 180.0)  # a raw count of the ROS firmware's gyro
CENTIVOLT_FROM = 100.0  # ROS firmware sends centivolts, general firmware volts: no battery here has 100 V, none has 1 V
COMMAND = re.compile(rb'\{"T":1,"L":(-?\d+\.\d{4}),"R":(-?\d+\.\d{4})\}\n')
BOOT_MARKS = (b"rst:0x", b"ets ", b"boot:0x")  # the ESP32's ROM, printed at every reset


class WaveshareUGV:
    """The codec of one base. `track_m` is the real distance between the wheels: the firmware is only told wheel speeds."""

    def __init__(self, track_m: float = TRACK_M, max_wheel_mps: float = VENDOR_MAX_WHEEL_MPS) -> None:
        for name, value, most in (("track_m", track_m, 1.0), ("max_wheel_mps", max_wheel_mps, VENDOR_MAX_WHEEL_MPS)):
            if not (math.isfinite(value) and 0.0 < value <= most):
                raise ConfigError(f"waveshare {name}={value}: want more than 0 and at most {most}")
        self._traits = BaseTraits(
            Differential(track_m), max_wheel_mps, QUANTUM_MPS, FEEDBACK_MS, WATCHDOG_MS, resync=b"\n", travel_quantum_m=ODOMETER_M
        )
        self._most_quanta = quanta(max_wheel_mps, QUANTUM_MPS)
        self._line = bytearray()
        self._garbage_bytes = 0

    @property
    def traits(self) -> BaseTraits:
        return self._traits

    @property
    def garbage_bytes(self) -> int:
        return self._garbage_bytes

    def init_frames(self) -> list[bytes]:
        """Echo off, base watchdog 300 ms, continuous feedback, at most every 50 ms. All of it is lost at a reboot (W3)."""
        settings = ((143, 0), (136, WATCHDOG_MS), (131, 1), (142, FEEDBACK_MS))
        return [b'{"T":%d,"cmd":%d}\n' % (kind, value) for kind, value in settings]

    def poll_frames(self) -> list[bytes]:
        return []

    def restart_frames(self) -> list[bytes]:
        return []

    def sent(self, frame: bytes, now_ns: int) -> None:
        """Its lines say what they answer."""

    def encode(self, twist: Twist) -> bytes:
        """One T:1 line with both wheels in fixed point, cut towards zero. Raises UnsafeCommand."""
        check_finite(twist)
        if twist.linear_y != 0.0:
            raise UnsafeCommand(f"linear_y={twist.linear_y} m/s: a differential base cannot move sideways")
        wheels = self._traits.drive.wheels(twist)
        left, right = (quanta(wheel, QUANTUM_MPS) for wheel in wheels)
        if max(abs(left), abs(right)) > self._most_quanta:  # 2400 * QUANTUM_MPS is more than 0.24
            raise UnsafeCommand(f"wheels {wheels} m/s: want at most {self._traits.max_wheel_mps}")
        return b'{"T":1,"L":%.4f,"R":%.4f}\n' % (left * QUANTUM_MPS, right * QUANTUM_MPS)

    def decode_command(self, frame: bytes) -> Twist:
        """The twist of a T:1 line exactly as `encode` writes it. Raises UnsafeCommand for anything else."""
        match = COMMAND.fullmatch(frame)
        if match is None:
            raise UnsafeCommand(f"{frame!r} is no T:1 line")
        return self._traits.drive.twist((float(match[1]), float(match[2])))

    def feed(self, data: bytes, now_ns: int) -> list[Feedback]:
        """Reports in `data`, whatever it is split by. Echoed commands and other message kinds are known and dropped."""
        reports: list[Feedback] = []
        *ends, rest = data.split(b"\n")
        for end in ends:
            self._line += end
            report = self._read_line(bytes(self._line).strip(), now_ns)
            self._line.clear()
            if report is not None:
                reports.append(report)
        self._line += rest
        if len(self._line) > MAX_LINE_BYTES:
            self._garbage_bytes += len(self._line)
            self._line.clear()
        return reports

    def _read_line(self, line: bytes, now_ns: int) -> Feedback | None:
        if not line:
            return None
        if any(mark in line for mark in BOOT_MARKS):
            return Feedback(now_ns, rebooted=True)
        start = max(line.rfind(b'{"T"'), 0)  # half a line may precede a whole one when a byte was lost
        message = _parse(line[start:])
        if message is None:
            self._garbage_bytes += len(line)
            return None
        self._garbage_bytes += start
        if message.get("T") != FEEDBACK_T:
            return None
        report = _feedback(message, now_ns)
        if report is None:
            self._garbage_bytes += len(line) - start
        return report


def _parse(line: bytes) -> dict[str, object] | None:
    """A JSON object, or None. NaN and Infinity are not JSON, whatever Python thinks."""
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        message = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and "T" in message else None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _feedback(message: dict[str, object], now_ns: int) -> Feedback | None:
    """Both dialects of T:1001: the ROS firmware adds a gyro, the general one does not."""
    left, right = _number(message, "L"), _number(message, "R")
    if left is None or right is None or max(abs(left), abs(right)) > PLAUSIBLE_MPS:
        return None
    gyro, battery = _number(message, "gz"), _number(message, "v")
    if battery is not None and battery >= CENTIVOLT_FROM:
        battery /= 100.0
    counts = _number(message, "odl"), _number(message, "odr")
    travel = None if counts[0] is None or counts[1] is None else (counts[0] * ODOMETER_M, counts[1] * ODOMETER_M)
    return Feedback(now_ns, (left, right), None if gyro is None else gyro * GYRO_RADPS, battery, travel_m=travel)


def _number(message: dict[str, object], key: str) -> float | None:
    value = message.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e9:
        return None
    return float(value)
