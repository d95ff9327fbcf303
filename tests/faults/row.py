"""One row of the fault matrix: what breaks, what has to happen, within what. And what did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from edge_vla.guard.ramp import declared_stop_s
from edge_vla.guard.state import LATCHED, FaultCode
from edge_vla.guard.types import Twist
from tests.faults.robot import SPEED_MPS, STEP_MS, TAU_S, TICK_MS, Robot, Stop

MS = 1_000_000
SIGNAL_MS, SILENCE_MS = 150, 250  # R of signals and the death of the worker; of silences beyond their lifetime
EVIDENCE_MS = 500  # a look's lifetime with an engine that answers within a fifth of a second
TTL_MS = 150
DEC_MPS2 = 1.5
RAMP_MS = 1000 * SPEED_MPS / DEC_MPS2 + 50
ORACLE_MS = STEP_MS + TICK_MS  # the clock's own steps

AT_ONCE, CONTROLLED, BY_ITSELF, LIMITS = "S0", "S1", "base", "limits"


def everywhere(_kind: str) -> str:
    """A row that makes sense on every base."""
    return ""


@dataclass(frozen=True)
class Row:
    """`inject` breaks something on a robot that drives, at once or later by the robot's schedule.

    `stop` is how it must stop: AT_ONCE, CONTROLLED, BY_ITSELF (the base's own timeout, or not at all), LIMITS (it may drive on, inside
    its limits). `within_ms` is R. `faults`: one of these must be latched in the end, none for a stop that ends by itself.
    `check` sees the robot and the onset. `skip` says why a base cannot have this fault, "" when it can.
    """

    number: int
    name: str
    stop: str
    inject: Callable[[Robot], object]
    within_ms: float = SILENCE_MS
    faults: tuple[FaultCode, ...] = ()
    lasts_ms: int = 4000
    make: Callable[[str], Robot] = Robot
    check: Callable[[Robot, int], None] = lambda _robot, _onset_ns: None
    skip: Callable[[str], str] = everywhere
    wheels_ms: Callable[[str], float | None] = field(default=lambda _kind: None)  # of BY_ITSELF: when they stand, None for never

    def bounds(self, kind: str) -> tuple[float, float]:
        """(R, the wheels below 0.02 m/s) in ms after the fault, as declared: motor constant and ramp included."""
        speed = cruise(kind)
        if self.stop == BY_ITSELF:
            own_ms = self.wheels_ms(kind)
            return float("inf"), float("inf") if own_ms is None else own_ms + 1000 * declared_stop_s(speed, TAU_S) + ORACLE_MS
        ramp = DEC_MPS2 if self.stop == CONTROLLED else None
        return self.within_ms, self.within_ms + 1000 * declared_stop_s(speed, TAU_S, ramp) + ORACLE_MS


def cruise(kind: str) -> float:
    return Robot(kind).cruise_mps


@dataclass(frozen=True)
class Outcome:
    """What a row did on one base."""

    robot: Robot
    onset_ns: int
    stop: Stop


def play(row: Row, kind: str) -> Outcome:
    """Drive, break, look."""
    robot = row.make(kind).drive()
    onset_ns = robot.now_ns
    row.inject(robot)
    robot.run(row.lasts_ms)
    return Outcome(robot, onset_ns, robot.measure(onset_ns, final=bool(row.faults)))


def judge(row: Row, kind: str, outcome: Outcome) -> None:
    """Assert what the row demands."""
    robot, stop, onset_ns = outcome.robot, outcome.stop, outcome.onset_ns
    within_limits(robot)
    r_ms, wheels_ms = row.bounds(kind)
    if row.stop == AT_ONCE:
        assert stop.zero <= r_ms + TICK_MS, stop
    if row.stop == CONTROLLED:
        assert stop.slower <= r_ms + TICK_MS, stop
        assert stop.zero <= r_ms + RAMP_MS + TICK_MS, stop
    if row.stop == BY_ITSELF and wheels_ms == float("inf"):
        assert stop.still == float("inf"), "it stopped after all: docs/safety.md says that it does not"
    elif row.stop != LIMITS:
        assert stop.still <= wheels_ms, (stop, wheels_ms)
        assert not row.faults or stop.last <= wheels_ms, (stop, wheels_ms)
    if row.faults:
        assert robot.fault() in row.faults, robot.fault()
        assert robot.states[-1][1].state in LATCHED
    elif row.stop in (CONTROLLED, LIMITS):
        assert robot.fault() is FaultCode.NONE, robot.fault()
    row.check(robot, onset_ns)


def never_again(robot: Robot, since_ns: int) -> bool:
    return all(fast == 0.0 for _, fast in robot.commands(since_ns))


def within_limits(robot: Robot) -> None:
    """Every command the base ever took: no wheel faster than allowed, and no faster change than the limits allow in that time."""
    limits, said = robot.limits, robot.commands(0)
    quantum = robot.base.traits.wheel_quantum_mps
    turn_mps = max(robot.base.traits.drive.wheels(Twist(0.0, 0.0, 1.0)))
    assert max(fast for _, fast in said) <= limits.max_linear_mps + turn_mps * limits.max_angular_radps + 1e-9
    rate = limits.acc_mps2 + turn_mps * limits.acc_radps2
    for (then_ns, before), (now_ns, after) in pairwise(said):
        assert after - before <= rate * min(0.1, (now_ns - then_ns) * 1e-9) + 2 * quantum + 1e-9, (before, after)
