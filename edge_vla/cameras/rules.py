"""Which frames may be looked at: rules H of the safety notes as one pure class. Knows no camera, no clock and no odometry.

A torn frame (half green, half old) passes: nothing here can tell it from a picture.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_vla.types import Frame

Refusal = Literal["shape", "sequence", "stamp", "future", "old", "frozen", "black", "overexposed"]

FUTURE_NS = 5_000_000  # two readings of one clock on two cores, and a driver that rounds
FROZEN_FRAMES = 3  # a live sensor's noise never repeats once, let alone three times
FROZEN_NS = 150_000_000
MOTION_NS = 350_000_000  # over this long a robot that drives is told from odometry that trembles ...
MOVED = 0.005  # ... by this many m and rad: 0.015 a second, three times the simulated gyro at rest
STILL_NS = 2_000_000_000
SUBSAMPLE = 8  # of rows and columns, before a frame is hashed and measured
BLACK_MEAN, BLACK_STD = 8.0, 3.0  # of luma 0..255
BRIGHT_LUMA, BRIGHT_SHARE = 250, 0.9


class FrameRules:
    """Judges the frames of one camera, in the order they arrive. `counts` says how often each refusal was given."""

    def __init__(self, shape: tuple[int, int, int], max_age_s: float = 0.2) -> None:
        if not 0.0 < max_age_s <= 5.0:
            raise ValueError(f"max_age_s={max_age_s}: want more than 0 and at most 5")
        self.counts: Counter[Refusal] = Counter()
        self.warning = ""  # a picture that repeats while the robot stands still: a dead camera, or a test chart
        self._shape, self._max_age_ns = shape, round(max_age_s * 1e9)
        self._last: Frame | None = None  # the newest whose number and stamp were in order
        self._repeats = _Repeats()

    def judge(self, frame: Frame, now_ns: int, driven: float) -> Refusal | None:
        """Why `frame` may not be used at `now_ns`, or None. `driven`: m and rad by odometry, summed; only its growth matters."""
        why = self._refuse(frame, now_ns, driven)
        if why is not None:
            self.counts[why] += 1
        return why

    def _refuse(self, frame: Frame, now_ns: int, driven: float) -> Refusal | None:
        if frame.rgb.shape != self._shape or frame.rgb.dtype != np.uint8 or not frame.rgb.flags.c_contiguous:
            return "shape"
        if (why := self._refuse_time(frame, now_ns)) is not None:
            return why
        self._last = frame
        luma = luma_plane(frame.rgb)
        self._repeats.see(fingerprint(luma), frame.t_capture_ns, driven)
        self.warning = self._repeats.warning
        if not now_ns - frame.t_capture_ns <= self._max_age_ns:
            return "old"
        if self._repeats.frozen:
            return "frozen"
        return refuse_exposure(luma)

    def _refuse_time(self, frame: Frame, now_ns: int) -> Refusal | None:
        """Each comparison is the one that must hold: a stamp that is no number fails it."""
        if self._last is not None and not frame.seq > self._last.seq:
            return "sequence"
        if self._last is not None and not frame.t_capture_ns > self._last.t_capture_ns:
            return "stamp"
        if not frame.t_capture_ns <= now_ns + FUTURE_NS:
            return "future"  # and not remembered, or every frame after it would be in the past
        return None


class _Repeats:
    """How long the same picture has been coming, with the robot moving and at rest."""

    def __init__(self) -> None:
        self.frozen = False  # once it is, until the picture changes: the stop it causes must not make it fine again
        self.warning = ""
        self._print: bytes | None = None
        self._marks: deque[tuple[int, float]] = deque()  # (exposure, driven) of this picture's frames, the last MOTION_NS of them
        self._moving_frames = 0
        self._moving_ns = 0
        self._still_ns = 0

    def see(self, fingerprint: bytes, t_ns: int, driven: float) -> None:
        if fingerprint != self._print:
            self._print, self.frozen, self.warning = fingerprint, False, ""
            self._moving_frames = self._moving_ns = self._still_ns = 0
            self._marks.clear()
        else:
            self._repeat(t_ns, driven)
        self._marks.append((t_ns, driven))

    def _repeat(self, t_ns: int, driven: float) -> None:
        since_ns = t_ns - self._marks[-1][0]
        while len(self._marks) > 1 and t_ns - self._marks[0][0] > MOTION_NS:
            self._marks.popleft()
        if driven - self._marks[0][1] > MOVED:
            self._moving_frames += 1
            self._moving_ns += since_ns
            self.frozen = self._moving_frames >= FROZEN_FRAMES or self._moving_ns >= FROZEN_NS
        else:
            self._still_ns += since_ns
            if self._still_ns >= STILL_NS:
                self.warning = f"the same picture for {self._still_ns * 1e-9:.1f} s at rest: a real sensor has noise"


def luma_plane(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every eighth row and column of a frame's brightness, 0..255."""
    few = rgb[::SUBSAMPLE, ::SUBSAMPLE].astype(np.uint16)
    luma: NDArray[np.uint8] = ((77 * few[..., 0] + 150 * few[..., 1] + 29 * few[..., 2]) >> 8).astype(np.uint8)
    return luma


def fingerprint(luma: NDArray[np.uint8]) -> bytes:
    """64 bits of a luma plane."""
    return hashlib.blake2b(luma.tobytes(), digest_size=8).digest()


def refuse_exposure(luma: NDArray[np.uint8]) -> Refusal | None:
    """A covered lens or a blinded sensor."""
    if luma.mean() < BLACK_MEAN and luma.std() < BLACK_STD:
        return "black"
    if (luma >= BRIGHT_LUMA).mean() >= BRIGHT_SHARE:
        return "overexposed"
    return None
