"""Formulas D, E and F's stops: at the edges, with zero, nan and infinity, and what the jerk limit may never do to a stop."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_vla.errors import UnsafeCommand
from edge_vla.guard import ramp
from edge_vla.guard.limits import Limits
from edge_vla.guard.types import STILL, Twist

EPS = 1e-9
LIMITS = Limits()
SMOOTH = Limits(jerk_mps3=3.0, jerk_radps3=15.0)
NOT_FINITE = (math.nan, math.inf, -math.inf)


# -- D: acceleration


def step(last: Twist, target: Twist, dt_s: float) -> Twist:
    return ramp.limit_acceleration(last, target, dt_s, LIMITS)


def axes(twist: Twist) -> tuple[float, float, float]:
    return twist.linear_x, twist.linear_y, twist.angular_z


@pytest.mark.parametrize(
    ("last", "target", "after"),
    [
        (Twist(), Twist(0.5), Twist(0.8 * 0.02)),  # start
        (Twist(0.5), Twist(), Twist(0.5 - 1.5 * 0.02)),  # brake
        (Twist(-0.5), Twist(), Twist(-0.5 + 1.5 * 0.02)),
        (Twist(0.2), Twist(0.5), Twist(0.2 + 0.8 * 0.02)),
        (Twist(0.5), Twist(0.2), Twist(0.5 - 1.5 * 0.02)),
        (Twist(), Twist(0.0, 0.0, 1.0), Twist(0.0, 0.0, 4.0 * 0.02)),
        (Twist(0.0, 0.0, -1.0), Twist(), Twist(0.0, 0.0, -1.0 + 6.0 * 0.02)),
        (Twist(0.0, 0.4), Twist(), Twist(0.0, 0.4 - 1.5 * 0.02)),
        (Twist(0.5), Twist(-0.5), Twist(0.5 - 1.5 * 0.02)),  # reversing brakes first
        (Twist(0.5), Twist(0.49), Twist(0.49)),  # near: reached, never overshot
        (Twist(0.2), Twist(0.2), Twist(0.2)),
    ],
)
def test_one_tick_by_hand(last: Twist, target: Twist, after: Twist) -> None:
    assert axes(step(last, target, 0.02)) == pytest.approx(axes(after))


def test_reversing_brakes_to_zero_and_then_only_accelerates() -> None:
    # 0.03 m/s at 1.5 m/s2 is 20 ms; the other 30 ms accelerate at 0.8 m/s2
    assert step(Twist(0.03), Twist(-0.5), 0.05).linear_x == pytest.approx(-0.8 * 0.03)
    assert step(Twist(0.03), Twist(-0.5), 0.02) == STILL


@pytest.mark.parametrize(("speed", "target"), [(0.014, -0.3), (0.025, -0.07), (-0.048, 0.3)])
def test_an_axis_that_crosses_is_exactly_zero_there(speed: float, target: float) -> None:
    """In floating point the sum that ends there ends a hair beside it."""
    assert step(Twist(speed), Twist(target), abs(speed) / 1.5).linear_x == 0.0


def test_only_the_axis_that_crosses_is_zero_there() -> None:
    # 0.015 m/s at 1.5 m/s2 is 10 ms and 0.015 / 0.3 of the way: the turn goes as far of its own
    after = step(Twist(0.015, 0.0, 0.5), Twist(-0.285, 0.0, -0.4), 0.01)
    assert after.linear_x == 0.0
    assert after.angular_z == pytest.approx(0.5 - 0.05 * 0.9)


def test_all_axes_arrive_together() -> None:
    after = step(Twist(), Twist(0.5, 0.0, 0.1), 0.02)
    assert after.angular_z / after.linear_x == pytest.approx(0.1 / 0.5)


@pytest.mark.parametrize("dt_s", [0.0, -0.0, -1.0, -math.inf, math.nan])
def test_no_time_no_change(dt_s: float) -> None:
    assert step(Twist(0.1), Twist(0.5), dt_s) == Twist(0.1)


def test_a_stalled_loop_buys_a_tenth_of_a_second_at_most() -> None:
    assert (
        step(Twist(), Twist(0.5), math.inf)
        == step(Twist(), Twist(0.5), 5.0)
        == step(Twist(), Twist(0.5), 0.1)
        == Twist(pytest.approx(0.08))
    )


inside = st.builds(Twist, st.floats(-0.5, 0.5, allow_subnormal=False), st.just(0.0), st.floats(-1.0, 1.0, allow_subnormal=False))


@given(inside, inside, st.floats(0.001, 0.1))
@example(Twist(0.03, 0.0, 0.5), Twist(-0.5, 0.0, -0.5), 0.1)
def test_every_axis_stays_within_its_deceleration_and_never_overshoots(last: Twist, target: Twist, dt_s: float) -> None:
    out = step(last, target, dt_s)
    for x, t, y, dec in zip(axes(last), axes(target), axes(out), (1.5, 1.5, 6.0), strict=True):
        assert abs(y - x) <= dec * dt_s + EPS
        assert min(x, t) - EPS <= y <= max(x, t) + EPS


@given(inside, inside, st.lists(st.floats(0.0005, 0.02), min_size=1, max_size=5))
@example(Twist(0.02, 0.0, -0.9), Twist(-0.4, 0.0, 0.9), [0.02, 0.02, 0.02, 0.02, 0.02])
def test_the_result_does_not_depend_on_how_time_is_cut(last: Twist, target: Twist, parts: list[float]) -> None:
    walked = last
    for part in parts:
        walked = step(walked, target, part)
    assert axes(walked) == pytest.approx(axes(step(last, target, sum(parts))), abs=1e-9)


@pytest.mark.parametrize("bad", NOT_FINITE)
@pytest.mark.parametrize("axis", ["linear_x", "linear_y", "angular_z"])
def test_no_ramp_leads_from_or_to_what_is_not_finite(axis: str, bad: float) -> None:
    twist = Twist(**{axis: bad})
    for last, target in ((twist, STILL), (STILL, twist), (twist, twist)):
        with pytest.raises(UnsafeCommand, match="not finite"):
            step(last, target, 0.02)
        with pytest.raises(UnsafeCommand, match="not finite"):
            ramp.limit_jerk(last, STILL, target, 0.02, LIMITS)
    with pytest.raises(UnsafeCommand, match="not finite"):
        ramp.limit_jerk(STILL, twist, Twist(0.3), 0.02, LIMITS)


def test_a_change_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(UnsafeCommand, match="not finite"):
        step(Twist(1e308), Twist(-1e308), 0.02)


# -- E: jerk


def smooth(last: Twist, rate: Twist, target: Twist, dt_s: float) -> tuple[Twist, Twist]:
    return ramp.limit_jerk(last, rate, target, dt_s, SMOOTH)


def test_a_start_begins_with_the_jerk_alone() -> None:
    twist, rate = smooth(STILL, STILL, Twist(0.5), 0.02)
    assert (rate.linear_x, twist.linear_x) == pytest.approx((3.0 * 0.02, 3.0 * 0.02 * 0.02))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    ("target", "jerk", "acc"), [(Twist(0.5), 3.0, 0.8), (Twist(0.0, 0.0, -1.0), 15.0, 4.0), (Twist(0.4, 0.0, 0.2), 3.0, 0.8)]
)
def test_speeding_up_keeps_jerk_and_acceleration_however_time_is_cut(seed: int, target: Twist, jerk: float, acc: float) -> None:
    """Steps of 5 to 50 ms; up to the one that arrives, which ends on the target instead of beyond it."""
    rng = random.Random(seed)
    twist, rate, steps = STILL, STILL, 0
    while twist != target:
        dt_s, before = rng.uniform(0.005, 0.05), rate
        twist, rate = smooth(twist, rate, target, dt_s)
        change = max(abs(a - b) for a, b in zip(axes(rate), axes(before), strict=True))
        steps += 1
        assert steps < 1000
        assert twist == target or change <= jerk * dt_s + EPS
        assert max(map(abs, axes(rate))) <= acc + EPS
        assert all(abs(x) <= abs(t) for x, t in zip(axes(twist), axes(target), strict=True))
        assert twist.angular_z * target.linear_x == pytest.approx(twist.linear_x * target.angular_z, abs=EPS)
    assert smooth(twist, rate, target, 0.02) == (target, STILL)


signed = st.builds(Twist, st.floats(-0.5, 0.5, allow_subnormal=False), st.floats(-0.5, 0.5), st.floats(-1.0, 1.0, allow_subnormal=False))
rates = st.builds(Twist, st.floats(-1.5, 1.5), st.floats(-1.5, 1.5), st.floats(-6.0, 6.0))


@given(signed, rates, st.floats(0.001, 0.1))
def test_a_stop_is_the_same_to_the_bit_with_and_without_jerk(last: Twist, rate: Twist, dt_s: float) -> None:
    assert smooth(last, rate, STILL, dt_s)[0] == ramp.limit_acceleration(last, STILL, dt_s, SMOOTH)


@given(signed, rates, signed, st.floats(0.001, 0.1))
@example(Twist(0.3), Twist(0.5), Twist(0.05, 0.0, 1.0), 0.02)  # braking for a wall while turning away from it
@example(Twist(0.02), STILL, Twist(-0.5), 0.1)  # reversing
def test_no_axis_ever_brakes_later_for_the_jerk_of_another(last: Twist, rate: Twist, target: Twist, dt_s: float) -> None:
    free = ramp.limit_acceleration(last, target, dt_s, SMOOTH)
    out, _ = smooth(last, rate, target, dt_s)
    for x, f, y, t in zip(axes(last), axes(free), axes(out), axes(target), strict=True):
        assert min(x, t) - EPS <= y <= max(x, t) + EPS
        assert abs(y) <= max(abs(x), abs(f)) + EPS
        if abs(f) < abs(x):
            assert y == f


def test_near_the_wish_the_rate_falls_so_that_it_ends_there() -> None:
    # j = 3 m/s3 * 20 ms; the rate from which the last 0.02 m/s end at rate zero is (sqrt(j2 + 8 * 3 * 0.02) - j) / 2
    wanted = (math.sqrt(0.06**2 + 8.0 * 3.0 * 0.02) - 0.06) / 2.0
    twist, rate = smooth(Twist(0.48), Twist(0.33), Twist(0.5), 0.02)
    assert (rate.linear_x, twist.linear_x) == pytest.approx((wanted, 0.48 + wanted * 0.02), abs=1e-12)
    twist, rate = smooth(Twist(-0.48), Twist(-0.33), Twist(-0.5), 0.02)
    assert (rate.linear_x, twist.linear_x) == pytest.approx((-wanted, -0.48 - wanted * 0.02), abs=1e-12)


def test_a_rate_against_the_wish_is_first_taken_back() -> None:
    assert smooth(STILL, Twist(-0.5), Twist(0.5), 0.02) == (STILL, STILL)


@pytest.mark.parametrize("dt_s", [0.0, -1.0, math.nan])
def test_without_time_speed_and_rate_stay(dt_s: float) -> None:
    assert smooth(Twist(0.1), Twist(0.4), Twist(0.5), dt_s) == (Twist(0.1), Twist(0.4))


def test_the_default_jerk_smooths_nothing_at_the_guards_rate() -> None:
    twist, rate = Twist(0.1), STILL
    for _ in range(10):
        free = step(twist, Twist(0.5, 0.0, 0.9), 0.02)
        twist, rate = ramp.limit_jerk(twist, rate, Twist(0.5, 0.0, 0.9), 0.02, LIMITS)
        assert axes(twist) == pytest.approx(axes(free), abs=EPS)


# -- F: how long and how far a stop is


def test_stopping_distance_by_hand() -> None:
    assert ramp.stopping_distance(-0.4, -0.5, 1.5, 0.2) == pytest.approx(0.4 * 0.2 + 0.25 / 3.0)
    assert ramp.stopping_distance(0.4, 0.5, 0.8, 0.0) == pytest.approx(0.25 / 1.6)  # weak brakes, no lag


@pytest.mark.parametrize("numbers", [*((bad, 0.3, 1.5, 0.2) for bad in NOT_FINITE), *((0.3, bad, 1.5, 0.2) for bad in NOT_FINITE)])
def test_from_what_is_no_number_nothing_ever_stops(numbers: tuple[float, float, float, float]) -> None:
    assert ramp.stopping_distance(*numbers) == math.inf
    assert ramp.declared_stop_s(numbers[0] + numbers[1], 0.15, 1.5) == math.inf


@pytest.mark.parametrize("none", [0.0, -1.5, math.nan])
def test_without_a_deceleration_nothing_ever_stops(none: float) -> None:
    assert ramp.stopping_distance(0.3, 0.3, none, 0.2) == math.inf
    assert ramp.declared_stop_s(0.3, 0.15, none) == math.inf


@pytest.mark.parametrize("before", [-0.1, math.nan])
def test_a_reaction_before_its_cause_is_none(before: float) -> None:
    assert ramp.stopping_distance(0.3, 0.3, 1.5, before) == math.inf
    assert ramp.declared_stop_s(0.3, before) == math.inf


def test_declared_stop_time() -> None:
    assert ramp.declared_stop_s(0.3, 0.15) == pytest.approx(0.15 * math.log(15))
    assert ramp.declared_stop_s(-0.3, 0.15, 1.5) == pytest.approx(0.2 + 0.05 + 0.15 * math.log(15))
    assert ramp.declared_stop_s(0.3, 0.0, 0.5) == pytest.approx(0.6 + 0.05)  # weak brakes, a motor without lag
    assert ramp.declared_stop_s(0.0, 0.15) == 0.0
    assert ramp.declared_stop_s(0.02, 0.15) == 0.0
    assert 0.0 < ramp.declared_stop_s(0.02 + EPS, 0.15) < 1e-7
