"""What a profile wants of a camera's pictures, and the one rule for pictures of another size: refused, unless they may be resized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vla.errors import CameraError, ConfigError, did_you_mean

if TYPE_CHECKING:
    from cv2.typing import MatLike

FITS = ("exact", "resize")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Size and rate of `[camera]`."""

    width: int
    height: int
    fps: int

    @property
    def size(self) -> str:
        return f"{self.width}x{self.height}"

    @property
    def period_ns(self) -> int:
        return 1_000_000_000 // self.fps

    def other(self, width: int, height: int) -> str:
        """What to say of another size."""
        return f"the profile wants {self.size} and the device gives {width}x{height}: write that into [camera], or options.fit = 'resize'"

    def require(self, width: int, height: int, fit: str) -> None:
        """Raises CameraError for a size that is not the wanted one and may not be made so."""
        if fit != "resize" and (width, height) != (self.width, self.height):
            raise CameraError(self.other(width, height))

    def rgb(self, bgr: MatLike, fit: str) -> NDArray[np.uint8]:
        """OpenCV's picture as a frame's, in an array of its own. Raises CameraError for another size or kind."""
        if bgr.dtype != np.uint8 or bgr.ndim != 3 or bgr.shape[2] != 3:
            raise CameraError(f"the device gives {bgr.shape} {bgr.dtype}, want (height, width, 3) uint8")
        height, width = bgr.shape[:2]
        self.require(width, height, fit)
        if (width, height) != (self.width, self.height):
            bgr = cv2.resize(bgr, (self.width, self.height), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def require_fit(fit: str) -> None:
    """Raises ConfigError for a way to fit that is none."""
    if fit not in FITS:
        raise ConfigError(f"camera option fit = {fit!r}: want one of {', '.join(FITS)}{did_you_mean(fit, FITS)}")


def require_latency(latency_ms: float) -> None:
    """Raises ConfigError for a delay no camera that drives can have."""
    if not 0.0 <= latency_ms <= 1000.0:
        raise ConfigError(f"camera option latency_ms = {latency_ms}: want 0 to 1000")
