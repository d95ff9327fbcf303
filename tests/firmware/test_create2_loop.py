"""Create 2's codec and its firmware simulator on one virtual clock: what is commanded comes back, and torn words end in a stop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.bases.create2 import Create2
from edge_vla.guard.types import NO_HAZARD, STILL, Feedback, Hazard, Twist
from edge_vla.sim.firmware.create2 import COUNT_M, PASSIVE, SAFE, Create2Firmware, Robot
from edge_vla.sim.firmware.wheels import FirstOrderWheels

MS = 1_000_000


class Loop:
    """A guard's rhythm: says a twist and reads every 20 ms."""

    def __init__(self, robot: Robot | None = None) -> None:
        self.base = Create2()
        self.wheels = FirstOrderWheels()
        self.firmware = Create2Firmware(self.wheels, robot=robot or Robot())
        self.now_ns = 1_000 * MS
        self.way_m = [0.0, 0.0]
        self.heard: list[Feedback] = []

    def tell(self, *frames: bytes) -> None:
        for frame in frames:
            self.firmware.feed(frame, self.now_ns)
            self.base.sent(frame, self.now_ns)

    def run(self, ms: int, twist: Twist | None = None) -> list[Feedback]:
        before = len(self.heard)
        for _ in range(ms):
            self.now_ns += MS
            self.wheels.advance(1e-3)
            self.way_m = [way + speed * 1e-3 for way, speed in zip(self.way_m, self.wheels.speeds(), strict=True)]
            self.firmware.step(self.now_ns)
            if self.now_ns % (20 * MS) == 0:
                self.heard += self.base.feed(self.firmware.read(self.now_ns), self.now_ns)
                if twist is not None:
                    self.tell(self.base.encode(twist))
        return self.heard[before:]

    def start(self) -> Loop:
        self.tell(*self.base.init_frames())
        self.run(200, STILL)
        return self


@pytest.mark.parametrize("twist", [Twist(0.3), Twist(-0.25), Twist(0.3, 0.0, 0.8), Twist(0.0, 0.0, -2.0), Twist(0.0, 0.0, 2.0)], ids=str)
def test_what_is_commanded_comes_back(twist: Twist) -> None:
    loop = Loop().start()
    loop.run(1500, twist)
    wheels = loop.run(1000, twist)[-1].wheels_mps
    assert wheels == pytest.approx(loop.base.traits.drive.wheels(twist), rel=0.02, abs=COUNT_M / 0.15)


def test_a_second_of_speeds_means_what_was_commanded() -> None:
    loop = Loop().start()
    loop.run(2000, Twist(0.25))
    lefts = [report.wheels_mps[0] for report in loop.run(1000, Twist(0.25)) if report.wheels_mps is not None]
    assert len(lefts) == pytest.approx(67, abs=2)
    assert sum(lefts) / len(lefts) == pytest.approx(0.25, rel=0.005)
    assert max(lefts) - min(lefts) < 0.02


def test_ways_are_what_the_wheels_went() -> None:
    """14.5 m and further, where the counters wrap, and some of it back."""
    loop = Loop().start()
    for twist in (Twist(0.4, 0.0, 0.3), STILL, Twist(-0.2)):
        loop.run(40_000 if twist.linear_x > 0 else 3000, twist)
    report = loop.run(40, STILL)[-1]
    assert loop.way_m[0] > 13
    assert loop.way_m[1] > 15
    assert report.travel_m == pytest.approx(loop.way_m, abs=0.2 * 0.03 + 2 * COUNT_M)  # less a report's age and the turn of direction


def test_its_own_stop_at_an_edge_is_a_trip_until_it_is_told_to_start_anew() -> None:
    loop = Loop().start()
    loop.run(1000, Twist(0.3))
    loop.firmware.hazards = Hazard.CLIFF
    (*_, last) = loop.run(1500, Twist(0.3))
    assert (last.hazards, loop.firmware.mode) == (Hazard.CLIFF | Hazard.TRIPPED, PASSIVE)
    assert max(map(abs, loop.wheels.speeds())) < 1e-3
    loop.tell(*loop.base.restart_frames())
    assert loop.run(1000, Twist(-0.1))[-1].hazards == Hazard.CLIFF
    assert loop.wheels.speeds() == pytest.approx((-0.1, -0.1), abs=2e-3)
    loop.firmware.hazards = NO_HAZARD
    assert loop.run(100, STILL)[-1].hazards == NO_HAZARD
    assert loop.base.restart_frames() == []


