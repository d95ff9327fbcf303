"""One reply to one safe action: the last step of the source document's flow, for a library user's own loop.

`edge_vla.run` does not come through here: its pilot steers by odometry and its guard owns the base.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from edge_vla.errors import ConfigError, ParseError
from edge_vla.goals import GOALS, Answer, Goal, clean_target, require_supported
from edge_vla.parse import VLAActionParser, box_to_locs, parse_detections
from edge_vla.sightings import box_of
from edge_vla.types import ActionType, Frame, RobotAction
from edge_vla.validate import ActionValidator

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNSEEN_SIZE = (224, 224)  # width, height in pixels where no frame is given; steering does not depend on it


def execute_action(
    goal: Goal | str,
    vlm_output: str,
    frame: Frame | NDArray[np.uint8] | None = None,
    target_object: str | None = None,
    send: Callable[[RobotAction], None] | None = None,
) -> RobotAction:
    """The validated action of a reply under a goal, handed to `send` (a guard's link, for example) if there is one.

    Boxes steer, movement sentences move, descriptions and refused replies stand still with the words or the reason in
    `description`. Of several boxes the nearest of `target_object` counts; a reply about other things alone is refused.
    Raises ConfigError for an unknown goal, a missing target, and goals that need an arm.
    """
    chosen = require_supported(goal)
    if GOALS[chosen].needs_target and target_object is None:
        raise ConfigError(f"goal {chosen.value!r} needs a target, for example target_object='cup'")
    target = None if target_object is None else clean_target(target_object)
    action = ActionValidator().validate_action(_action(chosen, vlm_output, frame, target))
    if send is not None:
        send(action)
    return action


def _action(goal: Goal, vlm_output: str, frame: Frame | NDArray[np.uint8] | None, target: str | None) -> RobotAction:
    match GOALS[goal].answer:
        case Answer.BOXES:
            return _towards(goal, vlm_output, _size(frame), target or "")
        case Answer.MOTION:
            return VLAActionParser().parse_text_output(vlm_output)
        case Answer.WORDS:
            return RobotAction(ActionType.STOP, confidence=1.0, description=vlm_output[:200])
        case _:
            return RobotAction(ActionType.STOP, confidence=1.0, description=goal.value)


def _towards(goal: Goal, text: str, size: tuple[int, int], target: str) -> RobotAction:
    """The steering action of the target's box; LOOK turns and does not drive."""
    try:
        boxes = parse_detections(text)
    except ParseError:
        boxes = []  # the parser below says why
    box = box_of(boxes, target)
    if box is not None:
        text = f"{box_to_locs(box)} {box.label}"
    elif boxes:
        seen = ", ".join(repr(other.label[:30]) for other in boxes[:3])
        return RobotAction(ActionType.STOP, description=f"asked for {target!r}, the reply is about {seen}")
    action = VLAActionParser().parse_segmentation_output(text, *size)
    if goal is Goal.LOOK:
        return replace(action, action_type=ActionType.LOOK, linear_x=0.0, target_object=target)
    return replace(action, target_object=target)


def _size(frame: Frame | NDArray[np.uint8] | None) -> tuple[int, int]:
    """Width and height of a Frame or of a bare image."""
    if frame is None:
        return UNSEEN_SIZE
    rgb = frame.rgb if isinstance(frame, Frame) else frame
    return int(rgb.shape[1]), int(rgb.shape[0])
