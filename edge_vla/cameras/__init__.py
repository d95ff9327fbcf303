"""The cameras this package can read, by name. A new camera is one file and one line here; tests/cameras/ then tests it by itself."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_args

from edge_vla.errors import ConfigError
from edge_vla.types import Camera

if TYPE_CHECKING:
    from edge_vla.cameras.wanted import Wanted

CAMERAS: dict[str, str] = {  # imported when it is asked for
    "simulator": "edge_vla.cameras.simulator:SimulatorCamera",
    "v4l2": "edge_vla.cameras.v4l2:V4L2Camera",
    "csi": "edge_vla.cameras.csi:CSICamera",
    "gstreamer": "edge_vla.cameras.gstreamer:GStreamerCamera",
    "rtsp": "edge_vla.cameras.stream:StreamCamera",
    "http": "edge_vla.cameras.stream:StreamCamera",
    "video": "edge_vla.cameras.video:VideoCamera",
    "images": "edge_vla.cameras.images:ImagesCamera",
}
WANTED = "wanted"  # the parameter that is no option: what the profile says of every camera


def make_camera(name: str, options: Mapping[str, object] | None = None, wanted: Wanted | None = None) -> Camera:
    """The camera called `name`, open. Raises ConfigError for an unknown name or option, CameraError when it cannot be opened."""
    kind, given = kind_of(name), dict(options or {})
    check_options(name, given)
    if WANTED in inspect.signature(kind).parameters:
        given[WANTED] = wanted
    camera: Camera = kind(**given)
    return camera


def kind_of(name: str) -> Callable[..., Any]:
    """The class of the camera called `name`. Raises ConfigError that names the nearest."""
    if name not in CAMERAS:
        raise ConfigError(f"camera {name!r} is unknown; did you mean {_nearest(name, CAMERAS)!r}? There are: {', '.join(CAMERAS)}")
    module, _, kind = CAMERAS[name].partition(":")
    found: Callable[..., Any] = getattr(import_module(module), kind)
    return found


def check_options(name: str, options: Mapping[str, object]) -> None:
    """Raises ConfigError for an option the camera does not know, one of another type, and one that is missing."""
    known = {key: entry for key, entry in inspect.signature(kind_of(name), eval_str=True).parameters.items() if key != WANTED}
    for option, value in options.items():
        if option not in known:
            there = f"did you mean {_nearest(option, known)!r}? There are: {', '.join(known)}" if known else "it has none"
            raise ConfigError(f"camera {name!r}: option {option!r} is unknown; {there}")
        if not _fits(value, known[option].annotation):
            want = getattr(known[option].annotation, "__name__", known[option].annotation)
            raise ConfigError(f"camera {name!r}: option {option} = {value!r}: want {want}")
    for option, entry in known.items():
        if entry.default is inspect.Parameter.empty and option not in options:
            raise ConfigError(f"camera {name!r} wants the option {option!r}")


def _fits(value: object, kind: Any) -> bool:
    """As TOML has it: a whole number is a number, and neither true nor false is one."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, get_args(kind) or ((int, float) if kind is float else kind))


def _nearest(word: str, known: Iterable[str]) -> str:
    return difflib.get_close_matches(word, list(known), n=1, cutoff=0.0)[0]
