"""RoboClaw's codec and its controller on one virtual clock."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vla.bases.roboclaw import RoboClaw
from edge_vla.guard.types import NO_HAZARD, STILL, Feedback, Hazard, Twist
from edge_vla.sim.firmware.roboclaw import RoboClawFirmware, Unit
from edge_vla.sim.firmware.wheels import FirstOrderWheels

MS = 1_000_000


class Loop:
    """A guard's rhythm: each 20 ms what has been said is read and a command written, and questions when they are due."""

    def __init__(self, status_bytes: int = 4) -> None:
        self.base = RoboClaw(status_bytes=status_bytes)
        self.wheels = FirstOrderWheels()
        self.firmware = RoboClawFirmware(self.wheels, unit=Unit(status_bytes=status_bytes))
        self.now_ns = 1_000 * MS
        self.heard: list[Feedback] = []
        self.way_m = [0.0, 0.0]
        self.ask_ns = 0
        self.tell(*self.base.init_frames())

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


@pytest.mark.parametrize("status_bytes", [4, 2])
@pytest.mark.parametrize("twist", [Twist(0.3), Twist(-0.2), Twist(0.2, 0.0, 0.6), Twist(0.0, 0.0, -1.0)], ids=str)
def test_what_is_commanded_comes_back(twist: Twist, status_bytes: int) -> None:
    loop = Loop(status_bytes)
    loop.firmware.battery_v = 11.4
    reports = [report for report in loop.run(3000, twist) if report.t_ns >= 2_500 * MS]
    assert loop.wheels.speeds() == pytest.approx(loop.base.traits.drive.wheels(twist), rel=0.01)
    assert len(reports) == 31
    for report in reports:
        assert report.wheels_mps == pytest.approx(loop.wheels.speeds(), rel=0.02, abs=1.1 / 10000 / 0.04), "a count in 40 ms"
        assert (report.battery_v, report.hazards) == (11.4, NO_HAZARD)
    assert loop.base.garbage_bytes == 0


def test_reports_come_every_50_ms() -> None:
    loop = Loop()
    reports = loop.run(5000, Twist(0.1))
    assert len(reports) == pytest.approx(100, abs=2)
    assert max(b.t_ns - a.t_ns for a, b in pairwise(reports)) <= 60 * MS


def test_ways_are_what_the_wheels_have_driven() -> None:
    loop = Loop()
    loop.run(200)
    loop.run(2000, Twist(0.2, 0.0, 0.5))
    reports = loop.run(2000)
    assert reports[-1].travel_m == pytest.approx(loop.way_m, abs=2e-4)
    assert reports[-1].wheels_mps == (0.0, 0.0)


def test_silence_stops_it_after_300_ms() -> None:
    loop = Loop()
    loop.run(1500, Twist(0.3))
    loop.run(300, None)
    assert min(loop.wheels.speeds()) > 0.29
    loop.run(1500, None)
    assert max(map(abs, loop.wheels.speeds())) < 0.02


@pytest.mark.parametrize("hazard", [Hazard.OVER_CURRENT, Hazard.TRIPPED])
def test_hazards_are_heard_and_end(hazard: Hazard) -> None:
    loop = Loop()
    loop.run(500, Twist(0.2))
    loop.firmware.hazards = hazard
    reports = loop.run(200, Twist(0.2))
    assert reports[-1].hazards == hazard
    loop.firmware.hazards = NO_HAZARD
    assert loop.run(200, Twist(0.2))[-1].hazards == NO_HAZARD


def test_a_brown_out_is_heard_of_and_the_way_goes_on() -> None:
    loop = Loop()
    before = loop.run(2000, Twist(0.3))[-1].travel_m
    assert before is not None
    loop.firmware.reboot(loop.now_ns)
    reports = loop.run(2000)
    assert [report.rebooted for report in reports[:3]] == [True, False, False]
    assert reports[-1].travel_m is not None
    assert reports[-1].travel_m[0] == pytest.approx(before[0], abs=0.03)
    loop.tell(*loop.base.init_frames())
    assert loop.firmware.timeout_steps == 3


@settings(max_examples=50)
@given(st.binary(max_size=300), st.integers(0, 12))
def test_after_any_bytes_the_third_stop_of_a_burst_is_obeyed(data: bytes, cut: int) -> None:
    loop = Loop()
    loop.run(100, Twist(0.2))
    loop.firmware.feed(data, loop.now_ns)
    loop.firmware.feed(loop.base.encode(Twist(0.2))[:cut], loop.now_ns)
    loop.tell(loop.base.traits.resync)
    loop.run(60)
    assert loop.wheels._targets == [0.0, 0.0]
    assert loop.run(400)[-1].hazards == NO_HAZARD
