"""Every wrong value by the name it is counted under, and its last right neighbour."""

from __future__ import annotations

import math

import pytest

from edge_vla.guard.lifetimes import TRAVEL_BUDGET_M, TURN_BUDGET_RAD
from edge_vla.guard.link import Count, Kind
from edge_vla.guard.state import FaultCode, GuardState, StopCause
from edge_vla.guard.types import STILL, Twist
from edge_vla.parse import command

MS = 1_000_000
S = GuardState


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
        (Count.REJECT_RANGE, {"max_turn_rad": -1e-9}),
        (Count.REJECT_RANGE, {"max_travel_m": -1e-9}),
        (Count.REJECT_RANGE, {"max_turn_rad": math.nextafter(2 * math.pi, 9.0)}),
        (Count.REJECT_RANGE, {"max_travel_m": math.nextafter(5.0, 9.0)}),
        (Count.REJECT_RANGE, {"max_turn_rad": 1e9}),
        (Count.REJECT_RANGE, {"max_travel_m": 1e9}),
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
    bench.push(**({"twist": Twist(0.2)} | absolute))
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
        {"max_turn_rad": 2 * math.pi, "max_travel_m": 5.0},
    ],
)
def test_the_last_allowed_value_is_driven(bench, fields: dict[str, object]) -> None:
    bench.armed()
    times = {"t_issue_ns", "t_capture_ns", "evidence_deadline_ns"}
    absolute = {key: bench.now_ns + value if key in times else value for key, value in fields.items()}  # type: ignore[operator]
    bench.push(**({"twist": Twist(0.2)} | absolute))
    assert bench.run(20).applied != STILL


def test_evidence_never_goes_back(bench) -> None:
    bench.moving()
    bench.push(twist=Twist(0.3), t_capture_ns=bench.now_ns - 300 * MS)
    assert bench.run(20).tally["reject_evidence"] == 1


@pytest.mark.parametrize("nonsense", [Twist(math.nan), Twist(9.0), Twist(0.2, 0.2)])
def test_nonsense_stops_a_moving_robot_and_the_third_latches(bench, nonsense: Twist) -> None:
    bench.moving()
    bench.push(twist=nonsense)
    status = bench.run(20)
    assert (status.state, status.cause) == (S.SOFT_STOP, StopCause.INVALID)
    bench.push(twist=nonsense)
    bench.push(twist=nonsense)
    status = bench.run(20)
    assert (status.state, status.fault, status.applied) == (S.FAULT_LATCHED, FaultCode.INVALID_COMMANDS, STILL)


@pytest.mark.parametrize(
    ("budget", "said"), [({"max_turn_rad": 1e9}, "budget 1000000000.0 rad, 5.0 m"), ({"max_travel_m": 5.1}, "budget 6.0 rad, 5.1 m")]
)
def test_a_budget_nobody_can_need_is_nonsense(bench, budget: dict[str, float], said: str) -> None:
    bench.moving()
    bench.push(twist=Twist(0.3), **budget)
    status = bench.run(20)
    assert (status.state, status.cause) == (S.SOFT_STOP, StopCause.INVALID)
    assert f"{said}: want 0 to 6.2832 rad and 0 to 5.0 m" in [event.detail for output in bench.outputs for event in output.events]


def test_every_command_somebody_can_give_has_a_budget_the_guard_takes() -> None:
    assert command.MAX_TURN_RAD <= TURN_BUDGET_RAD
    assert command.MAX_TRAVEL_M <= TRAVEL_BUDGET_M


def test_nonsense_also_takes_back_the_command_before_it(bench) -> None:
    bench.armed()
    bench.push(twist=Twist(0.2))
    bench.push(twist=Twist(math.nan))
    assert bench.run(100).applied == STILL


def test_arming_forgives_earlier_nonsense(bench) -> None:
    bench.armed()
    for _ in range(2):
        bench.push(twist=Twist(math.nan))
    bench.run(20)
    bench.push(kind=Kind.DISARM)
    bench.push(kind=Kind.ARM)
    for _ in range(2):
        bench.push(twist=Twist(math.nan))
    assert bench.run(20).state is S.ARMED_IDLE


def test_three_nonsenses_spread_over_more_than_ten_seconds_do_not_latch(bench) -> None:
    bench.armed()
    for _ in range(4):
        bench.push(twist=Twist(math.nan))
        bench.run(5000)
    assert bench.state is S.ARMED_IDLE


def test_a_broken_datagram_leaves_the_command_before_it_to_its_ttl(bench) -> None:
    bench.moving()
    bench.drive(Twist(0.3))()
    bench.local._wire.push(b"noise")
    status = bench.run(20)
    assert (status.state, status.tally["reject_malformed"]) == (S.MOVING, 1)
