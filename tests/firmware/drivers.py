"""A codec and its firmware on one virtual clock, as a guard would use them: what comes back is what was driven."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edge_vla.bases import make_base
from edge_vla.guard.odometry import Odometry
from edge_vla.guard.types import STILL, Feedback, Twist
from edge_vla.sim.firmware import make_firmware
from edge_vla.sim.firmware.wheels import FirstOrderWheels

MS = 1_000_000
STEP_MS, TICK_MS = 5, 20


class Pair:
    """`heard` are all reports. `say` false leaves the base alone."""

    def __init__(self, kind: str, options: Mapping[str, object] | None = None, gains: tuple[float, ...] | None = None) -> None:
        self.base = make_base(kind, options or {})
        count = len(self.base.traits.drive.wheels(STILL))
        self.wheels = FirstOrderWheels(gains=gains or (1.0,) * count)
        self.firmware = make_firmware(kind, options or {}, self.wheels)
        self.odometry = Odometry(self.base.traits)
        self.now_ns = 1_000_000 * MS
        self.heard: list[Feedback] = []
        self.quiet_from_ns: int | None = None
        self._poll_ns = 0

    def run(self, ms: int, twist: Twist = STILL, *, say: bool = True, each: Callable[[], object] | None = None) -> list[Feedback]:
        """Let `ms` pass; the reports of that time."""
        before = len(self.heard)
        for _ in range(ms // STEP_MS):
            self.now_ns += STEP_MS * MS
            self.wheels.advance(STEP_MS / 1000)
            self.firmware.step(self.now_ns)
            if self.now_ns % (TICK_MS * MS) == 0:
                self._tick(twist, say=say)
                if each is not None:
                    each()
        return self.heard[before:]

    def tell(self, *frames: bytes) -> None:
        for frame in frames:
            self.firmware.feed(frame, self.now_ns)
            self.base.sent(frame, self.now_ns)

    def start(self) -> Pair:
        """Configured, answering, and standing."""
        self.tell(*self.base.init_frames())
        self.run(600)
        self.tell(*self.base.init_frames())
        self.run(400)
        return self

    def _tick(self, twist: Twist, *, say: bool) -> None:
        for report in self.base.feed(self.firmware.read(self.now_ns), self.now_ns):
            self.heard.append(report)
            self.odometry.hear(report)
        if not say:
            return
        self.tell(self.base.encode(twist))
        if self.now_ns >= self._poll_ns:
            self._poll_ns = self.now_ns + self.base.traits.feedback_period_ms * MS
            self.tell(*self.base.poll_frames())

    @property
    def newest(self) -> Feedback:
        return next(report for report in reversed(self.heard) if report.wheels_mps is not None)
