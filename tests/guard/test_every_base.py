"""The guard's promises on every base, on a virtual clock: bytes and wheels of its firmware simulator are the oracle."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from edge_vla.bases import BASES
from edge_vla.guard.ramp import declared_stop_s
from edge_vla.guard.state import FaultCode, GuardState
from edge_vla.guard.types import STILL, Twist
from edge_vla.guard.watch import Worker

MS = 1_000_000
S = GuardState
NO_DIRECTION = ("create2",)  # its counters take the commanded direction
GO = Twist(0.25)  # what a base without a watchdog may drive at most
TTL_MS, TICK_MS, SPARE_MS = 150, 20, 20
every_base = pytest.mark.parametrize("kind", BASES)


@pytest.fixture
def bench(make_bench, kind: str):
    return make_bench(kind=kind)


def still_ms(speed_mps: float, *, ramp: bool) -> float:
    """The declared stop time of these motors, and what a wheel may lag behind it in a tick."""
    return 1000 * declared_stop_s(speed_mps, 0.15, 1.5 if ramp else None) + TICK_MS


def never_again(bench, onset_ns: int) -> bool:
    """After the first stop no frame asks for more than the frame before it did."""
    speeds = [math.hypot(twist.linear_x, twist.linear_y) + abs(twist.angular_z) for t, twist in bench.frames if t >= onset_ns]
    return all(b <= a + 1e-9 for a, b in pairwise(speeds))


@every_base
def test_it_arms_drives_and_turns(bench) -> None:
    status = bench.moving(GO).status
    assert status.measured is not None
    assert status.measured.linear_x == pytest.approx(0.25, rel=0.04)
    turn = bench.run(1500, bench.drive(Twist(0.1, 0.0, 0.6)))
    assert turn.measured is not None
    assert (turn.measured.linear_x, turn.measured.angular_z) == pytest.approx((0.1, 0.6), rel=0.06)
    assert turn.state is S.MOVING


@every_base
def test_a_silent_worker_is_stopped_within_its_ttl(bench) -> None:
    bench.moving(GO)
    onset_ns = bench.now_ns
    bench.run(1500)
    assert bench.first(onset_ns, lambda twist: twist.linear_x < 0.24) <= TTL_MS + TICK_MS + SPARE_MS
    assert bench.wheels_still_ms(onset_ns) <= TTL_MS + TICK_MS + still_ms(0.25, ramp=True)
    assert never_again(bench, onset_ns)


@every_base
@pytest.mark.parametrize(("worker", "fault"), [(Worker.DEAD, FaultCode.WORKER_DEAD), (Worker.STOPPED, FaultCode.WORKER_STOPPED)])
def test_a_dead_or_stopped_worker_is_zero_in_the_next_tick(bench, worker: Worker, fault: FaultCode) -> None:
    bench.moving(GO)
    onset_ns = bench.now_ns
    bench.worker = worker
    status = bench.run(1000)
    assert status.fault is fault
    assert bench.stop_bytes_ms(onset_ns) <= TICK_MS
    assert bench.wheels_still_ms(onset_ns) <= TICK_MS + still_ms(0.25, ramp=False)
    assert never_again(bench, onset_ns)


@every_base
def test_an_operators_stop_latches_and_only_a_reset_and_an_arm_lead_out(bench) -> None:
    bench.moving(GO)
    bench.local.stop()
    status = bench.run(1000, bench.drive(GO))
    assert status.state is S.ESTOP_LATCHED
    bench.local.reset(status.fault_id)
    assert bench.run(200).state is S.DISARMED
    assert bench.run(300, bench.drive(GO)).applied == STILL
    bench.run(200)
    bench.local.arm()
    bench.run(20)
    assert bench.run(1000, bench.drive(GO)).applied.linear_x == pytest.approx(0.25, abs=5e-3)


@every_base
def test_a_base_that_falls_silent_is_a_fault_within_three_periods(bench) -> None:
    bench.moving(GO)
    bench.line.mute = True
    onset_ns = bench.now_ns
    assert bench.run(1000, bench.drive(GO)).fault is FaultCode.FEEDBACK_GAP
    assert bench.stop_bytes_ms(onset_ns) <= max(200, 3 * bench.base.traits.feedback_period_ms) + TICK_MS


@every_base
def test_a_brown_out_is_a_fault_and_nothing_drives_before_a_reset(bench) -> None:
    bench.moving(GO)
    onset_ns = bench.now_ns
    bench.firmware.reboot(bench.now_ns)
    status = bench.run(6000, bench.drive(GO))
    assert status.fault in (FaultCode.BASE_REBOOT, FaultCode.FEEDBACK_GAP, FaultCode.BASE_TRIPPED)
    assert bench.stop_bytes_ms(onset_ns) <= 250
    assert bench.wheels_still_ms(onset_ns) <= 250 + still_ms(0.25, ramp=False)
    bench.run(500)
    bench.local.reset(status.fault_id)
    bench.run(1500)
    bench.local.arm()
    bench.run(20)
    assert bench.run(1500, bench.drive(GO)).applied.linear_x == pytest.approx(0.25, abs=5e-3), "configured again"


@every_base
@pytest.mark.parametrize("gain", [0.0, -1.0], ids=["stuck", "inverted"])
def test_a_wheel_that_does_not_obey_is_a_fault(bench, kind: str, gain: float) -> None:
    bench.moving(GO)
    onset_ns = bench.now_ns
    bench.wheels.gains[0] = gain
    status = bench.run(1500, bench.drive(GO))
    if gain < 0 and kind in NO_DIRECTION:
        assert status.fault is FaultCode.NONE, "if it is seen after all, docs/bases.md must not say that it is not"
        return
    assert status.fault in (FaultCode.FEEDBACK_CONTRADICTS, FaultCode.FEEDBACK_FROZEN)
    assert bench.stop_bytes_ms(onset_ns) <= 500 + 150 + 100  # the wheel runs out first, and a report is late


@every_base
@pytest.mark.parametrize("seed", range(5))
def test_garbage_among_reports_never_raises_and_never_drives(bench, seed: int) -> None:
    rng = random.Random(seed)
    bench.moving(GO)

    def noise() -> None:
        bench.line.noise = rng.randbytes(rng.randrange(0, 200)) if rng.random() < 0.5 else b""
        bench.drive(GO)()

    bench.run(2000, noise)
    assert max(abs(wheel) for _, twist in bench.frames for wheel in bench.base.traits.drive.wheels(twist)) <= 0.25 + 1e-6


@every_base
def test_sideways_is_driven_or_counted_as_nonsense(bench) -> None:
    bench.armed()
    status = bench.run(300, bench.drive(Twist(0.0, 0.1)))
    if bench.base.traits.drive.sideways:
        assert status.applied.linear_y == pytest.approx(0.1, abs=2e-3)
        return
    assert status.fault is FaultCode.INVALID_COMMANDS
    assert all(twist == STILL for _, twist in bench.frames)


@every_base
def test_leaving_confirms_zero(bench) -> None:
    bench.moving(GO)
    bench.leave = True
    bench.run(1500)
    assert bench.outputs[-1].finished
    assert bench.outputs[-1].still
