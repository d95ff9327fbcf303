"""The guard on a virtual clock: arming, orders, lifetimes to the nanosecond, limits of the moment."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from edge_vla.errors import UnsafeCommand
from edge_vla.guard.client import Evidence
from edge_vla.guard.core import Guard
from edge_vla.guard.limits import Limits
from edge_vla.guard.link import Command, Count
from edge_vla.guard.state import FaultCode, GuardState, Refusal, StopCause
from edge_vla.guard.types import STILL, BaseTraits, Twist

MS = 1_000_000
S = GuardState
SESSION = 77


def push(bench, **fields: object) -> None:
    """One datagram exactly as given, past the client's own checks."""
    bench.seq = getattr(bench, "seq", 1_000_000) + 1
    known = {"t_issue_ns": bench.now_ns, "ttl_ms": 150, "max_turn_rad": 9.0, "max_travel_m": 9.0, "clear_m": 9.0}
    known |= {"t_capture_ns": bench.now_ns - 40 * MS, "evidence_deadline_ns": bench.now_ns + 460 * MS}
    bench.local._wire.push(Command(SESSION, bench.seq, **(known | fields)).pack())


# -- boot and arming


def test_boot_configures_the_base_and_waits_for_its_word(bench) -> None:
    bench.line.mute = True
    assert bench.run(3000).state is S.BOOT
    assert bench.status.tally.keys() == {"frames_written"}
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
    bench.local.send(Twist(0.3), bench.look())
    bench.local.arm()
    status = bench.run(20)
    assert (status.state, status.refusal) == (S.DISARMED, Refusal.VELOCITY_REQUESTED)
    assert status.tally["reject_not_armed"] == 1
    bench.run(120)
    bench.local.arm()
    assert bench.run(20).refusal is Refusal.VELOCITY_REQUESTED  # 140 ms after it came
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


# -- driving


def test_a_command_is_driven_and_measured(bench) -> None:
    status = bench.moving(Twist(0.3, 0.0, 0.5)).status
    assert (status.applied.linear_x, status.applied.angular_z) == pytest.approx((0.3, 0.5), abs=2e-3)
    assert status.measured is not None
    assert (status.measured.linear_x, status.measured.angular_z) == pytest.approx((0.3, 0.5), abs=0.02)
    assert status.battery_v == pytest.approx(11.8)
    assert bench.local.poses.newest == bench.guard.odometry.poses.newest


def test_odometry_reaches_the_worker_and_agrees_with_the_wheels(bench) -> None:
    bench.armed()
    travelled = 0.0
    for _ in range(50):
        bench.run(20, bench.drive(Twist(0.3)))
        travelled += sum(bench.wheels.speeds()) / 2 * 0.02
    assert bench.local.poses.at(bench.now_ns).x_m == pytest.approx(travelled, abs=0.01)


def test_frames_between_ticks_stay_within_the_acceleration(bench) -> None:
    bench.moving(Twist(0.5, 0.0, 0.4))
    bench.run(1000, bench.drive(Twist(-0.1, 0.0, -0.9)))
    for (_, a), (_, b) in pairwise(bench.frames):
        assert abs(b.linear_x - a.linear_x) <= 1.5 * 0.02 + 1e-4 + 1e-9
        assert abs(b.angular_z - a.angular_z) <= 6.0 * 0.02 + 2e-4 / 0.172 + 1e-9


@pytest.mark.parametrize(
    ("asked", "driven"),
    [(Twist(1.0, 0.0, 1.0), Twist(0.5, 0.0, 0.5)), (Twist(0.2, 0.0, 2.0), Twist(0.1, 0.0, 1.0)), (Twist(-1.0), Twist(-0.15))],
)
def test_too_much_is_clamped_along_the_curve(bench, asked: Twist, driven: Twist) -> None:
    status = bench.moving(asked).status
    assert (status.applied.linear_x, status.applied.angular_z) == pytest.approx((driven.linear_x, driven.angular_z), abs=2e-3)
    assert status.tally["clamps"] > 50


def test_wheels_are_saturated_together(make_bench) -> None:
    status = make_bench(Limits(max_wheel_mps=0.3)).moving(Twist(0.5, 0.0, 1.0)).status
    assert status.applied.linear_x == pytest.approx(0.5 * 0.3 / 0.586, abs=2e-4)
    assert status.applied.angular_z == pytest.approx(1.0 * 0.3 / 0.586, abs=2e-3)
    assert status.tally["saturations"] > 50


