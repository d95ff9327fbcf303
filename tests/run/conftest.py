"""A real run in lockstep with true boxes, recorded once for everybody, and small hand-made runs whose every value is known."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge_vla import places
from edge_vla.behaviours.state import Inputs, Phase, Plan
from edge_vla.config import BaseProfile
from edge_vla.drive import Tick
from edge_vla.geometry import CameraPose
from edge_vla.goals import Goal
from edge_vla.pilot import understand
from edge_vla.record import Recorder
from edge_vla.types import ActionType, Frame, Look, Pose, Reply, RobotAction

CAMERA = CameraPose(math.radians(70), 4 / 3, 0.25, math.radians(10), 0.08)
CUP = "<loc0256><loc0256><loc0512><loc0512> cup"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run in an empty folder, where there is no launch/robot.toml, nor beside the package: these tests must never move a robot."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "HOME", tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)


@dataclass(frozen=True)
class Recorded:
    """What a run said while it was recorded."""

    folder: Path
    ticks: tuple[Tick, ...]
    outcome: str
    frames: dict[int, Frame]
    notice: str
    dropped: int


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """find_object in a simulated room, to its end: a search, an approach, an arrival. Others must not change the folder."""
    from edge_vla.guard.limits import Limits
    from edge_vla.parts import make_base, make_engine
    from edge_vla.sim.lockstep import Lockstep
    from edge_vla.sim.rooms import make_room
    from edge_vla.sim.world import World

    folder, plan, frames = tmp_path_factory.mktemp("runs") / "run", Plan(Goal.FIND_OBJECT, "cone", CAMERA), {}
    run = Lockstep(
        World(make_room(5001, require=("cone",))), plan, make_base(BaseProfile()),
        lambda run: make_engine("oracle", threads=1, domain="sim", truth_of=run.truth_of), Limits(max_linear_mps=0.35),
    )  # fmt: skip
    with Recorder(folder, plan, profile={"robot": {"domain": "sim"}}, engine={"name": "oracle"}, simulated=True) as recorder:

        def keep(frame: Frame, look: Look) -> None:
            frames[frame.seq] = frame
            recorder.look(frame, Reply(look.text, look.confidence, look.free_distance_m, 0.2), look, run.seeing.p99_ns)

        run.keep = keep
        outcome = run.run(60.0)
        for tick in run.ticks:
            recorder.tick(tick)
    run.close()
    return Recorded(folder, tuple(run.ticks), outcome, frames, recorder.notice, recorder.dropped)


@pytest.fixture
def plan() -> Plan:
    return Plan(Goal.FIND_OBJECT, "cup", CAMERA)


@pytest.fixture
def make_recorder(plan: Plan, tmp_path: Path) -> Callable[..., Recorder]:
    """A recorder of a run that asks for a cup, by default into tmp_path / "run"."""

    def make(folder: Path | None = None) -> Recorder:
        return Recorder(
            folder or tmp_path / "run",
            plan,
            profile={"robot": {"name": "test"}},
            engine={"name": "scripted", "manifest": "ab12"},
            simulated=True,
        )

    return make


@pytest.fixture
def make_look(plan: Plan) -> Callable[..., tuple[Frame, Reply, Look]]:
    """A grey frame taken at `t_ns`, what was replied 0.2 s later, and the look that makes, with an engine p99 of 0.3 s."""

    def make(seq: int, t_ns: int, reply: Reply | None = None, pose: Pose | None = None) -> tuple[Frame, Reply, Look]:
        frame = Frame(np.full((240, 320, 3), 90, np.uint8), t_ns, seq)
        said = reply or Reply(CUP, 0.9, (0.2, 0.7, 2.0, 4.0), 0.15)
        return frame, said, understand(said, frame, pose or Pose(t_ns, 0.0, 0.0, 0.0), plan, (t_ns + 200_000_000, 300_000_000))

    return make


@pytest.fixture
def make_tick() -> Callable[..., Tick]:
    """An armed tick in the middle of an approach; what a test cares about is given by name."""

    def make(now_ns: int, look: Look | None = None, pose: Pose | None = None, **other: object) -> Tick:
        action = other.pop("action", None) or RobotAction(ActionType.NAVIGATE, 0.25, 0.0, 0.5, "cup", 1.0, "approaching", 0.6, 0.3)
        inputs = Inputs(now_ns, pose, look, armed=bool(other.pop("armed", True)), held=bool(other.pop("held", False)))
        values = {"guard": "MOVING", "cause": "NONE", "applied_linear_x": 0.25, "applied_angular_z": 0.5, "late_ns": 0}
        return Tick(inputs, Phase.APPROACH, action, **{**values, **other})

    return make


@pytest.fixture
def lines() -> Callable[[Path], Iterable[dict]]:
    """The records of a .jsonl file."""
    import json

    return lambda path: [json.loads(line) for line in path.read_text().splitlines()]
