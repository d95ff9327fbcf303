"""Capture age: how old a frame is when the engine is asked about it, in the loop that asks in a run, from the profile's own camera."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_vla.behaviours.state import Plan
from edge_vla.bench.meter import Meter
from edge_vla.config import RobotProfile
from edge_vla.drive import Seeing
from edge_vla.errors import CameraError, ConfigError
from edge_vla.goals import Goal
from edge_vla.live import SeeLoop
from edge_vla.parts import make_camera, make_frame_rules
from edge_vla.robot import make_plan
from edge_vla.types import Camera, Engine, Pose

PER_ROUND = 4  # looks
WARM_UP = 4
FIRST_FRAME_S = 15.0
POLL_S = 0.002  # the age is taken in the loop's own thread; this only bounds how soon the answer is fetched


def watch(engine: Engine, profile: RobotProfile, meter: Meter, between: Callable[[int, int], object] = lambda _a, _b: None) -> None:
    """Measure PER_ROUND looks a round. Raises ConfigError, CameraError."""
    count = 1 + WARM_UP + meter.rounds * PER_ROUND
    with _camera(profile) as camera:
        camera.read(FIRST_FRAME_S)
        seeing = Seeing(engine, _plan(engine, profile), lambda t_ns: Pose(t_ns, 0.0, 0.0, 0.0))
        see = SeeLoop(camera, seeing, make_frame_rules(profile.camera).judge, lambda: 0.0)
        ages = list[float]()
        see.start()
        try:
            while len(ages) < count:
                if trouble := see.trouble(time.monotonic_ns()):
                    raise CameraError(trouble)
                seen = see.take()
                if seen is None:
                    time.sleep(POLL_S)
                    continue
                ages.append((seen.asked_ns - seen.frame.t_capture_ns) * 1e-6)
                between(len(ages), count)
        finally:
            see.stop()
    meter.take_all("capture age", ages, WARM_UP)


def _plan(engine: Engine, profile: RobotProfile) -> Plan:
    if engine.targets:
        return make_plan(profile, Goal.FIND_OBJECT, engine.targets[0])
    return make_plan(profile, Goal.DESCRIBE_SCENE, None)


@contextmanager
def _camera(profile: RobotProfile) -> Iterator[Camera]:
    """The profile's camera; the simulator's with a simulator behind it."""
    if not profile.simulated:
        camera = make_camera(profile.camera, None)
        try:
            yield camera
        finally:
            camera.close()
        return
    try:
        from edge_vla.sim.process import SimProcess
        from edge_vla.sim.settings import SimSettings
    except ModuleNotFoundError as err:
        raise ConfigError(
            f"stages 'camera' need {err.name}: pip install 'edge_vla[sim]', or leave them out: --stages engine,guard"
        ) from err
    names = ("width", "height", "fps", "hfov_deg", "height_m", "pitch_deg", "forward_m")
    with tempfile.TemporaryDirectory(prefix="edge_vla-bench-") as folder:
        settings = SimSettings(folder=folder, seed=7, **{name: getattr(profile.camera, name) for name in names})
        with SimProcess.start(settings) as sim:
            camera = make_camera(profile.camera, Path(sim.frames))
            try:
                yield camera
            finally:
                camera.close()
