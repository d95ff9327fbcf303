"""Rows 23 to 29, 36 and 38 to 40: processes that die or hang, a plug that is pulled, operators, and a host without time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from edge_vla.bases import make_base
from edge_vla.guard.state import LATCHED, FaultCode, GuardState, StopCause
from edge_vla.guard.watch import PortHealth, Worker
from tests.faults.robot import TICK_MS, Robot
from tests.faults.row import AT_ONCE, BY_ITSELF, CONTROLLED, LIMITS, SIGNAL_MS, SILENCE_MS, Row, never_again
from tests.faults.rows_camera import drives_on
from tests.faults.rows_engine import soft

MS = 1_000_000
DEADMAN_MS = 400
OVERRUN_MS = 160  # the guard does not run for so long
PUBLISHED_MS = {"ros_arduino": 2000.0}  # its sketch stops by itself as well, too late to be counted on
FLOOD = [random.Random(3).randbytes(200) for _ in range(200)]


def own_timeout_ms(kind: str) -> float | None:
    watchdog_ms = make_base(kind).traits.watchdog_ms
    return PUBLISHED_MS.get(kind) if watchdog_ms is None else float(watchdog_ms)


def signal(robot: Robot) -> None:
    """What a session does with SIGTERM and SIGINT."""
    robot.local.stop()
    robot.end("signal")


def dies(robot: Robot) -> None:
    robot.worker, robot.worker_runs = Worker.DEAD, False


def stopped_for(robot: Robot, ms: int) -> None:
    """SIGSTOP, and SIGCONT after so long."""

    def goes_on() -> None:
        robot.worker, robot.worker_runs = Worker.RUNNING, True

    robot.worker, robot.worker_runs = Worker.STOPPED, False
    robot.at(ms, goes_on)


def guard_dies(robot: Robot) -> None:
    robot.guard_runs = robot.worker_runs = False


def unplug(robot: Robot) -> None:
    """The base keeps its power and hears nothing any more."""
    robot.port, robot.line.deaf, robot.line.mute = PortHealth.LOST, True, True


def replug(robot: Robot, ms: int) -> None:
    """Unplugged, and powered by that plug: it boots when it is there again. The worker goes on asking."""

    def again() -> None:
        robot.port, robot.line.deaf, robot.line.mute = PortHealth.OK, False, False

    robot.hands = _asks(robot)
    unplug(robot)
    robot.firmware.reboot(robot.now_ns)
    robot.at(ms, again)


def _asks(robot: Robot) -> Callable[[], object]:
    from edge_vla.guard.types import Twist
    from tests.faults.rows_engine import look

    return lambda: robot.local.send(Twist(0.3), look(robot))


def blocked(robot: Robot, ms: int) -> None:
    """Nobody reads at the far end for so long; the worker goes on asking."""
    robot.hands = _asks(robot)
    robot.port, robot.line.deaf = PortHealth.BUSY, True

    def free() -> None:
        robot.port, robot.line.deaf = PortHealth.OK, False

    robot.at(ms, free)


def flood(robot: Robot) -> None:
    """A worker's link full of rubbish, and one word on the STOP line."""

    def rubbish() -> None:
        for data in FLOOD:
            robot.local._wire.push(data)

    robot.hands = rubbish
    robot.at(100, lambda: setattr(robot, "stop", True))


def stop_line(robot: Robot) -> None:
    robot.stop = True
    robot.at(TICK_MS, lambda: setattr(robot, "stop", False))


def lets_go(robot: Robot, *, word: bool | None) -> None:
    robot.button = word


def overrun(robot: Robot) -> None:
    robot.guard_runs = False
    robot.at(OVERRUN_MS, lambda: setattr(robot, "guard_runs", True))


def slow_engine(ms: int) -> Callable[[Robot], None]:
    return lambda robot: setattr(robot.engine, "latency_ms", lambda: ms)


def leaves_within_a_second(robot: Robot, onset_ns: int) -> None:
    done = next(t_ns for t_ns, output in robot.outputs if output.finished)
    assert done - onset_ns <= 1000 * MS
    assert next(output for _, output in robot.outputs if output.finished).still


def sigcont_does_not_move(robot: Robot, onset_ns: int) -> None:
    assert never_again(robot, onset_ns + 2000 * MS)
    assert robot.worker is Worker.RUNNING


