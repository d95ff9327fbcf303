"""The loop in this process, on a real tty with a firmware behind it: what it does when port, link or its own core fail."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_vla.bases import make_base
from edge_vla.bases.port import Port
from edge_vla.errors import BaseError
from edge_vla.guard.client import GuardClient, SocketWire
from edge_vla.guard.core import Guard
from edge_vla.guard.limits import Limits
from edge_vla.guard.loop import Around, Backoff, Loop, describe_times
from edge_vla.guard.memory import LatchMemory
from edge_vla.guard.sdnotify import Notifier
from edge_vla.guard.state import FaultCode, GuardState
from edge_vla.guard.stopline import StopLine
from edge_vla.guard.system import EXIT_STILL, EXIT_UNCONFIRMED, EventLog, WorkerWatch
from edge_vla.sim.firmware import make_firmware
from edge_vla.sim.firmware.pty import PtyLine
from edge_vla.sim.firmware.wheels import FirstOrderWheels

MS = 1_000_000
PATIENCE_S = 20.0


class Bench:
    """A loop in a thread; this thread is the base and the worker."""

    def __init__(self, folder: Path) -> None:
        self.name = folder / "base"
        self.wheels = FirstOrderWheels()
        self.line = self.plug()
        self.base = make_base("waveshare")
        self.guard = Guard(self.base, Limits(), 7)
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.wire = SocketWire(ours)
        self.client = GuardClient(self.wire, 7)
        self.link = ours
        self.port = Port(str(self.name), 115200, self.base.traits.resync)
        self.log_path = folder / "guard.jsonl"
        self.stops = StopLine(folder / "run")
        self.log = EventLog(str(self.log_path))
        around = Around(self.theirs, WorkerWatch(os.getpid()), self.log, self.stops, None, LatchMemory(None), Notifier())
        self.loop = Loop(self.guard, self.base, self.port, around)
        self.code: int | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def plug(self) -> PtyLine:
        line = PtyLine(make_firmware("waveshare", {}, self.wheels))
        self.name.unlink(missing_ok=True)
        self.name.symlink_to(line.path)
        return line

    def _run(self) -> None:
        try:
            self.code = self.loop.run(50)
        except ValueError as err:
            self.error = err

    def until(self, condition) -> None:
        """Be the base until it holds."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < give_up_s, "it did not happen in time"
            now_ns = time.monotonic_ns()
            self.wheels.advance(0.005)
            self.line.pump(now_ns)
            self.client.poll()
            time.sleep(0.005)

    def state(self) -> GuardState | None:
        return None if self.client.status is None else self.client.status.state

    def fault(self) -> FaultCode | None:
        return None if self.client.status is None else self.client.status.fault

    def ended(self) -> bool:
        return not self.thread.is_alive()

    def close(self) -> None:
        self.loop.leave = True
        self.link.close()
        if self.thread.is_alive():
            self.thread.join(PATIENCE_S)
        for held in (self.theirs, self.port, self.stops, self.log):
            held.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def disarmed(bench: Bench) -> Bench:
    bench.thread.start()
    bench.until(lambda: bench.state() is GuardState.DISARMED)
    return bench


def test_bye_ends_it_with_zero_confirmed_and_its_times_told(bench: Bench) -> None:
    disarmed(bench).client.bye()
    bench.until(bench.ended)
    bench.log.close()
    assert bench.code == EXIT_STILL
    assert {'"event": "ticks"', '"event": "late"'} <= set(bench.log_path.read_text().replace("{", ",").split(", "))


def test_asked_to_leave_it_leaves(bench: Bench) -> None:
    disarmed(bench).loop.leave = True
    bench.until(bench.ended)
    assert (bench.code, bench.fault()) == (EXIT_STILL, FaultCode.TERMINATED)


def test_a_link_that_is_closed_is_a_dead_worker(bench: Bench) -> None:
    disarmed(bench)
    bench.link.close()
    bench.client.poll = lambda: None  # type: ignore[method-assign, assignment, return-value]
    bench.until(bench.ended)
    assert bench.code == EXIT_STILL
    assert bench.guard.control.machine.fault is FaultCode.WORKER_DEAD


