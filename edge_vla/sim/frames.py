"""Frames from the simulator to its camera over a Unix socket. The reader asks for each one, so none ever waits in a queue."""

from __future__ import annotations

import select
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass

from edge_vla.errors import CameraError

HEADER = struct.Struct("<4sQQHHI")
MAGIC = b"EVF1"
NEXT = b"n"  # what the reader says when it has taken a frame and wants another
MAX_TRUTH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Header:
    """What precedes the pixels (height x width x RGB bytes) and, after them, `truth_bytes` of JSON."""

    seq: int  # counts exposures, those nobody was ready for included
    t_capture_ns: int
    width: int
    height: int
    truth_bytes: int

    def pack(self) -> bytes:
        return HEADER.pack(MAGIC, self.seq, self.t_capture_ns, self.width, self.height, self.truth_bytes)

    @staticmethod
    def unpack(data: bytes | bytearray) -> Header:
        """Raises CameraError for anything that is no header."""
        magic, seq, t_ns, width, height, truth_bytes = HEADER.unpack(data)
        if magic != MAGIC or not width or not height or truth_bytes > MAX_TRUTH_BYTES:
            raise CameraError(f"no frame header: magic {magic!r}, {width}x{height}, {truth_bytes} bytes of truth")
        return Header(seq, t_ns, width, height, truth_bytes)


class FrameServer:
    """One reader at a time; a new one replaces the old. Never blocks but in `wait`."""

    def __init__(self, path: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(1)
        self._listener.settimeout(0)
        self._reader: socket.socket | None = None
        self._asked = False
        self._rest = memoryview(b"")

    @property
    def wanted(self) -> bool:
        """The reader has taken the last frame and waits for the next."""
        return self._asked and not self._rest

    def send(self, header: Header, pixels: bytes, truth: bytes = b"") -> None:
        """Start sending a frame; `wait` sends what does not fit at once."""
        self._asked = False
        self._rest = memoryview(b"".join((header.pack(), pixels, truth)))
        self._push()

    def wait(self, until_ns: int) -> None:
        """Serve the socket until a moment of the monotonic clock."""
        while (left_ns := until_ns - time.monotonic_ns()) > 0:
            sources = [self._listener] if self._reader is None else [self._listener, self._reader]
            sinks = [self._reader] if self._reader is not None and self._rest else []
            readable, writable, _ = select.select(sources, sinks, [], left_ns * 1e-9)
            if self._listener in readable:
                self._accept()
            elif self._reader in readable:
                self._listen()
            if writable:
                self._push()

    def close(self) -> None:
        self._drop()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # gone again before it was let in
            reader, _ = self._listener.accept()
            self._drop()
            reader.settimeout(0)
            self._reader = reader

    def _listen(self) -> None:
        try:
            said = self._reader.recv(64) if self._reader else b""
        except OSError:
            said = b""
        if not said:
            self._drop()
        self._asked = bool(said)

    def _push(self) -> None:
        try:
            sent = self._reader.send(self._rest, socket.MSG_NOSIGNAL) if self._reader else len(self._rest)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop()
            return
        self._rest = self._rest[sent:]

    def _drop(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader, self._asked, self._rest = None, False, memoryview(b"")
