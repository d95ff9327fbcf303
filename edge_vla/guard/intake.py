"""What the worker says, judged in the order of DESIGN §4: well-formed, finite, armed, lifetimes, range, base. Moves nothing by itself."""

from __future__ import annotations

from collections.abc import Callable

from edge_vla.errors import UnsafeCommand
from edge_vla.guard.control import Control
from edge_vla.guard.lifetimes import TTL_CEILING_MS, Lifetimes, check_numbers
from edge_vla.guard.limits import Limits, check_finite, check_range, clamp_curvature
from edge_vla.guard.link import Command, Count, Gate, Kind, Refused
from edge_vla.guard.state import ARMED, FaultCode, GuardState, Refusal, StopCause
from edge_vla.guard.types import STILL, Base
from edge_vla.guard.watch import Watches
from edge_vla.guard.wheels import saturate

INVALID = frozenset({Count.REJECT_NOT_FINITE, Count.REJECT_RANGE, Count.REJECT_BASE})  # a broken parser, not a late datagram
INVALID_WINDOW_NS = 10_000_000_000
INVALID_TO_LATCH = 3


class Intake:
    """Admits commands into the lifetimes and orders into the state machine, or counts why not."""

    def __init__(
        self, session: int, base: Base, limits: Limits, control: Control, watches: Watches
    ) -> None:  # fmt: skip
        self.lifetimes = Lifetimes(limits)
        self.gate = Gate(session)
        self.refusal = Refusal.NONE
        self.was_reset = False  # in this tick: a base that stopped by itself has to be told to start anew
        self._base = base
        self._limits = limits
        self._control = control
        self._feedback, self._hazards, self._deadman = watches.feedback, watches.hazards, watches.deadman
        self._wish_ends_ns = 0  # until when somebody wants to move, obeyed or not: arming waits for it
        self._invalid_ns: list[int] = []
        self._own_stop = False  # the latch was made by the worker's own STOP

    def hear(self, now_ns: int, packet: bytes) -> None:
        """Take one datagram. A value no parser should produce also stops the robot, and the third such latches."""
        try:
            command = self.gate.admit(packet)
            if command.kind is Kind.COMMAND:
                self._take_command(now_ns, command)
            else:
                self._take_order(now_ns, command)
        except Refused as refused:
            self._control.reject(now_ns, refused)
            if refused.count in INVALID and self._control.armed:
                self._stop_nonsense(now_ns)

    def _take_command(self, now_ns: int, command: Command) -> None:
        _refuse_as(Count.REJECT_NOT_FINITE, lambda: check_finite(command.twist))
        check_numbers(command)
        still = command.twist == STILL
        self._wish_ends_ns = 0 if still else now_ns + min(command.ttl_ms, TTL_CEILING_MS) * 1_000_000
        if not self._control.armed:
            raise Refused(Count.REJECT_NOT_ARMED, f"in {self._control.state.name}")
        self.lifetimes.check(command, now_ns)
        _refuse_as(Count.REJECT_RANGE, lambda: check_range(command.twist, self._limits))
        _refuse_as(Count.REJECT_BASE, lambda: self._try_base(command))
        self._control.counts[Count.RENEWALS] += self.lifetimes.adopt(command)
        self._control.counts[Count.COMMANDS] += 1

    def _try_base(self, command: Command) -> None:
        traits = self._base.traits
        clamped = clamp_curvature(command.twist, self._limits)
        self._base.encode(saturate(clamped, traits.drive, min(self._limits.max_wheel_mps, traits.max_wheel_mps)))

    def _stop_nonsense(self, now_ns: int) -> None:
        self.lifetimes.drop()
        self._invalid_ns = [t for t in self._invalid_ns if now_ns - t < INVALID_WINDOW_NS] + [now_ns]
        if len(self._invalid_ns) >= INVALID_TO_LATCH:
            self._control.latch(now_ns, FaultCode.INVALID_COMMANDS, f"{len(self._invalid_ns)} within 10 s")
        else:
            self._control.soft_stop(now_ns, StopCause.INVALID)

    def _take_order(self, now_ns: int, order: Command) -> None:
        match order.kind:
            case Kind.STOP:
                latches = self._control.machine.fault_id
                self._control.latch(now_ns, FaultCode.OPERATOR_STOP, "the worker said STOP")
                self._own_stop = self._own_stop or self._control.machine.fault_id != latches
            case Kind.FAULT:
                self._control.latch(now_ns, FaultCode.WORKER_FAULT, "the worker reported a fault of its own")
            case Kind.BYE:
                self._control.leave(now_ns)
                self._control.own_end = self._own_stop and self._control.machine.fault is FaultCode.OPERATOR_STOP
            case Kind.DISARM:
                self.lifetimes.drop()
                self._control.machine = self._control.machine.disarm()
            case Kind.RESET:
                self._reset(now_ns, order.fault_id)
            case _:
                self._arm(now_ns)

    def _arm(self, now_ns: int) -> None:
        self._answer(now_ns, "arm", self._refuse_arm(now_ns))
        if self.refusal is Refusal.NONE and self._control.state is GuardState.DISARMED:
            self._control.machine = self._control.machine.arm()
            self._invalid_ns.clear()

    def _refuse_arm(self, now_ns: int) -> Refusal:
        if self._control.leaving_ns is not None or self._control.state not in ARMED | {GuardState.DISARMED}:
            return Refusal.WRONG_STATE
        if self._control.armed:
            return Refusal.NONE  # already: asking again changes nothing
        if not self._feedback.still(now_ns):  # which old reports cannot say; without new ones it is latched anyway
            return Refusal.NOT_STILL
        if self._feedback.battery_low(now_ns):
            return Refusal.LOW_BATTERY
        if self._hazards.forbids_arming:
            return Refusal.HAZARD
        if self._deadman is not None and self._deadman.released(now_ns):
            return Refusal.DEADMAN
        return Refusal.VELOCITY_REQUESTED if now_ns <= self._wish_ends_ns else Refusal.NONE

    def _reset(self, now_ns: int, fault_id: int) -> None:
        still = self._feedback.still(now_ns)
        machine = self._control.machine
        leaving = self._control.leaving_ns is not None
        self._answer(now_ns, "reset", Refusal.WRONG_STATE if leaving else machine.refuse_reset(now_ns, fault_id, still=still))
        if self.refusal is Refusal.NONE:
            self._control.machine = machine.reset(now_ns, fault_id, still=still)
            self._own_stop = False
            self.was_reset = True

    def _answer(self, now_ns: int, order: str, refusal: Refusal) -> None:
        self.refusal = refusal
        if refusal is not Refusal.NONE:
            self._control.counts[Count.REFUSALS] += 1
            self._control.note(now_ns, "refused", f"{order}: {refusal.name}")


def _refuse_as(count: Count, check: Callable[[], None]) -> None:
    """Run a check and turn its UnsafeCommand into a counted refusal."""
    try:
        check()
    except UnsafeCommand as err:
        raise Refused(count, str(err)) from err
