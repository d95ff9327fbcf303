"""What a video file and a folder of images have in common: they replay the past at its own pace. Knows neither."""

from __future__ import annotations

import time
from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from edge_vla.cameras.newest import NewestCamera
from edge_vla.cameras.wanted import Wanted, require_fit
from edge_vla.errors import CameraError
from edge_vla.types import Frame


class ReplayedCamera(NewestCamera):
    """A picture is shown when its timestamp is due, counted from the first, and stamped with that moment; a late one is left out."""

    def __init__(self, name: str, wanted: Wanted, *, loop: bool, fit: str) -> None:
        require_fit(fit)
        super().__init__(name)
        self._wanted, self._loop, self._fit = wanted, loop, fit
        self._origin_ns: int | None = None  # when the timestamp zero was due
        self._at_ns = -1  # the newest timestamp

    @abstractmethod
    def _next(self) -> int | None:
        """Go to the next picture: its timestamp in ns, None at the end. Raises CameraError for one that cannot be read."""

    @abstractmethod
    def _picture(self) -> NDArray[np.uint8]:
        """The picture gone to, BGR."""

    @abstractmethod
    def _rewind(self) -> None:
        """Back to before the first picture."""

    def _grab(self) -> Frame | None:
        skipped = 0
        while not self._closing.is_set():
            at_ns = self._next()
            if at_ns is None:
                self._end()
            elif self._due(at_ns):
                rgb = self._wanted.rgb(self._picture(), self._fit)
                return self._stamped(rgb, time.monotonic_ns(), skipped)
            else:
                skipped += 1
        return None

    def _end(self) -> None:
        """Begin again, or raise CameraError."""
        if not self._loop or self._at_ns < 0:
            raise CameraError("it has ended")
        self._rewind()
        if self._origin_ns is not None:
            self._origin_ns += self._at_ns + self._wanted.period_ns
        self._at_ns = -1

    def _due(self, at_ns: int) -> bool:
        """Wait for the picture's moment; False when that has passed, or when the camera is being closed."""
        now_ns = time.monotonic_ns()
        if self._origin_ns is None:
            self._origin_ns = now_ns - at_ns
        self._at_ns = at_ns
        due_ns = self._origin_ns + at_ns
        late = now_ns > due_ns + self._wanted.period_ns
        return not late and not self._closing.wait(max(0, due_ns - now_ns) * 1e-9)
