"""Sentences a person would say or a model would answer, in both languages, each with what it means."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_vla.parse import parse_text
from edge_vla.types import RobotAction

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"
Case = dict[str, Any]
MUST_GET = 38  # of the 40 golden cases
KNOWN_MISSES: frozenset[str] = frozenset()  # of the golden cases, by name


def load_cases(path: Path) -> list[Case]:
    return json.loads(path.read_text("utf-8"))["cases"]


def signs_of(values: list[float]) -> str:
    return "".join("+" if value > 0 else "-" if value < 0 else "0" for value in values)


def misses(case: Case, action: RobotAction) -> list[str]:
    """What of a case the action does not meet."""
    got = {
        "action_type": action.action_type.name,
        "signs_xyz": signs_of([action.linear_x, action.linear_y, action.angular_z]),
        "target": action.target_object,
        "max_travel_m": pytest.approx(action.max_travel_m, abs=1e-3),
        "max_turn_rad": pytest.approx(action.max_turn_rad, abs=1e-3),
    }
    return [f"{key}: want {want!r}, got {got[key]!r}" for key, want in case.items() if key != "text" and want != got[key]]


def test_golden_cases() -> None:
    cases = load_cases(GOLDEN / "text_cases.json")
    wrong = {case["text"]: found for case in cases if (found := misses(case, parse_text(case["text"])))}
    assert len(cases) == 40
    assert len(cases) - len(wrong) >= MUST_GET, wrong
    assert set(wrong) == KNOWN_MISSES, wrong


@pytest.mark.parametrize("case", load_cases(HERE / "cases.json"), ids=lambda case: case["text"][:60])
def test_case(case: Case) -> None:
    assert misses(case, parse_text(case["text"])) == []


def test_cases_are_many_and_of_both_languages() -> None:
    texts = [case["text"] for case in load_cases(HERE / "cases.json")]
    korean = sum(any("가" <= char <= "힣" for char in text) for text in texts)
    assert len(texts) == len(set(texts))
    assert korean >= 75
    assert len(texts) - korean >= 75


# What the reference answered (in reference_parser_cases.json), and what the words mean.
REFERENCE_BUGS = {
    "오른쪽으로 회전해": ("00+", "00-"),
    "오른쪽으로 90도 회전해": ("00+", "00-"),
    "never turn right": ("00-", "000"),
    "do not move forward": ("+00", "000"),
    "don't go forward, stop": ("+00", "000"),
    "bright light": ("00-", "000"),
    "avoid the obstacle on the right": ("00-", "00+"),
    "뒤로 가": ("000", "-00"),
}


@pytest.mark.parametrize(("text", "was", "is_now"), [(text, *pair) for text, pair in REFERENCE_BUGS.items()])
def test_reference_bug_is_fixed(text: str, was: str, is_now: str, signs: Callable[[RobotAction], str]) -> None:
    cases = json.loads((GOLDEN / "reference_parser_cases.json").read_text("utf-8"))["text"]
    parsed = {case["input"]: case["parsed"] for case in cases}[text]
    assert signs_of([parsed["linear_x"], parsed["linear_y"], parsed["angular_z"]]) == was
    assert signs(parse_text(text)) == is_now


def test_reference_targets_are_whole_names() -> None:
    for text, target in (("navigate to the door", "door"), ("grab the red ball", "red ball"), ("pick up the cup", "cup")):
        assert parse_text(text).target_object == target
