"""The worker's end of the link: send wishes with their lifetimes, read what the guard did. Never blocks, never opens the port."""

from __future__ import annotations

import select
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol

from edge_vla.errors import GuardError, UnsafeCommand
from edge_vla.guard.child import Child
from edge_vla.guard.link import Command, Kind, Refused, Status
from edge_vla.guard.odometry import PoseHistory
from edge_vla.guard.settings import GuardSettings
from edge_vla.guard.system import EXIT_REFUSED, EXIT_STILL, drain
from edge_vla.guard.types import STILL, Pose, Twist

TTL_MS = 150  # DESIGN §4
START_S = 10.0  # a Jetson under load starts Python in one or two
END_S = 2.0  # the guard gives itself one second to see the wheels stand


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a motion rests on: the frame it came from and how far that frame may carry it."""

    t_capture_ns: int
    deadline_ns: int
    max_turn_rad: float
    max_travel_m: float
    clear_m: float | None = None  # clear distance ahead at capture; None: nobody knows


NO_EVIDENCE = Evidence(0, 0, 0.0, 0.0)


class Wire(Protocol):
    """Whole datagrams both ways, without waiting."""

    def push(self, data: bytes) -> bool:
        """True when the datagram is on its way; False when there is no room."""
        ...

    def pull(self) -> list[bytes]: ...


class GuardClient:
    """Speaks one session with a guard. The same for a guard process and for one run in lockstep."""

    def __init__(self, wire: Wire, session: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.poses = PoseHistory()
        self.status: Status | None = None
        self.unsent = 0  # datagrams there was no room for
        self.unread = 0  # statuses that were none
        self._wire = wire
        self._session = session
        self._clock = clock
        self._seq = 0

    def send(self, twist: Twist, evidence: Evidence | None = None, ttl_ms: int = TTL_MS) -> bool:
        """Ask for `twist` for the next `ttl_ms`. A zero needs no evidence; anything else without it raises UnsafeCommand."""
        if evidence is None and twist != STILL:
            raise UnsafeCommand(f"{twist} rests on no evidence")
        why = evidence or NO_EVIDENCE
        return self._say(
            Command(
                self._session, 0, Kind.COMMAND, twist, ttl_ms=ttl_ms, t_capture_ns=why.t_capture_ns, evidence_deadline_ns=why.deadline_ns,
                max_turn_rad=why.max_turn_rad, max_travel_m=why.max_travel_m, clear_m=why.clear_m,
            )
        )  # fmt: skip

    def arm(self) -> bool:
        """Ask to arm; `status.state` or `status.refusal` is the answer."""
        return self._say(Command(self._session, 0, Kind.ARM))

    def disarm(self) -> bool:
        return self._say(Command(self._session, 0, Kind.DISARM))

    def stop(self) -> bool:
        """Stop at once and latch."""
        return self._say(Command(self._session, 0, Kind.STOP))

    def fault(self) -> bool:
        """Stop at once and latch, because the worker's own engine or camera failed."""
        return self._say(Command(self._session, 0, Kind.FAULT))

    def reset(self, fault_id: int) -> bool:
        """Ask to clear the latch with this id; it leads to DISARMED, never to motion."""
        return self._say(Command(self._session, 0, Kind.RESET, fault_id=fault_id))

    def bye(self) -> bool:
        """Stop, confirm zero and end the guard."""
        return self._say(Command(self._session, 0, Kind.BYE))

    def poll(self) -> Status | None:
        """Take in the newest status that has arrived, older ones as far as they hold poses it no longer does; return the newest known."""
        taken: list[Status] = []
        for data in reversed(self._wire.pull()):
            try:
                taken.append(Status.unpack(data))
            except Refused:
                self.unread += 1
                continue
            if self._goes_on(taken[-1].poses):
                break
        for status in reversed(taken):
            for pose in status.poses:
                self.poses.add(pose)
        if taken:
            self.status = taken[0]
        return self.status

    def _goes_on(self, poses: tuple[Pose, ...]) -> bool:
        """Whether these follow what is known without a gap: the oldest of them is known already."""
        newest = self.poses.newest
        return not poses or (newest is not None and poses[0].t_ns <= newest.t_ns)

    def _say(self, command: Command) -> bool:
        """Number and stamp a command, and send it."""
        self._seq += 1
        sent = self._wire.push(replace(command, seq=self._seq, t_issue_ns=self._clock()).pack())
        self.unsent += not sent
        return sent


