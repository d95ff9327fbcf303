"""The real guard process between a real worker and a firmware behind a pty, timed by what the wheels did (`wheels.jsonl`)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_vla.errors import GuardError
from edge_vla.guard.client import GuardProcess
from edge_vla.guard.limits import Limits, declared_stop_s
from edge_vla.guard.settings import GuardSettings
from edge_vla.guard.state import FaultCode, GuardState

pytestmark = pytest.mark.deadline

SPEED = 0.3
TAU_S = 0.15
RAMP_MS = 1000 * SPEED / Limits().dec_mps2 + 50
P0_MS = 1000 * declared_stop_s(SPEED, TAU_S)
P1_MS = 1000 * declared_stop_s(SPEED, TAU_S, Limits().dec_mps2)
ORACLE_MS = 15  # the firmware steps every 5 ms; on two busy cores now and then a step comes late
ZERO = '{"T":1,"L":0.0000,"R":0.0000}'


def kill(pid: int, number: signal.Signals) -> int:
    """Send a signal; the moment just before it."""
    onset_ns = time.monotonic_ns()
    os.kill(pid, number)
    return onset_ns


def wait_for(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
    """Look every 10 ms until it holds."""
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s, "it did not happen in time"
        time.sleep(0.01)


class Rig:
    """One firmware process and one worker process."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self.folder = folder
        self._log = folder / "wheels.jsonl"
        self._checkout = checkout
        self.firmware = self._python("-m", "edge_vla.sim.firmware", "--log", str(self._log))
        self.path = self.line_of(self.firmware)
        self.worker: subprocess.Popen[str] | None = None
        self.guard_pid = 0

    def _python(self, *words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(self._checkout)}
        return subprocess.Popen([sys.executable, *words], cwd=self._checkout, env=environment, stdin=-1, stdout=-1, text=True)

    @staticmethod
    def line_of(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def drive(self) -> subprocess.Popen[str]:
        """Start a worker and wait until the robot drives 0.3 m/s."""
        self.worker = self._python("tests/guard/worker_script.py", self.path, str(self.folder / "guard.jsonl"))
        word, pid = self.line_of(self.worker).split()
        assert word == "moving"
        self.guard_pid = int(pid)
        return self.worker

    def tell(self, word: str) -> int:
        """Give the worker a word; the moment it was given."""
        assert self.worker is not None
        assert self.worker.stdin is not None
        told_ns = time.monotonic_ns()
        self.worker.stdin.write(word + "\n")
        self.worker.stdin.flush()
        return told_ns

    def wheels(self) -> list[dict]:
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines[: len(lines) - (not lines[-1].endswith("}"))]]

    def still_since(self, since_ns: int) -> bool:
        """The newest 100 ms, all of them after `since_ns`, show no motion."""
        newest = [row for row in self.wheels() if row["t_ns"] > since_ns and row["accepted"] is None][-20:]
        return len(newest) == 20 and all(max(abs(row["left"]), abs(row["right"])) < 0.02 for row in newest)

    def measure(self, since_ns: int) -> tuple[float, float, float]:
        """(first slower frame, first zero frame, last motion) in ms after `since_ns`."""
        wait_for(lambda: self.still_since(since_ns))
        rows = [row for row in self.wheels() if row["t_ns"] >= since_ns]
        frames = [row for row in rows if (row["accepted"] or "").startswith('{"T":1,')]
        slower = next((row["t_ns"] for row in frames if json.loads(row["accepted"])["L"] < SPEED - 1e-3), None)
        zero = next((row["t_ns"] for row in frames if row["accepted"] == ZERO), None)
        moved = max((row["t_ns"] for row in rows if max(abs(row["left"]), abs(row["right"])) >= 0.02), default=since_ns)
        return tuple(float("inf") if t is None else (t - since_ns) / 1e6 for t in (slower, zero, moved))  # type: ignore[return-value]

    def events(self) -> list[tuple[str, str]]:
        return [(line["event"], line["detail"]) for line in map(json.loads, (self.folder / "guard.jsonl").read_text().splitlines())]

    def guard_ended(self) -> bool:
        """A guard whose worker is dead is nobody's child here: ask whether the process exists."""
        with suppress(FileNotFoundError):
            return Path(f"/proc/{self.guard_pid}/stat").read_text().split(") ")[1].startswith("Z")
        return True

    def close(self) -> None:
        for process in (self.worker, self.firmware):
            if process is None:
                continue
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()


