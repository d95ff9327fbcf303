"""One rig per camera: the far side of the device, under the test's control. A camera without a rig fails the contract suite.

The far sides are real (a GStreamer pipeline, an RTSP and an HTTP server, files) but for two: V4L2 wants a kernel driver, so OpenCV's
capture has a double; a CSI camera wants a Jetson, so its source is another element and the rest of its pipeline is what runs.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_vla.cameras import csi, make_camera
from edge_vla.cameras.newest import NewestCamera
from edge_vla.cameras.wanted import Wanted
from edge_vla.sim.frames import FrameServer, Header
from edge_vla.sim.view import Truth
from tests.cameras.pictures import await_frame, same, write_film
from tests.cameras.servers import HEIGHT, SYSTEM_PYTHON, WIDTH, FarSide, rtsp_server_runs
from tests.doubles.v4l2_device import V4L2Device

PATIENCE_S = 20.0
REPLAY_FPS = 2  # of files: so far apart that a busy machine does not mistake one frame for the next
NO_GSTREAMER = "GStreamer is not installed: bash launch/gstreamer.sh"
NO_RTSP_SERVER = "GStreamer's RTSP server is not installed: bash launch/gstreamer.sh"
Picture = NDArray[np.uint8]


class Rig(Protocol):
    """A device that shows what it is told to."""

    tolerance: int  # of a lossy codec, in levels
    repeats: bool  # its picture comes again and again until the next

    def open(self, *pictures: Picture) -> Any:
        """The camera. `pictures` are those that will be shown, in order: a file has to hold them from the start."""
        ...

    def show(self, rgb: Picture) -> None:
        """Expose one frame; returns once the camera under test has taken it."""
        ...

    def unplug(self) -> None: ...

    def close(self) -> None: ...


class SimulatorRig:
    """A frame server without a simulator."""

    tolerance, repeats = 0, False

    def __init__(self, folder: Path) -> None:
        self.path = folder / "frames"
        self.seq = 0
        self._server = FrameServer(str(self.path))

    def open(self, *_: Picture) -> Any:
        return make_camera("simulator", {"path": self.path})

    def show(self, rgb: Picture, truth: Truth | None = None, skip: int = 0) -> None:
        self._until_wanted()
        self.seq += 1 + skip
        said = truth.to_json() if truth else b""
        self._server.send(Header(self.seq, time.monotonic_ns(), rgb.shape[1], rgb.shape[0], len(said)), rgb.tobytes(), said)
        self._until_wanted()

    def garble(self) -> None:
        self._until_wanted()
        self._server.send(Header(1, 1, 0, 0, 0), b"")

    def unplug(self) -> None:
        self._server.close()

    def close(self) -> None:
        self._server.close()

    def _until_wanted(self) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while not self._server.wanted:
            assert time.monotonic() < give_up_s, "the camera asks for no frame"
            self._server.wait(time.monotonic_ns() + 1_000_000)


class GStreamerRig:
    """A pipeline that reads raw pictures from a FIFO: what it shows is exact."""

    tolerance, repeats = 0, False

    def __init__(self, folder: Path) -> None:
        if shutil.which("gst-launch-1.0") is None:
            pytest.skip(NO_GSTREAMER)
        self.path = folder / "pictures"
        os.mkfifo(self.path)
        self._fifo: int | None = os.open(self.path, os.O_RDWR)
        self._camera: NewestCamera | None = None

    def source(self, width: int = WIDTH, height: int = HEIGHT) -> str:
        """Read picture by picture; a parser would hold each back until the next begins."""
        caps = f"video/x-raw,format=RGB,width={width},height={height},framerate=30/1"
        return f"filesrc location={self.path} blocksize={width * height * 3} ! {caps}"

    def open(self, *_: Picture) -> Any:
        self._camera = make_camera("gstreamer", {"pipeline": self.source()}, Wanted(WIDTH, HEIGHT, 15))  # type: ignore[assignment]
        return self._camera

    def show(self, rgb: Picture) -> None:
        camera = self._camera
        assert camera is not None
        before = camera.arrived
        for _ in range(10):  # a frame that came while this machine stood still is thrown away by the camera
            self.write(rgb.tobytes())
            if await_frame(camera, lambda: camera.arrived > before, 0.5):
                return
        pytest.fail("the camera has taken no frame")

    def write(self, data: bytes) -> None:
        assert self._fifo is not None
        while data:
            data = data[os.write(self._fifo, data) :]

    def unplug(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        if self._fifo is not None:
            os.close(self._fifo)
            self._fifo = None


class CSIRig(GStreamerRig):
    """The class for a Jetson's cameras, on another source."""

    def open(self, *_: Picture) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csi, "source", lambda *_: self.source())
            self._camera = make_camera("csi", {}, Wanted(WIDTH, HEIGHT, 15))  # type: ignore[assignment]
        return self._camera


