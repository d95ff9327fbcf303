"""A guard, a firmware and two motors: on a virtual clock as `bench`, as three real processes as `rig`. And what the wheels did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from edge_vla.bases import make_base
from edge_vla.errors import UnsafeCommand
from edge_vla.guard.client import Evidence
from edge_vla.guard.core import Guard, GuardOutput
from edge_vla.guard.limits import Limits
from edge_vla.guard.link import Command, Status
from edge_vla.guard.local import LocalGuard
from edge_vla.guard.state import GuardState, Machine
from edge_vla.guard.types import STILL, Base, Twist
from edge_vla.guard.watch import DeadmanWatch, PortHealth, Worker
from edge_vla.sim.firmware import make_firmware
from edge_vla.sim.firmware.wheels import FirstOrderWheels

SESSION = 77
STEP_MS = 5
TICK_MS = 20
MS = 1_000_000
DRIVEN_MPS = 0.3  # by the worker script
ZERO = '{"T":1,"L":0.0000,"R":0.0000}'


class Line:
    """The serial line: counts what goes over it, and can be cut or filled with noise."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.mute = False  # the base says nothing
        self.deaf = False  # the base hears nothing
        self.noise = b""

    def feed(self, data: bytes, now_ns: int) -> None:
        self.bench.bytes_out.append((now_ns, data))
        with suppress(UnsafeCommand):  # configuration
            self.bench.frames.append((now_ns, self.bench.base.decode_command(data)))
        if not self.deaf:
            self.bench.firmware.feed(data, now_ns)

    def read(self, now_ns: int) -> bytes:
        said = self.bench.firmware.read(now_ns)
        return self.noise + (b"" if self.mute else said)


