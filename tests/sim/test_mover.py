"""The thing that walks: stays free of everything, repeats with its seed, and lets the robot be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_vla.sim.mover import SPEED_MPS, make_mover
from edge_vla.sim.rooms import make_room
from edge_vla.sim.world import World

Make = Callable[..., Any]
TICK_S = 0.02


def walk(world: World, seed: int, for_s: float, index: int = 0) -> np.ndarray:
    """(n, 3) x, y, yaw of thing `index`, one row per 20 ms."""
    mover = make_mover(world, index, seed)
    places = []
    for k in range(round(for_s / TICK_S)):
        mover(world, k * TICK_S)
        places.append(world.thing_pose(index))
    return np.array(places)


def path_m(places: np.ndarray) -> float:
    return float(np.hypot(*np.diff(places[:, :2], axis=0).T).sum())


@pytest.mark.parametrize("seed", range(1_000_000, 1_000_008))
def test_a_stroll_stays_in_the_room_and_clear_of_things_and_robot(seed: int) -> None:
    room = make_room(seed, require=("person",))
    places = walk(World(room), seed, 120.0)
    person = room.things[0].shape
    assert np.all(np.abs(places[:, :2]) < np.array(room.size_m) / 2 - person.radius)
    for other in room.things[1:]:
        gap_m = np.hypot(places[:, 0] - other.x_m, places[:, 1] - other.y_m).min() - person.radius - other.shape.radius
        assert gap_m > 0.07
    assert np.hypot(places[:, 0] - room.start[0], places[:, 1] - room.start[1]).min() > person.radius + 0.25


def test_strolls_get_about() -> None:
    """Over the rooms, not in each: a person may be hemmed in."""
    paths = [path_m(walk(World(make_room(seed, require=("person",))), seed, 60.0)) for seed in range(1_000_000, 1_000_012)]
    assert sum(path > 2.0 for path in paths) >= 9, paths


def test_nothing_jumps(make_world: Make) -> None:
    places = walk(make_world(("person", 1.5, 0.0, 0.0)), 3, 60.0)
    steps = np.diff(places, axis=0)
    assert np.hypot(*steps[:, :2].T).max() <= SPEED_MPS * TICK_S + 1e-9
    turns = np.abs(np.arctan2(np.sin(steps[:, 2]), np.cos(steps[:, 2])))
    assert turns.max() <= 1.2 * TICK_S + 1e-9
    assert (np.hypot(*steps[:, :2].T) == 0).mean() > 0.05  # it pauses
    assert path_m(places) > 3.0


def test_the_same_seed_is_the_same_stroll(make_world: Make) -> None:
    one, same, other = (walk(make_world(("person", 1.5, 0.0, 0.0)), seed, 30.0) for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_it_waits_for_a_robot_in_its_way_and_then_goes_elsewhere(make_world: Make) -> None:
    world: World = make_world(("person", 0.0, 0.0, 0.0), size=(8.0, 8.0), start=(-3.5, -3.5, 0.0))
    mover = make_mover(world, 0, 5)
    radius = world.room.things[0].shape.radius
    places: list[tuple[float, float]] = []

    def go_on(ticks: int) -> None:
        for _ in range(ticks):
            mover(world, len(places) * TICK_S)
            places.append(world.thing_pose(0)[:2])
            pose = world.pose()
            assert math.dist(places[-1], (pose.x_m, pose.y_m)) > radius + 0.34

    while math.dist(places[-1] if places else (0.0, 0.0), (0.0, 0.0)) < 0.2:
        go_on(1)
    x, y, yaw = world.thing_pose(0)
    away = radius + 0.5
    world.place_robot(x + away * math.cos(yaw), y + away * math.sin(yaw), 0.0)  # and there it stays
    stood = len(places)
    go_on(3000)
    waited = [math.dist(a, b) for a, b in itertools.pairwise(places[stood : stood + 200])]
    assert sum(step == 0.0 for step in waited) * TICK_S > 1.0
    assert path_m(np.array([(*place, 0.0) for place in places[stood:]])) > 1.0


def test_what_walks_is_seen_and_felt_by_the_physics(make_world: Make) -> None:
    world: World = make_world(("person", 1.5, 0.0, 0.0))
    before = world.surface_distance(0)
    walk(world, 3, 20.0)
    world.settle()
    assert abs(world.surface_distance(0) - before) > 0.1
