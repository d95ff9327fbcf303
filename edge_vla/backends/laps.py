"""Where the time of an answer went, told by the engine itself. Two clock reads a stage; knows neither stages nor engines by name."""

from __future__ import annotations

import time
from collections.abc import Callable


class Laps:
    """Consecutive laps of one answer: each ends where the next begins, so that they add up to the whole, nothing left out.

    An answer that fails leaves none: the laps of the one before it are gone as soon as the next begins.
    """

    def __init__(self, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self.taken: tuple[tuple[str, int], ...] = ()  # (stage, ns) of the newest whole answer, in order
        self._clock_ns = clock_ns
        self._running: list[tuple[str, int]] = []
        self._since_ns = 0

    def start(self) -> None:
        """An answer begins."""
        self.taken = ()
        self._running = []
        self._since_ns = self._clock_ns()

    def lap(self, stage: str) -> None:
        """What has passed since the last lap was `stage`. A stage may come more than once: a decoding step does."""
        now_ns = self._clock_ns()
        self._running.append((stage, now_ns - self._since_ns))
        self._since_ns = now_ns

    def finish(self, stage: str) -> float:
        """The last lap; what the whole answer took, in seconds."""
        self.lap(stage)
        self.taken = tuple(self._running)
        return sum(took_ns for _, took_ns in self.taken) * 1e-9
