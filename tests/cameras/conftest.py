"""One rig per camera: the far side of the device, under the test's control. A camera without a rig fails the contract suite."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_vla.cameras import CAMERAS, make_camera
from edge_vla.sim.frames import FrameServer, Header
from edge_vla.sim.view import Truth
from edge_vla.types import Camera

PATIENCE_S = 20.0


class Rig(Protocol):
    """A device that shows what it is told to."""

    def open(self) -> Camera: ...

    def show(self, rgb: NDArray[np.uint8]) -> None:
        """Expose one frame; returns once the camera under test has taken it."""
        ...

    def unplug(self) -> None: ...

    def close(self) -> None: ...


class SimulatorRig:
    """A frame server without a simulator."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "frames"
        self.seq = 0
        self._server = FrameServer(str(self.path))

    def open(self) -> Camera:
        return make_camera("simulator", {"path": self.path})

    def show(self, rgb: NDArray[np.uint8], truth: Truth | None = None, skip: int = 0) -> None:
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


RIGS: dict[str, Callable[[Path], Rig]] = {"simulator": SimulatorRig}


@pytest.fixture(params=sorted({*CAMERAS, *RIGS}))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Every registered camera's rig in turn."""
    assert request.param in CAMERAS, f"a rig for {request.param!r}, which is not in edge_vla.cameras.CAMERAS"
    assert request.param in RIGS, f"camera {request.param!r} has no rig in tests/cameras/conftest.py"
    rig = RIGS[request.param](tmp_path)
    yield rig
    rig.close()


@pytest.fixture
def simulator_rig(tmp_path: Path) -> Iterator[SimulatorRig]:
    rig = SimulatorRig(tmp_path)
    yield rig
    rig.close()
