"""What may be driven: ranges, the clamp that keeps the curve, the speed a clear distance allows. Formulas A, B and F of the safety spec.

Pure, and total: whatever is no number is refused or means standing still, never the value it stood for. Wheels are in `wheels.py`,
changes of speed in `ramp.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.types import STILL, Twist

SPEED_CEILING_MPS = 0.5  # DESIGN §4
TURN_CEILING_RADPS = 1.0  # DESIGN §4
HARD_RANGE = 2.0  # times a limit; more is evidence of a broken parser, not a wish
CLEAR_MARGIN_M = 0.05  # braking along the bound, motor and reports lag by up to 25 mm (tests/guard)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the guard allows. Braking is at least as strong as accelerating, or a stop would take longer than a start."""

    max_linear_mps: float = SPEED_CEILING_MPS
    max_angular_radps: float = TURN_CEILING_RADPS
    acc_mps2: float = 0.8
    dec_mps2: float = 1.5
    acc_radps2: float = 4.0
    dec_radps2: float = 6.0
    max_wheel_mps: float = 0.7
    blind_mps: float = 0.15  # linear speed while nothing says how far the way is clear
    min_linear_mps: float = 0.01  # the slowest the base can control; a clamp below it stops rather than spins
    reaction_s: float = 0.2  # from a guard tick to the wheels obeying: tick, line, base loop, motor constant
    min_angular_radps: float = 0.01  # with `min_linear_mps`: what asks for less than both asks for nothing a motor can do
    # By default the whole acceleration is there within one 20 ms tick: nothing is smoothed. A tall or loaded robot wants about 3 and 15.
    jerk_mps3: float = 40.0
    jerk_radps3: float = 200.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
                raise ConfigError(f"limits.{item.name}={value!r}: want a finite number > 0")
        self._at_most("max_linear_mps", SPEED_CEILING_MPS)
        self._at_most("max_angular_radps", TURN_CEILING_RADPS)
        self._at_most("acc_mps2", self.dec_mps2)
        self._at_most("acc_radps2", self.dec_radps2)

    def _at_most(self, name: str, ceiling: float) -> None:
        if getattr(self, name) > ceiling:
            raise ConfigError(f"limits.{name}={getattr(self, name)}: want at most {ceiling}")


def check_finite(twist: Twist) -> None:
    """Raise UnsafeCommand unless every axis is a finite number."""
    if not (math.isfinite(twist.linear_x) and math.isfinite(twist.linear_y) and math.isfinite(twist.angular_z)):
        raise UnsafeCommand(f"{twist} is not finite")


def check_range(twist: Twist, limits: Limits) -> None:
    """Raise UnsafeCommand beyond twice a limit: a parser that asks for that is broken, and clamping would hide it."""
    most_linear = HARD_RANGE * limits.max_linear_mps
    most_angular = HARD_RANGE * limits.max_angular_radps
    linear = abs(twist.linear_x) <= most_linear and abs(twist.linear_y) <= most_linear
    if not (linear and abs(twist.angular_z) <= most_angular):  # so that a nan fails
        raise UnsafeCommand(f"{twist} is beyond {most_linear} m/s or {most_angular} rad/s")


def speed_bound_mps(clear_m: float, limits: Limits) -> float:
    """The speed from which the robot still stops within `clear_m` after its reaction time. A distance that is no number is none."""
    if not clear_m > CLEAR_MARGIN_M:
        return 0.0
    d, coast = limits.dec_mps2, limits.dec_mps2 * limits.reaction_s
    return max(0.0, math.sqrt(coast * coast + 2.0 * d * (clear_m - CLEAR_MARGIN_M)) - coast)


def clamp_curvature(twist: Twist, limits: Limits, speed_mps: float | None = None) -> Twist:
    """Scale the whole twist into the limits, so that the path keeps its curve. Raises UnsafeCommand for what is not finite.

    `speed_mps` is a lower linear limit of the moment. Zero, less, or no number at all forbids driving; turning on the spot drives nowhere.
    """
    check_finite(twist)
    v_max = limits.max_linear_mps
    if speed_mps is not None:
        v_max = min(v_max, speed_mps) if speed_mps > 0.0 else 0.0
    v = math.hypot(twist.linear_x, twist.linear_y)
    scale = v_max / v if v > v_max else 1.0
    if abs(twist.angular_z) > limits.max_angular_radps:
        scale = min(scale, limits.max_angular_radps / abs(twist.angular_z))
    if scale == 1.0:
        return twist
    if scale == 0.0 or (twist.angular_z != 0.0 and v >= limits.min_linear_mps > scale * v):
        return STILL
    return Twist(scale * twist.linear_x, scale * twist.linear_y, scale * twist.angular_z)


def deadband(twist: Twist, limits: Limits) -> Twist:
    """STILL for what is on every axis slower than the base can control, else the whole twist: dropping one axis would bend the path.

    For a wish, not for a step of a ramp: a start slow enough would never get out of it. Raises UnsafeCommand for what is not finite.
    """
    check_finite(twist)
    drives = math.hypot(twist.linear_x, twist.linear_y) >= limits.min_linear_mps
    return twist if drives or abs(twist.angular_z) >= limits.min_angular_radps else STILL
