"""A firmware behind a pseudo terminal: what the guard opens is a tty like any other. Paced by the baud rate, as a UART is."""

from __future__ import annotations

import os
import select
import tty
from types import TracebackType
from typing import Protocol

BITS_PER_BYTE = 10  # 8N1
MAX_SAID = 4096  # bytes nobody has read yet; a UART would have lost them long ago


class Firmware(Protocol):
    """A controller on a virtual clock."""

    def feed(self, data: bytes, now_ns: int) -> None: ...

    def step(self, now_ns: int) -> None: ...

    def read(self, now_ns: int) -> bytes: ...


class PtyLine:
    """Serves one firmware at `path`. Call `pump` every few milliseconds; `hung_up` says that whoever had opened it has closed it."""

    def __init__(self, firmware: Firmware, baud: int = 115200) -> None:
        self.hung_up = False
        self._firmware = firmware
        self._byte_ns = BITS_PER_BYTE * 1_000_000_000 / baud
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._opened = False
        self._last_ns: int | None = None
        self._allowance = 0.0  # bytes the line has had time to carry
        self._said = bytearray()

    def __enter__(self) -> PtyLine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def pump(self, now_ns: int) -> None:
        """Carry bytes both ways and let the firmware run to `now_ns`."""
        elapsed_ns = 0 if self._last_ns is None else now_ns - self._last_ns
        self._last_ns = now_ns
        self._allowance = min(self._allowance + elapsed_ns / self._byte_ns, elapsed_ns / self._byte_ns + 1.0)
        peer = self._peer()
        self.hung_up = self._opened and not peer
        self._opened = self._opened or peer
        if peer:
            self._firmware.feed(self._listen(), now_ns)
        self._firmware.step(now_ns)
        self._said += self._firmware.read(now_ns)
        self._speak(peer=peer)

    def close(self) -> None:
        """Pull the plug: the other side sees its device disappear."""
        os.close(self._master)

    def _peer(self) -> bool:
        """Somebody has the slave open."""
        poll = select.poll()
        poll.register(self._master, select.POLLIN)
        return not any(event & select.POLLHUP for _, event in poll.poll(0))

    def _listen(self) -> bytes:
        room = int(self._allowance)
        if room <= 0:
            return b""
        try:
            data = os.read(self._master, room)
        except OSError:  # nothing there, or closed a moment ago
            return b""
        self._allowance -= len(data)
        return data

    def _speak(self, *, peer: bool) -> None:
        if not peer:
            self._said.clear()  # a UART does not wait for a listener
            return
        try:
            written = os.write(self._master, self._said)
        except OSError:
            written = 0
        del self._said[:written]
        del self._said[:-MAX_SAID]
