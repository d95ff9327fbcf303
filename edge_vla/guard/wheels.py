"""Body velocity to wheel speeds and back, and what a frame can say of them. Pure; formula C of the safety spec."""

from __future__ import annotations

import math
from collections.abc import Iterable

from edge_vla.errors import UnsafeCommand
from edge_vla.guard.limits import check_finite
from edge_vla.guard.types import STILL, BaseTraits, Twist

ROUNDING = 1e-6  # of a quantum: 0.3344 held as 0.33439999999999998 is not 0.3343
CHECK_SLACK = 1.01  # of a quantum: a truncated wheel may differ by one whole quantum, plus rounding


def wheels_from_twist(twist: Twist, track_m: float) -> tuple[float, float]:
    """Differential drive: body velocity to (left, right) in m/s."""
    half = twist.angular_z * track_m / 2.0
    return twist.linear_x - half, twist.linear_x + half


def twist_from_wheels(left_mps: float, right_mps: float, track_m: float) -> Twist:
    """Differential drive: (left, right) in m/s to body velocity."""
    return Twist((left_mps + right_mps) / 2.0, 0.0, (right_mps - left_mps) / track_m)


def mecanum_from_twist(twist: Twist, reach_m: float) -> tuple[float, float, float, float]:
    """Mecanum drive: body velocity to (front left, front right, rear left, rear right) in m/s.

    `reach_m` is half the track and half the wheelbase together. Rollers as ros2's mecanum_drive_controller and the ROSMASTER have them.
    """
    along, across, turn = twist.linear_x, twist.linear_y, twist.angular_z * reach_m
    return along - across - turn, along + across + turn, along + across - turn, along - across + turn


def twist_from_mecanum(wheels_mps: tuple[float, float, float, float], reach_m: float) -> Twist:
    """Mecanum drive: four wheels to the body velocity that fits them best; four that fight each other fit none."""
    front_left, front_right, rear_left, rear_right = wheels_mps
    return Twist(
        (front_left + front_right + rear_left + rear_right) / 4.0,
        (-front_left + front_right + rear_left - rear_right) / 4.0,
        (-front_left + front_right - rear_left + rear_right) / (4.0 * reach_m),
    )


def saturate_wheels(twist: Twist, track_m: float, max_wheel_mps: float) -> Twist:
    """Scale the whole twist until neither wheel is too fast: a firmware that clips one wheel would bend the path."""
    return _saturate(twist, wheels_from_twist(twist, track_m), max_wheel_mps)


def saturate_mecanum(twist: Twist, reach_m: float, max_wheel_mps: float) -> Twist:
    """As `saturate_wheels`, for four wheels. A firmware that clips them one by one would also turn the direction."""
    return _saturate(twist, mecanum_from_twist(twist, reach_m), max_wheel_mps)


def _saturate(twist: Twist, wheels_mps: Iterable[float], max_wheel_mps: float) -> Twist:
    """Raises UnsafeCommand for wheels that are not finite. A limit of zero, less, or no number at all is standing still."""
    speeds = [abs(wheel) for wheel in wheels_mps]
    fastest = max(speeds)
    if not all(map(math.isfinite, speeds)):
        raise UnsafeCommand(f"{twist} makes wheels of {fastest} m/s")
    if fastest <= max_wheel_mps:
        return twist
    if not max_wheel_mps > 0.0:
        return STILL
    scale = max_wheel_mps / fastest
    return Twist(scale * twist.linear_x, scale * twist.linear_y, scale * twist.angular_z)


def quanta(value: float, quantum: float) -> int:
    """How many whole quanta are in `value`, cut towards zero: whole numbers, so that a limit is met exactly. Raises UnsafeCommand."""
    steps = value / quantum if quantum > 0.0 else math.nan
    if not math.isfinite(steps):
        raise UnsafeCommand(f"{value} is no number of quanta of {quantum}")
    whole = math.floor(abs(steps) + ROUNDING)
    return whole if steps > 0.0 else -whole


def check_decoded(decoded: Twist, wanted: Twist, traits: BaseTraits, max_wheel_mps: float) -> None:
    """Raise UnsafeCommand unless a frame says what was wanted, within one quantum a wheel, and no wheel is too fast."""
    slack = CHECK_SLACK * traits.wheel_quantum_mps
    check_finite(decoded)
    wheels = zip(wheels_from_twist(decoded, traits.track_m), wheels_from_twist(wanted, traits.track_m), strict=True)
    for said, meant in wheels:
        if not (abs(said - meant) <= slack and abs(said) <= max_wheel_mps + slack):  # so that a nan fails
            raise UnsafeCommand(f"the frame says {decoded}, wanted {wanted} with wheels up to {max_wheel_mps} m/s")
    if decoded.linear_y != 0.0:
        raise UnsafeCommand(f"the frame says {decoded} on a differential base")
