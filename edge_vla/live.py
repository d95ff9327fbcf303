"""The two rates in real time: a thread that asks the engine, and the 30 Hz loop that steers. They share one mailbox."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from edge_vla.drive import Seeing, Steering, Tick
from edge_vla.errors import CameraError, EdgeVLAError
from edge_vla.types import Camera, Frame, Look, Reply

READ_S = 0.25  # patience with the camera before it is counted as silent
BLIND_NS = 2_000_000_000  # no usable frame for this long is a fault
MISSHAPEN_NS = 1_000_000_000  # and of frames that are none of this camera's, which no waiting mends
HANG_NS = 6_000_000_000  # no reply for this long is a fault; the evidence deadline has stopped the robot long before
STEER_PRIORITY = 5  # real-time, below the guard's 10
SWEEP_TICKS = 30  # between two searches for garbage
SEE_NICE = 5  # the engine yields to the 30 Hz loop when both want the same core


@dataclass(frozen=True, slots=True)
class Seen:
    """One answered frame on its way from the slow thread to the fast loop."""

    frame: Frame
    reply: Reply
    asked_ns: int
    ready_ns: int


@dataclass(slots=True)
class SeeLoop:
    """Asks the engine about the newest good frame, over and over, in a thread of its own."""

    camera: Camera
    seeing: Seeing
    judge: Callable[[Frame, int, float], str | None]  # the frame rules of the camera
    driven: Callable[[], float]  # how far the wheels have turned so far: tells a frozen camera from a still robot
    clock: Callable[[], int] = time.monotonic_ns
    counts: dict[str, int] = field(default_factory=dict)
    fault: str = ""
    asking_since_ns: int | None = None
    _seen: Seen | None = None
    _mailbox: threading.Lock = field(default_factory=threading.Lock)  # around `_seen` and `counts`
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _good_ns: int = field(init=False)
    _why: str = "no frame yet"

    def __post_init__(self) -> None:
        self._good_ns = self.clock()

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="see", daemon=True)  # a hung engine must not hang the exit
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def take(self) -> Seen | None:
        """The newest answer not yet taken."""
        with self._mailbox:
            seen, self._seen = self._seen, None
        return seen

    def tally(self) -> dict[str, int]:
        """What has been counted so far: frames refused, silences of the camera, answers nobody took in time."""
        with self._mailbox:
            return dict(self.counts)

    def trouble(self, now_ns: int) -> str:
        """Why the run must end as a fault, "" while it need not."""
        if self.fault or self.seeing.broken:
            return self.fault or f"engine: {self.seeing.broken}"
        since = self.asking_since_ns
        if since is not None and now_ns - since > HANG_NS:
            return f"the engine has not answered for {(now_ns - since) * 1e-9:.1f} s"
        if since is None and now_ns - self._good_ns > (MISSHAPEN_NS if self._why == "shape" else BLIND_NS):
            return f"no usable frame for {(now_ns - self._good_ns) * 1e-9:.1f} s: {self._why}"
        return ""

    def _run(self) -> None:
        with suppress(OSError):  # a container may forbid it; the loop is then merely less favoured
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), SEE_NICE)
        try:
            self._look_on()
        except EdgeVLAError as err:
            self.fault = f"engine: {err}"
        finally:
            if not (self.fault or self._stop.is_set()):  # something no adapter has translated: the run must not wait for its echo
                self.fault = f"engine: {sys.exc_info()[1]!r}"

    def _look_on(self) -> None:
        while not self._stop.is_set():
            asked_ns = self.clock()
            if not self.look_once():
                self._stop.wait(max(0.0, READ_S - (self.clock() - asked_ns) * 1e-9))  # one that is gone says so at once, every time

    def look_once(self) -> bool:
        """One frame, and the engine's answer to it if it may be used; False when the camera had none."""
        try:
            frame = self.camera.read(READ_S)
        except CameraError as err:
            self._reject("camera_silent", str(err))
            return False
        reason = self.judge(frame, self.clock(), self.driven())
        if reason:
            self._reject(f"frame_{reason}", reason)
        else:
            self._good_ns = self.clock()
            self._ask(frame)
        return True

    def _ask(self, frame: Frame) -> None:
        asked = self.asking_since_ns = self.clock()
        try:
            reply = self.seeing.ask(frame)
        finally:
            self.asking_since_ns = None
            self._good_ns = self.clock()
        with self._mailbox:
            if self._seen is not None:
                self._count("answer_overwritten")
            self._seen = Seen(frame, reply, asked, self.clock())

    def _reject(self, name: str, why: str) -> None:
        with self._mailbox:
            self._count(name)
        self._why = why

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1


@contextmanager
def favoured() -> Iterator[bool]:
    """The calling thread in front of everything but the guard, where that is allowed; whether it is. Threads it starts are not.

    With the engine and a simulator on two cores the 30 Hz loop else waits for them in mid-tick: p99 4 ms instead of 2.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(STEER_PRIORITY))
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def swept() -> Iterator[None]:
    """Garbage is searched for only where SteerLoop waits, and only among what is made inside.

    Python's own searches come in mid-tick: 31 ms over everything imported, 2 ms over what is young.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


class SteerLoop:
    """The fast loop: absolute deadlines, one mailbox look-up and one steering tick each."""

    def __init__(self, see: SeeLoop, steering: Steering, hz: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.see, self.steering, self.clock = see, steering, clock
        self.period_ns = 1_000_000_000 // hz
        self.look: Look | None = None
        self.frame: Frame | None = None  # that the look is of
        self.parse_ns = 0  # of the newest answer
        self._due_ns = clock()
        self._waits = 0

    def wait(self) -> int:
        """Sleep until the next deadline and return how late it came, ns. Missed deadlines are never made up for."""
        self._waits += 1
        if self._waits % SWEEP_TICKS == 0:
            gc.collect()
        while (ahead := self._due_ns - self.clock()) > 0:
            time.sleep(ahead * 1e-9)
        late_ns = self.clock() - self._due_ns
        missed = late_ns // self.period_ns
        self._due_ns += self.period_ns * (1 + missed)
        return late_ns

    def tick(self, late_ns: int) -> tuple[Tick, Seen | None, int]:
        """One tick: (what was done, the answer it took in, what the tick took to compute, ns)."""
        start = self.clock()
        seen = self.see.take() if self.steering.guard.poses.newest is not None else None
        if seen is not None:
            self.frame = seen.frame
            self.look = self.see.seeing.understand(seen.reply, seen.frame, seen.ready_ns)
            self.parse_ns = self.clock() - start
        tick = self.steering.tick(start, self.look, late_ns)
        return tick, seen, self.clock() - start
