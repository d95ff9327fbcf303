"""A Kobuki as its protocol document and its driver describe it. Pure: bytes and times in, bytes and wheel targets out.

Its firmware is closed. Not known, so not invented: a command timeout (there is none here, the worse case), what a radius of -1 does (here
nothing), how long it boots. Its own reflex at bumpers and edges is off, as since 1.1.2.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from edge_vla.guard.types import NO_HAZARD, Hazard, Speeds
from edge_vla.sim.firmware.wheels import WheelLog, Wheels

HALF_MM = 115
REPORT_NS = 20_000_000
BOOT_NS = 1_000_000_000
TICKS_PER_M = 1 / 0.000085292
MAX_FRAME_BYTES = 254
RAILS = 0x00F0


class KobukiFirmware:
    """One base. `measure` is what its encoders see (default: the true speeds), `gyro` its turn rate in rad/s."""

    def __init__(
        self, wheels: Wheels, log: WheelLog | None = None, measure: Callable[[], Speeds] | None = None,
        gyro: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        self.battery_v = 16.4
        self.hazards: Hazard = NO_HAZARD
        self.powered = True  # the external rails: one of them may feed the host
        self._wheels, self._log, self._measure = wheels, log, measure or wheels.speeds
        self._gyro = gyro or (lambda: 0.0)
        self._in, self._out = bytearray(), bytearray()
        self._up_ns: int | None = None
        self._last_step_ns: int | None = None
        self._due_ns = 0
        self._ticks = [0.0, 0.0]
        self._yaw = 0.0

    def feed(self, data: bytes, now_ns: int) -> None:
        """Bytes from the host."""
        if self._up_ns is not None and now_ns < self._up_ns:
            return
        self._in += data
        while (payload := self._next()) is not None:
            self._obey(payload, now_ns)

    def step(self, now_ns: int) -> None:
        """One pass of the loop."""
        last_ns, self._last_step_ns = self._last_step_ns, now_ns
        if self._up_ns is None:
            self._up_ns = self._due_ns = now_ns
        if now_ns < self._up_ns:
            return
        if last_ns is not None:
            dt_s = (now_ns - last_ns) * 1e-9
            self._ticks = [ticks + speed * TICKS_PER_M * dt_s for ticks, speed in zip(self._ticks, self._measure(), strict=True)]
            self._yaw += self._gyro() * dt_s
        if now_ns >= self._due_ns:
            self._due_ns = max(self._due_ns + REPORT_NS, now_ns)
            self._report(now_ns)

    def read(self, now_ns: int) -> bytes:  # noqa: ARG002 - a real line would pace it
        """Take what it has said so far."""
        said = bytes(self._out)
        self._out.clear()
        return said

    def reboot(self, now_ns: int) -> None:
        """Brown-out: motors off, counters and clock from zero."""
        self._wheels.set_target(0.0, 0.0)
        self._in.clear()
        self._ticks, self._yaw, self.powered = [0.0, 0.0], 0.0, True
        self._up_ns = self._due_ns = now_ns + BOOT_NS

    def _next(self) -> bytes | None:
        buffer = self._in
        while True:
            start = buffer.find(b"\xaa\x55")
            del buffer[: start if start >= 0 else len(buffer) - buffer.endswith(b"\xaa")]
            if len(buffer) < 3 or len(buffer) < buffer[2] + 4:
                return None
            end = buffer[2] + 4
            check = 0
            for byte in buffer[2:end]:
                check ^= byte
            payload = bytes(buffer[3 : end - 1])
            del buffer[: 2 if check else end]
            if not check:
                return payload

    def _obey(self, payload: bytes, now_ns: int) -> None:
        at = 0
        while at + 2 <= len(payload):
            kind, size = payload[at], payload[at + 1]
            data = payload[at + 2 : at + 2 + size]
            if kind == 1 and len(data) == 4:
                speed, radius = struct.unpack("<2h", data)
                self._move(speed, radius, payload, now_ns)
            elif kind == 12 and len(data) == 2:
                self.powered = struct.unpack("<H", data)[0] & RAILS == RAILS
            at += 2 + size

    def _move(self, speed: int, radius: int, payload: bytes, now_ns: int) -> None:
        if radius == -1:
            return
        if radius == 0:
            left = right = float(speed)
        elif radius == 1:
            left, right = -float(speed), float(speed)
        else:
            turn = speed / (radius + math.copysign(HALF_MM, radius))
            left, right = (radius - HALF_MM) * turn, (radius + HALF_MM) * turn
        targets = (left * 1e-3, right * 1e-3)
        self._wheels.set_target(*targets)
        if self._log is not None:
            self._log.write(now_ns, self._wheels.speeds(), payload.hex(" "), targets)

    def _report(self, now_ns: int) -> None:
        left, right = (int(ticks) & 0xFFFF for ticks in self._ticks)
        stamp = now_ns // 1_000_000 & 0xFFFF
        met = self._bits(Hazard.BUMPER, 2), self._bits(Hazard.WHEEL_DROP, 3), self._bits(Hazard.CLIFF, 2)
        battery = max(0, min(255, round(self.battery_v * 10)))
        core = struct.pack("<H3B2H2b4B", stamp, *met, left, right, 0, 0, 0, 0, battery, self._bits(Hazard.OVER_CURRENT, 1))
        angle, rate = round(math.degrees(self._yaw) * 100), round(math.degrees(self._gyro()) * 100)
        inertia = struct.pack("<2h3x", (angle + 18000) % 36000 - 18000, max(-32768, min(32767, rate)))
        payload = bytes((1, len(core))) + core + bytes((3, 3, 0, 0, 0)) + bytes((4, len(inertia))) + inertia
        body = bytes((len(payload),)) + payload
        check = 0
        for byte in body:
            check ^= byte
        self._out += b"\xaa\x55" + body + bytes((check,))

    def _bits(self, hazard: Hazard, bits: int) -> int:
        return bits if hazard in self.hazards else 0
