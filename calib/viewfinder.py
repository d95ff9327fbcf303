"""Views of a chessboard from a camera that is running: a picture is kept when the board is in it and has moved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2

from calib.chessboard import Board, View, coverage, is_new, look
from calib.intrinsics import Bounds
from edge_vla.errors import ConfigError
from edge_vla.types import Camera

FRAME_S = 15.0  # a camera may take this long to start streaming


def watch(
    camera: Camera, board: Board, bounds: Bounds, folder: Path, frames: int, say: Callable[[str], None] = lambda _: None,
) -> list[View]:  # fmt: skip
    """Read at most `frames` frames until there are views enough and they cover the picture; the pictures kept are in `folder` as PNG.

    Raises ConfigError when the frames ran out first, CameraError when the camera does.
    """
    views: list[View] = []
    for _ in range(frames):
        frame = camera.read(FRAME_S)
        name = f"{len(views):03d}.png"
        view = look(frame.rgb, board, name)
        if view is None or not is_new(view, views):
            continue
        if not cv2.imwrite(str(folder / name), cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR)):
            raise ConfigError(f"cannot write {folder / name}")
        views.append(view)
        say(f"{len(views)} views, {coverage(views):.0%} covered")
        if len(views) >= bounds.views and coverage(views) >= bounds.coverage:
            return views
    raise ConfigError(
        f"{frames} frames gave {len(views)} views that cover {coverage(views):.0%} of the picture, want {bounds.views} and "
        f"{bounds.coverage:.0%}: move the board slowly, near and far, into every corner, tilted to every side; the pictures are in {folder}"
    )
