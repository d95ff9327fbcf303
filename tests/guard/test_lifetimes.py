"""The three lifetimes to the nanosecond: command, evidence, motion budget."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_vla.guard.state import FaultCode, GuardState, StopCause
from edge_vla.guard.types import STILL, Twist

MS = 1_000_000
S = GuardState


@pytest.mark.parametrize(("left_ns", "state"), [(20 * MS, S.MOVING), (20 * MS - 1, S.SOFT_STOP)])
def test_the_command_lives_until_its_ttl_and_not_a_nanosecond_longer(bench, left_ns: int, state: GuardState) -> None:
    bench.moving()
    bench.push(twist=Twist(0.3), ttl_ms=40, t_issue_ns=bench.now_ns - 40 * MS + left_ns)
    bench.tick()  # taken now, judged again at the next tick
    status = bench.run(20)
    assert status.state is state
    assert status.cause is (StopCause.TTL if state is S.SOFT_STOP else StopCause.NONE)


@pytest.mark.parametrize(("left_ns", "state"), [(20 * MS, S.MOVING), (20 * MS - 1, S.SOFT_STOP)])
def test_evidence_edge(bench, left_ns: int, state: GuardState) -> None:
    bench.moving()
    bench.push(twist=Twist(0.3), t_capture_ns=bench.now_ns - 1, evidence_deadline_ns=bench.now_ns + left_ns)
    bench.tick()
    assert bench.run(20).state is state


def test_steer_cannot_renew_evidence_by_talking(bench) -> None:
    bench.moving()
    look = bench.look(age_ms=0, life_ms=500)
    start_ns = bench.now_ns

    def talk() -> None:  # the same frame, every time with a later deadline and a bigger budget
        later = bench.now_ns + 500 * MS
        bench.local.send(Twist(0.3), replace(look, deadline_ns=later, max_turn_rad=6.28, max_travel_m=5.0))

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
    bench.run(1000, lambda: bench.local.send(Twist(0.05), replace(look, max_travel_m=5.0)))
    assert bench.local.poses.newest.x_m == pytest.approx(before.x_m, abs=1e-3)  # type: ignore[union-attr]
    status = bench.run(500, bench.drive(Twist(0.3)))
    assert (status.state, status.held) == (S.MOVING, False)


@pytest.mark.parametrize(("twist", "grow"), [(Twist(0.0, 0.0, 0.5), "max_turn_rad"), (Twist(0.3), "max_travel_m")])
def test_neither_budget_can_grow_on_the_same_look(bench, twist: Twist, grow: str) -> None:
    bench.armed()
    look = bench.look(age_ms=0, life_ms=5000, turn=0.3, travel=0.2)
    bench.local.send(twist, look)
    bench.run(20)
    bench.run(2000, lambda: bench.local.send(twist, replace(look, **{grow: 5.0})))
    pose = bench.local.poses.newest
    assert pose is not None
    assert max(pose.x_m / 0.2, pose.yaw_rad / 0.3) <= 1.0


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
