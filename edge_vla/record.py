"""A run on disk, exact enough to be replayed: a folder with `run.json`, `ticks.jsonl`, `looks.jsonl` and `frames/*.jpg`.

Writes on a thread of its own; nothing here makes its caller wait or fail. A recording is a prefix of its run: when the disk
fails or falls behind, recording ends there with one notice, so what there is has no holes.
"""

from __future__ import annotations

import json
import platform
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Any, BinaryIO

import cv2
import numpy as np

from edge_vla import __version__
from edge_vla.behaviours.state import Phase, Plan
from edge_vla.drive import Tick
from edge_vla.errors import ConfigError
from edge_vla.goals import Goal
from edge_vla.pilot import prompt_of
from edge_vla.types import Box, Frame, Look, Pose, Reply, RobotAction, Sighting

SCHEMA = 1  # of run.json and both .jsonl files
MAX_ITEMS = 1024  # waiting to be written: ticks of half a minute
MAX_BYTES = 64 << 20  # of the images among them
CLOSE_S = 5.0  # what the end of a run waits for the disk; the robot stands by then
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 90)
NO_COUNTS: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Header:
    """`run.json`: what the run was asked and by which parts it was done."""

    schema: int
    goal: str
    target: str | None
    simulated: bool
    plan: Plan
    prompt: str
    engine: dict[str, Any]  # name, manifest hash
    profile: dict[str, Any]  # the robot's, as read from its file
    package: str = __version__
    python: str = field(default_factory=platform.python_version)
    machine: str = field(default_factory=platform.machine)  # another one's sine may differ in the last bit


@dataclass(frozen=True, slots=True)
class TickLine:
    """A line of `ticks.jsonl`: what `pilot.step` was given in one STEER tick, what it said, what the guard did."""

    tick: int  # counts from 0
    now_ns: int
    pose: Pose | None
    look: int | None  # seq of the look it rests on
    armed: bool
    held: bool
    phase: Phase
    action: RobotAction
    guard: str
    cause: str
    applied_linear_x: float
    applied_angular_z: float
    late_ns: int
    new: dict[str, int] = field(default_factory=dict)  # what has been counted since the tick before


@dataclass(frozen=True, slots=True)
class Stages:
    """Where the time of one look went."""

    camera_ns: int = 0  # exposure to question: the frame's age
    engine_ns: int = 0  # question to reply
    parse_ns: int = 0  # reply to look


UNMEASURED = Stages()


@dataclass(frozen=True, slots=True)
class LookLine:
    """A line of `looks.jsonl`: what `pilot.understand` was given about one frame, and the look it made of it."""

    seq: int  # of the frame; its image is frames/<seq, six digits>.jpg
    t_capture_ns: int
    t_ready_ns: int
    prompt: str
    reply: Reply
    pose: Pose  # at capture
    p99_ns: int  # the engine's, from which the evidence's lifetime follows
    stages: Stages
    evidence_deadline_ns: int
    box: Box | None
    sighting: Sighting | None
    rejected: str


def plain(value: Any) -> Any:
    """A record as JSON types. Floats stay themselves: `json` writes the shortest text that reads back to the same bits."""
    if is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def run_folder(root: Path, goal: Goal, target: str | None = None) -> Path:
    """Make a folder for one run, like `runs/20261122-131500-find_object-cup`. Raises ConfigError."""
    thing = "".join(c if c.isalnum() else "-" for c in target or "")[:32].strip("-")
    name = "-".join(part for part in (f"{datetime.now().astimezone():%Y%m%d-%H%M%S}", goal.value, thing) if part)
    for folder in (root / name, *(root / f"{name}-{n}" for n in range(2, 100))):
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as err:
            raise ConfigError(f"cannot record to {root}: {err.strerror}") from err
        return folder
    raise ConfigError(f"cannot record to {root}: it holds {name} to {name}-99 already")


def frame_path(folder: Path, seq: int) -> Path:
    """Where the image of a frame lies in a run folder."""
    return folder / "frames" / f"{seq:06d}.jpg"


