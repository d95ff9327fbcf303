"""The guard's few questions to Linux, with real processes and sockets but without a clock."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_vla.errors import ConfigError
from edge_vla.guard.control import Event
from edge_vla.guard.system import MAX_PACKETS, EventLog, WorkerWatch, claim_priority, drain
from edge_vla.guard.watch import Worker


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for ever, named to confuse whoever parses /proc by spaces."""
    script = "import sys; open('/proc/self/comm', 'w').write('a) T (b'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def changed(process: subprocess.Popen[bytes], flags: int) -> None:
    """Wait until the kernel has reported a change of the child's state, without reaping it."""
    os.waitid(os.P_PID, process.pid, flags | os.WNOWAIT)


def test_a_worker_runs_stops_continues_and_dies(child: subprocess.Popen[bytes]) -> None:
    watch = WorkerWatch(child.pid)
    assert watch.look() is Worker.RUNNING
    child.send_signal(signal.SIGSTOP)
    changed(child, os.WSTOPPED)
    assert watch.look() is Worker.STOPPED
    child.send_signal(signal.SIGCONT)
    changed(child, os.WCONTINUED)
    assert watch.look() is Worker.RUNNING
    child.kill()
    changed(child, os.WEXITED)
    assert watch.look() is Worker.DEAD  # a zombie
    child.wait()
    assert watch.look() is Worker.DEAD


def test_a_worker_that_is_gone_before_the_guard_looks_is_dead(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    assert WorkerWatch(child.pid).look() is Worker.DEAD


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_drain_keeps_the_boundaries_and_the_order(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    assert drain(ours) == ([], False)
    for packet in (b"one", b"two", b"three"):
        theirs.send(packet)
    assert drain(ours) == ([b"one", b"two", b"three"], False)


def test_drain_gives_what_was_sent_before_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.send(b"last words")
    theirs.close()
    assert drain(ours) == ([b"last words"], True)
    assert drain(ours) == ([], True)


def test_a_flood_does_not_hold_the_tick_up_and_nothing_is_lost(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.setblocking(False)
    sent = 0
    try:
        while True:
            theirs.send(b"x")
            sent += 1
    except BlockingIOError:
        pass
    first, gone = drain(ours)
    assert (len(first), gone) == (min(sent, MAX_PACKETS), False)
    rest = 0
    while packets := drain(ours)[0]:
        rest += len(packets)
    assert len(first) + rest == sent


def test_a_reset_is_an_end(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.send(b"unread")
    theirs.close()
    assert drain(ours)[1]


def event(detail: str = "x") -> Event:
    return Event(5, "state", detail)


def test_the_log_is_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "guard.jsonl"
    with EventLog(str(path)) as log:
        log.write(event('"quoted" and\nbroken'))
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"t_ns": 5, "event": "state", "detail": '"quoted" and\nbroken'}]


def test_a_log_that_cannot_be_opened_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="guard log"):
        EventLog(str(tmp_path / "missing" / "guard.jsonl"))


def test_no_log_is_fine() -> None:
    with EventLog(None) as log:
        log.write(event())


@pytest.mark.parametrize("locks", [True, False])
@pytest.mark.parametrize(("refused", "said"), [((), "SCHED_FIFO 10"), (("fifo",), "nice -10"), (("fifo", "nice"), "no priority")])
def test_what_was_granted_is_said(monkeypatch: pytest.MonkeyPatch, refused: tuple[str, ...], said: str, *, locks: bool) -> None:
    asked: list[str] = []

    def grant(name: str) -> None:
        asked.append(name)
        if name in refused:
            raise PermissionError(name)

    monkeypatch.setattr(os, "sched_setscheduler", lambda *_: grant("fifo"))
    monkeypatch.setattr(os, "setpriority", lambda *_: grant("nice"))
    monkeypatch.setattr("edge_vla.guard.system.ctypes.CDLL", lambda _: SimpleNamespace(mlockall=lambda _flags: 0 if locks else -1))
    assert claim_priority() == said + (", memory locked" if locks else "")
    assert asked == (["fifo"] if not refused else ["fifo", "nice"])
