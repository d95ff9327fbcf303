"""The worker's end of a simulator process: start it, ask it for the truth, end it. Spawns and talks; never imports MuJoCo."""

from __future__ import annotations

import json
import select
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_vla.errors import BaseError, ConfigError
from edge_vla.guard.child import Child
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

    def __init__(self, child: Child, log: Path) -> None:
        self.port, self.frames = "", ""
        self._child, self._log = child, log

    @classmethod
    def start(cls, settings: SimSettings, timeout_s: float = START_S) -> SimProcess:
        """Start a simulator and wait until it is ready. Raises ConfigError with what it said when it refuses."""
        log = Path(settings.folder) / "simulator.log"
        try:
            stderr = log.open("ab")
        except OSError as err:
            raise ConfigError(f"{log}: {err.strerror}") from err
        with stderr:
            sim = cls(Child("edge_vla.sim", settings.to_json(), stderr), log)
        try:
            ready = sim._receive(timeout_s)
        except BaseException:
            sim._child.reap(grace_s=0.0)
            raise
        sim.port, sim.frames = ready["port"], ready["frames"]
        return sim

    def __enter__(self) -> SimProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while the simulator runs, negative when a signal ended it."""
        return self._child.exit_code

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
        self._child.reap(END_S)

    def _ask(self, **request: str) -> dict[str, Any]:
        try:
            self._child.link.send(json.dumps(request).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError as err:
            raise BaseError(f"the simulator is gone: {self._last_words() or err}") from err
        return self._receive(ANSWER_S)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        give_up_s = time.monotonic() + timeout_s
        if not select.select([self._child.link], [], [], max(0.0, give_up_s - time.monotonic()))[0]:
            raise BaseError(f"the simulator said nothing for {timeout_s} s: {self._last_words()}")
        try:
            answer = self._child.link.recv(MAX_ANSWER)
        except ConnectionError:  # it ended with our question unread
            answer = b""
        if not answer:
            self._child.reap(END_S)
            kind = ConfigError if self.exit_code == EXIT_REFUSED else BaseError
            raise kind(self._last_words() or f"the simulator ended with exit code {self.exit_code}")
        message: dict[str, Any] = json.loads(answer)
        return message

    def _last_words(self) -> str:
        with suppress(OSError):
            return self._log.read_text("utf-8", errors="replace").strip()[-2000:]
        return ""
