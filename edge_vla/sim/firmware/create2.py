"""A Create 2 as its Open Interface document and its drivers describe it. Pure: bytes and times in, bytes and wheel targets out.

Its firmware is closed. Assumed, because no source says it: a byte that is no opcode is skipped alone; a song has 16 notes at most, whatever
it says; leaving Safe or Full stops the motors (with `coasts` 128 does not); counters start at 0 and, told to stand, keep the direction
last commanded; a turn on the spot is a tight one at an edge; speeds are rounded to the nearest of the controller's steps, if at all
(`step_mps`: about 0.0285 on a real one). A boot takes three seconds by one driver's notes, and prints more on a real one. TRIPPED among the
hazards is the charger's plug.

Not modelled: groups of packets (a request with one is ignored), other sensors (they read 0), cleaning and docking (Passive, standing), PWM,
other baud rates, sleep, and the 20 ms in which an older robot may not hear what follows a change of mode.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass

from edge_vla.guard.types import NO_HAZARD, Hazard, Speeds
from edge_vla.sim.firmware.wheels import WheelLog, Wheels

OFF, PASSIVE, SAFE, FULL = range(4)
BEAT_NS = 15_000_000
COUNT_M = math.pi * 0.072 / 508.8
MAX_MM_S = 500
MAX_RADIUS_MM = 2000
STRAIGHT = (0x7FFF, -0x8000)
BODY_M = 0.17  # "less than one robot radius" of a turn
BOOT_TEXT = b"\r\nRoomba by iRobot!\r\nstm32\r\n2012-09-28-1151-L\r\nbattery-current-zero 252\r\n"
DATA_BYTES = {
    129: 1, 137: 4, 138: 1, 139: 3, 141: 1, 142: 1, 144: 3, 145: 4, 146: 4, 150: 1, 162: 2, 163: 4, 164: 4, 165: 1, 167: 15, 168: 3,
}  # fmt: skip
SONG, STREAM, QUERY = 140, 148, 149  # as long as they say
MAX_NOTES = 16
SINGLE_PACKETS = range(7, 59)
TWO_BYTE_PACKETS = {19, 20, 22, 23, *range(25, 32), 33, *range(39, 45), *range(46, 52), *range(54, 58)}
MAX_BEAT_BYTES = 172  # what 115200 baud carry in 15 ms


@dataclass(frozen=True, slots=True)
class Robot:
    """One robot: its track, what a boot takes, its speed controller's steps (0: none), and whether 128 leaves the motors running."""

    track_m: float = 0.235
    boot_s: float = 3.0
    step_mps: float = 0.0
    coasts: bool = False


STOCK = Robot()


