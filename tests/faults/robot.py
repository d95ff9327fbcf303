"""A whole robot on a virtual clock: camera, engine, the worker's two loops, the guard and a base's firmware. Faults come by a schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from edge_vla.bases import make_base
from edge_vla.behaviours.state import Plan
from edge_vla.cameras.rules import FrameRules
from edge_vla.drive import Seeing, Steering, latched
from edge_vla.errors import EdgeVLAError
from edge_vla.geometry import CameraPose
from edge_vla.goals import Goal
from edge_vla.guard.core import Guard, GuardOutput
from edge_vla.guard.limits import Limits
from edge_vla.guard.link import Status
from edge_vla.guard.local import LocalGuard
from edge_vla.guard.state import FaultCode
from edge_vla.guard.types import STILL, Hazard
from edge_vla.guard.watch import DeadmanWatch, PortHealth, Worker
from edge_vla.live import READ_S, SeeLoop, SteerLoop
from edge_vla.sim.firmware import make_firmware
from edge_vla.sim.firmware.wheels import FirstOrderWheels
from tests.faults.seams import HEIGHT, WIDTH, FaultyCamera, FaultyEngine, FaultyLine

MS = 1_000_000
STEP_MS, TICK_MS, STEER_HZ = 5, 20, 30
SPEED_MPS = 0.3
TAU_S = 0.15
STILL_MPS = 0.02
SESSION = 31
ROWS_BEFORE_MS = 4000  # by then it drives
LOW_BATTERY_V = 9.0
CAMERA = CameraPose(math.radians(70), WIDTH / HEIGHT, 0.25, math.radians(10), 0.08)


class TimeUp(BaseException):
    """The schedule is over; whatever was waiting is left where it stands."""


@dataclass(frozen=True)
class Stop:
    """In ms after the fault: the first slower command, the zero, the wheels then below 0.02 m/s, and the last motion of all."""

    slower: float
    zero: float
    still: float
    last: float


class Robot:
    """Drives towards a cup that stays ahead. What the base accepted and what its wheels did is the oracle."""

    def __init__(self, kind: str = "waveshare", *, deadman: bool = False) -> None:
        self.now_ns = 1_000_000 * MS
        self.base = make_base(kind)
        self.limits = Limits(max_linear_mps=SPEED_MPS)
        self.wheels = FirstOrderWheels(TAU_S, gains=[1.0] * len(self.base.traits.drive.wheels(STILL)))
        self.firmware = make_firmware(kind, {}, self.wheels)
        self.line = FaultyLine(self)
        watch = DeadmanWatch() if deadman else None
        self.guard = Guard(self.base, self.limits, SESSION, low_battery_v=LOW_BATTERY_V, deadman=watch)
        self.local = LocalGuard(self.guard, self.line, SESSION, lambda: self.now_ns)
        self.sent: list[bytes] = []  # the worker's datagrams
        push = self.local._wire.push
        self.local._wire.push = lambda data: (self.sent.append(data), push(data))[1]  # type: ignore[func-returns-value,method-assign]
        self.camera, self.engine = FaultyCamera(self), FaultyEngine(self)
        plan = Plan(Goal.FIND_OBJECT, "cup", CAMERA, max_linear_mps=SPEED_MPS)
        self.steering = Steering(self.local, plan, ttl_ms=150)
        rules = FrameRules((HEIGHT, WIDTH, 3))
        seeing = Seeing(self.engine, plan, self.local.poses.at)
        self.see = SeeLoop(self.camera, seeing, rules.judge, self.steering.driven, lambda: self.now_ns)
        self.loop = SteerLoop(self.see, self.steering, STEER_HZ, lambda: self.now_ns)
        self.worker, self.port = Worker.RUNNING, PortHealth.OK
        self.stop, self.button, self.leave = False, True if deadman else None, False
        self.hands: Callable[[], object] | None = None  # what the worker does instead of steering
        self.worker_runs = self.guard_runs = True
        self.ended = ""  # why the run ended
        self.speeds: list[tuple[int, float]] = []  # the fastest wheel
        self.outputs: list[tuple[int, GuardOutput]] = []
        self.states: list[tuple[int, Status]] = []  # as the guard tells them, read or not
        self._schedule: list[tuple[int, Callable[[], object]]] = []
        self._end_ns = self.now_ns
        self._steer_due_ns = self.now_ns

    # -- time

    def at(self, ms: float, action: Callable[[], object]) -> None:
        """Do something so many ms from now."""
        self._schedule.append((self.now_ns + round(ms * MS), action))
        self._schedule.sort(key=lambda entry: entry[0])

    def each(self, ms: float, action: Callable[[], object]) -> None:
        """Do something now and every so many ms from now on."""

        def again() -> None:
            action()
            self.at(ms, again)

        again()

    def run(self, ms: int) -> None:
        """Let so much time pass. SEE is the outer loop: its waiting and the engine's thinking are what lets it pass."""
        self._end_ns = self.now_ns + ms * MS
        try:
            while True:
                self._see()
        except TimeUp:
            return

    def pass_ms(self, ms: int) -> None:
        for _ in range(max(1, round(ms / STEP_MS))):
            self._step()

    def _see(self) -> None:
        if self.see.fault or self.ended or not self.worker_runs:
            self.pass_ms(STEP_MS)
            return
        asked_ns = self.now_ns
        try:
            if not self.see.look_once():  # and then it waits until its patience is over, as SeeLoop does
                self.pass_ms(round(READ_S * 1000) - (self.now_ns - asked_ns) // MS)
        except EdgeVLAError as err:
            self.see.fault = f"engine: {err}"
        except Exception as err:  # noqa: BLE001 - as SeeLoop does
            self.see.fault = f"engine: {err!r}"

    def _step(self) -> None:
        if self.now_ns >= self._end_ns:
            raise TimeUp
        while self._schedule and self._schedule[0][0] <= self.now_ns:
            self._schedule.pop(0)[1]()
        self.now_ns += STEP_MS * MS
        self.wheels.advance(STEP_MS / 1000)
        self.firmware.step(self.now_ns)
        self.speeds.append((self.now_ns, max(map(abs, self.wheels.speeds()))))
        if self.worker_runs and not self.ended and self.now_ns >= self._steer_due_ns:
            self._steer_due_ns += 1_000_000_000 // STEER_HZ
            self._steer()
        if self.guard_runs and self.now_ns % (TICK_MS * MS) == 0:
            self._guard()

    def _steer(self) -> None:
        if self.hands is not None:
            self.local.poll()
            self.hands()
            return
        self.loop.tick(0)
        if trouble := self.see.trouble(self.now_ns):
            self.local.fault()
            self.end(trouble)
        elif latched(self.local.status):
            self.end(f"latched {self.local.status.fault.name}")  # type: ignore[union-attr]

    def end(self, why: str) -> None:
        """As a session ends a run: the guard is told to confirm zero."""
        self.ended = why
        self.local.bye()

    def _guard(self) -> None:
        output = self.local.tick(self.now_ns, self.worker, self.port, leave=self.leave, stop=self.stop, button=self.button)
        self.outputs.append((self.now_ns, output))
        self.states.append((self.now_ns, Status.unpack(output.status)))

    # -- what happened

    def drive(self) -> Robot:
        """Until it drives at its speed."""
        self.run(ROWS_BEFORE_MS)
        assert self.asked() > 0.9 * self.cruise_mps, f"it does not drive: {self.local.status}"
        assert self.speeds[-1][1] > 0.9 * self.cruise_mps
        return self

    @property
    def cruise_mps(self) -> float:
        """What this base is allowed: those without a timeout of their own are slower."""
        return SPEED_MPS if self.base.traits.watchdog_ms is not None else min(SPEED_MPS, 0.25)

    def asked(self) -> float:
        """The fastest wheel speed of the newest command."""
        return next(max(map(abs, speeds)) for _, _, speeds in reversed(self.line.accepted) if speeds is not None)

    def commands(self, since_ns: int) -> list[tuple[int, float]]:
        """(moment, fastest wheel) of every command accepted after that."""
        return [(t_ns, max(map(abs, speeds))) for t_ns, _, speeds in self.line.accepted if speeds is not None and t_ns > since_ns]

    def measure(self, onset_ns: int, *, final: bool) -> Stop:
        """What base and wheels say about a fault at `onset_ns`. `final`: of the zeros the one that nothing else follows, not the first."""
        after = self.commands(onset_ns)
        slower = next((t for t, fast in after if fast < 0.95 * self.cruise_mps), None)
        asked = max((t for t, fast in after if fast > 0.0), default=onset_ns) if final else onset_ns
        zero = next((t for t, fast in after if fast == 0.0 and t >= asked), None)
        still = next((t for t, fast in self.speeds if t >= (zero or onset_ns) and fast < STILL_MPS), None)
        moved = max((t for t, fast in self.speeds if t >= onset_ns and fast >= STILL_MPS), default=onset_ns)
        last = moved if self.speeds[-1][1] < STILL_MPS else None
        return Stop(*(math.inf if t is None else (t - onset_ns) / MS for t in (slower, zero, still, last)))

    def fault(self) -> FaultCode:
        return self.states[-1][1].fault

    def causes(self, since_ns: int) -> set[str]:
        """Of the soft stops since."""
        return {status.cause.name for t_ns, status in self.states if t_ns >= since_ns}

    def meet(self, hazard: Hazard) -> None:
        self.firmware.hazards = hazard