def found_within_100_ms(robot: Robot, onset_ns: int) -> None:
    latched = next(t_ns for t_ns, status in robot.states if t_ns >= onset_ns and status.state in LATCHED)
    assert latched - onset_ns <= 100 * MS
    assert robot.fault() is FaultCode.PORT_LOST


def stays_latched(robot: Robot, onset_ns: int) -> None:
    found_within_100_ms(robot, onset_ns)
    assert never_again(robot, onset_ns)
    assert robot.states[-1][1].state is GuardState.FAULT_LATCHED
    assert robot.states[-1][1].still, "it answers again, and says that it stands"
    assert not robot.base.init_frames() or robot.states[-1][1].tally["inits"] >= 2, "it was configured again"


def nothing_stale(robot: Robot, onset_ns: int) -> None:
    """What is written when the far end reads again is a zero, on the first tick."""
    free_ns = onset_ns + 400 * MS
    after = robot.commands(free_ns)
    assert after[0][1] == 0.0
    assert (after[0][0] - free_ns) / MS <= 100 + TICK_MS, "latched, it is said ten times a second"
    assert never_again(robot, onset_ns)


def same_bytes_whatever_the_wall_clock(robot: Robot, onset_ns: int) -> None:
    """The same run with a wall clock that jumps an hour at every look: not a byte differs."""
    calm, wild = Robot(), Robot()
    calm.drive().run(2000)
    real, jumps = time.time, iter(range(-(1 << 30), 1 << 30))
    time.time = lambda: real() + 3600.0 * (next(jumps) % 3 - 1)
    try:
        wild.drive().run(2000)
    finally:
        time.time = real
    assert [data for _, data, _ in wild.line.accepted] == [data for _, data, _ in calm.line.accepted]


def with_deadman(kind: str) -> Robot:
    return Robot(kind, deadman=True)


ROWS = [
    Row(23, "SIGTERM, SIGINT", AT_ONCE, signal, SIGNAL_MS, (FaultCode.OPERATOR_STOP,), check=leaves_within_a_second),
    Row(24, "kill -9 of the worker", AT_ONCE, dies, SIGNAL_MS, (FaultCode.WORKER_DEAD,), check=leaves_within_a_second),
    Row(25, "kill -9 of the guard", BY_ITSELF, guard_dies, wheels_ms=own_timeout_ms),
    Row(
        26,
        "SIGSTOP of the worker, SIGCONT",
        AT_ONCE,
        lambda r: stopped_for(r, 2000),
        SIGNAL_MS,
        (FaultCode.WORKER_STOPPED,),
        check=sigcont_does_not_move,
    ),
    Row(27, "serial unplugged", BY_ITSELF, unplug, faults=(FaultCode.PORT_LOST,), wheels_ms=own_timeout_ms, check=found_within_100_ms),
    Row(
        28, "serial plugged in again", LIMITS, lambda r: replug(r, 1000), faults=(FaultCode.PORT_LOST,), check=stays_latched, lasts_ms=8000
    ),
    Row(29, "nobody reads for 400 ms", LIMITS, lambda r: blocked(r, 400), faults=(FaultCode.WRITE_STALLED,), check=nothing_stale),
    Row(36, "wall clock jumps", LIMITS, lambda _robot: None, check=same_bytes_whatever_the_wall_clock, lasts_ms=100),
    Row(38, "STOP line", AT_ONCE, stop_line, SIGNAL_MS, (FaultCode.OPERATOR_STOP,)),
    Row(38, "flood of rubbish, then STOP", CONTROLLED, flood, SILENCE_MS, (FaultCode.OPERATOR_STOP,)),
    Row(
        39,
        "deadman lost",
        CONTROLLED,
        lambda r: lets_go(r, word=None),
        DEADMAN_MS + SILENCE_MS,
        make=with_deadman,
        check=soft(StopCause.DEADMAN),
        lasts_ms=2000,
    ),
    Row(
        39,
        "deadman let go",
        CONTROLLED,
        lambda r: lets_go(r, word=False),
        SILENCE_MS,
        make=with_deadman,
        check=soft(StopCause.DEADMAN),
        lasts_ms=2000,
    ),
    Row(40, "guard starved for 160 ms", AT_ONCE, overrun, OVERRUN_MS + SILENCE_MS, (FaultCode.TICK_OVERRUN,)),
    Row(40, "engine five times as slow", LIMITS, slow_engine(500), check=drives_on, lasts_ms=12_000),
]
