"""The last look at an action before it leaves the library. Knows no clock and no base; the guard checks again, stricter."""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Real
from typing import TypeGuard

from edge_vla.guard.limits import Limits, clamp_curvature
from edge_vla.parse.command import DESCRIPTION_CHARS, MAX_TRAVEL_M, MAX_TURN_RAD, STILL_TYPES
from edge_vla.types import ActionType, RobotAction, Twist

MIN_CONFIDENCE = 0.3  # below it the safe default, as the source document says
_ROUNDING = 1.0 + 1e-9  # a clamped speed may sit one rounding error above its limit
_NUMBERS = ("linear_x", "linear_y", "angular_z", "confidence", "max_turn_rad", "max_travel_m")
_KINDS: dict[str, tuple[type, ...]] = {"action_type": (ActionType,), "target_object": (str, type(None)), "description": (str,)}


class ActionValidator:
    """Clamps what is finite, keeping the path's curvature; anything that is not a usable action becomes a stop."""

    def __init__(self, max_linear_speed: float = 0.5, max_angular_speed: float = 1.0) -> None:
        """Limits in m/s and rad/s. Raises ConfigError for 0, negative, nan, infinite, and for more than the guard's ceilings."""
        self._limits = Limits(max_linear_mps=max_linear_speed, max_angular_radps=max_angular_speed)

    def validate_action(self, action: RobotAction) -> RobotAction:
        """The action within the limits, or the safe default with the reason in its description."""
        fault = self._fault(action)
        if fault:
            return self.get_safe_default_action(fault)
        twist = clamp_curvature(Twist(float(action.linear_x), float(action.linear_y), float(action.angular_z)), self._limits)
        return replace(
            action,
            linear_x=twist.linear_x,
            linear_y=twist.linear_y,
            angular_z=twist.angular_z,
            confidence=float(action.confidence),
            max_turn_rad=min(MAX_TURN_RAD, float(action.max_turn_rad)),
            max_travel_m=min(MAX_TRAVEL_M, float(action.max_travel_m)),
        )

    def is_safe_action(self, action: RobotAction) -> bool:
        """Whether the action may be sent as it stands: usable, and within every limit, sideways included."""
        return (
            not self._fault(action)
            and math.hypot(action.linear_x, action.linear_y) <= self._limits.max_linear_mps * _ROUNDING
            and abs(action.angular_z) <= self._limits.max_angular_radps * _ROUNDING
            and action.max_turn_rad <= MAX_TURN_RAD
            and action.max_travel_m <= MAX_TRAVEL_M
        )

    def get_safe_default_action(self, reason: str = "") -> RobotAction:
        """A stop that is itself safe."""
        description = f"safe default: {reason}" if reason else "safe default"
        return RobotAction(ActionType.STOP, confidence=1.0, description=description[:DESCRIPTION_CHARS])

    def _fault(self, action: RobotAction) -> str:
        """Why the action is unusable, or "". Never repaired: a nan speed is not 0 and not the limit."""
        if wrong := _wrong_type(action):
            return wrong
        if not 0.0 <= action.confidence <= 1.0:
            return f"confidence {_shown(action.confidence)} is outside 0..1"
        if action.confidence < MIN_CONFIDENCE:
            why = f": {action.description}" if action.description else ""  # a refused reply's action says why it is worth nothing
            return f"confidence {action.confidence:.2f} is below {MIN_CONFIDENCE}{why}"
        if action.max_turn_rad < 0 or action.max_travel_m < 0:
            return f"negative budget: turn {action.max_turn_rad} rad, travel {action.max_travel_m} m"
        if action.action_type in STILL_TYPES and (action.linear_x or action.linear_y or action.angular_z):
            motion = f"{action.linear_x} m/s, {action.linear_y} m/s, {action.angular_z} rad/s"
            return f"{action.action_type.value} moves nothing, got {motion}"
        return ""


def _wrong_type(action: object) -> str:
    """What is no action, or a field of one that is not what it should be; "" for none."""
    if not isinstance(action, RobotAction):
        return f"want a RobotAction, got {_shown(action)}"
    for name in _NUMBERS:
        if not _finite(getattr(action, name)):
            return f"{name} is not a finite number: {_shown(getattr(action, name))}"
    for name, kinds in _KINDS.items():
        if not isinstance(getattr(action, name), kinds):
            return f"want {name} as {' or '.join(kind.__name__ for kind in kinds)}, got {_shown(getattr(action, name))}"
    return ""


def _finite(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int of more than 308 digits
        return False


def _shown(value: object) -> str:
    """A value for a message. A huge int has no short text, and Python refuses to write its long one."""
    return "a huge int" if isinstance(value, int) and value.bit_length() > 64 else repr(value)[:30]
