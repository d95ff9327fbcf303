"""A key of a terminal, for an operator over SSH. A terminal says when a key repeats and never when it is let go, so silence is letting go.

The first press counts for `first_ms`, which is how long a keyboard waits before it repeats; from the second byte on silence of `repeat_ms`
is a release. So is a network that stalls for as long. What it cannot do: notice a release any sooner.
"""

from __future__ import annotations

import os
import termios
import time
from collections.abc import Callable
from contextlib import suppress

from edge_vla.errors import ConfigError
from edge_vla.inputs.button import InputGone, News

NAMED = {"space": b" ", "enter": b"\r\n", "tab": b"\t", "any": bytes(range(256))}
SILENCE_MS = (150, 600)
BYTES_A_READ = 256
LFLAG, CC = 3, 6  # places in what termios tells


class KeyboardButton:
    """Key `key`: a letter, or one of `NAMED`, typed at `device`. Ctrl-C stays what it is."""

    def __init__(
        self, device: str = "/dev/tty", key: str = "space", first_ms: int = 600, repeat_ms: int = 150,
        *, clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:  # fmt: skip
        """Raises InputGone where there is no such terminal, ConfigError for words that say nothing."""
        self._key, self._silence_ns = _bytes_of(key), _checked(first_ms, repeat_ms)
        self._device, self._clock = device, clock
        self._news = News()
        self._news.note(held=False)
        self._until_ns: int | None = None  # held, unless it is heard again
        try:
            self._fd = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as err:
            raise InputGone(f"{device}: {err.strerror}; a terminal is wanted: ssh -t, or another --input") from err
        try:
            self._found = termios.tcgetattr(self._fd)
            self._listen()
        except termios.error as err:
            os.close(self._fd)
            raise InputGone(f"{device} is no terminal: {err.args[-1]}") from err

    def fileno(self) -> int:
        return self._fd

    def read(self) -> bool | None:
        now_ns = self._clock()
        if self._until_ns is not None and now_ns > self._until_ns:
            self._until_ns = None
            self._news.note(held=False)
        if not self._news:
            self._hear(now_ns)
        return self._news.tell()

    def close(self) -> None:
        """Leaves the terminal as it was, and nothing of the key for whoever reads it next."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        with suppress(termios.error):  # of a terminal that is gone
            termios.tcflush(fd, termios.TCIFLUSH)
            termios.tcsetattr(fd, termios.TCSANOW, self._found)
        os.close(fd)

    def _listen(self) -> None:
        """Key by key, without showing them. What was typed before is not meant."""
        attributes = termios.tcgetattr(self._fd)
        attributes[LFLAG] &= ~(termios.ICANON | termios.ECHO)
        attributes[CC][termios.VMIN], attributes[CC][termios.VTIME] = 1, 0
        termios.tcsetattr(self._fd, termios.TCSANOW, attributes)
        termios.tcflush(self._fd, termios.TCIFLUSH)

    def _hear(self, now_ns: int) -> None:
        try:
            data = os.read(self._fd, BYTES_A_READ)
        except BlockingIOError:
            return
        except OSError as err:
            raise InputGone(f"{self._device}: {err.strerror}") from err
        if not data:
            raise InputGone(f"{self._device}: the terminal is gone")
        if count := sum(byte in self._key for byte in data):
            first_ns, repeat_ns = self._silence_ns
            self._until_ns = now_ns + (first_ns if count == 1 and self._until_ns is None else repeat_ns)
            self._news.note(held=True)


def _bytes_of(key: str) -> bytes:
    if key in NAMED:
        return NAMED[key]
    if len(key) == 1 and " " < key <= "~":
        return (key.lower() + key.upper()).encode()
    raise ConfigError(f"keyboard key={key!r}: want one character, or {', '.join(NAMED)}")


def _checked(first_ms: int, repeat_ms: int) -> tuple[int, int]:
    """In ns."""
    least, most = SILENCE_MS
    if not least <= repeat_ms <= first_ms <= most:
        raise ConfigError(f"keyboard first_ms={first_ms}, repeat_ms={repeat_ms}: want {least} <= repeat_ms <= first_ms <= {most}")
    return first_ms * 1_000_000, repeat_ms * 1_000_000