@pytest.mark.parametrize(("clear_m", "speed_mps"), [(None, 0.15), (0.05, 0.0), (0.1, -0.3 + math.sqrt(0.09 + 3.0 * 0.05)), (20.0, 0.5)])
def test_clear_distance_bounds_the_speed_ahead(bench, clear_m: float | None, speed_mps: float) -> None:
    bench.armed()  # every look sees the same gap again: the wall moves along
    status = bench.run(2000, lambda: bench.local.send(Twist(0.5), bench.look(age_ms=0, clear=clear_m)))
    assert status.applied.linear_x == pytest.approx(speed_mps, abs=1e-4)


def test_what_has_been_driven_since_the_look_is_taken_off_the_clear_distance(bench) -> None:
    bench.armed()
    look = Evidence(bench.now_ns, bench.now_ns + 4900 * MS, 9.0, 9.0, 0.5)
    bench.run(3000, lambda: bench.local.send(Twist(0.5), look))
    pose = bench.local.poses.newest
    assert pose is not None
    assert 0.44 < pose.x_m < 0.5  # a wall at half a metre is not reached on one old look


def test_turning_on_the_spot_needs_no_clear_distance(bench) -> None:
    bench.armed()
    status = bench.run(1000, lambda: bench.local.send(Twist(0.0, 0.0, 1.0), bench.look(clear=0.0)))
    assert status.applied.angular_z == pytest.approx(1.0, abs=2e-3)


def test_a_base_without_a_watchdog_is_slower(bench) -> None:
    class NoWatchdog(type(bench.base)):
        @property
        def traits(self) -> BaseTraits:
            return replace(super().traits, watchdog_ms=None)

    bench.base = NoWatchdog()
    bench.guard = bench.local.guard = Guard(bench.base, bench.limits, SESSION)
    assert bench.moving(Twist(0.5)).status.applied.linear_x == pytest.approx(0.25)


# -- lifetimes


@pytest.mark.parametrize(("left_ns", "state"), [(20 * MS, S.MOVING), (20 * MS - 1, S.SOFT_STOP)])
def test_the_command_lives_until_its_ttl_and_not_a_nanosecond_longer(bench, left_ns: int, state: GuardState) -> None:
    bench.moving()
    push(bench, twist=Twist(0.3), ttl_ms=40, t_issue_ns=bench.now_ns - 40 * MS + left_ns)
    bench.tick()  # taken now, judged again at the next tick
    status = bench.run(20)
    assert status.state is state
    assert status.cause is (StopCause.TTL if state is S.SOFT_STOP else StopCause.NONE)


@pytest.mark.parametrize(("left_ns", "state"), [(20 * MS, S.MOVING), (20 * MS - 1, S.SOFT_STOP)])
def test_evidence_edge(bench, left_ns: int, state: GuardState) -> None:
    bench.moving()
    push(bench, twist=Twist(0.3), t_capture_ns=bench.now_ns - 1, evidence_deadline_ns=bench.now_ns + left_ns)
    bench.tick()
    assert bench.run(20).state is state


def test_steer_cannot_renew_evidence_by_talking(bench) -> None:
    bench.moving()
    look = bench.look(age_ms=0, life_ms=500)
    start_ns = bench.now_ns

    def talk() -> None:  # the same frame, every time with a later deadline and a bigger budget
        later = bench.now_ns + 500 * MS
        bench.local.send(Twist(0.3), replace(look, deadline_ns=later, max_turn_rad=99.0, max_travel_m=99.0))

    bench.local.send(Twist(0.3), look)
    status = bench.run(1000, talk)
    assert (status.state, status.cause) == (S.SOFT_STOP, StopCause.EVIDENCE)
    assert status.tally["renewals"] > 10
    assert 500 < bench.first(start_ns, lambda twist: twist.linear_x < 0.299) <= 520


def test_fresh_evidence_ends_the_soft_stop_after_a_second(bench) -> None:
    bench.moving()
    bench.run(200)
    assert bench.state is S.SOFT_STOP
    bench.run(2000)
    assert bench.state is S.SOFT_STOP  # nobody talks: the cause is not gone
    start_ns = bench.now_ns
    status = bench.run(1600, bench.drive(Twist(0.3)))
    assert status.state is S.MOVING
    assert 1000 <= bench.first(start_ns, lambda twist: twist != STILL) <= 1100


