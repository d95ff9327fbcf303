"""What a simulated firmware turns: two wheels, and a log of what they really did. Standard library only."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Protocol

from edge_vla.guard.lines import LineLog

QUEUE_LINES = 4096  # ten seconds and more of a disk that is busy with something else
CLOSE_S = 1.0


class Wheels(Protocol):
    """Two motors with their speed control."""

    def set_target(self, left_mps: float, right_mps: float) -> None: ...

    def speeds(self) -> tuple[float, float]:
        """The true speeds of the wheels' surfaces (left, right) in m/s."""
        ...


class FirstOrderWheels:
    """Wheels that follow their target as a first-order motor does. `gain_*` 0 is a stuck wheel, -1 one wired backwards."""

    def __init__(self, tau_s: float = 0.15, max_acc_mps2: float = 4.0, gain_left: float = 1.0, gain_right: float = 1.0) -> None:
        self.tau_s = tau_s
        self.max_acc_mps2 = max_acc_mps2
        self.gains = [gain_left, gain_right]
        self._targets = [0.0, 0.0]
        self._speeds = [0.0, 0.0]

    def set_target(self, left_mps: float, right_mps: float) -> None:
        self._targets = [left_mps, right_mps]

    def speeds(self) -> tuple[float, float]:
        return self._speeds[0], self._speeds[1]

    def advance(self, dt_s: float) -> None:
        """Let `dt_s` pass."""
        share = 1.0 - math.exp(-dt_s / self.tau_s)
        most = self.max_acc_mps2 * dt_s
        for side in (0, 1):
            change = share * (self.gains[side] * self._targets[side] - self._speeds[side])
            self._speeds[side] += max(-most, min(most, change))


class WheelLog:
    """`wheels.jsonl`: the oracle of every stop test. One line per sample, and one per frame the firmware accepted.

    A disk that is full or stuck costs lines, which are counted, and never holds the wheels up.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be opened."""
        self._lines = LineLog(str(path), QUEUE_LINES, CLOSE_S)

    def __enter__(self) -> WheelLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def lost(self) -> int:
        """Lines there was no room for, so far."""
        return self._lines.lost

    def write(self, t_ns: int, speeds_mps: tuple[float, float], accepted: str | None = None) -> None:
        """Append one line; `accepted` is the text of a frame the firmware has just obeyed."""
        line = {"t_ns": t_ns, "left": round(speeds_mps[0], 6), "right": round(speeds_mps[1], 6), "accepted": accepted}
        self._lines.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Give the last lines a moment."""
        self._lines.close()
