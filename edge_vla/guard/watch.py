"""What the base's own reports and the loop's own timing say is wrong. Pure: reports and times in, a fault or nothing out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

from edge_vla.guard.ramp import STILL_MPS
from edge_vla.guard.state import FaultCode
from edge_vla.guard.types import NO_HAZARD, STILL, BaseTraits, Feedback, Hazard, Speeds, Twist

GAP_PERIODS = 3
GAP_FLOOR_MS = 200
QUIET_PERIODS = 2
CONTRADICT_MPS = 0.1
CONTRADICT_SHARE = 0.5
CONTRADICT_NS = 300_000_000
LAG_NS = 300_000_000  # a wheel may still be on its way to what it was told that long ago
OVERRUN_NS = 100_000_000
WRITE_STALL_NS = 50_000_000
LOW_BATTERY_NS = 1_000_000_000  # one low sample under load is a glitch
FROZEN_M = 0.05  # by speeds that are reported while the counters beside them stand still
OVER_CURRENT_NS = 500_000_000
CONTACT = Hazard.BUMPER | Hazard.CLIFF  # out of which only going back leads
HELD_FAULTS = {Hazard.WHEEL_DROP: FaultCode.WHEEL_DROP}  # as long as it lasts nothing can be reset
MET_FAULTS = {Hazard.BUMPER: FaultCode.BUMPER, Hazard.CLIFF: FaultCode.CLIFF, Hazard.TRIPPED: FaultCode.BASE_TRIPPED}  # when it begins
DEADMAN_MS = 400  # longer without a word and the button counts as let go
STILL_REPORTS = 2  # a single report may have been on its way before the zero


class Worker(Enum):
    """The worker process as the guard sees it."""

    RUNNING = "running"
    STOPPED = "stopped"
    DEAD = "dead"


class PortHealth(Enum):
    """The serial port as the guard's loop sees it. BUSY: more than one frame still waits to leave; SLOW: by its baud rate it must."""

    OK = "ok"
    SLOW = "slow"
    BUSY = "busy"
    LOST = "lost"


class FeedbackWatch:
    """Follows the wheels against what was commanded."""

    def __init__(self, traits: BaseTraits, low_battery_v: float | None) -> None:
        self.gap_ns = max(GAP_PERIODS * traits.feedback_period_ms, GAP_FLOOR_MS) * 1_000_000
        self.last_ns: int | None = None  # of the newest report with wheels
        self.heard_ns: int | None = None  # of any report
        self.battery_v: float | None = None
        self._traits = traits
        self._low_battery_v = low_battery_v
        self._zero_since_ns: int | None = None
        self._still_reports = 0
        self._contradicted_ns = 0
        self._told: deque[tuple[int, Speeds]] = deque([(0, traits.drive.wheels(STILL))])  # of the last LAG_NS, and what was in force before
        self._low_since_ns: int | None = None
        self._travel_m: Speeds | None = None
        self._uncounted_m = 0.0  # driven by the wheels' speeds since a counter last moved

    def commanded(self, now_ns: int, twist: Twist) -> None:
        """Note what has just been written."""
        self._told.append((now_ns, self._traits.drive.wheels(twist)))
        while len(self._told) > 1 and now_ns - self._told[1][0] >= LAG_NS:
            self._told.popleft()
        if twist != STILL:
            self._zero_since_ns = None
        elif self._zero_since_ns is None:
            self._zero_since_ns = now_ns
            self._still_reports = 0

    def hear(self, feedback: Feedback) -> None:
        """Take one report."""
        self.heard_ns = feedback.t_ns
        if feedback.battery_v is not None:
            self._hear_battery(feedback.t_ns, feedback.battery_v)
        wheels = feedback.wheels_mps
        if wheels is None:
            return
        self._hear_counters(feedback.t_ns, wheels, feedback.travel_m)
        since_ns = 0 if self.last_ns is None else min(feedback.t_ns - self.last_ns, self.gap_ns)
        self.last_ns = feedback.t_ns
        stands = self._zero_since_ns is not None and feedback.t_ns > self._zero_since_ns and all(abs(wheel) < STILL_MPS for wheel in wheels)
        self._still_reports = self._still_reports + 1 if stands else 0
        self._contradicted_ns = max(0, self._contradicted_ns + (since_ns if self._against(feedback.t_ns, wheels) else -since_ns))

    def _against(self, t_ns: int, wheels_mps: Speeds) -> bool:
        """Whether a wheel is far from all it has been told lately: one that follows slowly is not."""
        while len(self._told) > 1 and t_ns - self._told[1][0] >= LAG_NS:
            self._told.popleft()
        return any(map(_beyond, wheels_mps, zip(*(told for _, told in self._told), strict=True)))

    def _hear_counters(self, t_ns: int, wheels_mps: Speeds, travel_m: Speeds | None) -> None:
        if travel_m is None or travel_m != self._travel_m or self.last_ns is None:
            self._uncounted_m = 0.0
        else:
            self._uncounted_m += max(map(abs, wheels_mps)) * (t_ns - self.last_ns) * 1e-9
        self._travel_m = travel_m

    def _hear_battery(self, t_ns: int, battery_v: float) -> None:
        self.battery_v = battery_v
        if self._low_battery_v is None or battery_v >= self._low_battery_v:
            self._low_since_ns = None
        elif self._low_since_ns is None:
            self._low_since_ns = t_ns

    def fresh(self, now_ns: int) -> bool:
        return self.last_ns is not None and now_ns - self.last_ns <= self.gap_ns

    def quiet(self, now_ns: int) -> bool:
        """Two reports running are missing: what is written now may be read at any time later."""
        return self.last_ns is None or now_ns - self.last_ns > QUIET_PERIODS * self._traits.feedback_period_ms * 1_000_000

    def still(self, now_ns: int) -> bool:
        """Zero is commanded and fresh reports made since then confirm it."""
        return self._still_reports >= STILL_REPORTS and self.fresh(now_ns)

    def contradicts(self) -> bool:
        """For so long, less the time it did not: a steering worker that answers a wild wheel makes it agree now and then."""
        return self._contradicted_ns >= CONTRADICT_NS

    def answering(self, now_ns: int) -> bool:
        """The base says something, be it about its wheels or not."""
        return self.heard_ns is not None and now_ns - self.heard_ns <= self.gap_ns

    def frozen(self) -> bool:
        """It reports speeds that its own counters know nothing of: the same report over and over."""
        return self._uncounted_m > FROZEN_M + (self._traits.travel_quantum_m or 0.0)

    def forgive(self) -> None:
        """Start counting contradictions afresh, so that one met while disarmed is not held against the next motion."""
        self._contradicted_ns = 0
        self._uncounted_m = 0.0

    def battery_low(self, now_ns: int) -> bool:
        return self._low_since_ns is not None and now_ns - self._low_since_ns >= LOW_BATTERY_NS


