"""Formula C and what a frame can say of it, at the edges, with zero, nan and infinity."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.errors import UnsafeCommand
from edge_vla.guard import wheels as wh
from edge_vla.guard.types import STILL, BaseTraits, Drive, Twist

EPS = 1e-9
TRACK_M = 0.172
REACH_M = 0.1646  # ROSMASTER X3
DRIVE, MECANUM = wh.Differential(TRACK_M), wh.Mecanum(REACH_M)
TRAITS = BaseTraits(DRIVE, 1.3, 1e-4, 50, 300, b"\n")
NOT_FINITE = (math.nan, math.inf, -math.inf)
speeds = st.floats(-5.0, 5.0, allow_subnormal=False)
twists = st.builds(Twist, speeds, st.just(0.0), speeds)
planar = st.builds(Twist, speeds, speeds, speeds)
Kind = Callable[[float], Drive]  # of a track or a reach
both = pytest.mark.parametrize("kind", [wh.Differential, wh.Mecanum])


# -- differential


def test_wheels_by_hand() -> None:
    assert wh.wheels_from_twist(Twist(0.3, 0.0, 0.5), 0.2) == pytest.approx((0.25, 0.35))
    assert wh.wheels_from_twist(Twist(0.0, 0.0, 1.0), 0.2) == (-0.1, 0.1)  # counter-clockwise: right wheel forward
    assert wh.twist_from_wheels(-0.1, 0.1, 0.2) == Twist(0.0, 0.0, 1.0)


def test_who_can_move_sideways() -> None:
    assert (DRIVE.sideways, MECANUM.sideways) == (False, True)


@both
def test_a_drive_keeps_its_size(kind: Kind) -> None:
    name = "track_m" if kind is wh.Differential else "reach_m"
    with pytest.raises(FrozenInstanceError):
        setattr(kind(0.2), name, 0.1)


@given(twists)
def test_wheels_and_back(twist: Twist) -> None:
    back = wh.twist_from_wheels(*wh.wheels_from_twist(twist, TRACK_M), TRACK_M)
    assert (back.linear_x, back.angular_z) == pytest.approx((twist.linear_x, twist.angular_z), abs=1e-9)


@given(twists)
def test_saturation_bounds_wheels_and_keeps_the_curve(twist: Twist) -> None:
    out = wh.saturate(twist, DRIVE, 0.7)
    assert max(map(abs, wh.wheels_from_twist(out, TRACK_M))) <= 0.7 + EPS
    assert out.angular_z * twist.linear_x == pytest.approx(twist.angular_z * out.linear_x, abs=1e-9)


def test_saturation_by_hand() -> None:
    at_limit = Twist(0.6, 0.0, 1.0)
    assert wh.saturate(at_limit, wh.Differential(0.2), 0.7) is at_limit
    out = wh.saturate(Twist(1.2, 0.4, 2.0), wh.Differential(0.2), 0.7)
    assert (out.linear_x, out.linear_y, out.angular_z) == pytest.approx((0.6, 0.2, 1.0))


# -- mecanum


@pytest.mark.parametrize(
    ("twist", "wheels"),
    [
        (Twist(0.3), (0.3, 0.3, 0.3, 0.3)),
        (Twist(0.0, 0.3), (-0.3, 0.3, 0.3, -0.3)),  # to the left: the front left wheel backwards
        (Twist(0.0, 0.0, 1.0), (-0.2, 0.2, -0.2, 0.2)),  # counter-clockwise: the right wheels forward
        (Twist(0.3, 0.1, 0.5), (0.1, 0.5, 0.3, 0.3)),
    ],
)
def test_mecanum_by_hand(twist: Twist, wheels: tuple[float, ...]) -> None:
    assert wh.mecanum_from_twist(twist, 0.2) == pytest.approx(wheels)


@given(planar)
def test_mecanum_and_back(twist: Twist) -> None:
    back = wh.twist_from_mecanum(wh.mecanum_from_twist(twist, REACH_M), REACH_M)
    assert (back.linear_x, back.linear_y, back.angular_z) == pytest.approx((twist.linear_x, twist.linear_y, twist.angular_z), abs=1e-9)


def test_four_wheels_that_fight_each_other_drive_nowhere() -> None:
    assert wh.twist_from_mecanum((0.2, 0.2, -0.2, -0.2), REACH_M) == STILL


@given(planar)
def test_mecanum_saturation_keeps_the_direction(twist: Twist) -> None:
    out = wh.saturate(twist, MECANUM, 0.7)
    assert max(map(abs, wh.mecanum_from_twist(out, REACH_M))) <= 0.7 + EPS
    assert out.linear_y * twist.linear_x == pytest.approx(twist.linear_y * out.linear_x, abs=1e-9)
    assert out.angular_z * twist.linear_x == pytest.approx(twist.angular_z * out.linear_x, abs=1e-9)


def test_a_diagonal_is_twice_as_hard_on_two_wheels() -> None:
    out = wh.saturate(Twist(0.5, 0.5), MECANUM, 0.7)
    assert (out.linear_x, out.linear_y) == pytest.approx((0.35, 0.35))


# -- any saturation


@both
@pytest.mark.parametrize("nothing", [0.0, -0.0, -0.7, -math.inf, math.nan])
def test_wheels_that_may_not_turn_stand_still(kind: Kind, nothing: float) -> None:
    assert str(wh.saturate(Twist(-0.3, 0.0, -0.5), kind(0.2), nothing)) == str(STILL)  # no minus zero


@both
def test_saturation_edge(kind: Kind) -> None:
    for speed in (0.0, math.nextafter(0.7, 0.0), 0.7):
        asked = Twist(speed)
        assert wh.saturate(asked, kind(0.2), 0.7) is asked
    assert wh.saturate(Twist(math.nextafter(0.7, 1.0)), kind(0.2), 0.7).linear_x == pytest.approx(0.7)
    assert wh.saturate(Twist(-9.0), kind(0.2), math.inf) == Twist(-9.0)


@both
@pytest.mark.parametrize("bad", [*(Twist(bad) for bad in NOT_FINITE), Twist(1.7e308, 0.0, 1.7e308), Twist(0.0, 0.0, math.nan)])
def test_wheels_that_are_no_numbers_are_refused(kind: Kind, bad: Twist) -> None:
    with pytest.raises(UnsafeCommand, match="wheels"):
        wh.saturate(bad, kind(2.0), 0.7)


@both
@pytest.mark.parametrize("bad", NOT_FINITE)
def test_a_base_without_a_size_is_refused(kind: Kind, bad: float) -> None:
    with pytest.raises(UnsafeCommand, match="wheels"):
        wh.saturate(Twist(0.1, 0.0, 0.1), kind(bad), 0.7)


# -- quanta, decode-and-check


@given(st.floats(-2.0, 2.0))
def test_quanta_go_towards_zero_by_less_than_one(value: float) -> None:
    out = wh.quanta(value, 1e-4) * 1e-4
    assert abs(out) <= abs(value) + 1e-9
    assert abs(value - out) < 1e-4 + 1e-9
    assert out * value >= 0.0


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        (0.33439999999999998, 3344),
        (-0.33449, -3344),
        (0.00009, 0),
        (-0.00009, 0),
        (0.0001, 1),
        (-0.0001, -1),
        (-0.99999999e-4, -1),
        (0.0, 0),
        (-0.0, 0),
        (5e-324, 0),
    ],
)
def test_quanta_by_hand(value: float, steps: int) -> None:
    assert wh.quanta(value, 1e-4) == steps


def test_every_speed_with_four_decimals_is_a_whole_number_of_quanta() -> None:
    assert [wh.quanta(n / 10_000, 1e-4) for n in range(-13_000, 13_001)] == list(range(-13_000, 13_001))


@pytest.mark.parametrize(
    ("value", "quantum"), [*((bad, 1e-4) for bad in NOT_FINITE), (1e308, 1e-4), *((0.3, bad) for bad in (0.0, -1e-4, math.nan, 5e-324))]
)
def test_what_no_number_of_quanta_says_is_refused(value: float, quantum: float) -> None:
    with pytest.raises(UnsafeCommand, match="quanta"):
        wh.quanta(value, quantum)


def test_a_frame_that_says_what_was_meant_passes() -> None:
    wh.check_decoded(Twist(0.3), Twist(0.30009), TRAITS, 0.7)
    wh.check_decoded(Twist(0.7), Twist(0.7), TRAITS, 0.7)


@pytest.mark.parametrize("meant", [0.0, 0.7])
def test_a_quantum_and_a_hundredth_is_the_edge(meant: float) -> None:
    coarse = replace(TRAITS, wheel_quantum_mps=0.1)
    edge = meant + wh.CHECK_SLACK * 0.1
    wh.check_decoded(Twist(edge), Twist(max(meant, edge - 0.1)), coarse, 0.7)
    wh.check_decoded(Twist(wh.CHECK_SLACK * 0.1), STILL, coarse, 0.7)
    with pytest.raises(UnsafeCommand):
        wh.check_decoded(Twist(math.nextafter(edge, 1.0)), Twist(meant), coarse, 0.7)


@pytest.mark.parametrize(
    ("decoded", "wanted"),
    [
        (Twist(0.3), Twist(0.3003)),  # not what was meant
        (Twist(0.0, 0.0, 0.1), Twist()),  # turns
        (Twist(0.701), Twist(0.701)),  # too fast
        (Twist(0.3, 0.01), Twist(0.3)),  # sideways
        (Twist(0.3, -0.01), Twist(0.3)),
        (Twist(math.nan), Twist(0.3)),
        (Twist(math.inf), Twist(math.inf)),
        (Twist(0.3), Twist(math.nan, 0.0, math.nan)),
    ],
)
def test_a_frame_that_says_anything_else_is_refused(decoded: Twist, wanted: Twist) -> None:
    with pytest.raises(UnsafeCommand):
        wh.check_decoded(decoded, wanted, TRAITS, 0.7)


@pytest.mark.parametrize("most", [0.0, -0.7, math.nan, 0.2998])
def test_a_frame_faster_than_the_wheels_may_turn_is_refused(most: float) -> None:
    with pytest.raises(UnsafeCommand, match="wheels up to"):
        wh.check_decoded(Twist(0.3), Twist(0.3), TRAITS, most)
