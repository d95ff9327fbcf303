"""The engine's stages as it tells them, each question as often as it should be asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_vla.bench.asking import ask_all, kind_of
from edge_vla.bench.meter import Meter
from edge_vla.bench.questions import Question, Questions, choose
from edge_vla.config import RobotProfile
from edge_vla.errors import ConfigError, EngineError
from edge_vla.parts import make_engine
from edge_vla.types import Frame, Reply
from tests.bench.handmade import ANSWERS

ROUNDS = 8
WARM = 12  # four questions, three times: ten answers at least


def counted(meter: Meter, stage: str) -> tuple[int, int]:
    """(warm-up, warm) samples, the cold one not counted."""
    return meter.warm_up.get(stage, 0), sum(map(len, meter.blocks[stage]))


def test_every_stage_of_every_answer_is_counted(bundle: Path) -> None:
    engine, meter, seen = make_engine(str(bundle), threads=1, domain="sim"), Meter(ROUNDS), []
    questions = choose(None, str(bundle), engine, ())
    asked = ask_all(engine, questions, RobotProfile(), meter, lambda done, of: seen.append((done, of)))
    assert [reply.text for reply in asked.answers] == [text for _, text in ANSWERS]
    assert asked.unsteady == 0
    for stage in ("preprocess", "vision", "prefill", "reply", "answer"):
        assert counted(meter, stage) == (WARM - 1, 4 * ROUNDS)
    assert counted(meter, "decode") == (3 * 6 - 1, 6 * ROUNDS)  # three steps of "detect cup", three of "drive"
    assert counted(meter, "answer: detect") == (2 * 3 - 1, 2 * ROUNDS)
    assert counted(meter, "answer: presence") == counted(meter, "answer: drive") == (2, ROUNDS)
    assert counted(meter, "parse") == (3 * 3 - 1, 3 * ROUNDS)  # no goal asks whether a thing is there
    assert seen == [(k + 1, WARM + 4 * ROUNDS) for k in range(WARM + 4 * ROUNDS)]


def test_every_block_holds_the_same_questions(bundle: Path) -> None:
    engine, meter = make_engine(str(bundle), threads=1, domain="sim"), Meter(16)
    ask_all(engine, choose(None, str(bundle), engine, ()), RobotProfile(), meter)
    assert [len(block) for block in meter.blocks["decode"]] == [2 * 6] * 8


def test_the_answer_is_the_sum_of_its_stages(bundle: Path) -> None:
    engine, meter = make_engine(str(bundle), threads=1, domain="sim"), Meter(ROUNDS)
    ask_all(engine, choose(None, str(bundle), engine, ("drive",)), RobotProfile(), meter)
    flat = {stage: [ms for block in blocks for ms in block] for stage, blocks in meter.blocks.items()}
    parts = sum(sum(flat[stage]) for stage in ("preprocess", "vision", "prefill", "decode", "reply"))
    assert sum(flat["answer"]) == pytest.approx(parts, rel=1e-9)
    assert flat["answer"] == flat["answer: drive"]


class Fickle:
    """Says something else every third time."""

    targets = ("cup",)

    def __init__(self) -> None:
        self.laps = SimpleNamespace(taken=(("vision", 2_000_000), ("reply", 1_000_000)))
        self._asked = 0

    def ask(self, frame: Frame, prompt: str) -> Reply:
        self._asked += 1
        return Reply("go forward." if self._asked % 3 else "stop.", 0.9)

    def close(self) -> None: ...


def test_an_engine_that_does_not_say_the_same_twice_is_found_out(bundle: Path) -> None:
    engine = make_engine(str(bundle), threads=1, domain="sim")
    meter = Meter(ROUNDS)
    asked = ask_all(Fickle(), choose(None, str(bundle), engine, ("drive",)), RobotProfile(), meter)
    assert asked.unsteady == 6  # of 18
    assert meter.blocks["answer"] == [[3.0]] * 8
    assert meter.cold["answer"] == 3.0


def test_a_question_no_goal_asks_makes_no_look(bundle: Path) -> None:
    engine = make_engine(str(bundle), threads=1, domain="sim")
    frame = choose(None, str(bundle), engine, ("drive",)).asked[0].frame
    for prompt, looks in (("drive", True), ("drive on", False), ("is there a cup?", False), ("detect cup", True)):
        meter = Meter(ROUNDS)
        ask_all(Fickle(), Questions((Question(frame, prompt),), "by hand"), RobotProfile(), meter)
        assert ("parse" in meter.cold) is looks


def test_an_engine_that_tells_no_laps_is_refused(bundle: Path) -> None:
    engine = make_engine(str(bundle), threads=1, domain="sim")
    silent = SimpleNamespace(ask=engine.ask, targets=engine.targets)
    with pytest.raises(ConfigError, match="does not tell where its time goes"):
        ask_all(silent, choose(None, str(bundle), engine, ()), RobotProfile(), Meter(ROUNDS))


def test_an_engine_that_fails_is_a_fault_and_garbage_is_searched_again(make_nan_bundle: Callable[[], Path]) -> None:
    import gc

    folder = make_nan_bundle()
    engine = make_engine(str(folder), threads=1, domain="sim")
    with pytest.raises(EngineError, match="not finite"):
        ask_all(engine, choose(None, str(folder), engine, ()), RobotProfile(), Meter(ROUNDS))
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("detect cup", "detect"),
        ("is there an apple?", "presence"),
        ("drive", "drive"),
        ("what is the main object?", "what is the main object?"),
    ],
)
def test_kinds(prompt: str, kind: str) -> None:
    assert kind_of(prompt) == kind
