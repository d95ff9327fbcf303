"""The STM32 of a Yahboom ROSMASTER X3 as its factory source documents it, hazards R1 and the clipped wheels included.

Pure: bytes and times in, bytes and wheel targets out. Not modelled, because no source says it: how long it boots, and the phase of its
reports. The counters' scale is that of the X3's motors; other motors count otherwise.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from edge_vla.guard.types import NO_HAZARD, Hazard, Speeds
from edge_vla.sim.firmware.wheels import WheelLog, Wheels

REACH_M = {1: 0.1646, 2: 0.2141}  # by car type: X3, X3 PLUS
CLIP_MPS = {1: 1.0, 2: 0.7}
LOOP_NS = 41_000_000  # every report once
STAGGER_NS = 10_000_000  # between its kinds
BUFFER_BYTES = 20
COUNTS_PER_M = 2464 / (math.pi * 0.08)
BATTERY_NS = 2_000_000_000  # more than 20 looks
BATTERY_LOW_V, BATTERY_HIGH_V, NO_BATTERY_V = 9.6, 13.0, (6.5, 8.5)
KEEP_YAW = 0x80  # in the car type: the turn rate is ignored
ALWAYS_HEARD = {0x0F, 0x15, 0x50}  # with a bad battery


class RosmasterFirmware:
    """One board of car type 1 or 2. `measure` is what its encoders report (default: the true speeds)."""

    def __init__(
        self, wheels: Wheels, log: WheelLog | None = None, measure: Callable[[], Speeds] | None = None,
        gyro: Callable[[], float] | None = None, *, car_type: int = 1, boot_s: float = 0.5,
    ) -> None:  # fmt: skip
        self.battery_v = 11.8
        self.hazards: Hazard = NO_HAZARD  # it has no sensor for any
        self._wheels = wheels
        self._log = log
        self._measure = measure or wheels.speeds
        self._gyro = gyro  # raw inertial reports are of a scale nobody documents: not sent
        self._car_type = car_type
        self._boot_ns = round(boot_s * 1e9)
        self._up_ns = 0
        self._out = bytearray()
        self._frame = bytearray()
        self._want = 0  # bytes of the frame that is arriving; 0 before its length
        self._reporting = True
        self._last_step_ns: int | None = None
        self._counters = [0.0] * 4
        self._due_ns: dict[int, int] = {}
        self._bad_since_ns: int | None = None
        self._off = False

    def feed(self, data: bytes, now_ns: int) -> None:
        """Bytes from the host, one by one; no time between them is too long, so a torn frame eats the next one's bytes."""
        if now_ns < self._up_ns:
            return
        for byte in data:
            self._hear(byte, now_ns)

    def step(self, now_ns: int) -> None:
        """One pass of the loop: counters, battery, reports."""
        last_ns, self._last_step_ns = self._last_step_ns, now_ns
        if now_ns < self._up_ns:
            return
        if last_ns is not None:
            for k, speed in enumerate(self._measure()):
                self._counters[k] += speed * COUNTS_PER_M * (now_ns - last_ns) * 1e-9
        self._watch_battery(now_ns)
        if self._reporting:
            for order, (kind, say) in enumerate(((0x0A, self._say_speeds), (0x0D, self._say_counters))):
                due_ns = self._due_ns.setdefault(kind, now_ns + order * STAGGER_NS)
                if now_ns >= due_ns:
                    self._due_ns[kind] = max(due_ns + LOOP_NS, now_ns)
                    say()

    def read(self, now_ns: int) -> bytes:  # noqa: ARG002 - a real line would pace it
        """Take what the board has said so far."""
        said = bytes(self._out)
        self._out.clear()
        return said

    def reboot(self, now_ns: int) -> None:
        """Brown-out: the motors' bridges are off, counters and reports start anew."""
        self._aim((0.0,) * 4)
        self._frame.clear()
        self._want, self._reporting, self._off = 0, True, False
        self._counters = [0.0] * 4
        self._due_ns.clear()
        self._up_ns = now_ns + self._boot_ns

    def _hear(self, byte: int, now_ns: int) -> None:
        frame = self._frame
        frame.append(byte)
        if (len(frame) == 1 and byte != 0xFF) or (len(frame) == 2 and byte != 0xFC):
            frame.clear()
        elif len(frame) == 3:
            self._want = byte + 2
            if not 5 <= self._want <= BUFFER_BYTES:
                frame.clear()
        elif len(frame) > 3 and len(frame) == self._want:
            whole = bytes(frame)
            frame.clear()
            if sum(whole[2:-1]) & 0xFF == whole[-1]:
                self._obey(whole, now_ns)

    def _obey(self, frame: bytes, now_ns: int) -> None:
        function, data = frame[3], frame[4:-1]
        if self._off and function not in ALWAYS_HEARD:
            return
        if function == 0x12 and len(data) == 7:
            self._move(frame, data, now_ns)
        elif function == 0x01 and data:
            self._reporting = data[0] != 0
        elif function == 0x0F:
            self._off = False
            self._aim((0.0,) * 4)

    def _move(self, frame: bytes, data: bytes, now_ns: int) -> None:
        kind, x, y, turn = struct.unpack("<B3h", data)
        reach = REACH_M[self._car_type] * (0.0 if kind & KEEP_YAW else 1.0)
        along, across, around = x * 1e-3, y * 1e-3, turn * 1e-3 * reach
        most = CLIP_MPS[self._car_type]
        wheels = (along - across - around, along + across + around, along + across - around, along - across + around)
        targets = tuple(max(-most, min(most, wheel)) for wheel in wheels)  # each by itself: the path bends
        self._aim(targets)
        if self._log is not None:
            self._log.write(now_ns, self._wheels.speeds(), frame.hex(" "), targets)

    def _aim(self, targets_mps: Speeds) -> None:
        self._wheels.set_target(*targets_mps)

    def _watch_battery(self, now_ns: int) -> None:
        """Too low or too high for two seconds: off until it is reset. Between 6.5 and 8.5 V it believes to hang on a USB port."""
        low, high = NO_BATTERY_V
        bad = (self.battery_v < BATTERY_LOW_V and not low <= self.battery_v <= high) or self.battery_v > BATTERY_HIGH_V
        if not bad:
            self._bad_since_ns = None
        elif self._bad_since_ns is None:
            self._bad_since_ns = now_ns
        elif now_ns - self._bad_since_ns > BATTERY_NS and not self._off:
            self._off = True
            self._aim((0.0,) * 4)

    def _say_speeds(self) -> None:
        front_left, front_right, rear_left, rear_right = self._measure()
        reach = REACH_M[self._car_type]
        speeds = (
            (front_left + front_right + rear_left + rear_right) / 4.0,
            (-front_left + front_right + rear_left - rear_right) / 4.0,
            (-front_left + front_right - rear_left + rear_right) / (4.0 * reach),
        )
        numbers = (max(-32768, min(32767, int(value * 1e3))) for value in speeds)
        self._say(0x0A, struct.pack("<3hB", *numbers, max(0, min(255, int(self.battery_v * 10)))))

    def _say_counters(self) -> None:
        front_left, front_right, rear_left, rear_right = (int(count) for count in self._counters)
        self._say(0x0D, struct.pack("<4i", front_left, rear_left, front_right, rear_right))

    def _say(self, function: int, data: bytes) -> None:
        body = bytes((len(data) + 3, function)) + data
        self._out += b"\xff\xfb" + body + bytes((sum(body) & 0xFF,))
