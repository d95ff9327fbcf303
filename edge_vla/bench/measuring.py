"""One measurement from its wishes to its report: everything refused first, then the stages one after the other."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edge_vla.agreement import ANOTHER_MACHINE
from edge_vla.bench.asking import ask_all
from edge_vla.bench.compare import Here, check_answers, compare, require_comparable
from edge_vla.bench.conditions import Watch, machine_of, power_mode
from edge_vla.bench.distribution import BLOCKS, describe
from edge_vla.bench.driving import drive
from edge_vla.bench.meter import WHAT, Meter
from edge_vla.bench.questions import Question, Questions, choose
from edge_vla.bench.report import AnswerLine, Checked, EngineFacts, Machine, Method, Report, Result, Stage
from edge_vla.bench.versions import versions
from edge_vla.bench.watching import watch
from edge_vla.config import RobotProfile
from edge_vla.machine.board import Board, read_board
from edge_vla.machine.jetson_stats import JetsonStats
from edge_vla.machine.tree import Tree
from edge_vla.opening import open_engine
from edge_vla.types import Engine, Reply

GROUPS = ("engine", "guard", "camera")
REDRAW_S = 0.5  # of the progress bar, between what is timed: a thread of its own would be measured along
STATISTIC = f"p50 and p95 over all warm samples, each with the same quantile of {BLOCKS} consecutive blocks"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured, checked as far as it can be without opening anything."""

    engine: str
    profile: RobotProfile
    groups: tuple[str, ...]
    frames: Path | None
    prompts: tuple[str, ...]
    rounds: int