class Bench:
    """Drives everything. Times are virtual; `frames` and `speeds` are the oracle."""

    def __init__(
        self, limits: Limits | None = None, wheels: FirstOrderWheels | None = None, low_battery_v: float | None = None,
        base: Base | None = None, kind: str = "waveshare", options: Mapping[str, object] | None = None,
        deadman: DeadmanWatch | None = None, machine: Machine | None = None,
    ) -> None:  # fmt: skip
        self.now_ns = 1_000_000 * MS
        self.limits = limits or Limits()
        self.base = base or make_base(kind, options)
        self.wheels = wheels or FirstOrderWheels(gains=[1.0] * len(self.base.traits.drive.wheels(STILL)))
        self.firmware = make_firmware(kind, options or {}, self.wheels)
        self.guard = Guard(self.base, self.limits, SESSION, low_battery_v=low_battery_v, deadman=deadman, machine=machine)
        self.line = Line(self)
        self.local = LocalGuard(self.guard, self.line, SESSION, lambda: self.now_ns)
        self.worker = Worker.RUNNING
        self.port = PortHealth.OK
        self.leave = False
        self.stop = False  # somebody writes to the STOP line, tick by tick
        self.button: bool | None = None  # what is said of the deadman's, tick by tick
        self.seq = 1_000_000  # of pushed datagrams, ahead of the client's own
        self.frames: list[tuple[int, Twist]] = []
        self.bytes_out: list[tuple[int, bytes]] = []
        self.speeds: list[tuple[int, float]] = []  # the faster wheel
        self.outputs: list[GuardOutput] = []

    def run(self, ms: int, each: Callable[[], object] | None = None) -> Status:
        """Let `ms` pass; `each` is what the worker does before every tick."""
        for _ in range(ms // STEP_MS):
            self.now_ns += STEP_MS * MS
            self.wheels.advance(STEP_MS / 1000)
            self.firmware.step(self.now_ns)
            self.speeds.append((self.now_ns, max(map(abs, self.wheels.speeds()))))
            if self.now_ns % (TICK_MS * MS) == 0:
                if each is not None:
                    each()
                self.tick()
        return self.status

    def tick(self) -> GuardOutput:
        self.outputs.append(self.local.tick(self.now_ns, self.worker, self.port, leave=self.leave, stop=self.stop, button=self.button))
        return self.outputs[-1]

    @property
    def status(self) -> Status:
        status = self.local.poll()
        assert status is not None
        return status

    @property
    def state(self) -> GuardState:
        return self.status.state

    def look(self, age_ms: int = 40, life_ms: int = 500, turn: float = 6.0, travel: float = 5.0, clear: float | None = 20.0) -> Evidence:
        """Evidence from a frame of `age_ms` ago."""
        capture_ns = self.now_ns - age_ms * MS
        return Evidence(capture_ns, capture_ns + life_ms * MS, turn, travel, clear)

    def drive(self, twist: Twist) -> Callable[[], object]:
        """A worker with a camera that never fails."""
        return lambda: self.local.send(twist, self.look())

    def push(self, **fields: object) -> None:
        """One datagram exactly as given, past the client's own checks."""
        self.seq += 1
        known = {"t_issue_ns": self.now_ns, "ttl_ms": 150, "max_turn_rad": 6.0, "max_travel_m": 5.0, "clear_m": 9.0}
        known |= {"t_capture_ns": self.now_ns - 40 * MS, "evidence_deadline_ns": self.now_ns + 460 * MS}
        self.local._wire.push(Command(SESSION, self.seq, **(known | fields)).pack())

    def armed(self) -> Bench:
        assert self.run(800).state is GuardState.DISARMED
        self.local.arm()
        assert self.run(TICK_MS).state is GuardState.ARMED_IDLE
        return self

    def moving(self, twist: Twist = Twist(0.3)) -> Bench:
        self.armed()
        assert self.run(1500, self.drive(twist)).state is GuardState.MOVING
        return self

    def first(self, since_ns: int, wanted: Callable[[Twist], bool]) -> float:
        """Milliseconds from `since_ns` to the first frame after it that is `wanted`; infinite if there was none."""
        return next(((t - since_ns) / MS for t, twist in self.frames if t >= since_ns and wanted(twist)), float("inf"))

    def stop_bytes_ms(self, since_ns: int) -> float:
        return self.first(since_ns, lambda twist: twist == STILL)

    def wheels_still_ms(self, since_ns: int) -> float:
        """Milliseconds from `since_ns` to the last sample of a wheel at 0.02 m/s or more."""
        assert self.speeds[-1][1] < 0.02, "the wheels never stopped"
        return max([(t - since_ns) / MS for t, speed in self.speeds if t >= since_ns and speed >= 0.02], default=0.0)


class Rig:
    """One firmware process and one worker process that drives 0.3 m/s: real time, a real guard between them."""

    def __init__(self, folder: Path, checkout: Path, *, baud: int = 115200, deadman_ms: int = 0, log: str = "") -> None:
        self.folder, self._baud, self._deadman_ms = folder, baud, deadman_ms
        self._guard_log = log or str(folder / "guard.jsonl")
        self._log = folder / "wheels.jsonl"
        self._checkout = checkout
        self.path = str(folder / "base")  # as /dev/serial/by-id names a device, wherever it is plugged in
        self.firmware = self._plug()
        self.worker: subprocess.Popen[str] | None = None
        self.guard_pid = 0

    def _plug(self) -> subprocess.Popen[str]:
        firmware = self._python("-m", "edge_vla.sim.firmware", "--log", str(self._log), "--baud", str(self._baud))
        tty = self.line_of(firmware)
        Path(self.path).unlink(missing_ok=True)
        Path(self.path).symlink_to(tty)
        return firmware

    def unplug(self) -> int:
        """Pull the base's plug; the moment just before it."""
        onset_ns = time.monotonic_ns()
        self._end(self.firmware)
        return onset_ns

    def replug(self) -> int:
        """Another tty behind the same name, its wheels at rest; the moment before."""
        at_ns = time.monotonic_ns()
        self.firmware = self._plug()
        return at_ns

    @staticmethod
    def now_ns() -> int:
        return time.monotonic_ns()

    @staticmethod
    def kill(pid: int, number: signal.Signals) -> int:
        """Send a signal; the moment just before it."""
        onset_ns = time.monotonic_ns()
        os.kill(pid, number)
        return onset_ns

    @staticmethod
    def wait_for(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
        """Look every 10 ms until it holds."""
        give_up_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < give_up_s, "it did not happen in time"
            time.sleep(0.01)

    def _python(self, *words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(self._checkout)}
        return subprocess.Popen([sys.executable, *words], cwd=self._checkout, env=environment, stdin=-1, stdout=-1, text=True)

    @staticmethod
    def line_of(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def start(self) -> subprocess.Popen[str]:
        """Start a worker and its guard."""
        words = ("tests/guard/worker_script.py", self.path, self._guard_log, str(self.folder / "private" / "base.latch"))
        self.worker = self._python(*words, str(self._deadman_ms), str(self._baud))
        word, pid = self.line_of(self.worker).split()
        assert word == "guard"
        self.guard_pid = int(pid)
        return self.worker

    def drive(self) -> subprocess.Popen[str]:
        """Start a worker and wait until the robot drives 0.3 m/s."""
        worker = self.start()
        assert self.line_of(worker) == "moving"
        return worker

    def tell(self, word: str) -> int:
        """Give the worker a word; the moment it was given."""
        assert self.worker is not None
        assert self.worker.stdin is not None
        told_ns = time.monotonic_ns()
        self.worker.stdin.write(word + "\n")
        self.worker.stdin.flush()
        return told_ns

    def status(self) -> dict:
        """What the worker knows of the guard."""
        self.tell("status")
        assert self.worker is not None
        status: dict = json.loads(self.line_of(self.worker))
        return status

    def wheels(self) -> list[dict]:
        lines = self._log.read_text().splitlines()
        return [json.loads(line) for line in lines[: len(lines) - (not lines[-1].endswith("}"))]]

    def still_since(self, since_ns: int) -> bool:
        """The newest 100 ms, all of them after `since_ns`, show no motion."""
        newest = [row for row in self.wheels() if row["t_ns"] > since_ns and row["accepted"] is None][-20:]
        return len(newest) == 20 and all(max(map(abs, row["wheels"])) < 0.02 for row in newest)

    def measure(self, since_ns: int) -> tuple[float, float, float]:
        """(first slower frame, first zero frame, last motion) in ms after `since_ns`."""
        self.wait_for(lambda: self.still_since(since_ns))
        rows = [row for row in self.wheels() if row["t_ns"] >= since_ns]
        frames = [row for row in rows if (row["accepted"] or "").startswith('{"T":1,')]
        slower = next((row["t_ns"] for row in frames if json.loads(row["accepted"])["L"] < DRIVEN_MPS - 1e-3), None)
        zero = next((row["t_ns"] for row in frames if row["accepted"] == ZERO), None)
        moved = max((row["t_ns"] for row in rows if max(map(abs, row["wheels"])) >= 0.02), default=since_ns)
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
            if process is not None:
                self._end(process)

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def make_bench() -> type[Bench]:
    """For tests that need other limits or motors."""
    return Bench


@pytest.fixture
def rig(tmp_path: Path, checkout: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path, checkout)
    yield rig
    rig.close()
