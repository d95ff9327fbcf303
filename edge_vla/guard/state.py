"""The guard's state machine, frozen: every method returns the next machine. Knows nothing about bytes; time comes in as `now_ns`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

RESET_QUIET_NS = 500_000_000  # the trigger must have been inactive this long
SETTLE_NS = 1_000_000_000  # a soft stop's cause must have been gone this long
SOFT_STOP_WINDOW_NS = 10_000_000_000
SOFT_STOPS_TO_LATCH = 3


class GuardState(IntEnum):
    """What the guard is doing. A non-zero frame is written only on entering MOVING, in it, and in the ramp of SOFT_STOP."""

    BOOT = 0
    DISARMED = 1
    ARMED_IDLE = 2
    MOVING = 3
    SOFT_STOP = 4
    FAULT_LATCHED = 5
    ESTOP_LATCHED = 6


LATCHED = frozenset({GuardState.FAULT_LATCHED, GuardState.ESTOP_LATCHED})
ARMED = frozenset({GuardState.ARMED_IDLE, GuardState.MOVING, GuardState.SOFT_STOP})


class FaultCode(IntEnum):
    """Why the guard latched."""

    NONE = 0
    OPERATOR_STOP = 1
    WORKER_DEAD = 2
    WORKER_STOPPED = 3
    PORT_LOST = 4
    WRITE_STALLED = 5
    FEEDBACK_GAP = 6
    FEEDBACK_CONTRADICTS = 7
    BASE_REBOOT = 8
    TICK_OVERRUN = 9
    SOFT_STOPS = 10
    INVALID_COMMANDS = 11
    SELF_CHECK = 12
    TERMINATED = 13
    WORKER_FAULT = 14
    BUMPER = 15
    CLIFF = 16
    WHEEL_DROP = 17
    OVER_CURRENT = 18
    BASE_TRIPPED = 19
    FEEDBACK_FROZEN = 20
    LOW_BATTERY = 21


class StopCause(IntEnum):
    """Why the guard made its last soft stop."""

    NONE = 0
    TTL = 1
    EVIDENCE = 2
    INVALID = 3
    BATTERY = 4
    OVER_CURRENT = 5
    DEADMAN = 6


class Refusal(IntEnum):
    """Why the last ARM or RESET was refused."""

    NONE = 0
    WRONG_STATE = 1
    NOT_STILL = 2
    NO_FEEDBACK = 3
    VELOCITY_REQUESTED = 4
    WRONG_FAULT_ID = 5
    TRIGGER_RECENT = 6
    LOW_BATTERY = 7
    HAZARD = 8
    DEADMAN = 9


@dataclass(frozen=True, slots=True)
class Machine:
    """One moment of the state machine. A reset never arms, arming never moves, a latch never moves."""

    state: GuardState = GuardState.BOOT
    fault: FaultCode = FaultCode.NONE
    fault_id: int = 0  # counts latches; a reset must name the current one
    trigger_ns: int = 0  # when a trigger of the latch was last seen active
    cause: StopCause = StopCause.NONE
    soft_stops_ns: tuple[int, ...] = ()  # within the last SOFT_STOP_WINDOW_NS
    clear_since_ns: int | None = None  # since when a soft stop's cause has been gone

    def ready(self) -> Machine:
        """The base answered and stands still."""
        return replace(self, state=GuardState.DISARMED) if self.state is GuardState.BOOT else self

    def arm(self) -> Machine:
        """The conditions of arming are the caller's to check; the state is checked here."""
        return replace(self, state=GuardState.ARMED_IDLE) if self.state is GuardState.DISARMED else self

    def disarm(self) -> Machine:
        return replace(self, state=GuardState.DISARMED, clear_since_ns=None) if self.state in ARMED else self

    def drive(self, *, moving: bool) -> Machine:
        """ARMED_IDLE and MOVING follow what is being driven; no other state is left this way."""
        if self.state not in (GuardState.ARMED_IDLE, GuardState.MOVING):
            return self
        state = GuardState.MOVING if moving else GuardState.ARMED_IDLE
        return self if state is self.state else replace(self, state=state)

    def soft_stop(self, now_ns: int, cause: StopCause) -> Machine:
        """A controlled stop that ends by itself; the third within ten seconds latches."""
        if self.state is not GuardState.MOVING:
            return self
        recent = (*(t for t in self.soft_stops_ns if now_ns - t < SOFT_STOP_WINDOW_NS), now_ns)
        stopped = replace(self, state=GuardState.SOFT_STOP, cause=cause, soft_stops_ns=recent, clear_since_ns=None)
        return stopped.latch(now_ns, FaultCode.SOFT_STOPS) if len(recent) >= SOFT_STOPS_TO_LATCH else stopped

    def settle(self, now_ns: int, *, clear: bool, still: bool) -> Machine:
        """SOFT_STOP ends once the wheels stand and the cause has been gone for a second on end."""
        if self.state is not GuardState.SOFT_STOP:
            return self
        if not (clear and still):
            return self if self.clear_since_ns is None else replace(self, clear_since_ns=None)
        if self.clear_since_ns is None:
            return replace(self, clear_since_ns=now_ns)
        if now_ns - self.clear_since_ns < SETTLE_NS:
            return self
        return replace(self, state=GuardState.ARMED_IDLE, clear_since_ns=None)

    def latch(self, now_ns: int, fault: FaultCode) -> Machine:
        """Into a latched state, or, latched already, keep the first fault and note that a trigger is still active."""
        if self.state is GuardState.ESTOP_LATCHED or (self.state in LATCHED and fault is not FaultCode.OPERATOR_STOP):
            return replace(self, trigger_ns=now_ns)
        state = GuardState.ESTOP_LATCHED if fault is FaultCode.OPERATOR_STOP else GuardState.FAULT_LATCHED
        return replace(self, state=state, fault=fault, fault_id=self.fault_id + 1, trigger_ns=now_ns, clear_since_ns=None)

    def refuse_reset(self, now_ns: int, fault_id: int, *, still: bool) -> Refusal:
        """Why a reset would be refused now, or NONE."""
        if self.state not in LATCHED:
            return Refusal.WRONG_STATE
        if fault_id != self.fault_id:
            return Refusal.WRONG_FAULT_ID
        if now_ns - self.trigger_ns < RESET_QUIET_NS:
            return Refusal.TRIGGER_RECENT
        return Refusal.NONE if still else Refusal.NOT_STILL

    def reset(self, now_ns: int, fault_id: int, *, still: bool) -> Machine:
        """Leave a latch for DISARMED when nothing speaks against it."""
        if self.refuse_reset(now_ns, fault_id, still=still) is not Refusal.NONE:
            return self
        return replace(self, state=GuardState.DISARMED, fault=FaultCode.NONE, cause=StopCause.NONE, soft_stops_ns=())
