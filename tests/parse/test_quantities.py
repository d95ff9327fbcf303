"""Numbers and units of both languages, at the edges of what is accepted."""

from __future__ import annotations

import math

import pytest

from edge_vla.parse.clean import fold, sentences
from edge_vla.parse.command import NO_MEASURE, Measure
from edge_vla.parse.quantities import MAX_ANGLE_RAD, MAX_DISTANCE_M, Found, measure_at

TURN = 2 * math.pi


def found(text: str) -> Found | None:
    return measure_at(sentences(fold(text))[0].tokens, 0)


@pytest.mark.parametrize(
    ("text", "metres"),
    [
        ("0.5 meters", 0.5), ("50cm", 0.5), ("500 mm", 0.5), ("0.001 km", 1.0), ("half a metre", 0.5), ("two meters", 2.0),
        ("one and a half meters", 1.5), ("a meter and a half", 1.5), ("1 m 50 cm", 1.5), ("1m and 50cm", 1.5), ("1 1/2 m", 1.5), ("½ m",
        0.5),
        ("1,5 m", 1.5), (".5 m", 0.5), ("a quarter of a meter", 0.25), ("three feet", 0.9144), ("two feet six inches", 0.762), ("a step",
        0.3),
        ("a couple of steps", 0.6), ("zero point five m", 0.5), ("one hundred and fifty centimeters", 1.5), ("\u0665 meters", 5.0),
        ("\uff12\uff4d", 2.0),
        ("2미터를", 2.0), ("이 미터", 2.0), ("이미터만큼", 2.0), ("오십센티", 0.5), ("영점오 미터", 0.5), ("영 점 오 미터", 0.5),
        ("1미터 반", 1.5), ("반 미터",
        0.5), ("열 걸음", 3.0),
        ("삼십 센치 정도", 0.3), ("1,000 m", 1.0), ("3/4 of a metre", 0.75), ("a hundred cm", 1.0), ("a hundred and twenty cm", 1.2),
        ("스물다섯 센티", 0.25), ("30센티까지만", 0.3), ("두 발", 0.6), ("ten to fifteen cm", 0.1), ("1-2 m", 1.0), ("1~2미터", 1.0),
        ("2 or 1 m", 1.0), ("10에서 20센티", 0.1),
    ],
)  # fmt: skip
def test_distances(text: str, metres: float) -> None:
    assert found(text).measure == Measure(distance_m=pytest.approx(metres))


@pytest.mark.parametrize(
    ("text", "radians"),
    [
        ("90 degrees", TURN / 4), ("90°", TURN / 4), ("90deg", TURN / 4),
        ("a full 360 degrees", TURN), ("one eighty degrees", TURN / 2), ("한 바퀴하고 반", TURN * 1.5),
        ("ninety degrees", TURN / 4), ("pi/2 radians", TURN / 4),
        ("2 pi rad", TURN),
        ("a quarter turn", TURN / 4), ("half a turn", TURN / 2), ("three quarters of a turn", TURN * 0.75), ("one full rotation", TURN),
        ("one turn", TURN), ("1/2 turn", TURN / 2), ("90도", TURN / 4), ("구십 도", TURN / 4), ("백팔십도", TURN / 2), ("반 바퀴",
        TURN / 2),
        ("한 바퀴 반", TURN * 1.5), ("두바퀴를", 2 * TURN), ("4분의 1 바퀴", TURN / 4), ("사분의 일 바퀴", TURN / 4), ("반의 반 바퀴",
        TURN / 4),
    ],
)  # fmt: skip
def test_angles(text: str, radians: float) -> None:
    assert found(text).measure == Measure(angle_rad=pytest.approx(radians))


@pytest.mark.parametrize(
    ("text", "measure"),
    [
        ("2 seconds", Measure(duration_s=2.0)), ("반 초", Measure(duration_s=0.5)), ("0.3 m/s", Measure(speed_mps=0.3)),
        ("1 m per second", Measure(speed_mps=1.0)),
        ("36 km/h", Measure(speed_mps=pytest.approx(10.0))), ("초속 0.2미터", Measure(speed_mps=0.2)), ("30 deg/s",
        Measure(speed_radps=pytest.approx(TURN / 12))),
        ("45", Measure(bare=45.0)), ("50%", NO_MEASURE),
    ],
)  # fmt: skip
def test_other_quantities(text: str, measure: Measure) -> None:
    assert found(text).measure == measure


@pytest.mark.parametrize(
    "text", ["a turn", "half", "one", "the", "a cup", "이 방", "이분을", "반도", "컵", "m", "degrees", "a", "point", "두 개"]
)
def test_no_quantity(text: str) -> None:
    assert found(text) is None


@pytest.mark.parametrize(
    "text",
    ["-1 m", "nan m", "inf meters", "infinite degrees", "1e308 m", "1e999 m", "3/0 m", "무한 미터", "nan미터", "9" * 30 + " m",
     "-0.1 degrees", "0분의 1 바퀴", "1e5 seconds", "99999999 degrees", "1000 m/s"],
)  # fmt: skip
def test_invalid(text: str) -> None:
    assert found(text).measure == Measure(invalid=True)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("50% speed", 2),
        ("0.3 m/s now", 4),
        ("1 m 50 cm left", 4),
        ("1 m 2 m", 2),
        ("half of a turn left", 4),
        ("초속 0.2미터 전진", 3),
        ("한 바퀴 반 돌아", 3),
    ],
)
def test_what_follows_is_left(text: str, end: int) -> None:
    assert found(text).end == end


def test_limits_are_inclusive() -> None:
    assert found(f"{MAX_DISTANCE_M} m").measure.distance_m == MAX_DISTANCE_M
    assert found(f"{MAX_DISTANCE_M + 0.1} m").measure.invalid
    assert found("100 turns").measure.angle_rad == pytest.approx(MAX_ANGLE_RAD)
    assert found("100.1 turns").measure.invalid
    assert found("0 m").measure.distance_m == 0.0
