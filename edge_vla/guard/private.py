"""Sockets that only this user's processes can write to, in a folder of their own. Knows nothing about what is said there."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from edge_vla.errors import ConfigError
from edge_vla.guard.system import drain

Own = TypeVar("Own", bound="PrivateSocket")
SERVICE = Path("/run/edge_vla/edge_vla")  # of launch/edge_vla.service, which no login shell calls its own
PATH_BYTES = 107  # of a socket's name, in Linux


def runtime_folder() -> Path:
    """Where the sockets of this user's guards are: private, and gone with the session where the system has such a place."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base, "edge_vla") if base and Path(base).is_dir() else Path(f"/tmp/edge_vla-{os.getuid()}")  # noqa: S108 - checked below


def runtime_folders() -> list[Path]:
    """Wherever a guard may listen to this user: in this session, under systemd, in a login of another kind. Those that are there."""
    user = os.getuid()
    known = (runtime_folder(), SERVICE, Path(f"/run/user/{user}/edge_vla"), Path(f"/tmp/edge_vla-{user}"))  # noqa: S108 - read only
    return [folder for folder in dict.fromkeys(known) if os.access(folder, os.W_OK | os.X_OK)]


def private(folder: Path) -> Path:
    """`folder`, made with mode 0700 where it is not there. Raises ConfigError for one that others own or may enter."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as err:
        raise ConfigError(f"{folder}: {err.strerror}") from err
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(
            f"{folder}: want a folder of this user alone, mode 0700; it is owned by {found.st_uid}, mode {found.st_mode & 0o777:04o}"
        )
    return folder


class PrivateSocket:
    """A guard's ear. Its name carries the guard's pid; it is gone with the guard, or removed by the next one that listens."""

    def __init__(self, folder: Path, suffix: str) -> None:
        """Raises ConfigError where no private socket can be made."""
        self.path = private(folder) / f"{os.getpid()}{suffix}"
        if len(bytes(self.path)) > PATH_BYTES:
            raise ConfigError(f"{self.path}: too long for a socket's name, want at most {PATH_BYTES} bytes")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self.path.unlink(missing_ok=True)
            self._socket.bind(str(self.path))
            self.path.chmod(0o600)
        except OSError as err:
            self._socket.close()
            raise ConfigError(f"{self.path}: {err.strerror}") from err

    def __enter__(self: Own) -> Own:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def heard(self) -> list[bytes]:
        """What has been written since the last call; of a flood, as much as a tick has time for. Never waits."""
        packets, empty = drain(self._socket)
        return [*packets, b""] if empty else packets  # a datagram of nothing looks like an end

    def close(self) -> None:
        self._socket.close()
        with suppress(OSError):
            self.path.unlink()
