"""Numbers as people write and say them, in digits, English and Korean words. Knows no units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_MAX_NUMBER_CHARS = 24
_ONES = {
    word: float(n)
    for n, word in enumerate(
        (
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
            " eighteen nineteen"
        ).split()
    )
}
_TENS = {word: 10.0 * n for n, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)}
_PARTS = {"half": 0.5, "halves": 0.5, "quarter": 0.25, "quarters": 0.25, "third": 1 / 3, "thirds": 1 / 3}
_WHOLE = {"full", "whole", "complete", "entire"}
NOT_A_NUMBER = {"nan", "inf", "infinity", "infinite", "무한", "무한대"}
_SINO = {"영": 0.0, "공": 0.0, "일": 1.0, "이": 2.0, "삼": 3.0, "사": 4.0, "오": 5.0, "육": 6.0, "칠": 7.0, "팔": 8.0, "구": 9.0}
_SINO_TENS = {"십": 10.0, "백": 100.0, "천": 1000.0}
_NATIVE = {
    "한": 1.0, "하나": 1.0, "두": 2.0, "둘": 2.0, "세": 3.0, "셋": 3.0, "네": 4.0, "넷": 4.0, "다섯": 5.0, "여섯": 6.0, "일곱": 7.0,
    "여덟": 8.0, "아홉": 9.0, "열": 10.0, "반": 0.5, "몇": 2.0,
}  # fmt: skip
_NATIVE_TENS = {
    "열": 10.0, "스물": 20.0, "스무": 20.0, "서른": 30.0, "마흔": 40.0, "쉰": 50.0, "예순": 60.0, "일흔": 70.0, "여든": 80.0, "아흔": 90.0,
}  # fmt: skip
_NATIVE |= _NATIVE_TENS | {ten + one: tens + n for ten, tens in _NATIVE_TENS.items() for one, n in _NATIVE.items() if 1.0 <= n < 10.0}


class Number(NamedTuple):
    """A number and the index behind it."""

    value: float
    end: int
    spelt: bool = False  # said as a number, so it may stand without a unit; "a", "half" and Korean words may not
    article: bool = False


def number_at(tokens: Sequence[str], start: int) -> Number | None:
    """The number that starts at `start`, in digits or words; nan for "nan" and "infinite"."""
    article = get(tokens, start) in {"a", "an"}
    at = start + article
    word = get(tokens, at)
    if article and word == "hundred":
        return _words(tokens, at, total=1.0)
    if word in _WHOLE and (counted := _counted(tokens, at + 1)):
        return counted  # a full 360
    if word in _WHOLE:
        return Number(1.0, at + 1)
    if word in _PARTS:
        return Number(_PARTS[word], _past(tokens, at + 1, "of", "a", "an", "the"))
    if word in NOT_A_NUMBER:
        return Number(math.nan, at + 1)
    if article:
        dozen = {"couple": 2.0, "few": 2.0}.get(word)
        return Number(dozen, _past(tokens, at + 1, "of")) if dozen else Number(1.0, at, article=True)
    return _counted(tokens, at) or _korean_number(tokens, at)


def _counted(tokens: Sequence[str], at: int) -> Number | None:
    """Digits or English number words, with a fraction behind: "1/2", "pi / 2", "1 1/2", "three quarters of a", "one and a half"."""
    number = _digits(tokens, at) or _words(tokens, at)
    if number is None:
        return None
    value, end = number.value, number.end
    mixed = _digits(tokens, end)
    if mixed and get(tokens, end + 1) == "/" and 0.0 < mixed.value < 1.0:
        return Number(value + mixed.value, mixed.end, spelt=True)
    if get(tokens, end) in _PARTS:
        return Number(value * _PARTS[tokens[end]], _past(tokens, end + 1, "of", "a", "an", "the"))
    if get(tokens, end) in _WHOLE:
        end += 1  # two full turns
    more = and_a_half(tokens, end)
    return Number(value + (0.5 if more else 0.0), end + more, spelt=value != 1.0 or number.spelt)


def _digits(tokens: Sequence[str], at: int) -> Number | None:
    value = _plain(get(tokens, at))
    if value is None:
        return None
    end = at + 1
    if get(tokens, end) == "pi":
        value, end = value * math.pi, end + 1
    divisor = _plain(get(tokens, end + 1)) if get(tokens, end) == "/" else None
    if divisor is not None:
        past = _past(tokens, end + 2, "of", "a", "an", "the") if get(tokens, end + 2) == "of" else end + 2
        return Number(value / divisor if divisor else math.nan, past, spelt=True)
    if get(tokens, end) == "분의":  # 4분의 1
        share = _plain(get(tokens, end + 1))
        return Number(share / value if share is not None and value else math.nan, end + 2, spelt=True)
    return Number(value, end, spelt=True)


def _words(tokens: Sequence[str], at: int, total: float = 0.0) -> Number | None:
    """ "ninety", "one hundred and eighty", "zero point five"; at most eight words."""
    end, seen = at, total > 0.0
    while end < at + 8:
        word = get(tokens, end)
        if word in _TENS and 0.0 < total < 10.0:
            total = 100.0 * total + _TENS[word]  # three sixty
        elif word in _ONES or word in _TENS:
            total += _ONES.get(word, 0.0) + _TENS.get(word, 0.0)
        elif word == "hundred" and seen:
            total *= 100.0
        elif word == "and" and seen and total >= 100.0 and (get(tokens, end + 1) in _ONES or get(tokens, end + 1) in _TENS):
            pass
        elif word == "point" and get(tokens, end + 1) in _ONES:
            total += _ONES[tokens[end + 1]] / 10.0
            return Number(total, end + 2, spelt=True)
        else:
            break
        seen, end = True, end + 1
    return Number(total, end, spelt=total > 1.0) if seen else None


def _korean_number(tokens: Sequence[str], at: int) -> Number | None:
    word = get(tokens, at)
    if word == "반의" and get(tokens, at + 1) == "반":
        return Number(0.25, at + 2)
    if word.endswith("분의"):
        parts, share = korean_value(word[:-2]), korean_value(get(tokens, at + 1))
        return Number(share / parts, at + 2) if parts and share is not None else None
    value = korean_value(word)
    if value is None:
        return None
    if get(tokens, at + 1) == "점":
        tenth = _SINO.get(get(tokens, at + 2))
        return Number(value + tenth / 10.0, at + 3) if tenth is not None else None
    return Number(value, at + 1)


def korean_value(word: str) -> float | None:
    """구십 → 90, 영점오 → 0.5, 두 → 2, 스물다섯 → 25."""
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


def to_float(token: str) -> float | None:
    """A number token, a comma read as a decimal point: 1,000 is one metre rather than a thousand."""
    if not (token[-1:].isdecimal() and token.lstrip("-").replace(".", "").replace(",", "")[:1].isdecimal()):
        return None
    if len(token) > _MAX_NUMBER_CHARS:
        return math.inf
    return float(token.replace(",", "."))


def and_a_half(tokens: Sequence[str], at: int) -> int:
    """How many tokens say "and a half" here: 3 or 0."""
    return 3 if list(tokens[at : at + 3]) == ["and", "a", "half"] else 0


def get(tokens: Sequence[str], at: int) -> str:
    """The token there, or "" beyond the end."""
    return tokens[at] if 0 <= at < len(tokens) else ""


def _past(tokens: Sequence[str], at: int, *words: str) -> int:
    """The index behind at most three of those words."""
    last = at + 3
    while at < last and get(tokens, at) in words:
        at += 1
    return at


def _plain(token: str) -> float | None:
    return math.pi if token == "pi" else to_float(token)
