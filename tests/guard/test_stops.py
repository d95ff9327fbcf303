"""Every fault the guard can see, with both figures of DESIGN §4: stop bytes within R, wheels still within R and the declared stop time.

The stop bytes of a protective stop are its first slower frame; its zero follows within R and the declared ramp.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from edge_vla.guard.limits import Limits
from edge_vla.guard.link import Command
from edge_vla.guard.ramp import declared_stop_s
from edge_vla.guard.state import FaultCode, GuardState, StopCause
from edge_vla.guard.types import STILL, Twist
from edge_vla.guard.watch import PortHealth, Worker
from edge_vla.sim.firmware.wheels import FirstOrderWheels

MS = 1_000_000
S = GuardState
TAU_S = 0.15
SPEED = 0.3
GO = Twist(SPEED)
SLOWER = SPEED - 1e-3


@dataclass(frozen=True)
class Fault:
    """What is done to a robot at 0.3 m/s, and what must come of it. `ramp` is a protective stop, else zero at once."""

    inject: Callable[..., None]
    within_ms: float
    code: FaultCode | StopCause
    talks: bool = True  # the worker goes on commanding
    ramp: bool = False


def noise(bench) -> None:
    bench.line.mute, bench.line.noise = True, b"\xff\x00{]" * 100


def hang(bench) -> None:
    """The engine hangs: STEER talks on, but always about the same frame."""
    look = bench.look()
    bench.look = lambda: look


FAULTS = {
    "worker killed": Fault(lambda b: setattr(b, "worker", Worker.DEAD), 20, FaultCode.WORKER_DEAD),
    "worker stopped by a signal": Fault(lambda b: setattr(b, "worker", Worker.STOPPED), 20, FaultCode.WORKER_STOPPED),
    "operator stop": Fault(lambda b: b.local.stop(), 20, FaultCode.OPERATOR_STOP),
    "guard told to end": Fault(lambda b: setattr(b, "leave", True), 20, FaultCode.TERMINATED),
    "silence": Fault(lambda b: None, 150 + 20, StopCause.TTL, talks=False, ramp=True),
    "engine hangs": Fault(hang, 460 + 20, StopCause.EVIDENCE, ramp=True),
    "nonsense once": Fault(
        lambda b: b.local._wire.push(Command(77, 10**6, twist=Twist(math.nan)).pack()), 20, StopCause.INVALID, ramp=True
    ),
    "base says nothing": Fault(lambda b: setattr(b.line, "mute", True), 200 + 20, FaultCode.FEEDBACK_GAP),
    "base talks garbage": Fault(noise, 200 + 20, FaultCode.FEEDBACK_GAP),
    "base reboots": Fault(lambda b: b.firmware.reboot(b.now_ns), 20, FaultCode.BASE_REBOOT),
    "line too slow": Fault(lambda b: setattr(b, "port", PortHealth.BUSY), 60 + 20, FaultCode.WRITE_STALLED),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("phase_ms", [0, 5, 10, 15])
def test_both_stop_bounds(bench, name: str, phase_ms: int) -> None:
    fault = FAULTS[name]
    bench.moving(GO)
    worker = (lambda: bench.local.send(GO, bench.look())) if fault.talks else None
    bench.run(phase_ms, worker)
    onset_ns = bench.now_ns
    fault.inject(bench)
    status = bench.run(2500, worker)
    first = bench.first(onset_ns, lambda twist: twist.linear_x < SLOWER)
    assert first <= fault.within_ms
    ramp_ms = 1000 * SPEED / bench.limits.dec_mps2 + 50 if fault.ramp else 0
    assert bench.stop_bytes_ms(onset_ns) <= fault.within_ms + ramp_ms
    declared_ms = 1000 * declared_stop_s(SPEED, TAU_S, bench.limits.dec_mps2 if fault.ramp else None)
    assert bench.wheels_still_ms(onset_ns) <= fault.within_ms + declared_ms
    assert fault.code in (status.fault, status.cause)
    if fault.ramp:
        assert "faults" not in status.tally
    else:
        assert bench.state in (S.FAULT_LATCHED, S.ESTOP_LATCHED)
        assert [twist for t, twist in bench.frames if t >= onset_ns + first * MS if twist != STILL] == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_jerk_limit_lengthens_no_stop(make_bench, name: str) -> None:
    """A jerk a hundredth of the default: the starts differ, the stops do not, frame by frame."""
    fault, stops = FAULTS[name], []
    for limits in (Limits(), Limits(jerk_mps3=0.4, jerk_radps3=2.0)):
        bench = make_bench(limits).armed()
        worker = (lambda bench=bench: bench.local.send(GO, bench.look())) if fault.talks else None
        bench.run(4000, bench.drive(GO))
        assert bench.status.applied == GO
        onset_ns = bench.now_ns
        fault.inject(bench)
        bench.run(2500, worker)
        stops.append([(t - onset_ns, twist) for t, twist in bench.frames if t >= onset_ns])
    assert stops[0] == stops[1]


def test_a_jerk_limit_delays_no_command_to_slow_down(make_bench) -> None:
    frames = []
    for limits in (Limits(), Limits(jerk_mps3=0.4, jerk_radps3=2.0)):
        bench = make_bench(limits).armed()
        bench.run(4000, bench.drive(GO))
        onset_ns = bench.now_ns
        bench.run(160, bench.drive(Twist(0.05, 0.0, 0.8)))  # away from something ahead, and turning
        frames.append([twist for t, twist in bench.frames if t >= onset_ns])
    assert frames[0] == frames[1]


def test_a_ramp_is_over_after_the_time_it_may_take_even_on_a_line_that_stutters(bench) -> None:
    bench.moving(GO)
    bench.run(160)
    onset_ns = bench.now_ns
    for _ in range(20):  # every other frame of the ramp cannot be written
        bench.port = PortHealth.OK if bench.port is PortHealth.BUSY else PortHealth.BUSY
        bench.run(20)
    assert bench.state is S.SOFT_STOP
    assert bench.stop_bytes_ms(onset_ns) <= 20 + 1000 * SPEED / bench.limits.dec_mps2 + 50 + 20


@pytest.mark.parametrize("gains", [(0.0, 1.0), (1.0, 0.0), (-1.0, -1.0), (1.0, -1.0)])
def test_wheels_that_contradict_latch_within_600_ms(make_bench, gains: tuple[float, float]) -> None:
    bench = make_bench(wheels=FirstOrderWheels())
    bench.moving(GO)
    bench.wheels.gains = list(gains)
    onset_ns = bench.now_ns
    status = bench.run(1000, bench.drive(GO))
    assert (status.state, status.fault) == (S.FAULT_LATCHED, FaultCode.FEEDBACK_CONTRADICTS)
    assert 300 <= bench.stop_bytes_ms(onset_ns) <= 300 + 100 + TAU_S * 1000  # 300 ms, from when the wheel has left its speed


def test_a_slow_wheel_within_tolerance_does_not_latch(make_bench) -> None:
    bench = make_bench(wheels=FirstOrderWheels(gains=(0.7, 0.7)))
    assert bench.moving(GO).state is S.MOVING


@pytest.mark.parametrize(("late_ms", "state"), [(100, S.MOVING), (105, S.FAULT_LATCHED)])
def test_tick_overrun_edge(bench, late_ms: int, state: GuardState) -> None:
    bench.moving(GO)
    bench.now_ns += (20 + late_ms) * MS
    bench.firmware.step(bench.now_ns)
    bench.drive(GO)()
    assert bench.tick().state is state
    assert bench.status.tally["late_ticks"] == 1


def test_a_clock_that_runs_back_latches(bench) -> None:
    bench.moving(GO)
    bench.now_ns -= 1
    assert bench.tick().state is S.FAULT_LATCHED
    assert bench.status.fault is FaultCode.TICK_OVERRUN


def test_an_overrun_while_disarmed_is_only_counted(bench) -> None:
    bench.run(400)
    bench.now_ns += 150 * MS
    bench.firmware.step(bench.now_ns)
    assert bench.tick().state is S.DISARMED
    assert bench.status.tally["late_ticks"] == 1


def test_feedback_gap_edge(bench) -> None:
    bench.armed()
    while bench.guard._feedback.last_ns != bench.now_ns:
        bench.run(5)
    bench.line.mute = True
    assert bench.run(200).state is S.ARMED_IDLE
    assert bench.run(20).fault is FaultCode.FEEDBACK_GAP


def test_after_a_reboot_the_base_is_configured_again_and_stays_disarmed(bench) -> None:
    bench.moving(GO)
    bench.firmware.reboot(bench.now_ns)
    start_ns = bench.now_ns + 1
    status = bench.run(4000, bench.drive(GO))
    assert bench.firmware.settings.heartbeat_ms == 300
    assert status.fault is FaultCode.BASE_REBOOT
    bench.local.reset(status.fault_id)
    assert bench.run(1000, bench.drive(GO)).state is S.DISARMED
    assert bench.first(start_ns, lambda twist: twist != STILL) == math.inf


@pytest.mark.parametrize("boot_s", [0.05, 0.1, 0.3, 2.0])
@pytest.mark.parametrize("garbled", [False, True])
def test_however_short_a_reboot_the_base_is_configured_with_its_first_report(bench, boot_s: float, garbled: bool) -> None:
    bench.armed()
    bench.firmware._boot_ns = round(boot_s * 1e9)
    bench.firmware.reboot(bench.now_ns)
    if garbled:
        bench.firmware.read(bench.now_ns)  # nobody could read what it said at its boot
    if garbled and boot_s < 0.2:
        return  # neither seen nor missed: no guard could tell
    bench.run(round(boot_s * 1000) + 100)
    assert bench.firmware.settings.heartbeat_ms == 300
    assert bench.state is S.FAULT_LATCHED


def test_a_busy_line_gets_no_speeds_and_a_short_one_is_forgiven(bench) -> None:
    bench.moving(GO)
    bench.port = PortHealth.BUSY
    onset_ns = bench.now_ns
    status = bench.run(40, bench.drive(GO))
    assert [t for t, _ in bench.frames if t > onset_ns] == []
    assert status.tally["writes_skipped"] == 2
    bench.port = PortHealth.OK
    assert bench.run(40, bench.drive(GO)).state is S.MOVING


def test_a_lost_port_latches_and_nothing_more_is_written(bench) -> None:
    bench.moving(GO)
    bench.port = PortHealth.LOST
    onset_ns = bench.now_ns
    status = bench.run(500, bench.drive(GO))
    assert (status.state, status.fault) == (S.FAULT_LATCHED, FaultCode.PORT_LOST)
    assert [t for t, _ in bench.bytes_out if t > onset_ns] == []
    bench.worker = Worker.DEAD
    assert bench.tick().finished  # nothing left to confirm with


def test_sigcont_does_not_move_it(bench) -> None:
    bench.moving(GO)
    bench.worker = Worker.STOPPED
    bench.run(2000)
    bench.worker = Worker.RUNNING
    onset_ns = bench.now_ns
    status = bench.run(2000, bench.drive(GO))
    assert status.state is S.FAULT_LATCHED
    assert bench.first(onset_ns, lambda twist: twist != STILL) == math.inf


def test_a_latch_cannot_be_reset_while_its_trigger_lasts(bench) -> None:
    bench.moving(GO)
    bench.worker = Worker.STOPPED
    for _ in range(20):
        status = bench.run(100)
        bench.local.reset(status.fault_id)
    assert bench.state is S.FAULT_LATCHED


def test_a_dead_worker_ends_the_guard_once_zero_is_confirmed(bench) -> None:
    bench.moving(GO)
    bench.worker = Worker.DEAD
    onset_ns = bench.now_ns
    while not bench.run(20) or not bench.outputs[-1].finished:
        assert bench.now_ns - onset_ns < 1000 * MS
    assert bench.outputs[-1].still
    assert max(bench.wheels.speeds()) < 0.02


def test_a_zero_that_is_never_confirmed_ends_the_guard_after_a_second(bench) -> None:
    bench.moving(GO)
    bench.worker, bench.line.mute = Worker.DEAD, True
    bench.run(1000)
    assert not bench.outputs[-1].finished
    bench.run(20)
    assert bench.outputs[-1].finished
    assert not bench.outputs[-1].still


def test_a_low_battery_stops_softly_and_latches_once_the_wheels_stand(make_bench) -> None:
    bench = make_bench(low_battery_v=10.0)
    bench.moving(GO)
    bench.firmware.battery_v = 9.5
    assert bench.run(900, bench.drive(GO)).state is S.MOVING
    onset_ns = bench.now_ns
    status = bench.run(5000, bench.drive(GO))
    assert (status.state, status.fault, status.cause, status.applied) == (S.FAULT_LATCHED, FaultCode.LOW_BATTERY, StopCause.BATTERY, STILL)
    slower_ms = bench.first(onset_ns, lambda twist: 0.0 < twist.linear_x < 0.29)
    assert slower_ms < bench.stop_bytes_ms(onset_ns), "a ramp, not a jerk"


@pytest.mark.parametrize("lie", [b'{"T":1,"L":0.4000,"R":0.4000}\n', b'{"T":13,"X":0.3}\n', b"", b'{"T":1,"L":0.3000,"R":0.3000}'])
def test_a_codec_that_says_something_else_is_caught_before_the_write(bench, lie: bytes) -> None:
    bench.moving(GO)
    honest = bench.base.encode
    bench.base.encode = lambda twist: lie if twist != STILL else honest(twist)
    onset_ns = bench.now_ns
    status = bench.run(20, bench.drive(GO))
    assert (status.fault, status.applied) == (FaultCode.SELF_CHECK, STILL)
    assert bench.stop_bytes_ms(onset_ns) == 20
    assert lie not in [data for _, data in bench.bytes_out]


def test_if_the_guard_itself_dies_the_base_stops_within_its_watchdog(bench) -> None:
    bench.moving(GO)
    onset_ns = bench.now_ns
    for _ in range(300):  # no ticks at all
        bench.now_ns += 5 * MS
        bench.wheels.advance(0.005)
        bench.firmware.step(bench.now_ns)
        bench.speeds.append((bench.now_ns, max(map(abs, bench.wheels.speeds()))))
    assert bench.wheels_still_ms(onset_ns) <= 300 + 5 + 1000 * declared_stop_s(SPEED, TAU_S)
