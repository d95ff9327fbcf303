"""The truth of a moment, rendered and measured. `OracleEngine` and `Truth` live in modules without MuJoCo and are passed on here."""

from __future__ import annotations

import numpy as np

from edge_vla.geometry import CameraPose
from edge_vla.sim.eye import Eye, visible_boxes
from edge_vla.sim.oracle import OracleEngine
from edge_vla.sim.view import Truth
from edge_vla.sim.world import World
from edge_vla.types import Box

__all__ = ["OracleEngine", "Truth", "true_view"]

MIN_PIXELS = 14  # of 320x240; fewer are not asked of any engine either
COLUMNS = 16


def true_view(world: World, eye: Eye, camera: CameraPose) -> Truth:
    """Render and measure the truth of the moment."""
    seen = visible_boxes(eye.things(world.data, world.geom_to_thing), len(world.room.things))
    found = [
        (pixels, Box(b.y_min, b.x_min, b.y_max, b.x_max, world.room.things[i].shape.name))
        for i, hit in enumerate(seen)
        if hit is not None and world.room.things[i].shape.name
        for b, pixels in [hit]
        if pixels >= MIN_PIXELS
    ]
    free = world.free_distances(np.array(camera.column_bearings(COLUMNS)))
    return Truth(tuple(box for _, box in sorted(found, key=lambda pair: -pair[0])), tuple(float(d) for d in free))
