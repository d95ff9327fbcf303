"""What stands around the robot, remembered in the odometry frame, and the heading that leads past it. Pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_vla.geometry import CameraPose, to_odom, to_robot
from edge_vla.types import Look, Pose

Points = NDArray[np.float64] | Sequence[tuple[float, float]]  # (n, 2) in the robot's frame, m

BODY_M = 0.18  # half the robot's diagonal: the half width of the lane it needs, and of the circle it turns in
MARGIN_M = 0.06  # what steering and free distances may be off by
FORGET_NS = 30_000_000_000  # longer than the slowest full turn, shorter than what odometry takes to drift by a body
FAR_M = 2.6  # a free distance beyond this is no obstacle worth remembering, and less exact
CELL_M = 0.08  # one point is remembered in each square of this size, the newest
BEYOND_M = 0.35  # a look that reaches this far past a point sees through it
DOUBT_NS = 1_500_000_000  # a thin leg falls between two columns now and then: a point seen this recently is believed


@dataclass(frozen=True, slots=True)
class Obstacles:
    """Points (odometry frame, m) that were in the way, each with when it was seen."""

    points: tuple[tuple[float, float, int], ...] = ()

    def seen(self, look: Look, camera: CameraPose) -> "Obstacles":
        """With the edges of the look's free distances; what the look sees through is forgotten."""
        if look.free_distance_m is None:
            return self
        now_ns = look.t_capture_ns
        kept = [p for p in self.points if now_ns - p[2] < DOUBT_NS or (now_ns - p[2] < FORGET_NS and not _seen_through(p, look, camera))]
        for bearing, free in zip(camera.column_bearings(len(look.free_distance_m)), look.free_distance_m, strict=True):
            if free < FAR_M:
                x, y = to_odom(look.pose, camera.forward_m + free * math.cos(bearing), free * math.sin(bearing))
                kept.append((x, y, now_ns))
        newest = {(p[0] // CELL_M, p[1] // CELL_M): p for p in kept}
        return replace(self, points=tuple(newest.values()))

    def without(self, x_m: float, y_m: float, radius_m: float) -> "Obstacles":
        """All but those within `radius_m` of a point: a target is no obstacle on the way to itself."""
        return replace(self, points=tuple(p for p in self.points if math.hypot(p[0] - x_m, p[1] - y_m) > radius_m))

    def around(self, pose: Pose, within_m: float = math.inf) -> NDArray[np.float64]:
        """(n, 2): every point within `within_m` of the robot's centre, in the robot's frame."""
        c, s = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
        dx, dy = _places(self.points) - np.array([[pose.x_m], [pose.y_m]])
        near: NDArray[np.float64] = np.stack([c * dx + s * dy, c * dy - s * dx], 1)  # to_robot, for all at once
        return near if within_m == math.inf else near[dx * dx + dy * dy < within_m * within_m]


@lru_cache(maxsize=8)  # the same points are asked about in every tick until the next look
def _places(points: tuple[tuple[float, float, int], ...]) -> NDArray[np.float64]:
    """(2, n)"""
    return np.array([point[:2] for point in points], dtype=np.float64).reshape(-1, 2).T


def _seen_through(point: tuple[float, float, int], look: Look, camera: CameraPose) -> bool:
    """True if the look's free distance reaches well beyond the point in both columns beside it."""
    free, (x, y) = look.free_distance_m, to_robot(look.pose, point[0], point[1])
    column = camera.column(x, y, len(free)) if free else None
    if free is None or column is None:
        return False
    left = min(int(column), len(free) - 2)
    return min(free[left : left + 2]) > math.hypot(x - camera.forward_m, y) + BEYOND_M


def clear_ahead(points: Points, heading_rad: float, reach_m: float) -> float:
    """How far (m) the robot's centre can drive in a lane of its width towards `heading_rad` before it touches, at most `reach_m`."""
    return float(clear_ways(points, np.array([heading_rad]), reach_m)[0])


def clear_ways(points: Points, headings: NDArray[np.float64], reach_m: float) -> NDArray[np.float64]:
    """`clear_ahead` of every heading (rad) at once."""
    x, y = np.asarray(points, dtype=np.float64).reshape(-1, 2).T
    c, s, lane = np.cos(headings)[:, None], np.sin(headings)[:, None], BODY_M + MARGIN_M
    along, across = c * x + s * y, np.abs(c * y - s * x)
    free = np.where((along > 0) & (across < lane), np.maximum(0.0, along - BODY_M * (1 - across / lane)), reach_m)
    clear: NDArray[np.float64] = free.min(axis=1, initial=reach_m)
    return clear


def freer_side(points: Points) -> float:
    """+1 to turn left, -1 right: towards the side with more room."""
    left, right = (clear_ways(points, side * np.array([0.5, 1.0]), 3.0).sum() for side in (1, -1))
    return 1.0 if left >= right else -1.0


def best_heading(points: Points, wanted_rad: float, reach_m: float, widest_rad: float = 1.3) -> tuple[float, float]:
    """(heading, clear distance) nearest to `wanted_rad` whose lane is free for `reach_m`; else the freest for its turn."""
    headings = wanted_rad + widest_rad * np.arange(-13, 14) / 13
    clear = clear_ways(points, headings, reach_m)
    score = 3.0 * clear / reach_m - np.abs(headings - wanted_rad) - 0.15 * np.abs(headings)
    best = int(np.argmax(score))
    return float(headings[best]), float(clear[best])