def test_three_soft_stops_in_ten_seconds_latch(bench) -> None:
    bench.armed()
    for _ in range(2):
        bench.run(1700, bench.drive(Twist(0.3)))
        bench.run(300)
        bench.run(1500, lambda: bench.local.send(STILL))
    bench.run(1000, bench.drive(Twist(0.3)))
    status = bench.run(300)
    assert (status.state, status.fault) == (S.FAULT_LATCHED, FaultCode.SOFT_STOPS)


def test_commanding_zero_is_never_a_fault(bench) -> None:
    bench.moving()
    bench.run(5000, lambda: bench.local.send(STILL))
    assert bench.state is S.ARMED_IDLE
    bench.run(5000)  # then silence
    status = bench.run(100)
    assert status.state is S.ARMED_IDLE
    assert not {"soft_stops", "faults"} & status.tally.keys()


def test_silence_while_still_braking_for_a_zero_is_no_fault(bench) -> None:
    bench.moving()
    bench.local.send(STILL)
    assert bench.run(600).state is S.ARMED_IDLE


@pytest.mark.parametrize(
    ("twist", "budget", "used"),
    [(Twist(0.0, 0.0, 0.8), {"turn": 0.8}, lambda pose: pose.yaw_rad), (Twist(0.3), {"travel": 0.4}, lambda pose: pose.x_m)],
)
def test_a_budget_bounds_where_the_robot_ends(bench, twist: Twist, budget: dict[str, float], used) -> None:
    bench.armed()
    look = bench.look(age_ms=0, life_ms=5000, **budget)
    start_ns = bench.now_ns
    status = bench.run(3000, lambda: bench.local.send(twist, look))
    assert (status.state, status.held, status.tally["budget_stops"]) == (S.ARMED_IDLE, True, 1)
    assert "soft_stops" not in status.tally
    newest = bench.local.poses.newest
    assert newest is not None
    most = next(iter(budget.values()))
    assert 0.9 * most < used(newest) <= most
    assert bench.wheels_still_ms(start_ns) < 3000


def test_a_used_budget_stays_used_until_a_newer_look(bench) -> None:
    bench.armed()
    look = bench.look(age_ms=0, life_ms=5000, travel=0.2)
    bench.run(2000, lambda: bench.local.send(Twist(0.3), look))
    before = bench.local.poses.newest
    bench.run(1000, lambda: bench.local.send(Twist(0.05), replace(look, max_travel_m=9.0)))
    assert bench.local.poses.newest.x_m == pytest.approx(before.x_m, abs=1e-3)  # type: ignore[union-attr]
    status = bench.run(500, bench.drive(Twist(0.3)))
    assert (status.state, status.held) == (S.MOVING, False)


def test_budgets_may_shrink(bench) -> None:
    bench.armed()
    look = bench.look(age_ms=0, life_ms=5000)
    bench.run(200, lambda: bench.local.send(Twist(0.3), look))
    bench.run(1000, lambda: bench.local.send(Twist(0.3), replace(look, max_travel_m=0.0)))
    assert bench.status.held
    assert bench.status.applied == STILL
    assert "renewals" not in bench.status.tally


def test_an_empty_travel_budget_does_not_forbid_turning(bench) -> None:
    bench.armed()
    status = bench.run(400, lambda: bench.local.send(Twist(0.0, 0.0, 0.5), bench.look(travel=0.0)))
    assert status.applied.angular_z == pytest.approx(0.5, abs=2e-3)


# -- refusals


