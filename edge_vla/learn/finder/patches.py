"""What each of the 14 x 14 patches should say: the dense half of Finder's targets."""

import numpy as np
from numpy.typing import NDArray

from edge_vla.learn.finder.language import MIN_PIXELS
from edge_vla.learn.finder.vision import GRID

CORE = 0.6  # share of a box's half size whose patches speak for it


def patch_targets(boxes: NDArray[np.float32], classes: int, grid: int = GRID) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """((grid², classes) labels 0, 1, or -1 for "not judged"; (grid², 4) boxes, nan where a patch belongs to nothing).

    Smaller things are written last, so they win the patches they share.
    """
    label, target = np.zeros((grid, grid, classes), np.float32), np.full((grid, grid, 4), np.nan, np.float32)
    for row in boxes[np.argsort(-((boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2])))]:
        rows, columns = _core(float(row[1]), float(row[3]), grid), _core(float(row[2]), float(row[4]), grid)
        area = np.ix_(rows, columns)
        if row[5] < MIN_PIXELS:
            label[area] = np.where(label[area] > 0, label[area], -1)
            continue
        label[area] = 0
        label[rows[:, None] & columns[None], int(row[0])] = 1
        target[area] = row[1:5]
    return label.reshape(-1, classes), target.reshape(-1, 4)


def _core(low: float, high: float, grid: int) -> NDArray[np.bool_]:
    """Which of the rows (or columns) lie in the core of an extent; at least the one with its middle."""
    centres = (np.arange(grid) + 0.5) / grid
    inside = np.abs(centres - (low + high) / 2) <= CORE * (high - low) / 2
    inside[min(grid - 1, int((low + high) / 2 * grid))] = True
    return np.asarray(inside)
