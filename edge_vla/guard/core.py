"""One tick of the guard: datagrams and base bytes in, frames for the base out. Pure: no clock, socket or port, so lockstep runs it too."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_vla.errors import UnsafeCommand
from edge_vla.guard.control import Control, Event
from edge_vla.guard.intake import Intake
from edge_vla.guard.lifetimes import Expiry
from edge_vla.guard.limits import Limits, clamp_curvature, deadband, speed_bound_mps
from edge_vla.guard.link import MAX_POSES, Count, Status, pack_counts
from edge_vla.guard.odometry import Odometry
from edge_vla.guard.ramp import limit_acceleration, limit_jerk
from edge_vla.guard.state import FaultCode, GuardState, Machine, StopCause
from edge_vla.guard.types import STILL, Base, Twist
from edge_vla.guard.watch import DeadmanWatch, FeedbackWatch, HazardWatch, LoopWatch, PortHealth, Watches, Worker
from edge_vla.guard.wheels import saturate
from edge_vla.guard.writer import Writer

LEAVE_NS = 1_000_000_000  # a zero that is not confirmed by then never will be
RAMP_SPARE_NS = 50_000_000  # on top of speed / deceleration, then the ramp is over whatever it says
NO_WATCHDOG_MPS = 0.25  # for a base that nobody stops when this process dies


@dataclass(frozen=True, slots=True)
class GuardOutput:
    """What one tick wants done. Each write is one whole frame; `flush` first throws away what has not left yet."""

    writes: tuple[bytes, ...]
    flush: bool
    status: bytes
    state: GuardState
    events: tuple[Event, ...]
    finished: bool  # the process may end
    still: bool  # zero is commanded and the wheels confirm it


class Guard:
    """Owns the state, the limits and the odometry of one base."""

    def __init__(  # noqa: PLR0913 - each is one setting
        self, base: Base, limits: Limits, session: int, *, tick_hz: int = 50, use_gyro: bool = False, low_battery_v: float | None = None,
        deadman: DeadmanWatch | None = None, machine: Machine | None = None,
    ) -> None:  # fmt: skip
        """`machine`: where an earlier guard of this robot stood. Raises nothing: settings are checked before."""
        self.odometry = Odometry(base.traits, use_gyro=use_gyro)
        self.control = Control(machine)
        self.base = base
        self._limits = limits
        self._session = session
        self._max_wheel_mps = min(limits.max_wheel_mps, base.traits.max_wheel_mps)
        self._feedback = FeedbackWatch(base.traits, low_battery_v)
        self._hazards = HazardWatch()
        self._loop = LoopWatch(tick_hz)
        self._deadman = deadman
        self._intake = Intake(session, base, limits, self.control, Watches(self._feedback, self._hazards, deadman))
        self._writer = Writer(base, self._max_wheel_mps)
        self._ramp_end_ns: int | None = None
        self._rate = STILL  # how fast what is applied changes, per second
        self._rebooted = False  # it said so, and has not reported since

    def tick(  # noqa: PLR0913 - all that a tick may hear of
        self, now_ns: int, packets: list[bytes], received: bytes,
        worker: Worker = Worker.RUNNING, port: PortHealth = PortHealth.OK, *, leave: bool = False, stop: bool = False,
        button: bool | None = None,
    ) -> GuardOutput:  # fmt: skip
        """One tick. `packets` are the worker's datagrams since the last one, oldest first; `leave` asks the guard to stop and end.

        `stop`: somebody besides the worker has asked for one. `button`: the newest word about the deadman's, None for none.
        """
        self.control.begin_tick()
        if stop:
            self.control.latch(now_ns, FaultCode.OPERATOR_STOP, "the STOP line")
        self._loop.tick(now_ns, port)
        self._hear_base(now_ns, received)
        self._judge_worker(now_ns, worker, leave=leave)
        self._judge_operator(now_ns, button)
        self._judge_base(now_ns, port)
        for packet in packets:
            self._intake.hear(now_ns, packet)
        writes = self._write(now_ns, self._decide(now_ns), port)
        return self._report(now_ns, writes, port)

    # -- what is seen

    def _hear_base(self, now_ns: int, received: bytes) -> None:
        for feedback in self.base.feed(received, now_ns):
            if feedback.rebooted:
                self._rebooted = True
                self.odometry.hear(feedback)
                if self.control.state is not GuardState.BOOT:
                    self.control.latch(now_ns, FaultCode.BASE_REBOOT, "the base started anew")
                continue
            if self._rebooted or not self._feedback.answering(now_ns):
                self._writer.init_due()  # first word after a boot or a silence: only now does it hear its configuration
                self._rebooted = False
            self.control.counts[Count.FEEDBACKS] += 1
            self.odometry.hear(feedback)
            self._feedback.hear(feedback)
            self._hazards.hear(feedback)
        self.control.counts[Count.GARBAGE_BYTES] = self.base.garbage_bytes

    def _judge_worker(self, now_ns: int, worker: Worker, *, leave: bool) -> None:
        if self.control.leaving_ns is not None:
            return
        if worker is Worker.STOPPED:
            self.control.latch(now_ns, FaultCode.WORKER_STOPPED, "a signal stopped the worker")
        if worker is Worker.DEAD:
            self.control.latch(now_ns, FaultCode.WORKER_DEAD, "the worker is gone")
        elif leave:
            self.control.latch(now_ns, FaultCode.TERMINATED, "the guard was asked to end")
            self.control.own_end = self.control.machine.fault is FaultCode.TERMINATED
        if leave or worker is Worker.DEAD:
            self.control.leave(now_ns)

    def _judge_operator(self, now_ns: int, button: bool | None) -> None:  # noqa: FBT001 - the word itself
        """Nobody holds the button: a controlled stop, and nothing drives on until somebody does."""
        if self._deadman is not None:
            self._deadman.hear(now_ns, button)
        if self._let_go(now_ns):
            self.control.soft_stop(now_ns, StopCause.DEADMAN)

    def _let_go(self, now_ns: int) -> bool:
        return self._deadman is not None and self._deadman.released(now_ns)

    def _judge_base(self, now_ns: int, port: PortHealth) -> None:
        """Faults are levels: each keeps its latch from being reset for as long as it lasts."""
        armed = self.control.armed
        self.control.counts[Count.LATE_TICKS] += self._loop.late
        fault = self._loop.fault(now_ns, port, armed=armed)
        if fault is not FaultCode.NONE:
            self.control.latch(now_ns, fault, f"port {port.value}, last tick {self._loop.dt_s * 1e3:.0f} ms ago")
        if self.control.state is GuardState.BOOT:
            if self._feedback.still(now_ns):
                self.control.machine = self.control.machine.ready()
        elif not self._feedback.fresh(now_ns):
            self.control.latch(now_ns, FaultCode.FEEDBACK_GAP, f"no feedback for {self._feedback.gap_ns // 1_000_000} ms")
        if not armed:
            self._feedback.forgive()
        elif self._feedback.contradicts():
            self.control.latch(now_ns, FaultCode.FEEDBACK_CONTRADICTS, f"told {self._writer.applied}, saw {self.odometry.measured}")
        elif self._feedback.frozen():
            self.control.latch(now_ns, FaultCode.FEEDBACK_FROZEN, "speeds without counts: the same report again and again")
        self._judge_hazards(now_ns)
        low, current = self._feedback.battery_low(now_ns), self._hazards.over_current(now_ns)
        self._stop_for(now_ns, StopCause.BATTERY, FaultCode.LOW_BATTERY, wrong=low)
        self._stop_for(now_ns, StopCause.OVER_CURRENT, FaultCode.OVER_CURRENT, wrong=current)
        clear = not (low or current or self._let_go(now_ns)) and self._intake.lifetimes.fresh(now_ns)
        self.control.machine = self.control.machine.settle(now_ns, clear=clear, still=self._feedback.still(now_ns))

    def _judge_hazards(self, now_ns: int) -> None:
        """A base that is not known to stand yet has met nothing."""
        faults = self._hazards.faults()
        if self.control.state is not GuardState.BOOT:
            for fault in faults:
                self.control.latch(now_ns, fault, f"the base reports {self._hazards.active}")

    def _stop_for(self, now_ns: int, cause: StopCause, fault: FaultCode, *, wrong: bool) -> None:
        """A controlled stop, and a latch once the wheels stand."""
        if not wrong:
            return
        self.control.soft_stop(now_ns, cause)
        if self.control.state is GuardState.SOFT_STOP and self._feedback.still(now_ns):
            self.control.latch(now_ns, fault, f"{self._feedback.battery_v} V, {self._hazards.active}")

    # -- what is decided

    def _decide(self, now_ns: int) -> Twist:
        """The twist to say now: lifetimes, limits, ramp. Not armed is zero at once, without a ramp."""
        target = self._allowed(now_ns)
        rate, self._rate = self._rate, STILL
        if not self.control.armed:
            return STILL
        if self.control.state is GuardState.SOFT_STOP:
            return self._brake(now_ns)
        self._ramp_end_ns = None
        wanted, self._rate = limit_jerk(self._writer.applied, rate, target, self._loop.dt_s, self._limits)
        return wanted

    def _allowed(self, now_ns: int) -> Twist:
        """The command inside all limits, STILL when something has run out."""
        lifetimes = self._intake.lifetimes
        if not self.control.armed:
            lifetimes.drop()
        if lifetimes.command is None or self.control.state is GuardState.SOFT_STOP or self._let_go(now_ns):
            return STILL
        was_held = lifetimes.held
        expiry = lifetimes.expiry(now_ns, self._writer.applied, self.odometry)
        self.control.counts[Count.BUDGET_STOPS] += lifetimes.held and not was_held
        if expiry in (Expiry.TTL, Expiry.EVIDENCE):
            self.control.soft_stop(now_ns, StopCause.TTL if expiry is Expiry.TTL else StopCause.EVIDENCE)
        return self._limit(now_ns, lifetimes.command.twist) if expiry is Expiry.NOTHING else STILL

    def _limit(self, now_ns: int, twist: Twist) -> Twist:
        """Curvature-preserving clamp, wheel saturation, nothing slower than the base can drive, and only back from what was hit."""
        if self._hazards.retreat_only and not (twist.linear_x < 0.0 and twist.linear_y == 0.0):
            return STILL
        clamped = clamp_curvature(twist, self._limits, self._speed_mps(now_ns, twist))
        target = saturate(clamped, self.base.traits.drive, self._max_wheel_mps)
        self.control.counts[Count.CLAMPS] += clamped != twist
        self.control.counts[Count.SATURATIONS] += target != clamped
        return deadband(target, self._limits)

    def _speed_mps(self, now_ns: int, twist: Twist) -> float:
        """The linear speed of the moment: clear distance bounds it ahead; backwards, sideways, and without any, the robot is blind."""
        clear_m = self._intake.lifetimes.clear_ahead_m(now_ns, self.odometry.poses)
        blind = clear_m is None or twist.linear_x < 0.0 or twist.linear_y != 0.0
        bound = self._limits.blind_mps if blind or clear_m is None else speed_bound_mps(clear_m, self._limits)
        return bound if self.base.traits.watchdog_ms is not None else min(bound, NO_WATCHDOG_MPS)

    def _brake(self, now_ns: int) -> Twist:
        """The ramp of a protective stop, over after the time it may take however the ticks fall."""
        applied = self._writer.applied
        if self._ramp_end_ns is None:
            speed_mps = math.hypot(applied.linear_x, applied.linear_y)
            ramp_s = max(speed_mps / self._limits.dec_mps2, abs(applied.angular_z) / self._limits.dec_radps2)
            self._ramp_end_ns = now_ns + round(ramp_s * 1e9) + RAMP_SPARE_NS
        if now_ns >= self._ramp_end_ns:
            return STILL
        return limit_acceleration(applied, STILL, self._loop.dt_s, self._limits)

    # -- what is said

    def _write(self, now_ns: int, wanted: Twist, port: PortHealth) -> tuple[bytes, ...]:
        """This tick's frames, velocity first: whatever else is due must not delay a stop."""
        try:
            frame, said = self._writer.frame(wanted)
        except UnsafeCommand as err:
            self.control.latch(now_ns, FaultCode.SELF_CHECK, str(err))
            frame, said = self._writer.frame(STILL)
        if self.control.onset:
            self._writer.start_burst()
        if port is PortHealth.LOST:
            return ()
        writes = (
            ()
            if self._writer.silent(now_ns, latched=self.control.latched)
            else self._writer.take(frame, said, port, quiet=self._feedback.quiet(now_ns))
        )
        self.control.counts[Count.FRAMES_WRITTEN] += len(writes)
        self.control.counts[Count.WRITES_SKIPPED] += self._writer.skipped
        if writes:
            self._feedback.commanded(now_ns, said)
        if self.control.onset:
            writes = (self.base.traits.resync, *writes)
        if self._intake.was_reset:
            self._intake.was_reset = False
            writes += tuple(self.base.restart_frames())
        if port is PortHealth.OK:
            settings = self._writer.init_frames(now_ns, answering=self._feedback.answering(now_ns))
            self.control.counts[Count.INITS] += bool(settings)
            writes += (*settings, *self._writer.poll_frames(now_ns))
        return writes

    def _report(self, now_ns: int, writes: tuple[bytes, ...], port: PortHealth) -> GuardOutput:
        self.control.machine = self.control.machine.drive(moving=self._writer.applied != STILL)
        still = self._feedback.still(now_ns) and port is not PortHealth.LOST
        return GuardOutput(
            writes=writes, flush=self.control.onset, status=self._status(now_ns, still=still).pack(), state=self.control.state,
            events=self.control.end_tick(now_ns), finished=self._finished(now_ns, port, still=still), still=still,
        )  # fmt: skip

    def _status(self, now_ns: int, *, still: bool) -> Status:
        machine, intake = self.control.machine, self._intake
        return Status(
            session=self._session, t_ns=now_ns, state=machine.state, fault=machine.fault, fault_id=machine.fault_id, cause=machine.cause,
            refusal=intake.refusal, last_seq=intake.gate.last_seq, applied=self._writer.applied, measured=self.odometry.measured,
            battery_v=self._feedback.battery_v, still=still, held=intake.lifetimes.held, hazards=self._hazards.active,
            poses=self.odometry.poses.recent(MAX_POSES), counts=pack_counts(self.control.counts),
        )  # fmt: skip

    def _finished(self, now_ns: int, port: PortHealth, *, still: bool) -> bool:
        """Leaving ends once the burst is out and zero is confirmed, or confirmation has taken too long to come."""
        leaving_ns = self.control.leaving_ns
        if leaving_ns is None:
            return False
        confirmed = still and not self._writer.bursting
        return confirmed or port is PortHealth.LOST or now_ns - leaving_ns >= LEAVE_NS


__all__ = ["Event", "Guard", "GuardOutput", "PortHealth", "Worker"]
