"""iRobot Create 2 and the Roombas that speak as it does: opcodes one way, streamed packets the other. Knows no port, no time.

It has no command timeout: it drives on when the host dies, so a robot of this kind needs a switch in reach. It is driven in Safe mode only,
never in Full. In Safe it stops by itself at an edge, with a wheel in the air or on a charger, and falls back to Passive: that is TRIPPED.
Before it has been seen in Safe it is not configured, and its reports are none: whoever hears nothing sends the configuration again.

Unverified, no source at hand says it: that zero bytes resynchronise it, what the motors do between 128 and 131, the distance between its
wheels, and that every kind prints its name at a boot (a stream that stops is what they have in common). Its controller turns speeds into
steps of about 28.5 mm/s. Its encoders do not know the direction and take the commanded one: a wheel that turns the other way is not seen.
A robot that sleeps hears nothing: its button wakes it.
"""

from __future__ import annotations

import math
import re
import struct
from collections import deque

from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.limits import check_finite
from edge_vla.guard.types import NO_HAZARD, BaseTraits, Feedback, Hazard, Speeds, Twist
from edge_vla.guard.wheels import Differential, quanta

TRACK_M = 0.235  # widely used; unverified
VENDOR_MAX_WHEEL_MPS = 0.5
QUANTUM_MPS = 1e-3  # of a frame; the wheels' own is coarser
COUNT_M = math.pi * 0.072 / 508.8
BEAT_NS = 15_000_000  # between two reports
FEEDBACK_MS = 15
START, SAFE, DRIVE_DIRECT, STREAM = 128, 131, 145, 148
PACKETS = bytes((7, 9, 10, 11, 12, 14, 22, 35, 43, 44))  # bumps and drops, four edges, currents, mV, mode, counters; 26 bytes a beat of 172
# Safe comes last: what follows a change of mode within 20 ms an older robot may not hear. One write, so that nothing drives in between.
INIT = bytes((START, STREAM, len(PACKETS), *PACKETS, SAFE))
RESYNC = bytes(len(PACKETS) + 1)  # data for whatever of ours is torn: as a speed it is zero; beyond that opcodes that there are not
REPORT = struct.Struct(">2x" + "xB" * 6 + "xHxBxhxhx")  # after header and length, each value behind its packet's number
HEAD = bytes((19, REPORT.size - 3))
# The stream that was asked for and nothing else: one checksum byte alone would not tell it from chance. Or the name printed at a boot.
WORD = re.compile(
    re.escape(HEAD) + rb"\x07.\x09.\x0a.\x0b.\x0c.\x0e.\x16..\x23[\x00-\x03]\x2b..\x2c...|(?P<boot>Roomba by iRobot!)", re.DOTALL
)
PASSIVE_MODE, SAFE_MODE, FULL_MODE = 1, 2, 3  # 0 is off
BUMPS, DROPS = 0x03, 0x0C
WHEEL_CURRENTS = 0x1C  # sources disagree whether wheels are bits 2 and 3 or 3 and 4; the brushes in the rest never turn
PLAUSIBLE_MPS = 3.0
COUNTER_RANGE = 1 << 16
WINDOW_BEATS = 10  # one count in one beat is 30 mm/s: a speed is the mean of that many
SILENCE_NS = 500_000_000  # longer than any guard lets a base drive unseen: counters may have started anew
LOST_NS = 100_000_000  # later than that, and reports have been lost
FOLLOW = 16  # beats until the difference to the host's clock is made up


