"""Numbers with units, English and Korean, to metres, radians and seconds. Knows nothing of what they bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from edge_vla.parse.command import NO_MEASURE, Measure
from edge_vla.parse.numerals import NOT_A_NUMBER, Number, and_a_half, get, korean_value, number_at, to_float

MAX_DISTANCE_M = 1000.0  # further, faster or rounder than these is no instruction but a broken reply: refused, not capped
MAX_ANGLE_RAD = 200.0 * math.pi
MAX_DURATION_S = 3600.0
MAX_SPEED = 100.0
_STEP_M = 0.3  # a small human step
_TURN_RAD = 2.0 * math.pi

_METRES = {
    1.0: "m meter meters metre metres 미터 메터",
    0.01: "cm centimeter centimeters centimetre centimetres 센티미터 센티 센치미터 센치 씨엠",
    0.001: "mm millimeter millimeters millimetre millimetres 밀리미터 밀리",
    1000.0: "km kilometer kilometers kilometre kilometres 킬로미터 킬로",
    0.3048: "ft foot feet 피트",
    0.0254: "inch inches 인치",
    0.9144: "yard yards 야드",
    _STEP_M: "step steps pace paces 걸음 발자국 발짝 발걸음 발",
}
_RADIANS = {
    math.pi / 180.0: "degree degrees deg degs 도",
    1.0: "rad rads radian radians 라디안",
    _TURN_RAD: "turn turns circle circles rotation rotations revolution revolutions spin spins lap laps 바퀴 회전",
}
_SECONDS = {1.0: "s sec secs second seconds 초 초간", 60.0: "min mins minute minutes 분 분간", 0.001: "ms millisecond milliseconds 밀리초"}
_PER_SECOND = {"s": 1.0, "sec": 1.0, "second": 1.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "min": 60.0, "minute": 60.0}
_SPEEDS = {"mps": 1.0, "kph": 1 / 3.6, "kmh": 1 / 3.6, "mph": 0.44704}


class Unit(NamedTuple):
    """A field of Measure and what one of the unit is there."""

    field: str
    factor: float


UNITS: dict[str, Unit] = {
    word: Unit(field, factor)
    for field, table in (("distance_m", _METRES), ("angle_rad", _RADIANS), ("duration_s", _SECONDS), ("speed_mps", {}))
    for factor, words in table.items()
    for word in words.split()
} | {word: Unit("speed_mps", factor) for word, factor in _SPEEDS.items()}

_NO_ROUND_TRIP = {"turn", "rotation", "spin", "revolution"}  # "a turn" is no angle ("make a turn to the left"); "one turn" is
_NOT_GLUED = {"분", "발", "s", "m"}  # 이분 is a person, not two minutes; 이발 a haircut
_TAILS = (
    "정도만",
    "만큼만",
    "까지만",
    "이하로",
    "이내로",
    "하고",
    "정도",
    "만큼",
    "동안",
    "가량",
    "까지",
    "이하",
    "이내",
    "으로",
    "쯤",
    "씩",
    "간",
    "을",
    "를",
    "만",
    "로",
    "의",
)
_UP_TO = {"to", "or", "에서"}
_PER_KOREAN = {"초속": 1.0, "초당": 1.0, "시속": 3600.0}


class Found(NamedTuple):
    """A quantity and the index behind it."""

    measure: Measure
    end: int


def measure_at(tokens: Sequence[str], start: int) -> Found | None:
    """The quantity that starts at `start`, or None. A number without a unit is `bare`; nan, negative and absurd ones are `invalid`."""
    rate = _PER_KOREAN.get(tokens[start])
    if rate:
        start += 1
    sized = _sized(tokens, start)
    if sized is None:
        number = number_at(tokens, start)
        if number is None or not number.spelt:
            return None
        percent = get(tokens, number.end) == "%"
        return Found(NO_MEASURE if percent else _checked("bare", number.value), number.end + percent)
    value, unit, end = sized
    if rate is None:
        unit, end = _per_time(tokens, end, unit)
    else:
        unit = _speed(unit, rate)
    smaller = _sized(tokens, end + 1 if get(tokens, end) == "and" else end) if unit.field == "distance_m" else None
    here = _checked(unit.field, value * unit.factor)
    if smaller and smaller.unit.field == unit.field and smaller.unit.factor < unit.factor:
        return Found(add(here, _checked(unit.field, smaller.value * smaller.unit.factor)), smaller.end)
    return Found(here, end)


def add(first: Measure, second: Measure) -> Measure:
    """Two distances one after the other: "1 m 50 cm". Invalid if either is."""
    if first.distance_m is None or second.distance_m is None:
        return merge(first, second)
    return replace(merge(first, second), distance_m=first.distance_m + second.distance_m)


def merge(first: Measure, second: Measure) -> Measure:
    """What either says; of two of a kind the smaller, because a budget is a bound."""
    both = {}
    for name in ("distance_m", "angle_rad", "duration_s", "speed_mps", "speed_radps", "bare"):
        values = [v for v in (getattr(first, name), getattr(second, name)) if v is not None]
        both[name] = min(values) if values else None
    return Measure(**both, invalid=first.invalid or second.invalid)


def _checked(field: str, value: float) -> Measure:
    most = {"distance_m": MAX_DISTANCE_M, "angle_rad": MAX_ANGLE_RAD, "duration_s": MAX_DURATION_S, "bare": MAX_DISTANCE_M}
    if not 0.0 <= value <= most.get(field, MAX_SPEED):  # false for nan as well
        return Measure(invalid=True)
    return replace(NO_MEASURE, **{field: value})  # type: ignore[arg-type]  # the fields of Unit are those of Measure


class _Sized(NamedTuple):
    value: float
    unit: Unit
    end: int


def _sized(tokens: Sequence[str], start: int) -> _Sized | None:
    """A number with its unit, "and a half" included."""
    number = number_at(tokens, start)
    if number is None:
        return _glued(tokens, start)
    word = unit_word(get(tokens, number.end))
    between = get(tokens, number.end)
    if word is None and (between in _UP_TO or (number.spelt and to_float(between) is not None)):  # 1 to 2 m; 1-2 m
        return _range(tokens, number, number.end + (between in _UP_TO))
    if word is None or (number.article and word in _NO_ROUND_TRIP):
        return None
    end = number.end + 1
    more = _half_more(tokens, end)
    return _Sized(number.value + (0.5 if more else 0.0), UNITS[word], end + more)


def _range(tokens: Sequence[str], least: Number, at: int) -> _Sized | None:
    """ "ten to fifteen centimetres": the least of it, because a budget is a bound."""
    most = number_at(tokens, at)
    word = unit_word(get(tokens, most.end)) if most else None
    if most is None or word is None or most.article:
        return None
    return _Sized(min(least.value, most.value), UNITS[word], most.end + 1)


def _glued(tokens: Sequence[str], start: int) -> _Sized | None:
    """A Korean number and its unit in one word: 구십도, 두바퀴를."""
    word = _untailed(get(tokens, start))
    for size in range(1, min(len(word), 6)):
        number, unit = word[:-size], word[-size:]
        value = math.nan if number in NOT_A_NUMBER else korean_value(number)
        if unit in UNITS and value is not None and unit not in _NOT_GLUED and word != "반도":
            more = _half_more(tokens, start + 1)
            return _Sized(value + (0.5 if more else 0.0), UNITS[unit], start + 1 + more)
    return None


def _per_time(tokens: Sequence[str], end: int, unit: Unit) -> tuple[Unit, int]:
    """m, / and s to m/s."""
    seconds = _PER_SECOND.get(get(tokens, end + 1)) if get(tokens, end) in {"/", "per"} else None
    return (_speed(unit, seconds), end + 2) if seconds else (unit, end)


def _speed(unit: Unit, seconds: float) -> Unit:
    field = {"distance_m": "speed_mps", "angle_rad": "speed_radps"}.get(unit.field, unit.field)
    return Unit(field, unit.factor / seconds)


def unit_word(token: str) -> str | None:
    """The unit a word names, its particle aside, or None."""
    for word in (token, _untailed(token)):
        if word in UNITS:
            return word
    return None


def _untailed(token: str) -> str:
    """A Korean unit without its particle: 미터를, 도만, 바퀴 정도."""
    if not token.endswith(_TAILS):
        return token
    for tail in _TAILS:
        if len(token) > len(tail) and token.endswith(tail):
            return token[: -len(tail)]
    return token


def _half_more(tokens: Sequence[str], at: int) -> int:
    """How many tokens say "and a half" behind a unit: 3, 1 (반, unless it starts 반 바퀴) or 0."""
    korean = get(tokens, at) == "반" and unit_word(get(tokens, at + 1)) is None
    return and_a_half(tokens, at) or int(korean)