@dataclass(frozen=True, slots=True)
class Judge:
    """What a report is held against; `limit` is the share by which a quantile may grow. Without bases it is only measured."""

    bases: tuple[Report, ...] = ()
    limit: float = 0.1
    any_machine: bool = False

    def require_comparable(self, here: Here) -> None:
        """Raise ConfigError for a base that says nothing about what is measured here."""
        for base in self.bases:
            require_comparable(base, here, any_machine=self.any_machine)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An open engine and its questions: from here on only a fault can end it."""

    wanted: Wanted
    judge: Judge
    engine: Engine
    load_ms: float
    questions: Questions
    tree: Tree
    board: Board
    machine: Machine


@contextmanager
def prepare(wanted: Wanted, judge: Judge) -> Iterator[Prepared]:
    """Open the engine, timed, and refuse what could not be compared. Raises ConfigError."""
    tree = Tree()
    board = read_board(tree)
    start = time.perf_counter()
    engine = open_engine(wanted.engine, wanted.profile, allow_domain=True)  # nothing is driven
    load_ms = (time.perf_counter() - start) * 1e3
    try:
        questions = choose(wanted.frames, wanted.engine, engine, wanted.prompts)
        machine = machine_of(board)
        keys = tuple(question.key for question in questions.asked)
        judge.require_comparable(Here(machine, power_mode(tree, board), wanted.profile.engine.threads, keys, wanted.groups))
        yield Prepared(wanted, judge, engine, load_ms, questions, tree, board, machine)
    finally:
        engine.close()


def measure(prepared: Prepared, console: Console) -> Report:
    """Every stage that is wanted, with a progress bar. Raises EdgeVLAError."""
    wanted, engine = prepared.wanted, prepared.engine
    meter, ticks = Meter(wanted.rounds), ""
    meter.take("load", prepared.load_ms, None)
    with JetsonStats(prepared.board) as stats:
        conditions = Watch(prepared.tree, prepared.board, stats)
        with _progress(console) as bar:
            asked = ask_all(engine, prepared.questions, wanted.profile, meter, _step(bar, "engine", conditions))
            if prepared.questions.capture_age_ms and "camera" not in wanted.groups:
                meter.take_all("capture age", prepared.questions.capture_age_ms, 0)
            if "guard" in wanted.groups:
                ticks = drive(wanted.profile, meter, _step(bar, "guard", conditions))
            if "camera" in wanted.groups:
                watch(engine, wanted.profile, meter, _step(bar, "camera", conditions))
        seen = conditions.told()
    answers = [_line(question, reply) for question, reply in zip(prepared.questions.asked, asked.answers, strict=True)]
    report = Report(
        schema_version=1, result="measured", measured_at=f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}",
        engine=_engine_facts(prepared), machine=prepared.machine, conditions=seen, versions=versions(),
        method=Method(
            stages=list(wanted.groups), rounds=wanted.rounds, blocks=BLOCKS, questions=len(answers), source=prepared.questions.source,
            statistic=STATISTIC,
        ),
        stages={name: _stage(meter, name) for name in meter.stages()}, guard_ticks=ticks, answers=answers, unsteady=asked.unsteady,
        reference=_reference(prepared.questions, answers),
    )  # fmt: skip
    return judged(report, prepared.judge.bases, prepared.judge.limit)


def judge_saved(report: Report, judge: Judge) -> Report:
    """A report measured earlier, held against the bases. Raises ConfigError for a base that says nothing about it."""
    keys = tuple(line.key for line in report.answers)
    judge.require_comparable(Here(report.machine, report.conditions.power_mode, report.engine.threads, keys, tuple(report.method.stages)))
    return judged(report, judge.bases, judge.limit)


def judged(report: Report, bases: Sequence[Report], limit: float) -> Report:
    """The report with its result: another answer weighs more than a slower one."""
    comparison = compare(bases, report, limit) if bases else None
    report = report.model_copy(update={"comparison": comparison})
    result: Result = "measured" if comparison is None else "same"
    if comparison is not None and comparison.slower:
        result = "slower"
    return report.model_copy(update={"result": "changed" if report.changed else result})


def _reference(questions: Questions, answers: Sequence[AnswerLine]) -> Checked | None:
    """The answers against those at export, where the bundle brought the questions."""
    wanted: dict[str, Reply] = {question.key: question.want for question in questions.asked if question.want is not None}
    return check_answers("the bundle's reference", wanted, answers, ANOTHER_MACHINE) if wanted else None


def _stage(meter: Meter, name: str) -> Stage:
    blocks = meter.blocks.get(name, [])
    of = name.partition(":")[0]
    common = {"what": WHAT.get(of, name), "cold_ms": round(meter.cold[name], 4), "warm_up": meter.warm_up.get(name, 0)}
    if not any(blocks):
        nothing = dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "max_ms", "mean_ms"))
        return Stage.model_validate({**common, **nothing, "n": 0, "p50_blocks_ms": [], "p95_blocks_ms": []})
    found = describe(blocks)
    return Stage.model_validate({
        **common, "n": found.n, "p50_ms": round(found.p50.value, 4), "p95_ms": round(found.p95.value, 4), "p99_ms": round(found.p99_ms, 4),
        "max_ms": round(found.max_ms, 4), "mean_ms": round(found.mean_ms, 4), "p50_blocks_ms": [round(ms, 4) for ms in found.p50.blocks],
        "p95_blocks_ms": [round(ms, 4) for ms in found.p95.blocks], "samples_ms": [round(ms, 4) for block in blocks for ms in block],
    })  # fmt: skip


def _line(question: Question, reply: Reply) -> AnswerLine:
    confidence = None if reply.confidence is None else round(reply.confidence, 6)
    free = None if reply.free_distance_m is None else [round(metres, 4) for metres in reply.free_distance_m]
    twists = None if reply.chunk is None else [[t.linear_x, t.linear_y, t.angular_z] for t in reply.chunk.twists]
    return AnswerLine(
        key=question.key, prompt=question.prompt, text=reply.text, confidence=confidence, free_distance_m=free, twists=twists
    )  # fmt: skip


def _engine_facts(prepared: Prepared) -> EngineFacts:
    """The manifest's own words; its own hash too, for it holds the calibration."""
    manifest, folder = getattr(prepared.engine, "manifest"), Path(prepared.wanted.engine)  # noqa: B009 - an engine with laps has one
    own = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    return EngineFacts(
        folder=str(folder), name=manifest.name, precision=manifest.precision, backend=manifest.backend,
        providers=list(getattr(prepared.engine, "providers", ())), threads=prepared.wanted.profile.engine.threads,
        sha256={"manifest.json": own, **manifest.sha256},
    )  # fmt: skip


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description:7}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, auto_refresh=False) as bar:
        yield bar


def _step(bar: Progress, name: str, conditions: Watch) -> Callable[[int, int], None]:
    """What happens between two samples: a look at the machine, a redrawn bar, both seldom."""
    task = bar.add_task(name, total=None)
    drawn_s = -1.0

    def step(done: int, of: int) -> None:
        nonlocal drawn_s
        conditions.look()
        bar.update(task, completed=done, total=of)
        if done == of or time.monotonic() - drawn_s > REDRAW_S:
            drawn_s = time.monotonic()
            bar.refresh()

    return step
