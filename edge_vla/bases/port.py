"""A serial port that never blocks and never queues: whole frames in one write, whatever has arrived in one read."""

from __future__ import annotations

import os
import select
import termios
import time
from contextlib import suppress
from types import TracebackType

import serial

from edge_vla.errors import BaseError

READ_BYTES = 4096
BUSY_BYTES = 64  # about two frames: more than that waiting means the line is slower than the guard
BITS_PER_BYTE = 10  # 8N1


class Port:
    """Owns one tty exclusively. `resync` ends a half-written frame before the next one."""

    def __init__(self, path: str, baud: int, resync: bytes) -> None:
        self.path = path
        self._resync = resync
        self._torn = False  # half a frame has left
        self._stuck = False  # the last frame did not fit
        self._byte_s = BITS_PER_BYTE / baud
        self._carried_s = 0.0  # when the line has carried all that it was given, by its baud rate
        self._serial = serial.Serial()
        self._serial.port = path
        self._serial.baudrate = baud
        self._serial.timeout = 0
        self._serial.write_timeout = 0
        self._serial.exclusive = True
        self._serial.dtr = False  # set before opening: a toggled DTR or RTS reboots an ESP32
        self._serial.rts = False
        self._open()

    def __enter__(self) -> Port:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _open(self) -> None:
        try:
            self._serial.open()
            self._fd: int = self._serial.fileno()
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLIN)
            self._keep_lines_at_close()
        except (OSError, termios.error) as err:  # SerialException is an OSError
            self._serial.close()
            raise BaseError(f"{self.path}: {err}") from err

    def reopen(self) -> None:
        """The device that has this name now, from its first byte on. Raises BaseError while there is none."""
        self.close()
        self._open()
        self._torn, self._stuck = True, False  # whatever the other end has heard so far, it is not the beginning of a frame

    def _keep_lines_at_close(self) -> None:
        """Without HUPCL the kernel leaves DTR as it is when the port closes."""
        attributes = termios.tcgetattr(self._fd)
        attributes[2] &= ~termios.HUPCL
        termios.tcsetattr(self._fd, termios.TCSANOW, attributes)

    def read(self) -> bytes:
        """What has arrived, b"" for nothing. Raises BaseError when the device is gone."""
        try:
            if not self._poll.poll(0):
                return b""
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as err:
            raise BaseError(f"{self.path}: {err}") from err
        if not data:
            raise BaseError(f"{self.path}: readable, but nothing to read: the device is gone")
        return data

    def busy(self) -> bool:
        """More than a frame still waits to leave, or the last one did not fit. Raises BaseError."""
        try:
            return bool(self._serial.out_waiting > BUSY_BYTES) or self._stuck
        except OSError as err:
            raise BaseError(f"{self.path}: {err}") from err

    def behind(self) -> bool:
        """More than a frame that its baud rate cannot have carried yet: a pty, and many an adapter, never says how much waits."""
        return (self._carried_s - time.monotonic()) / self._byte_s > BUSY_BYTES

    def write(self, frame: bytes) -> bool:
        """Hand over one whole frame; False when the line had no room for all of it. Raises BaseError."""
        data = self._resync + frame if self._torn else frame
        try:
            taken = os.write(self._fd, data)
        except BlockingIOError:
            taken = 0
        except OSError as err:
            raise BaseError(f"{self.path}: {err}") from err
        self._carried_s = max(self._carried_s, time.monotonic()) + taken * self._byte_s
        self._stuck = taken < len(data)
        self._torn = self._stuck and (taken > 0 or self._torn)
        return not self._stuck

    def flush(self) -> None:
        """Throw away what has not left yet. Raises BaseError."""
        self._carried_s = 0.0
        try:
            self._serial.reset_output_buffer()
        except (OSError, termios.error) as err:
            raise BaseError(f"{self.path}: {err}") from err

    def close(self) -> None:
        with suppress(OSError, termios.error):  # of a device that is gone
            self._serial.close()
