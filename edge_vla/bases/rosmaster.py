"""Yahboom ROSMASTER X3 and X3 PLUS: four mecanum wheels behind a binary protocol. Knows nothing about ports or time.

The factory firmware has no command timeout (hazard R1): it keeps its last speed for ever, so the guard drives it slower, and a robot of
this kind needs a stop button that cuts the motors. It clips wheels one by one, so this codec never says more than they can do.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.limits import check_finite
from edge_vla.guard.types import BaseTraits, Feedback, Speeds, Twist
from edge_vla.guard.wheels import Mecanum, quanta

HEAD, REPORT_HEAD = b"\xff\xfc", b"\xff\xfb"
AUTO_REPORT, MOTION = 0x01, 0x12
SPEEDS, COUNTERS = 0x0A, 0x0D  # reports; 25 Hz each
QUANTUM = 1e-3  # m/s and rad/s
FEEDBACK_MS = 41  # of the firmware's loop
MAX_FRAME_BYTES = 64  # the longest report has 21
PLAUSIBLE_MPS = 3.0
COUNTS_PER_M = 2464 / (math.pi * 0.08)  # of the X3's motors and wheels; unverified, so only whether it moves is believed
TRAVEL_M = 0.01  # hence far from fine
RESET_COUNTS, DRIVEN_COUNTS = (
    100,
    1000,
)  # counters that all fall from beyond the one to within the other belong to a board that started anew
MOTORS = (0, 2, 1, 3)  # the board counts front left, rear left, front right, rear right


@dataclass(frozen=True, slots=True)
class Car:
    """One model: the type its frames carry, half the track and half the wheelbase together in m, the speed its wheels are clipped at."""

    type: int
    reach_m: float
    most_mps: float


CARS = {"x3": Car(1, 0.1646, 1.0), "x3plus": Car(2, 0.2141, 0.7)}


class Rosmaster:
    """The codec of one base. The firmware knows its geometry itself: `track_m` has no place here."""

    def __init__(self, max_wheel_mps: float = 0.7, car: str = "x3") -> None:
        if car not in CARS:
            raise ConfigError(f"rosmaster car={car!r}: want one of {', '.join(CARS)}; others have no mecanum wheels")
        self._car = CARS[car]
        if not (math.isfinite(max_wheel_mps) and 0.0 < max_wheel_mps <= self._car.most_mps):
            raise ConfigError(f"rosmaster max_wheel_mps={max_wheel_mps}: want more than 0 and at most {self._car.most_mps}")
        drive = Mecanum(self._car.reach_m)
        quantum = QUANTUM * (2.0 + self._car.reach_m)  # a wheel is a sum of three numbers, each cut
        resync = self._frame(MOTION, struct.pack("<B3h", self._car.type, 0, 0, 0))
        self._traits = BaseTraits(drive, max_wheel_mps, quantum, FEEDBACK_MS, None, resync, TRAVEL_M)
        self._garbage_bytes = 0
        self._buffer = bytearray()
        self._counts: tuple[int, ...] | None = None

    @property
    def traits(self) -> BaseTraits:
        return self._traits

    @property
    def garbage_bytes(self) -> int:
        return self._garbage_bytes

    def init_frames(self) -> list[bytes]:
        """Reports on. Nothing is saved in its flash."""
        return [self._frame(AUTO_REPORT, b"\x01\x00")]

    def poll_frames(self) -> list[bytes]:
        return []

    def restart_frames(self) -> list[bytes]:
        return []

    def sent(self, frame: bytes, now_ns: int) -> None:
        """It acknowledges nothing."""

    def encode(self, twist: Twist) -> bytes:
        """One motion frame in mm/s and mrad/s, cut towards zero. Raises UnsafeCommand."""
        check_finite(twist)
        wheels = self._traits.drive.wheels(twist)
        if not max(map(abs, wheels)) <= self._traits.max_wheel_mps * (1.0 + 1e-9):  # a sum that rounds up is no faster wheel
            raise UnsafeCommand(f"wheels {wheels} m/s: want at most {self._traits.max_wheel_mps}")
        numbers = [quanta(value, QUANTUM) for value in (twist.linear_x, twist.linear_y, twist.angular_z)]
        try:
            return self._frame(MOTION, struct.pack("<B3h", self._car.type, *numbers))
        except struct.error as err:
            raise UnsafeCommand(f"{twist}: no axis may be beyond 32.767") from err

    def decode_command(self, frame: bytes) -> Twist:
        """The twist of a motion frame exactly as `encode` writes it. Raises UnsafeCommand for anything else."""
        if frame != self._frame(MOTION, frame[4:11]) or frame[4] != self._car.type:
            raise UnsafeCommand(f"{frame.hex(' ')} is no motion frame of car type {self._car.type}")
        x, y, turn = struct.unpack_from("<3h", frame, 5)
        return Twist(x * QUANTUM, y * QUANTUM, turn * QUANTUM)

    def feed(self, data: bytes, now_ns: int) -> list[Feedback]:
        """Reports in `data`, whatever it is split by. Frames of other kinds are known and dropped."""
        self._buffer += data
        found: list[Feedback] = []
        while (frame := self._next_frame()) is not None:
            report = self._read(frame[3], frame[4:-1], now_ns)
            if report is not None:
                found.append(report)
        return found

    @staticmethod
    def _frame(function: int, data: bytes, head: bytes = HEAD) -> bytes:
        body = bytes((len(data) + 3, function)) + data
        return head + body + bytes((sum(body) & 0xFF,))

    def _next_frame(self) -> bytes | None:
        """The next whole report, taken out of the buffer; what comes before it is garbage."""
        buffer = self._buffer
        while True:
            start = buffer.find(REPORT_HEAD)
            self._drop(start if start >= 0 else len(buffer) - buffer.endswith(REPORT_HEAD[:1]))
            if len(buffer) < 3 or (4 <= buffer[2] <= MAX_FRAME_BYTES and len(buffer) < buffer[2] + 2):
                return None
            end = buffer[2] + 2
            frame = bytes(buffer[:end])
            if 4 <= buffer[2] <= MAX_FRAME_BYTES and frame == self._frame(frame[3], frame[4:-1], REPORT_HEAD):
                del buffer[:end]
                return frame
            self._drop(1)

    def _drop(self, count: int) -> None:
        self._garbage_bytes += count
        del self._buffer[:count]

    def _read(self, function: int, data: bytes, now_ns: int) -> Feedback | None:
        if function == SPEEDS and len(data) == 7:
            return self._speeds(data, now_ns)
        if function == COUNTERS and len(data) == 16:
            return self._count(struct.unpack("<4i", data), now_ns)
        return None

    def _speeds(self, data: bytes, now_ns: int) -> Feedback | None:
        x, y, turn, decivolts = struct.unpack("<3hB", data)
        wheels = self._traits.drive.wheels(Twist(x * QUANTUM, y * QUANTUM, turn * QUANTUM))
        if max(map(abs, wheels)) > PLAUSIBLE_MPS:
            self._garbage_bytes += len(data) + 5
            return None
        return Feedback(now_ns, wheels, battery_v=decivolts / 10.0, travel_m=self._travel())

    def _count(self, counts: tuple[int, ...], now_ns: int) -> Feedback | None:
        """Remember the counters; they are told with the next speeds."""
        last, self._counts = self._counts, counts
        anew = last is not None and max(map(abs, last)) > DRIVEN_COUNTS and max(map(abs, counts)) < RESET_COUNTS
        return Feedback(now_ns, rebooted=True) if anew else None

    def _travel(self) -> Speeds | None:
        counts = self._counts
        return None if counts is None else tuple(counts[motor] / COUNTS_PER_M for motor in MOTORS)
