"""A base with known wheels behind a real guard and a real firmware, on a virtual clock; profiles and calibration files to load."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from calib import toml
from calib.chessboard import View, look
from calib.header import header
from calib.rig import Rig
from edge_vla.bases.waveshare import WaveshareUGV
from edge_vla.config import RobotProfile
from edge_vla.guard.core import Guard
from edge_vla.guard.link import Status
from edge_vla.guard.local import LocalGuard
from edge_vla.robot import guard_limits
from edge_vla.sim.firmware.waveshare import WaveshareFirmware
from edge_vla.sim.firmware.wheels import FirstOrderWheels
from tests.calib.boards import BOARD, SQUARES, KnownCamera, poses, render

SESSION = 5
STEP_NS = 5_000_000
TICK_NS = 20_000_000


class SlowLine:
    """A serial line that carries every byte to the firmware `late_ns` after it was written."""

    def __init__(self, firmware: WaveshareFirmware, late_ns: int) -> None:
        self._firmware, self._late_ns = firmware, late_ns
        self._under_way: deque[tuple[int, bytes]] = deque()

    def feed(self, data: bytes, now_ns: int) -> None:
        self._under_way.append((now_ns + self._late_ns, data))

    def read(self, now_ns: int) -> bytes:
        return self._firmware.read(now_ns)

    def deliver(self, now_ns: int) -> None:
        while self._under_way and self._under_way[0][0] <= now_ns:
            self._firmware.feed(self._under_way.popleft()[1], now_ns)


class LaggingGuard(LocalGuard):
    """As a guard in a process of its own: what it is told now shows in the status after the next."""

    def __init__(self, guard: Guard, device: SlowLine, session: int, clock: Callable[[], int]) -> None:
        super().__init__(guard, device, session, clock)
        self._before: Status | None = None

    def poll(self) -> Status | None:
        before, self._before = self._before, super().poll()
        return before


class VirtualRig:
    """A robot whose wheels go `scale` times as far as they say, on a track of their own; where it truly is, is known."""

    def __init__(self, profile: RobotProfile, scale: float = 1.0, track_m: float = 0.172, tau_s: float = 0.15, late_ms: int = 0) -> None:
        self.wheels = FirstOrderWheels(tau_s)
        self.firmware = WaveshareFirmware(self.wheels)
        self.line = SlowLine(self.firmware, late_ms * 1_000_000)
        base = WaveshareUGV(profile.base.track_m, profile.base.max_wheel_mps)
        self.clock_ns = 1_000_000_000
        self.guard = LaggingGuard(Guard(base, guard_limits(profile), SESSION), self.line, SESSION, self.now_ns)
        self.travel_m = self.turn_rad = self.fastest_mps = 0.0
        self.each: Callable[[], object] = lambda: None  # what happens to the robot, step by step
        self._scale, self._track_m = scale, track_m

    def now_ns(self) -> int:
        return self.clock_ns

    def wait(self) -> None:
        """One guard tick."""
        for _ in range(TICK_NS // STEP_NS):
            self.clock_ns += STEP_NS
            self.each()
            self.line.deliver(self.clock_ns)
            self.wheels.advance(STEP_NS * 1e-9)
            left, right = (self._scale * speed for speed in self.wheels.speeds())
            self.travel_m += (left + right) / 2 * STEP_NS * 1e-9
            self.turn_rad += (right - left) / self._track_m * STEP_NS * 1e-9
            self.fastest_mps = max(self.fastest_mps, abs(left), abs(right))
            self.firmware.step(self.clock_ns)
        self.guard.tick(self.clock_ns)

    @property
    def turn_deg(self) -> float:
        return math.degrees(self.turn_rad)


@pytest.fixture
def make_rig() -> Callable[..., VirtualRig]:
    """make_rig(scale=..., track_m=..., tau_s=..., late_ms=...): the simulated rover with such wheels."""
    return lambda profile=None, **wheels: VirtualRig(profile or RobotProfile(), **wheels)


@pytest.fixture
def lend() -> Callable[[VirtualRig], Callable[[RobotProfile], AbstractContextManager[Rig]]]:
    """lend(rig): what stands in for `open_rig`."""

    def make(rig: VirtualRig) -> Callable[[RobotProfile], AbstractContextManager[Rig]]:
        @contextmanager
        def opened(_profile: RobotProfile) -> Iterator[Rig]:
            yield rig

        return opened

    return make


@pytest.fixture
def sim_profile(checkout: Path) -> Path:
    return checkout / "launch" / "sim.toml"


CAMERA = {
    "width": 640, "height": 480, "fx": 520.0, "fy": 516.0, "cx": 331.0, "cy": 236.0, "distortion": [-0.2, 0.05, 0.0, 0.0, 0.0],
    "hfov_deg": 63.215, "rms_px": 0.12, "views": 20,
}  # fmt: skip
WHEELS = {
    "simulated": False, "drive_track_m": 0.172, "odometry_distance_m": 2.0, "measured_distance_m": 1.9, "odometry_turn_deg": 1080.0,
    "measured_turn_deg": 1000.0, "scale": 0.95, "track_m": 0.18576,
}  # fmt: skip
DELAY = {"simulated": False, "delay_s": 0.11, "tau_s": 0.15, "reaction_s": 0.26, "gain": 1.0, "explained": 0.99, "samples": 300}
FIGURES: dict[str, dict[str, object]] = {"camera": CAMERA, "wheels": WHEELS, "delay": DELAY}


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[..., Path]:
    """write_file("camera", hfov_deg=70.0): a good file of that kind in tmp_path, with such changes; None leaves a key out."""

    def write(kind: str, name: str = "", **changes: object) -> Path:
        path = tmp_path / (name or f"{kind}.toml")
        document = header(kind) | FIGURES[kind] | changes
        toml.write(path, {key: value for key, value in document.items() if value is not None})
        return path

    return write


@pytest.fixture(scope="session")
def camera() -> KnownCamera:
    return KnownCamera()


@pytest.fixture(scope="session")
def pictures(camera: KnownCamera) -> dict[str, np.ndarray]:
    """The board in every part of the picture, and one where it is not wholly in it."""
    rays = camera.rays()
    shown = {f"{k:02d}.png": render(camera, rays, pose, SQUARES, 0.025) for k, pose in enumerate(poses(16))}
    return shown | {"cut.png": render(camera, rays, (0.25, 0.0, 0.4, 0.0, 0.0, 0.0), SQUARES, 0.025)}


@pytest.fixture(scope="session")
def views(pictures: dict[str, np.ndarray]) -> list[View]:
    found = [view for name, rgb in pictures.items() if (view := look(rgb, BOARD, name)) is not None]
    assert [view.name for view in found] == [name for name in pictures if name != "cut.png"]
    return found
