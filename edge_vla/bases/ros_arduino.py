"""ros_arduino_bridge: an Arduino that keeps speeds in encoder counts per PID frame, told in lines of text. Knows no ports and no time.

No line carries a checksum, and a carriage return runs whatever stands before it: behind half a line (`m 20 2`) the resync of this codec
makes the base drive (hazard A2), so a zero has to follow it at once, as the guard's stop does. The sketch must be built with `USE_BASE`.
As published it drives on for 2000 ms after the last command (A5): set its `AUTO_STOP_INTERVAL` to 300 and say so with `auto_stop_ms`.
"""

from __future__ import annotations

import math
import re
from collections import deque

from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.counters import Counters
from edge_vla.guard.limits import check_finite
from edge_vla.guard.types import NO_HAZARD, BaseTraits, Feedback, Hazard, Twist
from edge_vla.guard.wheels import Differential, quanta

FEEDBACK_MS = 50
LOOP_HZ = 30.0  # `PID_RATE`; its frame has whole milliseconds, so the wheels turn 1 % faster than said unless this is 1000 / 33
COARSEST_MPS = 0.01  # of one count per frame
MOST_TICKS = 32767  # `atoi` makes 16 bits of an argument; far fewer digits than the 15 its buffer holds (A1)
WATCHDOG_MS = (100, 1000)  # what counts as one
ANSWER_NS = 100_000_000  # what has got no answer by then gets none
REFUSALS = 2  # in a row; one may have been a damaged line
MAX_WAITING = 32
MAX_LINE_BYTES = 64
INTEGER = rb"(0|-?[1-9]\d{0,9})"
COMMAND = re.compile(rb"m (0|-?[1-9]\d{0,4}) (0|-?[1-9]\d{0,4})\r")
COUNTS = re.compile(INTEGER + b" " + INTEGER)
MOTORS, ENCODERS = b"m", b"e"


