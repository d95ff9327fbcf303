"""No text may raise, run away or take more than linear time."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_vla.parse import clean, loc, parse_all, parse_text
from edge_vla.parse.command import MAX_SPEED_MPS, MAX_SPEED_RADPS, MAX_TRAVEL_M, MAX_TURN_RAD
from edge_vla.parse.korean import reader
from edge_vla.types import ActionType, RobotAction
from edge_vla.validate import ActionValidator

if sys.version_info >= (3, 11):
    from re import _constants, _parser
else:
    import sre_constants as _constants
    import sre_parse as _parser

WORDS = """
    turn left right move forward back stop don't not never and or then but if , . ? : 1 2.5 90 m cm degrees half a quarter the red
    cup to of on at go please i will no instead grab find avoid slowly without / % {"action": "turn"} nan 1e308 - -1 <action>
    <loc0001> 왼쪽으로 오른쪽 앞으로 뒤로 가 가지 마 말고 돌아 회전 회전해 하지 않고 멈춰 컵을 의자까지 있는 피해 보면 90도 반 바퀴 2미터
    천천히 아니 그리고 다음 후
""".split()
SENTENCES = st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=4)), max_size=40).map(" ".join)
ANY_TEXT = st.one_of(st.text(max_size=2000), SENTENCES)


def check(action: RobotAction) -> None:
    numbers = (action.linear_x, action.linear_y, action.angular_z, action.confidence, action.max_turn_rad, action.max_travel_m)
    assert all(math.isfinite(number) for number in numbers), action
    assert math.hypot(action.linear_x, action.linear_y) <= MAX_SPEED_MPS
    assert abs(action.angular_z) <= MAX_SPEED_RADPS
    assert 0.0 <= action.max_travel_m <= MAX_TRAVEL_M
    assert 0.0 <= action.max_turn_rad <= MAX_TURN_RAD
    assert 0.0 <= action.confidence <= 1.0
    if action.action_type in {ActionType.STOP, ActionType.UNKNOWN, ActionType.GRAB, ActionType.RELEASE, ActionType.POINT}:
        assert (action.linear_x, action.linear_y, action.angular_z) == (0.0, 0.0, 0.0)


@settings(max_examples=600)
@given(ANY_TEXT, st.one_of(st.just(""), st.text(max_size=20)))
def test_any_text_is_a_bounded_action(text: str, prompt: str) -> None:
    actions = parse_all(text, prompt)
    assert actions
    for action in actions:
        check(action)
        assert ActionValidator().is_safe_action(ActionValidator().validate_action(action))


@settings(max_examples=300)
@given(SENTENCES, st.integers(0, 200))
def test_every_prefix_is_a_bounded_action(text: str, cut: int) -> None:
    check(parse_text(text[:cut]))


@settings(max_examples=200)
@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(["m", "cm", "degrees", "s", "", "미터", "도", "바퀴", "m/s"]))
def test_any_number_is_a_bounded_budget(value: float, unit: str) -> None:
    for text in (f"move forward {value} {unit}", f"turn left {value}{unit}", f"앞으로 {value}{unit} 가"):
        check(parse_text(text))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("\uff54\uff55\uff52\uff4e \uff4c\uff45\uff46\uff54", "00+"),  # full width
        ("tu\u200brn\u2060 le\u00adft", "00+"),
        ("t\u0301urn l\u0308eft", "00+"),
        ("왼쪽으로 돌아", "00+"),
        ("\u110b\u116c\u11ab\u110d\u1169\u11a8\u110b\u1173\u1105\u1169 \u1103\u1169\u11af\u110b\u1161", "00+"),  # the same, decomposed
        ("turn\u00a0left", "00+"),
        ("don\u2019t turn left", "000"),
        ("do\u200bnot turn left", "000"),
        ("turn l\u0435ft", "000"),  # a Cyrillic letter
        ("move forward \u0665 meters", "+00"),
        ("\ud800turn left", "00+"),
        ("\x00turn\x07 left", "00+"),
    ],
)
def test_unicode(text: str, wanted: str) -> None:
    action = parse_text(text)
    check(action)
    assert "".join("+" if v > 0 else "-" if v < 0 else "0" for v in (action.linear_x, action.linear_y, action.angular_z)) == wanted


def test_over_a_megabyte_is_refused_unread() -> None:
    action = parse_text("turn left " * 200_000)
    assert (action.action_type, action.confidence) == (ActionType.UNKNOWN, 0.0)
    assert "refused" in action.description


def test_unfolding_cannot_smuggle_more_in() -> None:
    assert "refused" in parse_text("\ufdfa" * (clean.MAX_CHARS // 2)).description  # 18 characters each


@pytest.mark.slow
def test_a_megabyte_is_read() -> None:
    text = "a chair. " * ((clean.MAX_CHARS - 9) // 9) + "turn left"
    assert parse_text(text).angular_z > 0


# Repeated, each of these once made or could make some step look at the rest of the text again.
REPEATED = [
    "and ", "not to ", "the ", "on the ", "by turning x ", "여기로 ", "컵 ", "왼쪽 ", "회전 ", ", ", "direction: left ", "action: ",
    "action: left ",
    "<action>", "{", "1 m ", "half ", "a ", "to ", "if ", "don't ", "가지 ", "가는 ", "반의 반 ", "\u0301\u0316", "'", "-1 ", "no ", "1/",
    "cup of ",
    "point five ", "one hundred and ", "turn left. ", "x", "가", "1", "컵을 ", "말고 ", "보면 ", "½", "\n", "a: ", "instead of ",
    "go and ", "or ", "<a",
]  # fmt: skip


@pytest.mark.parametrize("piece", REPEATED)
def test_work_grows_linearly(piece: str) -> None:
    parse_text(piece * 8)  # caches filled
    small, large = work(lambda: parse_text(piece * 100)), work(lambda: parse_text(piece * 400))
    assert large <= 4.4 * small + 2000, (small, large)


def work(run: Callable[[], object]) -> int:
    """Lines executed inside edge_vla.parse, comprehensions included: a count, not a time."""
    lines = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace if "edge_vla" in frame.f_code.co_filename else None

    with _traced(trace):
        run()
    return lines


@contextmanager
def _traced(trace: Callable[[FrameType, str, object], Any]) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def test_the_counter_sees_a_quadratic() -> None:
    assert any(name.startswith("parse") for name in dir(sys.modules["edge_vla.parse"]))

    def quadratic(n: int) -> int:
        code = compile("for i in range(n):\n    for j in range(n):\n        pass", "edge_vla/parse/made_up.py", "exec")
        return work(lambda: exec(code, {"n": n}))

    assert quadratic(40) > 4.4 * quadratic(10)


def test_no_pattern_can_backtrack_without_end() -> None:
    """No unbounded repeat inside another: what the standard library's engine runs exponentially on."""
    for module in (clean, loc, reader):
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                assert not nested_repeat(_parser.parse(value.pattern)), (module.__name__, name)
    assert nested_repeat(_parser.parse(r"(a+)+b"))


def nested_repeat(parsed: Any, *, inside: bool = False) -> bool:
    for op, arg in parsed:
        repeat = str(op) in {"MAX_REPEAT", "MIN_REPEAT"} and arg[1] is _constants.MAXREPEAT
        if repeat and inside:
            return True
        parts = arg if isinstance(arg, (list, tuple)) else [arg]
        for part in _flat(parts):
            if nested_repeat(part, inside=inside or repeat):
                return True
    return False


def _flat(parts: Any) -> Iterator[Any]:
    for part in parts:
        if isinstance(part, _parser.SubPattern):
            yield part
        elif isinstance(part, (list, tuple)):
            yield from _flat(part)


@pytest.mark.parametrize("text", ["st\u0c2fp\u2792\u12eb", "turn left \u2777 degrees", "move forward 0.\u24fd m", "\u00b2 m forward"])
def test_a_digit_that_is_no_number_is_no_error_of_ours(text: str) -> None:
    """str.isdigit says yes to circled and raised digits, float does not."""
    action = parse_text(text)
    assert all(abs(value) <= 1e3 for value in (action.linear_x, action.linear_y, action.angular_z))