class Create2:
    """The codec of one robot. `track_m` is the real distance between the wheels: the robot is only told wheel speeds."""

    def __init__(self, track_m: float = TRACK_M, max_wheel_mps: float = VENDOR_MAX_WHEEL_MPS) -> None:
        for name, value, most in (("track_m", track_m, 1.0), ("max_wheel_mps", max_wheel_mps, VENDOR_MAX_WHEEL_MPS)):
            if not (math.isfinite(value) and 0.0 < value <= most):
                raise ConfigError(f"create2 {name}={value}: want more than 0 and at most {most}")
        self._traits = BaseTraits(
            Differential(track_m), max_wheel_mps, QUANTUM_MPS, FEEDBACK_MS, None, resync=RESYNC, travel_quantum_m=COUNT_M
        )
        self._most_quanta = quanta(max_wheel_mps, QUANTUM_MPS)
        self._rest = b""
        self._garbage_bytes = 0
        self._counters = BeatCounters()
        self._mode = 0
        self._configured = False  # seen in Safe since the configuration was sent

    @property
    def traits(self) -> BaseTraits:
        return self._traits

    @property
    def garbage_bytes(self) -> int:
        return self._garbage_bytes

    def init_frames(self) -> list[bytes]:
        """Start, the stream, Safe. All of it is lost at a reboot."""
        return [INIT]

    def poll_frames(self) -> list[bytes]:
        return []

    def restart_frames(self) -> list[bytes]:
        """Safe again, by way of Passive only where its interface is off; where it is safe, nothing."""
        if self._mode == SAFE_MODE:
            return []
        return [bytes((SAFE,))] if self._mode in (PASSIVE_MODE, FULL_MODE) else [INIT]

    def sent(self, frame: bytes, now_ns: int) -> None:  # noqa: ARG002 - the stream answers nothing
        """The configuration leads through Passive, which is no trip then."""
        if frame == INIT:
            self._configured = False

    def encode(self, twist: Twist) -> bytes:
        """One drive-direct command in mm/s, right wheel first, cut towards zero. Raises UnsafeCommand."""
        check_finite(twist)
        if twist.linear_y != 0.0:
            raise UnsafeCommand(f"linear_y={twist.linear_y} m/s: a differential base cannot move sideways")
        wheels = self._traits.drive.wheels(twist)
        left, right = (quanta(wheel, QUANTUM_MPS) for wheel in wheels)
        if max(abs(left), abs(right)) > self._most_quanta:
            raise UnsafeCommand(f"wheels {wheels} m/s: want at most {self._traits.max_wheel_mps}")
        return struct.pack(">B2h", DRIVE_DIRECT, right, left)

    def decode_command(self, frame: bytes) -> Twist:
        """The twist of a drive-direct command that `encode` can write. Raises UnsafeCommand for anything else."""
        if len(frame) != 5 or frame[0] != DRIVE_DIRECT:
            raise UnsafeCommand(f"{frame.hex(' ')!r} is no drive-direct command")
        right, left = struct.unpack_from(">2h", frame, 1)
        if max(abs(left), abs(right)) > self._most_quanta:
            raise UnsafeCommand(f"{frame.hex(' ')!r}: want at most {self._most_quanta} mm/s")
        return self._traits.drive.twist((left * QUANTUM_MPS, right * QUANTUM_MPS))

    def feed(self, data: bytes, now_ns: int) -> list[Feedback]:
        """Reports in `data`, whatever it is split by. A stream of other packets, and what is printed at a boot, is garbage."""
        text, at, found = self._rest + data, 0, list[Feedback]()
        while (word := WORD.search(text, at)) is not None:
            whole, boot = word.group(), word["boot"] is not None
            self._garbage_bytes += word.start() - at
            if boot or sum(whole) & 0xFF == 0:  # of all bytes, header too: the Create 1 leaves that out
                at = word.end()
                report = self._reboot(now_ns) if boot else self._read(whole, now_ns)
                found += [] if report is None else [report]
            else:
                at = word.start() + 1
                self._garbage_bytes += 1
        keep = max(at, len(text) - REPORT.size + 1)
        self._garbage_bytes += keep - at
        self._rest = text[keep:]
        return found

    def _reboot(self, now_ns: int) -> Feedback:
        self._counters.forget()
        self._configured, self._mode = False, 0
        return Feedback(now_ns, rebooted=True)

    def _read(self, report: bytes, now_ns: int) -> Feedback | None:
        """None for counters no wheel can have come to, and for a robot that is not in Safe yet."""
        bumps, left_edge, front_left_edge, front_right_edge, right_edge, currents, millivolts, mode, left, right = REPORT.unpack(report)
        if not self._counters.take((left, right), now_ns):
            self._garbage_bytes += len(report)
            return None
        self._mode = mode
        self._configured = self._configured or mode == SAFE_MODE
        if not self._configured:
            return None
        edges = left_edge | front_left_edge | front_right_edge | right_edge
        signs = (
            (Hazard.BUMPER, bumps & BUMPS), (Hazard.WHEEL_DROP, bumps & DROPS), (Hazard.CLIFF, edges),
            (Hazard.OVER_CURRENT, currents & WHEEL_CURRENTS), (Hazard.TRIPPED, mode != SAFE_MODE),
        )  # fmt: skip
        hazards = NO_HAZARD
        for hazard, sign in signs:
            hazards |= hazard if sign else NO_HAZARD
        travel_m = self._counters.travel_m
        return Feedback(now_ns, self._counters.speeds_mps(), battery_v=millivolts * 1e-3, travel_m=travel_m, hazards=hazards)


