"""The library's last look: clamps keep the curve, anything unusable stops."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla import ActionValidator, RobotAction
from edge_vla.errors import ConfigError
from edge_vla.parse.command import MAX_TRAVEL_M, MAX_TURN_RAD
from edge_vla.types import ActionType

MOVE = RobotAction(ActionType.MOVE, linear_x=0.2, confidence=0.9)
FIELDS = ["linear_x", "linear_y", "angular_z", "confidence", "max_turn_rad", "max_travel_m"]
validate = ActionValidator().validate_action


def is_default(action: RobotAction) -> bool:
    still = (action.linear_x, action.linear_y, action.angular_z) == (0.0, 0.0, 0.0)
    return still and action.action_type is ActionType.STOP and "safe default" in action.description


def test_within_limits_nothing_changes() -> None:
    action = replace(MOVE, linear_x=0.3, linear_y=0.4, angular_z=-1.0)
    assert validate(action) == action
    assert ActionValidator().is_safe_action(action)


@pytest.mark.parametrize(
    ("asked", "given_"),
    [
        ((0.6, 0.0, 0.0), (0.5, 0.0, 0.0)),
        ((-1.0, 0.0, 0.5), (-0.5, 0.0, 0.25)),
        ((0.2, 0.0, 4.0), (0.05, 0.0, 1.0)),
        ((0.6, 0.8, 0.0), (0.3, 0.4, 0.0)),
        ((0.0, 0.9, 0.0), (0.0, 0.5, 0.0)),
        ((1.0, 0.0, 8.0), (0.125, 0.0, 1.0)),
        ((0.02, 0.0, 50.0), (0.0, 0.0, 0.0)),  # too slow to drive once scaled: a stop, not a spin
    ],
)
def test_clamp_keeps_the_curve(asked: tuple[float, ...], given_: tuple[float, ...]) -> None:
    action = RobotAction(ActionType.MOVE, *asked, confidence=0.9)
    safe = validate(action)
    assert (safe.linear_x, safe.linear_y, safe.angular_z) == pytest.approx(given_)
    assert not ActionValidator().is_safe_action(action)
    assert ActionValidator().is_safe_action(safe)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, None, "0.1", True, 10**400, 10**5000, Decimal("0.4"), 1j],
    ids=lambda value: type(value).__name__,
)
def test_no_number_stops(field: str, value: Any) -> None:
    action = replace(MOVE, **{field: value})
    safe = validate(action)
    assert is_default(safe)
    assert field in safe.description
    assert not ActionValidator().is_safe_action(action)


@pytest.mark.parametrize(("confidence", "moves"), [(0.0, False), (0.2999999, False), (0.3, True), (1.0, True), (-1.0, False)])
def test_confidence_gate(confidence: float, moves: bool) -> None:
    action = replace(MOVE, confidence=confidence)
    assert (validate(action).linear_x > 0) is moves
    assert is_default(validate(action)) is not moves
    assert ActionValidator().is_safe_action(action) is moves


@pytest.mark.parametrize(
    ("confidence", "why"),
    [
        (math.nextafter(1.0, 2.0), "confidence 1.0000000000000002 is outside 0..1"),
        (7, "confidence 7 is outside 0..1"),
        (1.7, "confidence 1.7 is outside 0..1"),
        (-1e-9, "confidence -1e-09 is outside 0..1"),
        (math.nan, "confidence is not a finite number: nan"),
    ],
)
def test_a_confidence_that_is_none_is_no_certainty(confidence: float, why: str) -> None:
    action = replace(MOVE, confidence=confidence)
    assert validate(action) == ActionValidator().get_safe_default_action(why)
    assert not ActionValidator().is_safe_action(action)


def test_below_the_gate_the_actions_own_reason_is_kept() -> None:
    refused = RobotAction(ActionType.NAVIGATE, description="refused: want 4 <locNNNN>")
    assert validate(refused).description == "safe default: confidence 0.00 is below 0.3: refused: want 4 <locNNNN>"
    assert validate(replace(refused, description="")).description == "safe default: confidence 0.00 is below 0.3"
    assert len(validate(replace(refused, description="x" * 10**6)).description) == 200


def test_budgets_are_capped_and_never_negative() -> None:
    wide = replace(MOVE, max_travel_m=100.0, max_turn_rad=100.0)
    assert (validate(wide).max_travel_m, validate(wide).max_turn_rad) == (MAX_TRAVEL_M, MAX_TURN_RAD)
    assert not ActionValidator().is_safe_action(wide)
    for field in ("max_travel_m", "max_turn_rad"):
        assert is_default(validate(replace(MOVE, **{field: -0.1})))
        assert not is_default(validate(replace(MOVE, **{field: 0.0})))
        assert not ActionValidator().is_safe_action(replace(MOVE, **{field: 100.0}))


@pytest.mark.parametrize("field", ["linear_x", "linear_y", "angular_z"])
@pytest.mark.parametrize("kind", ActionType)
def test_what_has_no_motion_does_not_move(kind: ActionType, field: str) -> None:
    action = RobotAction(kind, confidence=1.0, **{field: 1e-6})
    still = kind in {ActionType.STOP, ActionType.GRAB, ActionType.RELEASE, ActionType.POINT, ActionType.UNKNOWN}
    assert is_default(validate(action)) is still
    assert ActionValidator().is_safe_action(action) is not still
    assert (f"{kind.value} moves nothing, got " in validate(action).description) is still
    standing = replace(action, **{field: 0.0})
    assert validate(standing) == standing
    assert ActionValidator().is_safe_action(standing)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"action_type": "move"}, "want action_type as ActionType, got 'move'"),
        ({"action_type": None}, "want action_type as ActionType, got None"),
        ({"description": None}, "want description as str, got None"),
        ({"target_object": 7}, "want target_object as str or NoneType, got 7"),
    ],
)
def test_a_field_of_another_type_stops(values: dict[str, Any], why: str) -> None:
    action = replace(MOVE, **values)
    assert is_default(validate(action))
    assert why in validate(action).description
    assert not ActionValidator().is_safe_action(action)


@pytest.mark.parametrize("action", [None, "move", {"linear_x": 0.2}, 7])
def test_what_is_no_action_stops(action: Any) -> None:
    assert is_default(validate(action))
    assert "want a RobotAction, got " in validate(action).description
    assert not ActionValidator().is_safe_action(action)


def test_sideways_counts() -> None:
    assert not ActionValidator().is_safe_action(replace(MOVE, linear_x=0.0, linear_y=0.51))
    assert not ActionValidator().is_safe_action(replace(MOVE, linear_x=0.4, linear_y=0.4))


def test_own_limits() -> None:
    validator = ActionValidator(max_linear_speed=0.1, max_angular_speed=0.2)
    assert validator.validate_action(MOVE).linear_x == pytest.approx(0.1)
    assert validator.validate_action(replace(MOVE, linear_x=0.0, angular_z=-1.0)).angular_z == pytest.approx(-0.2)


@pytest.mark.parametrize("limit", [0.0, -0.5, math.nan, math.inf, True, "0.5", None, 5.0])
def test_impossible_limits_are_refused(limit: Any) -> None:
    with pytest.raises(ConfigError):
        ActionValidator(max_linear_speed=limit)
    with pytest.raises(ConfigError):
        ActionValidator(max_angular_speed=limit)


def test_the_default_is_safe() -> None:
    default = ActionValidator().get_safe_default_action()
    assert is_default(default)
    assert ActionValidator().is_safe_action(default)


def test_numpy_numbers_count() -> None:
    safe = validate(replace(MOVE, linear_x=np.float32(0.25), confidence=np.float64(0.5)))
    assert safe.linear_x == 0.25
    assert type(safe.linear_x) is float


@given(*[st.floats(width=64)] * 4, st.sampled_from(ActionType))
def test_whatever_comes_in_what_goes_out_is_safe(x: float, y: float, z: float, confidence: float, kind: ActionType) -> None:
    safe = validate(RobotAction(kind, x, y, z, confidence=confidence))
    assert ActionValidator().is_safe_action(safe)
    if not is_default(safe) and safe.linear_x and safe.angular_z and 1e-3 < abs(x) < 1e3 and 1e-3 < abs(z) < 1e3:
        assert safe.angular_z / safe.linear_x == pytest.approx(z / x)
