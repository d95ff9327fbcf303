"""A base brought to a stand after its guard has died: zeros, and what it takes to see that it stands. Nothing else.

Knows no profile. It is not part of the guard's process; it is what comes after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_vla.bases import make_base
from edge_vla.bases.port import Port
from edge_vla.errors import BaseError
from edge_vla.guard.loop import Backoff
from edge_vla.guard.types import STILL, Base, Feedback

MS = 1_000_000
PERIOD_NS = 20 * MS
STILL_MPS = 0.02  # DESIGN §4
STILL_REPORTS = 5
SILENT_NS = 1000 * MS  # a base that has not said how its wheels turn by then will not
MOVING_NS = 5000 * MS  # nor will one come to a stand that has not after so many zeros
UNASKED_NS = 200 * MS  # a base that reports by itself has by then, and is asked nothing
INIT_NS = 1000 * MS  # a base that boots loses what it is sent meanwhile


@dataclass(frozen=True, slots=True)
class Halted:
    """How it ended. `opened`: whether there was a port at all."""

    opened: bool
    still: bool
    zeros: int
    reports: int  # about wheels
    why: str


class Halt:
    """Decides what to write when and when it is enough. Pure: the clock is the caller's."""

    def __init__(self, base: Base, now_ns: int) -> None:
        self.zeros = self.reports = 0
        self._base = base
        self._start_ns = self._zero_due_ns = now_ns
        self._init_due_ns = self._poll_due_ns = now_ns
        self._heard_ns: int | None = None  # about wheels
        self._asks = False
        self._zero = b""
        self._still_reports = 0
        self._rebooted = False
        self._poll_ns = base.traits.feedback_period_ms * MS

    def hear(self, report: Feedback) -> None:
        """One report of the base."""
        self._rebooted |= report.rebooted
        if report.wheels_mps is None or not self.zeros:
            return
        self.reports += 1
        self._heard_ns = report.t_ns
        stands = all(abs(speed) < STILL_MPS for speed in report.wheels_mps)  # a nan stands nowhere
        self._still_reports = self._still_reports + 1 if stands else 0

    @property
    def still(self) -> bool:
        return self._still_reports >= STILL_REPORTS

    def over(self, now_ns: int) -> bool:
        """Whether it stands, or no more zeros will help."""
        patience_ns = SILENT_NS if self._heard_ns is None else MOVING_NS
        return self.still or now_ns - self._start_ns >= patience_ns

    def frames(self, now_ns: int) -> list[bytes]:
        """What to write now. A zero is the first word, before anything that configures the base."""
        if now_ns < self._zero_due_ns:
            return []
        self._zero_due_ns = max(self._zero_due_ns + PERIOD_NS, now_ns)
        self._zero = self._base.encode(STILL)  # anew each time: some bases number their frames
        if self._base.decode_command(self._zero) != STILL:
            raise BaseError(f"{self._zero!r} is not a stop")
        return [self._zero, *([*self._init(now_ns), *self._questions(now_ns)] if self.zeros else [])]

    def sent(self, frame: bytes) -> None:
        """It had room on the line."""
        self.zeros += frame == self._zero

    def _init(self, now_ns: int) -> list[bytes]:
        """Reports on: at first, after a reboot, and every second while there are none."""
        if now_ns < self._init_due_ns and not self._rebooted:
            return []
        if self._heard_ns is not None and not self._rebooted:
            return []
        self._rebooted, self._init_due_ns = False, now_ns + INIT_NS
        return self._base.init_frames()

    def _questions(self, now_ns: int) -> list[bytes]:
        """For a base that does not report by itself; what others call a question may arm them, so they are not asked."""
        if self._heard_ns is None and now_ns - self._start_ns >= UNASKED_NS:
            self._asks = True
        if not self._asks or now_ns < self._poll_due_ns:
            return []
        self._poll_due_ns = now_ns + self._poll_ns
        return self._base.poll_frames()


class Line(Protocol):
    """What of a port is needed here."""

    def flush(self) -> None: ...

    def read(self) -> bytes: ...

    def write(self, frame: bytes) -> bool: ...


def bring_to_a_stand(base: Base, line: Line, wait: Callable[[], object], clock: Callable[[], int] = time.monotonic_ns) -> Halted:
    """Zeros until the wheels stand or no more will help. Raises BaseError when the line is gone."""
    halt = Halt(base, clock())
    line.flush()  # what its guard had queued would be driven first
    if base.traits.resync:
        line.write(base.traits.resync)
    while not halt.over(clock()):
        for frame in halt.frames(clock()):
            if line.write(frame):
                base.sent(frame, clock())
                halt.sent(frame)
        for report in base.feed(line.read(), clock()):
            halt.hear(report)
        wait()
    why = "the wheels stand" if halt.still else "it does not say that its wheels stand" if halt.reports else "it says nothing of its wheels"
    return Halted(opened=True, still=halt.still, zeros=halt.zeros, reports=halt.reports, why=why)


def halt_base(kind: str, options: dict[str, float | int | str], path: str, baud: int, patience_s: float, nap_s: float = 0.002) -> Halted:
    """Open the port, however busy it is yet, and bring the base to a stand. Raises ConfigError for a base there is not."""
    make_base(kind, options)
    until_ns, retry, why = time.monotonic_ns() + round(patience_s * 1e9), Backoff(), ""
    while True:
        base = make_base(kind, options)
        try:
            with Port(path, baud, base.traits.resync) as port:
                return bring_to_a_stand(base, port, lambda: time.sleep(nap_s))
        except BaseError as err:
            why = str(err)
        while not retry.due(now_ns := time.monotonic_ns()) and now_ns < until_ns:
            time.sleep(0.01)
        if now_ns >= until_ns:
            return Halted(opened=False, still=False, zeros=0, reports=0, why=why)
