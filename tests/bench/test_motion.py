"""A policy's answers are motions: a regression test sees when they change."""

from __future__ import annotations

import pytest

from edge_vla.agreement import ANOTHER_MACHINE, MOTION, difference, told
from edge_vla.bench.compare import check_answers
from edge_vla.bench.report import AnswerLine
from edge_vla.types import Chunk, Reply, Twist


def moving(*speeds: float) -> Reply:
    return Reply("", 1.0, chunk=Chunk(tuple(Twist(linear_x=speed) for speed in speeds), period_s=0.2))


@pytest.mark.parametrize(
    ("got", "same"),
    [
        (moving(0.1, 0.2), True),
        (moving(0.1, 0.2 + 0.9 * MOTION), True),
        (moving(0.1, 0.2 + 1.1 * MOTION), False),
        (moving(0.1), False),
        (moving(0.1, float("nan")), False),
        (Reply("", 1.0), False),
    ],
)
def test_motions_are_the_same_within_a_fiftieth(got: Reply, same: bool) -> None:
    assert (difference(got, moving(0.1, 0.2)) is not None) is same


def test_a_confidence_nobody_has_is_not_compared() -> None:
    off = difference(Reply("a cup", 0.7), Reply("a cup", None))
    assert off is not None
    assert off.confidence == 0.0


def test_a_motion_in_words() -> None:
    assert told(moving(0.1, -0.05)) == "(0.100, 0.000) m/s 0.000 rad/s (-0.050, 0.000) m/s 0.000 rad/s"


def line(speed: float) -> AnswerLine:
    return AnswerLine(key="k", prompt="go", text="", confidence=1.0, free_distance_m=None, twists=[[speed, 0.0, 0.5]])


def test_a_changed_motion_is_a_changed_answer() -> None:
    wanted = {"k": Reply("", 1.0, chunk=Chunk((Twist(0.1, 0.0, 0.5),), period_s=1.0))}
    assert check_answers("base", wanted, [line(0.1)], ANOTHER_MACHINE).changed == []
    assert check_answers("base", wanted, [line(0.3)], ANOTHER_MACHINE).changed == [
        "'go' (k): was (0.100, 0.000) m/s 0.500 rad/s, is (0.300, 0.000) m/s 0.500 rad/s"
    ]
