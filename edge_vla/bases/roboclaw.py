"""RoboClaw in packet serial mode, M1 on the left and M2 on the right: speeds in encoder counts a second. Knows nothing about ports or time.

Its answers carry no name: a byte 0xFF for a command, data for a question, with a checksum that covers the question too. So what was sent
is remembered, and only what fits it is believed. Half a packet is thrown away after 10 ms without a byte: nothing has to be written to
resynchronise, but what follows within those 10 ms is lost with it. Every byte feeds its serial timeout, a question too.

Unverified, no source says it clearly: that it answers questions asked in one go, and that its timeout is as the manual must mean it.
"""

from __future__ import annotations

import binascii
import math
import struct
from collections import deque
from dataclasses import dataclass

from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.counters import Counters
from edge_vla.guard.limits import check_finite
from edge_vla.guard.types import NO_HAZARD, BaseTraits, Feedback, Hazard, Twist
from edge_vla.guard.wheels import Differential, quanta

ADDRESSES = (0x80, 0x87)
SET_TIMEOUT, SPEEDS = 14, 37
ENCODER_1, ENCODER_2, BATTERY, STATUS = 16, 17, 24, 90
FEEDBACK_MS = 50
TIMEOUT_STEPS, TIMEOUT_STEP_MS = 3, 100
ANSWER_NS = 50_000_000  # what has got no answer by then gets none
MAX_WAITING = 16
MAX_BUFFER_BYTES = 256  # more than twice what all of them can be answered with
TICKS_PER_M = (100.0, 1e6)  # a count a second must be at most 0.01 m/s
ACK = 0xFF
CRC_BYTES = 2
NOBODY = -1


@dataclass(frozen=True, slots=True)
class Bits:
    """One layout of the status word. `harmless`: warnings and signals that stop nothing."""

    over_current: int
    tripped: int
    harmless: int


# By bytes of the status: 4 as today's manual has it, 2 as that of older boards.
LAYOUTS = {
    4: Bits(over_current=0x00033000, tripped=0x00003FFF, harmless=0x03FC0000),
    2: Bits(over_current=0x0003, tripped=0x03FC, harmless=0xFC00),
}


@dataclass(frozen=True, slots=True)
class Question:
    """What has been sent and not been answered: `size` bytes of data and a checksum, or an acknowledgement for None."""

    command: int
    size: int | None
    t_ns: int


