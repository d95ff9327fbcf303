"""What a base says around it: bumpers, edges, wheels in the air, currents. On EV1, whose firmware reports all of it."""

from __future__ import annotations

import pytest

from edge_vla.bases import make_base
from edge_vla.guard.state import FaultCode, GuardState, Refusal
from edge_vla.guard.types import NO_HAZARD, STILL, Feedback, Hazard, Twist
from edge_vla.guard.watch import FeedbackWatch, HazardWatch
from tests.bases.conftest import SAMPLES

MS = 1_000_000
S = GuardState
GO, BACK, SPIN = Twist(0.3), Twist(-0.1), Twist(0.0, 0.0, 0.5)
MET = {
    Hazard.BUMPER: FaultCode.BUMPER,
    Hazard.CLIFF: FaultCode.CLIFF,
    Hazard.WHEEL_DROP: FaultCode.WHEEL_DROP,
    Hazard.TRIPPED: FaultCode.BASE_TRIPPED,
}


@pytest.fixture
def ev1(make_bench):
    return make_bench(kind="ev1")


def reset(bench) -> None:
    bench.local.reset(bench.status.fault_id)
    bench.run(20)


def arm(bench) -> None:
    """Once nobody wants to move any more."""
    bench.run(200)
    bench.local.arm()
    bench.run(20)


@pytest.mark.parametrize(("hazard", "fault"), MET.items(), ids=lambda each: each.name)
def test_it_stops_at_once_and_latches(ev1, hazard: Hazard, fault: FaultCode) -> None:
    ev1.moving(GO)
    ev1.firmware.hazards = hazard
    onset_ns = ev1.now_ns
    status = ev1.run(1000, ev1.drive(GO))
    assert (status.state, status.fault) == (S.FAULT_LATCHED, fault)
    assert hazard in status.hazards
    assert ev1.stop_bytes_ms(onset_ns) <= 50 + 20 + 20  # a report, a tick to hear it, a tick to say it
    assert all(twist == STILL for t, twist in ev1.frames if t >= onset_ns + 90 * MS)


@pytest.mark.parametrize("hazard", [Hazard.BUMPER, Hazard.CLIFF])
def test_out_of_a_contact_only_back_and_only_after_a_reset(ev1, hazard: Hazard) -> None:
    ev1.moving(GO)
    ev1.firmware.hazards = hazard
    ev1.run(1500, ev1.drive(GO))
    reset(ev1)
    assert ev1.state is S.DISARMED, "it is touched still, and that is no reason not to back off"
    arm(ev1)
    for twist in (GO, SPIN):
        assert ev1.run(300, ev1.drive(twist)).applied == STILL
    assert ev1.run(500, ev1.drive(BACK)).applied.linear_x == pytest.approx(-0.1)
    ev1.firmware.hazards = NO_HAZARD
    ev1.run(200, ev1.drive(STILL))
    assert ev1.run(1000, ev1.drive(GO)).applied.linear_x == pytest.approx(0.3)
    ev1.firmware.hazards = hazard
    assert ev1.run(200, ev1.drive(GO)).state is S.FAULT_LATCHED, "met again"


def test_wheels_in_the_air_cannot_be_reset_away(ev1) -> None:
    ev1.moving(GO)
    ev1.firmware.hazards = Hazard.WHEEL_DROP
    ev1.run(1500, ev1.drive(GO))
    reset(ev1)
    assert (ev1.state, ev1.status.refusal) == (S.FAULT_LATCHED, Refusal.TRIGGER_RECENT)
    ev1.firmware.hazards = NO_HAZARD
    ev1.run(600)
    reset(ev1)
    assert ev1.state is S.DISARMED


def test_a_stop_button_on_the_base_holds_until_a_reset_tells_it_the_nonce(ev1) -> None:
    ev1.moving(GO)
    ev1.firmware.hazards = Hazard.TRIPPED  # pressed
    ev1.run(100, ev1.drive(GO))
    ev1.firmware.hazards = NO_HAZARD  # and let go
    ev1.run(3000)
    assert ev1.status.hazards == Hazard.TRIPPED, "the base keeps its own latch"
    assert not [data for t, data in ev1.bytes_out if data.startswith(b"R") and t > ev1.now_ns - 2900 * MS], "nobody clears it unasked"
    reset(ev1)
    ev1.run(200)
    assert ev1.status.hazards == NO_HAZARD
    arm(ev1)
    assert ev1.run(1000, ev1.drive(GO)).applied.linear_x == pytest.approx(0.3)


def test_while_the_base_is_tripped_nobody_arms(ev1) -> None:
    ev1.run(800)
    ev1.firmware.hazards = Hazard.TRIPPED
    ev1.run(1500)
    reset(ev1)
    assert ev1.state is S.DISARMED
    ev1.run(200)
    arm(ev1)
    assert (ev1.state, ev1.status.refusal) == (S.DISARMED, Refusal.HAZARD)


