"""An engine, opened and proven before anything else is started: found, whole, allowed on this robot, able to answer what will be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_vla import places
from edge_vla.errors import ConfigError, EngineError
from edge_vla.goals import require_known
from edge_vla.parts import ORACLE, make_engine
from edge_vla.types import Engine, Frame, acting

if TYPE_CHECKING:
    from edge_vla.config import RobotProfile
    from edge_vla.sim.view import Truth

CPU = "pip install 'edge_vla[cpu]' (NVIDIA: 'edge_vla[gpu]')"
INSTALL = {  # a module that is missing to what brings it
    "tensorrt": "it comes with JetPack: sudo apt-get install -y python3-libnvinfer; a virtual environment needs --system-site-packages",
    "cuda": "pip install 'edge_vla[jetson]'",
}
# What a broken file, or one that is not what its manifest says, makes the libraries raise that read it.
BROKEN = (EngineError, LookupError, ValueError, TypeError, OSError)


def find_engine(name: str) -> str:
    """Where the bundle of that name is: here, or beside the package. Raises ConfigError saying where it was looked for."""
    if name == ORACLE:
        return name
    found = places.find(Path(name))
    if found is None:
        raise ConfigError(f"no engine {name!r}: looked for {places.told(Path(name))}; name a bundle folder with --engine, or {ORACLE!r}")
    return str(found)


def open_engine(
    name: str, profile: RobotProfile, *, truth_of: Callable[[int], Truth | None] | None = None, allow_domain: bool = False,
    allow_unverified: bool = False,
) -> Engine:  # fmt: skip
    """The engine called `name`, as `find_engine` has found it. Raises ConfigError for whatever is wrong with it."""
    try:
        return make_engine(
            name,
            threads=profile.engine.threads,
            provider=profile.engine.provider,
            domain=profile.robot.domain,
            truth_of=truth_of,
            allow_domain=allow_domain,
            allow_unverified=allow_unverified,
        )
    except BROKEN as err:
        raise ConfigError(f"engine {name!r} cannot be used: {err}") from err
    except ImportError as err:
        module = str(err.name).split(".")[0]
        raise ConfigError(f"engine {name!r} needs {module}: {INSTALL.get(module, CPU)}") from err


def prove(engine: Engine, name: str, profile: RobotProfile, prompts: Iterable[str], targets: Iterable[str] = ()) -> None:
    """Refuse an engine that knows no such thing or moves no such robot, warm up one that can be asked beforehand. Raises ConfigError."""
    if acting(engine):
        _require_layout(engine.moves, name, profile.base.kind)
    for thing in targets:
        if engine.targets is not None:
            require_known(thing, engine.targets, f"engine {name!r}")
    if not hasattr(engine, "warm_up"):  # the oracle needs a simulator to be asked
        return
    grey = Frame(np.full((profile.camera.height, profile.camera.width, 3), 127, np.uint8), 0, 0)
    try:
        engine.warm_up()
        for prompt in prompts:
            engine.ask(grey, prompt)
    except BROKEN as err:
        raise ConfigError(f"engine {name!r} cannot be used: {err}") from err


def _require_layout(moves: frozenset[str], name: str, base: str) -> None:
    """Raise ConfigError for a policy whose actions are not a wheeled base's."""
    if not moves:
        raise ConfigError(
            f"engine {name!r} is a policy with an arm's layout: none of its dimensions is linear_x or angular_z; base {base!r} has wheels"
        )
    if "linear_y" in moves:
        raise ConfigError(
            f"engine {name!r} is a policy that drives {', '.join(sorted(moves))}: base {base!r} is differential and cannot move sideways"
        )
