"""A guard, a firmware and two motors on a virtual clock, and what the wheels did."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from edge_vla.bases.waveshare import WaveshareUGV
from edge_vla.errors import UnsafeCommand
from edge_vla.guard.client import Evidence
from edge_vla.guard.core import Guard, GuardOutput
from edge_vla.guard.limits import Limits
from edge_vla.guard.link import Command, Status
from edge_vla.guard.local import LocalGuard
from edge_vla.guard.state import GuardState
from edge_vla.guard.types import STILL, Twist
from edge_vla.guard.watch import PortHealth, Worker
from edge_vla.sim.firmware.waveshare import WaveshareFirmware
from edge_vla.sim.firmware.wheels import FirstOrderWheels

SESSION = 77
STEP_MS = 5
TICK_MS = 20
MS = 1_000_000


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

    def __init__(self, limits: Limits | None = None, wheels: FirstOrderWheels | None = None, low_battery_v: float | None = None) -> None:
        self.now_ns = 1_000_000 * MS
        self.limits = limits or Limits()
        self.wheels = wheels or FirstOrderWheels()
        self.firmware = WaveshareFirmware(self.wheels)
        self.base = WaveshareUGV()
        self.guard = Guard(self.base, self.limits, SESSION, low_battery_v=low_battery_v)
        self.line = Line(self)
        self.local = LocalGuard(self.guard, self.line, SESSION, lambda: self.now_ns)
        self.worker = Worker.RUNNING
        self.port = PortHealth.OK
        self.leave = False
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
        self.outputs.append(self.local.tick(self.now_ns, self.worker, self.port, leave=self.leave))
        return self.outputs[-1]

    @property
    def status(self) -> Status:
        status = self.local.poll()
        assert status is not None
        return status

    @property
    def state(self) -> GuardState:
        return self.status.state

    def look(self, age_ms: int = 40, life_ms: int = 500, turn: float = 50.0, travel: float = 50.0, clear: float | None = 20.0) -> Evidence:
        """Evidence from a frame of `age_ms` ago."""
        capture_ns = self.now_ns - age_ms * MS
        return Evidence(capture_ns, capture_ns + life_ms * MS, turn, travel, clear)

    def drive(self, twist: Twist) -> Callable[[], object]:
        """A worker with a camera that never fails."""
        return lambda: self.local.send(twist, self.look())

    def push(self, **fields: object) -> None:
        """One datagram exactly as given, past the client's own checks."""
        self.seq += 1
        known = {"t_issue_ns": self.now_ns, "ttl_ms": 150, "max_turn_rad": 9.0, "max_travel_m": 9.0, "clear_m": 9.0}
        known |= {"t_capture_ns": self.now_ns - 40 * MS, "evidence_deadline_ns": self.now_ns + 460 * MS}
        self.local._wire.push(Command(SESSION, self.seq, **(known | fields)).pack())

    def armed(self) -> Bench:
        assert self.run(400).state is GuardState.DISARMED
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


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def make_bench() -> type[Bench]:
    """For tests that need other limits or motors."""
    return Bench
