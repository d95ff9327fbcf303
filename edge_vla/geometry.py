"""Image fractions to directions and to the floor. A pinhole camera on a level robot; REP-103 axes."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_vla.types import Box, Pose

HORIZON_RAD = math.radians(1.5)  # a ray flatter than this meets the floor too far away to mean anything
FARTHEST_M = 8.0


@dataclass(frozen=True, slots=True)
class CameraPose:
    """Where the camera sits: `height_m` over the floor, `forward_m` of the wheel axis, `pitch_rad` down positive."""

    hfov_rad: float
    aspect: float  # width / height of the frame, square pixels
    height_m: float
    pitch_rad: float
    forward_m: float

    def bearing(self, x_fraction: float) -> float:
        """Direction of an image column, rad, left positive."""
        return math.atan((0.5 - x_fraction) * 2 * math.tan(self.hfov_rad / 2))

    def column_bearings(self, columns: int) -> list[float]:
        """Bearing of each of `columns` equal image columns, left to right."""
        return [self.bearing((k + 0.5) / columns) for k in range(columns)]

    def columns(self, points: NDArray[np.float64], columns: int) -> NDArray[np.float64]:
        """(n,): which of `columns` equal image columns shows each point (n, 2) of the robot's frame; nan out of view.

        k is the middle of column k.
        """
        ahead = points[:, 0] - self.forward_m
        ahead = np.where(ahead > 0, ahead, math.nan)
        place = (0.5 - points[:, 1] / ahead / (2 * math.tan(self.hfov_rad / 2))) * columns - 0.5
        shown: NDArray[np.float64] = np.where((place >= 0) & (place <= columns - 1), place, math.nan)
        return shown

    def floor_point(self, x_fraction: float, y_fraction: float) -> tuple[float, float]:
        """Where the ray through an image point meets the floor, (x, y) m in the robot's frame, at most FARTHEST_M away."""
        right = (x_fraction - 0.5) * 2 * math.tan(self.hfov_rad / 2)
        down = (y_fraction - 0.5) * 2 * math.tan(self.hfov_rad / 2) / self.aspect
        ahead = math.cos(self.pitch_rad) - down * math.sin(self.pitch_rad)
        fall = math.sin(self.pitch_rad) + down * math.cos(self.pitch_rad)
        reach = self.height_m / max(fall, math.tan(HORIZON_RAD))
        reach = min(reach, FARTHEST_M / math.hypot(ahead, right))
        return self.forward_m + reach * ahead, -reach * right

    def foot(self, box: Box) -> tuple[float, float]:
        """Where a standing thing's lower edge meets the floor: the nearest point of what fills the box."""
        return self.floor_point((box.x_min + box.x_max) / 2, box.y_max)


def wrap(angle_rad: float) -> float:
    """The same direction in (-pi, pi]."""
    return math.atan2(math.sin(angle_rad), math.cos(angle_rad))


def to_odom(pose: Pose, x_m: float, y_m: float) -> tuple[float, float]:
    """A point of the robot's frame in the odometry frame."""
    c, s = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    return pose.x_m + c * x_m - s * y_m, pose.y_m + s * x_m + c * y_m


def to_robot(pose: Pose, x_m: float, y_m: float) -> tuple[float, float]:
    """A point of the odometry frame in the robot's frame."""
    c, s = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    dx, dy = x_m - pose.x_m, y_m - pose.y_m
    return c * dx + s * dy, c * dy - s * dx
