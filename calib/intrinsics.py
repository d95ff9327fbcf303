"""Views of a chessboard to a camera's intrinsics, by OpenCV; refused where the views cannot carry them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from calib.chessboard import Board, View, coverage
from calib.header import header
from edge_vla.calibration import hfov_deg
from edge_vla.errors import ConfigError

LEAST_VIEWS = 10
LEAST_COVERAGE = 0.7
MOST_RMS_PX = 0.5  # at 640 px of width; in proportion to it for others
# Boards that all face the camera leave the focal length open. OpenCV's standard deviation tells when they nearly do; when they do
# altogether its covariance is singular and it says next to nothing, but then two halves of the pictures do not agree.
MOST_FOCAL_SHARE = 0.005
MOST_HALVES_SHARE = 0.02
REFERENCE_WIDTH_PX = 640


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a calibration must reach."""

    views: int = LEAST_VIEWS
    coverage: float = LEAST_COVERAGE
    rms_px: float = MOST_RMS_PX


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """A fitted camera, px; `distortion` is k1, k2, p1, p2, k3."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...]
    rms_px: float
    views: int
    coverage: float

    def document(self) -> dict[str, Any]:
        """`camera.toml`."""
        return header("camera", opencv=cv2.__version__) | {
            "width": self.width, "height": self.height, "fx": round(self.fx, 3), "fy": round(self.fy, 3), "cx": round(self.cx, 3),
            "cy": round(self.cy, 3), "distortion": [round(k, 6) for k in self.distortion],
            "hfov_deg": round(hfov_deg(self.fx, self.width), 3), "rms_px": round(self.rms_px, 4), "views": self.views,
        }  # fmt: skip


def fit(views: Sequence[View], board: Board, bounds: Bounds | None = None) -> Intrinsics:
    """Raises ConfigError for too few views, views of different sizes, poor coverage, a focal length left open, a large error."""
    bounds = bounds or Bounds()
    _require_views(views, bounds)
    size = views[0].size
    rms, matrix, distortion, _, _, deviations, _, errors = cv2.calibrateCameraExtended(
        [board.corners] * len(views), [view.points.reshape(-1, 1, 2) for view in views], size, np.eye(3), np.zeros(5)
    )
    most_px = bounds.rms_px * size[0] / REFERENCE_WIDTH_PX
    if not rms <= most_px:
        worst = int(np.argmax(errors))
        raise ConfigError(
            f"reprojection error {rms:.2f} px, want at most {most_px:.2f}: is the board flat, the number of corners right, every picture "
            f"sharp? The worst is {views[worst].name} ({float(errors[worst][0]):.2f} px)"
        )
    share, apart = float(deviations[0][0] / matrix[0, 0]), _halves_apart(views, board)
    if not (share <= MOST_FOCAL_SHARE and apart <= MOST_HALVES_SHARE):
        raise ConfigError(
            f"fx = {matrix[0, 0]:.0f} px is uncertain by {share:.1%}, and by {apart:.1%} between two halves of the pictures, want at most "
            f"{MOST_FOCAL_SHARE:.1%} and {MOST_HALVES_SHARE:.1%}: tilt the board by 30 to 45 degrees in some pictures, to every side"
        )
    return Intrinsics(
        *size, float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2]),
        tuple(float(k) for k in np.ravel(distortion)[:5]), float(rms), len(views), coverage(views),
    )  # fmt: skip


def _halves_apart(views: Sequence[View], board: Board) -> float:
    """How far the focal lengths of every other view and of the rest lie apart, as a share."""
    focal = []
    for half in (views[::2], views[1::2]):
        points = [view.points.reshape(-1, 1, 2) for view in half]
        focal.append(cv2.calibrateCamera([board.corners] * len(half), points, half[0].size, np.eye(3), np.zeros(5))[1][0, 0])
    return float(abs(focal[0] - focal[1]) / min(focal))


def _require_views(views: Sequence[View], bounds: Bounds) -> None:
    if len(views) < bounds.views:
        raise ConfigError(f"the board was found in {len(views)} different pictures, want at least {bounds.views}")
    sizes = {view.size: view.name for view in views}
    if len(sizes) > 1:
        told = ", ".join(f"{width}x{height} ({name})" for (width, height), name in sizes.items())
        raise ConfigError(f"pictures of different sizes: {told}; calibrate at the one size that is used")
    if (covered := coverage(views)) < bounds.coverage:
        raise ConfigError(f"the board covers {covered:.0%} of the picture, want at least {bounds.coverage:.0%}: show it in the corners too")
