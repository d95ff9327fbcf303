"""The engine's stages and the parser's, measured where they run: the engine tells its own laps, `Seeing` makes the looks."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edge_vla.behaviours import BEHAVIOURS
from edge_vla.bench.meter import Meter
from edge_vla.bench.questions import Question, Questions
from edge_vla.config import RobotProfile
from edge_vla.drive import Seeing
from edge_vla.errors import ConfigError
from edge_vla.goals import GOALS
from edge_vla.live import swept
from edge_vla.robot import make_plan
from edge_vla.types import Engine, Pose, Reply

WARM_UP = 10  # answers at least before anything counts; a whole round where that is more


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of it: the first answer to each question, and how many later ones said something else."""

    answers: tuple[Reply, ...]
    unsteady: int


def ask_all(
    engine: Engine, questions: Questions, profile: RobotProfile, meter: Meter, between: Callable[[int, int], object] = lambda _a, _b: None
) -> Asked:
    """Every question once while the engine warms up, then `meter.rounds` times. `between(done, of)` runs outside what is timed.

    Raises ConfigError for an engine that does not tell its laps, EngineError for one that fails.
    """
    laps = getattr(engine, "laps", None)
    if laps is None:
        raise ConfigError("this engine does not tell where its time goes; want one that runs a bundle")
    asked = questions.asked
    seeings = [_seeing(engine, question, profile) for question in asked]
    first: list[Reply] = []
    unsteady = 0
    warm_rounds = -(-WARM_UP // len(asked))
    rounds: list[int | None] = [None] * warm_rounds + [*range(meter.rounds)]
    with swept():  # as a run does it
        for number, round_ in enumerate(rounds):
            for k, (question, seeing) in enumerate(zip(asked, seeings, strict=True)):
                reply = _ask(engine, laps, question, meter, round_)
                if seeing is not None:
                    _parse(seeing, question, reply, meter, round_)
                if number == 0:
                    first.append(reply)
                unsteady += reply.text != first[k].text
                gc.collect(0)
                between(number * len(asked) + k + 1, len(rounds) * len(asked))
    return Asked(tuple(first), unsteady)


def _ask(engine: Engine, laps: Any, question: Question, meter: Meter, round_: int | None) -> Reply:
    """One answer and its laps. The whole is their sum, for they leave nothing out."""
    reply = engine.ask(question.frame, question.prompt)
    whole = 0.0
    for stage, took_ns in laps.taken:
        meter.take(stage, took_ns * 1e-6, round_)
        whole += took_ns * 1e-6
    meter.take("answer", whole, round_)
    meter.take(f"answer: {kind_of(question.prompt)}", whole, round_)
    return reply


def _parse(seeing: Seeing, question: Question, reply: Reply, meter: Meter, round_: int | None) -> None:
    ready_ns = time.monotonic_ns()
    frame = replace(question.frame, t_capture_ns=ready_ns)
    start_ns = time.perf_counter_ns()
    seeing.understand(reply, frame, ready_ns)
    meter.take("parse", (time.perf_counter_ns() - start_ns) * 1e-6, round_)


def kind_of(prompt: str) -> str:
    """The kind of question, without the thing it is about: kinds take different numbers of steps."""
    if prompt.startswith("detect "):
        return "detect"
    return "presence" if prompt.startswith("is there ") else prompt


def _seeing(engine: Engine, question: Question, profile: RobotProfile) -> Seeing | None:
    """Who makes looks of the answers; None for a question no goal asks."""
    for goal, spec in GOALS.items():
        head, thing, _ = spec.prompt.partition("{thing}")
        if goal not in BEHAVIOURS or not spec.prompt or not question.prompt.startswith(head):
            continue
        target = question.prompt.removeprefix(head) if thing else None
        if thing or question.prompt == spec.prompt:
            return Seeing(engine, make_plan(profile, goal, target), lambda t_ns: Pose(t_ns, 0.0, 0.0, 0.0))
    return None
