"""The seams at which faults are let in: camera, engine, serial line. Each is the real interface with something that can be broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edge_vla.errors import CameraError, UnsafeCommand
from edge_vla.types import Frame, Reply

if TYPE_CHECKING:
    from tests.faults.robot import Robot

MS = 1_000_000
WIDTH, HEIGHT = 96, 72
FRAME_NS = 1_000_000_000 // 15
ARRIVES_MS = 10  # after the exposure
LATENCY_MS = 100
FAR_AHEAD = Reply("<loc0380><loc0500><loc0480><loc0524> cup", 0.95, (4.0,) * 16)


def scenes(seed: int = 5) -> list[NDArray[np.uint8]]:
    """Pictures with a sensor's noise, none like another."""
    rng = np.random.default_rng(seed)
    return [rng.integers(70, 150, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(16)]


class FaultyCamera:
    """Fifteen frames a second; `change` makes of each what arrives, None for nothing. `gone` is what read raises."""

    def __init__(self, robot: Robot) -> None:
        self.gone = ""
        self.change: Callable[[Frame], Frame | None] = lambda frame: frame
        self.period_ns: Callable[[], int] = lambda: FRAME_NS
        self.late_ms: Callable[[], int] = lambda: ARRIVES_MS  # exposure to arrival
        self.dropped = 0
        self._robot = robot
        self._scenes = scenes()
        self._seq = 0
        self._next_ns = robot.now_ns
        self._arrived: Frame | None = None

    def read(self, timeout_s: float) -> Frame:
        end_ns = self._robot.now_ns + round(timeout_s * 1e9)
        while True:
            if self.gone:
                raise CameraError(self.gone)
            self._expose()
            frame, self._arrived = self._arrived, None
            if frame is not None:
                return frame
            if self._robot.now_ns >= end_ns:
                raise CameraError(f"no frame for {timeout_s} s")
            self._robot.pass_ms(5)

    def _expose(self) -> None:
        """Everything that has arrived by now; the newest wins."""
        while self._next_ns + self.late_ms() * MS <= self._robot.now_ns:
            self._seq += 1
            frame = self.change(Frame(self._scenes[self._seq % len(self._scenes)], self._next_ns, self._seq))
            self._next_ns += self.period_ns()
            if frame is not None:
                self._arrived = frame

    def close(self) -> None:
        """Nothing is held."""


class FaultyEngine:
    """Sees a cup far ahead after a tenth of a second, or does what it is told to."""

    targets = ("cup",)

    def __init__(self, robot: Robot) -> None:
        self.latency_ms: Callable[[], int] = lambda: LATENCY_MS
        self.reply: Callable[[], Reply] = lambda: FAR_AHEAD
        self.asked_ages_ns: list[int] = []  # of the frames it was asked about
        self._robot = robot

    def ask(self, frame: Frame, prompt: str) -> Reply:
        self.asked_ages_ns.append(self._robot.now_ns - frame.t_capture_ns)
        self._robot.pass_ms(self.latency_ms())
        return self.reply()

    def close(self) -> None:
        """Nothing is held."""

    def say(self, replies: Iterable[Reply]) -> None:
        """These in turn, the last one for ever."""
        rest = list(replies)
        self.reply = lambda: rest.pop(0) if len(rest) > 1 else rest[0]


class FaultyLine:
    """The serial line. `accepted` is what the base took: (moment, bytes, the wheel speeds they asked for, None for no command)."""

    def __init__(self, robot: Robot) -> None:
        self.mute = self.deaf = False
        self.noise: Callable[[], bytes] = bytes
        self.change: Callable[[bytes], bytes] = lambda said: said  # what the base says, on its way
        self.accepted: list[tuple[int, bytes, tuple[float, ...] | None]] = []
        self._robot = robot

    def feed(self, data: bytes, now_ns: int) -> None:
        if self.deaf:
            return
        base = self._robot.base
        speeds = None
        with suppress(UnsafeCommand):  # configuration and questions
            speeds = base.traits.drive.wheels(base.decode_command(data))
        self.accepted.append((now_ns, data, speeds))
        self._robot.firmware.feed(data, now_ns)

    def read(self, now_ns: int) -> bytes:
        said = self._robot.firmware.read(now_ns)
        return self.noise() + (b"" if self.mute else self.change(said))
