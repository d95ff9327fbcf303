"""Any GStreamer pipeline as a camera: it runs in a process of its own and writes raw RGB into a pipe. Knows nothing about its elements."""

from __future__ import annotations

import os
import re
import shlex
import time

import numpy as np
from numpy.typing import NDArray

from edge_vla.cameras import devices
from edge_vla.cameras.launch import TOOL, Launch, words_of
from edge_vla.cameras.newest import NewestCamera
from edge_vla.cameras.stalls import BEAT_S, Stalls
from edge_vla.cameras.wanted import Wanted, require_fit, require_latency
from edge_vla.errors import CameraError
from edge_vla.types import Frame

READY_S = 10.0  # for its devices to open: an RTSP source asks its server first
SIZE = re.compile(r"width=(?:\(int\))?(\d+).*?height=(?:\(int\))?(\d+)")
# One buffer, and the old one makes way: whoever reads too slowly gets the newest.
LEAKY = ["queue", "leaky=downstream", "max-size-buffers=1", "max-size-bytes=0", "max-size-time=0"]


class GStreamerCamera(NewestCamera):
    """`pipeline` is everything before the format, "{width}", "{height}" and "{fps}" in it stand for the profile's.

    A frame's stamp is the moment its first byte came, less `latency_ms`: what sensor and pipeline take, measured by whoever sets it.
    """

    def __init__(self, wanted: Wanted, pipeline: str, latency_ms: float = 0.0, fit: str = "exact") -> None:
        require_fit(fit)
        require_latency(latency_ms)
        for key in ("width", "height", "fps"):
            pipeline = pipeline.replace(f"{{{key}}}", str(getattr(wanted, key)))
        super().__init__(f"gstreamer camera {pipeline!r}")
        self.pipeline = [*words_of(pipeline), "!", *tail(wanted, fit)]
        self._wanted, self._fit, self._latency_ns = wanted, fit, round(latency_ms * 1e6)
        self._source: int | None = None
        self._launch: Launch | None = None
        self._stalls = Stalls(wanted.period_ns, time.monotonic_ns())
        self._start()

    @property
    def child(self) -> int | None:
        """Process id of the pipeline."""
        return self._launch.pid if self._launch is not None else None

    def explain(self, complaint: str) -> str:
        """What to say besides, about a pipeline that has failed with `complaint`."""
        size = self._launch.size if self._launch is not None else None
        if "can't handle caps" in complaint:  # it says so before anything runs, if at all
            said = SIZE.findall(" ".join(self.pipeline[: self.pipeline.index("queue")]))
            size = (int(said[-1][0]), int(said[-1][1])) if said else None
        if size is not None and size != (self._wanted.width, self._wanted.height):
            return f"; {self._wanted.other(*size)}"
        if "not-negotiated" in complaint:  # it ended before it could tell
            return f"; the pipeline gives no {self._wanted.size}: write its own size into [camera], or options.fit = 'resize'"
        return ""

    def _open(self) -> None:
        self._source, sink = os.pipe()
        try:
            self._launch = Launch([*self.pipeline, "!", "fdsink", f"fd={sink}", "sync=false"], sink)
        finally:
            os.close(sink)
        give_up_s = time.monotonic() + READY_S
        while not self._launch.runs:
            self._launch.wait([], BEAT_S)
            if self._launch.silent:
                raise CameraError(f"{self._ended(self._launch)}; tried: {TOOL} {shlex.join(self.pipeline)}; {devices.told()}")
            if time.monotonic() > give_up_s:
                raise CameraError(f"not running after {READY_S:.0f} s; tried: {TOOL} {shlex.join(self.pipeline)}; {devices.told()}")
        self._stalls.beat(time.monotonic_ns())

    def _release(self) -> None:
        if self._source is not None:
            os.close(self._source)  # first: a sink that waits to write is then free to end
        if self._launch is not None:
            self._launch.end()

    def _grab(self) -> Frame | None:
        assert self._source is not None  # noqa: S101 - for mypy: it is open
        assert self._launch is not None  # noqa: S101
        asked_ns, skipped = time.monotonic_ns(), 0
        while self._until_bytes(self._source, self._launch):
            came_ns = time.monotonic_ns()
            rgb = self._receive(self._source, self._launch)
            if rgb is None:
                break
            if self._stalls.young(asked_ns, came_ns):
                return self._stamped(rgb, came_ns - self._latency_ns, skipped)
            asked_ns, skipped = time.monotonic_ns(), skipped + 1
        return None

    def _until_bytes(self, source: int, launch: Launch) -> bool:
        """False when the camera is being closed."""
        while not self._closing.is_set():
            if launch.wait([source], BEAT_S):
                return True
            self._stalls.beat(time.monotonic_ns())
        return False

    def _receive(self, source: int, launch: Launch) -> NDArray[np.uint8] | None:
        """One frame's bytes as a picture; GStreamer fills rows up to a multiple of four bytes."""
        height, width = self._wanted.height, self._wanted.width
        stride = (3 * width + 3) // 4 * 4
        data = np.empty(height * stride, dtype=np.uint8)
        view = data.data
        while view:
            if not self._until_bytes(source, launch):
                return None
            got = os.readv(source, [view])
            if not got:
                raise self._ended(launch)
            view = view[got:]
        return np.ascontiguousarray(data.reshape(height, stride)[:, : 3 * width]).reshape(height, width, 3)

    def _ended(self, launch: Launch) -> CameraError:
        """Why there is no more, by the pipeline's own last words."""
        while not (launch.silent or self._closing.is_set()):
            launch.wait([], BEAT_S)
        complaint = launch.complaint()
        return CameraError(f"the pipeline has ended: {complaint}{self.explain(complaint)}")


def tail(wanted: Wanted, fit: str) -> list[str]:
    """What follows every pipeline: the newest buffer alone, as RGB in the profile's size."""
    scale = ["videoscale", "add-borders=false", "!"] if fit == "resize" else []
    square = ",pixel-aspect-ratio=1/1" if scale else ""  # or it keeps the shape of things, and not the size
    caps = f"video/x-raw,format=RGB,width={wanted.width},height={wanted.height}{square}"
    return [*LEAKY, "!", "videoconvert", "!", *scale, caps]
