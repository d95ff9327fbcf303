"""The guard's loop: absolute deadlines around the pure core, the port on one side and the link on the other."""

from __future__ import annotations

import math
import socket
import time
from array import array
from contextlib import suppress
from dataclasses import dataclass

from edge_vla.bases.port import Port
from edge_vla.errors import BaseError
from edge_vla.guard.control import Event
from edge_vla.guard.core import Guard, GuardOutput
from edge_vla.guard.deadman import DeadmanLine
from edge_vla.guard.memory import LatchMemory
from edge_vla.guard.sdnotify import Notifier
from edge_vla.guard.stopline import StopLine
from edge_vla.guard.system import EXIT_STILL, EXIT_UNCONFIRMED, EventLog, WorkerWatch, drain
from edge_vla.guard.types import STILL, Base
from edge_vla.guard.watch import PortHealth, Worker

FIRST_WAIT_NS, LONGEST_WAIT_NS = 250_000_000, 2_000_000_000
MAX_TIMED = 1_000_000  # ticks, 8 MB: five and a half hours at 50 Hz


def describe_times(took_ns: array[int]) -> str:
    """What ticks cost, or by how much they came late, in words for the log."""
    ordered = sorted(took_ns)
    if not ordered:
        return "none"
    p50, p99, p999 = (ordered[math.ceil(share * len(ordered)) - 1] * 1e-6 for share in (0.5, 0.99, 0.999))
    return f"n {len(ordered)}, p50 {p50:.3f} ms, p99 {p99:.3f} ms, p99.9 {p999:.3f} ms, longest {ordered[-1] * 1e-6:.3f} ms"


class Backoff:
    """When to try again what has failed: a quarter of a second after the first time, twice as long after each, two seconds at most."""

    def __init__(self) -> None:
        self._wait_ns = FIRST_WAIT_NS
        self._due_ns: int | None = None

    def due(self, now_ns: int) -> bool:
        """Whether to try now; the next time is then later."""
        if self._due_ns is None:
            self._due_ns = now_ns + self._wait_ns
        if now_ns < self._due_ns:
            return False
        self._wait_ns = min(2 * self._wait_ns, LONGEST_WAIT_NS)
        self._due_ns = now_ns + self._wait_ns
        return True


@dataclass(frozen=True, slots=True)
class Around:
    """Whom a guard's loop listens to and tells, besides its base."""

    link: socket.socket
    worker: WorkerWatch
    log: EventLog
    stops: StopLine
    button: DeadmanLine | None
    memory: LatchMemory
    notifier: Notifier


class Loop:
    """Runs one guard until it has finished. `leave` may be set from a signal handler."""

    def __init__(self, guard: Guard, base: Base, port: Port, around: Around) -> None:
        self.leave = False
        self._guard, self._base, self._port, self._around = guard, base, port, around
        self._health = PortHealth.OK
        self._link_gone = False
        self._replug = Backoff()
        self._took_ns, self._late_ns = array("q"), array("q")

    def run(self, tick_hz: int) -> int:
        """Tick until the guard has finished; the exit code."""
        period_ns = 1_000_000_000 // tick_hz
        self._around.notifier.ready()
        due_ns = time.monotonic_ns()
        try:
            while not (output := self._timed_tick(due_ns)).finished:
                now_ns = time.monotonic_ns()
                due_ns = max(due_ns + period_ns, now_ns)  # a missed deadline is not caught up in a burst
                time.sleep((due_ns - now_ns) * 1e-9)
        except BaseException:
            self._last_words()  # a bug must not leave the last speed in the base until its watchdog fires
            raise
        self._around.notifier.stopping()
        self._around.log.write(Event(time.monotonic_ns(), "ticks", describe_times(self._took_ns)))
        self._around.log.write(Event(time.monotonic_ns(), "late", describe_times(self._late_ns)))
        return EXIT_STILL if output.still else EXIT_UNCONFIRMED

    def _timed_tick(self, due_ns: int) -> GuardOutput:
        start_ns = time.monotonic_ns()
        output = self._tick()
        self._around.notifier.beat(start_ns)
        if len(self._took_ns) < MAX_TIMED:
            self._took_ns.append(time.monotonic_ns() - start_ns)
            self._late_ns.append(start_ns - due_ns)
        return output

    def _tick(self) -> GuardOutput:
        around = self._around
        packets: list[bytes] = []
        if not self._link_gone:
            packets, self._link_gone = drain(self._around.link)
        received = self._read()
        worker = Worker.DEAD if self._link_gone else self._around.worker.look()
        stop, button = around.stops.said(), around.button.said() if around.button is not None else None
        output = self._guard.tick(time.monotonic_ns(), packets, received, worker, self._health, leave=self.leave, stop=stop, button=button)
        self._write(output)
        self._tell(output.status)
        self._around.memory.keep(self._guard.control.machine, forget=self._guard.control.own_end)
        for event in output.events:
            self._around.log.write(event)
        return output

    def _read(self) -> bytes:
        if self._health is PortHealth.LOST and not self._plugged_in():
            return b""
        try:
            self._health = PortHealth.BUSY if self._port.busy() else PortHealth.SLOW if self._port.behind() else PortHealth.OK
            return self._port.read()
        except BaseError as err:
            self._lose(err)
            return b""

    def _plugged_in(self) -> bool:
        """Whether the base is there again. It may be another one, or have lost its settings: the latch says so until it is reset."""
        if not self._replug.due(time.monotonic_ns()):
            return False
        try:
            self._port.reopen()
        except BaseError:
            return False
        self._replug = Backoff()
        self._around.log.write(Event(time.monotonic_ns(), "port", f"{self._port.path} is there again"))
        return True

    def _write(self, output: GuardOutput) -> None:
        try:
            if output.flush and self._health is not PortHealth.LOST:
                self._port.flush()
            for frame in output.writes:
                if self._port.write(frame):
                    self._base.sent(frame, time.monotonic_ns())
        except BaseError as err:
            self._lose(err)

    def _last_words(self) -> None:
        with suppress(BaseError):
            self._port.flush()
            self._port.write(self._base.encode(STILL))

    def _lose(self, err: BaseError) -> None:
        self._health = PortHealth.LOST
        self._around.log.write(Event(time.monotonic_ns(), "port", str(err)))

    def _tell(self, status: bytes) -> None:
        """A worker that does not read loses statuses; the newest always carries everything."""
        try:
            self._around.link.send(status, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            pass
        except OSError:
            self._link_gone = True
