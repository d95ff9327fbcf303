"""A USB or other V4L2 camera through OpenCV's V4L2 backend. A frame's stamp is the driver's own where it can be believed."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import cv2

from edge_vla.cameras import devices
from edge_vla.cameras.newest import NewestCamera
from edge_vla.cameras.wanted import Wanted, require_fit
from edge_vla.errors import CameraError, ConfigError, did_you_mean
from edge_vla.types import Frame

FORMATS = ("", "MJPG", "YUYV")  # "" leaves it to the driver
# One is filled while the other is decoded. With a single one the driver has nowhere to put the next frame and loses every second.
BUFFERS = 2
BELIEVED_NS = 1_000_000_000  # a stamp older than this is of another clock


class V4L2Camera(NewestCamera):
    """`device`: /dev/video0, or better its lasting name under /dev/v4l/by-id."""

    def __init__(self, wanted: Wanted, device: str = "/dev/video0", format: str = "", fit: str = "exact") -> None:  # noqa: A002 - an option's name
        require_fit(fit)
        if format not in FORMATS:
            raise ConfigError(f"camera 'v4l2': option format = {format!r}: want one of {FORMATS}{did_you_mean(format, FORMATS)}")
        super().__init__(f"v4l2 camera {device}")
        self._wanted, self._device, self._format, self._fit = wanted, device, format, fit
        self._capture: cv2.VideoCapture | None = None
        self._start()

    def _open(self) -> None:
        if why := unusable(Path(self._device)):
            raise CameraError(f"{why}; {devices.told()}")
        self._capture = capture = cv2.VideoCapture(self._device, cv2.CAP_V4L2)
        if not capture.isOpened():
            raise CameraError(f"it does not open: no camera, or in use by another program; {devices.told()}")
        if self._format:  # before the size: sizes belong to formats
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self._format))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._wanted.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._wanted.height)
        capture.set(cv2.CAP_PROP_FPS, self._wanted.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, BUFFERS)
        self._check(capture)

    def _check(self, capture: cv2.VideoCapture) -> None:
        """What the driver granted. Raises CameraError for another size or format."""
        width, height = (round(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self._wanted.require(width, height, self._fit)
        granted = fourcc(capture.get(cv2.CAP_PROP_FOURCC))
        if self._format and granted != self._format:
            raise CameraError(f"the profile wants the format {self._format} and the device gives {granted}")
        fps = capture.get(cv2.CAP_PROP_FPS)
        if 0.0 < fps < 0.9 * self._wanted.fps:
            self.notice = f"{self.name}: the profile wants {self._wanted.fps} frames a second, the device gives {fps:.0f} of {granted}"

    def _grab(self) -> Frame | None:
        assert self._capture is not None  # noqa: S101 - for mypy: it is open
        try:
            good, bgr = self._capture.read()
            driver_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        except cv2.error as err:
            raise CameraError(f"it has ended: {err}") from err
        if not good:
            raise CameraError(f"it has ended: no more frames, unplugged?; {devices.told()}")
        t_capture_ns, why = stamp(driver_ms, time.monotonic_ns())
        if why:
            self.notice = f"{self.name}: frames are stamped on arrival, {why}"
        return self._stamped(self._wanted.rgb(bgr, self._fit), t_capture_ns)

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()


def stamp(driver_ms: float, now_ns: int) -> tuple[int, str]:
    """(moment of capture, why it is the arrival's or ""). Drivers stamp with CLOCK_MONOTONIC, or with another clock, or not at all."""
    if not 0.0 < driver_ms < 1e15:
        return now_ns, "the driver gives no stamp"
    t_ns = round(driver_ms * 1e6)
    if t_ns > now_ns:
        return now_ns, f"the driver's stamp lies {(t_ns - now_ns) * 1e-9:.3f} s in the future"
    if now_ns - t_ns >= BELIEVED_NS:
        return now_ns, f"the driver's stamp is {(now_ns - t_ns) * 1e-9:.1f} s old"
    return t_ns, ""


def unusable(device: Path) -> str:
    """Why a device cannot be opened, "" where nothing is known against it."""
    try:
        mode = device.stat().st_mode
    except OSError as err:
        return f"{err.strerror}"
    if not stat.S_ISCHR(mode):
        return "it is no device"
    if not os.access(device, os.R_OK | os.W_OK):
        return "it may not be opened by this user: sudo usermod -aG video $USER, then log in again"
    return ""


def fourcc(value: float) -> str:
    """A pixel format's four letters."""
    number = int(value) & 0xFFFFFFFF
    return number.to_bytes(4, "little").decode("ascii", "replace").strip("\0") or "unknown"
