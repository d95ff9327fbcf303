"""The cameras this package can read, by name. A new camera is one file and one line here; tests/cameras/ then tests it by itself."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module

from edge_vla.errors import ConfigError
from edge_vla.types import Camera

CAMERAS: dict[str, str] = {"simulator": "edge_vla.cameras.simulator:SimulatorCamera"}  # imported when it is asked for


def make_camera(name: str, options: Mapping[str, object] | None = None) -> Camera:
    """The camera called `name`, open. Raises ConfigError for an unknown name or option, CameraError when it cannot be opened."""
    if name not in CAMERAS:
        near = difflib.get_close_matches(name, CAMERAS, n=1, cutoff=0.0)[0]
        raise ConfigError(f"camera {name!r} is unknown; did you mean {near!r}? There are: {', '.join(CAMERAS)}")
    module, _, kind = CAMERAS[name].partition(":")
    make = getattr(import_module(module), kind)
    try:
        camera: Camera = make(**dict(options or {}))
    except TypeError as err:
        raise ConfigError(f"camera {name!r}: {err}") from err
    return camera
