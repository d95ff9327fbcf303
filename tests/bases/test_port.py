"""The port on a pseudo terminal: whole frames, nothing queued, and every way a device disappears is a BaseError."""

from __future__ import annotations

import os
import tty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_vla.bases.port import Port
from edge_vla.errors import BaseError

FRAME = b'{"T":1,"L":0.1000,"R":0.1000}\n'


class Far:
    """The other end of the line."""

    def __init__(self) -> None:
        self.fd, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.fd, False)
        self.path = os.ttyname(self._slave)

    def read(self) -> bytes:
        """Everything that has arrived."""
        data = b""
        with suppress(BlockingIOError):
            while chunk := os.read(self.fd, 65536):
                data += chunk
        return data

    def unplug(self) -> None:
        for fd in (self.fd, self._slave):
            with suppress(OSError):
                os.close(fd)


@pytest.fixture
def far() -> Iterator[Far]:
    far = Far()
    yield far
    far.unplug()


@pytest.fixture
def port(far: Far) -> Iterator[Port]:
    with Port(far.path, 115200, b"\n") as port:
        yield port


def test_a_frame_arrives_as_it_was_written(far: Far, port: Port) -> None:
    assert port.write(FRAME)
    assert far.read() == FRAME
    assert not port.busy()


def test_reading_never_waits_and_never_translates(far: Far, port: Port) -> None:
    assert port.read() == b""
    os.write(far.fd, b"a\r\n\x03\x04\x11\x13\x00\xff")
    assert port.read() == b"a\r\n\x03\x04\x11\x13\x00\xff"
    assert port.read() == b""


def test_the_port_is_exclusive(far: Far, port: Port) -> None:
    with pytest.raises(BaseError, match=far.path):
        Port(far.path, 115200, b"\n")


def test_closing_frees_it(far: Far) -> None:
    Port(far.path, 115200, b"\n").close()
    with Port(far.path, 115200, b"\n") as again:
        assert again.write(FRAME)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_port_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BaseError, match=name):
        Port(str(tmp_path / name), 115200, b"\n")


@pytest.mark.parametrize("verb", ["read", "busy", "flush"])
def test_unplugged(far: Far, port: Port, verb: str) -> None:
    far.unplug()
    with pytest.raises(BaseError, match=far.path):
        getattr(port, verb)()


def test_unplugged_while_writing(far: Far, port: Port) -> None:
    far.unplug()
    with pytest.raises(BaseError, match=far.path):
        port.write(FRAME)


def test_a_line_nobody_reads_becomes_busy_and_the_next_frame_starts_on_its_own_line(far: Far, port: Port) -> None:
    written = 0
    while port.write(FRAME):
        written += 1
        assert written < 10_000
    assert port.busy()
    arrived = far.read()
    assert arrived[: written * len(FRAME)] == FRAME * written
    torn = arrived[written * len(FRAME) :]
    assert port.write(b"zero\n")
    assert far.read() == (b"\nzero\n" if torn else b"zero\n")
    assert not port.busy()


def test_flush_throws_away_what_has_not_left(port: Port) -> None:
    port.write(FRAME)
    port.flush()  # how much a pty forgets is its own affair; that it is no error is ours
    assert not port.busy()


def test_opened_again_it_is_whatever_has_that_name_now_and_the_first_frame_has_a_resync(tmp_path: Path) -> None:
    old, new = Far(), Far()
    name = tmp_path / "base"
    name.symlink_to(old.path)
    with Port(str(name), 115200, b"\n") as port:
        old.unplug()
        with pytest.raises(BaseError, match="base"):
            port.read() or port.write(FRAME)
        name.unlink()
        with pytest.raises(BaseError, match="No such file"):
            port.reopen()
        name.symlink_to(new.path)
        port.reopen()
        assert port.write(FRAME)
        assert new.read() == b"\n" + FRAME
        assert port.write(FRAME)
        assert new.read() == FRAME
    new.unplug()


def test_a_line_that_its_baud_rate_cannot_have_carried_yet_is_behind(far: Far) -> None:
    """64 bytes take 67 ms at 9600 baud."""
    with Port(far.path, 9600, b"") as port:
        port.write(FRAME * 2)
        assert not port.behind()
        port.write(FRAME)
        assert port.behind()
        port.flush()
        assert not port.behind()


@pytest.mark.parametrize(("error", "gone"), [(BlockingIOError(), False), (OSError(5, "Input/output error"), True)])
def test_an_adapter_that_disappears(far: Far, port: Port, monkeypatch: pytest.MonkeyPatch, error: OSError, *, gone: bool) -> None:
    """A USB adapter fails in the call itself, where a pty only hangs up."""

    def fail(*_: object) -> bytes:
        raise error

    os.write(far.fd, b"x")
    for verb in ("read", "write"):
        monkeypatch.setattr(f"edge_vla.bases.port.os.{verb}", fail)
    if gone:
        for call in (port.read, lambda: port.write(FRAME)):
            with pytest.raises(BaseError, match="Input/output error"):
                call()
    else:
        assert port.read() == b""
        assert not port.write(FRAME)
        assert port.busy()


def test_readable_with_nothing_to_read_is_gone(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hung-up tty is readable, and what is read is nothing."""
    with Port(far.path, 115200, b"") as port:
        os.write(far.fd, b"x")
        monkeypatch.setattr("edge_vla.bases.port.os.read", lambda *_: b"")
        with pytest.raises(BaseError, match="nothing to read"):
            port.read()
