"""The report of one measurement: what is written as JSON, read again as a base, and refused when it is none."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_vla.errors import ConfigError

SCHEMA_VERSION = 1
Result = Literal["measured", "same", "slower", "changed"]
Word = Literal["slower", "faster", "same", "unclear", "new", "gone"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Range(_Strict):
    """What was seen of something during the measurement."""

    least: float
    median: float
    most: float


class Machine(_Strict):
    """The computer. Latencies of two are comparable only where `identity` is the same."""

    board: str
    jetson: str  # L4T and JetPack, or "not a Jetson"
    processor: str
    cores: int
    usable_cores: int  # that this process may run on
    memory_gib: float
    gpu: str  # of a desktop; "" where there is none, or it is part of the board

    @property
    def identity(self) -> dict[str, object]:
        """All but the memory, of which a kernel keeps now more and now less for itself."""
        return self.model_dump(exclude={"memory_gib"})


class Conditions(_Strict):
    """How the computer was run. None and "" where it does not say."""

    power_mode: str  # nvpmodel's, or "not a Jetson"
    governor: str
    clocks_locked: bool | None
    cpu_mhz: Range | None
    gpu_mhz: Range | None
    celsius: Range | None  # of the hottest zone
    power_w: Range | None  # of the board, by jetson-stats
    jetson_stats: str  # why it says nothing, such as "not a Jetson"; "" where it does
    throttled: bool | None
    throttle_events: int | None  # during the measurement
    load_before: float
    waited: float | None  # share of the time this process wanted a core that it waited for one


class EngineFacts(_Strict):
    """Which engine, run how."""

    folder: str
    name: str
    precision: str
    backend: str
    providers: list[str]
    threads: int
    sha256: dict[str, str]


class Versions(_Strict):
    """Of everything a latency can depend on."""

    edge_vla: str
    python: str
    kernel: str
    commit: str | None  # of the checkout, "-dirty" behind it where files differ from it
    packages: dict[str, str]


class Method(_Strict):
    """How it was measured."""

    stages: list[str]  # groups
    rounds: int
    blocks: int
    questions: int
    source: str
    statistic: str


class Stage(_Strict):
    """One stage. Without warm samples n is 0 and the figures are None."""

    what: str
    cold_ms: float
    warm_up: int  # samples between the cold one and the first that counts
    n: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    mean_ms: float | None
    p50_blocks_ms: list[float]
    p95_blocks_ms: list[float]
    samples_ms: list[float] = []


class AnswerLine(_Strict):
    """One fixed question and what the engine said."""

    key: str  # of pixels and prompt
    prompt: str
    text: str
    confidence: float | None
    free_distance_m: list[float] | None
    twists: list[list[float]] | None = None  # of a policy: m/s forward, m/s to the left, rad/s


class Checked(_Strict):
    """The answers held against others."""

    against: str
    tolerance: str
    answers: int
    changed: list[str]  # a line each


class Change(_Strict):
    """One gated quantile of one stage, before and now."""

    stage: str
    statistic: str
    base_ms: float | None
    new_ms: float | None
    ratio: float | None
    word: Word


class Comparison(_Strict):
    """This report held against one or more bases."""

    bases: list[str]
    max_regression: float
    changes: list[Change]
    answers: Checked
    notes: list[str]  # what else is different

    @property
    def slower(self) -> list[Change]:
        return [change for change in self.changes if change.word == "slower"]

    @property
    def unclear(self) -> list[Change]:
        return [change for change in self.changes if change.word == "unclear"]


class Report(_Strict):
    """Everything one measurement found."""

    schema_version: Literal[1]
    result: Result
    measured_at: str
    engine: EngineFacts
    machine: Machine
    conditions: Conditions
    versions: Versions
    method: Method
    stages: dict[str, Stage]
    guard_ticks: str  # what the guard says its ticks cost, "" where it was not measured
    answers: list[AnswerLine]
    unsteady: int  # answers that differed from the first to the same question
    reference: Checked | None  # against the answers at export, where those questions were asked
    comparison: Comparison | None = None
    path: str = Field(default="", exclude=True)

    @property
    def changed(self) -> list[str]:
        """Every answer that is another one, in words."""
        checks = [self.reference, self.comparison.answers if self.comparison else None]
        return [f"{check.against}: {line}" for check in checks if check for line in check.changed]

    @property
    def exit_code(self) -> int:
        return 1 if self.result in ("slower", "changed") else 0


def read_report(path: Path) -> Report:
    """A report that was saved. Raises ConfigError for a file that is none, or of another version."""
    try:
        data = path.read_bytes()
    except OSError as err:
        raise ConfigError(f"report {path}: {err.strerror}") from err
    try:
        return Report.model_validate_json(data).model_copy(update={"path": str(path)})
    except ValidationError as err:
        first = next((e for e in err.errors() if e["loc"] == ("schema_version",)), err.errors()[0])
        where = ".".join(map(str, first["loc"])) or "file"
        raise ConfigError(
            f"report {path}: {where}: {first['msg']}, got {str(first['input'])[:80]!r}; want a report of "
            f"`python -m edge_vla.bench --out` with schema_version {SCHEMA_VERSION}"
        ) from err
