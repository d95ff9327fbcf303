"""What a run came to: counted while it runs, summed up at its end, shown as a table, written as `summary.json`."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edge_vla.behaviours.state import Plan
from edge_vla.drive import Tick
from edge_vla.guard.link import Status
from edge_vla.guard.state import LATCHED, FaultCode, GuardState
from edge_vla.record import UNMEASURED, Stages
from edge_vla.sightings import CONFIDENCE_FLOOR
from edge_vla.types import Look, Pose

EXIT_CODES = {"reached": 0, "not_found": 1, "timeout": 1, "fault": 3}  # "interrupted" is 128 + the signal
MAX_REASONS = 20  # different ones; the rest is "other"
SOFT_STOPS = {"TTL": "commands stopped", "EVIDENCE": "the last look was too old", "INVALID": "invalid command", "BATTERY": "battery low"}
REFUSALS = {"safe default": "unusable action", "reply refused": "reply refused"}  # how an action's description begins
STAGE_WORDS = {
    "frame_age": "frame age",
    "see": "see", "camera": "  camera", "engine": "  engine", "parse": "  parse", "steer": "steer", "note": "  note", "late": "  late by",
}  # fmt: skip
COLOURS = {"reached": "green", "not_found": "yellow", "timeout": "yellow", "interrupted": "yellow", "fault": "red"}


@dataclass(frozen=True, slots=True)
class Latency:
    """How long something took, over `n` times."""

    p50_ms: float
    p99_ms: float
    n: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended and what only its end knows."""

    result: str  # reached, not_found, timeout, fault or interrupted
    why: str
    simulated: bool
    engine: str
    words: str = ""  # what the engine said, for goals that end with words
    record: Path | None = None
    notice: str = ""  # of the recorder
    status: Status | None = None  # the guard's last
    counts: Mapping[str, int] = field(default_factory=dict)  # what the worker counted, as in `ticks.jsonl`
    signal: int = 0  # that interrupted the run


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in figures. Latencies are None, and missing in `stages`, where nothing was measured."""

    result: str
    goal: str
    target: str | None
    time_s: float
    path_m: float
    see_p50_ms: float | None  # exposure to look
    see_p99_ms: float | None
    steer_late_fraction: float
    simulated: bool
    record: str | None
    why: str
    words: str
    engine: str
    ticks: int
    looks: int
    stages: dict[str, Latency]
    frames_dropped: int  # unread, because a newer one came, or refused
    camera_silences: int
    counts: dict[str, int]  # of the worker: frames by why they were dropped, silences, overwritten answers
    clamps: int
    rejected: dict[str, int]  # replies not acted upon, by reason
    stops: dict[str, int]  # onsets, by reason
    guard: dict[str, int]  # the guard's own counters
    fault: str = ""
    notice: str = ""
    signal: int = 0

    def __post_init__(self) -> None:
        if self.result not in EXIT_CODES and self.result != "interrupted":
            raise ValueError(f"result {self.result!r}: want one of {', '.join((*EXIT_CODES, 'interrupted'))}")
        if (self.result == "interrupted") is not (self.signal > 0):
            raise ValueError(f"result {self.result!r} with signal {self.signal}: a signal interrupts, and nothing else does")

    @property
    def exit_code(self) -> int:
        """0 reached, 1 not reached, 3 stopped by a fault, 130 and 143 interrupted."""
        return EXIT_CODES[self.result] if self.result in EXIT_CODES else 128 + self.signal

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))


def unmeasured(result: str, why: str, known: Mapping[str, object]) -> dict[str, object]:
    """A summary of a run that came to nothing: what is known, and null for all that was never measured."""
    return {item.name: None for item in fields(Summary)} | dict(known) | {"result": result, "why": why}


class Totals:
    """What a run adds up to so far. Ticks may come from one thread and looks from another."""

    def __init__(self, period_ns: int = 1_000_000_000 // 30) -> None:
        """`period_ns` is STEER's: a tick that begins more than half of it after its time is late."""
        self.path_m = 0.0
        self.late = 0
        self.skipped = 0  # ticks whose whole period had passed before the one before them was done
        self.rejections = 0
        self.rejected: Counter[str] = Counter()
        self.stops: Counter[str] = Counter()
        self._period_ns = period_ns
        self._first_ns = self._last_ns = 0
        self._pose: Pose | None = None
        self._stopped: set[str] = set()
        self._took_ns = {stage: array("q") for stage in STAGE_WORDS}

    def tick(self, tick: Tick, spent_ns: int | None = None) -> None:
        """Count one STEER tick; `spent_ns` is what it took to compute."""
        pose, self._last_ns = tick.inputs.pose, tick.inputs.now_ns
        if not self.ticks:
            self._first_ns = self._last_ns
        self._took_ns["late"].append(tick.late_ns)
        self.late += tick.late_ns > self._period_ns // 2
        self.skipped += max(0, tick.late_ns) // self._period_ns
        if spent_ns is not None:
            self._took_ns["steer"].append(spent_ns)
        if pose is not None and self._pose is not None:
            self.path_m += math.hypot(pose.x_m - self._pose.x_m, pose.y_m - self._pose.y_m)
        self._pose = pose or self._pose
        stopped = _stop_reasons(tick)
        self.stops.update(stopped - self._stopped)
        self._stopped = stopped

    def frame(self, age_ns: int) -> None:
        """Count a frame whose stamp can be believed: how old it was when SEE took it."""
        self._took_ns["frame_age"].append(age_ns)

    def noted(self, took_ns: int) -> None:
        """What counting, recording and showing a tick took, after the base was told."""
        self._took_ns["note"].append(took_ns)

    def look(self, look: Look, stages: Stages = UNMEASURED) -> None:
        """Count one look, and its stages where somebody measured them."""
        self._took_ns["see"].append(look.t_ready_ns - look.t_capture_ns + stages.parse_ns)
        if stages != UNMEASURED:
            for stage in ("camera", "engine", "parse"):
                self._took_ns[stage].append(getattr(stages, f"{stage}_ns"))
        reason = look.rejected.split(", got")[0][:120]
        if look.box is not None and look.sighting is None:
            reason = f"confidence below {CONFIDENCE_FLOOR}"
        if reason:
            self.rejections += 1
            self.rejected[reason if reason in self.rejected or len(self.rejected) < MAX_REASONS else "other"] += 1

    @property
    def counts(self) -> dict[str, int]:
        """The running totals that belong into every tick's record."""
        return {"ticks_late": self.late, "ticks_skipped": self.skipped, "replies_rejected": self.rejections}

    @property
    def ticks(self) -> int:
        return len(self._took_ns["late"])

    @property
    def looks(self) -> int:
        return len(self._took_ns["see"])

    @property
    def time_s(self) -> float:
        """From the first tick to the newest."""
        return (self._last_ns - self._first_ns) * 1e-9

    @property
    def late_fraction(self) -> float:
        """Of the ticks there should have been; one that never came was late too."""
        return (self.late + self.skipped) / max(1, self.ticks + self.skipped)

    def latencies(self) -> dict[str, Latency]:
        """Of every stage that was measured."""
        return {stage: _latency(took) for stage, took in self._took_ns.items() if took}


