"""Verdicts made by hand, and rooms with one thing in them in which a robot can be put anywhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_vla.sim.episode import Verdict
from edge_vla.sim.objects import NAMED
from edge_vla.sim.rooms import Placed, Room
from edge_vla.sim.world import World


def room(name: str = "can", at: tuple[float, float] = (1.0, 0.0), start: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Room:
    return Room((6.0, 5.0), (Placed(NAMED[name](np.random.default_rng(5)), *at, 0.0),), start, seed=1)


@pytest.fixture
def make_world() -> Callable[..., World]:
    """make_world(name, (x, y), (robot x, y, yaw)): a room with just that in it."""
    return lambda *args, **kwargs: World(room(*args, **kwargs))


@pytest.fixture
def make_verdict() -> Callable[..., Verdict]:
    """A successful episode; what a test cares about is given by name."""

    def make(**other: object) -> Verdict:
        values: dict[str, object] = {
            "seed": 1, "target": "can", "absent": False, "said": "reached", "success": True, "spl": 0.8, "time_s": 10.0,
            "path_m": 2.0, "contacts": 0, "touched": (), "distance_m": 0.45, "facing_deg": 0.0, "elsewhere": False, "why": "",
            "room": room(),
            "trail": ((0.0, 0.0), (0.5, 0.1)),
        }  # fmt: skip
        return Verdict(**{**values, **other})  # type: ignore[arg-type]

    return make
