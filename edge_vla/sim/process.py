"""The worker's end of a simulator process: start it, ask it for the truth, end it. Spawns and talks; never imports MuJoCo."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_vla.errors import BaseError, ConfigError
from edge_vla.sim.settings import Fault, SimSettings
from edge_vla.sim.view import GroundTruth

START_S = 90.0  # importing, building the room and compiling shaders takes two; a machine that trains beside it, more
ANSWER_S = 5.0
END_S = 5.0
MAX_ANSWER = 1 << 17
EXIT_REFUSED = 2


class SimProcess:
    """A simulator in a process and session of its own. `port` is its tty, `frames` its camera's socket.

    Close the guard first: leaving the context ends the simulator at once. Should this process die instead, the simulator stays for
    four seconds more, so that the guard can see the wheels stand.
    """

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, log: Path) -> None:
        self.port, self.frames = "", ""
        self.exit_code: int | None = None
        self._process, self._control, self._log = process, control, log

    @classmethod
    def start(cls, settings: SimSettings, timeout_s: float = START_S) -> SimProcess:
        """Start a simulator and wait until it is ready. Raises ConfigError with what it said when it refuses."""
        log = Path(settings.folder) / "simulator.log"
        try:
            stderr = log.open("ab")
        except OSError as err:
            raise ConfigError(f"{log}: {err.strerror}") from err
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "edge_vla.sim", "--link-fd", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),), stdin=subprocess.PIPE, stderr=stderr, start_new_session=True,
            )  # fmt: skip
        sim = cls(process, ours, log)
        try:
            sim._greet(settings, timeout_s)
        except BaseException:
            sim._end(grace_s=0.0)
            raise
        return sim

    def _greet(self, settings: SimSettings, timeout_s: float) -> None:
        stdin = self._process.stdin
        with suppress(BrokenPipeError):  # it ended already: its log says why
            if stdin is not None:
                stdin.write(settings.to_json().encode() + b"\n")
                stdin.close()
        ready = self._receive(timeout_s)
        self.port, self.frames = ready["port"], ready["frames"]

    def __enter__(self) -> SimProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def truth(self) -> GroundTruth:
        """The world now. Raises BaseError when the simulator is gone."""
        return GroundTruth.from_dict(self._ask(do="truth")["truth"])

    def stats(self) -> dict[str, float]:
        """Steps and frames late, dropped and sent, CPU and wall seconds so far."""
        stats: dict[str, float] = self._ask(do="truth")["stats"]
        return stats

    def inject(self, fault: Fault) -> None:
        """Break the camera from now on."""
        self._ask(do="fault", name=fault.value)

    def close(self) -> None:
        """End the simulator; it writes truth.json first."""
        if self.exit_code is not None:
            return
        with suppress(BaseError):  # gone already
            self._ask(do="bye")
        self._end(END_S)

    def _ask(self, **request: str) -> dict[str, Any]:
        try:
            self._control.send(json.dumps(request).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError as err:
            raise BaseError(f"the simulator is gone: {self._last_words() or err}") from err
        return self._receive(ANSWER_S)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        give_up_s = time.monotonic() + timeout_s
        if not select.select([self._control], [], [], max(0.0, give_up_s - time.monotonic()))[0]:
            raise BaseError(f"the simulator said nothing for {timeout_s} s: {self._last_words()}")
        try:
            answer = self._control.recv(MAX_ANSWER)
        except ConnectionError:  # it ended with our question unread
            answer = b""
        if not answer:
            self._end(END_S)
            kind = ConfigError if self.exit_code == EXIT_REFUSED else BaseError
            raise kind(self._last_words() or f"the simulator ended with exit code {self.exit_code}")
        message: dict[str, Any] = json.loads(answer)
        return message

    def _end(self, grace_s: float) -> None:
        """Reap the process, by force if it does not end."""
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self.exit_code = self._process.wait()
        self._control.close()

    def _last_words(self) -> str:
        with suppress(OSError):
            return self._log.read_text("utf-8", errors="replace").strip()[-2000:]
        return ""
