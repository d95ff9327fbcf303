"""Which frames may have waited unseen: a frame stamped on arrival is only as young as its reader was awake. Knows no device.

A worker that could not run for a while (an engine that holds the GIL, SIGSTOP, a starved machine) finds old frames waiting and would
stamp them as new. Whoever stamps on arrival says every BEAT_S that it runs; after a longer silence frames are thrown away until one had
to be waited for: by then nothing old is left in front of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

BEAT_S = 0.02
STALL_NS = 150_000_000  # below the 200 ms after which rules H refuse a frame; above what a busy machine does all day
GIVE_UP_NS = 2_000_000_000  # of throwing away, where the reader is always later than the frames


class Stalls:
    """Judges frames by when their reader began to wait, when they came, and the beats in between."""

    def __init__(self, period_ns: int, now_ns: int) -> None:
        self._waits_ns = period_ns // 2  # a frame that took longer to come was not there before
        self._beat_ns = now_ns
        self._stalled_ns = -1  # end of the newest stall
        self._draining = False

    def beat(self, now_ns: int) -> None:
        """The reader runs at this moment."""
        if now_ns - self._beat_ns > STALL_NS:
            self.doubt(now_ns)
        self._beat_ns = now_ns

    def doubt(self, now_ns: int) -> None:
        """Whatever is waiting at this moment may be of any age."""
        self._stalled_ns, self._draining = now_ns, True

    def young(self, asked_ns: int, came_ns: int) -> bool:
        """Whether a frame that was waited for from `asked_ns` and seen at `came_ns` arrived when it was seen."""
        self.beat(came_ns)
        waited = asked_ns > self._stalled_ns and came_ns - asked_ns >= self._waits_ns
        if self._draining and (waited or came_ns - self._stalled_ns > GIVE_UP_NS):
            self._draining = False
        return not self._draining


class Beating:
    """Beats from a thread of its own, for a reader that waits inside a library."""

    def __init__(self, stalls: Stalls, clock: Callable[[], int]) -> None:
        self._stalls, self._clock = stalls, clock
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera beat", daemon=True)
        self._thread.start()

    def young(self, asked_ns: int) -> tuple[bool, int]:
        """(whether a frame that came just now is as young as it looks, now)."""
        with self._lock:
            now_ns = self._clock()
            return self._stalls.young(asked_ns, now_ns), now_ns

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(BEAT_S):
            with self._lock:
                self._stalls.beat(self._clock())
