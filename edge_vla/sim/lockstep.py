"""A run without wall time: the same pilot, guard and firmware on a virtual clock. The same seed gives the same run, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from edge_vla.behaviours.state import Plan
from edge_vla.drive import Seeing, Steering, Tick, latched, pose_at
from edge_vla.guard.core import Guard
from edge_vla.guard.limits import Limits
from edge_vla.guard.local import LocalGuard
from edge_vla.guard.types import Base
from edge_vla.guard.wheels import Differential
from edge_vla.pilot import time_over
from edge_vla.sim.eye import Eye, SensorNoise
from edge_vla.sim.firmware import make_firmware
from edge_vla.sim.plant import Fitted, MotorWheels, Sensors
from edge_vla.sim.truth import Truth, true_view
from edge_vla.sim.world import World
from edge_vla.types import Engine, Frame, Look, Pose, Reply

MOTOR_STEP_S = 0.004
GUARD_NS = 20_000_000
SETTLE_NS = 2_000_000_000  # a stop from 0.35 m/s takes 0.8 s, from the ceiling of 0.5 m/s 0.9 s
FRAME_AGE_NS = 10_000_000  # exposure to arrival: what a camera and its driver add
SESSION = 1


@dataclass(frozen=True, slots=True)
class Pending:
    """A reply that is still on its way."""

    frame: Frame
    reply: Reply
    ready_ns: int


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a run is subjected to. `latency_ms` is from a frame's arrival to its reply."""

    latency_ms: int = 200
    steer_hz: int = 30
    fps: int = 15
    seed: int = 0  # of the sensors' noise, besides the room's own
    base: str = "waveshare"  # whose firmware is simulated
    base_options: Mapping[str, object] = field(default_factory=dict)


class Lockstep:
    """World, firmware, guard and pilot, advanced together. `mover` may move things before each guard tick."""

    def __init__(
        self, world: World, plan: Plan, base: Base, make_engine: Callable[[Lockstep], Engine], limits: Limits,
        conditions: Conditions | None = None,
    ) -> None:  # fmt: skip
        given = conditions or Conditions()
        self.world, self.plan = world, plan
        self.mover: Callable[[World, float], None] | None = None
        self.now_ns = 1_000_000_000  # zero means "never" in more than one protocol
        self.eye = Eye(world.model)
        self._noise = SensorNoise(world.room.seed * 7 + given.seed)
        self._wheels, sensors = MotorWheels(world), Sensors(world, world.room.seed * 7 + given.seed)
        fitted = Fitted(base.traits.drive, self._wheels, Differential(world.robot.track_m))
        self._firmware = make_firmware(
            given.base, given.base_options, fitted, measure=lambda: fitted.as_told(sensors.encoders()), gyro=sensors.gyro
        )
        guard = Guard(base, limits, SESSION, use_gyro=True)
        self._guard = LocalGuard(guard, self._firmware, SESSION, lambda: self.now_ns)
        self.steering = Steering(self._guard, plan, ttl_ms=150)
        self.engine = make_engine(self)
        self.seeing = Seeing(self.engine, plan, self._guard.poses.at)
        self._latency_ns = given.latency_ms * 1_000_000
        self._steer_ns, self._frame_ns = 1_000_000_000 // given.steer_hz, 1_000_000_000 // given.fps
        self._steer_due_ns = self._guard_due_ns = self._frame_due_ns = self.now_ns
        self._frame: Frame | None = None
        self._pending: Pending | None = None
        self._seq = 0
        self.look: Look | None = None
        self.ticks: list[Tick] = []
        self.trail: list[Pose] = []
        self.keep: Callable[[Frame, Look], None] | None = None

    def close(self) -> None:
        self.eye.close()

    def truth_of(self, seq: int) -> Truth | None:
        """What the simulator knows about the frame being asked about: the world has not moved since its exposure."""
        return true_view(self.world, self.eye, self.plan.camera) if seq == self._seq else None

    @property
    def elapsed_s(self) -> float:
        return (self.now_ns - 1_000_000_000) * 1e-9

    def run(self, timeout_s: float) -> str:
        """Until the pilot is done, a fault is latched or the time is over: "reached", "not_found", "fault" or "timeout"."""
        while self.elapsed_s < timeout_s:
            self.advance()
            if latched(self.steering.guard.status):
                return "fault"
            if self.steering.done:
                self._settle()
                return self.steering.state.outcome
        self.steering.state = time_over(self.steering.state, self.look, self.plan)
        return self.steering.state.outcome

    def advance(self) -> None:
        """One motor step of everything that is due."""
        if self.now_ns >= self._frame_due_ns:
            self._frame_due_ns += self._frame_ns
            self._frame = None  # a new exposure; it is rendered only if somebody looks
        if self.now_ns >= self._guard_due_ns:
            self._guard_due_ns += GUARD_NS
            self._tick_guard()
        self._see()
        if self.now_ns >= self._steer_due_ns:
            self._steer_due_ns += self._steer_ns
            self.ticks.append(self.steering.tick(self.now_ns, self.look))
        self._wheels.advance(MOTOR_STEP_S)
        self.now_ns += round(MOTOR_STEP_S * 1e9)
        self._firmware.step(self.now_ns)

    def _tick_guard(self) -> None:
        if self.mover is not None:
            self.mover(self.world, self.elapsed_s)
        self._guard.tick(self.now_ns)
        self.trail.append(replace(self.world.pose(), t_ns=self.now_ns))

    def _see(self) -> None:
        """Deliver a reply that is due; then, if the engine is free, give it the newest frame."""
        if self._pending is not None and self.now_ns >= self._pending.ready_ns:
            pending, self._pending = self._pending, None
            self.look = self.seeing.understand(pending.reply, pending.frame, pending.ready_ns)
            if self.keep is not None:
                self.keep(pending.frame, self.look)
        if self._pending is None and pose_at(self.steering.guard.poses, self.now_ns) is not None and self._frame is None:
            self._frame = self._expose()
            reply = self.seeing.ask(self._frame)
            self._pending = Pending(self._frame, reply, self.now_ns + FRAME_AGE_NS + self._latency_ns)

    def _expose(self) -> Frame:
        """Render the moment."""
        self._seq += 1
        self.world.settle()
        return Frame(self._noise(self.eye.rgb(self.world.data)), self.now_ns, self._seq)

    def _settle(self) -> None:
        """Let the robot come to rest, with the pilot done and the guard still ticking. One that does not is judged as it moves."""
        until_ns = self.now_ns + SETTLE_NS
        while self.now_ns < until_ns:
            self.advance()
            if max(abs(v) for v in self.world.wheel_speeds()) < 0.005:
                return
