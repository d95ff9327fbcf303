"""What the simulator knows, in a form that crosses processes. No MuJoCo here: the worker must not pay for it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass

from edge_vla.types import Box


@dataclass(frozen=True, slots=True)
class Truth:
    """True boxes, most visible first, and true free distances of one frame."""

    boxes: tuple[Box, ...]
    free_distance_m: tuple[float, ...]

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @staticmethod
    def from_json(data: bytes | bytearray) -> Truth:
        values = json.loads(data)
        return Truth(tuple(Box(**box) for box in values["boxes"]), tuple(values["free_distance_m"]))


@dataclass(frozen=True, slots=True)
class ThingTruth:
    """Where a named thing is, as the robot's judge sees it."""

    name: str
    x_m: float
    y_m: float
    distance_m: float  # from the robot's centre to the nearest surface
    facing_rad: float  # from the robot's heading to the nearest edge of the thing's outline; 0 when it looks straight at it


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The world at one moment: the verdict on a run is read off this, never off what the pilot believes."""

    t_ns: int  # simulated time on the host's monotonic clock
    x_m: float
    y_m: float
    yaw_rad: float
    path_m: float  # driven so far
    contacts: int
    peak_n: float  # of the hardest contact
    touched: tuple[str, ...]
    things: tuple[ThingTruth, ...]

    def nearest(self, name: str) -> ThingTruth | None:
        """The thing called `name` that is nearest to the robot, None when the room has none."""
        return min((thing for thing in self.things if thing.name == name), key=lambda thing: thing.distance_m, default=None)

    def found(self, name: str, within_m: float = 0.6, facing_rad: float = math.radians(20)) -> bool:
        """The robot stands in front of a thing of that name."""
        return any(t.distance_m <= within_m and t.facing_rad <= facing_rad for t in self.things if t.name == name)

    @staticmethod
    def from_dict(values: dict[str, object]) -> GroundTruth:
        """What `dataclasses.asdict` and JSON have made of one."""
        fields: dict[str, object] = {**values}
        fields["touched"] = tuple(values["touched"])  # type: ignore[arg-type]
        fields["things"] = tuple(ThingTruth(**thing) for thing in values["things"])  # type: ignore[attr-defined]
        return GroundTruth(**fields)  # type: ignore[arg-type]
