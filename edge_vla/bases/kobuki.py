"""Kobuki, the base of a TurtleBot 2: speed and radius in binary frames, bumpers and edges in its reports. Knows no port and no time.

Whether it stops by itself when the host dies no source says, so it counts as a base that does not; its firmware's own reflex at bumpers and
edges is off since 1.1.2, so the guard reacts.
"""

from __future__ import annotations

import math
import struct

from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.limits import check_finite
from edge_vla.guard.types import NO_HAZARD, BaseTraits, Feedback, Hazard, Speeds, Twist
from edge_vla.guard.wheels import Differential, quanta

HEAD = b"\xaa\x55"
BASE_CONTROL, POWER = 1, 12
POWER_ON = b"\xf0\x00"  # all external rails: one of them may feed the Jetson
CORE, INERTIA = 1, 4
TRACK_M = 0.23  # known to its firmware
HALF_MM = 115.0
EPSILON = 1e-4  # m/s, rad/s: below it the firmware's own driver calls it straight, or a turn on the spot
MAX_TURN_RADPS = 1.5  # a radius is cut to whole mm: that much of a turn, and a wheel is off by 7 mm/s
QUANTUM_MPS = 0.0075
MAX_WHEEL_MPS = 0.7  # of the vendor
SHORT = 32767
FEEDBACK_MS = 20
TICK_M = 0.000085292
PLAUSIBLE_MPS = 3.0
MAX_STEP_MS = 1000  # between two reports: more, and their time stamps, which wrap, say nothing
WRAP = 1 << 16
HAZARDS = ((2, Hazard.BUMPER), (3, Hazard.WHEEL_DROP), (4, Hazard.CLIFF), (14, Hazard.OVER_CURRENT))  # by byte of the core report


