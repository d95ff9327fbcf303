"""What the base's own reports and the loop's own timing say is wrong. Pure: reports and times in, a fault or nothing out."""

from __future__ import annotations

from enum import Enum

from edge_vla.guard.ramp import STILL_MPS
from edge_vla.guard.state import FaultCode
from edge_vla.guard.types import STILL, BaseTraits, Feedback, Twist
from edge_vla.guard.wheels import wheels_from_twist

GAP_PERIODS = 3
GAP_FLOOR_MS = 200
CONTRADICT_MPS = 0.1
CONTRADICT_SHARE = 0.5
CONTRADICT_NS = 500_000_000
OVERRUN_NS = 100_000_000
WRITE_STALL_NS = 50_000_000
LOW_BATTERY_NS = 1_000_000_000  # one low sample under load is a glitch
STILL_REPORTS = 2  # a single report may have been on its way before the zero


class Worker(Enum):
    """The worker process as the guard sees it."""

    RUNNING = "running"
    STOPPED = "stopped"
    DEAD = "dead"


class PortHealth(Enum):
    """The serial port as the guard's loop sees it. BUSY: more than one frame still waits to leave."""

    OK = "ok"
    BUSY = "busy"
    LOST = "lost"


class FeedbackWatch:
    """Follows the wheels against what was commanded."""

    def __init__(self, traits: BaseTraits, low_battery_v: float | None) -> None:
        self.gap_ns = max(GAP_PERIODS * traits.feedback_period_ms, GAP_FLOOR_MS) * 1_000_000
        self.last_ns: int | None = None
        self.battery_v: float | None = None
        self._traits = traits
        self._low_battery_v = low_battery_v
        self._commanded = STILL
        self._zero_since_ns: int | None = None
        self._still_reports = 0
        self._contradicts_since_ns: int | None = None
        self._low_since_ns: int | None = None

    def commanded(self, now_ns: int, twist: Twist) -> None:
        """Note what has just been written."""
        self._commanded = twist
        if twist != STILL:
            self._zero_since_ns = None
        elif self._zero_since_ns is None:
            self._zero_since_ns = now_ns
            self._still_reports = 0

    def hear(self, feedback: Feedback) -> None:
        """Take one report."""
        self.last_ns = feedback.t_ns
        if feedback.battery_v is not None:
            self._hear_battery(feedback.t_ns, feedback.battery_v)
        if feedback.left_mps is None or feedback.right_mps is None:
            return
        wheels = (feedback.left_mps, feedback.right_mps)
        stands = self._zero_since_ns is not None and feedback.t_ns > self._zero_since_ns and max(map(abs, wheels)) < STILL_MPS
        self._still_reports = self._still_reports + 1 if stands else 0
        wanted = wheels_from_twist(self._commanded, self._traits.track_m)
        if not any(abs(v - cmd) > max(CONTRADICT_MPS, CONTRADICT_SHARE * abs(cmd)) for v, cmd in zip(wheels, wanted, strict=True)):
            self._contradicts_since_ns = None
        elif self._contradicts_since_ns is None:
            self._contradicts_since_ns = feedback.t_ns

    def _hear_battery(self, t_ns: int, battery_v: float) -> None:
        self.battery_v = battery_v
        if self._low_battery_v is None or battery_v >= self._low_battery_v:
            self._low_since_ns = None
        elif self._low_since_ns is None:
            self._low_since_ns = t_ns

    def fresh(self, now_ns: int) -> bool:
        return self.last_ns is not None and now_ns - self.last_ns <= self.gap_ns

    def still(self, now_ns: int) -> bool:
        """Zero is commanded and fresh reports made since then confirm it."""
        return self._still_reports >= STILL_REPORTS and self.fresh(now_ns)

    def contradicts(self, now_ns: int) -> bool:
        return self._contradicts_since_ns is not None and now_ns - self._contradicts_since_ns >= CONTRADICT_NS

    def forgive(self) -> None:
        """Start counting contradictions afresh, so that one met while disarmed is not held against the next motion."""
        self._contradicts_since_ns = None

    def battery_low(self, now_ns: int) -> bool:
        return self._low_since_ns is not None and now_ns - self._low_since_ns >= LOW_BATTERY_NS


class LoopWatch:
    """Follows the guard's own ticks and writes."""

    def __init__(self, tick_hz: int) -> None:
        self._period_ns = 1_000_000_000 // tick_hz
        self._last_ns: int | None = None
        self._busy_since_ns: int | None = None
        self.late = False
        self.overrun = False
        self.dt_s = 0.0

    def tick(self, now_ns: int, port: PortHealth) -> None:
        """Note one tick: how late it is and since when the port has been busy."""
        since_ns = 0 if self._last_ns is None else now_ns - self._last_ns
        self._last_ns = now_ns
        self.dt_s = max(0, since_ns) * 1e-9
        self.late = since_ns > 2 * self._period_ns
        self.overrun = since_ns - self._period_ns > OVERRUN_NS or since_ns < 0  # a clock that runs back is no clock
        if port is not PortHealth.BUSY:
            self._busy_since_ns = None
        elif self._busy_since_ns is None:
            self._busy_since_ns = now_ns

    def fault(self, now_ns: int, port: PortHealth, *, armed: bool) -> FaultCode:
        """The loop's fault, if any. An overrun matters only while something could be moving."""
        if port is PortHealth.LOST:
            return FaultCode.PORT_LOST
        if self._busy_since_ns is not None and now_ns - self._busy_since_ns >= WRITE_STALL_NS:
            return FaultCode.WRITE_STALLED
        return FaultCode.TICK_OVERRUN if self.overrun and armed else FaultCode.NONE