def summarise(plan: Plan, totals: Totals, ending: Ending) -> Summary:
    """The run in figures. Raises ValueError for a result that is none."""
    stages, guard = totals.latencies(), ending.status.tally if ending.status else {}
    fault = ending.status.fault if ending.status else FaultCode.NONE
    see, counts = stages.get("see"), dict(ending.counts)
    return Summary(
        result=ending.result, goal=plan.goal.value, target=plan.target, time_s=round(totals.time_s, 3), path_m=round(totals.path_m, 3),
        see_p50_ms=see.p50_ms if see else None, see_p99_ms=see.p99_ms if see else None,
        steer_late_fraction=round(totals.late_fraction, 5), simulated=ending.simulated,
        record=str(ending.record) if ending.record else None, why=ending.why, words=ending.words, engine=ending.engine,
        ticks=totals.ticks, looks=totals.looks, stages=stages,
        frames_dropped=sum(n for name, n in counts.items() if name.startswith("frame")), camera_silences=counts.get("camera_silent", 0),
        counts=counts, clamps=guard.get("clamps", 0), rejected=dict(totals.rejected), stops=dict(totals.stops), guard=guard,
        fault=fault.name.lower() if fault is not FaultCode.NONE else "", notice=ending.notice, signal=ending.signal,
    )  # fmt: skip


