"""What crosses the guard's seams. Standard library only; REP-103 axes (x forward, y left, angular_z counter-clockwise)."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Feedback:
    """One report of the base, stamped by the host at receipt. `None` means this base does not report it."""

    t_ns: int
    left_mps: float | None = None
    right_mps: float | None = None
    gyro_z_radps: float | None = None
    battery_v: float | None = None
    rebooted: bool = False  # the base lost its RAM settings: the init sequence must be sent again


@dataclass(frozen=True, slots=True)
class BaseTraits:
    """What the guard must know about a differential base besides its bytes."""

    track_m: float  # between the wheels
    max_wheel_mps: float  # the codec refuses more
    wheel_quantum_mps: float  # the smallest step its frames can say
    feedback_period_ms: int
    watchdog_ms: int | None  # the base's own command timeout once configured; None means it has none
    resync: bytes  # ends a half-written frame without moving anything


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

    def encode(self, twist: Twist) -> bytes:
        """One whole command frame. Raises UnsafeCommand for what this base cannot do (`linear_y` on a differential base)."""
        ...

    def decode_command(self, frame: bytes) -> Twist:
        """The twist a frame would make the base execute: the guard's independent check of what it is about to write."""
        ...

    def feed(self, data: bytes, now_ns: int) -> list[Feedback]:
        """Bytes from the base, split anywhere, to reports. Garbage is counted and dropped, never raised; memory bounded."""
        ...
