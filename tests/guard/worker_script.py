"""A worker that drives 0.3 m/s ahead. Says `moving <guard pid>` once it does; then does what a line on stdin says. Not a test."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import sys
import time
from dataclasses import asdict, replace

from edge_vla.errors import GuardError
from edge_vla.guard.client import Evidence, GuardProcess
from edge_vla.guard.settings import GuardSettings
from edge_vla.guard.state import GuardState
from edge_vla.guard.types import Twist

MS = 1_000_000
GO = Twist(0.3)
MODES = ("drive", "stale", "renew", "silent", "leave")


words: list[str] = []  # heard and not yet obeyed; Python's own buffer would hide them from select


def heard() -> str:
    """The next word from the test, or nothing."""
    if select.select([0], [], [], 0)[0]:
        words.extend(os.read(0, 4096).decode().split())
    return words.pop(0) if words else ""


def say(*words: object) -> None:
    print(*words, flush=True)


def drive(guard: GuardProcess) -> None:
    mode, moving, evidence = "drive", False, None
    while mode != "leave":
        word = heard()
        mode = word if word in MODES else mode
        status = guard.poll()
        assert status is not None
        now_ns = time.monotonic_ns()
        if evidence is None or mode == "drive":
            evidence = Evidence(now_ns - 40 * MS, now_ns + 460 * MS, 5.0, 5.0, 20.0)
        if mode == "renew":  # the same frame, backed for longer than it can be
            evidence = replace(evidence, deadline_ns=now_ns + 460 * MS)
        if mode != "silent":
            guard.send(GO, evidence)
        if word == "gil":  # two seconds in C without letting go of the interpreter's lock: nothing else of this process runs
            ctypes.PyDLL(None).usleep(2_000_000)
        if word == "oom":
            resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
            bytearray(1 << 30)
        if word == "stop":
            guard.stop()
        if word == "reset":
            guard.reset(status.fault_id)
        if word == "arm":
            guard.arm()
        if word == "status":
            told = {"state": status.state.name, "fault": status.fault.name, "cause": status.cause.name, "refusal": status.refusal.name}
            say(json.dumps(told | {"applied": asdict(status.applied), "tally": status.tally}))
        if not moving and status.applied == GO and status.measured is not None and status.measured.linear_x > 0.29:
            moving = True
            say("moving")
        time.sleep(1 / 30)


def main() -> int:
    try:
        port, log, memory, deadman_ms, baud = sys.argv[1:]
        settings = GuardSettings("waveshare", port, log_path=log, memory_path=memory, deadman_ms=int(deadman_ms), baud=int(baud))
        with GuardProcess.start(settings) as guard:
            say("guard", guard.pid)
            while (status := guard.poll()) is None or status.state is not GuardState.DISARMED:
                time.sleep(0.01)
            while (status := guard.poll()) is None or status.state is not GuardState.ARMED_IDLE:
                guard.arm()
                time.sleep(0.01)
            drive(guard)
    except GuardError as err:
        say("guard gone", f"{guard.confirmed_still}:", err)
        return 3
    say("left", guard.exit_code, guard.confirmed_still)
    return 0


if __name__ == "__main__":
    sys.exit(main())
