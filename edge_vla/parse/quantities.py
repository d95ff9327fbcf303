"""Numbers and units of English and Korean tokens to metres, radians and seconds. Knows nothing of what they bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from edge_vla.parse.command import NO_MEASURE, Measure

MAX_DISTANCE_M = 1000.0  # further, faster or rounder than these is no instruction but a broken reply: refused, not capped
MAX_ANGLE_RAD = 200.0 * math.pi
MAX_DURATION_S = 3600.0
MAX_SPEED = 100.0
_STEP_M = 0.3  # a small human step
_TURN_RAD = 2.0 * math.pi
_MAX_NUMBER_CHARS = 24

_METRES = {
    1.0: "m meter meters metre metres 미터 메터",
    0.01: "cm centimeter centimeters centimetre centimetres 센티미터 센티 센치미터 센치 씨엠",
    0.001: "mm millimeter millimeters millimetre millimetres 밀리미터 밀리",
    1000.0: "km kilometer kilometers kilometre kilometres 킬로미터 킬로",
    0.3048: "ft foot feet 피트",
    0.0254: "inch inches 인치",
    0.9144: "yard yards 야드",
    _STEP_M: "step steps pace paces 걸음 발자국 발짝 발걸음",
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

_ONES = {word: float(n) for n, word in enumerate(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
)}  # fmt: skip
_TENS = {word: 10.0 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)}
_PARTS = {"half": 0.5, "halves": 0.5, "quarter": 0.25, "quarters": 0.25, "third": 1 / 3, "thirds": 1 / 3}
_WHOLE = {"full", "whole", "complete", "entire"}
_NOT_A_NUMBER = {"nan", "inf", "infinity", "infinite", "무한", "무한대"}
_NO_ROUND_TRIP = {"turn", "rotation", "spin", "revolution"}  # "a turn" is no angle ("make a turn to the left"); "one turn" is

_SINO = {"영": 0.0, "공": 0.0, "일": 1.0, "이": 2.0, "삼": 3.0, "사": 4.0, "오": 5.0, "육": 6.0, "칠": 7.0, "팔": 8.0, "구": 9.0}
_SINO_TENS = {"십": 10.0, "백": 100.0, "천": 1000.0}
_NATIVE = {
    "한": 1.0, "하나": 1.0, "두": 2.0, "둘": 2.0, "세": 3.0, "셋": 3.0, "네": 4.0, "넷": 4.0, "다섯": 5.0, "여섯": 6.0, "일곱": 7.0,
    "여덟": 8.0, "아홉": 9.0, "열": 10.0, "반": 0.5, "몇": 2.0,
}  # fmt: skip
_TAILS = ("정도만", "만큼만", "정도", "만큼", "동안", "가량", "으로", "쯤", "씩", "간", "을", "를", "만", "로", "의")
_PER_KOREAN = {"초속": 1.0, "초당": 1.0, "시속": 3600.0}


class Found(NamedTuple):
    """A quantity and the index behind it."""

    measure: Measure
    end: int


class _Number(NamedTuple):
    value: float
    end: int
    spelt: bool = False  # said as a number, so it may stand without a unit; "a", "half" and Korean words may not
    article: bool = False


def measure_at(tokens: Sequence[str], start: int) -> Found | None:
    """The quantity that starts at `start`, or None. A number without a unit is `bare`; nan, negative and absurd ones are `invalid`."""
    rate = _PER_KOREAN.get(tokens[start])
    if rate:
        start += 1
    sized = _sized(tokens, start)
    if sized is None:
        number = _number(tokens, start)
        if number is None or not number.spelt:
            return None
        percent = _get(tokens, number.end) == "%"
        return Found(NO_MEASURE if percent else _checked("bare", number.value), number.end + percent)
    value, unit, end = sized
    if rate is None:
        unit, end = _per_time(tokens, end, unit)
    else:
        unit = _speed(unit, rate)
    smaller = _sized(tokens, end + 1 if _get(tokens, end) == "and" else end) if unit.field == "distance_m" else None
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


def to_float(token: str) -> float | None:
    """A number token, a comma read as a decimal point: 1,000 is one metre rather than a thousand."""
    if not (token[-1:].isdigit() and token.lstrip("-").replace(".", "").replace(",", "")[:1].isdigit()):
        return None
    if len(token) > _MAX_NUMBER_CHARS:
        return math.inf
    return float(token.replace(",", "."))


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
    number = _number(tokens, start)
    if number is None:
        return _glued(tokens, start)
    word = _unit_word(_get(tokens, number.end))
    if word is None or (number.article and word in _NO_ROUND_TRIP):
        return None
    end = number.end + 1
    more = _half_more(tokens, end)
    return _Sized(number.value + (0.5 if more else 0.0), UNITS[word], end + more)


def _glued(tokens: Sequence[str], start: int) -> _Sized | None:
    """A Korean number and its unit in one word: 구십도, 두바퀴를."""
    word = _untailed(_get(tokens, start))
    for size in range(1, min(len(word), 6)):
        number, unit = word[:-size], word[-size:]
        value = _korean_value(number)
        if unit in UNITS and value is not None and unit not in {"분", "s", "m"} and word != "반도":
            more = _half_more(tokens, start + 1)
            return _Sized(value + (0.5 if more else 0.0), UNITS[unit], start + 1 + more)
    return None


def _number(tokens: Sequence[str], start: int) -> _Number | None:
    article = _get(tokens, start) in {"a", "an"}
    at = start + article
    word = _get(tokens, at)
    if word in _WHOLE:
        return _Number(1.0, at + 1)
    if word in _PARTS:
        return _Number(_PARTS[word], _past(tokens, at + 1, "of", "a", "an", "the"))
    if word in _NOT_A_NUMBER:
        return _Number(math.nan, at + 1)
    if article:
        dozen = {"couple": 2.0, "few": 2.0}.get(word)
        return _Number(dozen, _past(tokens, at + 1, "of")) if dozen else _Number(1.0, at, article=True)
    return _counted(tokens, at) or _korean_number(tokens, at)


def _counted(tokens: Sequence[str], at: int) -> _Number | None:
    """Digits or English number words, with a fraction behind: "1/2", "pi / 2", "1 1/2", "three quarters of a", "one and a half"."""
    number = _digits(tokens, at) or _words(tokens, at)
    if number is None:
        return None
    value, end = number.value, number.end
    mixed = _digits(tokens, end)
    if mixed and _get(tokens, end + 1) == "/" and 0.0 < mixed.value < 1.0:
        return _Number(value + mixed.value, mixed.end, spelt=True)
    if _get(tokens, end) in _PARTS:
        return _Number(value * _PARTS[tokens[end]], _past(tokens, end + 1, "of", "a", "an", "the"))
    more = _half_more(tokens, end)
    return _Number(value + (0.5 if more else 0.0), end + more, spelt=value != 1.0 or number.spelt)


def _digits(tokens: Sequence[str], at: int) -> _Number | None:
    value = _plain(_get(tokens, at))
    if value is None:
        return None
    end = at + 1
    if _get(tokens, end) == "pi":
        value, end = value * math.pi, end + 1
    divisor = _plain(_get(tokens, end + 1)) if _get(tokens, end) == "/" else None
    if divisor is not None:
        return _Number(value / divisor if divisor else math.nan, end + 2, spelt=True)
    if _get(tokens, end) == "분의":  # 4분의 1
        share = _plain(_get(tokens, end + 1))
        return _Number(share / value if share is not None and value else math.nan, end + 2, spelt=True)
    return _Number(value, end, spelt=True)


def _words(tokens: Sequence[str], at: int) -> _Number | None:
    """ "ninety", "one hundred and eighty", "zero point five"; at most eight words."""
    total, end, seen = 0.0, at, False
    while end < at + 8:
        word = _get(tokens, end)
        if word in _ONES or word in _TENS:
            total += _ONES.get(word, 0.0) + _TENS.get(word, 0.0)
        elif word == "hundred" and seen:
            total *= 100.0
        elif word == "and" and seen and total >= 100.0 and (_get(tokens, end + 1) in _ONES or _get(tokens, end + 1) in _TENS):
            pass
        elif word == "point" and _get(tokens, end + 1) in _ONES:
            total += _ONES[tokens[end + 1]] / 10.0
            return _Number(total, end + 2, spelt=True)
        else:
            break
        seen, end = True, end + 1
    return _Number(total, end, spelt=total > 1.0) if seen else None


def _korean_number(tokens: Sequence[str], at: int) -> _Number | None:
    word = _get(tokens, at)
    if word == "반의" and _get(tokens, at + 1) == "반":
        return _Number(0.25, at + 2)
    if word.endswith("분의"):
        parts, share = _korean_value(word[:-2]), _korean_value(_get(tokens, at + 1))
        return _Number(share / parts, at + 2) if parts and share is not None else None
    value = _korean_value(word)
    if value is None:
        return None
    if _get(tokens, at + 1) == "점":
        tenth = _SINO.get(_get(tokens, at + 2))
        return _Number(value + tenth / 10.0, at + 3) if tenth is not None else None
    return _Number(value, at + 1)


def _korean_value(word: str) -> float | None:
    """구십 → 90, 영점오 → 0.5, 두 → 2. Native words do not combine here."""
    if word in _NATIVE:
        return _NATIVE[word]
    if not 0 < len(word) <= 8:
        return None
    whole, point, tenths = word.partition("점")
    total, digit = 0.0, None
    for char in whole:
        if char in _SINO:
            digit = _SINO[char]
        elif char in _SINO_TENS:
            total, digit = total + (1.0 if digit is None else digit) * _SINO_TENS[char], None
        else:
            return None
    if point and (len(tenths) != 1 or tenths not in _SINO):
        return None
    return total + (digit or 0.0) + (_SINO[tenths] / 10.0 if point else 0.0)


def _per_time(tokens: Sequence[str], end: int, unit: Unit) -> tuple[Unit, int]:
    """m, / and s to m/s."""
    seconds = _PER_SECOND.get(_get(tokens, end + 1)) if _get(tokens, end) in {"/", "per"} else None
    return (_speed(unit, seconds), end + 2) if seconds else (unit, end)


def _speed(unit: Unit, seconds: float) -> Unit:
    field = {"distance_m": "speed_mps", "angle_rad": "speed_radps"}.get(unit.field, unit.field)
    return Unit(field, unit.factor / seconds)


def _unit_word(token: str) -> str | None:
    for word in (token, _untailed(token)):
        if word in UNITS:
            return word
    return None


def _untailed(token: str) -> str:
    """A Korean unit without its particle: 미터를, 도만, 바퀴 정도."""
    for tail in _TAILS:
        if len(token) > len(tail) and token.endswith(tail):
            return token[: -len(tail)]
    return token


def _half_more(tokens: Sequence[str], at: int) -> int:
    """How many tokens say "and a half" here: 3, 2, 1 (반) or 0."""
    if _get(tokens, at) == "and" and _get(tokens, at + 1) == "a" and _get(tokens, at + 2) == "half":
        return 3
    return 1 if _get(tokens, at) == "반" and _unit_word(_get(tokens, at + 1)) is None else 0


def _past(tokens: Sequence[str], at: int, *words: str) -> int:
    while _get(tokens, at) in words:
        at += 1
    return at


def _plain(token: str) -> float | None:
    return math.pi if token == "pi" else to_float(token)


def _get(tokens: Sequence[str], at: int) -> str:
    return tokens[at] if 0 <= at < len(tokens) else ""
