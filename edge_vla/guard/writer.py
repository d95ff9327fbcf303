"""A decided twist to the frames of this tick: configuration, checked velocity frame, bursts. Knows nothing about why."""

from __future__ import annotations

from edge_vla.errors import UnsafeCommand
from edge_vla.guard.types import STILL, Base, Twist
from edge_vla.guard.watch import PortHealth
from edge_vla.guard.wheels import check_decoded

BURST_FRAMES = 3  # zeros tick by tick after a latch: the first may meet a half-written frame
LATCHED_PERIOD_NS = 100_000_000  # 10 Hz from then on, well inside a 300 ms base watchdog
INIT_PERIOD_NS = 1_000_000_000  # a base that boots for seconds loses what it is sent meanwhile
NEVER_NS = 1 << 62


class Writer:
    """Remembers what the base was told last. `applied` is decoded from the bytes, not from the wish."""

    def __init__(self, base: Base, max_wheel_mps: float) -> None:
        self.applied = STILL
        self.skipped = False
        self._base = base
        self._max_wheel_mps = max_wheel_mps
        self._stop()
        self._burst = 0
        self._latched_due_ns = 0
        self._init_due_ns = 0
        self._poll_due_ns = 0
        self._poll_ns = base.traits.feedback_period_ms * 1_000_000

    def start_burst(self) -> None:
        self._burst = BURST_FRAMES

    @property
    def bursting(self) -> bool:
        return self._burst > 0

    def init_due(self) -> None:
        """The base may have lost its settings: send them with the next frame."""
        self._init_due_ns = 0

    def frame(self, twist: Twist) -> tuple[bytes, Twist]:
        """The checked frame and the twist it says. Raises UnsafeCommand when the bytes do not say what was wanted."""
        if twist == STILL:
            return self._stop(), STILL
        frame = self._base.encode(twist)
        said = self._base.decode_command(frame)
        check_decoded(said, twist, self._base.traits, self._max_wheel_mps)
        return frame, said

    def _stop(self) -> bytes:
        """Encoded anew each time: a base that counts its frames would refuse one that it has seen."""
        frame = self._base.encode(STILL)
        if self._base.decode_command(frame) != STILL:
            raise UnsafeCommand(f"{frame!r} is not a stop")
        return frame

    def init_frames(self, now_ns: int, *, answering: bool) -> tuple[bytes, ...]:
        """The configuration when it is due: once, and every second while the base does not answer."""
        if not answering:
            self._init_due_ns = min(self._init_due_ns, now_ns + INIT_PERIOD_NS)
        if now_ns < self._init_due_ns:
            return ()
        self._init_due_ns = NEVER_NS
        return tuple(self._base.init_frames())

    def poll_frames(self, now_ns: int) -> tuple[bytes, ...]:
        """What asks for the next report, once a feedback period."""
        if now_ns < self._poll_due_ns:
            return ()
        self._poll_due_ns = max(self._poll_due_ns + self._poll_ns, now_ns)
        return tuple(self._base.poll_frames())

    def silent(self, now_ns: int, *, latched: bool) -> bool:
        """While latched, most ticks say nothing: three zeros at once, then ten a second."""
        if not latched:
            return False
        if self._burst > 0:
            self._burst -= 1
        elif now_ns < self._latched_due_ns:
            return True
        self._latched_due_ns = now_ns + LATCHED_PERIOD_NS
        return False

    def take(self, frame: bytes, said: Twist, port: PortHealth, *, quiet: bool = False) -> tuple[bytes, ...]:
        """The frame as this tick's write. A port that is busy or slow gets only zeros: a queue of old speeds would be driven later.

        So it would on a line at whose other end it is `quiet`; there a speed that brakes is still said.
        """
        self.skipped = said != STILL and (port is not PortHealth.OK or (quiet and not _slower(said, self.applied)))
        if self.skipped:
            return ()
        self.applied = said
        return (frame,)


def _slower(said: Twist, than: Twist) -> bool:
    """No axis faster, none the other way round."""
    axes = zip((said.linear_x, said.linear_y, said.angular_z), (than.linear_x, than.linear_y, than.angular_z), strict=True)
    return said != than and all(value * before >= 0.0 and abs(value) <= abs(before) for value, before in axes)
