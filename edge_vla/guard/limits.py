"""Twist to a twist that may be driven: pure functions, formulas A-D and F of the safety spec. Knows nothing about time, bytes or states."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from edge_vla.errors import ConfigError, UnsafeCommand
from edge_vla.guard.types import STILL, BaseTraits, Twist

SPEED_CEILING_MPS = 0.5  # DESIGN §4
TURN_CEILING_RADPS = 1.0  # DESIGN §4
HARD_RANGE = 2.0  # times a limit; more is evidence of a broken parser, not a wish
DT_MAX_S = 0.1  # a stalled loop must not buy a big step
CLEAR_MARGIN_M = 0.05  # braking along the bound, motor and reports lag by up to 25 mm (tests/guard)
STILL_MPS = 0.02  # below this a wheel counts as stopped
ROUNDING = 1e-6  # of a quantum: 0.3344 held as 0.33439999999999998 is not 0.3343
CHECK_SLACK = 1.01  # of a quantum: a truncated wheel may differ by one whole quantum, plus rounding


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
    if max(abs(twist.linear_x), abs(twist.linear_y)) > most_linear or abs(twist.angular_z) > most_angular:
        raise UnsafeCommand(f"{twist} is beyond {most_linear} m/s or {most_angular} rad/s")


def speed_bound_mps(clear_m: float, limits: Limits) -> float:
    """The speed from which the robot still stops within `clear_m` after its reaction time."""
    d, coast = limits.dec_mps2, limits.dec_mps2 * limits.reaction_s
    return max(0.0, -coast + math.sqrt(coast * coast + 2.0 * d * max(0.0, clear_m - CLEAR_MARGIN_M)))


def stopping_distance(measured: float, applied: float, deceleration: float, reaction_s: float) -> float:
    """What is still driven (or turned) once a stop has been decided: the ramp from what was asked, the lag from what is driven."""
    return abs(measured) * reaction_s + applied * applied / (2.0 * deceleration)


def clamp_curvature(twist: Twist, limits: Limits, speed_mps: float | None = None) -> Twist:
    """Scale the whole twist into the limits, so that the path keeps its curve. `speed_mps` is a lower linear limit of the moment."""
    v_max = limits.max_linear_mps if speed_mps is None else min(limits.max_linear_mps, speed_mps)
    v = math.hypot(twist.linear_x, twist.linear_y)
    scale = 1.0
    if v > v_max:
        scale = v_max / v
    if abs(twist.angular_z) > limits.max_angular_radps:
        scale = min(scale, limits.max_angular_radps / abs(twist.angular_z))
    if scale == 1.0:
        return twist
    if twist.angular_z != 0.0 and v >= limits.min_linear_mps > scale * v:
        return STILL
    return Twist(scale * twist.linear_x, scale * twist.linear_y, scale * twist.angular_z)


def wheels_from_twist(twist: Twist, track_m: float) -> tuple[float, float]:
    """Differential drive: body velocity to (left, right) in m/s."""
    half = twist.angular_z * track_m / 2.0
    return twist.linear_x - half, twist.linear_x + half


def twist_from_wheels(left_mps: float, right_mps: float, track_m: float) -> Twist:
    """Differential drive: (left, right) in m/s to body velocity."""
    return Twist((left_mps + right_mps) / 2.0, 0.0, (right_mps - left_mps) / track_m)


def saturate_wheels(twist: Twist, track_m: float, max_wheel_mps: float) -> Twist:
    """Scale the whole twist until neither wheel is too fast: a firmware that clips one wheel would bend the path."""
    fastest = max(abs(wheel) for wheel in wheels_from_twist(twist, track_m))
    if fastest <= max_wheel_mps:
        return twist
    scale = max_wheel_mps / fastest
    return Twist(scale * twist.linear_x, scale * twist.linear_y, scale * twist.angular_z)


def limit_acceleration(last: Twist, target: Twist, dt_s: float, limits: Limits) -> Twist:
    """Move from `last` towards `target` on a straight line in velocity space, every axis within its limit, exact in `dt_s`."""
    left_s = min(max(dt_s, 0.0), DT_MAX_S)
    goal = (target.linear_x, target.linear_y, target.angular_z)
    axes = [last.linear_x, last.linear_y, last.angular_z]
    while left_s > 0.0 and tuple(axes) != goal:
        rate, span = _stretch(axes, goal, limits)
        part = min(rate * left_s, span)
        if part >= 1.0:
            return target
        # an axis that crosses zero on the way stops braking there and starts accelerating: hence stretch by stretch
        crossing = part == span
        axes = [_advance(x, t, part, crossing=crossing) for x, t in zip(axes, goal, strict=True)]
        left_s = left_s - part / rate if crossing else 0.0
    return Twist(*axes)


def _stretch(axes: list[float], goal: tuple[float, ...], limits: Limits) -> tuple[float, float]:
    """(share of the remaining change per second, share up to the first axis that changes sign)."""
    linear, angular = (limits.acc_mps2, limits.dec_mps2), (limits.acc_radps2, limits.dec_radps2)
    rates, span = [], 1.0
    for x, t, (acc, dec) in zip(axes, goal, (linear, linear, angular), strict=True):
        if t == x:
            continue
        speeding_up = abs(t) >= abs(x) and x * t >= 0.0
        rates.append((acc if speeding_up else dec) / abs(t - x))
        if x * t < 0.0:
            span = min(span, abs(x) / abs(t - x))
    return min(rates), span


def _advance(x: float, t: float, part: float, *, crossing: bool) -> float:
    """`x` moved by `part` of the way to `t`; exactly zero where this axis is the one that crosses."""
    if crossing and x * t < 0.0 and abs(x) / abs(t - x) == part:
        return 0.0
    return x + part * (t - x)


def quantise(value: float, quantum: float) -> float:
    """The nearest multiple of `quantum` that is not further from zero."""
    steps = math.floor(abs(value) / quantum + ROUNDING)
    return math.copysign(steps * quantum, value) if steps else 0.0


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


def declared_stop_s(speed_mps: float, motor_tau_s: float, dec_mps2: float | None = None) -> float:
    """From the first stop frame to a wheel below 0.02 m/s: ramp if there is one, then a first-order motor's decay."""
    ramp_s = abs(speed_mps) / dec_mps2 + 0.05 if dec_mps2 else 0.0
    return ramp_s + motor_tau_s * math.log(max(1.0, abs(speed_mps) / STILL_MPS))
