"""Whole lines to a file by a thread of its own: a full or stuck disk costs lines, never the time of whoever writes them."""

from __future__ import annotations

import os
import queue
import threading
from contextlib import suppress
from types import TracebackType

STDERR = 2  # past Python's buffer, which would keep what a full disk refused and fail again at the end


class LineLog:
    """Appends to `path`. At most `room` lines wait; `lost` counts those that did not fit or were refused, and stderr hears of it once."""

    def __init__(self, path: str, room: int, close_s: float) -> None:
        """Raises OSError when the file cannot be opened."""
        self._path, self._room, self._close_s = path, room, close_s
        self._crowded = self._refused = 0  # one writer each: the caller's thread, this one's
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self._thread.start()

    def __enter__(self) -> LineLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def lost(self) -> int:
        return self._crowded + self._refused

    def write(self, line: bytes) -> None:
        """Hand over one line with its end, or count it as lost. Never waits."""
        if self._lines.qsize() < self._room:
            self._lines.put(line)
        else:
            self._crowded += 1

    def close(self) -> None:
        """Give the thread a moment to finish; a stuck disk does not keep the caller."""
        self._lines.put(None)
        self._thread.join(self._close_s)

    def _run(self) -> None:
        told = False
        while (line := self._lines.get()) is not None:
            why = self._append(line)
            self._refused += bool(why)
            if self.lost and not told:
                told = True
                self._tell(f"{why or 'too slow'}: lines are lost")
        if told:
            self._tell(f"{self.lost} lines were lost")
        os.close(self._fd)

    def _append(self, line: bytes) -> str:
        """Write a line, or nothing of it; why not, if not."""
        try:
            written = os.write(self._fd, line)  # unbuffered: what could not be written is not tried again at the end
        except OSError as err:
            return err.strerror or str(err)
        if written == len(line):
            return ""
        with suppress(OSError):  # a pipe
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
        return "no room for a whole line"

    def _tell(self, what: str) -> None:
        with suppress(OSError):
            os.write(STDERR, f"{self._path}: {what}\n".encode())
