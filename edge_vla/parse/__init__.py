"""A reply to an action: sentences through `text`, PaliGemma's loc tokens through `loc`. Knows no engine and no clock.

`VLAActionParser` is the door of the source document; the pilot uses `parse_detections` and `parse_text` directly.
"""

from __future__ import annotations

import math
from typing import SupportsIndex

from edge_vla.errors import ParseError
from edge_vla.parse.loc import bearing_rad, box_to_locs, parse_detections
from edge_vla.parse.steer import steer
from edge_vla.parse.text import parse_all, parse_text
from edge_vla.types import ActionType, RobotAction

__all__ = ["VLAActionParser", "bearing_rad", "box_to_locs", "parse_all", "parse_detections", "parse_text"]

MAX_IMAGE_PX = 1 << 16  # a side; more is a bug in the caller


class VLAActionParser:
    """Replies to actions. Never raises for what a model said; refuses an impossible camera or image size."""

    def __init__(self, hfov_deg: float = 70.0) -> None:
        """The camera's horizontal field of view. Raises ValueError outside 1..179 degrees."""
        if not 1.0 <= hfov_deg <= 179.0:  # false for nan as well
            raise ValueError(f"want hfov_deg in 1..179, got {hfov_deg}")
        self._hfov_rad = math.radians(hfov_deg)

    def parse_text_output(self, vla_output: str, original_prompt: str = "") -> RobotAction:
        """The first command of a sentence, English or Korean. Confidence is of the parse, not of the model."""
        return parse_text(vla_output, original_prompt)

    def parse_segmentation_output(self, vla_output: str, image_width: int, image_height: int) -> RobotAction:
        """Towards the first box of a loc reply. A refused reply, or one with no box, stands still with confidence 0 and says why.

        The image's size is checked and then not needed: steering works on the bearing, so 224 and 1280 pixels steer alike.
        """
        for name, size in (("image_width", image_width), ("image_height", image_height)):
            _check_size(name, size)
        try:
            boxes = parse_detections(vla_output)
        except ParseError as err:
            return RobotAction(ActionType.NAVIGATE, description=f"refused: {err}")
        if not boxes:
            return RobotAction(ActionType.NAVIGATE, description="nothing detected")
        return steer(boxes[0], self._hfov_rad)


def _check_size(name: str, size: SupportsIndex) -> None:
    """Raise ValueError unless `size` is a whole number of pixels; numpy's integers count."""
    if isinstance(size, bool) or not hasattr(size, "__index__") or not 0 < size.__index__() <= MAX_IMAGE_PX:
        raise ValueError(f"want {name} in 1..{MAX_IMAGE_PX} pixels, got {size!r}")
