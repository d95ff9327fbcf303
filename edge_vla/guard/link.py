"""The two datagrams between worker and guard: fixed, little-endian, CRC-32 at the end. Knows neither sockets nor what a value means."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from edge_vla.errors import EdgeVLAError
from edge_vla.guard.state import FaultCode, GuardState, Refusal, StopCause
from edge_vla.guard.types import NO_HAZARD, STILL, Hazard, Pose, Twist

VERSION = 2  # 2: sideways speeds and hazards in the status
COMMAND_MAGIC = b"EVGC"
STATUS_MAGIC = b"EVGS"
MAX_POSES = 16
HAS_CLEAR = 1  # command flag
HAS_MEASURED, HAS_BATTERY, IS_STILL, IS_HELD = 1, 2, 4, 8  # status flags
HAZARDS = 0x1F  # every bit of Hazard

HEAD = struct.Struct("<4sH")  # magic, version
# kind, flags, session, seq, vx, vy, wz, t_issue, ttl, t_capture, deadline, max_turn, max_travel, clear, fault_id
COMMAND = struct.Struct("<4sHBBQQdddqIqqdddI")
# state, fault, cause, refusal, flags, hazards, n_poses, session, t, fault_id, last_seq, applied x y w, measured x y w, battery
STATUS = struct.Struct("<4sHBBBBBBBQqIQddddddd")
POSE = struct.Struct("<qddd")
CRC = struct.Struct("<I")


class Kind(IntEnum):
    """What a worker may say."""

    COMMAND = 1
    ARM = 2
    DISARM = 3
    STOP = 4
    RESET = 5
    BYE = 6
    FAULT = 7  # the worker's own: its engine or camera failed


class Count(IntEnum):
    """What the guard counts, in the order of the datagram."""

    CLAMPS = 0
    SATURATIONS = 1
    REJECT_MALFORMED = 2
    REJECT_VERSION = 3
    REJECT_CRC = 4
    REJECT_SESSION = 5
    REJECT_SEQ = 6
    REJECT_NOT_FINITE = 7
    REJECT_NOT_ARMED = 8
    REJECT_LIFETIME = 9
    REJECT_EVIDENCE = 10
    REJECT_RANGE = 11
    REJECT_BASE = 12
    RENEWALS = 13
    TTL_EXPIRIES = 14
    EVIDENCE_EXPIRIES = 15
    BUDGET_STOPS = 16
    SOFT_STOPS = 17
    FAULTS = 18
    REFUSALS = 19
    COMMANDS = 20
    FRAMES_WRITTEN = 21
    WRITES_SKIPPED = 22
    INITS = 23
    FEEDBACKS = 24
    GARBAGE_BYTES = 25
    LATE_TICKS = 26


COUNTS = struct.Struct(f"<{len(Count)}I")
COUNT_MAX = 0xFFFFFFFF
STATUS_BYTES = STATUS.size + MAX_POSES * POSE.size + COUNTS.size + CRC.size


class Refused(EdgeVLAError):
    """A datagram or command the guard does not take; `count` is where that is counted."""

    def __init__(self, count: Count, message: str) -> None:
        super().__init__(message)
        self.count = count


@dataclass(frozen=True, slots=True)
class Command:
    """One thing the worker says. Only COMMAND uses the velocities and lifetimes, only RESET the fault id."""

    session: int
    seq: int
    kind: Kind = Kind.COMMAND
    twist: Twist = STILL
    t_issue_ns: int = 0
    ttl_ms: int = 0
    t_capture_ns: int = 0
    evidence_deadline_ns: int = 0
    max_turn_rad: float = 0.0
    max_travel_m: float = 0.0
    clear_m: float | None = None  # clear distance ahead at t_capture; None: nobody knows
    fault_id: int = 0

    def pack(self) -> bytes:
        """The datagram. Raises struct.error for what does not fit its field."""
        flags = 0 if self.clear_m is None else HAS_CLEAR
        return _seal(
            COMMAND.pack(
                COMMAND_MAGIC, VERSION, self.kind, flags, self.session, self.seq,
                self.twist.linear_x, self.twist.linear_y, self.twist.angular_z, self.t_issue_ns, self.ttl_ms,
                self.t_capture_ns, self.evidence_deadline_ns, self.max_turn_rad, self.max_travel_m,
                self.clear_m if self.clear_m is not None else 0.0, self.fault_id,
            )
        )  # fmt: skip

    @staticmethod
    def unpack(data: bytes) -> Command:
        """The command in a datagram. Raises Refused; values are not judged here, so a NaN passes."""
        _check_seal(data, COMMAND_MAGIC, COMMAND.size + CRC.size)
        _, _, kind, flags, session, seq, vx, vy, wz, issue, ttl, capture, deadline, turn, travel, clear, fault = COMMAND.unpack_from(data)
        if kind not in Kind._value2member_map_ or flags & ~HAS_CLEAR:
            raise Refused(Count.REJECT_MALFORMED, f"kind {kind} with flags {flags:#x}: want kind 1..{len(Kind)}, flags 0 or 1")
        clear_m = clear if flags & HAS_CLEAR else None
        return Command(session, seq, Kind(kind), Twist(vx, vy, wz), issue, ttl, capture, deadline, turn, travel, clear_m, fault)


@dataclass(frozen=True, slots=True)
class Status:
    """What the guard says every tick. `counts` is indexed by Count."""

    session: int
    t_ns: int
    state: GuardState
    fault: FaultCode = FaultCode.NONE
    fault_id: int = 0
    cause: StopCause = StopCause.NONE
    refusal: Refusal = Refusal.NONE
    last_seq: int = 0
    applied: Twist = STILL
    measured: Twist | None = None
    battery_v: float | None = None
    still: bool = False  # zero is commanded and the wheels confirm it
    held: bool = False  # the motion budget of the current evidence is used up: waiting for the next look
    hazards: Hazard = NO_HAZARD  # as the base reports them now
    poses: tuple[Pose, ...] = ()  # the newest, oldest first
    counts: tuple[int, ...] = (0,) * len(Count)

    @property
    def tally(self) -> dict[str, int]:
        """The counters that are not zero, by lower-case name."""
        return {count.name.lower(): n for count, n in zip(Count, self.counts, strict=True) if n}

    def pack(self) -> bytes:
        """The datagram, always STATUS_BYTES long."""
        flags = IS_STILL * self.still | IS_HELD * self.held
        flags |= HAS_MEASURED * (self.measured is not None) | HAS_BATTERY * (self.battery_v is not None)
        measured, poses = self.measured or STILL, self.poses[-MAX_POSES:]
        head = STATUS.pack(
            STATUS_MAGIC, VERSION, self.state, self.fault, self.cause, self.refusal, flags, self.hazards.value, len(poses),
            self.session, self.t_ns, self.fault_id, self.last_seq, *_axes(self.applied), *_axes(measured), self.battery_v or 0.0,
        )  # fmt: skip
        body = b"".join(POSE.pack(p.t_ns, p.x_m, p.y_m, p.yaw_rad) for p in poses)
        return _seal(head + body.ljust(MAX_POSES * POSE.size, b"\0") + COUNTS.pack(*self.counts))

    @staticmethod
    def unpack(data: bytes) -> Status:
        """The status in a datagram. Raises Refused."""
        _check_seal(data, STATUS_MAGIC, STATUS_BYTES)
        _, _, state, fault, cause, refusal, flags, hazards, n_poses, *rest = STATUS.unpack_from(data)
        session, t_ns, fault_id, seq, *speeds, battery = rest
        if n_poses > MAX_POSES or hazards & ~HAZARDS:
            raise Refused(Count.REJECT_MALFORMED, f"{n_poses} poses, hazards {hazards:#x}: want at most {MAX_POSES}, {HAZARDS:#x}")
        try:
            codes = GuardState(state), FaultCode(fault), StopCause(cause), Refusal(refusal)
        except ValueError as err:
            raise Refused(Count.REJECT_MALFORMED, f"status: {err}") from err
        poses = tuple(Pose(*POSE.unpack_from(data, STATUS.size + i * POSE.size)) for i in range(n_poses))
        return Status(
            session=session, t_ns=t_ns, state=codes[0], fault=codes[1], fault_id=fault_id, cause=codes[2], refusal=codes[3],
            last_seq=seq, applied=Twist(*speeds[:3]), measured=Twist(*speeds[3:]) if flags & HAS_MEASURED else None,
            battery_v=battery if flags & HAS_BATTERY else None, still=bool(flags & IS_STILL), held=bool(flags & IS_HELD),
            hazards=Hazard(hazards), poses=poses,
            counts=COUNTS.unpack_from(data, STATUS.size + MAX_POSES * POSE.size),
        )  # fmt: skip


class Gate:
    """Admits each command of one session once, in order. A STOP is admitted whatever its seq: it can only stop."""

    def __init__(self, session: int) -> None:
        self.session = session
        self.last_seq = 0

    def admit(self, data: bytes) -> Command:
        """The command in `data`. Raises Refused with the reason."""
        command = Command.unpack(data)
        if command.session != self.session:
            raise Refused(Count.REJECT_SESSION, f"session {command.session}: want {self.session}")
        if command.seq <= self.last_seq and command.kind is not Kind.STOP:
            raise Refused(Count.REJECT_SEQ, f"seq {command.seq}: want more than {self.last_seq}")
        self.last_seq = max(self.last_seq, command.seq)
        return command


def pack_counts(counts: Sequence[int]) -> tuple[int, ...]:
    """Counters as the datagram holds them: 32 bits, sticking at the top rather than wrapping."""
    if max(counts) <= COUNT_MAX:  # the one look instead of 27 takes a tenth off a tick
        return tuple(counts)
    return tuple(min(n, COUNT_MAX) for n in counts)


def _axes(twist: Twist) -> tuple[float, float, float]:
    return twist.linear_x, twist.linear_y, twist.angular_z


def _seal(body: bytes) -> bytes:
    return body + CRC.pack(zlib.crc32(body))


def _check_seal(data: bytes, magic: bytes, size: int) -> None:
    """Raise Refused unless magic, version, length and CRC are right, judged in this order so that the reason is the useful one."""
    if len(data) < HEAD.size or data[:4] != magic:
        raise Refused(Count.REJECT_MALFORMED, f"{len(data)} bytes starting {data[:4]!r}: want magic {magic!r}")
    version = HEAD.unpack_from(data)[1]
    if version != VERSION:
        raise Refused(Count.REJECT_VERSION, f"link version {version}: this guard speaks {VERSION}")
    if len(data) != size:
        raise Refused(Count.REJECT_MALFORMED, f"{len(data)} bytes: want {size}")
    if CRC.unpack_from(data, size - CRC.size)[0] != zlib.crc32(data[: -CRC.size]):
        raise Refused(Count.REJECT_CRC, "CRC-32 does not match")