class Kobuki:
    """The codec of one base. `track_m` is fixed by the firmware and only checked."""

    def __init__(self, track_m: float = TRACK_M, max_wheel_mps: float = MAX_WHEEL_MPS) -> None:
        if not abs(track_m - TRACK_M) <= 1e-3:
            raise ConfigError(f"kobuki track_m={track_m}: its firmware drives with {TRACK_M} m")
        if not (math.isfinite(max_wheel_mps) and 0.0 < max_wheel_mps <= MAX_WHEEL_MPS):
            raise ConfigError(f"kobuki max_wheel_mps={max_wheel_mps}: want more than 0 and at most {MAX_WHEEL_MPS}")
        self._traits = BaseTraits(
            Differential(TRACK_M), max_wheel_mps, QUANTUM_MPS, FEEDBACK_MS, None, resync=bytes(8), travel_quantum_m=TICK_M
        )
        self._buffer = bytearray()
        self._garbage_bytes = 0
        self._last: tuple[int, int, int] | None = None  # stamp in ms, counts of both wheels
        self._ticks = [0, 0]

    @property
    def traits(self) -> BaseTraits:
        return self._traits

    @property
    def garbage_bytes(self) -> int:
        return self._garbage_bytes

    def init_frames(self) -> list[bytes]:
        """Power rails as they are by default: a host before this one may have left them off."""
        return [_frame(POWER, POWER_ON)]

    def poll_frames(self) -> list[bytes]:
        return []

    def restart_frames(self) -> list[bytes]:
        return []

    def sent(self, frame: bytes, now_ns: int) -> None:
        """It acknowledges nothing."""

    def encode(self, twist: Twist) -> bytes:
        """One base control frame, cut towards zero as C does. Raises UnsafeCommand."""
        check_finite(twist)
        if twist.linear_y != 0.0:
            raise UnsafeCommand(f"linear_y={twist.linear_y} m/s: a differential base cannot move sideways")
        wheels = self._traits.drive.wheels(twist)
        if not max(map(abs, wheels)) <= self._traits.max_wheel_mps * (1.0 + 1e-9):
            raise UnsafeCommand(f"wheels {wheels} m/s: want at most {self._traits.max_wheel_mps}")
        if abs(twist.angular_z) > MAX_TURN_RADPS:
            raise UnsafeCommand(f"angular_z={twist.angular_z} rad/s: want at most {MAX_TURN_RADPS}")
        return _frame(BASE_CONTROL, struct.pack("<2h", *_speed_and_radius(twist)))

    def decode_command(self, frame: bytes) -> Twist:
        """The twist of a base control frame. Raises UnsafeCommand for anything else."""
        if frame != _frame(BASE_CONTROL, frame[5:9]):
            raise UnsafeCommand(f"{frame.hex(' ')} is no base control")
        speed, radius = struct.unpack_from("<2h", frame, 5)
        said = _twist_of(speed, radius)
        if _cut(said) != (speed, radius):
            raise UnsafeCommand(f"speed {speed} mm/s on a radius of {radius} mm is nothing this driver says")
        return said

    def feed(self, data: bytes, now_ns: int) -> list[Feedback]:
        """Reports in `data`, whatever it is split by."""
        self._buffer += data
        found: list[Feedback] = []
        while (payload := self._next_payload()) is not None:
            report = self._read(payload, now_ns)
            if report is not None:
                found.append(report)
        return found

    def _next_payload(self) -> bytes | None:
        buffer = self._buffer
        while True:
            start = buffer.find(HEAD)
            self._drop(start if start >= 0 else len(buffer) - buffer.endswith(HEAD[:1]))
            if len(buffer) < 3 or len(buffer) < buffer[2] + 4:
                return None
            end = buffer[2] + 4
            if _xor(buffer[2:end]) == 0:
                payload = bytes(buffer[3 : end - 1])
                del buffer[:end]
                return payload
            self._drop(1)

    def _drop(self, count: int) -> None:
        self._garbage_bytes += count
        del self._buffer[:count]

    def _read(self, payload: bytes, now_ns: int) -> Feedback | None:
        """None for a payload without core report, or with the one before it again."""
        parts = dict(_parts(payload))
        core, inertia = parts.get(CORE, b""), parts.get(INERTIA, b"")
        if len(core) != 15:
            return None
        stamp, left, right = struct.unpack_from("<H3x2H", core)
        last, self._last = self._last, (stamp, left, right)
        if last is not None and last[0] == stamp:
            return None
        speeds: Speeds | None = None
        if last is not None:
            steps = [(now - then + WRAP // 2) % WRAP - WRAP // 2 for now, then in ((left, last[1]), (right, last[2]))]
            passed_ms = (stamp - last[0]) % WRAP
            speeds = tuple(step * TICK_M / (passed_ms * 1e-3) for step in steps)
            if max(map(abs, speeds)) > PLAUSIBLE_MPS or passed_ms > MAX_STEP_MS:
                return Feedback(now_ns, rebooted=True)  # counters that jump, or a clock that does, have started anew
            self._ticks = [sum(pair) for pair in zip(self._ticks, steps, strict=True)]
        gyro = math.radians(struct.unpack_from("<2h", inertia)[1] / 100.0) if len(inertia) == 7 else None
        hazards = NO_HAZARD
        for at, hazard in HAZARDS:
            hazards |= hazard if core[at] else NO_HAZARD
        travel = tuple(tick * TICK_M for tick in self._ticks)
        return Feedback(now_ns, speeds, gyro, core[13] / 10.0, travel_m=travel, hazards=hazards)


def _speed_and_radius(twist: Twist) -> tuple[int, int]:
    """What says the twist and, read back, says itself: at a mm/s or two a cut radius may be another kind of motion."""
    found, last = _cut(twist), None
    while found != last:
        last, found = found, _cut(_twist_of(*found))
    return found


def _cut(twist: Twist) -> tuple[int, int]:
    """mm/s of the faster wheel, or of both, and mm; radius 0 is straight, 1 a turn on the spot."""
    v, w = twist.linear_x, twist.angular_z
    if abs(w) < EPSILON:
        return quanta(v, 1e-3), 0
    radius = 1e3 * v / w
    whole = max(-SHORT, min(SHORT, quanta(radius, 1.0)))
    if abs(v) < EPSILON or abs(whole) <= 1:  # what the firmware makes of a radius of -1 no source says
        turn = quanta(HALF_MM * w, 1.0)
        return turn, 1 if turn else 0
    speed = quanta((radius + math.copysign(HALF_MM, radius)) * w, 1.0)
    return speed, whole if speed else 0


def _twist_of(speed: int, radius: int) -> Twist:
    if radius == 0:
        return Twist(speed * 1e-3)
    if radius == 1:
        return Twist(0.0, 0.0, speed / HALF_MM)
    turn = speed / (radius + math.copysign(HALF_MM, radius))
    return Twist(radius * turn * 1e-3, 0.0, turn)


def _parts(payload: bytes) -> list[tuple[int, bytes]]:
    """(id, data) one after the other; what does not fit ends it."""
    found, at = [], 0
    while at + 2 <= len(payload) and at + 2 + payload[at + 1] <= len(payload):
        found.append((payload[at], payload[at + 2 : at + 2 + payload[at + 1]]))
        at += 2 + payload[at + 1]
    return found


def _frame(kind: int, data: bytes) -> bytes:
    body = bytes((len(data) + 2, kind, len(data))) + data
    return HEAD + body + bytes((_xor(body),))


def _xor(data: bytes | bytearray) -> int:
    found = 0
    for byte in data:
        found ^= byte
    return found
