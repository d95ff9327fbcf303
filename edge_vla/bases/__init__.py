"""The bases this package can drive, by name. A new base is one file and one line here; tests/bases/ then tests it by itself."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping

from edge_vla.bases.create2 import Create2
from edge_vla.bases.ev1 import EV1
from edge_vla.bases.kobuki import Kobuki
from edge_vla.bases.roboclaw import RoboClaw
from edge_vla.bases.ros_arduino import RosArduino
from edge_vla.bases.rosmaster import Rosmaster
from edge_vla.bases.waveshare import WaveshareUGV
from edge_vla.errors import ConfigError
from edge_vla.guard.types import Base

BASES: dict[str, Callable[..., Base]] = {
    "waveshare": WaveshareUGV,
    "ros_arduino": RosArduino,
    "rosmaster": Rosmaster,
    "kobuki": Kobuki,
    "create2": Create2,
    "roboclaw": RoboClaw,
    "ev1": EV1,
}


def make_base(name: str, options: Mapping[str, object] | None = None) -> Base:
    """The base called `name`. Raises ConfigError for an unknown name or option, naming the nearest."""
    if name not in BASES:
        raise ConfigError(f"base {name!r} is unknown; did you mean {_nearest(name, BASES)!r}? There are: {', '.join(BASES)}")
    kind = BASES[name]
    known = list(inspect.signature(kind).parameters)
    for option in options or {}:
        if option not in known:
            said = f"base {name!r}: option {option!r} is unknown; did you mean {_nearest(option, known)!r}?"
            raise ConfigError(f"{said} There are: {', '.join(known)}")
    return kind(**dict(options or {}))


def _nearest(word: str, known: Iterable[str]) -> str:
    return difflib.get_close_matches(word, list(known), n=1, cutoff=0.0)[0]
