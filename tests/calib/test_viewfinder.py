"""Chessboards in front of a camera that is running: what is kept of its frames, and when it has seen enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from calib.camera import main
from calib.intrinsics import Bounds, fit
from calib.viewfinder import watch
from edge_vla.cameras import make_camera
from edge_vla.errors import CameraError, ConfigError
from edge_vla.sim.frames import FrameServer, Header
from edge_vla.types import Camera, Frame
from tests.calib.boards import BOARD

Pictures = dict[str, np.ndarray]


class Showing:
    """A frame server that shows one picture after the other to whoever reads."""

    def __init__(self, path: Path, shown: list[np.ndarray]) -> None:
        self._server, self._shown, self._end = FrameServer(str(path)), shown, threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for seq, rgb in enumerate(self._shown):
            while not self._server.wanted and not self._end.is_set():
                self._server.wait(time.monotonic_ns() + 5_000_000)
            self._server.send(Header(seq + 1, time.monotonic_ns(), rgb.shape[1], rgb.shape[0], 0), rgb.tobytes())
        while not self._end.is_set():
            self._server.wait(time.monotonic_ns() + 5_000_000)

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self._server.close()


@pytest.fixture
def show(tmp_path: Path) -> Iterator[Callable[[list[np.ndarray]], Camera]]:
    """show(pictures): a camera that sees one after the other. A reader that is slower than they come sees the newest."""
    opened: list[tuple[Showing, Camera]] = []

    def make(shown: list[np.ndarray]) -> Camera:
        showing = Showing(tmp_path / "frames", shown)
        opened.append((showing, make_camera("simulator", {"path": tmp_path / "frames"})))
        return opened[-1][1]

    yield make
    for showing, camera in opened:
        camera.close()
        showing.close()


class InTurn:
    """A camera that shows every picture, however slow its reader is."""

    def __init__(self, shown: list[np.ndarray]) -> None:
        self._left = iter(shown)
        self.read_so_far = 0

    def read(self, timeout_s: float) -> Frame:
        rgb = next(self._left, None)
        if rgb is None:
            raise CameraError(f"no frame for {timeout_s} s")
        self.read_so_far += 1
        return Frame(rgb, 0, self.read_so_far)

    def close(self) -> None: ...


def test_live_views_are_kept_until_there_are_enough(pictures: Pictures, tmp_path: Path) -> None:
    """Each shown three times, and blank in between: only what is new counts, and what was used lies in the folder."""
    blank = np.full((480, 640, 3), 90, np.uint8)
    camera = InTurn([rgb for name in pictures for rgb in (pictures[name], pictures[name], blank, pictures[name])])
    told: list[str] = []
    found = watch(camera, BOARD, Bounds(views=12, coverage=0.7), tmp_path, 1000, told.append)
    assert len(found) == 12
    assert camera.read_so_far == 11 * 4 + 1
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"{k:03d}.png" for k in range(12)]
    assert (cv2.imread(str(tmp_path / "001.png"))[..., ::-1] == pictures["01.png"]).all()
    assert told[-1].startswith("12 views, ")
    assert fit(found, BOARD).fx == pytest.approx(520, rel=0.01)


def test_live_gives_up_and_says_what_it_has(pictures: Pictures, tmp_path: Path) -> None:
    camera = InTurn([pictures["00.png"]] * 5 + [pictures["01.png"]] * 5)
    message = r"10 frames gave 2 views that cover \d+% of the picture, want 12 and 70%: move the board"
    with pytest.raises(ConfigError, match=message):
        watch(camera, BOARD, Bounds(views=12), tmp_path, 10)


def test_live_reads_a_camera_of_ours(show, pictures: Pictures, tmp_path: Path) -> None:
    """Through a real camera adapter; how many of the pictures a reader this slow gets to see is up to the machine."""
    camera = show([rgb for name, rgb in pictures.items() if name != "cut.png"] * 20)
    (tmp_path / "kept").mkdir()
    found = watch(camera, BOARD, Bounds(views=4, coverage=0.1), tmp_path / "kept", 200)
    assert len(found) == 4


def test_live_needs_a_real_robot_and_a_folder(sim_profile: Path, tmp_path: Path) -> None:
    live = ["--robot", str(sim_profile), "--board", "8x5", "--square-mm", "25", "--out", str(tmp_path / "camera.toml")]
    with pytest.raises(ConfigError, match=r"sim\.toml is simulated: no room of the simulator has a chessboard"):
        main([*live, "--keep", str(tmp_path / "kept")])
    real = sim_profile.parent / "waveshare_ugv.toml"
    with pytest.raises(ConfigError, match=r"--robot needs --keep FOLDER"):
        main(["--robot", str(real), *live[2:]])
    with pytest.raises(ConfigError, match=r"--keep .* exists already: name a new folder"):
        main(["--robot", str(real), *live[2:], "--keep", str(tmp_path)])
    with pytest.raises(ConfigError, match=r"not allowed with argument|one of the arguments"):
        main([*live, "--images", str(tmp_path)])
