"""Chessboards seen through a known camera: every pixel's ray, undistorted, meets the board's plane. No OpenCV calibration in it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.chessboard import Board

BOARD = Board(8, 5, 0.025)
SQUARES = (9, 6)  # of the same board
SAMPLES = 2  # across a pixel, both ways: edges between squares come out grey as a lens makes them


@dataclass(frozen=True)
class KnownCamera:
    """Pinhole with OpenCV's k1, k2, p1, p2, k3."""

    width: int = 640
    height: int = 480
    fx: float = 520.0
    fy: float = 516.0
    cx: float = 331.0
    cy: float = 236.0
    distortion: tuple[float, ...] = (-0.21, 0.06, 0.0012, -0.0008, 0.0)

    def rays(self) -> NDArray[np.float64]:
        """(height * SAMPLES, width * SAMPLES, 2): x / z and y / z of the ray through each sample."""
        x_px, y_px = np.meshgrid(*((np.arange(n * SAMPLES) + 0.5) / SAMPLES - 0.5 for n in (self.width, self.height)))
        seen = np.stack([(x_px - self.cx) / self.fx, (y_px - self.cy) / self.fy], -1)
        ray = seen.copy()
        for _ in range(14):  # the distortion is mild: the fixed point is reached
            ray += seen - self.distorted(ray)
        assert np.abs(self.distorted(ray) - seen).max() < 1e-6
        return ray

    def distorted(self, ray: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the lens puts a ray (..., 2), by the formula of OpenCV's documentation."""
        k1, k2, p1, p2, k3 = self.distortion
        x, y = ray[..., 0], ray[..., 1]
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        return np.stack([x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y], -1)


def render(
    camera: KnownCamera, rays: NDArray[np.float64], pose: tuple[float, ...], squares: tuple[int, int], side_m: float
) -> NDArray[np.uint8]:
    """(height, width, 3). `pose`: x, y, z of the board's middle (m, camera axes), turned by a, b, c (rad) about x, y, z. A white rim."""
    rotation, _ = cv2.Rodrigues(np.array([pose[3], 0.0, 0.0]))
    for axis, angle in ((1, pose[4]), (2, pose[5])):
        vector = np.zeros(3)
        vector[axis] = angle
        rotation = rotation @ cv2.Rodrigues(vector)[0]
    middle = np.array(pose[:3])
    normal = rotation[:, 2]
    depth = (normal @ middle) / (rays @ normal[:2] + normal[2])
    points = np.concatenate([rays * depth[..., None], depth[..., None]], -1) - middle
    u, v = (points @ rotation[:, axis] / side_m + squares[axis] / 2 for axis in (0, 1))
    on_board = (depth > 0) & (u > -1) & (u < squares[0] + 1) & (v > -1) & (v < squares[1] + 1)
    black = (u > 0) & (u < squares[0]) & (v > 0) & (v < squares[1]) & ((np.floor(u) + np.floor(v)) % 2 == 0)
    light = np.where(on_board, np.where(black, 25.0, 230.0), 110.0)
    small = light.reshape(camera.height, SAMPLES, camera.width, SAMPLES).mean((1, 3))
    return np.repeat(np.clip(small + np.random.default_rng(1).normal(0, 2, small.shape), 0, 255).astype(np.uint8)[..., None], 3, -1)


def poses(count: int, seed: int = 0, tilt_rad: float = 0.6) -> list[tuple[float, ...]]:
    """Boards in every part of the picture, near and far, tilted to every side."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(count):
        z = rng.uniform(0.28, 0.5)
        x, y = (np.array([k % 4, k // 4 % 3]) / np.array([3, 2]) - 0.5) * np.array([0.62, 0.42]) * z
        turns = rng.uniform(-1, 1, 3) * np.array([tilt_rad, tilt_rad, 0.4])
        found.append((float(x), float(y), float(z), *map(float, turns)))
    return found
