"""Formulas A, B and F at their edges, with zero, nan and infinity, and as properties over everything finite."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard import limits as lim
from edge_vla.guard.limits import Limits
from edge_vla.guard.ramp import stopping_distance
from edge_vla.guard.types import STILL, Twist

EPS = 1e-9
LIMITS = Limits()
NOT_FINITE = (math.nan, math.inf, -math.inf)
speeds = st.floats(-5.0, 5.0, allow_subnormal=False)
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


def test_limits_do_not_change_after_they_were_checked() -> None:
    with pytest.raises(FrozenInstanceError):
        Limits().max_linear_mps = 9.0  # type: ignore[misc]


def test_the_defaults_are_these() -> None:
    assert Limits() == Limits(0.5, 1.0, 0.8, 1.5, 4.0, 6.0, 0.7, 0.15, 0.01, 0.2, 0.01, 40.0, 200.0)


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


def test_range_follows_the_limits() -> None:
    slow = Limits(max_linear_mps=0.2, max_angular_radps=0.3)
    lim.check_range(Twist(0.4, 0.4, 0.6), slow)
    for beyond in (Twist(0.4 + EPS), Twist(0.0, 0.4 + EPS), Twist(0.0, 0.0, 0.6 + EPS)):
        with pytest.raises(UnsafeCommand, match=r"beyond 0\.4 m/s or 0\.6 rad/s"):
            lim.check_range(beyond, slow)


@pytest.mark.parametrize("bad", NOT_FINITE)
@pytest.mark.parametrize("axis", ["linear_x", "linear_y", "angular_z"])
def test_what_is_no_number_is_in_no_range(axis: str, bad: float) -> None:
    with pytest.raises(UnsafeCommand, match="beyond"):
        lim.check_range(Twist(**{axis: bad}), LIMITS)


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
    assert lim.clamp_curvature(Twist(0.01, 0.0, -1.5), LIMITS) == STILL
    assert lim.clamp_curvature(Twist(0.005, 0.0, 1.5), LIMITS).angular_z == 1.0  # it was as good as a spin already


@pytest.mark.parametrize("nothing", [0.0, -0.0, -EPS, -1.0, -math.inf, math.nan])
@pytest.mark.parametrize("asked", [Twist(0.3), Twist(-0.3), Twist(0.0, 0.3), Twist(0.3, 0.0, 0.5), Twist(0.005, 0.0, 0.5), Twist(1e308)])
def test_without_a_speed_of_the_moment_nothing_drives(asked: Twist, nothing: float) -> None:
    assert str(lim.clamp_curvature(asked, LIMITS, nothing)) == str(STILL)  # no minus zero


@pytest.mark.parametrize("nothing", [0.0, -1.0, math.nan])
def test_turning_on_the_spot_drives_nowhere(nothing: float) -> None:
    assert lim.clamp_curvature(Twist(0.0, 0.0, 0.7), LIMITS, nothing) == Twist(0.0, 0.0, 0.7)
    assert lim.clamp_curvature(Twist(0.0, 0.0, 1.5), LIMITS, nothing) == Twist(0.0, 0.0, 1.0)


def test_a_speed_of_the_moment_without_end_is_none() -> None:
    assert lim.clamp_curvature(Twist(1.0), LIMITS, math.inf) == Twist(0.5)


@pytest.mark.parametrize("edge", [0.5, -0.5])
def test_the_limit_itself_is_not_clamped(edge: float) -> None:
    for asked in (Twist(edge), Twist(math.nextafter(edge, 0.0)), Twist(0.0, edge)):
        assert lim.clamp_curvature(asked, LIMITS) is asked
    over = lim.clamp_curvature(Twist(math.nextafter(edge, 9 * edge)), LIMITS)
    assert over.linear_x == pytest.approx(edge, abs=EPS)
    assert abs(over.linear_x) <= 0.5


@pytest.mark.parametrize("huge", [Twist(1.7e308, 1.7e308), Twist(1.7e308, 0.0, 1.7e308), Twist(0.0, 0.0, -1.7e308)])
def test_whatever_is_finite_is_clamped_inside(huge: Twist) -> None:
    out = lim.clamp_curvature(huge, LIMITS)
    assert math.hypot(out.linear_x, out.linear_y) <= 0.5 + EPS
    assert abs(out.angular_z) <= 1.0 + EPS


@pytest.mark.parametrize("act", [lim.clamp_curvature, lim.deadband])
@pytest.mark.parametrize("bad", NOT_FINITE)
@pytest.mark.parametrize("axis", ["linear_x", "linear_y", "angular_z"])
def test_what_is_not_finite_is_never_repaired(act, axis: str, bad: float) -> None:
    with pytest.raises(UnsafeCommand, match="not finite"):
        act(Twist(**{axis: bad}), LIMITS)


# -- deadband


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("axis", ["linear_x", "linear_y", "angular_z"])
def test_deadband_edge(axis: str, sign: int) -> None:
    for value in (0.01, 0.01 + EPS, 0.5):
        asked = Twist(**{axis: sign * value})
        assert lim.deadband(asked, LIMITS) is asked
    for value in (0.0, EPS, math.nextafter(0.01, 0.0)):
        assert lim.deadband(Twist(**{axis: sign * value}), LIMITS) == STILL


@given(planar)
def test_a_deadband_never_bends_a_path(twist: Twist) -> None:
    assert lim.deadband(twist, LIMITS) in (twist, STILL)


def test_one_axis_is_enough_to_keep_the_other() -> None:
    arc = Twist(0.005, 0.0, 0.5)
    assert lim.deadband(arc, LIMITS) is arc


# -- F: clear distance


@pytest.mark.parametrize("clear_m", [-math.inf, -1.0, 0.0, 0.0499, 0.05, math.nan])
def test_no_clear_distance_is_no_speed(clear_m: float) -> None:
    assert lim.speed_bound_mps(clear_m, LIMITS) == 0.0


@given(st.floats(0.05, 20.0))
def test_from_the_bound_the_robot_stops_exactly_at_the_margin(clear_m: float) -> None:
    v = lim.speed_bound_mps(clear_m, LIMITS)
    assert v >= 0.0
    assert stopping_distance(v, v, LIMITS.dec_mps2, LIMITS.reaction_s) == pytest.approx(clear_m - 0.05, abs=1e-9)


def test_a_hair_of_clear_distance_is_a_hair_of_speed() -> None:
    assert 0.0 < lim.speed_bound_mps(0.05 + EPS, LIMITS) < 1e-8
    assert lim.speed_bound_mps(math.inf, LIMITS) == math.inf  # the clamp's own limit is left


def test_brakes_beyond_all_numbers_are_no_speed() -> None:
    assert lim.speed_bound_mps(1.0, Limits(dec_mps2=1e308, reaction_s=10.0)) == 0.0
