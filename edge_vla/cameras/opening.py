"""A profile's camera, open: its options and its size put together, and opened again by itself where there is a device to come back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from edge_vla.cameras import CAMERAS, check_options, make_camera
from edge_vla.cameras.reopen import Reopening
from edge_vla.cameras.wanted import Wanted
from edge_vla.errors import ConfigError

if TYPE_CHECKING:
    from edge_vla.cameras.newest import NewestCamera
    from edge_vla.config import CameraProfile
    from edge_vla.types import Camera

STAYS_GONE = ("simulator", "video", "images")  # what has ended is over, and not about to come back
OWN_KEYS = ("width", "height", "fps")


def open_camera(profile: CameraProfile, socket: Path | None) -> Camera:
    """The camera a profile names; `socket` is the simulator's. Raises ConfigError, CameraError."""
    options: dict[str, object] = dict(profile.options)
    if given := [key for key in OWN_KEYS if key in options]:
        raise ConfigError(f"[camera] options.{given[0]}: write {given[0]} into [camera] itself")
    if socket is not None:
        options["path"] = str(socket)
    wanted = Wanted(profile.width, profile.height, profile.fps)
    if profile.kind in STAYS_GONE or profile.kind not in CAMERAS:
        return make_camera(profile.kind, options, wanted)
    check_options(profile.kind, options)
    return Reopening(lambda: cast("NewestCamera", make_camera(profile.kind, options, wanted)))
