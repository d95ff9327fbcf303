"""A word to systemd through NOTIFY_SOCKET, or to nobody. Standard library only; never waits, never raises: who supervises may be gone.

`WATCHDOG_PID` is not looked at: it names the service's first process, and what beats here may be a child of it (`NotifyAccess=all`).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

BEATS = 4  # in the time that systemd waits for one


class Notifier:
    """Says a service's state. Without an address it says nothing."""

    def __init__(self, address: str = "", watchdog_us: int = 0) -> None:
        """`address`: a socket's path, or @ and an abstract name. `watchdog_us`: after how long a silence systemd acts, 0 for never."""
        self.unsent = 0
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._beat_ns = watchdog_us * 1000 // BEATS
        self._due_ns = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) if address else None

    @staticmethod
    def of(environment: Mapping[str, str]) -> Notifier:
        """As systemd has it in a service's environment."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        address = environment.get("NOTIFY_SOCKET", "")
        return Notifier(address if address[:1] in ("/", "@") else "", int(microseconds) if microseconds.isdecimal() else 0)

    def ready(self) -> bool:
        """It works now: from here on systemd waits for beats."""
        return self.say("READY=1")

    def stopping(self) -> bool:
        """It is about to end: from here on systemd waits for no beat."""
        return self.say("STOPPING=1")

    def beat(self, now_ns: int) -> bool:
        """Call it in every turn of the loop that must not hang; whether a beat was due and went out."""
        if not self._beat_ns or now_ns < self._due_ns:
            return False
        self._due_ns = now_ns + self._beat_ns
        return self.say("WATCHDOG=1")

    def say(self, state: str) -> bool:
        """Whether it went out. What does not is counted."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto(state.encode(), self._address)
        except OSError:
            self.unsent += 1
            return False
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
