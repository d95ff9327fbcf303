"""The state machine's numbers, which go over the wire and into logs, and what it does just beyond its edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from edge_vla.guard.state import FaultCode, GuardState, Machine, Refusal, StopCause

S = 1_000_000_000
MOVING = Machine().ready().arm().drive(moving=True)


def test_the_numbers_are_these() -> None:
    """A worker and a guard of two versions, or a log of last year, must mean the same."""
    assert {state.name: int(state) for state in GuardState} == {
        "BOOT": 0, "DISARMED": 1, "ARMED_IDLE": 2, "MOVING": 3, "SOFT_STOP": 4, "FAULT_LATCHED": 5, "ESTOP_LATCHED": 6,
    }  # fmt: skip
    assert {fault.name: int(fault) for fault in FaultCode} == {
        "NONE": 0, "OPERATOR_STOP": 1, "WORKER_DEAD": 2, "WORKER_STOPPED": 3, "PORT_LOST": 4, "WRITE_STALLED": 5, "FEEDBACK_GAP": 6,
        "FEEDBACK_CONTRADICTS": 7, "BASE_REBOOT": 8, "TICK_OVERRUN": 9, "SOFT_STOPS": 10, "INVALID_COMMANDS": 11, "SELF_CHECK": 12,
        "TERMINATED": 13, "WORKER_FAULT": 14, "BUMPER": 15, "CLIFF": 16, "WHEEL_DROP": 17, "OVER_CURRENT": 18, "BASE_TRIPPED": 19,
        "FEEDBACK_FROZEN": 20, "LOW_BATTERY": 21,
    }  # fmt: skip
    assert {cause.name: int(cause) for cause in StopCause} == {
        "NONE": 0, "TTL": 1, "EVIDENCE": 2, "INVALID": 3, "BATTERY": 4, "OVER_CURRENT": 5, "DEADMAN": 6,
    }  # fmt: skip
    assert {refusal.name: int(refusal) for refusal in Refusal} == {
        "NONE": 0, "WRONG_STATE": 1, "NOT_STILL": 2, "NO_FEEDBACK": 3, "VELOCITY_REQUESTED": 4, "WRONG_FAULT_ID": 5, "TRIGGER_RECENT": 6,
        "LOW_BATTERY": 7, "HAZARD": 8, "DEADMAN": 9,
    }  # fmt: skip


def test_a_machine_begins_with_nothing() -> None:
    assert Machine() == Machine(GuardState.BOOT, FaultCode.NONE, 0, 0, StopCause.NONE, (), None)
    with pytest.raises(FrozenInstanceError):
        Machine().state = GuardState.MOVING  # type: ignore[misc]


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.drive(True),
        lambda m: m.settle(0, True, True),
        lambda m: m.refuse_reset(0, 1, True),
        lambda m: m.reset(0, 1, True),
    ],
)
def test_what_is_true_is_said_by_its_name(call: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match="positional"):
        call(MOVING)


def test_a_latch_without_a_reason_is_a_fault_and_no_operator() -> None:
    latched = MOVING.latch(1, FaultCode.NONE)
    assert (latched.state, latched.fault_id) == (GuardState.FAULT_LATCHED, 1)
    first = MOVING.latch(1, FaultCode.PORT_LOST)
    assert first.latch(2, FaultCode.NONE) == replace(first, trigger_ns=2)


def test_calm_longer_than_a_second_is_calm() -> None:
    waiting = MOVING.soft_stop(0, StopCause.TTL).settle(0, clear=True, still=True)
    assert waiting.settle(7 * S, clear=True, still=True).state is GuardState.ARMED_IDLE


def test_the_third_stop_a_nanosecond_before_ten_seconds_latches() -> None:
    machine = MOVING
    for t_ns in (0, 5 * S, 10 * S - 1):
        machine = replace(machine, state=GuardState.MOVING).soft_stop(t_ns, StopCause.TTL)
    assert machine.fault is FaultCode.SOFT_STOPS


def test_soft_stops_of_long_ago_are_forgotten() -> None:
    machine = MOVING
    for t_ns in (0, 5 * S, 16 * S, 27 * S):
        machine = replace(machine, state=GuardState.MOVING).soft_stop(t_ns, StopCause.TTL)
        assert machine.state is GuardState.SOFT_STOP
    assert machine.soft_stops_ns == (27 * S,)
