"""The pseudo terminal around a firmware: paced like a UART, deaf without a listener, and it notices a hang-up."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from edge_vla.bases.port import Port
from edge_vla.sim.firmware.pty import PtyLine

MS = 1_000_000


class Parrot:
    """A firmware that keeps what it hears and says what it is told to."""

    def __init__(self) -> None:
        self.heard = b""
        self.to_say = b""

    def feed(self, data: bytes, now_ns: int) -> None:
        self.heard += data

    def step(self, now_ns: int) -> None: ...

    def read(self, now_ns: int) -> bytes:
        said, self.to_say = self.to_say, b""
        return said


@pytest.fixture
def parrot() -> Parrot:
    return Parrot()


@pytest.fixture
def line(parrot: Parrot) -> Iterator[PtyLine]:
    with PtyLine(parrot, baud=115200) as line:
        line.pump(0)
        yield line


def test_both_ways_unchanged(line: PtyLine, parrot: Parrot) -> None:
    with Port(line.path, 115200, b"\n") as port:
        port.write(b"hello\r\n\x03")
        parrot.to_say = b"{}\r\n\xff\x00"
        line.pump(10 * MS)
        assert parrot.heard == b"hello\r\n\x03"
        assert port.read() == b"{}\r\n\xff\x00"


@pytest.mark.parametrize(("baud", "per_10_ms"), [(115200, 115), (9600, 9)])
def test_bytes_arrive_at_the_lines_pace(parrot: Parrot, baud: int, per_10_ms: int) -> None:
    with PtyLine(parrot, baud) as line, Port(line.path, 115200, b"\n") as port:
        line.pump(0)
        port.write(b"x" * 400)
        line.pump(10 * MS)
        assert len(parrot.heard) in (per_10_ms, per_10_ms + 1)
        for i in range(2, 11):
            line.pump(i * 10 * MS)
        assert min(400, baud // 100) - len(parrot.heard) in (0, 1)


def test_what_is_said_to_nobody_is_lost(line: PtyLine, parrot: Parrot) -> None:
    parrot.to_say = b"into the void\n"
    line.pump(5 * MS)
    with Port(line.path, 115200, b"\n") as port:
        line.pump(10 * MS)
        assert port.read() == b""


def test_a_listener_that_does_not_listen_costs_a_bounded_memory(line: PtyLine, parrot: Parrot) -> None:
    with Port(line.path, 115200, b"\n"):
        for i in range(1, 300):
            parrot.to_say = b"x" * 1000
            line.pump(i * MS)
        assert len(line._said) <= 4096


def test_a_hang_up_is_seen_and_so_is_the_next_caller(line: PtyLine) -> None:
    assert not line.hung_up  # nobody has called yet
    with Port(line.path, 115200, b"\n"):
        line.pump(5 * MS)
        assert not line.hung_up
    line.pump(10 * MS)
    assert line.hung_up
    with Port(line.path, 115200, b"\n"):
        line.pump(15 * MS)
        assert not line.hung_up


def test_no_echo_reaches_the_firmware(line: PtyLine, parrot: Parrot) -> None:
    with Port(line.path, 115200, b"\n"):
        parrot.to_say = b'{"T":1001}\r\n'
        line.pump(5 * MS)
        line.pump(10 * MS)
        assert parrot.heard == b""


def test_the_path_is_a_tty(line: PtyLine) -> None:
    fd = os.open(line.path, os.O_RDWR | os.O_NOCTTY)
    assert os.isatty(fd)
    os.close(fd)
