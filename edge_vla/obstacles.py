"""What stands around the robot, remembered in the odometry frame, and the heading that leads past it. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_vla.geometry import CameraPose, to_odom
from edge_vla.types import Look, Pose

Points = NDArray[np.float64] | Sequence[tuple[float, float]]  # (n, 2) in the robot's frame, m

BODY_M = 0.18  # half the robot's diagonal: the half width of the lane it needs, and of the circle it turns in
MARGIN_M = 0.06  # what steering and free distances may be off by
FORGET_NS = 30_000_000_000  # longer than the slowest full turn, shorter than what odometry takes to drift by a body
FAR_M = 2.6  # a free distance beyond this is no obstacle worth remembering, and less exact
CELL_M = 0.08  # one point is remembered in each square of this size, the newest
CELL_ROW = 2.0**26  # numbers a square by its row and column, exact in float64 for any place a robot can be
BEYOND_M = 0.35  # a look that reaches this far past a point sees through it
DOUBT_NS = 1_500_000_000  # a thin leg falls between two columns now and then: a point seen this recently is believed


class Obstacles:
    """Points (odometry frame, m) that were in the way, each with when it was seen. Never changed: `seen` makes new ones."""

    __slots__ = ("_places", "_seen_ns")

    def __init__(self, points: Sequence[tuple[float, float, int]] = ()) -> None:
        """`points`: (x m, y m, when it was seen ns) each."""
        self._places = np.array([point[:2] for point in points], dtype=np.float64).reshape(-1, 2).T  # (2, n)
        self._seen_ns = np.array([point[2] for point in points], dtype=np.int64)

    @classmethod
    def _of(cls, places: NDArray[np.float64], seen_ns: NDArray[np.int64]) -> Obstacles:
        made = cls.__new__(cls)
        made._places, made._seen_ns = places, seen_ns
        return made

    @property
    def points(self) -> tuple[tuple[float, float, int], ...]:
        """(x m, y m, when it was seen ns) each."""
        return tuple(zip(*self._places.tolist(), self._seen_ns.tolist(), strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Obstacles) and self.points == other.points

    def __hash__(self) -> int:
        return hash(self.points)

    def __repr__(self) -> str:
        return f"Obstacles({self.points})"

    def seen(self, look: Look, camera: CameraPose) -> Obstacles:
        """With the edges of the look's free distances; what the look sees through is forgotten."""
        if look.free_distance_m is None:
            return self
        age_ns = look.t_capture_ns - self._seen_ns
        kept = (age_ns < DOUBT_NS) | ((age_ns < FORGET_NS) & ~_seen_through(self.around(look.pose), look.free_distance_m, camera))
        free = np.array(look.free_distance_m, dtype=np.float64)
        bearings = np.array(camera.column_bearings(len(free)))[free < FAR_M]
        free = free[free < FAR_M]
        edges = np.stack(to_odom(look.pose, camera.forward_m + free * np.cos(bearings), free * np.sin(bearings)))
        places = np.concatenate([self._places[:, kept], edges], 1)
        seen_ns = np.concatenate([self._seen_ns[kept], np.full(len(free), look.t_capture_ns, np.int64)])
        newest = _last_of_each_cell(places)
        return Obstacles._of(places[:, newest], seen_ns[newest])

    def around(self, pose: Pose, within_m: float = math.inf, *, target: tuple[float, float, float] | None = None) -> NDArray[np.float64]:
        """(n, 2): every point within `within_m` of the robot's centre, in the robot's frame.

        A `target` (x_m, y_m of the odometry frame, radius_m) is no obstacle on the way to itself: what is that near to it is left out.
        """
        c, s = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
        x, y = self._places
        dx, dy = x - pose.x_m, y - pose.y_m
        near: NDArray[np.float64] = np.stack([c * dx + s * dy, c * dy - s * dx], 1)  # to_robot, for all at once
        if within_m == math.inf and target is None:
            return near
        kept = dx * dx + dy * dy < within_m * within_m
        if target is not None:
            kept &= (x - target[0]) ** 2 + (y - target[1]) ** 2 > target[2] ** 2
        nearest: NDArray[np.float64] = near[kept]
        return nearest


def _last_of_each_cell(places: NDArray[np.float64]) -> NDArray[np.intp]:
    """Which of the places (2, n) are the last in their square of CELL_M, in their order."""
    cells = np.floor_divide(places[:, ::-1], CELL_M)
    first = np.unique(cells[0] * CELL_ROW + cells[1], return_index=True)[1]
    last: NDArray[np.intp] = np.sort(places.shape[1] - 1 - first)
    return last


def _seen_through(points: NDArray[np.float64], free: Sequence[float], camera: CameraPose) -> NDArray[np.bool_]:
    """(n,): whether the free distances reach well beyond each of the points (n, 2) in both columns beside it."""
    reach = np.asarray(free, dtype=np.float64)
    columns = camera.columns(points, len(free))
    in_view = ~np.isnan(columns)
    left = np.minimum(np.where(in_view, columns, 0).astype(np.intp), max(0, len(free) - 2))
    lower = np.minimum(reach[left], reach[np.minimum(left + 1, len(free) - 1)])
    through: NDArray[np.bool_] = in_view & (lower > np.hypot(points[:, 0] - camera.forward_m, points[:, 1]) + BEYOND_M)
    return through


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
