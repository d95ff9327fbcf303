"""What crosses the worker's seams, frozen: frames, replies, boxes, sightings, actions, ticks, and three Protocols."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, Protocol, TypeGuard

from edge_vla.guard.types import STILL, Base, Feedback, Pose, Twist

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "STILL", "Acting", "ActionType", "Base", "Box", "Camera", "Chunk", "Engine", "Feedback", "Frame", "Look", "Pose", "Reply",
    "RobotAction", "Sighting", "Twist", "acting",
]  # fmt: skip

DEFAULT_TURN_RAD = 1.5708  # a quarter turn: the most an action may turn before somebody looks again
DEFAULT_TRAVEL_M = 0.5  # one second at the speed ceiling of 0.5 m/s


class ActionType(Enum):
    """What an action means; the ten names of the source document."""

    MOVE = "move"
    TURN = "turn"
    STOP = "stop"
    GRAB = "grab"
    RELEASE = "release"
    POINT = "point"
    LOOK = "look"
    NAVIGATE = "navigate"
    AVOID = "avoid"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RobotAction:
    """A motion with its meaning. `linear_*` m/s, `angular_z` rad/s, confidence 0..1; budgets bound it without a clock."""

    action_type: ActionType
    linear_x: float = 0.0
    linear_y: float = 0.0
    angular_z: float = 0.0
    target_object: str | None = None
    confidence: float = 0.0
    description: str = ""
    max_turn_rad: float = DEFAULT_TURN_RAD
    max_travel_m: float = DEFAULT_TRAVEL_M

    @property
    def twist(self) -> Twist:
        """The velocities alone."""
        return Twist(self.linear_x, self.linear_y, self.angular_z)

    def to_command(self) -> dict[str, dict[str, float]]:
        """The command form of the source document: `{'linear': {'x', 'y'}, 'angular': {'z'}}`."""
        return {"linear": {"x": self.linear_x, "y": self.linear_y}, "angular": {"z": self.angular_z}}


@dataclass(frozen=True, slots=True)
class Frame:
    """A camera image with the moment it was exposed on the host's monotonic clock."""

    rgb: NDArray[np.uint8]  # (H, W, 3) uint8
    t_capture_ns: int
    seq: int


@dataclass(frozen=True, slots=True)
class Box:
    """A detection in image fractions 0..1, origin top left. `label` is the engine's own word."""

    y_min: float
    x_min: float
    y_max: float
    x_max: float
    label: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a policy wants driven: `twists` one after the other, the first from the moment of capture on."""

    twists: tuple[Twist, ...]
    period_s: float  # from one to the next
    execute: Literal["first", "chunk"] = "first"  # the first until the next look, or each in its time

    @property
    def carried(self) -> tuple[Twist, ...]:
        """Those that may be carried out."""
        return self.twists if self.execute == "chunk" else self.twists[:1]


@dataclass(frozen=True, slots=True)
class Reply:
    """An engine's answer. `confidence` is the model's own probability, None when it has none."""

    text: str
    confidence: float | None = None
    free_distance_m: tuple[float, ...] | None = None  # per image column, left to right
    latency_s: float = 0.0
    chunk: Chunk | None = None  # of a policy


@dataclass(frozen=True, slots=True)
class Sighting:
    """A target placed in the odometry frame from where the robot was when the frame was exposed."""

    x_m: float  # where it touches the floor, nearest side
    y_m: float
    range_m: float  # from the robot's centre, at capture
    bearing_rad: float  # left positive, at capture
    half_width_rad: float  # half of the angle it fills
    confidence: float


@dataclass(frozen=True, slots=True)
class Look:
    """What one frame and one reply told: the slow half of the pilot hands it to the fast half."""

    seq: int  # of the frame
    t_capture_ns: int
    t_ready_ns: int
    evidence_deadline_ns: int  # no motion may rest on this look after it
    pose: Pose  # at capture
    text: str
    sighting: Sighting | None = None
    box: Box | None = None
    confidence: float = 0.0
    free_distance_m: tuple[float, ...] | None = None  # per image column, left to right, from under the camera
    rejected: str = ""  # why the reply was refused, in words
    chunk: Chunk | None = None  # what a policy wants driven


class Camera(Protocol):
    """A source of frames. Newest frame wins; there is no queue."""

    def read(self, timeout_s: float) -> Frame:
        """The newest frame not yet read. Raises CameraError after `timeout_s` without one, or when the device is gone."""
        ...

    def close(self) -> None: ...


class Engine(Protocol):
    """A model that answers prompts about an image."""

    @property
    def targets(self) -> tuple[str, ...] | None:
        """The things it can detect, or None when its vocabulary is open."""
        ...

    def ask(self, frame: Frame, prompt: str) -> Reply:
        """Answer `prompt` about `frame`. Raises EngineError."""
        ...

    def close(self) -> None: ...


class Acting(Engine, Protocol):
    """A policy: its prompt is an instruction, its replies carry a `Chunk`. It remembers the frames it was asked about."""

    @property
    def moves(self) -> frozenset[str]:
        """Which of linear_x, linear_y and angular_z its actions drive; none of them is an arm's layout."""
        ...

    def forget(self) -> None:
        """Drop the frames it remembers: what comes next is another run."""
        ...


def acting(engine: Engine) -> TypeGuard[Acting]:
    """Whether the engine answers with motion instead of words. By its attribute, so that what stands around an engine can pass it on."""
    return hasattr(engine, "moves")
