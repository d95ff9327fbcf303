"""What a simulator process is told at its start, as one line of JSON. Validated on both sides; no MuJoCo here."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from enum import Enum
from typing import Any

from edge_vla.errors import ConfigError
from edge_vla.sim.objects import CLASSES

MAX_WIDTH, MAX_HEIGHT = 640, 480  # the offscreen buffer every room is compiled with
_RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, (1 << 31) - 1),
    "width": (64, MAX_WIDTH),
    "height": (48, MAX_HEIGHT),
    "fps": (1, 60),
    "hfov_deg": (20.0, 150.0),
    "height_m": (0.02, 2.0),
    "pitch_deg": (-30.0, 60.0),
    "forward_m": (-1.0, 1.0),
    "baud": (9600, 2_000_000),
}


class Fault(Enum):
    """How a simulated camera can break."""

    FROZEN = "frozen"  # the same picture with new stamps and numbers
    SILENT = "silent"  # no frames
    BLACK = "black"  # a covered lens: read noise alone


@dataclass(frozen=True, slots=True)
class SimSettings:
    """One simulated robot in one room. `follow` makes the first required thing walk; `truth` sends true boxes along."""

    folder: str  # of the run: wheels.jsonl, truth.json and simulator.log go there
    seed: int = 0
    require: tuple[str, ...] = ()  # classes that stand in the room
    exclude: tuple[str, ...] = ()  # classes that do not
    width: int = 320
    height: int = 240
    fps: int = 15
    hfov_deg: float = 70.0
    height_m: float = 0.25
    pitch_deg: float = 10.0  # down positive
    forward_m: float = 0.08
    baud: int = 115200
    base: str = "waveshare"
    base_options: dict[str, float | int | str] = field(default_factory=dict)  # of the codec: geometry and counters
    truth: bool = False
    follow: bool = False
    shadows: bool = True
    faults: dict[str, float] = field(default_factory=dict)  # Fault value -> seconds after the first frame

    def __post_init__(self) -> None:
        for name, kind in (("folder", str), ("truth", bool), ("follow", bool), ("shadows", bool)):
            if not isinstance(getattr(self, name), kind) or getattr(self, name) == "":
                raise ConfigError(f"simulator {name}={getattr(self, name)!r}: want {kind.__name__}")
        for name, (low, high) in _RANGES.items():
            value, kinds = getattr(self, name), (int,) if isinstance(low, int) else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
                raise ConfigError(f"simulator {name}={value!r}: want {kinds[-1].__name__} in {low}..{high}")
        for name in (*self.require, *self.exclude):
            _check(name, CLASSES, "class")
        if both := set(self.require) & set(self.exclude):
            raise ConfigError(f"simulator require and exclude both name {', '.join(sorted(both))}")
        if self.follow and not self.require:
            raise ConfigError("simulator follow=True: want the class that moves first in require")
        for name, after_s in self.faults.items():
            _check(name, tuple(fault.value for fault in Fault), "fault")
            if not (math.isfinite(after_s) and after_s >= 0):
                raise ConfigError(f"simulator fault {name} after {after_s} s: want a finite time >= 0")

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(line: str) -> SimSettings:
        """Every key must be known. Raises ConfigError, naming the nearest key for an unknown one."""
        try:
            values = json.loads(line)
        except ValueError as err:
            raise ConfigError(f"simulator settings are no JSON: {err}") from err
        if not isinstance(values, dict) or "folder" not in values:
            raise ConfigError(f"simulator settings: want an object with a folder, got {line.strip()[:80]!r}")
        known = tuple(item.name for item in fields(SimSettings))
        checked: dict[str, Any] = {}
        for key, value in values.items():
            _check(key, known, "key")
            checked[key] = tuple(value) if key in {"require", "exclude"} else value
        return SimSettings(**checked)


def _check(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        near = get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ConfigError(f"simulator: unknown {what} {name!r}; did you mean {near!r}? There are: {', '.join(known)}")
