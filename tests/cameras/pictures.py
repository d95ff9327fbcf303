"""Pictures awaited, compared, and recorded without a loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_vla.cameras.newest import NewestCamera
from tests.cameras.servers import HEIGHT, WIDTH, Picture


def write_film(path: Path, pictures: Any, fps: float) -> None:
    height, width = pictures[0].shape[:2]
    film = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MPNG"), fps, (width, height))
    assert film.isOpened()
    for rgb in pictures:
        film.write(np.ascontiguousarray(rgb[..., ::-1]))
    film.release()


def same(a: Picture, b: Picture, tolerance: int) -> bool:
    """Equal; through a lossy codec, in the means of 16 x 16 blocks."""
    if tolerance == 0:
        return np.array_equal(a, b)
    blocks = [rgb.reshape(HEIGHT // 16, 16, WIDTH // 16, 16, 3).mean(axis=(1, 3)) for rgb in (a, b)]
    return bool(np.abs(blocks[0] - blocks[1]).max() <= tolerance)


def await_frame(camera: NewestCamera, there: Callable[[], bool], patience_s: float = 20.0) -> bool:
    with camera._changed:
        return camera._changed.wait_for(there, patience_s)
