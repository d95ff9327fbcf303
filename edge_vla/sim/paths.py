"""A picture of evaluation episodes from above: rooms, things, where the robot drove and how it ended."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vla.sim.episode import Verdict
from edge_vla.sim.rooms import Placed

TILE_PX, MARGIN_PX, HEAD_PX = 300, 14, 34
GOOD, BAD, TARGET, INK, PAPER, THING = (70, 140, 40), (40, 40, 200), (0, 140, 230), (60, 60, 60), (250, 250, 250), (205, 205, 205)


def draw_paths(verdicts: list[Verdict], path: Path, columns: int = 5, most: int = 20) -> None:
    """Write a PNG sheet of up to `most` episodes, failures first so that they are looked at."""
    chosen = sorted(verdicts, key=lambda v: (v.success, v.seed))[:most]
    tiles = [_tile(v) for v in chosen]
    while len(tiles) % columns:
        tiles.append(np.full_like(tiles[0], 255))
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), np.vstack(rows)):
        raise OSError(f"cannot write {path}")


def _tile(v: Verdict) -> NDArray[np.uint8]:
    image = np.full((TILE_PX + HEAD_PX, TILE_PX, 3), 255, np.uint8)
    scale = (TILE_PX - 2 * MARGIN_PX) / max(v.room.size_m)

    def at(x: float, y: float) -> tuple[int, int]:
        return round(TILE_PX / 2 + x * scale), round(HEAD_PX + TILE_PX / 2 - y * scale)

    hx, hy = v.room.size_m[0] / 2, v.room.size_m[1] / 2
    cv2.rectangle(image, at(-hx, hy), at(hx, -hy), PAPER, -1)
    cv2.rectangle(image, at(-hx, hy), at(hx, -hy), INK, 2)
    for i, thing in enumerate(v.room.things):
        target = i == 0 and not v.absent
        outline = np.array([at(*corner) for corner in _corners(thing)], np.int32)
        cv2.fillPoly(image, [outline], TARGET if target else THING, cv2.LINE_AA)
        _write(image, thing.shape.name or "furniture", at(thing.x_m - 0.15, thing.y_m), 0.3, INK)
    trail = np.array([at(x, y) for x, y in v.trail], np.int32)
    cv2.polylines(image, [trail], isClosed=False, color=GOOD if v.success else BAD, thickness=2, lineType=cv2.LINE_AA)
    cv2.circle(image, at(*v.trail[0]), 5, INK, 1, cv2.LINE_AA)
    cv2.circle(image, at(*v.trail[-1]), 5, GOOD if v.success else BAD, -1, cv2.LINE_AA)
    absent = " (absent)" if v.absent else ""
    _write(image, f"{v.seed} {v.target}{absent}: {v.said}", (8, 15), 0.42, GOOD if v.success else BAD)
    said = f"{v.time_s:.0f} s, {v.path_m:.1f} m" + (f", hit {v.touched[0]}" if v.touched else "")
    _write(image, said, (8, 30), 0.36, INK)
    return image


def _write(image: NDArray[np.uint8], text: str, at: tuple[int, int], size: float, colour: tuple[int, int, int]) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)


def _corners(thing: Placed) -> list[tuple[float, float]]:
    c, s = np.cos(thing.yaw_rad), np.sin(thing.yaw_rad)
    half = [(sx * thing.shape.half_x, sy * thing.shape.half_y) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return [(thing.x_m + c * x - s * y, thing.y_m + s * x + c * y) for x, y in half]
