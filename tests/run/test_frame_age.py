"""How old frames were when SEE took them: every frame with a stamp that can be believed counts, used or not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from edge_vla.cameras.rules import FrameRules
from edge_vla.config import RobotProfile
from edge_vla.goals import Goal
from edge_vla.robot import make_plan
from edge_vla.session import aged
from edge_vla.summary import Ending, Totals, render, summarise
from edge_vla.types import Frame

MS = 1_000_000
NOW = 10_000 * MS


def frame(seq: int, age_ms: float, now_ns: int, shape: tuple[int, ...] = (48, 64, 3), level: int = 120) -> Frame:
    rgb = np.random.default_rng(seq).integers(level - 2, level + 3, shape).clip(0, 255).astype(np.uint8)
    return Frame(rgb, now_ns - round(age_ms * MS), seq)


@pytest.mark.parametrize(
    ("odd", "counted"),
    [
        ({}, True),
        ({"age_ms": 250}, True),
        ({"level": 2}, True),
        ({"age_ms": -50}, False),
        ({"shape": (48, 63, 3)}, False),
        ({"seq": 1}, False),
    ],
)
def test_a_frame_counts_when_its_stamp_can_be_believed(odd: dict, counted: bool) -> None:
    totals = Totals()
    judge = aged(FrameRules((48, 64, 3)).judge, totals)
    judge(frame(1, 20, NOW), NOW, 0.0)
    later = NOW + 500 * MS
    judge(frame(**{"seq": 2, "age_ms": 30, "now_ns": later, **odd}), later, 0.0)
    assert totals.latencies()["frame_age"].n == 1 + counted


def test_the_verdict_is_the_rules_own() -> None:
    totals, rules = Totals(), FrameRules((48, 64, 3))
    assert aged(rules.judge, totals)(frame(1, 250, NOW), NOW, 0.0) == "old"
    assert rules.counts == {"old": 1}


def test_the_summary_has_their_middle_and_their_worst() -> None:
    totals = Totals()
    for age in range(1, 101):
        totals.frame(age * MS)
    ending = Ending(result="reached", why="", simulated=True, engine="scripted")
    summary = summarise(make_plan(RobotProfile(), Goal.DESCRIBE_SCENE, None), totals, ending)
    age = summary.stages["frame_age"]
    assert (age.p50_ms, age.p99_ms, age.n) == (50.0, 99.0, 100)
    assert '"frame_age": {"p50_ms": 50.0, "p99_ms": 99.0, "n": 100}' in summary.to_json()
    out = io.StringIO()
    Console(file=out, width=100).print(render(summary))
    assert [line.split() for line in out.getvalue().splitlines() if "frame age" in line] == [["frame", "age", "50.0", "99.0", "100"]]
