"""What the teacher would do, by the numbers, and as a policy that drives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge_vla.config import RobotProfile
from edge_vla.errors import EngineError
from edge_vla.learn.policy.teacher import (
    CHUNK,
    FACING_RAD,
    PERIOD_S,
    SPEED_MPS,
    STEER_GAIN,
    STOP_M,
    TURN_RPS,
    Teacher,
    chunk_of,
    lesson,
    thing_in,
)
from edge_vla.robot import camera_pose
from edge_vla.sim.view import Truth
from edge_vla.types import STILL, Box, Frame, acting

CAMERA = camera_pose(RobotProfile())
FREE = (4.0,) * 16
FRAME = Frame(np.zeros((2, 2, 3), np.uint8), 0, 7)


def box_at(x_m: float, y_m: float, half: float = 0.02) -> Box:
    """A box whose foot is at that point of the floor, in the robot's frame."""
    column = 0.5 - y_m / (x_m - CAMERA.forward_m) / (2 * math.tan(CAMERA.hfov_rad / 2))
    low, high = 0.0, 1.0
    for _ in range(60):  # the further down the row, the nearer its floor
        row = (low + high) / 2
        low, high = (row, high) if CAMERA.floor_point(column, row)[0] > x_m else (low, row)
    return Box(max(0.0, row - 0.2), column - half, row, column + half, "cone")


def test_what_is_not_in_view_is_looked_for_to_the_left() -> None:
    assert lesson(None, FREE, CAMERA).tolist() == [[0.0, np.float32(TURN_RPS)]] * CHUNK


def test_what_is_far_ahead_is_driven_to_at_full_speed() -> None:
    told = lesson(box_at(2.5, 0.0), FREE, CAMERA)
    assert told.shape == (CHUNK, 2)
    assert told[:, 0].tolist() == pytest.approx([SPEED_MPS] * CHUNK, rel=0.02)
    assert np.abs(told[:, 1]).max() < 0.02


@pytest.mark.parametrize("side", [1, -1])
def test_it_turns_towards_the_thing(side: int) -> None:
    told = lesson(box_at(2.0, side * 0.4), FREE, CAMERA)
    bearing = math.atan2(0.4, 2.0)
    assert told[0, 1] == pytest.approx(side * STEER_GAIN * bearing, rel=0.15)
    assert 0 < told[0, 0] < SPEED_MPS
    assert (np.diff(np.abs(told[:, 1])) < 0).all()  # by then it has turned


def test_it_never_turns_faster_than_it_may() -> None:
    told = lesson(box_at(1.0, 0.55), FREE, CAMERA)
    assert told[0, 1] == pytest.approx(TURN_RPS)
    assert told[0, 0] == pytest.approx(0.15 * (1 - math.atan2(0.55, 1.0) / 0.6), abs=0.02)


def test_in_front_of_it_it_stands() -> None:
    assert lesson(box_at(STOP_M + 0.01, 0.0), FREE, CAMERA).tolist() == [[0.0, 0.0]] * CHUNK


def test_in_front_of_it_but_turned_away_it_turns() -> None:
    told = lesson(box_at(0.42, 0.1, 0.05), FREE, CAMERA)
    assert math.atan2(0.1, 0.42) > FACING_RAD
    assert told[0, 0] < 0.03
    assert told[0, 1] > 0.2


def test_it_brakes_before_it_arrives() -> None:
    told = lesson(box_at(STOP_M + 0.1, 0.0), FREE, CAMERA)
    assert told[0, 0] == pytest.approx(0.08, abs=0.01)
    assert (np.diff(told[:, 0]) < 0).all()  # a chunk knows that it will have come nearer


def test_it_goes_around_what_stands_in_the_way() -> None:
    free = [4.0] * 16
    free[7:10] = [0.7] * 3  # a post ahead, a little to the right
    told, clear = lesson(box_at(2.5, 0.0), free, CAMERA), lesson(box_at(2.5, 0.0), FREE, CAMERA)
    assert told[0, 1] > 0.15 > abs(clear[0, 1])
    assert told[0, 0] < clear[0, 0]


def test_the_thing_is_not_in_its_own_way() -> None:
    free = [4.0] * 16
    free[7:9] = [0.7 - CAMERA.forward_m] * 2  # leaves hang over its foot
    assert lesson(box_at(0.9, 0.0), free, CAMERA)[0].tolist() == pytest.approx([SPEED_MPS, 0.0], abs=0.02)


def test_mirrored_it_does_the_mirrored_thing() -> None:
    left, right = lesson(box_at(1.5, 0.3), FREE, CAMERA), lesson(box_at(1.5, -0.3), FREE, CAMERA)
    assert left[:, 0] == pytest.approx(right[:, 0], abs=1e-6)
    assert left[:, 1] == pytest.approx(-right[:, 1], abs=1e-6)


def test_a_lesson_is_a_chunk() -> None:
    chunk = chunk_of(np.array([[0.1, -0.2], [0.0, 0.0]], np.float32))
    assert (len(chunk.twists), chunk.period_s, chunk.execute) == (2, PERIOD_S, "first")
    assert chunk.twists[0].angular_z == pytest.approx(-0.2)
    assert chunk.twists[1] == STILL


def test_as_a_policy_it_answers_about_the_thing_it_is_told() -> None:
    truth = Truth((Box(0.4, 0.1, 0.5, 0.15, "cup"), box_at(2.5, 0.0)), FREE)
    teacher = Teacher(lambda seq: truth if seq == 7 else None, CAMERA)
    assert acting(teacher)
    assert teacher.ask(FRAME, "go to the cone").chunk == chunk_of(lesson(box_at(2.5, 0.0), FREE, CAMERA))
    assert teacher.ask(FRAME, "find the plant").chunk == chunk_of(lesson(None, FREE, CAMERA))
    with pytest.raises(EngineError, match="ends with none of cup, bottle"):
        teacher.ask(FRAME, "go home")
    with pytest.raises(EngineError, match="nothing about frame 8"):
        teacher.ask(Frame(FRAME.rgb, 0, 8), "go to the cone")
    with pytest.raises(EngineError):
        thing_in("")