class BeatCounters:
    """Both wheels' counters to ways and speeds by the robot's beat: reports that waited in one buffer are still 15 ms apart.

    The beat follows the host's clock slowly, should it be another than documented.
    """

    def __init__(self) -> None:
        self._heard_ns: int | None = None  # the last report, by the host's clock
        self._t_ns = 0  # the same, by the robot's
        self._counts = (0, 0)
        self._total = (0, 0)
        self._seen: deque[tuple[int, tuple[int, int]]] = deque(maxlen=WINDOW_BEATS + 1)

    @property
    def travel_m(self) -> Speeds:
        return self._total[0] * COUNT_M, self._total[1] * COUNT_M

    def forget(self) -> None:
        """They may start anew: the next report is a first one. Ways that are behind stay."""
        self._heard_ns = None

    def take(self, counts: tuple[int, int], now_ns: int) -> bool:
        """One report's counts; False, and nothing learnt, where no wheel can have come to them."""
        if self._heard_ns is None or now_ns - self._heard_ns > SILENCE_NS:
            self._t_ns, steps = now_ns, (0, 0)
            self._seen.clear()
        else:
            t_ns, steps = self._t_ns + self._beat_ns(now_ns), self._steps(counts)
            if max(map(abs, steps)) * COUNT_M > PLAUSIBLE_MPS * (t_ns - self._t_ns) * 1e-9:
                return False
            self._t_ns = t_ns
        self._heard_ns, self._counts = now_ns, counts
        self._total = (self._total[0] + steps[0], self._total[1] + steps[1])
        self._seen.append((self._t_ns, self._total))
        return True

    def speeds_mps(self) -> Speeds | None:
        """Means over the last beats; None for a first report."""
        (then_ns, then), (now_ns, now) = self._seen[0], self._seen[-1]
        if now_ns == then_ns:
            return None
        return tuple((after - before) * COUNT_M / ((now_ns - then_ns) * 1e-9) for after, before in zip(now, then, strict=True))

    def _beat_ns(self, now_ns: int) -> int:
        late_ns = now_ns - self._t_ns - BEAT_NS
        if late_ns > LOST_NS:
            return BEAT_NS + late_ns
        return BEAT_NS + max(late_ns, -BEAT_NS * FOLLOW // 2) // FOLLOW

    def _steps(self, counts: tuple[int, int]) -> tuple[int, int]:
        half = COUNTER_RANGE // 2
        left, right = ((now - then + half) % COUNTER_RANGE - half for now, then in zip(counts, self._counts, strict=True))
        return left, right