def _beyond(v_mps: float, told_mps: Speeds) -> bool:
    """More than a tenth of a m/s, and half of it, below the least or above the most that a wheel has been told."""
    low, high = min(told_mps), max(told_mps)
    least, most = low - max(CONTRADICT_MPS, CONTRADICT_SHARE * abs(low)), high + max(CONTRADICT_MPS, CONTRADICT_SHARE * abs(high))
    return not least <= v_mps <= most


class HazardWatch:
    """What the base says is wrong around it, and since when."""

    def __init__(self) -> None:
        self.active = NO_HAZARD
        self._met = NO_HAZARD  # since the last look
        self._current_since_ns: int | None = None

    def hear(self, feedback: Feedback) -> None:
        """Take one report; one that says nothing about hazards changes nothing."""
        if feedback.hazards is None:
            return
        self._met |= feedback.hazards & ~self.active
        self.active = feedback.hazards
        if Hazard.OVER_CURRENT not in self.active:
            self._current_since_ns = None
        elif self._current_since_ns is None:
            self._current_since_ns = feedback.t_ns

    def faults(self) -> list[FaultCode]:
        """What has been met since the last call, and what lasts."""
        met, self._met = self._met, NO_HAZARD
        return [fault for hazard, fault in MET_FAULTS.items() if hazard in met] + [
            fault for hazard, fault in HELD_FAULTS.items() if hazard in self.active
        ]

    def over_current(self, now_ns: int) -> bool:
        """For so long that it is no start of a motor."""
        return self._current_since_ns is not None and now_ns - self._current_since_ns >= OVER_CURRENT_NS

    @property
    def retreat_only(self) -> bool:
        """Something is touched, or an edge is below."""
        return bool(self.active & CONTACT)

    @property
    def forbids_arming(self) -> bool:
        return bool(self.active & ~CONTACT)


class DeadmanWatch:
    """Whether the button is held, by the words that come in. Pure: the silence it is over after is its own."""

    def __init__(self, patience_ms: int = DEADMAN_MS) -> None:
        self._patience_ns = patience_ms * 1_000_000
        self._held_ns: int | None = None

    def hear(self, now_ns: int, word: bool | None) -> None:  # noqa: FBT001 - the word itself
        """Take the newest word, None where none has come."""
        if word is not None:
            self._held_ns = now_ns if word else None

    def released(self, now_ns: int) -> bool:
        """Let go, or not heard of for too long, or never pressed."""
        return self._held_ns is None or not 0 <= now_ns - self._held_ns <= self._patience_ns


@dataclass(frozen=True, slots=True)
class Watches:
    """What arming is refused for: the base's reports, what it has met, and the operator's button where there has to be one."""

    feedback: FeedbackWatch
    hazards: HazardWatch
    deadman: DeadmanWatch | None = None


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
