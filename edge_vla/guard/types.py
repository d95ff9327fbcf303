"""What crosses the guard's seams. Standard library only; REP-103 axes (x forward, y left, angular_z counter-clockwise)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Twist:
    """A body velocity: `linear_x`, `linear_y` in m/s, `angular_z` in rad/s."""

    linear_x: float = 0.0
    linear_y: float = 0.0
    angular_z: float = 0.0


STILL = Twist()


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the base was at `t_ns` (host monotonic clock), in the odometry frame. `yaw_rad` is not wrapped."""

    t_ns: int
    x_m: float
    y_m: float
    yaw_rad: float


class Hazard(Flag):
    """What a base says is wrong around it or in it, in this report."""

    BUMPER = auto()
    CLIFF = auto()
    WHEEL_DROP = auto()
    OVER_CURRENT = auto()
    TRIPPED = auto()  # it stopped by its own decision and will not drive until it is told to start anew


NO_HAZARD = Hazard(0)
Speeds = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Feedback:
    """One report of the base, stamped by the host at receipt. `None` means that this report does not say it.

    Wheels are in the order of the base's drive. `travel_m` is what each wheel's counter has seen since the codec was made, unwrapped.
    """

    t_ns: int
    wheels_mps: Speeds | None = None
    gyro_z_radps: float | None = None
    battery_v: float | None = None
    rebooted: bool = False  # the base lost its RAM settings: the init sequence must be sent again
    travel_m: Speeds | None = None
    hazards: Hazard | None = None


class Drive(Protocol):
    """How a body velocity and the speeds of wheels go together; linear, so that ways may stand for speeds."""

    @property
    def sideways(self) -> bool:
        """Whether it can move along y."""
        ...

    def wheels(self, twist: Twist) -> Speeds:
        """Surface speeds in m/s: (left, right), or (front left, front right, rear left, rear right)."""
        ...

    def twist(self, wheels_mps: Speeds) -> Twist:
        """The body velocity that fits these wheels best."""
        ...


@dataclass(frozen=True, slots=True)
class BaseTraits:
    """What the guard must know about a base besides its bytes."""

    drive: Drive
    max_wheel_mps: float  # the codec refuses more
    wheel_quantum_mps: float  # no wheel of a decoded frame is further than this from the wish
    feedback_period_ms: int
    watchdog_ms: int | None  # the base's own command timeout once configured; None means it has none
    resync: bytes  # ends a half-written frame without moving anything
    travel_quantum_m: float | None = None  # of `travel_m`; None: it reports none


class Base(Protocol):
    """A base's wire protocol as a pure codec: no I/O, no clock. One file per kind in `edge_vla/bases/`."""

    @property
    def traits(self) -> BaseTraits: ...

    @property
    def garbage_bytes(self) -> int:
        """Bytes received so far that were no part of any line this base is known to send."""
        ...

    def init_frames(self) -> list[bytes]:
        """The frames that configure watchdog and feedback, sent at connect and after every reboot of the base."""
        ...

    def poll_frames(self) -> list[bytes]:
        """What asks for one report, sent every feedback period; none for a base that reports by itself."""
        ...

    def restart_frames(self) -> list[bytes]:
        """What makes a base that has tripped obey again: sent when an operator's reset has been granted, never otherwise."""
        ...

    def sent(self, frame: bytes, now_ns: int) -> None:
        """A whole frame has just been handed to the line: for a base whose replies do not say what they answer."""
        ...

    def encode(self, twist: Twist) -> bytes:
        """One whole command frame. Raises UnsafeCommand for what this base cannot do (`linear_y` on a differential base)."""
        ...

    def decode_command(self, frame: bytes) -> Twist:
        """The twist a frame would make the base execute: the guard's independent check of what it is about to write."""
        ...

    def feed(self, data: bytes, now_ns: int) -> list[Feedback]:
        """Bytes from the base, split anywhere, to reports. Garbage is counted and dropped, never raised; memory bounded."""
        ...
