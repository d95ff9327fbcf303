"""Which of the boxes of a reply is the target: the one that says so, and of several the nearest."""

from __future__ import annotations

import numpy as np
import pytest

from edge_vla import execute_action
from edge_vla.parse import box_to_locs
from edge_vla.pilot import understand
from edge_vla.sightings import box_of
from edge_vla.types import ActionType, Box, Frame, Pose, Reply

S = 1_000_000_000
AT = Pose(S, 0.0, 0.0, 0.0)
LEFT, RIGHT = Box(0.375, 0.125, 0.625, 0.25), Box(0.375, 0.75, 0.625, 0.875)


def says(*boxes: tuple[Box, str]) -> str:
    return " ; ".join(f"{box_to_locs(box)} {label}".strip() for box, label in boxes)


CASES: dict[str, tuple[str, Box | None]] = {
    "another thing first": (says((LEFT, "ball"), (RIGHT, "cup")), RIGHT),
    "another thing last": (says((RIGHT, "cup"), (LEFT, "ball")), RIGHT),
    "another thing alone": (says((LEFT, "ball")), None),
    "nothing": ("", None),
    "no label": (says((LEFT, "")), LEFT),
    "no label beside another thing": (says((RIGHT, "ball"), (LEFT, "")), LEFT),
    "an article and a full stop": (says((LEFT, "The  Cup.")), LEFT),
    "a longer name": (says((LEFT, "cupboard")), None),
    "the nearer of two": (says((LEFT, "cup"), (Box(0.5, 0.75, 0.75, 0.8125), "cup")), Box(0.5, 0.75, 0.75, 0.8125)),
    "the nearer, though smaller": (says((Box(0.0, 0.0, 0.5, 0.5), "cup"), (RIGHT, "cup")), RIGHT),
    "the larger of two as near": (says((RIGHT, "cup"), (Box(0.125, 0.125, 0.625, 0.375), "cup")), Box(0.125, 0.125, 0.625, 0.375)),
    "the first of two alike": (says((LEFT, "cup"), (RIGHT, "cup")), LEFT),
    "the nearer, though of another thing": (says((Box(0.5, 0.0, 1.0, 1.0), "ball"), (LEFT, "cup")), LEFT),
}


@pytest.mark.parametrize(("text", "want"), CASES.values(), ids=CASES.keys())
def test_the_pilot_takes_the_targets_box(make_plan, text: str, want: Box | None) -> None:
    look = understand(Reply(text, 0.9), Frame(np.zeros((1, 1, 3), np.uint8), S, 1), AT, make_plan(), (S, 0))
    got = look.box and (look.box.y_min, look.box.x_min, look.box.y_max, look.box.x_max)
    assert got == (want and (want.y_min, want.x_min, want.y_max, want.x_max))
    assert (look.sighting is not None) is (want is not None)
    assert look.rejected == ""


@pytest.mark.parametrize(("text", "want"), CASES.values(), ids=CASES.keys())
def test_the_library_takes_the_same_one(text: str, want: Box | None) -> None:
    action = execute_action("find_object", text, target_object="cup")
    if want is None:
        assert (action.action_type, action.linear_x, action.angular_z) == (ActionType.STOP, 0.0, 0.0)
    else:
        assert action == execute_action("find_object", says((want, "cup")), target_object="cup")
        assert action.action_type is ActionType.NAVIGATE


@pytest.mark.parametrize("target", ["orange ball", "an Orange ball", "Orange  Ball"])
def test_a_target_is_the_thing_however_it_is_written(target: str) -> None:
    boxes = [Box(0.0, 0.0, 1.0, 1.0, "ball"), Box(0.25, 0.25, 0.5, 0.5, "an orange ball")]
    assert box_of(boxes, target) == boxes[1]


def test_a_word_that_is_an_article_is_a_label_of_its_own() -> None:
    assert box_of([Box(0.0, 0.0, 1.0, 1.0, "a")], "cup") is None
    assert box_of([Box(0.0, 0.0, 1.0, 1.0, ".")], "cup") is not None
