"""`python -m edge_vla.guard --link-fd N`: the guard process. Settings come as one JSON line on stdin."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import socket
import sys
import time
from contextlib import ExitStack
from types import FrameType

from edge_vla.bases import make_base
from edge_vla.bases.port import Port
from edge_vla.errors import EdgeVLAError
from edge_vla.guard.control import Event
from edge_vla.guard.core import Guard
from edge_vla.guard.deadman import DeadmanLine
from edge_vla.guard.loop import Around, Loop
from edge_vla.guard.memory import LatchMemory
from edge_vla.guard.private import runtime_folder
from edge_vla.guard.sdnotify import Notifier
from edge_vla.guard.settings import GuardSettings
from edge_vla.guard.stopline import StopLine
from edge_vla.guard.system import EXIT_REFUSED, EventLog, WorkerWatch, claim_priority
from edge_vla.guard.watch import DeadmanWatch


def main() -> int:
    """Run a guard; its exit code says whether zero was confirmed at the end."""
    parser = argparse.ArgumentParser(prog="python -m edge_vla.guard", description="Started by the worker, not by hand.")
    parser.add_argument("--link-fd", type=int, required=True, help="inherited end of the worker's SOCK_SEQPACKET pair")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the worker's to handle
    try:
        return _serve(GuardSettings.from_json(sys.stdin.readline()), socket.socket(fileno=args.link_fd))
    except (EdgeVLAError, OSError) as err:
        sys.stderr.write(f"guard: {err}\n")
        return EXIT_REFUSED


def _serve(settings: GuardSettings, link: socket.socket) -> int:
    base, memory = make_base(settings.base, settings.base_options), LatchMemory(settings.memory_path)
    guard = Guard(
        base, settings.limits, settings.session,
        tick_hz=settings.tick_hz, use_gyro=settings.use_gyro, low_battery_v=settings.low_battery_v,
        deadman=DeadmanWatch(settings.deadman_ms) if settings.deadman_ms else None, machine=memory.machine,
    )  # fmt: skip
    worker = WorkerWatch(settings.worker_pid)
    with ExitStack() as held:
        held.enter_context(link)
        held.callback(memory.close)
        log, stops = held.enter_context(EventLog(settings.log_path)), held.enter_context(StopLine(runtime_folder()))
        button = held.enter_context(DeadmanLine(runtime_folder())) if settings.deadman_ms else None
        port = held.enter_context(Port(settings.port, settings.baud, base.traits.resync))
        notifier = Notifier.of(os.environ)
        held.callback(notifier.close)
        loop = Loop(guard, base, port, Around(link, worker, log, stops, button, memory, notifier))

        def leave(_number: int, _frame: FrameType | None) -> None:
            loop.leave = True

        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, leave)
        log.write(Event(time.monotonic_ns(), "start", f"{settings.base} on {settings.port}, {claim_priority()}"))
        gc.freeze()  # what is here now stays: no collection pass over it in a tick
        return loop.run(settings.tick_hz)


if __name__ == "__main__":
    sys.exit(main())
