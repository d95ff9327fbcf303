"""What the simulator knows about a frame, and the engine that answers from it: the ceiling of every evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_vla.errors import EngineError
from edge_vla.geometry import CameraPose
from edge_vla.parse.loc import box_to_locs
from edge_vla.sim.eye import Eye, visible_boxes
from edge_vla.sim.objects import CLASSES
from edge_vla.sim.world import World
from edge_vla.types import Box, Frame, Reply

MIN_PIXELS = 14  # of 320x240; fewer are not asked of any engine either
COLUMNS = 16


@dataclass(frozen=True, slots=True)
class Truth:
    """True boxes, most visible first, and true free distances of one frame."""

    boxes: tuple[Box, ...]
    free_distance_m: tuple[float, ...]


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


class OracleEngine:
    """Answers from the simulator's truth. Simulator only; `truth_of` finds a frame's truth by its seq."""

    def __init__(self, truth_of: Callable[[int], Truth | None]) -> None:
        self._truth_of = truth_of

    @property
    def targets(self) -> tuple[str, ...]:
        return CLASSES

    def ask(self, frame: Frame, prompt: str) -> Reply:
        """Loc tokens for `detect X`, the names for anything else."""
        truth = self._truth_of(frame.seq)
        if truth is None:
            raise EngineError(f"the oracle knows nothing about frame {frame.seq}")
        if not prompt.startswith("detect "):
            return Reply(", ".join(box.label for box in truth.boxes) or "nothing", 1.0, truth.free_distance_m)
        thing = prompt.removeprefix("detect ")
        box = next((b for b in truth.boxes if b.label == thing), None)
        text = f"{box_to_locs(box)} {thing}" if box else ""
        return Reply(text, 1.0, truth.free_distance_m)

    def close(self) -> None:
        """Nothing is held."""