class RosArduino:
    """The codec of one base. `ticks_per_m` are encoder counts per metre of wheel; `auto_stop_ms` is what its sketch was built with."""

    def __init__(
        self, track_m: float = 0.297, max_wheel_mps: float = 0.5, ticks_per_m: float = 16571.0, loop_hz: float = LOOP_HZ,
        auto_stop_ms: int | None = None,
    ) -> None:  # fmt: skip
        for name, value, least, most in (
            ("track_m", track_m, 0.0, 1.0), ("max_wheel_mps", max_wheel_mps, 0.0, 2.0), ("loop_hz", loop_hz, 1.0, 200.0),
        ):  # fmt: skip
            if not (math.isfinite(value) and least < value <= most):
                raise ConfigError(f"ros_arduino {name}={value}: want more than {least:g} and at most {most:g}")
        least, most = loop_hz / COARSEST_MPS, MOST_TICKS * loop_hz / max_wheel_mps
        if not least <= ticks_per_m <= most:
            raise ConfigError(f"ros_arduino ticks_per_m={ticks_per_m}: at {loop_hz:g} frames a second want {least:g} to {most:g}")
        if auto_stop_ms is not None and not WATCHDOG_MS[0] <= auto_stop_ms <= WATCHDOG_MS[1]:
            raise ConfigError(f"ros_arduino auto_stop_ms={auto_stop_ms}: want {WATCHDOG_MS[0]} to {WATCHDOG_MS[1]}, or none for 2000")
        quantum = loop_hz / ticks_per_m
        self._traits = BaseTraits(Differential(track_m), max_wheel_mps, quantum, FEEDBACK_MS, auto_stop_ms, b"\r", 1.0 / ticks_per_m)
        self._most_mps = max_wheel_mps * (1.0 + 1e-9)  # a sum that rounds up is no faster wheel
        self._most_ticks = quanta(self._most_mps, quantum)
        self._counters = Counters(ticks_per_m, max_wheel_mps)
        self._waiting: deque[tuple[bytes, int]] = deque(maxlen=MAX_WAITING)  # (first letter, when) of what has not been answered
        self._refusals = 0
        self._line = bytearray()
        self._overlong = False
        self._garbage_bytes = 0

    @property
    def traits(self) -> BaseTraits:
        return self._traits

    @property
    def garbage_bytes(self) -> int:
        return self._garbage_bytes

    def init_frames(self) -> list[bytes]:
        """Nothing of it can be configured from here: only a first question."""
        return self.poll_frames()

    def poll_frames(self) -> list[bytes]:
        """Asks for the counters."""
        return [ENCODERS + b"\r"]

    def restart_frames(self) -> list[bytes]:
        return []

    def sent(self, frame: bytes, now_ns: int) -> None:
        """Each line gets one answer, in order; `Invalid Command` does not say to what."""
        self._waiting.append((frame[:1], now_ns))

    def encode(self, twist: Twist) -> bytes:
        """One motor line in counts per frame, cut towards zero. Raises UnsafeCommand."""
        check_finite(twist)
        if twist.linear_y != 0.0:
            raise UnsafeCommand(f"linear_y={twist.linear_y} m/s: a differential base cannot move sideways")
        wheels = self._traits.drive.wheels(twist)
        if not max(map(abs, wheels)) <= self._most_mps:
            raise UnsafeCommand(f"wheels {wheels} m/s: want at most {self._traits.max_wheel_mps}")
        left, right = (quanta(wheel, self._traits.wheel_quantum_mps) for wheel in wheels)
        return b"m %d %d\r" % (left, right)

    def decode_command(self, frame: bytes) -> Twist:
        """The twist of a motor line exactly as `encode` writes it. Raises UnsafeCommand for anything else."""
        match = COMMAND.fullmatch(frame)
        if match is None:
            raise UnsafeCommand(f"{frame!r} is no motor line")
        ticks = int(match[1]), int(match[2])
        if max(map(abs, ticks)) > self._most_ticks:
            raise UnsafeCommand(f"{frame!r}: want at most {self._most_ticks} counts a frame")
        return self._traits.drive.twist(tuple(count * self._traits.wheel_quantum_mps for count in ticks))

    def feed(self, data: bytes, now_ns: int) -> list[Feedback]:
        """Reports in `data`, whatever it is split by."""
        while self._waiting and now_ns - self._waiting[0][1] > ANSWER_NS:
            self._waiting.popleft()
        reports: list[Feedback] = []
        *ends, rest = data.replace(b"\r", b"\n").split(b"\n")
        for end in ends:
            self._collect(end)
            report = None if self._overlong else self._read_line(bytes(self._line), now_ns)
            self._line.clear()
            self._overlong = False
            if report is not None:
                reports.append(report)
        self._collect(rest)
        return reports

    def _collect(self, part: bytes) -> None:
        """Add to the line; one that is too long is garbage up to its end."""
        self._line += part
        if self._overlong or len(self._line) > MAX_LINE_BYTES:
            self._overlong = True
            self._garbage_bytes += len(self._line)
            self._line.clear()

    def _read_line(self, line: bytes, now_ns: int) -> Feedback | None:
        match = COUNTS.fullmatch(line)
        if match is not None:
            return self._report(line, (int(match[1]), int(match[2])), now_ns)
        if line == b"OK":
            self._answered(MOTORS)
            self._refusals = 0
        elif line == b"Invalid Command":
            return self._refused(now_ns)
        else:
            self._garbage_bytes += len(line)
        return None

    def _answered(self, kind: bytes) -> None:
        """Forget the oldest question of this kind, and those before it: they have been skipped."""
        for place, (letter, _) in enumerate(self._waiting):
            if letter == kind:
                for _ in range(place + 1):
                    self._waiting.popleft()
                return

    def _refused(self, now_ns: int) -> Feedback | None:
        """A sketch without `USE_BASE` refuses every motor line: it cannot drive."""
        if not self._waiting or self._waiting.popleft()[0] != MOTORS:
            return None
        self._refusals += 1
        return Feedback(now_ns, hazards=Hazard.TRIPPED) if self._refusals >= REFUSALS else None

    def _report(self, line: bytes, counts: tuple[int, int], now_ns: int) -> Feedback | None:
        half = 1 << 31
        counted = self._counters.take(counts, now_ns) if all(-half <= count < half for count in counts) else None
        if counted is None:
            self._garbage_bytes += len(line)
            return None
        self._answered(ENCODERS)
        self._refusals = 0  # who counts has been built with a base
        if counted.restarted:
            self._waiting.clear()
            return Feedback(now_ns, rebooted=True)
        return Feedback(now_ns, counted.wheels_mps, travel_m=counted.travel_m, hazards=NO_HAZARD)
