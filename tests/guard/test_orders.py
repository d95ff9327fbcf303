"""STOP, RESET, DISARM and BYE, alone and in bursts; the latch and the diary."""

from __future__ import annotations

import pytest

from edge_vla.bases.waveshare import WaveshareUGV
from edge_vla.errors import UnsafeCommand
from edge_vla.guard.link import MAX_POSES, Status
from edge_vla.guard.state import FaultCode, GuardState, Refusal
from edge_vla.guard.types import STILL, Twist

MS = 1_000_000
S = GuardState


def test_a_stop_inside_a_burst_is_not_lost(bench) -> None:
    bench.moving()
    bench.drive(Twist(0.3))()
    bench.local.stop()
    for _ in range(20):
        bench.drive(Twist(0.3))()
    status = bench.run(20)
    assert (status.state, status.applied, status.fault) == (S.ESTOP_LATCHED, STILL, FaultCode.OPERATOR_STOP)


def test_a_fault_of_the_worker_stops_at_once_under_its_own_name(bench) -> None:
    bench.moving()
    bench.local.fault()
    status = bench.run(20)
    assert (status.state, status.applied, status.fault) == (S.FAULT_LATCHED, STILL, FaultCode.WORKER_FAULT)


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


def test_bye_of_a_robot_at_rest_still_says_zero_three_times(bench) -> None:
    bench.armed()
    bench.local.bye()
    bench.run(40)
    assert not bench.outputs[-1].finished
    bench.run(20)
    assert bench.outputs[-1].finished


def test_the_client_refuses_motion_without_evidence(bench) -> None:
    with pytest.raises(UnsafeCommand, match="no evidence"):
        bench.local.send(Twist(0.1))


def test_the_client_counts_statuses_it_cannot_read(bench) -> None:
    bench.run(40)
    bench.local._mailbox.to_worker.append(b"noise")
    assert bench.local.poll() is not None
    assert bench.local.unread == 1


def test_a_client_that_slept_misses_no_pose(bench) -> None:
    """Statuses overlap in their poses: of many only as many are read as the newest no longer covers."""
    bench.moving()
    bench.local.poll()
    mailbox = bench.local._mailbox.to_worker
    known = bench.local.poses.newest
    bench.run(3 * MAX_POSES * 50)  # a report every 50 ms
    waiting = list(mailbox)
    spoken = [pose for data in waiting for pose in Status.unpack(data).poses]
    mailbox.insert(0, b"noise")  # older than anything of interest
    bench.local.poll()
    assert len({pose.t_ns for pose in spoken}) > 2 * MAX_POSES
    assert {pose.t_ns for pose in spoken} <= set(bench.local.poses._times)
    assert bench.local.status == Status.unpack(waiting[-1])
    assert known.t_ns < bench.local.poses.newest.t_ns


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


def test_a_second_bye_changes_nothing(bench) -> None:
    bench.moving()
    bench.local.bye()
    bench.run(20)
    leaving_ns = bench.guard.control.leaving_ns
    bench.local.bye()
    bench.run(500)
    assert bench.guard.control.leaving_ns == leaving_ns
    assert bench.outputs[-1].finished


def test_a_base_whose_stop_is_none_gets_no_guard(make_bench) -> None:
    class Runaway(WaveshareUGV):
        def decode_command(self, frame: bytes) -> Twist:
            return Twist(0.1)

    with pytest.raises(UnsafeCommand, match="is not a stop"):
        make_bench(base=Runaway())
