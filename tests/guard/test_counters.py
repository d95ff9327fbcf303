"""Counters to ways and speeds: wrapping, damaged reports, counters that start anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.guard.counters import Counters

MS = 1_000_000


def said(wheels_mps: tuple[float, ...] | None, travel_m: tuple[float, ...], *, restarted: bool = False) -> Any:
    """What a report with about these numbers looks like as a tuple."""
    return pytest.approx(wheels_mps), pytest.approx(travel_m), restarted


def take(counters: Counters, counts: tuple[int, ...], now_ns: int) -> Any:
    counted = counters.take(counts, now_ns)
    return None if counted is None else (counted.wheels_mps, counted.travel_m, counted.restarted)


@pytest.fixture
def counters() -> Counters:
    """1000 counts a metre, wheels up to 0.5 m/s; the first report is at 0 ms."""
    made = Counters(1000.0, 0.5)
    assert take(made, (1000, -2000), 0) == said(None, (0.0, 0.0))
    return made


def test_a_single_sample_gives_no_speed_and_two_do(counters: Counters) -> None:
    assert take(counters, (1010, -2020), 50 * MS) == said((0.2, -0.4), (0.01, -0.02))
    assert take(counters, (1010, -2020), 100 * MS) == said((0.0, 0.0), (0.01, -0.02))


def test_speeds_are_over_the_time_that_has_passed(counters: Counters) -> None:
    assert take(counters, (1010, -2020), 100 * MS) == said((0.1, -0.2), (0.01, -0.02))


@pytest.mark.parametrize(("before", "after"), [(2**31 - 5, -(2**31) + 5), (-1, 9)])
def test_counters_wrap(before: int, after: int) -> None:
    counters = Counters(1000.0, 0.5)
    counters.take((before, after), 0)
    counted = counters.take((after, before), 50 * MS)
    assert counted is not None
    assert counted.travel_m == (0.01, -0.01)


def test_the_fastest_that_is_believed(counters: Counters) -> None:
    assert take(counters, (1151, -2000), 50 * MS) is None
    assert take(counters, (1150, -2000), 50 * MS) == said((3.0, 0.0), (0.15, 0.0))


def test_a_damaged_report_is_dropped_and_costs_nothing(counters: Counters) -> None:
    assert take(counters, (10, -2010), 50 * MS) is None
    assert take(counters, (1020, -2020), 100 * MS) == said((0.2, -0.2), (0.02, -0.02))
    assert take(counters, (30, -2030), 150 * MS) is None, "the doubted one is forgotten"
    assert take(counters, (1040, -2040), 200 * MS) == said((0.2, -0.2), (0.04, -0.04))


def test_counters_that_somebody_has_set_are_believed_when_two_agree(counters: Counters) -> None:
    assert take(counters, (50_000, 0), 50 * MS) is None
    assert take(counters, (50_010, 20), 100 * MS) == said((0.2, 0.4), (0.01, 0.02))


def test_two_reports_out_of_one_buffer_give_one_speed(counters: Counters) -> None:
    """The late one and its successor: what lies between them has not been driven in no time."""
    assert take(counters, (1010, -2000), 100 * MS) == said((0.1, 0.0), (0.01, 0.0))
    assert take(counters, (1020, -2000), 100 * MS) == said(None, (0.02, 0.0))
    assert take(counters, (1030, -2000), 109 * MS) == said(None, (0.03, 0.0))
    assert take(counters, (1035, -2000), 150 * MS) == said((0.1, 0.0), (0.035, 0.0))


def test_not_even_in_one_buffer_is_everything_believed(counters: Counters) -> None:
    assert take(counters, (1300, -2000), MS) == said(None, (0.3, 0.0))
    assert take(counters, (1601, -2000), MS) is None


def test_a_clock_that_runs_back_gives_no_speed(counters: Counters) -> None:
    assert take(counters, (1010, -2000), -50 * MS) == said(None, (0.01, 0.0))


def test_a_jump_to_zero_is_a_restart_and_no_way(counters: Counters) -> None:
    counters.take((1010, -2000), 50 * MS)
    assert take(counters, (0, 5), 100 * MS) == said(None, (0.01, 0.0), restarted=True)
    assert take(counters, (10, 5), 150 * MS) == said((0.2, 0.0), (0.02, 0.0))


def test_zero_that_can_be_driven_to_is_no_restart() -> None:
    counters = Counters(1000.0, 0.5)
    counters.take((50, 50), 0)
    assert take(counters, (0, 0), 50 * MS) == said((-1.0, -1.0), (-0.05, -0.05)), "as fast as twice the limit: still driven"
    counters = Counters(1000.0, 0.5)
    counters.take((51, 50), 0)
    restarted = counters.take((0, 0), 50 * MS)
    assert restarted is not None
    assert restarted.restarted


def test_after_a_silence_zero_is_a_restart_however_slow() -> None:
    for silence_ms, anew in ((499, False), (500, True)):
        counters = Counters(1000.0, 0.5)
        counters.take((60, 60), 0)
        counted = counters.take((2, 3), silence_ms * MS)
        assert counted is not None
        assert counted.restarted is anew


@pytest.mark.parametrize(("before", "after"), [((49, 49), (0, 0)), ((60, 60), (6, 0)), ((60, 60), (0, -6))])
def test_not_far_or_not_near_is_no_restart(before: tuple[int, int], after: tuple[int, int]) -> None:
    counters = Counters(1000.0, 0.5)
    counters.take(before, 0)
    counted = counters.take(after, 1000 * MS)
    assert counted is not None
    assert not counted.restarted


@given(
    st.lists(
        st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(-MS, 10**10)), min_size=1, max_size=30
    )
)
def test_no_speed_is_ever_faster_than_a_wheel(reports: list[tuple[int, int, int]]) -> None:
    counters = Counters(5000.0, 0.5)
    now_ns = 0
    for left, right, passed_ns in reports:
        now_ns += passed_ns
        counted = counters.take((left, right), now_ns)
        if counted is not None and counted.wheels_mps is not None:
            assert max(map(abs, counted.wheels_mps)) <= 3.0
