"""Servers of pictures on this machine, for network cameras: started, told what to show, ended."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 320, 240
FAR_SIDES = Path(__file__).parent / "far_sides"
SYSTEM_PYTHON = "/usr/bin/python3"  # has GStreamer's bindings; no wheel does
Picture = NDArray[np.uint8]


class FarSide:
    """A server of pictures in a process of its own."""

    def __init__(self, python: str, script: str, *words: str) -> None:
        period_ms = 50
        command = [python, str(FAR_SIDES / script), str(WIDTH), str(HEIGHT), str(period_ms), *words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def show(self, rgb: Picture) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(rgb.tobytes())
        self._process.stdin.flush()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@functools.cache
def rtsp_server_runs() -> bool:
    wants = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer, Gst; Gst.init(None); assert "
    wants += " and ".join(f"Gst.ElementFactory.find({name!r})" for name in ("x264enc", "rtph264pay", "videoconvert"))
    return Path(SYSTEM_PYTHON).exists() and not subprocess.run([SYSTEM_PYTHON, "-c", wants], capture_output=True, check=False).returncode
