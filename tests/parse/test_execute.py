"""Reply in, safe action out, under every goal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_vla import Goal, RobotAction, execute_action
from edge_vla.errors import ConfigError
from edge_vla.types import ActionType, Frame

Signs = Callable[[RobotAction], str]

LEFT_CUP = "<loc0400><loc0100><loc0600><loc0300> cup"


def test_the_source_documents_flow() -> None:
    action = execute_action(Goal.FIND_OBJECT, LEFT_CUP, np.zeros((480, 640, 3), np.uint8), target_object="cup")
    assert (action.action_type, action.target_object) == (ActionType.NAVIGATE, "cup")
    assert action.angular_z > 0


@pytest.mark.parametrize("frame", [None, np.zeros((224, 224, 3), np.uint8), Frame(np.zeros((48, 64, 3), np.uint8), 0, 0)])
def test_frames_of_any_kind(frame: Frame | None) -> None:
    assert execute_action("follow", LEFT_CUP, frame, "cup") == execute_action("follow", LEFT_CUP, None, "cup")


def test_look_turns_and_does_not_drive() -> None:
    ahead = "<loc0400><loc0480><loc0600><loc0520> cup"
    assert execute_action(Goal.NAVIGATE, ahead, target_object="cup").linear_x > 0
    looking = execute_action(Goal.LOOK, ahead, target_object="cup")
    assert (looking.action_type, looking.linear_x) == (ActionType.LOOK, 0.0)
    assert execute_action(Goal.LOOK, LEFT_CUP, target_object="cup").angular_z > 0


def test_a_box_of_something_else_stops(signs: Signs) -> None:
    action = execute_action(Goal.FIND_OBJECT, LEFT_CUP, target_object="bottle")
    assert (action.action_type, signs(action)) == (ActionType.STOP, "000")
    assert execute_action(Goal.FIND_OBJECT, LEFT_CUP, target_object="the Cup").angular_z > 0
    assert execute_action(Goal.FIND_OBJECT, LEFT_CUP.replace(" cup", ""), target_object="cup").angular_z > 0


@pytest.mark.parametrize(
    ("goal", "reply", "reason"),
    [
        (Goal.FIND_OBJECT, "", "nothing detected"),
        (Goal.FIND_OBJECT, "<loc0001> cup", "refused: want 4 <locNNNN> (y_min x_min y_max x_max) for each detection, got 1"),
        (Goal.FIND_OBJECT, "turn left", "refused: want 4 <locNNNN>"),
        (Goal.FIND_OBJECT, LEFT_CUP.replace("cup", "ball"), "asked for 'cup', the reply is about 'ball'"),
        (Goal.FIND_OBJECT, f"{LEFT_CUP} ; <loc1024>", "refused: want <loc0000>..<loc1023>, got '<loc1024>'"),
        (Goal.LOOK, "none", "nothing detected"),
        (Goal.AVOID, "a wall ahead", "no command in 'a wall ahead'"),
        (Goal.COMMAND, "turn left or right", "ambiguous direction"),
    ],
)
def test_refused_replies_stop_and_say_why(goal: Goal, reply: str, reason: str, signs: Signs) -> None:
    action = execute_action(goal, reply, target_object="cup")
    assert (action.action_type, signs(action)) == (ActionType.STOP, "000")
    assert action.description.startswith("safe default: confidence 0.")
    assert f" is below 0.3: {reason}" in action.description


def test_a_long_reason_is_cut() -> None:
    assert len(execute_action(Goal.COMMAND, "blah " * 1000).description) <= 200


@pytest.mark.parametrize(
    ("goal", "reply", "wanted"),
    [
        (Goal.COMMAND, "turn left", "00+"), (Goal.COMMAND, "turn left or right", "000"), (Goal.AVOID, "move forward slowly", "+00"),
        (Goal.AVOID, "a wall ahead", "000"), (Goal.DESCRIBE_SCENE, "turn left", "000"), (Goal.IDENTIFY_MAIN_OBJECT, "move forward", "000"),
        (Goal.STOP, "move forward", "000"), (Goal.SAVE_IMAGE, "move forward", "000"),
    ],
)  # fmt: skip
def test_goals_without_boxes(goal: Goal, reply: str, wanted: str, signs: Signs) -> None:
    assert signs(execute_action(goal, reply)) == wanted


def test_a_description_is_kept() -> None:
    assert execute_action(Goal.DESCRIBE_SCENE, "a red cup on a table").description == "a red cup on a table"


def test_send_gets_the_safe_action() -> None:
    sent: list[RobotAction] = []
    action = execute_action(Goal.COMMAND, "turn left quickly", send=sent.append)
    assert sent == [action]


@pytest.mark.parametrize("goal", ["grab", "release", "point"])
def test_arm_goals_are_refused(goal: str) -> None:
    with pytest.raises(ConfigError, match="needs an arm"):
        execute_action(goal, LEFT_CUP, target_object="cup")


def test_bad_goals_are_refused() -> None:
    with pytest.raises(ConfigError, match="find_object"):
        execute_action("find", LEFT_CUP, target_object="cup")
    with pytest.raises(ConfigError, match="needs a target"):
        execute_action("find_object", LEFT_CUP)
    with pytest.raises(ConfigError, match="names nothing"):
        execute_action("find_object", LEFT_CUP, target_object=" ")