@pytest.mark.parametrize(
    ("count", "fields"),
    [
        (Count.REJECT_LIFETIME, {"ttl_ms": 0}),
        (Count.REJECT_LIFETIME, {"ttl_ms": 501}),
        (Count.REJECT_LIFETIME, {"t_issue_ns": 25 * MS + 1}),  # 5 ms ahead of the tick that reads it
        (Count.REJECT_LIFETIME, {"t_issue_ns": -130 * MS - 1}),
        (Count.REJECT_EVIDENCE, {"t_capture_ns": 1}),  # after its own issue
        (Count.REJECT_EVIDENCE, {"t_capture_ns": 20 * MS + 1, "t_issue_ns": 24 * MS}),  # the future, at the tick
        (Count.REJECT_EVIDENCE, {"t_capture_ns": -(10**18)}),
        (Count.REJECT_EVIDENCE, {"evidence_deadline_ns": 20 * MS - 1}),
        (Count.REJECT_EVIDENCE, {"t_capture_ns": 0, "evidence_deadline_ns": 5000 * MS + 1}),
        (Count.REJECT_EVIDENCE, {"max_turn_rad": -1e-9}),
        (Count.REJECT_EVIDENCE, {"max_travel_m": -1e-9}),
        (Count.REJECT_NOT_FINITE, {"max_turn_rad": math.nan}),
        (Count.REJECT_NOT_FINITE, {"max_travel_m": math.inf}),
        (Count.REJECT_NOT_FINITE, {"clear_m": math.nan}),
        (Count.REJECT_NOT_FINITE, {"twist": Twist(math.nan)}),
        (Count.REJECT_RANGE, {"twist": Twist(1.001)}),
        (Count.REJECT_RANGE, {"twist": Twist(0.0, 0.0, -2.001)}),
        (Count.REJECT_BASE, {"twist": Twist(0.1, 0.1)}),
    ],
)
def test_a_wrong_value_is_counted_by_name_and_not_driven(bench, count: Count, fields: dict[str, object]) -> None:
    bench.armed()
    times = {"t_issue_ns", "t_capture_ns", "evidence_deadline_ns"}
    absolute = {key: bench.now_ns + value if key in times else value for key, value in fields.items()}  # type: ignore[operator]
    push(bench, **({"twist": Twist(0.2)} | absolute))
    status = bench.run(20)
    assert {name for name in status.tally if name.startswith("reject")} == {count.name.lower()}
    assert (status.applied, status.state) == (STILL, S.ARMED_IDLE)


@pytest.mark.parametrize(
    "fields",
    [
        {"ttl_ms": 500},
        {"t_issue_ns": 25 * MS},
        {"t_issue_ns": -130 * MS, "t_capture_ns": -200 * MS},
        {"t_capture_ns": 0},
        {"evidence_deadline_ns": 20 * MS},
        {"t_capture_ns": 0, "evidence_deadline_ns": 5000 * MS},
        {"twist": Twist(1.0)},
        {"twist": Twist(0.0, 0.0, 2.0)},
    ],
)
def test_the_last_allowed_value_is_driven(bench, fields: dict[str, object]) -> None:
    bench.armed()
    times = {"t_issue_ns", "t_capture_ns", "evidence_deadline_ns"}
    absolute = {key: bench.now_ns + value if key in times else value for key, value in fields.items()}  # type: ignore[operator]
    push(bench, **({"twist": Twist(0.2)} | absolute))
    assert bench.run(20).applied != STILL


def test_evidence_never_goes_back(bench) -> None:
    bench.moving()
    push(bench, twist=Twist(0.3), t_capture_ns=bench.now_ns - 300 * MS)
    assert bench.run(20).tally["reject_evidence"] == 1


@pytest.mark.parametrize("nonsense", [Twist(math.nan), Twist(9.0), Twist(0.2, 0.2)])
def test_nonsense_stops_a_moving_robot_and_the_third_latches(bench, nonsense: Twist) -> None:
    bench.moving()
    push(bench, twist=nonsense)
    status = bench.run(20)
    assert (status.state, status.cause) == (S.SOFT_STOP, StopCause.INVALID)
    push(bench, twist=nonsense)
    push(bench, twist=nonsense)
    status = bench.run(20)
    assert (status.state, status.fault, status.applied) == (S.FAULT_LATCHED, FaultCode.INVALID_COMMANDS, STILL)


def test_three_nonsenses_spread_over_more_than_ten_seconds_do_not_latch(bench) -> None:
    bench.armed()
    for _ in range(4):
        push(bench, twist=Twist(math.nan))
        bench.run(5000)
    assert bench.state is S.ARMED_IDLE


def test_a_broken_datagram_leaves_the_command_before_it_to_its_ttl(bench) -> None:
    bench.moving()
    bench.drive(Twist(0.3))()
    bench.local._wire.push(b"noise")
    status = bench.run(20)
    assert (status.state, status.tally["reject_malformed"]) == (S.MOVING, 1)


