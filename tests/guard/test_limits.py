"""Formulas A-D and F at their edges, and as properties over everything finite."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard import limits as lim
from edge_vla.guard.limits import Limits
from edge_vla.guard.types import STILL, BaseTraits, Twist

EPS = 1e-9
LIMITS = Limits()
TRACK_M = 0.172
TRAITS = BaseTraits(TRACK_M, 1.3, 1e-4, 50, 300, b"\n")
NOT_FINITE = (math.nan, math.inf, -math.inf)
speeds = st.floats(-5.0, 5.0, allow_subnormal=False)
twists = st.builds(Twist, speeds, st.just(0.0), speeds)
planar = st.builds(Twist, speeds, speeds, speeds)


# -- Limits refuses to exist wrong


@pytest.mark.parametrize("name", [item.name for item in fields(Limits)])
@pytest.mark.parametrize("value", [0, 0.0, -0.1, *NOT_FINITE, True, "0.3", None])
def test_limits_refuse_what_is_no_positive_number(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"limits.{name}="):
        Limits(**{name: value})


@pytest.mark.parametrize(("name", "ceiling"), [("max_linear_mps", 0.5), ("max_angular_radps", 1.0)])
def test_ceilings_hold_to_the_last_bit(name: str, ceiling: float) -> None:
    assert getattr(Limits(**{name: ceiling}), name) == ceiling
    with pytest.raises(ConfigError, match=f"at most {ceiling}"):
        Limits(**{name: math.nextafter(ceiling, 9)})


@pytest.mark.parametrize(("acc", "dec"), [("acc_mps2", "dec_mps2"), ("acc_radps2", "dec_radps2")])
def test_braking_is_never_weaker_than_accelerating(acc: str, dec: str) -> None:
    assert getattr(Limits(**{acc: 2.0, dec: 2.0}), dec) == 2.0
    with pytest.raises(ConfigError, match=acc):
        Limits(**{acc: 2.0, dec: 2.0 - EPS})


def test_the_defaults_are_these() -> None:
    assert Limits() == Limits(0.5, 1.0, 0.8, 1.5, 4.0, 6.0, 0.7, 0.15, 0.01, 0.2)


# -- A: finite and range


@pytest.mark.parametrize("bad", NOT_FINITE)
@pytest.mark.parametrize("axis", ["linear_x", "linear_y", "angular_z"])
def test_not_finite_is_refused_on_every_axis(axis: str, bad: float) -> None:
    with pytest.raises(UnsafeCommand, match="not finite"):
        lim.check_finite(Twist(**{axis: bad}))


def test_finite_extremes_pass_the_finite_check() -> None:
    lim.check_finite(Twist(1.7e308, -1.7e308, 0.0))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("axis", "edge"), [("linear_x", 1.0), ("linear_y", 1.0), ("angular_z", 2.0)])
def test_range_is_twice_the_limit_and_not_a_bit_more(axis: str, edge: float, sign: int) -> None:
    lim.check_range(Twist(**{axis: sign * (edge - EPS)}), LIMITS)
    lim.check_range(Twist(**{axis: sign * edge}), LIMITS)
    with pytest.raises(UnsafeCommand, match=r"beyond 1\.0 m/s or 2\.0 rad/s"):
        lim.check_range(Twist(**{axis: sign * math.nextafter(edge, 9)}), LIMITS)


# -- B: clamp


@given(planar)
def test_clamp_bounds_both_norms_and_keeps_curve_and_heading(twist: Twist) -> None:
    out = lim.clamp_curvature(twist, LIMITS)
    assert math.hypot(out.linear_x, out.linear_y) <= 0.5 + EPS
    assert abs(out.angular_z) <= 1.0 + EPS
    assert out.angular_z * twist.linear_x == pytest.approx(twist.angular_z * out.linear_x, abs=1e-9)
    assert out.linear_y * twist.linear_x == pytest.approx(twist.linear_y * out.linear_x, abs=1e-9)
    assert out.linear_x * twist.linear_x >= 0.0
    assert out.angular_z * twist.angular_z >= 0.0


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        (Twist(0.5, 0.0, 1.0), Twist(0.5, 0.0, 1.0)),
        (Twist(1.0, 0.0, 0.5), Twist(0.5, 0.0, 0.25)),
        (Twist(0.4, 0.0, 2.0), Twist(0.2, 0.0, 1.0)),
        (Twist(-1.0, 0.0, 2.0), Twist(-0.5, 0.0, 1.0)),
        (Twist(0.6, 0.8, 0.0), Twist(0.3, 0.4, 0.0)),
        (Twist(0.0, 0.0, -1.5), Twist(0.0, 0.0, -1.0)),
        (Twist(1.0, 0.0, 1.5), Twist(0.5, 0.0, 0.75)),
    ],
)
def test_clamp_by_hand(asked: Twist, got: Twist) -> None:
    assert lim.clamp_curvature(asked, LIMITS) == got


def test_a_lower_speed_of_the_moment_wins_and_a_higher_one_does_not() -> None:
    assert lim.clamp_curvature(Twist(0.4, 0.0, 0.4), LIMITS, 0.1) == Twist(0.1, 0.0, 0.1)
    assert lim.clamp_curvature(Twist(1.0), LIMITS, 9.0) == Twist(0.5)
    assert lim.clamp_curvature(Twist(0.3), LIMITS, 0.0) == STILL


def test_a_clamp_stops_rather_than_turns_an_arc_into_a_spin() -> None:
    assert lim.clamp_curvature(Twist(0.4, 0.0, 0.4), LIMITS, 0.01) == Twist(0.01, 0.0, 0.01)
    assert lim.clamp_curvature(Twist(0.4, 0.0, 0.4), LIMITS, 0.0099) == STILL
    assert lim.clamp_curvature(Twist(0.4), LIMITS, 0.005) == Twist(0.005)  # straight on stays straight on
    assert lim.clamp_curvature(Twist(0.01, 0.0, 1.5), LIMITS) == STILL
    assert lim.clamp_curvature(Twist(0.005, 0.0, 1.5), LIMITS).angular_z == 1.0  # it was as good as a spin already


# -- C: wheels


def test_wheels_by_hand() -> None:
    assert lim.wheels_from_twist(Twist(0.3, 0.0, 0.5), 0.2) == pytest.approx((0.25, 0.35))
    assert lim.wheels_from_twist(Twist(0.0, 0.0, 1.0), 0.2) == (-0.1, 0.1)  # counter-clockwise: right wheel forward


@given(twists)
def test_wheels_and_back(twist: Twist) -> None:
    back = lim.twist_from_wheels(*lim.wheels_from_twist(twist, TRACK_M), TRACK_M)
    assert (back.linear_x, back.angular_z) == pytest.approx((twist.linear_x, twist.angular_z), abs=1e-9)


@given(twists)
def test_saturation_bounds_wheels_and_keeps_the_curve(twist: Twist) -> None:
    out = lim.saturate_wheels(twist, TRACK_M, 0.7)
    assert max(map(abs, lim.wheels_from_twist(out, TRACK_M))) <= 0.7 + EPS
    assert out.angular_z * twist.linear_x == pytest.approx(twist.angular_z * out.linear_x, abs=1e-9)


def test_saturation_by_hand() -> None:
    at_limit = Twist(0.6, 0.0, 1.0)
    assert lim.saturate_wheels(at_limit, 0.2, 0.7) is at_limit
    out = lim.saturate_wheels(Twist(1.2, 0.4, 2.0), 0.2, 0.7)
    assert (out.linear_x, out.linear_y, out.angular_z) == pytest.approx((0.6, 0.2, 1.0))


# -- D: acceleration


def step(last: Twist, target: Twist, dt_s: float) -> Twist:
    return lim.limit_acceleration(last, target, dt_s, LIMITS)


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


def test_all_axes_arrive_together() -> None:
    after = step(Twist(), Twist(0.5, 0.0, 0.1), 0.02)
    assert after.angular_z / after.linear_x == pytest.approx(0.1 / 0.5)


@pytest.mark.parametrize("dt_s", [0.0, -1.0])
def test_no_time_no_change(dt_s: float) -> None:
    assert step(Twist(0.1), Twist(0.5), dt_s) == Twist(0.1)


def test_a_stalled_loop_buys_a_tenth_of_a_second_at_most() -> None:
    assert step(Twist(), Twist(0.5), 5.0) == step(Twist(), Twist(0.5), 0.1) == Twist(pytest.approx(0.08))


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


# -- F: clear distance


@pytest.mark.parametrize("clear_m", [-1.0, 0.0, 0.0499, 0.05])
def test_no_clear_distance_is_no_speed(clear_m: float) -> None:
    assert lim.speed_bound_mps(clear_m, LIMITS) == 0.0


@given(st.floats(0.05, 20.0))
def test_from_the_bound_the_robot_stops_exactly_at_the_margin(clear_m: float) -> None:
    v = lim.speed_bound_mps(clear_m, LIMITS)
    assert v >= 0.0
    assert lim.stopping_distance(v, v, LIMITS.dec_mps2, LIMITS.reaction_s) == pytest.approx(clear_m - 0.05, abs=1e-9)


def test_stopping_distance_by_hand() -> None:
    assert lim.stopping_distance(-0.4, -0.5, 1.5, 0.2) == pytest.approx(0.4 * 0.2 + 0.25 / 3.0)


# -- quantise, decode-and-check, stop time


@given(st.floats(-2.0, 2.0))
def test_quantise_goes_towards_zero_by_less_than_a_quantum(value: float) -> None:
    out = lim.quantise(value, 1e-4)
    assert abs(out) <= abs(value) + 1e-9
    assert abs(value - out) < 1e-4 + 1e-9
    assert out * value >= 0.0


@pytest.mark.parametrize(
    ("value", "out"), [(0.33439999999999998, 0.3344), (-0.33449, -0.3344), (0.00009, 0.0), (-0.00009, 0.0), (0.0001, 0.0001), (0.0, 0.0)]
)
def test_quantise_by_hand(value: float, out: float) -> None:
    assert f"{lim.quantise(value, 1e-4):.4f}" == f"{out:.4f}"  # text, so that -0.0000 shows


def test_a_frame_that_says_what_was_meant_passes() -> None:
    lim.check_decoded(Twist(0.3), Twist(0.30009), TRAITS, 0.7)
    lim.check_decoded(Twist(0.7), Twist(0.7), TRAITS, 0.7)


@pytest.mark.parametrize(
    ("decoded", "wanted"),
    [
        (Twist(0.3), Twist(0.3003)),  # not what was meant
        (Twist(0.0, 0.0, 0.1), Twist()),  # turns
        (Twist(0.701), Twist(0.701)),  # too fast
        (Twist(0.3, 0.01), Twist(0.3)),  # sideways
        (Twist(math.nan), Twist(0.3)),
        (Twist(0.3), Twist(math.nan, 0.0, math.nan)),
    ],
)
def test_a_frame_that_says_anything_else_is_refused(decoded: Twist, wanted: Twist) -> None:
    with pytest.raises(UnsafeCommand):
        lim.check_decoded(decoded, wanted, TRAITS, 0.7)


def test_declared_stop_time() -> None:
    assert lim.declared_stop_s(0.3, 0.15) == pytest.approx(0.15 * math.log(15))
    assert lim.declared_stop_s(-0.3, 0.15, 1.5) == pytest.approx(0.2 + 0.05 + 0.15 * math.log(15))
    assert lim.declared_stop_s(0.0, 0.15) == 0.0
