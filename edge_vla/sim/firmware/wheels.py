"""What a simulated firmware turns: its wheels, and a log of what they really did. Standard library only."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

from edge_vla.guard.lines import LineLog
from edge_vla.guard.types import Speeds

QUEUE_LINES = 4096  # ten seconds and more of a disk that is busy with something else
CLOSE_S = 1.0


class Wheels(Protocol):
    """Motors with their speed control, as many and in the order of the base's drive."""

    def set_target(self, *targets_mps: float) -> None: ...

    def speeds(self) -> Speeds:
        """The true speeds of the wheels' surfaces in m/s."""
        ...


class FirstOrderWheels:
    """Wheels that follow their target as a first-order motor does. A gain of 0 is a stuck wheel, -1 one wired backwards."""

    def __init__(self, tau_s: float = 0.15, max_acc_mps2: float = 4.0, gains: Sequence[float] = (1.0, 1.0)) -> None:
        self.tau_s = tau_s
        self.max_acc_mps2 = max_acc_mps2
        self.gains = list(gains)
        self._targets = [0.0] * len(self.gains)
        self._speeds = [0.0] * len(self.gains)

    def set_target(self, *targets_mps: float) -> None:
        if len(targets_mps) != len(self.gains):
            raise ValueError(f"{len(targets_mps)} targets for {len(self.gains)} wheels")
        self._targets = list(targets_mps)

    def speeds(self) -> Speeds:
        return tuple(self._speeds)

    def advance(self, dt_s: float) -> None:
        """Let `dt_s` pass."""
        share = 1.0 - math.exp(-dt_s / self.tau_s)
        most = self.max_acc_mps2 * dt_s
        for wheel, gain in enumerate(self.gains):
            change = share * (gain * self._targets[wheel] - self._speeds[wheel])
            self._speeds[wheel] += max(-most, min(most, change))


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

    def write(self, t_ns: int, speeds_mps: Speeds, accepted: str | None = None, targets_mps: Speeds | None = None) -> None:
        """Append one line. `accepted`: the frame that has just been obeyed, in hex where it is no text; `targets_mps`: what it became."""
        line: dict[str, object] = {"t_ns": t_ns, "wheels": [round(speed, 6) for speed in speeds_mps], "accepted": accepted}
        if targets_mps is not None:
            line["targets"] = [round(target, 6) for target in targets_mps]
        self._lines.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        """Give the last lines a moment."""
        self._lines.close()
