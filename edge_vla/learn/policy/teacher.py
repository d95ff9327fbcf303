"""What a policy is taught to do: turn until the thing is in view, go there around what stands in the way, stand in front of it.

Knows the thing's true box and the true free distances of one frame and nothing else: a student that sees the frame can know as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_vla.errors import EngineError
from edge_vla.geometry import CameraPose
from edge_vla.obstacles import BODY_M, FAR_M, MARGIN_M, best_heading, clear_ahead
from edge_vla.sim.objects import CLASSES
from edge_vla.sim.view import Truth
from edge_vla.types import Box, Chunk, Frame, Reply, Twist

LAYOUT = ("linear_x", "angular_z")  # of a lesson's numbers
CHUNK, PERIOD_S = 4, 0.25
SPEED_MPS = 0.15  # the guard's, for what sees no clear distance
TURN_RPS = 0.6  # a third of the view between two looks of a quarter of a second
STOP_M = 0.45  # from the robot's centre to the thing's foot
ARRIVED_M, FACING_RAD = 0.03, 0.12  # within both it stands
STEER_GAIN = 1.3  # rad/s per rad: a look is acted upon a third of a second after it was taken
BRAKE_GAIN = 0.8  # m/s per m
WIDEST_RAD = 0.6  # a way around something that keeps the thing in view
SWERVE_RAD = 0.6  # nothing is driven beside a heading further off than this
REACH_M = 1.2

Lesson = NDArray[np.float32]  # (CHUNK, 2) linear_x m/s and angular_z rad/s


def lesson(box: Box | None, free_m: Sequence[float], camera: CameraPose) -> Lesson:
    """The next CHUNK motions, PERIOD_S apart, from one frame's truth; without a box it turns left."""
    if box is None:
        return np.tile(np.array((0.0, TURN_RPS), np.float32), (CHUNK, 1))
    target = np.array(camera.foot(box))
    half = (camera.bearing(box.x_min) - camera.bearing(box.x_max)) / 2
    points = _around(free_m, camera)
    points = points[np.hypot(*(points - target).T) > 0.25 + math.hypot(*target) * math.tan(half)]  # the thing is not in its own way
    told = []
    for _ in range(CHUNK):
        speed, rate = _towards(target, points)
        told.append((speed, rate))
        target, points = _moved(target[None], speed, rate)[0], _moved(points, speed, rate)
    return np.array(told, np.float32)


def _around(free_m: Sequence[float], camera: CameraPose) -> NDArray[np.float64]:
    """(n, 2) where the free distances end, in the robot's frame."""
    free, bearings = np.asarray(free_m, float), np.array(camera.column_bearings(len(free_m)))
    points: NDArray[np.float64] = np.stack([camera.forward_m + free * np.cos(bearings), free * np.sin(bearings)], 1)[free < FAR_M]
    return points


def _towards(target: NDArray[np.float64], points: NDArray[np.float64]) -> tuple[float, float]:
    """(m/s, rad/s) towards the thing's foot."""
    away, bearing = float(np.hypot(*target)), math.atan2(target[1], target[0])
    left = max(0.0, away - STOP_M)
    if left < ARRIVED_M and abs(bearing) < FACING_RAD:
        return 0.0, 0.0
    heading, clear = best_heading(points, bearing, max(0.35, min(left + 0.25, REACH_M)), WIDEST_RAD)
    room = max(0.0, (min(clear, clear_ahead(points, 0.0, REACH_M)) - BODY_M - MARGIN_M) / 1.1)
    speed = min(SPEED_MPS, BRAKE_GAIN * left, room) * max(0.0, 1 - abs(heading) / SWERVE_RAD)
    return speed, max(-TURN_RPS, min(TURN_RPS, STEER_GAIN * heading))


def _moved(points: NDArray[np.float64], speed: float, rate: float) -> NDArray[np.float64]:
    """Points (n, 2) of the robot's frame as they are after PERIOD_S of a motion."""
    turned = rate * PERIOD_S
    there = points - np.array((speed * PERIOD_S * math.cos(turned / 2), speed * PERIOD_S * math.sin(turned / 2)))
    c, s = math.cos(turned), math.sin(turned)
    return there @ np.array(((c, -s), (s, c)))


def chunk_of(told: Lesson) -> Chunk:
    """A lesson as a policy's answer."""
    return Chunk(tuple(Twist(float(speed), 0.0, float(rate)) for speed, rate in told), PERIOD_S)


def thing_in(instruction: str) -> str:
    """The thing an instruction is about, which is its last word. Raises EngineError for none that is known."""
    thing = instruction.rsplit(maxsplit=1)[-1] if instruction.split() else ""
    if thing not in CLASSES:
        raise EngineError(f"instruction {instruction!r} ends with none of {', '.join(CLASSES)}")
    return thing


class Teacher:
    """The lessons as a policy that cheats. `truth_of` finds a frame's truth by its seq."""

    targets = None
    moves = frozenset(LAYOUT)

    def __init__(self, truth_of: Callable[[int], Truth | None], camera: CameraPose) -> None:
        self._truth_of, self._camera = truth_of, camera

    def ask(self, frame: Frame, prompt: str) -> Reply:
        """The lesson about this frame. Raises EngineError for a frame that the simulator does not know."""
        truth = self._truth_of(frame.seq)
        if truth is None:
            raise EngineError(f"the teacher knows nothing about frame {frame.seq}")
        thing = thing_in(prompt)
        box = next((box for box in truth.boxes if box.label == thing), None)
        return Reply("", 1.0, chunk=chunk_of(lesson(box, truth.free_distance_m, self._camera)))

    def forget(self) -> None:
        """Nothing is remembered."""

    def close(self) -> None:
        """Nothing is held."""
