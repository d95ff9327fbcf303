"""The state machine with its counters and its diary: the one place where stops and latches are entered. Knows no frames and no limits."""

from __future__ import annotations

from dataclasses import dataclass

from edge_vla.guard.link import Count, Refused
from edge_vla.guard.state import ARMED, LATCHED, FaultCode, GuardState, Machine, StopCause

REJECT_NOTE_NS = 1_000_000_000  # a worker that is wrong at 30 Hz gets one line a second
CAUSE_COUNTS = {StopCause.TTL: Count.TTL_EXPIRIES, StopCause.EVIDENCE: Count.EVIDENCE_EXPIRIES}


@dataclass(frozen=True, slots=True)
class Event:
    """Something worth a line in the log."""

    t_ns: int
    name: str
    detail: str


class Control:
    """Where the guard stands. `onset` is True in the tick that entered a latch or began to leave."""

    def __init__(self, machine: Machine | None = None) -> None:
        """`machine`: where an earlier guard of this robot stood."""
        self.machine = machine or Machine()
        self.counts = [0] * len(Count)
        self.leaving_ns: int | None = None
        self.onset = False
        self.own_end = False  # the latch is the worker's own way to end a run, not something that went wrong
        self._events: list[Event] = []
        self._noted_ns: dict[Count, int] = {}
        self._logged = GuardState.BOOT

    @property
    def state(self) -> GuardState:
        return self.machine.state

    @property
    def armed(self) -> bool:
        return self.machine.state in ARMED and self.leaving_ns is None

    @property
    def latched(self) -> bool:
        """Stopped for good unless somebody resets, or on the way out."""
        return self.machine.state in LATCHED or self.leaving_ns is not None

    def note(self, now_ns: int, name: str, detail: str) -> None:
        self._events.append(Event(now_ns, name, detail))

    def reject(self, now_ns: int, refused: Refused) -> None:
        """Count a refused datagram and now and then say why."""
        self.counts[refused.count] += 1
        if now_ns - self._noted_ns.get(refused.count, -REJECT_NOTE_NS) >= REJECT_NOTE_NS:
            self._noted_ns[refused.count] = now_ns
            self.note(now_ns, refused.count.name.lower(), str(refused))

    def soft_stop(self, now_ns: int, cause: StopCause) -> None:
        """Enter SOFT_STOP from MOVING; the third in ten seconds becomes a latch."""
        if self.machine.state is not GuardState.MOVING:
            return
        self.counts[Count.SOFT_STOPS] += 1
        if cause in CAUSE_COUNTS:
            self.counts[CAUSE_COUNTS[cause]] += 1
        self.note(now_ns, "soft_stop", cause.name)
        self._enter(now_ns, self.machine.soft_stop(now_ns, cause), f"last one {cause.name}")

    def latch(self, now_ns: int, fault: FaultCode, why: str) -> None:
        self._enter(now_ns, self.machine.latch(now_ns, fault), why)

    def _enter(self, now_ns: int, machine: Machine, why: str) -> None:
        if machine.fault_id != self.machine.fault_id:
            self.own_end = False
            self.counts[Count.FAULTS] += 1
            self.onset = True
            self.note(now_ns, "fault", f"{machine.fault_id} {machine.fault.name}: {why}")
        self.machine = machine

    def leave(self, now_ns: int) -> None:
        """Begin to end: zeros until they are confirmed."""
        if self.leaving_ns is None:
            self.leaving_ns = now_ns
            self.onset = True
            self.machine = self.machine.disarm()
            self.note(now_ns, "leaving", self.machine.state.name)

    def begin_tick(self) -> None:
        self._events = []
        self.onset = False

    def end_tick(self, now_ns: int) -> tuple[Event, ...]:
        """The tick's diary, with the change of state if there was one."""
        if self.machine.state is not self._logged:
            self.note(now_ns, "state", f"{self._logged.name} -> {self.machine.state.name}")
            self._logged = self.machine.state
        return tuple(self._events)
