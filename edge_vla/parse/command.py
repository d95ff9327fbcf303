"""What a clause says, whatever its language, and the action it becomes. Knows speeds and budgets; knows no words."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

from edge_vla.types import DEFAULT_TRAVEL_M, DEFAULT_TURN_RAD, ActionType, RobotAction

CRUISE_MPS = 0.2  # half of the guard's ceiling and less: text says where to go, never that the way is free
STRAFE_MPS = 0.15  # no base sees sideways
TURN_RADPS = 0.5  # about 30 degrees a second: a 10 Hz engine sees a target move 3 degrees between looks
LOOK_RADPS = 0.3  # slower than a turn, to keep the picture sharp
AVOID_RADPS = 0.4
MAX_SPEED_MPS = 0.3  # whatever a text asks for: "quickly", "at 5 m/s"
MAX_SPEED_RADPS = 0.75
MAX_TRAVEL_M = 5.0  # ceilings of the budgets: further than that somebody has to look again
MAX_TURN_RAD = 2.0 * math.pi
SLOW, CAREFUL, QUICK = 0.5, 0.4, 1.5  # factors on the speeds above
DESCRIPTION_CHARS = 200
STILL_TYPES = frozenset({ActionType.STOP, ActionType.GRAB, ActionType.RELEASE, ActionType.POINT, ActionType.UNKNOWN})


class Way(Enum):
    """Where to, seen from the robot."""

    FORWARD = "forward"
    BACKWARD = "backward"
    LEFT = "left"
    RIGHT = "right"


class Cue(Enum):
    """How a clause stands to the ones before it."""

    PLAIN = "plain"
    REPLACES = "replaces"  # "no, turn right", "go straight instead"
    ALTERNATIVE = "alternative"  # "or turn right"
    CONDITIONAL = "conditional"  # "if the path is clear": nothing here can judge that
    LIMITS = "limits"  # "without turning": a limit on another clause, not a command
    MANNER = "manner"  # 피해서, 돌면서: how the next clause's command is to be done, or a command if none follows


@dataclass(frozen=True, slots=True)
class Measure:
    """What a clause says in numbers. `bare` is a number without a unit; `invalid` marks one that is no quantity at all."""

    distance_m: float | None = None
    angle_rad: float | None = None
    duration_s: float | None = None
    speed_mps: float | None = None
    speed_radps: float | None = None
    bare: float | None = None
    invalid: bool = False


NO_MEASURE = Measure()
A_LITTLE = Measure(distance_m=0.2, angle_rad=math.radians(20.0))
CLEAR, BARE, ASSUMED = 0.9, 0.7, 0.5  # parse confidence: a verb with its way; a way or a quantity alone; a way nobody named
UNSURE = 0.2  # ambiguous or conditional: below what ActionValidator lets through
PER_UNEXPLAINED = 0.1  # less for each word nobody could explain, down to
LEAST = 0.4


@dataclass(frozen=True, slots=True)
class Command:
    """One clause, understood. `ways` is where to move; `side` is where the target is; `sure` is the parse confidence."""

    kind: ActionType
    ways: tuple[Way, ...] = ()
    sideways: bool = False
    side: Way | None = None
    target: str | None = None
    measure: Measure = NO_MEASURE
    pace: float = 1.0
    negated: bool = False
    cue: Cue = Cue.PLAIN
    sure: float = 0.9
    assumed: bool = False  # nobody named the way
    bare: bool = False  # a way without a verb
    words: str = ""


def less(sure: float, unexplained: int) -> float:
    """A parse confidence, lowered for the words nobody could explain."""
    return max(min(LEAST, sure), sure - PER_UNEXPLAINED * unexplained)


def still(kind: ActionType, why: str, sure: float = 0.0) -> RobotAction:
    """An action that moves nothing and says why."""
    return RobotAction(kind, confidence=sure, description=why[:DESCRIPTION_CHARS])


def to_action(command: Command) -> RobotAction:
    """The velocities and budgets of a command. Speeds never exceed MAX_SPEED_*; budgets are always finite."""
    if command.measure.invalid:
        return still(ActionType.UNKNOWN, f"no usable quantity: {command.words}")
    if contradictory(command.ways):
        return still(ActionType.UNKNOWN, f"ambiguous direction: {command.words}", sure=UNSURE)
    action = RobotAction(command.kind, target_object=command.target, confidence=command.sure, description=command.words[:DESCRIPTION_CHARS])
    if command.kind in STILL_TYPES:
        return action
    linear_x, linear_y, angular_z = _velocities(command)
    return _budgeted(replace(action, linear_x=linear_x, linear_y=linear_y, angular_z=angular_z), command)


def contradictory(ways: tuple[Way, ...]) -> bool:
    """Both of a pair: nobody can go left and right at once."""
    return {Way.LEFT, Way.RIGHT} <= set(ways) or {Way.FORWARD, Way.BACKWARD} <= set(ways)


def _velocities(command: Command) -> tuple[float, float, float]:
    left, along = _sign(command.ways, Way.LEFT, Way.RIGHT), _sign(command.ways, Way.FORWARD, Way.BACKWARD)
    if command.kind is ActionType.MOVE:
        linear = _linear(command, STRAFE_MPS if command.sideways else CRUISE_MPS)
        if command.sideways:
            return 0.0, left * linear, 0.0
        return along * linear, 0.0, left * _angular(command, TURN_RADPS)
    if command.kind is ActionType.TURN:
        return 0.0, 0.0, left * _angular(command, TURN_RADPS)
    if command.kind is ActionType.LOOK:
        return 0.0, 0.0, (left or _towards(command.side)) * _angular(command, LOOK_RADPS)
    if command.kind is ActionType.AVOID:
        # away from the side the thing is on; with no side named a turn on the spot to the left, the one move that needs no room
        away = left or -_towards(command.side) or 1.0
        return 0.0, 0.0, away * _angular(command, AVOID_RADPS)
    # a place is not a direction: NAVIGATE turns to the side it is said to be on and leaves the way to whoever can see
    return 0.0, 0.0, (left or _towards(command.side)) * _angular(command, LOOK_RADPS)


def _budgeted(action: RobotAction, command: Command) -> RobotAction:
    """A distance bounds travel, an angle bounds turning, a duration both; what is not said keeps its default."""
    measure = command.measure
    travel, turn = measure.distance_m, measure.angle_rad
    if measure.bare is not None and command.kind is not ActionType.MOVE:
        turn = math.radians(measure.bare) if turn is None else turn
    elif measure.bare is not None and travel is None:
        travel = min(measure.bare, DEFAULT_TRAVEL_M)  # "move forward 2": two of what? never further than usual
    if measure.duration_s is not None:
        speed = math.hypot(action.linear_x, action.linear_y)
        travel = speed * measure.duration_s if travel is None and speed else travel
        turn = abs(action.angular_z) * measure.duration_s if turn is None and action.angular_z else turn
    cut = [f"{MAX_TRAVEL_M:g} m"] * (travel is not None and travel > MAX_TRAVEL_M and bool(action.linear_x or action.linear_y))
    cut += [f"{math.degrees(MAX_TURN_RAD):g} degrees"] * (turn is not None and turn > MAX_TURN_RAD and bool(action.angular_z))
    return replace(
        action,
        max_travel_m=DEFAULT_TRAVEL_M if travel is None else min(travel, MAX_TRAVEL_M),
        max_turn_rad=DEFAULT_TURN_RAD if turn is None else min(turn, MAX_TURN_RAD),
        description=f"{action.description} (at most {' and '.join(cut)} at a time)" if cut else action.description,
    )


def _linear(command: Command, cruise_mps: float) -> float:
    asked = command.measure.speed_mps
    return min(cruise_mps * command.pace if asked is None else asked, MAX_SPEED_MPS)


def _angular(command: Command, cruise_radps: float) -> float:
    asked = command.measure.speed_radps
    return min(cruise_radps * command.pace if asked is None else asked, MAX_SPEED_RADPS)


def _sign(ways: tuple[Way, ...], plus: Way, minus: Way) -> float:
    return float(plus in ways) - float(minus in ways)


def _towards(side: Way | None) -> float:
    return {Way.LEFT: 1.0, Way.RIGHT: -1.0}.get(side, 0.0) if side else 0.0
