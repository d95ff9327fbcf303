"""The library's door from a loc reply to a motion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_vla.parse import VLAActionParser, bearing_rad, box_to_locs
from edge_vla.parse.command import CRUISE_MPS, TURN_RADPS
from edge_vla.parse.steer import ALIGNED_RAD, STEER_GAIN_PER_S, TURN_SLACK_RAD
from edge_vla.types import ActionType, Box, RobotAction
from edge_vla.validate import ActionValidator


def seen(centre: float, width: float = 0.1, height: float = 0.2) -> str:
    return box_to_locs(Box(0.4, centre - width / 2, 0.4 + height, centre + width / 2)) + " cup"


def steer(reply: str, **camera: Any) -> RobotAction:
    return VLAActionParser(**camera).parse_segmentation_output(reply, 640, 480)


def test_ahead_drives_straight() -> None:
    action = steer(seen(0.5))
    assert action.linear_x == pytest.approx(CRUISE_MPS, rel=0.01)
    assert abs(action.angular_z) < 0.01
    assert (action.action_type, action.target_object, action.confidence) == (ActionType.NAVIGATE, "cup", 0.8)


def test_left_turns_left_and_right_right() -> None:
    assert steer(seen(0.3)).angular_z > 0 > steer(seen(0.7)).angular_z
    assert steer(seen(0.3)).angular_z == pytest.approx(-steer(seen(0.7)).angular_z, abs=0.01)


def test_gain_works_on_the_bearing() -> None:
    bearing = bearing_rad(0.45, math.radians(70))
    action = steer(seen(0.45))
    assert action.angular_z == pytest.approx(STEER_GAIN_PER_S * bearing, abs=0.005)
    assert action.linear_x == pytest.approx(CRUISE_MPS * (1 - bearing / ALIGNED_RAD), abs=0.005)


def test_far_aside_turns_on_the_spot_at_the_limit() -> None:
    action = steer(seen(0.05, width=0.08))
    assert (action.linear_x, action.angular_z) == (0.0, TURN_RADPS)


def test_a_wider_lens_means_a_larger_bearing() -> None:
    assert steer(seen(0.45), hfov_deg=120.0).angular_z > steer(seen(0.45), hfov_deg=40.0).angular_z > 0


def test_budget_lets_it_turn_to_the_target_and_little_further() -> None:
    action = steer(seen(0.2))
    assert action.max_turn_rad == pytest.approx(bearing_rad(0.2, math.radians(70)) + TURN_SLACK_RAD, abs=0.01)


@given(st.integers(1, 4096), st.integers(1, 4096), st.floats(0.1, 0.9))
def test_image_size_changes_nothing(width: int, height: int, centre: float) -> None:
    parser = VLAActionParser()
    assert parser.parse_segmentation_output(seen(centre), width, height) == parser.parse_segmentation_output(seen(centre), 224, 224)


@pytest.mark.parametrize("size", [(0.6, 0.55), (0.05, 0.59)])
def test_close_stands_still(size: tuple[float, float]) -> None:
    width, height = size
    near = Box(0.2, 0.2, 0.2 + height * 1.05, 0.2 + width * 1.05)
    action = steer(box_to_locs(near) + " cup")
    assert (action.linear_x, action.angular_z, action.description) == (0.0, 0.0, "close to the target")


def test_first_box_counts() -> None:
    assert steer(f"{seen(0.3)} ; {seen(0.7)}").angular_z > 0


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("", "nothing detected"),
        ("<loc0001><loc0002> cup", "refused: want 4"),
        ("the cup is left", "refused"),
        ("x" * 2_000_000, "characters"),
    ],
)
def test_no_box_stands_still_without_confidence(reply: str, why: str) -> None:
    action = steer(reply)
    assert (action.linear_x, action.linear_y, action.angular_z, action.confidence) == (0.0, 0.0, 0.0, 0.0)
    assert why in action.description
    assert not ActionValidator().is_safe_action(action)


@pytest.mark.parametrize("size", [0, -1, 70000, 1.5, True, "640", None, math.nan])
def test_impossible_image_sizes_are_refused(size: Any) -> None:
    for width, height in ((size, 480), (640, size)):
        with pytest.raises(ValueError, match="pixels"):
            VLAActionParser().parse_segmentation_output(seen(0.5), width, height)


def test_numpy_sizes_count() -> None:
    assert VLAActionParser().parse_segmentation_output(seen(0.5), np.int32(640), np.int64(480)).linear_x > 0


@pytest.mark.parametrize("hfov", [0.0, 0.99, 179.01, math.nan, math.inf, -70.0])
def test_impossible_lenses_are_refused(hfov: float) -> None:
    with pytest.raises(ValueError, match="hfov_deg"):
        VLAActionParser(hfov_deg=hfov)


@given(st.text(max_size=200))
def test_any_reply_is_an_action(reply: str) -> None:
    action = steer(reply)
    assert all(math.isfinite(v) for v in (action.linear_x, action.angular_z, action.max_turn_rad, action.max_travel_m))