@pytest.mark.parametrize(("ms", "latched"), [(300, False), (450, False), (1500, True)])
def test_a_current_that_lasts_stops_softly_and_latches(ev1, ms: int, latched: bool) -> None:
    """A motor that starts draws as much for a moment."""
    ev1.moving(GO)
    ev1.firmware.hazards = Hazard.OVER_CURRENT
    onset_ns = ev1.now_ns
    ev1.run(ms, ev1.drive(GO))
    ev1.firmware.hazards = NO_HAZARD
    status = ev1.run(200, ev1.drive(GO))
    assert (status.fault is FaultCode.OVER_CURRENT) is latched
    if latched:
        assert ev1.first(onset_ns, lambda twist: 0.0 < twist.linear_x < 0.29) < ev1.stop_bytes_ms(onset_ns), "a ramp"
        assert ev1.stop_bytes_ms(onset_ns) <= 1000
    else:
        assert status.applied.linear_x == pytest.approx(0.3)


def test_a_base_that_boots_with_a_wheel_in_the_air_is_not_faulted_but_cannot_be_armed(ev1) -> None:
    ev1.firmware.hazards = Hazard.WHEEL_DROP
    ev1.run(800)
    ev1.local.arm()
    status = ev1.run(20)
    assert status.state is not S.ARMED_IDLE
    assert status.applied == STILL


# -- the watches, report by report


def test_a_hazard_is_met_once_and_a_report_without_any_changes_nothing() -> None:
    watch = HazardWatch()
    watch.hear(Feedback(0, hazards=Hazard.BUMPER))
    assert watch.faults() == [FaultCode.BUMPER]
    watch.hear(Feedback(1, wheels_mps=(0.0, 0.0)))
    watch.hear(Feedback(2, hazards=Hazard.BUMPER))
    assert watch.faults() == []
    assert watch.retreat_only
    watch.hear(Feedback(3, hazards=NO_HAZARD))
    assert not watch.retreat_only
    watch.hear(Feedback(4, hazards=Hazard.BUMPER | Hazard.CLIFF))
    assert watch.faults() == [FaultCode.BUMPER, FaultCode.CLIFF]


def test_one_that_comes_and_goes_between_two_looks_was_met() -> None:
    watch = HazardWatch()
    watch.hear(Feedback(0, hazards=Hazard.CLIFF))
    watch.hear(Feedback(1, hazards=NO_HAZARD))
    assert watch.faults() == [FaultCode.CLIFF]


def test_an_over_current_of_half_a_second_to_the_nanosecond() -> None:
    watch = HazardWatch()
    watch.hear(Feedback(7, hazards=Hazard.OVER_CURRENT))
    watch.hear(Feedback(100 * MS, hazards=Hazard.OVER_CURRENT))
    assert not watch.over_current(500 * MS + 6)
    assert watch.over_current(500 * MS + 7)
    watch.hear(Feedback(510 * MS, hazards=NO_HAZARD))
    assert not watch.over_current(2000 * MS)


# -- row 31: the same report again and again


def test_a_looping_report_is_a_fault_within_half_a_second(make_bench) -> None:
    """Speeds as commanded, counters that stand still."""
    bench = make_bench()
    bench.moving(GO)
    last = SAMPLES["waveshare"].report.replace(b'"L":0.12,"R":-0.3', b'"L":0.3,"R":0.3').replace(b'"gz":82', b'"gz":0')
    bench.line.mute = True
    onset_ns = bench.now_ns

    def loop() -> None:
        bench.line.noise = last if bench.now_ns % (60 * MS) == 0 else b""
        bench.drive(GO)()

    status = bench.run(1000, loop)
    assert status.fault is FaultCode.FEEDBACK_FROZEN
    assert bench.stop_bytes_ms(onset_ns) <= 500


def test_slow_wheels_between_two_counts_are_no_loop(make_bench) -> None:
    """A centimetre at 0.03 m/s takes a third of a second."""
    bench = make_bench()
    bench.moving(Twist(0.03))
    assert bench.run(5000, bench.drive(Twist(0.03))).fault is FaultCode.NONE


@pytest.mark.parametrize(("uncounted_m", "frozen"), [(0.059, False), (0.061, True)])
def test_six_centimetres_by_speed_without_a_count(uncounted_m: float, frozen: bool) -> None:
    traits = make_base("waveshare").traits
    watch = FeedbackWatch(traits, None)
    for t_ms in (0, 100):
        watch.hear(Feedback(t_ms * MS, (uncounted_m * 10,) * 2, travel_m=(1.0, 1.0)))
    assert watch.frozen() is frozen
    watch.hear(Feedback(200 * MS, (0.5, 0.5), travel_m=(1.01, 1.0)))
    assert not watch.frozen()
