"""A guard in lockstep: the same core and the same datagrams on a virtual clock, without a process, a socket or a port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edge_vla.guard.client import GuardClient
from edge_vla.guard.core import Guard, GuardOutput
from edge_vla.guard.watch import PortHealth, Worker


class SerialDevice(Protocol):
    """The far end of a serial line on a virtual clock: a firmware simulator."""

    def feed(self, data: bytes, now_ns: int) -> None: ...

    def read(self, now_ns: int) -> bytes: ...


class _Mailbox:
    """Two lists of datagrams instead of a socket."""

    def __init__(self) -> None:
        self.to_guard: list[bytes] = []
        self.to_worker: list[bytes] = []

    def push(self, data: bytes) -> bool:
        self.to_guard.append(data)
        return True

    def pull(self) -> list[bytes]:
        taken, self.to_worker = self.to_worker, []
        return taken


class LocalGuard(GuardClient):
    """A client whose guard ticks when it is told to."""

    def __init__(self, guard: Guard, device: SerialDevice, session: int, clock: Callable[[], int]) -> None:
        self._mailbox = _Mailbox()
        super().__init__(self._mailbox, session, clock)
        self.guard = guard
        self.device = device

    def tick(
        self, now_ns: int, worker: Worker = Worker.RUNNING, port: PortHealth = PortHealth.OK, *, leave: bool = False,
        stop: bool = False, button: bool | None = None,
    ) -> GuardOutput:  # fmt: skip
        """One guard tick against the device; its status waits for `poll`."""
        packets, self._mailbox.to_guard = self._mailbox.to_guard, []
        output = self.guard.tick(now_ns, packets, self.device.read(now_ns), worker, port, leave=leave, stop=stop, button=button)
        for frame in output.writes:
            self.device.feed(frame, now_ns)
            self.guard.base.sent(frame, now_ns)
        self._mailbox.to_worker.append(output.status)
        return output
