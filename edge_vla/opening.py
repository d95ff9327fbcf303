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
from edge_vla.types import Engine, Frame

if TYPE_CHECKING:
    from edge_vla.config import RobotProfile
    from edge_vla.sim.view import Truth

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
    name: str, profile: RobotProfile, *, truth_of: Callable[[int], Truth | None] | None = None, allow_domain: bool = False
) -> Engine:
    """The engine called `name`, as `find_engine` has found it. Raises ConfigError for whatever is wrong with it."""
    try:
        return make_engine(name, threads=profile.engine.threads, domain=profile.robot.domain, truth_of=truth_of, allow_domain=allow_domain)
    except BROKEN as err:
        raise ConfigError(f"engine {name!r} cannot be used: {err}") from err
    except ImportError as err:
        raise ConfigError(f"engine {name!r} needs {err.name}: pip install 'edge_vla[cpu]' (NVIDIA: 'edge_vla[gpu]')") from err


def prove(engine: Engine, name: str, profile: RobotProfile, prompts: Iterable[str], targets: Iterable[str] = ()) -> None:
    """Refuse an engine that knows no such thing, and warm up one that can be asked beforehand. Raises ConfigError."""
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