class RepeatingRig:
    """Shows one picture again and again."""

    tolerance, repeats = 0, True

    def __init__(self) -> None:
        self._camera: NewestCamera | None = None

    def set(self, rgb: Picture) -> None:
        raise NotImplementedError

    def show(self, rgb: Picture) -> None:
        camera = self._camera
        assert camera is not None
        self.set(rgb)

        def there() -> bool:
            return camera._frame is not None and bool(same(camera._frame.rgb, rgb, self.tolerance))

        assert await_frame(camera, there), "the camera does not see the picture"


class V4L2Rig(RepeatingRig):
    """A double in the place of OpenCV's capture; the device is a symbolic link to something that can be opened."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.device, self.path = V4L2Device(), folder / "video0"
        self.path.symlink_to("/dev/null")
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(cv2, "VideoCapture", self.device.capture)

    def open(self, *pictures: Picture, **options: object) -> Any:
        self.set(pictures[0] if pictures else self.device.picture)
        self._camera = make_camera("v4l2", {"device": str(self.path), **options}, Wanted(WIDTH, HEIGHT, 15))  # type: ignore[assignment]
        return self._camera

    def set(self, rgb: Picture) -> None:
        self.device.picture = rgb

    def unplug(self) -> None:
        self.device.plugged = False
        self.path.unlink(missing_ok=True)

    def replug(self) -> None:
        self.path.symlink_to("/dev/null")
        self.device.plugged = True

    def close(self) -> None:
        self._patch.undo()


class StreamRig(RepeatingRig):
    """A network camera: a server on this machine."""

    def __init__(self, kind: str, *words: str) -> None:
        super().__init__()
        self.kind = kind
        if kind == "rtsp":
            if not rtsp_server_runs():
                pytest.skip(NO_RTSP_SERVER)
            self.server: FarSide | None = FarSide(SYSTEM_PYTHON, "rtsp_server.py", *words)
        else:
            self.server = FarSide(sys.executable, "http_server.py")
        self.url = f"{kind}://127.0.0.1:{self.server.port}/live"
        self.tolerance = 8

    def open(self, *pictures: Picture, **options: object) -> Any:
        if pictures:
            self.set(pictures[0])
        self._camera = make_camera(self.kind, {"url": self.url, **options}, Wanted(WIDTH, HEIGHT, 20))  # type: ignore[assignment]
        return self._camera

    def set(self, rgb: Picture) -> None:
        assert self.server is not None
        self.server.show(rgb)

    def unplug(self) -> None:
        self.close()

    def close(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None


class FileRig:
    """Pictures that are recorded before they are shown. A file that is removed is read to its end, which comes by itself."""

    tolerance, repeats = 0, False

    def __init__(self) -> None:
        self._camera: NewestCamera | None = None
        self._count = 0

    def show(self, rgb: Picture) -> None:
        camera = self._camera
        assert camera is not None
        self._count += 1
        assert await_frame(camera, lambda: camera.arrived >= self._count), "the camera shows no further frame"

    def close(self) -> None:
        pass


class VideoRig(FileRig):
    """A Motion PNG: no picture loses anything."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "film.avi"

    def open(self, *pictures: Picture, **options: object) -> Any:
        if pictures:
            write_film(self.path, pictures, REPLAY_FPS)
        self._camera = make_camera("video", {"file": str(self.path), **options}, Wanted(WIDTH, HEIGHT, REPLAY_FPS))  # type: ignore[assignment]
        return self._camera

    def unplug(self) -> None:
        self.path.unlink(missing_ok=True)


class ImagesRig(FileRig):
    """A folder of PNG."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "pictures"

    def open(self, *pictures: Picture, **options: object) -> Any:
        for k, rgb in enumerate(pictures):
            self.path.mkdir(exist_ok=True)
            assert cv2.imwrite(str(self.path / f"{k:04}.png"), rgb[..., ::-1])
        self._camera = make_camera("images", {"folder": str(self.path), **options}, Wanted(WIDTH, HEIGHT, REPLAY_FPS))  # type: ignore[assignment]
        return self._camera

    def unplug(self) -> None:
        pass  # a folder that was opened is known; each picture is read when it is due


RIGS: dict[str, Callable[[Path], Rig]] = {
    "simulator": SimulatorRig,
    "v4l2": V4L2Rig,
    "csi": CSIRig,
    "gstreamer": GStreamerRig,
    "rtsp": lambda _: StreamRig("rtsp"),
    "http": lambda _: StreamRig("http"),
    "video": VideoRig,
    "images": ImagesRig,
}