def test_on_a_charger_it_is_never_configured_and_off_it_it_is() -> None:
    loop = Loop()
    loop.firmware.hazards = Hazard.TRIPPED
    loop.start()
    assert loop.heard == []
    loop.firmware.hazards = NO_HAZARD
    loop.start()
    assert loop.heard[-1].hazards == NO_HAZARD


@pytest.mark.parametrize("hazard", [Hazard.BUMPER, Hazard.OVER_CURRENT])
def test_hazards_and_the_battery_arrive(hazard: Hazard) -> None:
    loop = Loop().start()
    loop.firmware.hazards, loop.firmware.battery_v = hazard, 13.25
    last = loop.run(60, STILL)[-1]
    assert (last.hazards, last.battery_v) == (hazard, 13.25)


def test_a_reboot_is_told_and_it_can_be_configured_again() -> None:
    loop = Loop().start()
    loop.run(1000, Twist(0.3))
    way_m = loop.heard[-1].travel_m
    loop.firmware.reboot(loop.now_ns)
    reports = loop.run(3500, STILL)
    assert [report.rebooted for report in reports] == [True]
    loop.start()
    assert loop.heard[-1].travel_m == pytest.approx(way_m, abs=1e-9), "counters from zero are no way back"
    loop.run(1500, Twist(0.2))
    assert loop.heard[-1].wheels_mps == pytest.approx((0.2, 0.2), abs=COUNT_M / 0.15)


@pytest.mark.parametrize("coasts", [False, True])
def test_a_robot_that_drives_is_configured_and_stopped(coasts: bool) -> None:
    """A host that comes back: what 128 does to the motors is not known, so zeros follow the configuration."""
    loop = Loop(Robot(coasts=coasts)).start()
    loop.run(1000, Twist(0.3))
    loop.tell(*loop.base.init_frames())
    loop.run(1000, STILL)
    assert loop.firmware.mode == SAFE
    assert max(map(abs, loop.wheels.speeds())) < 1e-3


@pytest.mark.parametrize("init", [False, True], ids=["speed", "configuration"])
@pytest.mark.parametrize("have", range(15))
def test_half_a_word_then_resync_and_a_stop(have: int, init: bool) -> None:
    loop = Loop().start()
    loop.run(1000, Twist(0.3))
    word = loop.base.init_frames()[0] if init else loop.base.encode(Twist(0.4, 0.0, 0.5))
    loop.firmware.feed(word[:have], loop.now_ns)
    loop.firmware.feed(loop.base.traits.resync + loop.base.encode(STILL), loop.now_ns)
    if loop.firmware.mode == SAFE:
        loop.run(1, None)
        assert loop.wheels._targets == [0.0, 0.0], "at once"
    loop.run(1000, STILL)
    assert max(map(abs, loop.wheels.speeds())) < 2e-3
    loop.start()
    loop.run(1000, Twist(0.2))
    assert loop.wheels.speeds() == pytest.approx((0.2, 0.2), abs=1e-3)


@given(data=st.binary(max_size=60), have=st.integers(0, 4))
def test_after_any_bytes_a_stop_that_is_repeated_is_obeyed(data: bytes, have: int) -> None:
    loop = Loop().start()
    loop.run(100, Twist(0.3))
    loop.firmware.feed(data + loop.base.encode(Twist(0.4))[:have] + loop.base.traits.resync, loop.now_ns)
    for _ in range(60):
        loop.tell(loop.base.encode(STILL))
    assert loop.wheels._targets == [0.0, 0.0]


def test_a_controller_in_steps_is_seen_as_it_drives() -> None:
    loop = Loop(Robot(step_mps=0.0285)).start()
    loop.run(2000, Twist(0.1))
    assert loop.heard[-1].wheels_mps == pytest.approx((4 * 0.0285,) * 2, abs=COUNT_M / 0.15)
