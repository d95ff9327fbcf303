"""A chessboard in pictures: where its inner corners are, which pictures say something new, how much of the picture they cover."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vla.errors import ConfigError

GRID = (6, 4)  # cells across and down: coverage is the share of them that some corner lies in
SAME_SHARE = 0.01  # of the picture's width: corners that moved less on average show the same again


@dataclass(frozen=True, slots=True)
class Board:
    """`columns` x `rows` inner corners, where four squares meet; `square_m` is a square's side."""

    columns: int
    rows: int
    square_m: float

    @staticmethod
    def parse(size: str, square_mm: float) -> Board:
        """From "9x6" and millimetres. Raises ConfigError."""
        match = re.fullmatch(r"(\d{1,2})x(\d{1,2})", size)
        if match is None or not all(3 <= int(n) <= 30 for n in match.groups()):
            raise ConfigError(f"--board {size}: want inner corners like 9x6, each from 3 to 30")
        if not 1 <= square_mm <= 500:
            raise ConfigError(f"--square-mm {square_mm}: want 1 to 500")
        return Board(int(match[1]), int(match[2]), square_mm / 1000)

    @property
    def corners(self) -> NDArray[np.float32]:
        """(columns * rows, 3) m, in the board's plane, row by row."""
        grid = np.mgrid[0 : self.columns, 0 : self.rows].T.reshape(-1, 2) * self.square_m
        return np.hstack([grid, np.zeros((len(grid), 1))]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class View:
    """One picture in which the board was found."""

    name: str
    size: tuple[int, int]  # px, width and height
    points: NDArray[np.float32]  # (columns * rows, 2) px


def look(rgb: NDArray[np.uint8], board: Board, name: str) -> View | None:
    """The board in a picture (H, W, 3), None where it is not wholly to be seen."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    found, points = cv2.findChessboardCornersSB(grey, (board.columns, board.rows), flags=cv2.CALIB_CB_NORMALIZE_IMAGE)
    if not found:
        return None
    return View(name, (rgb.shape[1], rgb.shape[0]), np.asarray(points, np.float32).reshape(-1, 2))


def is_new(view: View, others: Iterable[View]) -> bool:
    """Whether the board has moved since each of the others: a camera on a table would fill a calibration with one view."""
    least_px = SAME_SHARE * view.size[0]
    return all(_moved_px(view, other) >= least_px for other in others)


def coverage(views: Sequence[View]) -> float:
    """The share of GRID's cells in which at least one corner of one view lies."""
    cells = set[tuple[int, int]]()
    for view in views:
        places = (view.points / np.array(view.size) * np.array(GRID)).astype(int)
        cells |= {(int(x), int(y)) for x, y in places}
    return len({cell for cell in cells if 0 <= cell[0] < GRID[0] and 0 <= cell[1] < GRID[1]}) / (GRID[0] * GRID[1])


def _moved_px(one: View, two: View) -> float:
    """Mean distance of the corners; a board that is found turned by half a turn is the same board."""
    return min(float(np.linalg.norm(one.points - points, axis=1).mean()) for points in (two.points, two.points[::-1]))
