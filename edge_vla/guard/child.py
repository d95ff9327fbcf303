"""A module of ours as a process in a session of its own, told its settings on stdin and talked to over a SOCK_SEQPACKET pair.

Standard library only. Knows neither what the module does nor what is said on the link.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import suppress
from typing import IO, cast


class Child:
    """Runs `python -m module --link-fd N`. `link` is this process's end; `exit_code` is None until `reap`."""

    def __init__(self, module: str, settings: str, stderr: int | IO[bytes]) -> None:
        self.exit_code: int | None = None
        self.link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, "--link-fd", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),), stdin=subprocess.PIPE, stderr=stderr, start_new_session=True,
            )  # fmt: skip
        # A pipe that is broken is one of a process that ended already: whoever listens for its first word finds out.
        with suppress(BrokenPipeError), cast("IO[bytes]", self._process.stdin) as stdin:
            stdin.write(settings.encode() + b"\n")

    @property
    def pid(self) -> int:
        return self._process.pid

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def reap(self, grace_s: float) -> bytes:
        """Wait for the end, kill after `grace_s`, close the link. What a piped stderr held comes back, once."""
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self.exit_code = self._process.wait()
        self.link.close()
        stderr = self._process.stderr
        if stderr is None or stderr.closed:
            return b""
        with stderr:
            return stderr.read()
