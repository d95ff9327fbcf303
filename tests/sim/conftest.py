"""Rooms made to measure, a robot that can be driven in them, and live simulators that are always ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from edge_vla.sim.eye import Eye
from edge_vla.sim.objects import NAMED
from edge_vla.sim.plant import MotorWheels
from edge_vla.sim.process import SimProcess
from edge_vla.sim.rooms import Placed, Room
from edge_vla.sim.settings import SimSettings
from edge_vla.sim.world import World

STEP_S = 0.004


class Robot:
    """The simulated robot on its motors."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wheels = MotorWheels(world)

    def drive(self, left_mps: float, right_mps: float, for_s: float) -> None:
        self.wheels.set_target(left_mps, right_mps)
        for _ in range(round(for_s / STEP_S)):
            self.wheels.advance(STEP_S)

    def rest(self) -> None:
        self.drive(0.0, 0.0, 1.5)  # ten motor time constants


@pytest.fixture
def make_world() -> Callable[..., World]:
    """make_world(("cup", x, y, yaw), ..., size=(6, 5), start=(0, 0, 0)): a room with exactly that in it."""

    def make(
        *things: tuple[str, float, float, float],
        size: tuple[float, float] = (6.0, 5.0),
        start: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> World:
        rng = np.random.default_rng(5)
        placed = tuple(Placed(NAMED[name](rng), x, y, yaw) for name, x, y, yaw in things)
        return World(Room(size, placed, start, seed=1))

    return make


@pytest.fixture
def make_robot(make_world: Callable[..., World]) -> Callable[..., Robot]:
    return lambda *things, **options: Robot(make_world(*things, **options))


@pytest.fixture
def make_eye() -> Iterator[Callable[[World], Eye]]:
    with ExitStack() as opened:

        def make(world: World) -> Eye:
            eye = Eye(world.model)
            opened.callback(eye.close)
            return eye

        yield make


@pytest.fixture
def start_sim(tmp_path: Path) -> Iterator[Callable[..., SimProcess]]:
    """start_sim(truth=True, ...): a simulator process in `tmp_path`, room 1 000 003 with a cup."""
    with ExitStack() as opened:

        def start(**options: object) -> SimProcess:
            settings = SimSettings(str(tmp_path), **{"seed": 1_000_003, "require": ("cup",), **options})
            return opened.enter_context(SimProcess.start(settings))

        yield start
