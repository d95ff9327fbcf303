"""The state machine: every rule at its edge, and every sequence of events there is to depth seven."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_vla.guard.state import ARMED, LATCHED, FaultCode, GuardState, Machine, Refusal, StopCause

MS = 1_000_000
S = GuardState
DISARMED = Machine().ready()
MOVING = DISARMED.arm().drive(moving=True)
FAULT = MOVING.latch(0, FaultCode.PORT_LOST)


def test_a_start_enters_boot_and_only_a_base_that_answers_leaves_it() -> None:
    assert Machine().state is S.BOOT
    assert Machine().arm().drive(moving=True).soft_stop(0, StopCause.TTL).disarm() == Machine()
    assert Machine().ready().state is S.DISARMED


def test_the_way_to_motion_and_back() -> None:
    armed = DISARMED.arm()
    assert armed.state is S.ARMED_IDLE
    assert armed.drive(moving=False) is armed
    assert armed.drive(moving=True).state is S.MOVING
    assert armed.drive(moving=True).drive(moving=False).state is S.ARMED_IDLE
    assert MOVING.disarm().state is S.DISARMED
    assert DISARMED.drive(moving=True) is DISARMED


@pytest.mark.parametrize("machine", [Machine(), DISARMED, DISARMED.arm(), FAULT])
def test_only_motion_can_be_soft_stopped(machine: Machine) -> None:
    assert machine.soft_stop(0, StopCause.TTL) is machine


def test_a_soft_stop_ends_after_a_second_of_calm_on_end() -> None:
    stop = MOVING.soft_stop(0, StopCause.EVIDENCE)
    assert (stop.state, stop.cause) == (S.SOFT_STOP, StopCause.EVIDENCE)
    assert stop.drive(moving=True) is stop
    waiting = stop.settle(100 * MS, clear=True, still=True)
    assert waiting.settle(1100 * MS - 1, clear=True, still=True).state is S.SOFT_STOP
    assert waiting.settle(1100 * MS, clear=True, still=True).state is S.ARMED_IDLE


@pytest.mark.parametrize(("clear", "still"), [(False, True), (True, False)])
def test_calm_that_is_interrupted_starts_again(clear: bool, still: bool) -> None:
    stop = MOVING.soft_stop(0, StopCause.TTL)
    assert stop.settle(0, clear=clear, still=still) is stop
    broken = stop.settle(0, clear=True, still=True).settle(500 * MS, clear=clear, still=still)
    assert broken.clear_since_ns is None
    again = broken.settle(600 * MS, clear=True, still=True)
    assert again.settle(1500 * MS, clear=True, still=True).state is S.SOFT_STOP
    assert again.settle(1600 * MS, clear=True, still=True).state is S.ARMED_IDLE


def soft_stops(*times_ms: int) -> Machine:
    machine = MOVING
    for t_ms in times_ms:
        machine = replace(machine, state=S.MOVING).soft_stop(t_ms * MS, StopCause.TTL)
    return machine


def test_the_third_soft_stop_in_ten_seconds_latches() -> None:
    assert soft_stops(0, 5000).state is S.SOFT_STOP
    latched = soft_stops(0, 5000, 9999)
    assert (latched.state, latched.fault, latched.fault_id) == (S.FAULT_LATCHED, FaultCode.SOFT_STOPS, 1)
    assert soft_stops(0, 5000, 10_000).state is S.SOFT_STOP


def test_the_first_fault_stays_and_its_id_with_it() -> None:
    later = FAULT.latch(50 * MS, FaultCode.FEEDBACK_GAP)
    assert (later.fault, later.fault_id, later.trigger_ns) == (FaultCode.PORT_LOST, 1, 50 * MS)


def test_an_operator_stop_overrides_a_fault_and_nothing_overrides_it() -> None:
    stopped = FAULT.latch(10, FaultCode.OPERATOR_STOP)
    assert (stopped.state, stopped.fault_id) == (S.ESTOP_LATCHED, 2)
    again = stopped.latch(20, FaultCode.OPERATOR_STOP).latch(30, FaultCode.PORT_LOST)
    assert (again.state, again.fault, again.fault_id, again.trigger_ns) == (S.ESTOP_LATCHED, FaultCode.OPERATOR_STOP, 2, 30)


@pytest.mark.parametrize("latched", [FAULT, MOVING.latch(0, FaultCode.OPERATOR_STOP)])
def test_reset_needs_the_id_half_a_second_of_quiet_and_zero(latched: Machine) -> None:
    good = (500 * MS, 1)
    assert latched.reset(*good, still=True).state is S.DISARMED
    assert latched.refuse_reset(500 * MS, 0, still=True) is Refusal.WRONG_FAULT_ID
    assert latched.refuse_reset(500 * MS, 2, still=True) is Refusal.WRONG_FAULT_ID
    assert latched.refuse_reset(500 * MS - 1, 1, still=True) is Refusal.TRIGGER_RECENT
    assert latched.refuse_reset(*good, still=False) is Refusal.NOT_STILL
    assert latched.reset(*good, still=False) is latched
    assert DISARMED.refuse_reset(*good, still=True) is Refusal.WRONG_STATE
    again = latched.latch(300 * MS, FaultCode.PORT_LOST)  # the trigger is active once more: half a second from then
    assert again.refuse_reset(800 * MS - 1, 1, still=True) is Refusal.TRIGGER_RECENT
    assert again.refuse_reset(800 * MS, 1, still=True) is Refusal.NONE


def test_a_reset_clears_the_reason_but_not_the_count_of_latches() -> None:
    reset = soft_stops(0, 1, 2).reset(10_000 * MS, 1, still=True)
    assert (reset.fault, reset.cause, reset.fault_id, reset.soft_stops_ns) == (FaultCode.NONE, StopCause.NONE, 1, ())


# -- every path

Step = tuple[str, Callable[[Machine, int], Machine]]
EVENTS: list[Step] = [
    ("ready", lambda m, _t: m.ready()),
    ("arm", lambda m, _t: m.arm()),
    ("disarm", lambda m, _t: m.disarm()),
    ("go", lambda m, _t: m.drive(moving=True)),
    ("halt", lambda m, _t: m.drive(moving=False)),
    ("soft", lambda m, t: m.soft_stop(t, StopCause.TTL)),
    ("calm", lambda m, t: m.settle(t, clear=True, still=True)),
    ("restless", lambda m, t: m.settle(t, clear=False, still=True)),
    ("fault", lambda m, t: m.latch(t, FaultCode.PORT_LOST)),
    ("stop", lambda m, t: m.latch(t, FaultCode.OPERATOR_STOP)),
    ("reset", lambda m, t: m.reset(t, m.fault_id, still=True)),
    ("old reset", lambda m, t: m.reset(t, m.fault_id - 1, still=True)),
    ("rolling reset", lambda m, t: m.reset(t, m.fault_id, still=False)),
]
LEGAL = {
    ("ready", S.BOOT, S.DISARMED),
    ("arm", S.DISARMED, S.ARMED_IDLE),
    ("go", S.ARMED_IDLE, S.MOVING),
    ("halt", S.MOVING, S.ARMED_IDLE),
    ("soft", S.MOVING, S.SOFT_STOP),
    ("soft", S.MOVING, S.FAULT_LATCHED),
    ("calm", S.SOFT_STOP, S.ARMED_IDLE),
    *(("disarm", state, S.DISARMED) for state in ARMED),
    *(("reset", state, S.DISARMED) for state in LATCHED),
    *(("fault", state, S.FAULT_LATCHED) for state in S if state not in LATCHED),
    *(("stop", state, S.ESTOP_LATCHED) for state in S if state is not S.ESTOP_LATCHED),
}


@pytest.mark.parametrize("pace_ms", [100, 600])
def test_every_sequence_of_events_to_depth_seven(pace_ms: int) -> None:
    """No transition but the legal ones, and from a latch to motion only by reset and then arm."""
    seen: set[tuple[str, S, S]] = set()
    # a path is kept as (machine, what has happened since the last latch: nothing, a reset, a reset and an arm)
    frontier: set[tuple[Machine, str]] = {(Machine(), "free")}
    for depth in range(1, 8):
        t_ns = depth * pace_ms * MS
        following: set[tuple[Machine, str]] = set()
        for machine, since in frontier:
            for name, event in EVENTS:
                after = event(machine, t_ns)
                if after.state is not machine.state:
                    seen.add((name, machine.state, after.state))
                following.add((after, follow(since, machine, after)))
        assert not [m for m, since in following if m.state in ARMED and since not in ("free", "armed")]
        assert not [m for m, since in following if m.state is S.MOVING and since in ("latched", "reset")]
        frontier = following
    assert seen <= LEGAL
    assert {after for _, _, after in seen} == set(S) - {S.BOOT}  # the search went everywhere


def follow(since: str, before: Machine, after: Machine) -> str:
    if after.state in LATCHED:
        return "latched"
    if before.state in LATCHED:
        return "reset"
    if since == "reset" and before.state is S.DISARMED and after.state is S.ARMED_IDLE:
        return "armed"
    return since
