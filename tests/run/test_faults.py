"""What stops the robot, with everything real but the room: worker, guard, tty and simulator, timed by what the wheels did.

Two figures for each fault (DESIGN §4), both read from the firmware's own log. *Stop bytes accepted* within R of the fault: for a stop at
once that is the zero itself; for a protective stop it is the first slower frame, and the zero follows within R and the declared ramp.
*Wheels below 0.02 m/s* within R and the declared stop time, which has that ramp and the motor in it. R is 150 ms for signals and the
worker's death, 250 ms beyond their lifetime for faults that are silences: of the engine (its evidence's lifetime) and of the camera
(150 ms to find out, then that).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_vla.config import RobotProfile
from edge_vla.guard.ramp import declared_stop_s
from edge_vla.pilot import LEAD_NS
from edge_vla.sim.plant import MOTOR_TAU_S

pytestmark = pytest.mark.deadline

ROOM = 960332  # 3.6 m of free floor straight ahead of the robot
LIMITS = RobotProfile().limits
CRUISE_MPS = LIMITS.max_linear_mps
STILL_MPS = 0.02
SIGNAL_MS = 150  # R for signals and the death of the worker
SILENCE_MS = 250  # R for silences, after their lifetime
WATCHDOG_MS = 300  # of the base, for the death of the guard
FRAME_MS = 67.0  # the simulator's camera at 15 frames a second
FREEZE_MS = 150  # a picture that repeats while the robot moves is frozen after this
RAMP_MS = 1000 * CRUISE_MPS / LIMITS.dec_linear_mps2 + 50  # the declared ramp of a protective stop
P0_MS = 1000 * declared_stop_s(CRUISE_MPS, MOTOR_TAU_S)
P1_MS = 1000 * declared_stop_s(CRUISE_MPS, MOTOR_TAU_S, LIMITS.dec_linear_mps2)
ORACLE_MS = 30  # the log has a line every 8 ms, and the simulated wheels follow their motors a little later
START_S = 90.0
SMALL_PICTURES = "[camera]\nwidth = 96\nheight = 72\n"  # nobody looks at them: two busy cores have better things to do


def wait_for(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Look every 10 ms until it holds."""
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s, "it did not happen in time"
        time.sleep(0.01)


@dataclass(frozen=True)
class Stop:
    """In ms after the fault: the first frame slower than before it, the first zero of the last zeros, the last motion."""

    slower: float
    zero: float
    still: float


