"""Rows 30 to 35: what a base can say, or do, that it should not."""

from __future__ import annotations

import random
from collections.abc import Callable

from edge_vla.bases import make_base
from edge_vla.guard.state import FaultCode
from edge_vla.guard.types import Hazard
from tests.faults.robot import LOW_BATTERY_V, Robot
from tests.faults.row import AT_ONCE, CONTROLLED, LIMITS, SILENCE_MS, Row
from tests.faults.rows_camera import drives_on

MS = 1_000_000
REPORTS = {  # hazards that each base can tell of
    "kobuki": Hazard.BUMPER | Hazard.CLIFF | Hazard.WHEEL_DROP | Hazard.OVER_CURRENT,
    "create2": Hazard.BUMPER | Hazard.CLIFF | Hazard.WHEEL_DROP | Hazard.OVER_CURRENT | Hazard.TRIPPED,  # its charger's plug
    "roboclaw": Hazard.OVER_CURRENT,
    "ev1": Hazard.BUMPER | Hazard.CLIFF | Hazard.WHEEL_DROP | Hazard.OVER_CURRENT | Hazard.TRIPPED,
}
NO_BATTERY = ("ros_arduino",)
NO_DIRECTION = ("create2",)  # its counters take the commanded direction
GLITCH_MS = 60
CONTRADICTED_MS = 500 + 100  # spec/safety.md
BOOTS = (FaultCode.BASE_REBOOT, FaultCode.FEEDBACK_GAP, FaultCode.BASE_TRIPPED)
LOOPS = (FaultCode.FEEDBACK_FROZEN, FaultCode.FEEDBACK_GAP, FaultCode.FEEDBACK_CONTRADICTS)


def noise(size: int, *, instead: bool) -> Callable[[Robot], None]:
    """Random bytes now and then before a report, or instead of all of them."""

    def inject(robot: Robot) -> None:
        rng = random.Random(4)
        share = 1.0 if instead else 0.03
        robot.line.noise = lambda: rng.randbytes(rng.randrange(size)) if rng.random() < share else b""
        robot.line.mute = instead

    return inject


def one_long_line(robot: Robot) -> None:
    """A megabyte without an end of a line, and nothing else."""
    robot.line.noise, robot.line.mute = (lambda: b'{"T":1001,' + b"9" * 20_000), True


def flipped(robot: Robot) -> None:
    """One bit in twenty reports."""
    rng = random.Random(6)

    def damage(said: bytes) -> bytes:
        if not said or rng.random() > 0.05:
            return said
        at = rng.randrange(len(said))
        return said[:at] + bytes((said[at] ^ 1 << rng.randrange(8),)) + said[at + 1 :]

    robot.line.change = damage


def looping(robot: Robot) -> None:
    """The last thing it said, word for word, whenever it would say something."""
    kept: list[bytes] = []

    def again(said: bytes) -> bytes:
        if said and not kept:
            kept.append(said)
        return kept[0] if said else b""

    robot.line.change = again


def meets(hazard: Hazard) -> Callable[[Robot], None]:
    return lambda robot: robot.meet(hazard)


def battery(robot: Robot, ms: int | None = None) -> None:
    full = robot.firmware.battery_v
    robot.firmware.battery_v = LOW_BATTERY_V - 1.0
    if ms is not None:
        robot.at(ms, lambda: setattr(robot.firmware, "battery_v", full))


def wheel(gain: float) -> Callable[[Robot], None]:
    return lambda robot: robot.wheels.gains.__setitem__(0, gain)


def reports(hazard: Hazard) -> Callable[[str], str]:
    return lambda kind: "" if hazard in REPORTS.get(kind, Hazard(0)) else f"it reports no {hazard.name}"


def knows_its_battery(kind: str) -> str:
    return "it does not report its battery" if kind in NO_BATTERY else ""


def knows_its_direction(kind: str) -> str:
    return "its counters take the commanded direction: it cannot see that" if kind in NO_DIRECTION else ""


def bounded(robot: Robot, onset_ns: int) -> None:
    assert robot.base.garbage_bytes > 10_000
    kept = [value for value in vars(robot.base).values() if isinstance(value, (bytes, bytearray, str, list))]
    assert all(len(value) <= 8192 for value in kept)


def gap_ms(kind: str) -> float:
    return max(200.0, 3.0 * make_base(kind).traits.feedback_period_ms)


SLOWEST_MS = 60  # between two reports, on the slowest base
ROWS = [
    Row(30, "garbage between reports", LIMITS, noise(300, instead=False), check=drives_on),
    Row(30, "a bit in twenty reports", LIMITS, flipped, check=lambda _robot, _onset_ns: None, faults=()),
    Row(
        30,
        "nothing but garbage",
        AT_ONCE,
        noise(600, instead=True),
        SILENCE_MS + SLOWEST_MS,
        (FaultCode.FEEDBACK_GAP, FaultCode.BASE_REBOOT),
        check=bounded,
    ),
    Row(
        30,
        "a line that never ends",
        AT_ONCE,
        one_long_line,
        SILENCE_MS + SLOWEST_MS,
        (FaultCode.FEEDBACK_GAP, FaultCode.BASE_REBOOT),
        check=bounded,
    ),
    Row(31, "the same report again and again", AT_ONCE, looping, 500 + SLOWEST_MS, LOOPS),
    Row(32, "brown-out", AT_ONCE, lambda r: r.firmware.reboot(r.now_ns), SILENCE_MS, BOOTS),
    Row(33, "bumper", AT_ONCE, meets(Hazard.BUMPER), 100 + SLOWEST_MS, (FaultCode.BUMPER,), skip=reports(Hazard.BUMPER)),
    Row(33, "edge", AT_ONCE, meets(Hazard.CLIFF), 100 + SLOWEST_MS, (FaultCode.CLIFF, FaultCode.BASE_TRIPPED), skip=reports(Hazard.CLIFF)),
    Row(
        33,
        "wheel in the air",
        AT_ONCE,
        meets(Hazard.WHEEL_DROP),
        100 + SLOWEST_MS,
        (FaultCode.WHEEL_DROP, FaultCode.BASE_TRIPPED),
        skip=reports(Hazard.WHEEL_DROP),
    ),
    Row(
        33,
        "the base stops by itself (button, charger)",
        AT_ONCE,
        meets(Hazard.TRIPPED),
        100 + SLOWEST_MS,
        (FaultCode.BASE_TRIPPED,),
        skip=reports(Hazard.TRIPPED),
    ),
    Row(34, "battery low", CONTROLLED, battery, 1000 + SILENCE_MS, (FaultCode.LOW_BATTERY,), skip=knows_its_battery),
    Row(34, "battery low for a moment", LIMITS, lambda r: battery(r, GLITCH_MS), check=drives_on, skip=knows_its_battery),
    Row(
        34,
        "current too high",
        CONTROLLED,
        meets(Hazard.OVER_CURRENT),
        500 + SILENCE_MS,
        (FaultCode.OVER_CURRENT,),
        skip=reports(Hazard.OVER_CURRENT),
    ),
    Row(35, "a wheel that is stuck", AT_ONCE, wheel(0.0), CONTRADICTED_MS, LOOPS),
    Row(35, "a wheel that turns the wrong way", AT_ONCE, wheel(-1.0), CONTRADICTED_MS, LOOPS, skip=knows_its_direction),
]