@pytest.fixture
def rig(tmp_path: Path, checkout: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, checkout)
    yield rig
    rig.close()


def report(record_property: Callable[[str, object], None], name: str, figures: tuple[float, float, float]) -> tuple[float, float, float]:
    print(f"\n{name}: slower {figures[0]:.0f} ms, zero {figures[1]:.0f} ms, wheels still {figures[2]:.0f} ms")
    record_property(name, figures)
    return figures


@pytest.mark.parametrize("phase_ms", [0, 7, 13])
def test_kill_9_of_the_worker(rig: Rig, record_property, phase_ms: int) -> None:
    worker = rig.drive()
    time.sleep(phase_ms / 1000)
    onset_ns = kill(worker.pid, signal.SIGKILL)
    _, zero_ms, still_ms = report(record_property, "kill -9 of the worker", rig.measure(onset_ns))
    assert zero_ms <= 150
    assert still_ms <= 150 + P0_MS + ORACLE_MS
    wait_for(rig.guard_ended, 3.0)  # it outlives the worker only until zero is confirmed
    assert ("fault", "1 WORKER_DEAD: the worker is gone") in rig.events()
    cost = re.fullmatch(r"n (\d+), p50 ([\d.]+) ms, p99 ([\d.]+) ms, longest ([\d.]+) ms", dict(rig.events())["ticks"])
    assert cost is not None
    assert int(cost[1]) > 50
    assert 0 < float(cost[2]) <= float(cost[3]) <= float(cost[4])


def test_sigstop_of_the_worker_stops_and_sigcont_does_not_move(rig: Rig, record_property) -> None:
    worker = rig.drive()
    onset_ns = kill(worker.pid, signal.SIGSTOP)
    _, zero_ms, still_ms = report(record_property, "SIGSTOP of the worker", rig.measure(onset_ns))
    assert zero_ms <= 150
    assert still_ms <= 150 + P0_MS + ORACLE_MS
    again_ns = kill(worker.pid, signal.SIGCONT)
    rig.tell("status")
    status = json.loads(rig.line_of(worker))  # it goes on asking for 0.3 m/s
    assert (status["state"], status["applied"]["linear_x"]) == ("FAULT_LATCHED", 0.0)
    wait_for(lambda: rig.wheels()[-1]["t_ns"] > again_ns + 500_000_000)
    assert all(abs(row["left"]) < 0.02 for row in rig.wheels() if row["t_ns"] > again_ns)


def test_silence(rig: Rig, record_property) -> None:
    rig.drive()
    slower_ms, zero_ms, still_ms = report(record_property, "command silence", rig.measure(rig.tell("silent")))
    assert slower_ms <= 150 + 250
    assert zero_ms <= 150 + 250 + RAMP_MS
    assert still_ms <= 150 + 250 + P1_MS + ORACLE_MS
    assert ("soft_stop", "TTL") in rig.events()


def test_a_hung_see_stops_the_robot_while_steer_talks_on(rig: Rig, record_property) -> None:
    rig.drive()
    slower_ms, zero_ms, still_ms = report(record_property, "evidence expiry", rig.measure(rig.tell("stale")))
    assert 400 <= slower_ms <= 500 + 250
    assert zero_ms <= 500 + 250 + RAMP_MS
    assert still_ms <= 500 + 250 + P1_MS + ORACLE_MS
    assert ("soft_stop", "EVIDENCE") in rig.events()


def test_sigterm_of_the_guard(rig: Rig, record_property) -> None:
    worker = rig.drive()
    onset_ns = kill(rig.guard_pid, signal.SIGTERM)
    _, zero_ms, still_ms = report(record_property, "SIGTERM of the guard", rig.measure(onset_ns))
    assert zero_ms <= 150
    assert still_ms <= 150 + P0_MS + ORACLE_MS
    assert worker.wait(5) == 3
    assert "guard gone" in rig.line_of(worker)


