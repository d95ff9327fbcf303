"""The engine tells where its time goes: every stage, nothing left out, nothing of another answer."""

from __future__ import annotations

import pytest

from edge_vla.backends.finder import FinderEngine
from edge_vla.backends.laps import Laps
from edge_vla.errors import ConfigError
from edge_vla.types import Frame


def test_laps_add_up_to_the_whole() -> None:
    times = iter([1000, 1500, 1600, 4000])
    laps = Laps(lambda: next(times))
    laps.start()
    laps.lap("a")
    laps.lap("b")
    assert laps.taken == ()  # not whole yet
    assert laps.finish("c") == pytest.approx(3000e-9, rel=1e-12)
    assert laps.taken == (("a", 500), ("b", 100), ("c", 2400))


def test_an_answer_that_fails_leaves_no_laps() -> None:
    laps = Laps()
    laps.start()
    laps.finish("a")
    laps.start()
    laps.lap("b")
    assert laps.taken == ()


@pytest.mark.parametrize(("prompt", "steps"), [("detect cup", 3), ("detect ball", 0), ("is there a cup?", 0), ("drive", 3)])
def test_the_engine_tells_its_stages_in_order(engine: FinderEngine, red: Frame, prompt: str, steps: int) -> None:
    """Four corners take three steps, absence and yes or no none, "go forward." one for each of its words."""
    reply = engine.ask(red, prompt)
    assert [stage for stage, _ in engine.laps.taken] == ["preprocess", "vision", "prefill", *["decode"] * steps, "reply"]
    assert all(took_ns > 0 for _, took_ns in engine.laps.taken)
    assert reply.latency_s == pytest.approx(sum(took_ns for _, took_ns in engine.laps.taken) * 1e-9, rel=1e-12)


def test_a_refused_question_has_no_laps(engine: FinderEngine, red: Frame) -> None:
    engine.ask(red, "detect cup")
    with pytest.raises(ConfigError):
        engine.ask(red, "dance")
    assert engine.laps.taken == ()


def test_the_engine_says_what_runs_it(engine: FinderEngine) -> None:
    assert engine.providers == ("CPUExecutionProvider",)
