"""Rows that need real processes: a lock held, memory that ends, a line nobody reads, a full disk, a watcher that dies, no processor.

Timed by the firmware simulator, as tests/guard/test_process.py and tests/run/test_faults.py are, which have rows 3, 10, 13 and 23 to 28.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from edge_vla.guard.deadman import SUFFIX
from edge_vla.guard.private import runtime_folder
from tests.guard.test_process import (
    ORACLE_MS,
    P0_MS,
    P1_MS,
    RAMP_MS,
    SIGNAL_MS,
    SILENCE_MS,
    SPEED,
    TTL_MS,
    report,
)

pytestmark = pytest.mark.deadline

DEADMAN_MS = 400
TICK_MS = 20
FRAME_BYTES = 31
QUIET_FRAMES = 100 // TICK_MS + 2  # two periods of reports, and those on their way
HOLDER = """
import socket, sys, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
    while True:
        line.sendto(b"HELD", sys.argv[1])
        time.sleep(0.1)
"""


def commands(rig, since_ns: int) -> list[tuple[int, float]]:
    """(moment, speed asked for) of the commands that the base has accepted after that."""
    rows = [row for row in rig.wheels() if row["t_ns"] > since_ns and (row["accepted"] or "").startswith('{"T":1,')]
    return [(row["t_ns"], max(abs(json.loads(row["accepted"])["L"]), abs(json.loads(row["accepted"])["R"]))) for row in rows]


def test_11_a_worker_that_holds_the_interpreters_lock(make_rig, record_property) -> None:
    rig = make_rig()
    rig.drive()
    slower, zero, still = report(record_property, "11 worker holds the GIL for 2 s", rig.measure(rig.tell("gil")))
    assert slower <= TTL_MS + SILENCE_MS
    assert zero <= TTL_MS + SILENCE_MS + RAMP_MS
    assert still <= TTL_MS + SILENCE_MS + P1_MS + ORACLE_MS


def test_14_a_worker_that_runs_out_of_memory(make_rig, record_property) -> None:
    rig = make_rig()
    worker = rig.drive()
    _, zero, still = report(record_property, "14 worker out of memory", rig.measure(rig.tell("oom")))
    assert zero <= SILENCE_MS
    assert still <= SILENCE_MS + P0_MS + ORACLE_MS
    assert worker.wait(10) != 0
    rig.wait_for(rig.guard_ended, 3.0)


@pytest.mark.parametrize("told", [True, False], ids=["told to stop", "left alone"])
@pytest.mark.parametrize("away_ms", [120, 1500], ids=["shorter than a gap", "longer"])
def test_29_nobody_reads_and_nothing_stale_is_driven(make_rig, record_property, away_ms: int, *, told: bool) -> None:
    """A pty swallows everything meanwhile and forgets nothing: what has been let into it is what a stop waits behind."""
    rig = make_rig()
    rig.drive()
    onset_ns = rig.kill(rig.firmware.pid, signal.SIGSTOP)
    if told:
        rig.tell("stop")
    rig.wait_for(lambda: rig.now_ns() > onset_ns + away_ms * 1_000_000)
    back_ns = rig.kill(rig.firmware.pid, signal.SIGCONT)
    if not told and away_ms < 200:  # nothing was wrong for long enough: it drives on
        rig.wait_for(lambda: len(commands(rig, back_ns)) >= 20)
        assert [speed for _, speed in commands(rig, back_ns)[-10:]] == [SPEED] * 10
        return
    rig.wait_for(lambda: [speed for _, speed in commands(rig, back_ns)[-10:]] == [0.0] * 10)
    after = commands(rig, back_ns)
    stale = next(number for number, (_, speed) in enumerate(after) if speed == 0.0)
    zero_ms = (after[stale][0] - back_ns) / 1e6
    still = rig.measure(back_ns)[2]
    report(record_property, f"29 nobody reads for {away_ms} ms{', told to stop' if told else ''}, then", (0.0, zero_ms, still))
    assert all(speed == 0.0 for _, speed in after[stale:]), "a command after the zero"
    assert stale <= QUIET_FRAMES, "more than two reports' worth of commands were let in"
    assert zero_ms <= TICK_MS + ORACLE_MS, "as long as one frame of the guard takes"


def test_29_a_slow_line_carries_a_stop_as_fast_as_a_fast_one(make_rig, record_property) -> None:
    """At 9600 baud more is asked of the line than it can carry; a stop passes everything that waits, but for the frame on its way."""
    rig = make_rig(baud=9600)
    rig.drive()
    onset_ns = rig.tell("stop")
    _, zero, still = report(record_property, "29 a stop on a line of 9600 baud", rig.measure(onset_ns))
    frame_ms = 1000 * FRAME_BYTES * 10 / 9600
    assert zero <= SIGNAL_MS + 2 * frame_ms
    assert still <= SIGNAL_MS + 2 * frame_ms + P0_MS + ORACLE_MS


def test_37_a_full_disk_changes_nothing(make_rig, record_property) -> None:
    rig = make_rig(log="/dev/full")
    worker = rig.drive()
    since_ns = rig.now_ns()
    rig.wait_for(lambda: rig.now_ns() > since_ns + 2_000_000_000)
    moments = [t_ns for t_ns, speed in commands(rig, since_ns) if speed == SPEED]
    gaps = [(b - a) / 1e6 for a, b in pairwise(moments)]
    record_property("37 longest time between two frames with a full disk, ms", max(gaps))
    assert len(moments) >= 90
    assert max(gaps) <= TTL_MS
    rig.tell("leave")
    assert rig.line_of(worker) == "left 0 True"


@contextlib.contextmanager
def holding(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody who holds the button, in a process of his own."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_39_the_watcher_of_the_button(make_rig, record_property, how: signal.Signals) -> None:
    rig = make_rig(deadman_ms=DEADMAN_MS)
    worker = rig.start()
    with holding(runtime_folder() / f"{rig.guard_pid}{SUFFIX}") as watcher:
        assert rig.line_of(worker) == "moving"
        onset_ns = rig.kill(watcher.pid, how)
        slower, zero, still = report(record_property, f"39 the deadman's watcher gets {how.name}", rig.measure(onset_ns))
    assert DEADMAN_MS - 100 - TICK_MS <= slower <= DEADMAN_MS + SILENCE_MS
    assert zero <= DEADMAN_MS + SILENCE_MS + RAMP_MS
    assert still <= DEADMAN_MS + SILENCE_MS + P1_MS + ORACLE_MS
    assert ("soft_stop", "DEADMAN") in rig.events()


def test_39_let_go(make_rig, record_property) -> None:
    rig = make_rig(deadman_ms=DEADMAN_MS)
    worker = rig.start()
    path = runtime_folder() / f"{rig.guard_pid}{SUFFIX}"
    with holding(path) as watcher, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        assert rig.line_of(worker) == "moving"
        watcher.kill()
        watcher.wait()
        onset_ns = rig.now_ns()
        line.sendto(b"RELEASED\n", str(path))
        slower, _, still = report(record_property, "39 the button is let go", rig.measure(onset_ns))
    assert slower <= SILENCE_MS
    assert still <= SILENCE_MS + P1_MS + ORACLE_MS


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that want all there is, before everybody else where that is allowed."""
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        for hog in hogs:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, hog.pid, -20)
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def test_40_no_processor_left(make_rig, record_property: Callable[[str, object], None]) -> None:
    """Four hogs on this machine's cores: the guard keeps its time, and a stop its bound."""
    rig = make_rig()
    worker = rig.drive()
    with contextlib.suppress(OSError):  # a base has a processor of its own; and a worker that starves is stopped long before
        for pid in (rig.firmware.pid, worker.pid):
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(5))
    with busy(2 * (os.cpu_count() or 1)):
        since_ns = rig.now_ns()
        rig.wait_for(lambda: rig.now_ns() > since_ns + 5_000_000_000)
        assert commands(rig, since_ns)[-1][1] == SPEED, "it no longer drives"
        onset_ns = rig.kill(worker.pid, signal.SIGKILL)
        _, zero, still = report(record_property, "40 kill -9 with every core busy", rig.measure(onset_ns))
    rig.wait_for(rig.guard_ended, 5.0)
    late = re.search(r"p99\.9 ([\d.]+) ms", dict(rig.events())["late"])
    assert late is not None
    record_property("40 guard's ticks late, p99.9 ms", float(late[1]))
    assert float(late[1]) < 20.0
    assert zero <= SIGNAL_MS
    assert still <= SIGNAL_MS + P0_MS + 2 * ORACLE_MS