class SocketWire:
    """The worker's end of a SOCK_SEQPACKET pair: whole datagrams, and the end of the other process is the end of the file."""

    def __init__(self, link: socket.socket) -> None:
        self.gone = False
        self._link = link
        self._poll = select.poll()
        self._poll.register(link, select.POLLIN)

    def push(self, data: bytes) -> bool:
        try:
            self._link.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except OSError:
            self.gone = True
            return False
        return True

    def pull(self) -> list[bytes]:
        packets, gone = drain(self._link)
        self.gone = self.gone or gone
        return packets

    def wait(self, timeout_s: float) -> None:
        """Until something has arrived, at most `timeout_s`."""
        self._poll.poll(timeout_s * 1000)


class GuardProcess(GuardClient):
    """A guard in a process and session of its own. Leaving the context stops the base and waits for confirmed zero."""

    def __init__(self, child: Child, session: int) -> None:
        self._child = child
        self._socket_wire = SocketWire(child.link)
        super().__init__(self._socket_wire, session)

    @classmethod
    def start(cls, settings: GuardSettings) -> GuardProcess:
        """Start a guard and wait for its first status. Raises GuardError with what the guard said when it refuses."""
        guard = cls(Child("edge_vla.guard", settings.to_json(), stderr=subprocess.PIPE), settings.session)
        try:
            guard._await_first_word()
        except BaseException:
            guard._end()
            raise
        return guard

    def _await_first_word(self) -> None:
        give_up_s = time.monotonic() + START_S
        while self.poll() is None:
            if time.monotonic() > give_up_s:
                raise GuardError(f"the guard said nothing for {START_S} s after its start")
            self._socket_wire.wait(0.1)

    def __enter__(self) -> GuardProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while the guard runs, negative when a signal ended it."""
        return self._child.exit_code

    @property
    def confirmed_still(self) -> bool | None:
        """Whether the guard saw the wheels stand before it ended: None while it runs, False when it could not or was killed."""
        return None if self.exit_code is None else self.exit_code == EXIT_STILL

    def poll(self) -> Status | None:
        """As GuardClient. Raises GuardError once the guard is gone: nobody may believe the robot is still guarded."""
        status = super().poll()
        if self._socket_wire.gone and self.exit_code is None:
            raise GuardError(f"the guard is gone: {self._end()}")
        return status

    def wait(self, timeout_s: float) -> None:
        """Until the guard has said something, at most `timeout_s`."""
        self._socket_wire.wait(timeout_s)

    def stop(self) -> bool:
        """Stop at once and latch; through a signal if the link has no room."""
        return self._or_terminate(sent=super().stop())

    def fault(self) -> bool:
        """As `stop`, under the worker's own name."""
        return self._or_terminate(sent=super().fault())

    def _or_terminate(self, *, sent: bool) -> bool:
        if not sent:
            self._child.terminate()
        return sent

    def close(self) -> None:
        """Say BYE and wait until the guard has ended; `confirmed_still` then says whether it saw the wheels stand."""
        if self.exit_code is not None:
            return
        if not self.bye():
            self._child.terminate()
        give_up_s = time.monotonic() + END_S
        while not self._socket_wire.gone and time.monotonic() < give_up_s:
            super().poll()  # keeps the last status and its poses, and sees the end of the file
            self._socket_wire.wait(0.05)
        self._end()

    def _end(self) -> str:
        """Reap the process, by force if it will not end, and return its last words: the base's own watchdog then stops the robot."""
        words = self._child.reap(END_S).decode(errors="replace").strip()
        if words and self.exit_code == EXIT_REFUSED:
            return words
        return f"exit code {self.exit_code}{': ' if words else ''}{words}"  # a word about a full disk is not why it ended