def test_a_worker_that_never_reads_changes_nothing(bench: Bench) -> None:
    bench.theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    disarmed(bench)
    began = len(bench.loop._took_ns)
    poll, bench.client.poll = bench.client.poll, lambda: None  # type: ignore[method-assign, assignment, return-value]
    bench.until(lambda: len(bench.loop._took_ns) > began + 50)
    bench.client.poll = poll  # type: ignore[method-assign]
    bench.client.bye()
    bench.until(bench.ended)
    assert bench.code == EXIT_STILL


def test_unplugged_and_plugged_in_again(bench: Bench) -> None:
    disarmed(bench).line.close()
    bench.line = PtyLine(make_firmware("waveshare", {}, bench.wheels))  # not behind the name yet: nothing to find
    bench.until(lambda: bench.fault() is FaultCode.PORT_LOST)
    bench.until(lambda: bench.loop._replug._wait_ns > 250 * MS)
    spare, bench.line = bench.line, bench.plug()
    spare.close()
    bench.until(lambda: bench.client.status is not None and bench.client.status.still)
    assert bench.state() is GuardState.FAULT_LATCHED

    def reset() -> bool:
        bench.client.reset(bench.client.status.fault_id)  # type: ignore[union-attr]
        return bench.state() is GuardState.DISARMED

    bench.until(reset)
    bench.client.bye()
    bench.until(bench.ended)
    assert bench.code == EXIT_STILL


def test_unplugged_for_good_it_ends_unconfirmed(bench: Bench) -> None:
    disarmed(bench).line.close()
    bench.name.unlink()
    bench.line = PtyLine(make_firmware("waveshare", {}, bench.wheels))
    bench.until(lambda: bench.fault() is FaultCode.PORT_LOST)
    bench.client.bye()
    bench.until(bench.ended)
    assert bench.code == EXIT_UNCONFIRMED


def test_a_write_that_fails_is_a_lost_port(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    disarmed(bench)

    def fail(_frame: bytes) -> bool:
        raise BaseError("gone between reading and writing")

    monkeypatch.setattr(bench.port, "write", fail)
    bench.until(lambda: bench.fault() is FaultCode.PORT_LOST)


def test_a_frame_that_did_not_fit_was_not_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    disarmed(bench)
    sent: list[bytes] = []
    monkeypatch.setattr(bench.base, "sent", lambda frame, _now_ns: sent.append(frame))
    bench.until(lambda: len(sent) > 3)
    monkeypatch.setattr(bench.port, "write", lambda _frame: False)
    ticks = len(bench.loop._took_ns) + 1
    bench.until(lambda: len(bench.loop._took_ns) > ticks)
    count = len(sent)
    bench.until(lambda: len(bench.loop._took_ns) > ticks + 5)
    assert len(sent) == count


def test_a_run_of_days_keeps_the_times_of_its_first_hours(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_vla.guard.loop.MAX_TIMED", 3)
    disarmed(bench)
    assert (len(bench.loop._took_ns), len(bench.loop._late_ns)) == (3, 3)


def test_a_bug_in_the_core_says_zero_with_its_last_breath(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    disarmed(bench)
    said: list[bytes] = []
    monkeypatch.setattr(bench.port, "write", lambda frame: said.append(frame) or True)

    def broken(*_args: object, **_options: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(bench.guard, "tick", broken)
    bench.until(bench.ended)
    assert str(bench.error) == "a bug"
    assert said[-1] == bench.base.encode(bench.base.decode_command(said[-1])) == b'{"T":1,"L":0.0000,"R":0.0000}\n'


def test_it_is_tried_again_ever_more_seldom() -> None:
    backoff = Backoff()
    due = [t_ms for t_ms in range(0, 12_000, 10) if backoff.due(t_ms * MS)]
    assert due[:3] == [250, 750, 1750]
    assert [b - a for a, b in itertools.pairwise(due[2:])] == [2000] * (len(due) - 3)


def test_times_of_nothing_are_none() -> None:
    from array import array

    assert describe_times(array("q")) == "none"
    assert describe_times(array("q", [2_000_000, 1_000_000])) == "n 2, p50 1.000 ms, p99 2.000 ms, p99.9 2.000 ms, longest 2.000 ms"
