"""Pictures that differ, runs that were recorded, a set of them, and the tiny bundle to run over it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edge_vla.behaviours.state import Inputs, Phase, Plan
from edge_vla.drive import Tick
from edge_vla.geometry import CameraPose
from edge_vla.goals import Goal
from edge_vla.pilot import understand
from edge_vla.record import Recorder
from edge_vla.types import ActionType, Frame, Pose, Reply, RobotAction
from tests.bundles import copied

if TYPE_CHECKING:
    from calib.picture_set import PictureSet

RED, BLUE, GREY = (255, 0, 0), (0, 0, 255), (127, 127, 127)  # what the tiny engine takes for a cup, a ball, nothing


class WithoutTools(pytest.Module):
    def collect(self) -> list[pytest.Item]:
        pytest.skip("torch or onnx is not installed: make setup-learn", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return None if find_spec("onnx") else WithoutTools.from_parent(parent, path=module_path)


@pytest.fixture(scope="session")
def tiny(checkout: Path) -> Path:
    """Its rules are told in tests/golden/make_tiny_bundle.py, which writes it."""
    return checkout / "tests" / "golden" / "tiny_bundle"


@pytest.fixture
def paint() -> Callable[..., np.ndarray]:
    """paint(level): a 64 x 32 picture (RGB) whose light says which one it is."""
    return lambda level, colour=(1, 1, 1): np.full((32, 64, 3), np.array(colour) * level, np.uint8)


@pytest.fixture
def make_images(tmp_path: Path, paint) -> Callable[..., Path]:
    """make_images("name", levels): a folder of PNGs, frame0.png on, one of each level."""

    def make(name: str, levels: Sequence[int]) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for k, level in enumerate(levels):
            cv2.imwrite(str(folder / f"frame{k}.png"), paint(level))
        return folder

    return make


@pytest.fixture
def make_run(tmp_path: Path, paint) -> Callable[..., Path]:
    """make_run("name", levels, target="cup", seed=None): what a run writes, a look at each level's picture; `seed` is the room's."""

    def make(name: str, levels: Sequence[int], target: str = "cup", seed: object = None) -> Path:
        folder, plan = tmp_path / name, Plan(Goal.FIND_OBJECT, target, CameraPose(math.radians(70), 4 / 3, 0.25, 0.17, 0.08))
        folder.mkdir()
        with Recorder(folder, plan, profile={}, engine={"name": "scripted"}, simulated=True) as recorder:
            for k, level in enumerate(levels):
                t_ns = (k + 1) * 100_000_000
                frame, reply = Frame(paint(level), t_ns, 3 * k), Reply("", 0.9)
                look = understand(reply, frame, Pose(t_ns, 0.0, 0.0, 0.0), plan, (t_ns + 50_000_000, 80_000_000))
                recorder.look(frame, reply, look, 80_000_000)
                inputs = Inputs(t_ns, look.pose, look, armed=True, held=False)
                recorder.tick(Tick(inputs, Phase.SEARCH, RobotAction(ActionType.TURN), "MOVING", "NONE", 0.0, 0.0, 0))
        if seed is not None:
            (folder / "truth.json").write_text(json.dumps({"seed": seed}))
        return folder

    return make


@pytest.fixture
def make_set(tmp_path: Path, paint) -> Callable[..., PictureSet]:
    """make_set([(colour, [prompt, ...]), ...]): a set of plain pictures in these colours."""
    from calib.choice import Picture
    from calib.picture_set import PictureSet, write_set
    from calib.sources import Candidate

    def make(items: Sequence[tuple[tuple[int, int, int], list[str]]], name: str = "set") -> PictureSet:
        pictures = []
        for k, (colour, _) in enumerate(items):
            data = cv2.imencode(".png", paint(1, colour)[..., ::-1])[1].tobytes()
            pictures.append(Picture(Candidate(Path(f"{k}.png"), f"drawn/{k}.png"), data, hashlib.sha256(data).hexdigest()))
        write_set(tmp_path / name, pictures, [prompts for _, prompts in items], {"seed": 0, "seen": len(items), "repeated": 0})
        return PictureSet(tmp_path / name)

    return make


@pytest.fixture
def small_set(make_set) -> PictureSet:
    """A cup, a ball and nothing, asked for in boxes and in sentences."""
    return make_set([(RED, ["detect cup", "drive"]), (BLUE, ["is there a ball?", "describe"]), (GREY, ["detect ball"])])


@pytest.fixture
def copy_bundle(tiny: Path, tmp_path: Path) -> Callable[..., Path]:
    """copy_bundle(edit, {"lm_step.onnx": bytes}): a copy of the tiny bundle, files replaced and signed, then `edit(manifest)`."""

    def make(edit: Callable[[dict], object] = lambda _: None, files: dict[str, bytes] | None = None) -> Path:
        return copied(tiny, tmp_path / "bundle", edit, files or {})

    return make
