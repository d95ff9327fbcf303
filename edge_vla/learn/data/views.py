"""Random labelled views of random rooms: what the default engine is trained on. No torch here, so it renders anywhere."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vla.sim.eye import Eye, SensorNoise, visible_boxes
from edge_vla.sim.objects import CLASSES
from edge_vla.sim.paint import paint_lights, paint_surfaces, paint_things
from edge_vla.sim.robot import RobotModel
from edge_vla.sim.rooms import Placed, Room, draw_shapes, scatter
from edge_vla.sim.world import World

SIZE_PX = 224
COLUMNS = 16  # image columns that carry a free distance
FREE_CAP_M = 4.0
HELD_OUT_SEED = 1_000_000  # seeds from here on are for evaluation and never rendered for training


@dataclass(frozen=True, slots=True)
class View:
    """One labelled image. `boxes` rows: class index, y_min, x_min, y_max, x_max (fractions), visible pixels of 320x240."""

    rgb: NDArray[np.uint8]  # (224, 224, 3)
    boxes: NDArray[np.float32]  # (n, 6)
    free_m: NDArray[np.float32]  # (COLUMNS,)


def column_bearings(hfov_deg: float, columns: int = COLUMNS) -> NDArray[np.float64]:
    """Bearing (rad, left positive) of each image column's centre, left to right."""
    fraction = (np.arange(columns) + 0.5) / columns
    return np.arctan((1 - 2 * fraction) * np.tan(np.radians(hfov_deg) / 2))


def room_views(seed: int, count: int) -> Iterator[View]:
    """`count` views of one room whose things, paint and light change from view to view."""
    if seed >= HELD_OUT_SEED:
        raise ValueError(f"seed {seed} is held out for evaluation; training seeds are below {HELD_OUT_SEED}")
    rng = np.random.default_rng([seed, 11])
    size = (float(rng.uniform(3.4, 6.2)), float(rng.uniform(3.2, 5.6)))
    extra = rng.choice(CLASSES, size=3).tolist()
    shapes = draw_shapes(rng, [*CLASSES, *extra], int(rng.integers(2, 5)))
    robot = replace(RobotModel(), camera_height_m=float(rng.normal(0.25, 0.006)), camera_pitch_deg=float(rng.normal(10, 1.0)))
    room = Room(size, tuple(Placed(s, 30.0 + 3 * i, 50.0, 0.0) for i, s in enumerate(shapes)), (0.0, 0.0, 0.0), seed)
    world = World(room, robot)
    eye, noise = Eye(world.model, shadows=bool(rng.random() < 0.8)), SensorNoise(seed)
    bearings = column_bearings(robot.hfov_deg)
    try:
        for k in range(count):
            if k % 6 == 0:
                paint_surfaces(world.model, rng)
                eye.upload_textures()
            yield _view(world, eye, noise, rng, bearings)
    finally:
        eye.close()


def _view(world: World, eye: Eye, noise: SensorNoise, rng: np.random.Generator, bearings: NDArray[np.float64]) -> View:
    room = world.room
    paint_things(world.model, room, rng)
    paint_lights(world.model, rng)
    present = np.nonzero(rng.random(len(room.things)) < rng.uniform(0.3, 0.75))[0]
    spots = scatter(rng, [room.things[i].shape for i in present], room.size_m, float(rng.uniform(0.05, 0.45)), [])
    for i in range(len(room.things)):
        world.remove_thing(i)
    placed = [(int(i), spot) for i, spot in zip(present, spots, strict=True) if spot is not None]
    for i, spot in placed:
        world.move_thing(i, spot.x_m, spot.y_m, spot.yaw_rad)
    world.place_robot(*_viewpoint(rng, room, [spot for _, spot in placed]))
    world.settle()
    rgb = cv2.resize(noise(eye.rgb(world.data)), (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
    seen = visible_boxes(eye.things(world.data, world.geom_to_thing), len(room.things))
    rows = [
        (CLASSES.index(room.things[i].shape.name), box.y_min, box.x_min, box.y_max, box.x_max, pixels)
        for i, found in enumerate(seen)
        if found is not None and room.things[i].shape.name
        for box, pixels in [found]
    ]
    free = world.free_distances(bearings, FREE_CAP_M)
    return View(rgb.astype(np.uint8), np.array(rows, dtype=np.float32).reshape(-1, 6), free.astype(np.float32))


def _viewpoint(rng: np.random.Generator, room: Room, placed: list[Placed]) -> tuple[float, float, float]:
    """Mostly towards some thing from a log-uniform distance, else anywhere."""
    hx, hy = room.size_m[0] / 2 - 0.2, room.size_m[1] / 2 - 0.2
    named = [p for p in placed if p.shape.name]
    for _ in range(40):
        if named and rng.random() < 0.85:
            goal = named[int(rng.integers(len(named)))]
            away, around = goal.shape.radius + np.exp(rng.uniform(np.log(0.3), np.log(4.2))), rng.uniform(-np.pi, np.pi)
            x, y = goal.x_m + away * np.cos(around), goal.y_m + away * np.sin(around)
            yaw = around + np.pi + rng.uniform(-0.62, 0.62)
        else:
            x, y, yaw = rng.uniform(-hx, hx), rng.uniform(-hy, hy), rng.uniform(-np.pi, np.pi)
        clear = all(np.hypot(x - p.x_m, y - p.y_m) > p.shape.radius + 0.15 for p in placed)
        if abs(x) < hx and abs(y) < hy and clear:
            return float(x), float(y), float(yaw)
    return 0.0, 0.0, float(rng.uniform(-np.pi, np.pi))
