"""A network camera: RTSP, or HTTP with Motion JPEG, through OpenCV's own FFmpeg. Its frames are stamped when they come."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult, urlsplit

import cv2

from edge_vla.cameras.newest import NewestCamera
from edge_vla.cameras.stalls import Beating, Stalls
from edge_vla.cameras.wanted import Wanted, require_fit, require_latency
from edge_vla.errors import CameraError, ConfigError
from edge_vla.hidden import hide_passwords
from edge_vla.types import Frame

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
OPEN_MS, SILENT_MS = 5000, 1000  # for an answer, and between two frames
KNOCK_S = 2.0
# TCP, because a lost packet costs a torn picture and a retransmitted one some milliseconds; nothing is buffered on purpose.
FFMPEG = {
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay|analyzeduration;500000|fpsprobesize;0",
    "OPENCV_FFMPEG_LOGLEVEL": "8",
}
_ENVIRONMENT = threading.Lock()


class StreamCamera(NewestCamera):
    """`url` may carry a login; its password is never shown. `latency_ms`: exposure to arrival, measured by whoever sets it."""

    def __init__(self, wanted: Wanted, url: str, latency_ms: float = 0.0, fit: str = "exact") -> None:
        require_fit(fit)
        require_latency(latency_ms)
        self._where = where(url)
        super().__init__(f"network camera {url}")
        self._wanted, self._url, self._fit, self._latency_ns = wanted, url, fit, round(latency_ms * 1e6)
        self._capture: cv2.VideoCapture | None = None
        self._beating: Beating | None = None
        self._start()

    def _open(self) -> None:
        # One thread decodes: each more would hold back a frame.
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, SILENT_MS, cv2.CAP_PROP_N_THREADS, 1]
        with told_to(FFMPEG):
            self._capture = capture = cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, limits)
        if not capture.isOpened():
            raise CameraError(f"it does not open within {OPEN_MS / 1000:.0f} s: {knock(self._where)}")
        width, height = (round(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self._wanted.require(width, height, self._fit)
        stalls = Stalls(self._wanted.period_ns, time.monotonic_ns())
        stalls.doubt(time.monotonic_ns())  # what came while it looked at the stream is still there
        self._beating = Beating(stalls, time.monotonic_ns)

    def _grab(self) -> Frame | None:
        assert self._capture is not None  # noqa: S101 - for mypy: it is open
        assert self._beating is not None  # noqa: S101
        skipped = 0
        while not self._closing.is_set():
            asked_ns = time.monotonic_ns()
            if not self._capture.grab():
                raise CameraError(f"the stream has ended, or was silent for {SILENT_MS / 1000:.0f} s: {knock(self._where)}")
            young, came_ns = self._beating.young(asked_ns)
            if young:
                return self._decoded(self._capture, came_ns, skipped)
            skipped += 1
        return None

    def _decoded(self, capture: cv2.VideoCapture, came_ns: int, skipped: int) -> Frame:
        try:
            good, bgr = capture.retrieve()
        except cv2.error as err:
            raise CameraError(f"a picture that cannot be read has ended it: {err}") from err
        if not good:
            raise CameraError("a picture that cannot be read has ended it")
        return self._stamped(self._wanted.rgb(bgr, self._fit), came_ns - self._latency_ns, skipped)

    def _release(self) -> None:
        if self._beating is not None:
            self._beating.close()
        if self._capture is not None:
            self._capture.release()


def where(url: str) -> SplitResult:
    """An address in its parts. Raises ConfigError for one that is none of a network camera's."""
    parts = urlsplit(url)
    try:
        good = parts.scheme in PORTS and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # of a port that is no number
        good = False
    if not good:
        raise ConfigError(
            f"camera option url = {hide_passwords(url)!r}: want {'://, '.join(PORTS)}:// and a host, for example rtsp://10.0.0.7/live"
        )
    return parts


def knock(parts: SplitResult) -> str:
    """What answers at the address's host and port, in words."""
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    try:
        socket.create_connection((host, port), KNOCK_S).close()
    except OSError as err:
        return f"{host} port {port}: {err.strerror or err}"
    return f"{host} port {port} answers, so is it {parts.scheme}, is {parts.path or '/'} what it serves, and is the login right?"


@contextmanager
def told_to(options: dict[str, str]) -> Iterator[None]:
    """OpenCV reads some of FFmpeg's options from the environment alone: they are there for as long as something is being opened."""
    with _ENVIRONMENT:
        before = {key: os.environ.get(key) for key in options}
        os.environ.update(options)
        try:
            yield
        finally:
            for key, value in before.items():
                if value is None:
                    del os.environ[key]
                else:
                    os.environ[key] = value