class Rig:
    """One run in a process of its own, and what its wheels did."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        (folder / "robot.toml").write_text(SMALL_PICTURES)
        words = [sys.executable, "tests/run/faulty_worker.py", "--robot", str(folder / "robot.toml")]
        words += ["--seed", str(ROOM), "--record", str(folder), "--timeout-s", "60"]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        self._errors = (folder / "worker.log").open("w+")
        self.worker = subprocess.Popen(words, cwd=checkout, env=environment, stdin=-1, stdout=-1, stderr=self._errors, text=True)
        self._root = folder
        self.folder = folder

    def drive(self) -> None:
        """Wait until the robot has driven at its cruising speed for a fifth of a second."""
        wait_for(lambda: list(self._root.glob("*/wheels.jsonl")) or self._dead(), START_S)
        self.folder = next(self._root.glob("*/wheels.jsonl")).parent
        wait_for(lambda: self._cruises() or self._dead(), START_S)

    def _dead(self) -> bool:
        if self.worker.poll() is not None:
            self._errors.seek(0)
            said = self.worker.stdout.read() if self.worker.stdout else ""
            pytest.fail(f"the worker ended with {self.worker.returncode}: {self._errors.read()[-2000:]}{said}")
        return False

    def _cruises(self) -> bool:
        newest = [row for row in self.wheels() if row["accepted"] is None][-25:]
        return len(newest) == 25 and all(min(row["wheels"]) > 0.9 * CRUISE_MPS for row in newest)

    @property
    def guard_pid(self) -> int:
        return self.child(b"edge_vla.guard")

    def child(self, module: bytes) -> int:
        """The worker's child that runs a module."""
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent == self.worker.pid and module in (process / "cmdline").read_bytes():
                    return int(process.name)
        raise AssertionError(f"the worker has no {module.decode()}")

    def tell(self, word: str) -> int:
        """Break something; the moment it broke."""
        assert self.worker.stdin is not None
        assert self.worker.stdout is not None
        self.worker.stdin.write(word + "\n")
        self.worker.stdin.flush()
        said, at_ns = self.worker.stdout.readline().split()
        assert said == word
        return int(at_ns)

    def kill(self, pid: int, number: signal.Signals) -> int:
        """Send a signal; the moment just before it."""
        onset_ns = time.monotonic_ns()
        os.kill(pid, number)
        return onset_ns

    def lines(self, name: str) -> list[dict]:
        """The whole lines of one of the run's files."""
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines(keepends=True) if line.endswith("}\n")]

    def wheels(self) -> list[dict]:
        return self.lines("wheels.jsonl")

    def stands(self, since_ns: int) -> bool:
        """The newest quarter of a second, all of it after `since_ns`, shows no motion."""
        newest = [row for row in self.wheels() if row["accepted"] is None and row["t_ns"] > since_ns][-30:]
        return len(newest) == 30 and all(speed(row) < STILL_MPS for row in newest)

    def measure(self, since_ns: int) -> Stop:
        """What the wheels' log says about a fault at `since_ns`."""
        wait_for(lambda: self.stands(since_ns))
        rows = self.wheels()
        said = [(row["t_ns"], json.loads(row["accepted"])) for row in rows if (row["accepted"] or "").startswith('{"T":1,')]
        before = [(frame["L"] + frame["R"]) / 2 for t_ns, frame in said if t_ns < since_ns][-5:]
        assert min(before) > 0.9 * CRUISE_MPS, f"it was not driving: {before}"
        fast = 0.95 * min(before)
        after = [(t_ns, abs(frame["L"]) + abs(frame["R"]), (frame["L"] + frame["R"]) / 2) for t_ns, frame in said if t_ns >= since_ns]
        slower = next((t_ns for t_ns, _, v in after if v < fast), None)
        last = max((t_ns for t_ns, moves, _ in after if moves), default=since_ns)
        zero = next((t_ns for t_ns, moves, _ in after if not moves and t_ns > last), None)
        moved = max((row["t_ns"] for row in rows if row["t_ns"] >= since_ns and speed(row) >= STILL_MPS), default=since_ns)
        return Stop(*(float("inf") if t_ns is None else (t_ns - since_ns) / 1e6 for t_ns in (slower, zero, moved)))

    def end(self, code: int) -> dict:
        """The run's last word and the moment it came, in `said_ns`; the worker must then end with `code`."""
        assert self.worker.stdin is not None
        assert self.worker.stdout is not None
        end = json.loads(self.worker.stdout.readline()) | {"said_ns": time.monotonic_ns()}
        wait_for(lambda: self.stands(end["said_ns"] - 1_000_000_000))
        self.worker.stdin.write("leave\n")
        self.worker.stdin.flush()
        assert self.worker.wait(20) == code
        return end

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.worker.pid, signal.SIGCONT)
        self.worker.kill()
        self.worker.wait()
        for pipe in (self.worker.stdin, self.worker.stdout, self._errors):
            with suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]


def speed(row: dict) -> float:
    return max(map(abs, row["wheels"]))


@pytest.fixture
def rig(tmp_path: Path, checkout: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, checkout)
    try:
        rig.drive()
        yield rig
    finally:
        rig.close()


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[..., Stop]:
    """Print and keep a measurement beside the bounds it is held to."""

    def report(name: str, stop: Stop, bytes_ms: float, wheels_ms: float, ramp_ms: float = 0.0) -> Stop:
        bounds = f"bounds {bytes_ms:.0f}, {bytes_ms + ramp_ms:.0f} and {wheels_ms:.0f}"
        line = f"{name}: slower {stop.slower:.0f}, zero {stop.zero:.0f}, still {stop.still:.0f} ms, {bounds}"
        print(f"\n{line}")
        record_property(name, line)
        return stop

    return report


def test_kill_9_of_the_worker(rig: Rig, report) -> None:
    onset_ns = rig.kill(rig.worker.pid, signal.SIGKILL)
    bound_ms = SIGNAL_MS + P0_MS + ORACLE_MS
    stop = report("kill -9 of the worker", rig.measure(onset_ns), SIGNAL_MS, bound_ms)
    assert stop.zero <= SIGNAL_MS
    assert stop.still <= bound_ms


def test_sigstop_of_the_worker_stops_and_sigcont_does_not_move(rig: Rig, report) -> None:
    onset_ns = rig.kill(rig.worker.pid, signal.SIGSTOP)
    bound_ms = SIGNAL_MS + P0_MS + ORACLE_MS
    stop = report("SIGSTOP of the worker", rig.measure(onset_ns), SIGNAL_MS, bound_ms)
    assert stop.zero <= SIGNAL_MS
    assert stop.still <= bound_ms
    again_ns = rig.kill(rig.worker.pid, signal.SIGCONT)
    assert rig.end(3)["fault"] == "worker_stopped"  # it finds the guard latched, and says so
    rows = [row for row in rig.wheels() if row["t_ns"] > again_ns]
    assert rows
    assert max(speed(row) for row in rows) < STILL_MPS


