"""The live status line. A terminal gets one line that rewrites itself, anything else a line when something changes."""

from __future__ import annotations

import math
import sys
import threading
from typing import TextIO

from edge_vla.drive import Tick
from edge_vla.track import Track

REFRESH_S = 0.2


class StatusLine:
    """Shows the newest tick from a thread of its own: the 30 Hz loop only leaves it there."""

    def __init__(self, goal: str, target: str | None, *, simulated: bool, stream: TextIO | None = None) -> None:
        self._head = ("SIMULATED  " if simulated else "") + f"{goal} {target or ''}".strip()
        self.notice = ""  # something the operator should look after; shown as long as it is set
        self._stream = stream or sys.stderr
        self._newest: tuple[Tick, Track | None, float] | None = None
        self._stop = threading.Event()
        self._said = ""
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def __enter__(self) -> StatusLine:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(1.0)
        if self._stream.isatty():
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def show(self, tick: Tick, track: Track | None, elapsed_s: float) -> None:
        """Leave a tick to be shown."""
        self._newest = (tick, track, elapsed_s)

    def _run(self) -> None:
        while not self._stop.wait(REFRESH_S):
            if self._newest is not None:
                self._write(*self._newest)

    def _write(self, tick: Tick, track: Track | None, elapsed_s: float) -> None:
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[K{self.line(tick, track, elapsed_s)[:150]}")
        else:
            key = f"{tick.phase.value} {tick.guard} {bool(self.notice)}"
            if key == self._said:
                return
            self._said = key
            self._stream.write(self.line(tick, track, elapsed_s) + "\n")
        self._stream.flush()

    def line(self, tick: Tick, track: Track | None, elapsed_s: float) -> str:
        """One line of text: what for, what now, where the target is, what the wheels are told."""
        where = ""
        if track is not None and tick.inputs.pose is not None:
            away, bearing = track.seen_from(tick.inputs.pose)
            where = f"  seen {away:.2f} m {math.degrees(bearing):+.0f}° ({track.confidence:.2f})"
        notice = f"[{self.notice}]  " if self.notice else ""
        return (
            f"{self._head}  {elapsed_s:5.1f} s  {notice}{tick.guard.lower()}  {tick.phase.value}: {tick.action.description}{where}"
            f"  v {tick.applied_linear_x:+.2f} m/s  w {tick.applied_angular_z:+.2f} rad/s"
        )