class Recorder:
    """Records one run. Hand a look over before the first tick that rests on it; use from any thread."""

    def __init__(self, folder: Path, plan: Plan, *, profile: Mapping[str, Any], engine: Mapping[str, Any], simulated: bool) -> None:
        """Create the files. Raises ConfigError for a folder that cannot be written, or that holds a run already."""
        self.folder = folder
        self.notice = ""  # why recording ended before the run did
        self.dropped = 0  # ticks, looks and images that are not in the folder
        self._prompt = prompt_of(plan)
        self._ticks = 0
        self._counted: dict[str, int] = {}
        self._waiting: deque[TickLine | LookLine | Frame] = deque()
        self._waiting_bytes = 0
        self._changed = Condition()
        self._closing = False
        self._open = ExitStack()
        goal, target = plan.goal.value, plan.target
        self._create(Header(SCHEMA, goal, target, simulated, plan, self._prompt, dict(engine), dict(profile)))
        self._writer = Thread(target=self._write_all, name="record", daemon=True)
        self._writer.start()

    def _create(self, header: Header) -> None:
        try:
            (self.folder / "frames").mkdir(parents=True, exist_ok=True)
            with (self.folder / "run.json").open("x", encoding="utf-8") as file:
                json.dump(plain(header), file, indent=1)
            self._tick_file = self._open.enter_context((self.folder / "ticks.jsonl").open("wb"))
            self._look_file = self._open.enter_context((self.folder / "looks.jsonl").open("wb"))
        except FileExistsError as err:
            raise ConfigError(f"{self.folder} holds a run already") from err
        except OSError as err:
            self._close_files()
            raise ConfigError(f"cannot record to {self.folder}: {err.strerror}") from err

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- what the run hands over

    def tick(self, tick: Tick, counts: Mapping[str, int] = NO_COUNTS) -> None:
        """Record one STEER tick. `counts` are running totals; what is new since the tick before is written."""
        new = {name: n - self._counted.get(name, 0) for name, n in counts.items() if n != self._counted.get(name, 0)}
        self._counted = dict(counts)
        given = tick.inputs
        line = TickLine(
            self._ticks, given.now_ns, given.pose, given.look.seq if given.look else None, given.armed, given.held, tick.phase, tick.action,
            tick.guard, tick.cause, tick.applied_linear_x, tick.applied_angular_z, tick.late_ns, new,
        )  # fmt: skip
        self._ticks += 1
        self._hand_over(line)

    def look(self, frame: Frame, reply: Reply, look: Look, p99_ns: int, stages: Stages = UNMEASURED) -> None:
        """Record one look with its image. `p99_ns` is what `pilot.understand` was told."""
        line = LookLine(
            look.seq, look.t_capture_ns, look.t_ready_ns, self._prompt, reply, look.pose, p99_ns, stages, look.evidence_deadline_ns,
            look.box, look.sighting, look.rejected,
        )  # fmt: skip
        self._hand_over(line)
        self._hand_over(frame)

    def frame(self, frame: Frame) -> None:
        """Keep the image of a frame that nobody asked about. Such images are the first to be dropped."""
        with self._changed:
            crowded = len(self._waiting) > MAX_ITEMS // 2 or self._waiting_bytes > MAX_BYTES // 2
            self.dropped += crowded
        if not crowded:
            self._hand_over(frame)

    def _hand_over(self, item: TickLine | LookLine | Frame) -> None:
        size = item.rgb.nbytes if isinstance(item, Frame) else 0
        with self._changed:
            if self._closing or self.notice:
                self.dropped += 1
                return
            if len(self._waiting) >= MAX_ITEMS or self._waiting_bytes + size > MAX_BYTES:
                self.notice = f"recording ended early: the disk is {len(self._waiting)} items behind"
                self.dropped += 1
                return
            self._waiting.append(item)
            self._waiting_bytes += size
            self._changed.notify()

    def close(self) -> None:
        """Wait for the disk, at most CLOSE_S."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._writer.join(CLOSE_S)
        if self._writer.is_alive():
            self._give_up(f"the disk did not take the rest within {CLOSE_S:.0f} s")

    # -- what the thread does

    def _write_all(self) -> None:
        with suppress(IndexError):  # nothing waits and nothing will
            while True:
                item = self._next()
                try:
                    self._write(item)
                except OSError as err:
                    self._give_up(str(err.strerror), lost=1)
                except (cv2.error, TypeError, ValueError) as err:  # an image that is none, a value JSON has no word for
                    self._give_up(str(err).strip(), lost=1)
        self._close_files()

    def _next(self) -> TickLine | LookLine | Frame:
        """Wait for the next item. Raises IndexError at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            item = self._waiting.popleft()
            self._waiting_bytes -= item.rgb.nbytes if isinstance(item, Frame) else 0
            return item

    def _write(self, item: TickLine | LookLine | Frame) -> None:
        if isinstance(item, Frame):
            _write_image(frame_path(self.folder, item.seq), item)
        else:
            _write_line(self._tick_file if isinstance(item, TickLine) else self._look_file, item)

    def _give_up(self, why: str, lost: int = 0) -> None:
        """End the recording here, once; what waits is lost with what failed."""
        with self._changed:
            self.notice = self.notice or f"recording ended early: {why}"
            self.dropped += lost + len(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0

    def _close_files(self) -> None:
        with suppress(OSError):  # what a full disk did not take is tried once more by close, in vain
            self._open.close()


def _write_line(file: BinaryIO, line: TickLine | LookLine) -> None:
    file.write(json.dumps(plain(line)).encode("ascii") + b"\n")
    file.flush()


def _write_image(path: Path, frame: Frame) -> None:
    if path.exists():
        return
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), JPEG)
    if not done:
        raise ValueError(f"frame {frame.seq} cannot be a JPEG")
    path.write_bytes(jpeg.tobytes())
