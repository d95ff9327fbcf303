"""Body velocity to wheel speeds and back, and what a frame can say of them. Pure; formula C of the safety spec."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from edge_vla.errors import UnsafeCommand
from edge_vla.guard.limits import check_finite
from edge_vla.guard.types import STILL, BaseTraits, Drive, Speeds, Twist

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


@dataclass(frozen=True, slots=True)
class Differential:
    """Two wheels, or two rows of them, `track_m` apart: (left, right)."""

    track_m: float
    sideways: ClassVar[bool] = False

    def wheels(self, twist: Twist) -> Speeds:
        return wheels_from_twist(twist, self.track_m)

    def twist(self, wheels_mps: Speeds) -> Twist:
        left, right = wheels_mps
        return twist_from_wheels(left, right, self.track_m)


@dataclass(frozen=True, slots=True)
class Mecanum:
    """Four wheels with rollers; `reach_m` is half the track and half the wheelbase together."""

    reach_m: float
    sideways: ClassVar[bool] = True

    def wheels(self, twist: Twist) -> Speeds:
        return mecanum_from_twist(twist, self.reach_m)

    def twist(self, wheels_mps: Speeds) -> Twist:
        front_left, front_right, rear_left, rear_right = wheels_mps
        return twist_from_mecanum((front_left, front_right, rear_left, rear_right), self.reach_m)


def saturate(twist: Twist, drive: Drive, max_wheel_mps: float) -> Twist:
    """Scale the whole twist until no wheel is too fast: a firmware that clips one wheel would bend the path, or turn its direction.

    Raises UnsafeCommand for wheels that are not finite. A limit of zero, less, or no number at all is standing still.
    """
    speeds = [abs(wheel) for wheel in drive.wheels(twist)]
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
    wheels = zip(traits.drive.wheels(decoded), traits.drive.wheels(wanted), strict=True)
    for said, meant in wheels:
        if not (abs(said - meant) <= slack and abs(said) <= max_wheel_mps + slack):  # so that a nan fails
            raise UnsafeCommand(f"the frame says {decoded}, wanted {wanted} with wheels up to {max_wheel_mps} m/s")
    if decoded.linear_y != 0.0 and not traits.drive.sideways:
        raise UnsafeCommand(f"the frame says {decoded} on a base that cannot move sideways")
