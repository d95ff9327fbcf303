"""Real time in fixed steps: absolute, in bursts when late, skipping what cannot be made up for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_vla.sim.pacer import Pacer

MS = 1_000_000


def make() -> Pacer:
    return Pacer(1000 * MS, 4 * MS, burst=5, late_ns=10 * MS, most_ns=1000 * MS)


def take(pacer: Pacer, now_ns: int) -> int:
    steps = pacer.due(now_ns)
    for _ in range(steps):
        pacer.step()
    return steps


def test_a_step_is_due_at_its_deadline_and_not_before() -> None:
    pacer = make()
    assert take(pacer, 1004 * MS - 1) == 0
    assert pacer.next_ns == 1004 * MS
    assert take(pacer, 1004 * MS) == 1
    assert take(pacer, 1007 * MS) == 0
    assert take(pacer, 1009 * MS) == 1  # one late millisecond does not shift the next deadline
    assert pacer.next_ns == 1012 * MS
    assert pacer.late == 0


def test_ten_milliseconds_are_the_edge_of_late() -> None:
    pacer = make()
    take(pacer, 1010 * MS)
    assert pacer.late == 0
    take(pacer, 1018 * MS + 1)
    assert (pacer.late, pacer.worst_ns) == (1, 10 * MS + 1)


def test_a_gap_is_made_up_for_in_bursts_and_counted_once() -> None:
    pacer = make()
    now = 1100 * MS
    assert [take(pacer, now) for _ in range(6)] == [5, 5, 5, 5, 5, 0]
    assert pacer.reached_ns == now
    assert pacer.late == 1
    take(pacer, now + 50 * MS)
    assert pacer.late == 2


def test_a_long_gap_is_skipped() -> None:
    pacer = make()
    assert take(pacer, 1000 * MS + 5001 * MS) == 0
    assert pacer.skipped_ns == 5000 * MS
    assert pacer.next_ns == 6004 * MS
    exactly = make()
    assert take(exactly, 2000 * MS) == 5  # one second is still caught up with
    assert exactly.skipped_ns == 0


@given(st.lists(st.integers(0, 3000 * MS), min_size=1, max_size=40))
def test_time_is_neither_lost_nor_invented(gaps_ns: list[int]) -> None:
    pacer, now, taken = make(), 1000 * MS, 0
    for gap_ns in gaps_ns:
        now += gap_ns
        taken += take(pacer, now)
        assert pacer.reached_ns <= now
    while steps := take(pacer, now):
        taken += steps
    assert pacer.reached_ns == 1000 * MS + taken * 4 * MS + pacer.skipped_ns
    assert now - pacer.reached_ns < 4 * MS