def test_a_hung_engine(rig: Rig, report) -> None:
    """STEER talks on, on a look that gets no younger: the pilot stops just before that look's evidence runs out, or the guard then."""
    onset_ns = rig.tell("hang")
    stop = rig.measure(onset_ns)
    look = rig.lines("looks.jsonl")[-1]
    assert look["t_capture_ns"] < onset_ns
    lifetime_ms = max(500.0, 2e-6 * look["p99_ns"])
    deadline_ms = (look["evidence_deadline_ns"] - onset_ns) / 1e6
    assert deadline_ms <= lifetime_ms
    bytes_ms = deadline_ms + SILENCE_MS
    wheels_ms = bytes_ms + P1_MS + ORACLE_MS
    report("hung engine", stop, bytes_ms, wheels_ms, RAMP_MS)
    assert deadline_ms - LEAD_NS / 1e6 - 5 <= stop.slower <= bytes_ms
    assert stop.zero <= bytes_ms + RAMP_MS
    assert stop.still <= wheels_ms
    assert rig.end(3)["why"].startswith("the engine has not answered for 6")


def test_an_engine_that_raises(rig: Rig, report) -> None:
    onset_ns = rig.tell("raise")
    bound_ms = SILENCE_MS + P0_MS + ORACLE_MS
    stop = report("engine exception", rig.measure(onset_ns), SILENCE_MS, bound_ms)
    assert stop.zero <= SILENCE_MS
    assert stop.still <= bound_ms
    end = rig.end(3)
    assert (end["result"], end["fault"]) == ("fault", "worker_fault")
    assert "cudaErrorIllegalAddress" in end["why"]


def test_a_frozen_camera(rig: Rig, report) -> None:
    """New stamps, old picture: found out after 150 ms of motion, so no look may rest on a frame exposed later than that."""
    onset_ns = rig.tell("freeze")
    stop = rig.measure(onset_ns)
    look = rig.lines("looks.jsonl")[-1]
    assert (look["t_capture_ns"] - onset_ns) / 1e6 <= FREEZE_MS + FRAME_MS  # it is found out on the first frame after 150 ms
    lifetime_ms = max(500.0, 2e-6 * look["p99_ns"])
    bytes_ms = FREEZE_MS + lifetime_ms + SILENCE_MS
    wheels_ms = bytes_ms + P1_MS + ORACLE_MS
    report("frozen camera", stop, bytes_ms, wheels_ms, RAMP_MS)
    assert stop.slower <= bytes_ms
    assert stop.zero <= bytes_ms + RAMP_MS
    assert stop.still <= wheels_ms
    end = rig.end(3)
    assert end["result"] == "fault"
    assert end["why"].startswith("no usable frame for 2")
    assert end["why"].endswith("frozen")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_run_after_confirmed_zero(rig: Rig, report, number: signal.Signals, code: int) -> None:
    onset_ns = rig.kill(rig.worker.pid, number)
    end, bound_ms = rig.end(code), SIGNAL_MS + P0_MS + ORACLE_MS
    stop = report(number.name, rig.measure(onset_ns), SIGNAL_MS, bound_ms)
    assert stop.zero <= SIGNAL_MS
    assert stop.still <= bound_ms
    assert (end["said_ns"] - onset_ns) / 1e6 > stop.still  # the guard had seen the wheels stand before the run said its last word
    assert (end["result"], end["signal"], end["why"]) == ("interrupted", int(number), f"signal {number.name}")


def test_a_signal_whose_zero_nobody_confirms_is_a_fault(rig: Rig) -> None:
    """The base is there and says nothing: whether the wheels stand is not known, and 130 would say they do."""
    base = rig.child(b"edge_vla.sim")
    os.kill(base, signal.SIGSTOP)
    try:
        rig.kill(rig.worker.pid, signal.SIGINT)
        assert rig.worker.stdout is not None
        end = json.loads(rig.worker.stdout.readline())
    finally:
        os.kill(base, signal.SIGCONT)
    assert (end["result"], end["signal"]) == ("fault", 0)
    assert end["why"] == "the wheels did not confirm zero; before that interrupted: signal SIGINT"
    assert rig.worker.stdin is not None
    rig.worker.stdin.write("leave\n")
    rig.worker.stdin.flush()
    assert rig.worker.wait(20) == 3


def test_kill_9_of_the_guard_leaves_it_to_the_base(rig: Rig, report) -> None:
    onset_ns = rig.kill(rig.guard_pid, signal.SIGKILL)
    bound_ms = WATCHDOG_MS + P0_MS + ORACLE_MS
    stop = report("kill -9 of the guard", rig.measure(onset_ns), WATCHDOG_MS, bound_ms)
    assert stop.still <= bound_ms
    end = rig.end(3)
    assert end["result"] == "fault"
    assert "the guard is gone" in end["why"]
