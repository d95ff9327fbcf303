"""A video file as a camera, through OpenCV's own FFmpeg."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vla.cameras.replayed import ReplayedCamera
from edge_vla.cameras.wanted import Wanted
from edge_vla.errors import CameraError


class VideoCamera(ReplayedCamera):
    """Frames come by the file's own timestamps. `loop` begins again at the end."""

    def __init__(self, wanted: Wanted, file: str, loop: bool = False, fit: str = "exact") -> None:  # noqa: FBT001, FBT002 - an option
        super().__init__(f"video file {file}", wanted, loop=loop, fit=fit)
        self._file = file
        self._capture: cv2.VideoCapture | None = None
        self._start()

    def _open(self) -> None:
        if not Path(self._file).is_file():
            raise CameraError(f"there is no such file, looked for {Path(self._file).absolute()}")
        self._capture = capture = cv2.VideoCapture(self._file, cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise CameraError("it is no video that FFmpeg can read")
        width, height = (round(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self._wanted.require(width, height, self._fit)

    def _next(self) -> int | None:
        assert self._capture is not None  # noqa: S101 - for mypy: it is open
        if not self._capture.grab():
            return None
        at_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        # A file without timestamps, or with some that go back: one period after the other.
        return at_ns if at_ns > self._at_ns else max(0, self._at_ns + self._wanted.period_ns)

    def _picture(self) -> NDArray[np.uint8]:
        assert self._capture is not None  # noqa: S101
        try:
            good, bgr = self._capture.retrieve()
        except cv2.error as err:
            raise CameraError(f"a picture in it cannot be read: {err}") from err
        if not good:
            raise CameraError("a picture in it cannot be read")
        return np.asarray(bgr, dtype=np.uint8)

    def _rewind(self) -> None:
        self._release()
        self._open()

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