def save(summary: Summary, folder: Path) -> str:
    """Write `summary.json`; "" or, on a disk that does not take it, why not. A robot has stopped by then and nothing else fails."""
    try:
        (folder / "summary.json").write_text(summary.to_json() + "\n", "utf-8")
    except OSError as err:
        return f"no summary.json in {folder}: {err.strerror}"
    return ""


def _stop_reasons(tick: Tick) -> set[str]:
    """Why the robot is being kept from moving in this tick, in words; waiting before it is armed is no stop."""
    said = tick.action.description
    reasons = {words for start, words in REFUSALS.items() if said.startswith(start)}
    if said.startswith("waiting for") and tick.inputs.armed:
        reasons.add(said)
    if tick.inputs.held:
        reasons.add("motion budget used up")
    if tick.guard == GuardState.SOFT_STOP.name:
        reasons.add(SOFT_STOPS.get(tick.cause, tick.cause.lower()))
    if tick.guard in {state.name for state in LATCHED}:
        reasons.add("fault")
    return reasons


def _latency(took_ns: Sequence[int]) -> Latency:
    """Nearest rank: with few of them p99 is the longest."""
    ordered = sorted(took_ns)
    p50, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.99))
    return Latency(round(p50 * 1e-6, 3), round(p99 * 1e-6, 3), len(ordered))


# -- for people


def render(summary: Summary) -> RenderableType:
    """The end of a run as a person wants to read it."""
    head = Text("SIMULATED  ", style="bold magenta") if summary.simulated else Text()
    head.append(summary.result.replace("_", " "), style=f"bold {COLOURS[summary.result]}")
    head.append(f"  {summary.why}" if summary.why else "")
    return Group(head, "", _facts(summary), "", _stages(summary))


def _facts(summary: Summary) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    for name, value in _rows(summary):
        if value:
            table.add_row(name, Text(value))
    return table


def _rows(summary: Summary) -> list[tuple[str, str]]:
    goal = f"{summary.goal} {summary.target or ''}".strip()
    return [
        ("goal", f"{goal}, engine {summary.engine}"),
        ("said", summary.words),
        ("time", f"{summary.time_s:.1f} s, path {summary.path_m:.2f} m"),
        ("looks", f"{summary.looks}, {summary.frames_dropped} frames dropped{_counted_apart(summary.counts)}"),
        ("ticks", f"{summary.ticks}, {summary.steer_late_fraction:.1%} late"),
        ("replies refused", _counted(summary.rejected)),
        ("clamps", str(summary.clamps) if summary.clamps else ""),
        ("stops", _counted(summary.stops)),
        ("fault", summary.fault),
        ("recording", summary.record or ""),
        ("", summary.notice),
    ]


def _counted(reasons: dict[str, int]) -> str:
    return "\n".join(f"{count} × {reason}" for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1]))


def _counted_apart(counts: dict[str, int]) -> str:
    """Those that a newer frame replaced are what a slow engine costs; the others are worth a word each."""
    words = [f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if name != "frames_unread" and n]
    return f" ({', '.join(words)})" if words else ""


def _stages(summary: Summary) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("stage", "p50 ms", "p99 ms", "n"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage, words in STAGE_WORDS.items():
        if stage in summary.stages:
            took = summary.stages[stage]
            table.add_row(words, f"{took.p50_ms:.1f}", f"{took.p99_ms:.1f}", str(took.n))
    return table
