"""From boot to armed: what has to be true first, and what never follows by itself."""

from __future__ import annotations

from itertools import pairwise

from edge_vla.guard.state import GuardState, Refusal
from edge_vla.guard.types import STILL, Twist

MS = 1_000_000
S = GuardState


def test_boot_configures_the_base_and_waits_for_its_word(bench) -> None:
    bench.line.mute = True
    assert bench.run(3000).state is S.BOOT
    assert bench.status.tally.keys() == {"frames_written", "inits"}
    sent = [data for _, data in bench.bytes_out]
    assert sent[:5] == [b'{"T":1,"L":0.0000,"R":0.0000}\n', *bench.base.init_frames()]
    assert sent.count(b'{"T":136,"cmd":300}\n') == 3  # once a second while nobody answers
    bench.line.mute = False
    assert bench.run(200).state is S.DISARMED
    assert bench.firmware.settings.heartbeat_ms == 300


def test_zeros_go_out_every_tick_so_that_the_base_watchdog_sleeps(bench) -> None:
    bench.armed()
    start_ns = bench.now_ns
    bench.run(1000)
    times = [t for t, twist in bench.frames if t > start_ns]
    assert len(times) == 50
    assert {b - a for a, b in pairwise(times)} == {20 * MS}


def test_arming_never_moves_and_waits_for_wishes_to_end(bench) -> None:
    bench.run(400)
    bench.local.send(Twist(0.3), bench.look(), ttl_ms=140)
    bench.local.arm()
    status = bench.run(20)
    assert (status.state, status.refusal) == (S.DISARMED, Refusal.VELOCITY_REQUESTED)
    assert status.tally["reject_not_armed"] == 1
    bench.run(120)
    bench.local.arm()
    assert bench.run(20).refusal is Refusal.VELOCITY_REQUESTED  # 140 ms after it came: to the end
    bench.local.arm()
    assert bench.run(20).state is S.ARMED_IDLE
    assert bench.run(500).applied == STILL


def test_a_zero_ends_a_wish_at_once(bench) -> None:
    bench.run(400)
    bench.local.send(Twist(0.3), bench.look())
    bench.local.send(STILL)
    bench.local.arm()
    assert bench.run(20).state is S.ARMED_IDLE


def test_arming_is_refused_without_feedback_or_in_a_latch(bench) -> None:
    bench.local.arm()
    assert bench.run(20).refusal is Refusal.WRONG_STATE  # still booting
    bench.run(400)
    bench.local.stop()
    bench.run(20)
    bench.local.arm()
    status = bench.run(20)
    assert (status.state, status.refusal, status.tally["refusals"]) == (S.ESTOP_LATCHED, Refusal.WRONG_STATE, 2)


def test_arming_twice_changes_nothing_even_while_moving(bench) -> None:
    bench.moving()
    bench.local.arm()
    status = bench.run(20, bench.drive(Twist(0.3)))
    assert (status.state, status.refusal) == (S.MOVING, Refusal.NONE)


def test_a_robot_that_is_pushed_cannot_be_armed(bench) -> None:
    bench.run(400)
    bench.wheels.set_target(0.1, 0.1)
    bench.run(20)
    bench.wheels._speeds = [0.05, 0.05]
    bench.run(80)
    bench.local.arm()
    assert bench.run(20).refusal is Refusal.NOT_STILL


def test_a_low_battery_for_a_second_refuses_to_arm_and_a_glitch_does_not(make_bench) -> None:
    bench = make_bench(low_battery_v=10.0)
    bench.run(400)
    bench.firmware.battery_v = 9.0
    bench.run(600)
    bench.firmware.battery_v = 11.0
    bench.run(100)
    bench.firmware.battery_v = 9.0
    bench.run(900)
    bench.local.arm()
    assert bench.run(20).state is S.ARMED_IDLE
    bench.local.disarm()
    bench.run(400)
    bench.local.arm()
    assert bench.run(20).refusal is Refusal.LOW_BATTERY


def test_disarming_is_zero_at_once(bench) -> None:
    bench.moving()
    bench.local.disarm()
    start_ns = bench.now_ns
    status = bench.run(20)
    assert (status.state, status.applied) == (S.DISARMED, STILL)
    assert bench.stop_bytes_ms(start_ns) == 20.0