def test_kill_9_of_the_guard_leaves_it_to_the_base(rig: Rig, record_property) -> None:
    worker = rig.drive()
    onset_ns = kill(rig.guard_pid, signal.SIGKILL)
    _, _, still_ms = report(record_property, "kill -9 of the guard", rig.measure(onset_ns))
    assert still_ms <= 300 + P0_MS + ORACLE_MS
    assert worker.wait(5) == 3


def test_sigint_is_not_for_the_guard(rig: Rig) -> None:
    worker = rig.drive()
    since_ns = kill(rig.guard_pid, signal.SIGINT)
    wait_for(lambda: rig.wheels()[-1]["t_ns"] > since_ns + 300_000_000)
    assert all(row["left"] > 0.28 for row in rig.wheels() if row["t_ns"] > since_ns)
    rig.tell("leave")
    assert rig.line_of(worker) == "left 0"


def test_leaving_confirms_zero(rig: Rig, record_property) -> None:
    worker = rig.drive()
    _, zero_ms, still_ms = report(record_property, "BYE", rig.measure(rig.tell("leave")))
    assert zero_ms <= 150
    assert still_ms <= 150 + P0_MS + ORACLE_MS
    assert rig.line_of(worker) == "left 0"
    assert worker.wait(5) == 0


def test_an_unplugged_base_is_a_fault_and_no_busy_loop(rig: Rig) -> None:
    worker = rig.drive()
    onset_ns = kill(rig.firmware.pid, signal.SIGKILL)
    wait_for(lambda: any(name == "fault" for name, _ in rig.events()))
    fault = next(line for line in map(json.loads, (rig.folder / "guard.jsonl").read_text().splitlines()) if line["event"] == "fault")
    assert "PORT_LOST" in fault["detail"]
    assert (fault["t_ns"] - onset_ns) / 1e6 <= 100
    before = cpu_s(rig.guard_pid), time.monotonic()
    wait_for(lambda: time.monotonic() > before[1] + 1.0)
    assert (cpu_s(rig.guard_pid) - before[0]) / (time.monotonic() - before[1]) < 0.15
    rig.tell("leave")
    assert rig.line_of(worker) == "left 3"  # it could not confirm zero, and says so


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().split(") ")[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_two_guards_cannot_have_one_base(rig: Rig) -> None:
    worker = rig.drive()
    with pytest.raises(GuardError, match=rig.path):
        GuardProcess.start(GuardSettings("waveshare", rig.path))
    rig.tell("leave")
    assert rig.line_of(worker) == "left 0"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base": "waveshar"}, "did you mean 'waveshare'"),
        ({"port": "/dev/missing"}, "/dev/missing"),
        ({"base_options": {"track_m": 9.0}}, "track_m=9.0"),
        ({"log_path": "/missing/guard.jsonl"}, "guard log"),
    ],
)
def test_a_guard_that_refuses_says_why(rig: Rig, fields: dict[str, object], message: str) -> None:
    with pytest.raises(GuardError, match=message):
        GuardProcess.start(GuardSettings(**{"base": "waveshare", "port": rig.path} | fields))


def test_stop_reset_and_arm_again_with_a_full_disk(rig: Rig) -> None:
    with GuardProcess.start(GuardSettings("waveshare", rig.path, log_path="/dev/full")) as guard:

        def reach(state: GuardState) -> None:
            wait_for(lambda: guard.poll().state is state)  # type: ignore[union-attr]

        reach(GuardState.DISARMED)
        guard.arm()
        reach(GuardState.ARMED_IDLE)
        guard.stop()
        reach(GuardState.ESTOP_LATCHED)
        status = guard.status
        assert status is not None
        assert status.fault is FaultCode.OPERATOR_STOP

        def reset() -> bool:
            guard.reset(status.fault_id)
            return guard.poll().state is GuardState.DISARMED  # type: ignore[union-attr]

        wait_for(reset)
        guard.arm()
        reach(GuardState.ARMED_IDLE)
    assert guard.exit_code == 0
