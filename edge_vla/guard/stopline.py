"""The STOP line: a socket of the guard's own that any process of this user may write to. Whatever arrives there is a stop."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path

from edge_vla.guard.private import PATH_BYTES, PrivateSocket, private, runtime_folder, runtime_folders

__all__ = ["PATH_BYTES", "SUFFIX", "StopLine", "private", "runtime_folder", "runtime_folders", "stop_all"]

SUFFIX = ".stop"


class StopLine(PrivateSocket):
    """The guard's end."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError where no private socket can be made."""
        super().__init__(folder, SUFFIX)

    def said(self) -> bool:
        """Whether anybody has written since the last call."""
        return bool(self.heard())


def stop_all(folder: Path | None = None) -> tuple[int, int]:
    """Write to every STOP line of `folder`, or of all this user reaches: (guards told, lines that nobody listens to any more, removed)."""
    folders = runtime_folders() if folder is None else [folder]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as line:
        told = [_told(line, path) for place in folders for path in sorted(place.glob(f"*{SUFFIX}"))]
    return sum(told), len(told) - sum(told)


def _told(line: socket.socket, path: Path) -> bool:
    try:
        line.sendto(b"STOP", str(path))
    except BlockingIOError:
        pass  # full of stops that it has not read yet
    except OSError:
        with suppress(OSError):
            path.unlink()
        return False
    return True
