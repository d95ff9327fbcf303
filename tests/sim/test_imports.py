"""The worker talks to the simulator without MuJoCo, and nobody sees a warning from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIGHT = (
    "edge_vla.sim.process", "edge_vla.sim.oracle", "edge_vla.sim.view", "edge_vla.sim.settings", "edge_vla.sim.frames",
    "edge_vla.cameras.simulator", "edge_vla.cameras.rules",
)  # fmt: skip
RENDER = """
from edge_vla.sim.eye import Eye
from edge_vla.sim.live import Live
from edge_vla.sim.rooms import make_room
from edge_vla.sim.world import World
world = World(make_room(3))
eye = Eye(world.model, 64, 48)
eye.rgb(world.data)
eye.close()
"""


def python(*arguments: str, checkout: Path) -> str:
    """What a fresh interpreter without our environment's help says, on both streams."""
    bare = {name: value for name, value in os.environ.items() if name not in {"MUJOCO_GL", "PYTHONWARNINGS", "DISPLAY"}}
    result = subprocess.run([sys.executable, *arguments], cwd=checkout, env=bare, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def test_the_workers_side_never_imports_mujoco(checkout: Path) -> None:
    script = f"import sys; import {', '.join(LIGHT)}; print({{name.split('.')[0] for name in sys.modules}} & {{'mujoco', 'OpenGL'}})"
    assert python("-c", script, checkout=checkout).strip() == "set()"


@pytest.mark.parametrize("options", [(), ("-W", "error")], ids=["quiet", "warnings are errors"])
def test_rendering_says_nothing(checkout: Path, options: tuple[str, ...]) -> None:
    assert python(*options, "-c", RENDER, checkout=checkout) == ""
