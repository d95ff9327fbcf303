"""What the guard asks of Linux, and leaves to it: is the worker alive, what priority may I have, lines when there is time, an exit code."""

from __future__ import annotations

import ctypes
import json
import os
import socket
from types import TracebackType

from edge_vla.errors import ConfigError
from edge_vla.guard.control import Event
from edge_vla.guard.lines import LineLog
from edge_vla.guard.watch import Worker

EXIT_STILL = 0  # zero was confirmed by the wheels
EXIT_REFUSED = 2  # it never drove anything; stderr says why
EXIT_UNCONFIRMED = 3
FIFO_PRIORITY = 10
NICE = -10
MCL_CURRENT = 1
QUEUE_LINES = 256
MAX_PACKETS = 256  # a tick, so that a flood cannot hold the tick up
PACKET_BYTES = 2048
CLOSE_S = 0.2


class WorkerWatch:
    """The worker's state from /proc. The file is opened once, so that a recycled pid is not taken for the worker."""

    def __init__(self, pid: int) -> None:
        try:
            self._fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._fd = -1

    def look(self) -> Worker:
        """STOPPED for a SIGSTOP or a debugger, DEAD for a zombie or nothing at all."""
        try:
            stat = os.pread(self._fd, 512, 0)
        except OSError:
            return Worker.DEAD
        state = stat[stat.rfind(b")") + 2 :][:1]  # the name before it may hold anything, spaces and brackets included
        if state in (b"T", b"t"):
            return Worker.STOPPED
        return Worker.DEAD if state in (b"Z", b"X", b"") else Worker.RUNNING


def claim_priority() -> str:
    """Real-time scheduling, else a better nice, else nothing; what was granted, in words. Locks memory where that is allowed."""
    locked = ", memory locked" if ctypes.CDLL(None).mlockall(MCL_CURRENT) == 0 else ""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
    except OSError:
        pass
    else:
        return f"SCHED_FIFO {FIFO_PRIORITY}{locked}"
    try:
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    except OSError:
        return f"no priority{locked}"
    return f"nice {NICE}{locked}"


def drain(link: socket.socket) -> tuple[list[bytes], bool]:
    """(datagrams that have arrived, whether the other end is gone). Never waits."""
    packets: list[bytes] = []
    while len(packets) < MAX_PACKETS:
        try:
            packet = link.recv(PACKET_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return packets, False
        except OSError:
            return packets, True
        if not packet:
            return packets, True
        packets.append(packet)
    return packets, False


class EventLog:
    """The guard's diary as JSON lines, or nowhere: what happened is not worth a tick."""

    def __init__(self, path: str | None) -> None:
        """Raises ConfigError when the file cannot be opened."""
        try:
            self._lines = None if path is None else LineLog(path, QUEUE_LINES, CLOSE_S)
        except OSError as err:
            raise ConfigError(f"guard log: {err}") from err

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, event: Event) -> None:
        """Hand a line over, or lose it."""
        if self._lines is not None:
            line = json.dumps({"t_ns": event.t_ns, "event": event.name, "detail": event.detail})
            self._lines.write(line.encode() + b"\n")

    def close(self) -> None:
        """Give the last lines a moment."""
        if self._lines is not None:
            self._lines.close()
