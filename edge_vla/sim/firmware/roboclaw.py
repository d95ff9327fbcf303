"""A RoboClaw in packet serial mode as its manual documents it. Pure: bytes and times in, bytes and wheel targets out.

Its firmware is closed. Assumed, because no source says it: any byte feeds the serial timeout; the timeout and an emergency stop take the
target away at once; while stopped for an emergency it acknowledges speeds and does not drive them, nor when the stop is over until it is
told anew; it boots for half a second with the motors off, counters at zero and the timeout disabled; a command it does not know makes it
deaf until 10 ms without a byte; questions that arrive in one go are answered one after the other. Not modelled: ramps, duty, its own
speeds (18, 19), the counters' overflow flags.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Callable
from dataclasses import dataclass

from edge_vla.guard.types import NO_HAZARD, Hazard, Speeds
from edge_vla.sim.firmware.wheels import WheelLog, Wheels

GAP_NS = 10_000_000  # between two bytes of a packet at most
BOOT_NS = 500_000_000
STEP_NS = 100_000_000  # of the serial timeout
WRITES = {14: 1, 20: 0, 35: 4, 36: 4, 37: 8}  # command: bytes of data
READS = {15, 16, 17, 24, 90}
BACKWARDS = 0x02  # in an encoder's status
# Status bits by bytes of the status: what a hazard looks like.
HAZARD_BITS = {
    4: {Hazard.OVER_CURRENT: 0x00030000, Hazard.TRIPPED: 0x00000001},
    2: {Hazard.OVER_CURRENT: 0x0003, Hazard.TRIPPED: 0x0004},
}


@dataclass(frozen=True, slots=True)
class Unit:
    """One controller's address and firmware (`status_bytes` 2 is an older one), and the encoders on its motors."""

    ticks_per_m: float = 10000.0
    address: int = 0x80
    status_bytes: int = 4


STOCK = Unit()


class RoboClawFirmware:
    """One controller. `measure` is what its encoders see (default: the true speeds). `hazards` TRIPPED is its emergency stop's input."""

    def __init__(
        self,
        wheels: Wheels,
        log: WheelLog | None = None,
        measure: Callable[[], Speeds] | None = None,
        gyro: Callable[[], float] | None = None,
        *,
        unit: Unit = STOCK,
    ) -> None:
        self.battery_v = 12.0
        self.hazards: Hazard = NO_HAZARD
        self.timeout_steps = 0  # never
        self._wheels = wheels
        self._log = log
        self._measure = measure or wheels.speeds
        self._gyro = gyro  # it has none
        self._unit = unit
        self._up_ns = 0
        self._last_step_ns: int | None = None
        self._last_byte_ns = 0
        self._packet = bytearray()
        self._deaf = False
        self._out = bytearray()
        self._counts = [0.0, 0.0]
        self._goal = [0.0, 0.0]

    def feed(self, data: bytes, now_ns: int) -> None:
        """Bytes from the host. A booting controller does not hear them."""
        if now_ns < self._up_ns or not data:
            return
        if now_ns - self._last_byte_ns > GAP_NS:
            self._packet.clear()
            self._deaf = False
        self._last_byte_ns = now_ns
        for byte in data:
            self._hear(byte, now_ns)

    def step(self, now_ns: int) -> None:
        """Counters, emergency stop, serial timeout."""
        last_ns, self._last_step_ns = self._last_step_ns, now_ns
        if now_ns < self._up_ns:
            return
        if last_ns is not None:
            for side, speed in enumerate(self._measure()):
                self._counts[side] += speed * self._unit.ticks_per_m * (now_ns - last_ns) * 1e-9
        silent = self.timeout_steps and now_ns - self._last_byte_ns > self.timeout_steps * STEP_NS
        if any(self._goal) and (silent or Hazard.TRIPPED in self.hazards):
            self._aim(0.0, 0.0)

    def read(self, now_ns: int) -> bytes:  # noqa: ARG002 - a real line would pace it
        """Take what it has said so far."""
        said = bytes(self._out)
        self._out.clear()
        return said

    def reboot(self, now_ns: int) -> None:
        """Brown-out: motors off, timeout and counters lost, not a word."""
        self._aim(0.0, 0.0)
        self.timeout_steps = 0
        self._packet.clear()
        self._out.clear()
        self._deaf = False
        self._counts = [0.0, 0.0]
        self._up_ns = now_ns + BOOT_NS

    def _hear(self, byte: int, now_ns: int) -> None:
        packet = self._packet
        if self._deaf or (not packet and byte != self._unit.address):
            return
        packet.append(byte)
        if len(packet) < 2:
            return
        command = packet[1]
        if command in READS:
            self._answer(command)
            packet.clear()
        elif command not in WRITES:
            self._deaf = True
            packet.clear()
        elif len(packet) == WRITES[command] + 4:
            whole = bytes(packet)
            packet.clear()
            if binascii.crc_hqx(whole, 0) == 0:  # over data and checksum; else silence
                self._obey(command, whole, now_ns)
                self._out += b"\xff"

    def _obey(self, command: int, packet: bytes, now_ns: int) -> None:
        data = packet[2:-2]
        match command:
            case 14:
                self.timeout_steps = data[0]
            case 20:
                self._counts = [0.0, 0.0]
            case 35 | 36:
                self._drive(packet, {command - 35: struct.unpack(">i", data)[0]}, now_ns)
            case _:
                self._drive(packet, dict(enumerate(struct.unpack(">2i", data))), now_ns)

    def _drive(self, packet: bytes, counts_per_s: dict[int, int], now_ns: int) -> None:
        if Hazard.TRIPPED in self.hazards:
            return
        goal = list(self._goal)
        for motor, speed in counts_per_s.items():
            goal[motor] = speed / self._unit.ticks_per_m
        self._aim(*goal)
        if self._log is not None:
            self._log.write(now_ns, self._wheels.speeds(), packet.hex(" "), tuple(goal))

    def _aim(self, left_mps: float, right_mps: float) -> None:
        self._goal = [left_mps, right_mps]
        self._wheels.set_target(left_mps, right_mps)

    def _answer(self, command: int) -> None:
        match command:
            case 15:
                data = bytes((self.timeout_steps,))
            case 24:
                data = struct.pack(">H", round(self.battery_v * 10.0))
            case 90:
                bits = sum(bit for hazard, bit in HAZARD_BITS[self._unit.status_bytes].items() if hazard in self.hazards)
                data = bits.to_bytes(self._unit.status_bytes, "big")
            case _:
                count, speed = self._counts[command - 16], self._measure()[command - 16]
                data = struct.pack(">IB", int(count) & 0xFFFFFFFF, BACKWARDS if speed < 0.0 else 0)
        checksum = binascii.crc_hqx(bytes((self._unit.address, command)) + data, 0)
        self._out += data + struct.pack(">H", checksum)
