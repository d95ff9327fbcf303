"""The frame socket: only what was asked for, never a queue, never a block, and garbage is refused."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_vla.errors import CameraError
from edge_vla.sim.frames import HEADER, MAX_TRUTH_BYTES, NEXT, FrameServer, Header

BIG = 640 * 480 * 3  # more than a socket buffer takes at once


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FrameServer]:
    server = FrameServer(str(tmp_path / "frames"))
    yield server
    server.close()


@pytest.fixture
def reader(server: FrameServer, tmp_path: Path) -> Iterator[socket.socket]:
    with connect(tmp_path) as reader:
        yield reader


def connect(folder: Path) -> socket.socket:
    reader = socket.socket(socket.AF_UNIX)
    reader.connect(str(folder / "frames"))
    reader.settimeout(0)
    return reader


def serve(server: FrameServer, *, until_wanted: bool = False) -> bool:
    """A few rounds of the server's loop."""
    for _ in range(20):
        server.wait(time.monotonic_ns() + 1_000_000)
        if until_wanted and server.wanted:
            break
    return server.wanted


def receive(server: FrameServer, reader: socket.socket) -> bytes:
    """Everything on its way."""
    data = bytearray()
    while True:
        server.wait(time.monotonic_ns() + 200_000)
        try:
            data += reader.recv(1 << 20)
        except BlockingIOError:
            return bytes(data)


def frame(seq: int, size: int = BIG) -> tuple[Header, bytes]:
    return Header(seq, 1000 + seq, 640, 480, 0), bytes([seq]) * size


def test_a_header_survives_the_wire() -> None:
    header = Header(2**40, 2**50, 320, 240, 999)
    assert len(header.pack()) == HEADER.size
    assert Header.unpack(header.pack()) == header


@pytest.mark.parametrize(
    "header",
    [
        HEADER.pack(b"EVF0", 1, 1, 320, 240, 0),
        HEADER.pack(b"EVF1", 1, 1, 0, 240, 0),
        HEADER.pack(b"EVF1", 1, 1, 320, 0, 0),
        HEADER.pack(b"EVF1", 1, 1, 320, 240, MAX_TRUTH_BYTES + 1),
    ],
)
def test_a_header_that_is_none_is_refused(header: bytes) -> None:
    with pytest.raises(CameraError, match="no frame header"):
        Header.unpack(header)


def test_nothing_is_wanted_before_somebody_asks(server: FrameServer, reader: socket.socket) -> None:
    assert not serve(server)
    reader.send(NEXT)
    assert serve(server, until_wanted=True)


def test_a_reader_that_does_not_read_gets_one_frame_and_no_queue(server: FrameServer, reader: socket.socket) -> None:
    reader.send(NEXT)
    serve(server, until_wanted=True)
    server.send(*frame(1))
    assert not serve(server)  # returns: nothing blocks
    data = receive(server, reader)
    assert data == frame(1)[0].pack() + frame(1)[1]
    assert not serve(server)  # taken, but the next was not asked for
    reader.send(NEXT)
    assert serve(server, until_wanted=True)


def test_asking_while_a_frame_is_still_leaving_waits_for_its_end(server: FrameServer, reader: socket.socket) -> None:
    reader.send(NEXT)
    serve(server, until_wanted=True)
    server.send(*frame(1))
    reader.send(NEXT)
    assert not serve(server)
    receive(server, reader)
    assert serve(server, until_wanted=True)


def test_a_new_reader_replaces_the_old_one(server: FrameServer, reader: socket.socket, tmp_path: Path) -> None:
    reader.send(NEXT)
    serve(server, until_wanted=True)
    server.send(*frame(1))  # half of it stays behind
    with connect(tmp_path) as second:
        second.send(NEXT)
        assert serve(server, until_wanted=True)
        server.send(*frame(2))
        assert receive(server, second) == frame(2)[0].pack() + frame(2)[1]


def test_a_reader_that_leaves_takes_its_wish_along(server: FrameServer, reader: socket.socket) -> None:
    reader.send(NEXT)
    serve(server, until_wanted=True)
    server.send(*frame(1))
    reader.close()
    assert not serve(server)
    server.send(*frame(2))  # into the void
    assert not server.wanted
