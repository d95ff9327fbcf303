"""ros_arduino_bridge's codec and its Arduino on one virtual clock."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vla.bases.ros_arduino import RosArduino
from edge_vla.guard.types import NO_HAZARD, STILL, Feedback, Hazard, Twist
from edge_vla.sim.firmware.ros_arduino import RosArduinoFirmware, Sketch
from edge_vla.sim.firmware.wheels import FirstOrderWheels

MS = 1_000_000


class Loop:
    """A guard's rhythm: each 20 ms what has been said is read and a command written, and a question when one is due."""

    def __init__(self, sketch: Sketch | None = None, **options: Any) -> None:
        self.base = RosArduino(**options)
        self.wheels = FirstOrderWheels()
        self.firmware = RosArduinoFirmware(self.wheels, sketch=sketch or Sketch())
        self.now_ns = 1_000 * MS
        self.heard: list[Feedback] = []
        self.way_m = [0.0, 0.0]
        self.ask_ns = 0

    def run(self, ms: int, twist: Twist | None = STILL) -> list[Feedback]:
        start = len(self.heard)
        for _ in range(ms // 5):
            self.now_ns += 5 * MS
            self.wheels.advance(0.005)
            self.way_m = [way + 0.005 * speed for way, speed in zip(self.way_m, self.wheels.speeds(), strict=True)]
            self.firmware.step(self.now_ns)
            if twist is not None and self.now_ns % (20 * MS) == 0:
                self._tick(twist)
        return self.heard[start:]

    def _tick(self, twist: Twist) -> None:
        self.heard += self.base.feed(self.firmware.read(self.now_ns), self.now_ns)
        self.tell(self.base.encode(twist))
        if self.now_ns >= self.ask_ns:
            self.ask_ns = max(self.ask_ns + 50 * MS, self.now_ns)
            self.tell(*self.base.poll_frames())

    def tell(self, *frames: bytes) -> None:
        for frame in frames:
            self.firmware.feed(frame, self.now_ns)
            self.base.sent(frame, self.now_ns)


@pytest.mark.parametrize("twist", [Twist(0.3), Twist(-0.2), Twist(0.2, 0.0, 0.6), Twist(0.0, 0.0, -1.0)], ids=str)
def test_what_is_commanded_comes_back(twist: Twist) -> None:
    """Its frames are 1 % shorter than its rate says; the host can say 1000 / 33 Hz instead."""
    loop = Loop(loop_hz=1000 / 33, ticks_per_m=16571.0)
    wanted = loop.base.traits.drive.wheels(twist)
    reports = [report for report in loop.run(3000, twist) if report.t_ns >= 2_500 * MS]
    assert loop.wheels.speeds() == pytest.approx(wanted, rel=0.01, abs=loop.base.traits.wheel_quantum_mps)
    assert len(reports) == 31
    for report in reports:
        assert report.wheels_mps == pytest.approx(loop.wheels.speeds(), rel=0.02, abs=1.1 / 16571 / 0.04), "a count in 40 ms"
        assert report.hazards == NO_HAZARD
    assert loop.base.garbage_bytes == 0
    assert loop.firmware.overruns == 0


def test_its_published_frame_makes_it_a_hundredth_faster() -> None:
    loop = Loop()
    loop.run(3000, Twist(0.3))
    assert loop.wheels.speeds()[0] == pytest.approx(165 * 30 / 16571 * 1000 / 990, rel=1e-3)


def test_reports_come_every_50_ms() -> None:
    loop = Loop()
    reports = loop.run(5000, Twist(0.1))
    assert len(reports) == pytest.approx(100, abs=2)
    assert max(b.t_ns - a.t_ns for a, b in pairwise(reports)) <= 60 * MS


def test_ways_are_what_the_wheels_have_driven() -> None:
    loop = Loop()
    loop.run(200)
    start = list(loop.way_m)
    loop.run(2000, Twist(0.2, 0.0, 0.5))
    reports = loop.run(2000)
    travel = reports[-1].travel_m
    assert travel == pytest.approx([now - then for now, then in zip(loop.way_m, start, strict=True)], abs=2 / 16571)
    assert reports[-1].wheels_mps == (0.0, 0.0)


@pytest.mark.parametrize(("auto_stop_ms", "sketch"), [(None, Sketch()), (300, Sketch(auto_stop_ms=300))])
def test_silence_stops_it_when_the_sketch_says_so(auto_stop_ms: int | None, sketch: Sketch) -> None:
    loop = Loop(sketch, auto_stop_ms=auto_stop_ms)
    loop.run(1500, Twist(0.3))
    loop.run(sketch.auto_stop_ms - 50, None)
    assert min(loop.wheels.speeds()) > 0.29
    loop.run(1500, None)
    assert max(map(abs, loop.wheels.speeds())) < 0.02
    assert loop.base.traits.watchdog_ms == auto_stop_ms


def test_a_reboot_is_heard_of_and_the_way_goes_on() -> None:
    loop = Loop()
    before = loop.run(2000, Twist(0.3))[-1].travel_m
    assert before is not None
    loop.firmware.reboot(loop.now_ns)
    reports = loop.run(3000)
    assert [report.rebooted for report in reports[:3]] == [True, False, False]
    assert reports[-1].travel_m is not None
    assert reports[-1].travel_m[0] == pytest.approx(before[0], abs=0.03)


def test_a_sketch_without_a_base_never_says_that_it_drives() -> None:
    loop = Loop(Sketch(use_base=False))
    reports = loop.run(500)
    assert {(report.hazards, report.wheels_mps) for report in reports} == {(Hazard.TRIPPED, None)}


@settings(max_examples=50)
@given(st.binary(max_size=300), st.integers(0, 12))
def test_after_any_bytes_a_stop_behind_a_resync_is_obeyed(data: bytes, cut: int) -> None:
    loop = Loop()
    loop.run(100, Twist(0.2))
    loop.firmware.feed(data + loop.base.encode(Twist(0.2))[:cut], loop.now_ns)
    loop.tell(loop.base.traits.resync, loop.base.encode(STILL))
    assert loop.wheels._targets == [0.0, 0.0]
