"""Words to systemd over a real datagram socket: by path and by abstract name, at the pace it asked for, into nowhere without a murmur."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from edge_vla.guard.sdnotify import Notifier

MS = 1_000_000


def listener(address: str) -> socket.socket:
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    ear.bind("\0" + address[1:] if address.startswith("@") else address)
    return ear


def heard(ear: socket.socket) -> list[bytes]:
    said = []
    with suppress(BlockingIOError):
        while True:
            said.append(ear.recv(4096))
    return said


@pytest.mark.parametrize("abstract", [False, True])
def test_its_words(tmp_path: Path, abstract: bool) -> None:
    address = f"@edge_vla-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    notifier = Notifier.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"})
    with listener(address) as ear:
        assert notifier.ready()
        assert notifier.beat(5 * MS)
        assert notifier.stopping()
        assert heard(ear) == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    notifier.close()


def test_four_beats_in_the_time_that_is_waited_for_one(tmp_path: Path) -> None:
    notifier = Notifier(str(tmp_path / "notify"), 1_000_000)
    with listener(str(tmp_path / "notify")) as ear:
        beats = [now_ms for now_ms in range(1000, 3000, 20) if notifier.beat(now_ms * MS)]
        assert beats == [1000, 1260, 1520, 1780, 2040, 2300, 2560, 2820], "the first tick after a quarter"
        assert heard(ear) == [b"WATCHDOG=1"] * 8
    notifier.close()


@pytest.mark.parametrize(
    "environment",
    [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "relative"}, {"WATCHDOG_USEC": "1000000"}, {"NOTIFY_SOCKET": "vsock:2:1"}],
)
def test_nobody_supervises(environment: dict[str, str]) -> None:
    notifier = Notifier.of(environment)
    assert [notifier.ready(), notifier.beat(0), notifier.beat(10**12), notifier.stopping()] == [False] * 4
    assert notifier.unsent == 0
    notifier.close()


@pytest.mark.parametrize("microseconds", ["", "0", "soon", "-1"])
def test_no_watchdog_no_beats(tmp_path: Path, microseconds: str) -> None:
    with listener(str(tmp_path / "notify")) as ear:
        notifier = Notifier.of({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": microseconds})
        assert not notifier.beat(10**12)
        assert notifier.ready()
        assert heard(ear) == [b"READY=1"]
        notifier.close()


def test_a_supervisor_that_is_gone_or_does_not_read_is_counted_and_not_waited_for(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    notifier = Notifier(address, 4)
    assert not notifier.ready()
    assert notifier.unsent == 1
    with listener(address) as ear:
        sent = 0
        while notifier.beat(sent * MS):
            sent += 1
            assert sent < 10_000
        assert notifier.unsent == 2
        assert heard(ear) == [b"WATCHDOG=1"] * sent
        assert notifier.beat(10**12)
    assert not notifier.stopping()
    assert notifier.unsent == 3
    notifier.close()
