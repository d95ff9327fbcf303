"""The dense targets: which of the 14 x 14 patches speak for which thing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_vla.learn.finder.patches import patch_targets
from edge_vla.sim.objects import CLASSES

MakeBoxes = Callable[..., NDArray[np.float32]]


def patches(label: NDArray[np.float32], class_: int, value: float) -> set[tuple[int, int]]:
    """(row, column) of the patches where a class has that label."""
    grid = label.reshape(14, 14, -1)[..., class_]
    return {(int(y), int(x)) for y, x in zip(*np.nonzero(grid == value), strict=True)}


def block(rows: range, columns: range) -> set[tuple[int, int]]:
    return {(y, x) for y in rows for x in columns}


def test_the_core_of_a_box_speaks_for_it(make_boxes: MakeBoxes) -> None:
    """Six tenths of the whole picture: patch centres from 0.2 to 0.8, the fourth to the eleventh."""
    label, box = patch_targets(make_boxes(("cup", 0.0, 0.0, 1.0, 1.0, 900)), 12)
    assert patches(label, 0, 1) == block(range(3, 11), range(3, 11))
    assert patches(label, 0, 0) == block(range(14), range(14)) - block(range(3, 11), range(3, 11))
    assert (label[:, 1:] == 0).all()
    owned = ~np.isnan(box[:, 0])
    assert (owned == (label[:, 0] == 1)).all()
    assert (box[owned] == (0, 0, 1, 1)).all()


@pytest.mark.parametrize(("y", "x"), [(0.0, 0.0), (0.99, 0.99), (0.5, 0.13), (1.0 - 1e-6, 0.7)])
def test_the_smallest_thing_has_the_patch_of_its_middle(make_boxes: MakeBoxes, y: float, x: float) -> None:
    label, _ = patch_targets(make_boxes(("cup", y, x, min(1.0, y + 0.01), min(1.0, x + 0.01), 20)), 12)
    middle = (min(13, int((y + min(1.0, y + 0.01)) / 2 * 14)), min(13, int((x + min(1.0, x + 0.01)) / 2 * 14)))
    assert patches(label, 0, 1) == {middle}


@pytest.mark.parametrize("order", [1, -1])
def test_the_smaller_thing_wins_the_patches_they_share(make_boxes: MakeBoxes, order: int) -> None:
    boxes = make_boxes(("door", 0.0, 0.0, 1.0, 1.0, 9000), ("cup", 0.45, 0.45, 0.65, 0.65, 400))[::order]
    label, box = patch_targets(boxes, 12)
    core = block(range(7, 9), range(7, 9))  # centres within 0.06 of 0.55
    assert patches(label, CLASSES.index("cup"), 1) == core
    assert patches(label, CLASSES.index("door"), 1) == block(range(3, 11), range(3, 11)) - core
    assert box.reshape(14, 14, 4)[7, 7].tolist() == pytest.approx([0.45, 0.45, 0.65, 0.65])
    assert box.reshape(14, 14, 4)[4, 4].tolist() == [0, 0, 1, 1]


def test_a_barely_visible_thing_is_not_judged(make_boxes: MakeBoxes) -> None:
    label, box = patch_targets(make_boxes(("cup", 0.45, 0.45, 0.65, 0.65, 13)), 12)
    for class_ in range(12):
        assert patches(label, class_, -1) == block(range(7, 9), range(7, 9))
    assert np.isnan(box).all()
    label, box = patch_targets(make_boxes(("cup", 0.45, 0.45, 0.65, 0.65, 14)), 12)
    assert patches(label, 0, 1) == block(range(7, 9), range(7, 9))


def test_a_barely_visible_thing_takes_nothing_from_one_that_is_seen(make_boxes: MakeBoxes) -> None:
    label, box = patch_targets(make_boxes(("door", 0.0, 0.0, 1.0, 1.0, 9000), ("cup", 0.45, 0.45, 0.65, 0.65, 13)), 12)
    assert patches(label, CLASSES.index("door"), 1) == block(range(3, 11), range(3, 11))
    assert patches(label, CLASSES.index("cup"), -1) == block(range(7, 9), range(7, 9))
    assert box.reshape(14, 14, 4)[7, 7].tolist() == [0, 0, 1, 1]


def test_an_empty_view_is_all_judged_and_owned_by_nothing(make_boxes: MakeBoxes) -> None:
    label, box = patch_targets(make_boxes(), 12)
    assert (label == 0).all()
    assert np.isnan(box).all()