# -- orders in a burst


def test_a_stop_inside_a_burst_is_not_lost(bench) -> None:
    bench.moving()
    bench.drive(Twist(0.3))()
    bench.local.stop()
    for _ in range(20):
        bench.drive(Twist(0.3))()
    status = bench.run(20)
    assert (status.state, status.applied, status.fault) == (S.ESTOP_LATCHED, STILL, FaultCode.OPERATOR_STOP)


def test_arm_and_command_in_one_burst_are_both_taken(bench) -> None:
    bench.run(400)
    bench.local.arm()
    bench.drive(Twist(0.3))()
    assert bench.run(20).state is S.MOVING


def test_disarm_forgets_the_command_before_it(bench) -> None:
    bench.armed()
    bench.drive(Twist(0.3))()
    bench.local.disarm()
    bench.local.send(STILL)  # refused, but it ends the wish
    bench.local.arm()
    assert bench.run(100).applied == STILL


def test_reset_leads_to_disarmed_and_only_with_the_current_id(bench) -> None:
    bench.moving()
    bench.local.stop()
    status = bench.run(20)
    bench.local.reset(status.fault_id)
    assert bench.run(20).refusal is Refusal.TRIGGER_RECENT
    bench.run(1000)
    bench.local.reset(status.fault_id + 1)
    assert bench.run(20).refusal is Refusal.WRONG_FAULT_ID
    bench.local.reset(status.fault_id)
    status = bench.run(20)
    assert (status.state, status.refusal) == (S.DISARMED, Refusal.NONE)
    assert bench.run(500, bench.drive(Twist(0.3))).applied == STILL  # a reset never arms
    bench.local.send(STILL)
    bench.local.arm()
    assert bench.run(20).state is S.ARMED_IDLE


def test_a_latch_says_zero_three_times_at_once_and_then_ten_times_a_second(bench) -> None:
    bench.moving()
    bench.local.stop()
    start_ns = bench.now_ns
    bench.run(1060)
    assert [out.flush for out in bench.outputs[-53:]] == [True] + [False] * 52
    times_ms = [(t - start_ns) // MS for t, twist in bench.frames if t > start_ns]
    assert times_ms == [20, 40, 60, *range(160, 1061, 100)]
    assert {twist for t, twist in bench.frames if t > start_ns} == {STILL}
    assert (start_ns + 20 * MS, b"\n") in bench.bytes_out  # ends what a flush may have torn


def test_bye_stops_confirms_and_finishes(bench) -> None:
    bench.moving()
    bench.local.bye()
    start_ns = bench.now_ns
    bench.run(20)
    assert bench.stop_bytes_ms(start_ns) == 20.0
    assert not bench.outputs[-1].finished
    for _ in range(60):
        bench.run(20, bench.drive(Twist(0.3)))
        if bench.outputs[-1].finished:
            break
    assert bench.outputs[-1].still
    assert bench.wheels.speeds()[0] < 0.02
    assert bench.status.state is S.DISARMED
    bench.local.arm()
    assert bench.run(20).refusal is Refusal.WRONG_STATE


def test_the_client_refuses_motion_without_evidence(bench) -> None:
    with pytest.raises(UnsafeCommand, match="no evidence"):
        bench.local.send(Twist(0.1))


def test_the_client_counts_statuses_it_cannot_read(bench) -> None:
    bench.run(40)
    bench.local._mailbox.to_worker.append(b"noise")
    assert bench.local.poll() is not None
    assert bench.local.unread == 1


def test_events_tell_the_story(bench) -> None:
    bench.moving()
    bench.local.stop()
    bench.run(20)
    names = [(event.name, event.detail) for out in bench.outputs for event in out.events]
    assert ("state", "BOOT -> DISARMED") in names
    assert ("fault", "1 OPERATOR_STOP: the worker said STOP") in names
    assert names[-1] == ("state", "MOVING -> ESTOP_LATCHED")


def test_a_worker_wrong_thirty_times_a_second_gets_one_line_a_second(bench) -> None:
    bench.run(400)
    bench.run(3000, bench.drive(Twist(0.3)))
    lines = [event for out in bench.outputs for event in out.events if event.name == "reject_not_armed"]
    assert len(lines) == 3
    assert bench.status.tally["reject_not_armed"] == 150
