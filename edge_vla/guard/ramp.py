"""How fast a speed may change, and how long and how far a stop is: pure functions, formulas D, E and F of the safety spec."""

from __future__ import annotations

import math

from edge_vla.guard.limits import Limits, check_finite
from edge_vla.guard.types import STILL, Twist

DT_MAX_S = 0.1  # a stalled loop must not buy a big step
STILL_MPS = 0.02  # below this a wheel counts as stopped


def stopping_distance(measured: float, applied: float, deceleration: float, reaction_s: float) -> float:
    """What is still driven (or turned) once a stop has been decided: the ramp from what was asked, the lag from what is driven.

    Without a deceleration, or from what is no number, it never ends.
    """
    if not (deceleration > 0.0 and reaction_s >= 0.0 and math.isfinite(measured) and math.isfinite(applied)):
        return math.inf
    return abs(measured) * reaction_s + applied * applied / (2.0 * deceleration)


def declared_stop_s(speed_mps: float, motor_tau_s: float, dec_mps2: float | None = None) -> float:
    """From the first stop frame to a wheel below 0.02 m/s: ramp if there is one, then a first-order motor's decay. Infinite as above."""
    if not (math.isfinite(speed_mps) and motor_tau_s >= 0.0 and (dec_mps2 is None or dec_mps2 > 0.0)):
        return math.inf
    ramp_s = abs(speed_mps) / dec_mps2 + 0.05 if dec_mps2 is not None else 0.0
    return ramp_s + motor_tau_s * math.log(max(1.0, abs(speed_mps) / STILL_MPS))


def limit_acceleration(last: Twist, target: Twist, dt_s: float, limits: Limits) -> Twist:
    """Move from `last` towards `target` on a straight line in velocity space, every axis within its limit, exact in `dt_s`.

    Raises UnsafeCommand for a twist that is not finite. A time that is no number is none.
    """
    check_finite(Twist(*(t - x for x, t in zip(_axes(last), _axes(target), strict=True))))  # neither, nor their distance
    left_s = _elapsed_s(dt_s)
    goal = _axes(target)
    axes = list(_axes(last))
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


def limit_jerk(last: Twist, rate: Twist, target: Twist, dt_s: float, limits: Limits) -> tuple[Twist, Twist]:
    """As `limit_acceleration`, and what speeds up does so within the jerk: (the twist, its rate of change, for the next call).

    As soon as one axis brakes this is `limit_acceleration` to the bit, whatever the others do: no stop is longer for it.
    Raises UnsafeCommand for a rate that is not finite, too.
    """
    check_finite(rate)
    free = limit_acceleration(last, target, dt_s, limits)
    tau_s = _elapsed_s(dt_s)
    axes = list(zip(_axes(last), _axes(free), _axes(rate), _axes(target), strict=True))
    if tau_s == 0.0:
        return last, rate
    if free == last or any(abs(y) < abs(x) or x * y < 0.0 for x, y, _, _ in axes):
        return free, STILL
    linear, angular = (limits.acc_mps2, limits.jerk_mps3), (limits.acc_radps2, limits.jerk_radps3)
    share = 1.0
    for (x, _, a, t), (acc, jerk) in zip(axes, (linear, linear, angular), strict=True):
        if t != x:
            share = min(share, max(0.0, _smooth(t - x, a, tau_s, acc, jerk) * tau_s / (t - x)))
    step = Twist(*(share * (t - x) for x, _, _, t in axes))
    smooth = Twist(*(x + change for (x, _, _, _), change in zip(axes, _axes(step), strict=True)))
    return (target if share == 1.0 else smooth), Twist(*(change / tau_s for change in _axes(step)))


def _smooth(change: float, rate: float, tau_s: float, acc: float, jerk: float) -> float:
    """The next rate of change: the most from which it can still fall to zero by the time `change` is done, near enough to the last one."""
    j = jerk * tau_s
    wanted = math.copysign(min(acc, (math.sqrt(j * j + 8.0 * jerk * abs(change)) - j) / 2.0), change)
    return max(-acc, min(acc, max(rate - j, min(rate + j, wanted))))


def _elapsed_s(dt_s: float) -> float:
    return min(dt_s, DT_MAX_S) if dt_s > 0.0 else 0.0


def _axes(twist: Twist) -> tuple[float, float, float]:
    return twist.linear_x, twist.linear_y, twist.angular_z


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