class Create2Firmware:
    """One robot. `measure` is what its encoders see (default: the true speeds); it tells no turn rate."""

    def __init__(
        self,
        wheels: Wheels,
        log: WheelLog | None = None,
        measure: Callable[[], Speeds] | None = None,
        gyro: Callable[[], float] | None = None,
        *,
        robot: Robot = STOCK,
    ) -> None:
        self.battery_v = 15.8
        self.hazards: Hazard = NO_HAZARD
        self.mode = OFF
        self._wheels, self._log, self._measure = wheels, log, measure or wheels.speeds
        self._gyro = gyro  # it has none
        self._robot = robot
        self._in, self._out = bytearray(), bytearray()
        self._up_ns: int | None = None  # of the boot that is under way
        self._last_step_ns: int | None = None
        self._stream: bytes = b""
        self._paused = False
        self._due_ns = 0
        self._goal: Speeds = (0.0, 0.0)
        self._ways = [1.0, 1.0]
        self._counts = [0.0, 0.0]

    def feed(self, data: bytes, now_ns: int) -> None:
        """Bytes from the host; it waits for ever for those that a command still lacks."""
        if self._up_ns is not None and now_ns < self._up_ns:
            return
        self._in += data
        while self._in:
            size = self._command_bytes()
            if len(self._in) < size:
                return
            command = bytes(self._in[:size])
            del self._in[:size]
            self._obey(command, now_ns)

    def step(self, now_ns: int) -> None:
        """Counters, its own reflexes, and the stream."""
        last_ns, self._last_step_ns = self._last_step_ns, now_ns
        if self._up_ns is not None:
            if now_ns < self._up_ns:
                return
            self._up_ns = None
            self._out += BOOT_TEXT
        if last_ns is not None:
            for side, speed in enumerate(self._measure()):
                self._counts[side] += self._ways[side] * abs(speed) * (now_ns - last_ns) * 1e-9 / COUNT_M
        if self.mode == SAFE and self._in_danger():
            self._leave_for(PASSIVE)
        if self._stream and not self._paused and now_ns >= self._due_ns:
            self._due_ns = max(self._due_ns + BEAT_NS, now_ns)
            body = b"".join(bytes((packet,)) + self._packet(packet) for packet in self._stream)
            self._say(bytes((19, len(body))) + body)

    def read(self, now_ns: int) -> bytes:  # noqa: ARG002 - a real line would pace it
        """Take what it has said so far."""
        said = bytes(self._out)
        self._out.clear()
        return said

    def reboot(self, now_ns: int) -> None:
        """Brown-out, or opcode 7: motors and interface off, stream and counters lost."""
        self._leave_for(OFF)
        self._in.clear()
        self._out.clear()
        self._counts = [0.0, 0.0]
        self._up_ns = now_ns + round(self._robot.boot_s * 1e9)

    def _command_bytes(self) -> int:
        """Of the command that has begun, as far as that is known yet. While off it knows no command with data."""
        command = self._in
        if self.mode == OFF:
            return 1
        if command[0] in (STREAM, QUERY):
            return 2 + (command[1] if len(command) > 1 else 0)
        if command[0] == SONG:
            return 3 + 2 * min(command[2] if len(command) > 2 else 0, MAX_NOTES)
        return 1 + DATA_BYTES.get(command[0], 0)

    def _obey(self, command: bytes, now_ns: int) -> None:
        opcode = command[0]
        if opcode == 7:
            self.reboot(now_ns)
        elif opcode == 128:
            if not self._robot.coasts:
                self._aim(0.0, 0.0)
            self.mode = PASSIVE
        elif self.mode == OFF:
            return
        elif opcode in (137, 145) and self.mode in (SAFE, FULL):
            self._drive(command, now_ns)
        elif opcode in (142, STREAM, QUERY, 150):
            self._tell(command, now_ns)
        else:
            self._change_mode(opcode)

    def _change_mode(self, opcode: int) -> None:
        match opcode:
            case 130 | 131:
                self.mode = SAFE
            case 132:
                self.mode = FULL
            case 133 | 134 | 135 | 136 | 143:
                self._leave_for(PASSIVE)
            case 173:
                self._leave_for(OFF)

    def _leave_for(self, mode: int) -> None:
        self._aim(0.0, 0.0)
        self.mode = mode
        if mode == OFF:
            self._stream = b""

    def _drive(self, command: bytes, now_ns: int) -> None:
        first, second = struct.unpack(">2h", command[1:])
        left, right = (second, first) if command[0] == 145 else self._around(_clip(first, MAX_MM_S), second)
        goal = (self._rounded(_clip(left, MAX_MM_S) * 1e-3), self._rounded(_clip(right, MAX_MM_S) * 1e-3))
        self._aim(*goal)
        if self._log is not None:
            self._log.write(now_ns, self._wheels.speeds(), command.hex(" "), goal)

    def _around(self, velocity: float, radius: int) -> tuple[float, float]:
        """Opcode 137: mm/s of the middle and mm, 1 and -1 for turns on the spot."""
        if radius in STRAIGHT:
            return velocity, velocity
        if abs(radius) == 1:
            return -radius * velocity, radius * velocity
        half = 500.0 * self._robot.track_m / (_clip(radius, MAX_RADIUS_MM) or math.inf)
        return velocity * (1.0 - half), velocity * (1.0 + half)

    def _rounded(self, speed_mps: float) -> float:
        return round(speed_mps / self._robot.step_mps) * self._robot.step_mps if self._robot.step_mps > 0.0 else speed_mps

    def _aim(self, left_mps: float, right_mps: float) -> None:
        self._goal = (left_mps, right_mps)
        self._ways = [math.copysign(1.0, goal) if goal else way for goal, way in zip(self._goal, self._ways, strict=True)]
        self._wheels.set_target(left_mps, right_mps)

    def _in_danger(self) -> bool:
        """A wheel in the air, a charger, or an edge it drives at: forwards, or in a turn tighter than itself."""
        if self.hazards & (Hazard.WHEEL_DROP | Hazard.TRIPPED):
            return True
        left, right = self._goal
        tight = abs(left + right) / 2.0 * self._robot.track_m < BODY_M * abs(right - left)
        return Hazard.CLIFF in self.hazards and (left + right > 0.0 or tight)

    def _tell(self, command: bytes, now_ns: int) -> None:
        opcode, data = command[0], command[1:]
        if opcode == 150:
            self._paused, self._due_ns = data[0] == 0, max(self._due_ns, now_ns)
            return
        packets = data[1:] if opcode in (STREAM, QUERY) else data
        if any(packet not in SINGLE_PACKETS for packet in packets):
            return
        if opcode != STREAM:
            self._out += b"".join(map(self._packet, packets))
        elif 3 + sum(2 + (packet in TWO_BYTE_PACKETS) for packet in packets) <= MAX_BEAT_BYTES:
            self._stream, self._paused, self._due_ns = packets, False, now_ns

    def _packet(self, packet: int) -> bytes:
        met = {
            7: 0x02 * (Hazard.BUMPER in self.hazards) | 0x08 * (Hazard.WHEEL_DROP in self.hazards),
            10: int(Hazard.CLIFF in self.hazards),
            14: 0x10 * (Hazard.OVER_CURRENT in self.hazards),
            22: max(0, min(0xFFFF, round(self.battery_v * 1e3))),
            34: int(Hazard.TRIPPED in self.hazards),
            35: self.mode,
            43: math.floor(self._counts[0]) & 0xFFFF,
            44: math.floor(self._counts[1]) & 0xFFFF,
        }
        return met.get(packet, 0).to_bytes(2 if packet in TWO_BYTE_PACKETS else 1, "big")

    def _say(self, words: bytes) -> None:
        self._out += words + bytes((-sum(words) & 0xFF,))


def _clip(value: float, most: float) -> float:
    return max(-most, min(most, value))