class RoboClaw:
    """The codec of one controller. `ticks_per_m` are quadrature counts per metre of wheel; `status_bytes` 2 is for older firmware."""

    def __init__(
        self, track_m: float = 0.3, max_wheel_mps: float = 0.5, ticks_per_m: float = 10000.0, address: int = 0x80, status_bytes: int = 4
    ) -> None:
        for name, value, most in (("track_m", track_m, 1.0), ("max_wheel_mps", max_wheel_mps, 2.0)):
            if not (math.isfinite(value) and 0.0 < value <= most):
                raise ConfigError(f"roboclaw {name}={value}: want more than 0 and at most {most}")
        if not TICKS_PER_M[0] <= ticks_per_m <= TICKS_PER_M[1]:
            raise ConfigError(f"roboclaw ticks_per_m={ticks_per_m}: want {TICKS_PER_M[0]:g} to {TICKS_PER_M[1]:g}")
        if address not in range(ADDRESSES[0], ADDRESSES[1] + 1):
            raise ConfigError(f"roboclaw address={address}: want {ADDRESSES[0]} to {ADDRESSES[1]} (0x80 to 0x87)")
        if status_bytes not in LAYOUTS:
            raise ConfigError(f"roboclaw status_bytes={status_bytes}: want 4, or 2 for older firmware")
        watchdog_ms, quantum = TIMEOUT_STEPS * TIMEOUT_STEP_MS, 1.0 / ticks_per_m
        self._traits = BaseTraits(Differential(track_m), max_wheel_mps, quantum, FEEDBACK_MS, watchdog_ms, b"", quantum)
        self._address = int(address)
        self._sizes = {BATTERY: 2, STATUS: int(status_bytes), ENCODER_1: 5, ENCODER_2: 5}
        self._bits = LAYOUTS[status_bytes]
        self._most_mps = max_wheel_mps * (1.0 + 1e-9)  # a sum that rounds up is no faster wheel
        self._most_ticks = quanta(self._most_mps, quantum)
        self._counters = Counters(ticks_per_m, max_wheel_mps)
        self._waiting: deque[Question] = deque(maxlen=MAX_WAITING)
        self._buffer = bytearray()
        self._said: dict[int, int] = {}  # by question, since the last report
        self._garbage_bytes = 0
        self._unknown_statuses = 0

    @property
    def traits(self) -> BaseTraits:
        return self._traits

    @property
    def garbage_bytes(self) -> int:
        return self._garbage_bytes

    @property
    def unknown_statuses(self) -> int:
        """Reports so far with a status bit that no manual at hand explains; nothing is made of it."""
        return self._unknown_statuses

    def init_frames(self) -> list[bytes]:
        """Its serial timeout, lost when it is switched off."""
        return [self._packet(SET_TIMEOUT, bytes((TIMEOUT_STEPS,)))]

    def poll_frames(self) -> list[bytes]:
        """Four questions for one report; the last answer makes it."""
        return [bytes((self._address, command)) for command in self._sizes]

    def restart_frames(self) -> list[bytes]:
        """None: a latched stop of its own ends when it is switched off."""
        return []

    def sent(self, frame: bytes, now_ns: int) -> None:
        """Each packet gets one answer, in order, or none."""
        if len(frame) >= 2:
            self._waiting.append(Question(frame[1], self._sizes.get(frame[1]) if len(frame) == 2 else None, now_ns))

    def encode(self, twist: Twist) -> bytes:
        """One packet with both speeds in counts a second, cut towards zero. Raises UnsafeCommand."""
        check_finite(twist)
        if twist.linear_y != 0.0:
            raise UnsafeCommand(f"linear_y={twist.linear_y} m/s: a differential base cannot move sideways")
        wheels = self._traits.drive.wheels(twist)
        if not max(map(abs, wheels)) <= self._most_mps:
            raise UnsafeCommand(f"wheels {wheels} m/s: want at most {self._traits.max_wheel_mps}")
        left, right = (quanta(wheel, self._traits.wheel_quantum_mps) for wheel in wheels)
        return self._packet(SPEEDS, struct.pack(">2i", left, right))

    def decode_command(self, frame: bytes) -> Twist:
        """The twist of a speed packet exactly as `encode` writes it. Raises UnsafeCommand for anything else."""
        if frame != self._packet(SPEEDS, frame[2:10]):
            raise UnsafeCommand(f"{frame.hex(' ')!r} is no speed packet for address {self._address:#x}")
        ticks: tuple[int, int] = struct.unpack(">2i", frame[2:10])
        if max(map(abs, ticks)) > self._most_ticks:
            raise UnsafeCommand(f"{frame.hex(' ')!r}: want at most {self._most_ticks} counts a second")
        return self._traits.drive.twist(tuple(count * self._traits.wheel_quantum_mps for count in ticks))

    def feed(self, data: bytes, now_ns: int) -> list[Feedback]:
        """Reports in `data`, whatever it is split by. What answers no question is garbage."""
        while self._waiting and now_ns - self._waiting[0].t_ns > ANSWER_NS:
            self._waiting.popleft()
        self._buffer += data
        if len(self._buffer) > MAX_BUFFER_BYTES:
            self._waiting.clear()
        found: list[Feedback] = []
        while self._buffer and (place := self._place()) is not None:
            report = self._take(place, now_ns)
            if report is not None:
                found.append(report)
        return found

    def _packet(self, command: int, data: bytes) -> bytes:
        body = bytes((self._address, command)) + data
        return body + struct.pack(">H", binascii.crc_hqx(body, 0))

    def _place(self) -> int | None:
        """Of the question that the buffer begins to answer, NOBODY's when it is none's; None: too few bytes to tell.

        It is the first one's unless that cannot be, so that chance gets few tries at a checksum.
        """
        waiting = self._waiting
        if not waiting:
            return NOBODY
        if waiting[0].size is None or self._fits(waiting[0]):
            return 0
        if len(self._buffer) < CRC_BYTES + max(question.size or 0 for question in waiting):
            return None
        first = {question.command: place for place, question in reversed(list(enumerate(waiting))) if question.size is not None}
        return min((place for place in first.values() if self._fits(waiting[place])), default=NOBODY)

    def _fits(self, question: Question) -> bool:
        data = bytes(self._buffer[: (question.size or 0) + CRC_BYTES])
        return len(data) == (question.size or 0) + CRC_BYTES and self._packet(question.command, data[:-CRC_BYTES])[2:] == data

    def _take(self, place: int, now_ns: int) -> Feedback | None:
        """Take one answer; those to the questions before it have been lost."""
        if place == NOBODY:
            self._drop(1 if self._waiting else len(self._buffer))
            return None
        for _ in range(place):
            self._waiting.popleft()
        question = self._waiting.popleft()
        if question.size is not None:
            return self._read(question.command, question.size, now_ns)
        if self._buffer[0] == ACK:
            del self._buffer[:1]
        return None

    def _drop(self, count: int) -> None:
        self._garbage_bytes += count
        del self._buffer[:count]

    def _read(self, command: int, size: int, now_ns: int) -> Feedback | None:
        data = bytes(self._buffer[:size])
        del self._buffer[: size + CRC_BYTES]
        if command in (ENCODER_1, ENCODER_2):
            data = data[:4]  # then flags that a difference of counters does not need
        self._said[command] = int.from_bytes(data, "big", signed=command in (ENCODER_1, ENCODER_2))
        return self._report(now_ns) if command == ENCODER_2 else None

    def _report(self, now_ns: int) -> Feedback | None:
        """None without the other wheel or the status: who does not say that it is well is not driven."""
        said, self._said = self._said, {}
        if ENCODER_1 not in said or STATUS not in said:
            return None
        counted = self._counters.take((said[ENCODER_1], said[ENCODER_2]), now_ns)
        if counted is None:
            self._garbage_bytes += self._sizes[ENCODER_1] + self._sizes[ENCODER_2] + 2 * CRC_BYTES
            return None
        if counted.restarted:
            return Feedback(now_ns, rebooted=True)
        battery_v = said[BATTERY] / 10.0 if BATTERY in said else None
        return Feedback(now_ns, counted.wheels_mps, battery_v=battery_v, travel_m=counted.travel_m, hazards=self._hazards(said[STATUS]))

    def _hazards(self, status: int) -> Hazard:
        bits = self._bits
        self._unknown_statuses += bool(status & ~(bits.over_current | bits.tripped | bits.harmless))
        over_current = Hazard.OVER_CURRENT if status & bits.over_current else NO_HAZARD
        return over_current | (Hazard.TRIPPED if status & bits.tripped else NO_HAZARD)
