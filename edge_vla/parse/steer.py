"""One box to one motion, without odometry: the library's door. The pilot steers by sightings instead."""

from __future__ import annotations

from edge_vla.parse.command import CRUISE_MPS, TURN_RADPS
from edge_vla.parse.loc import bearing_rad
from edge_vla.types import DEFAULT_TRAVEL_M, ActionType, Box, RobotAction

STEER_GAIN_PER_S = 1.5  # rad/s per rad of bearing: saturates at 19 degrees, settles within a second
ALIGNED_RAD = 0.35  # from here on only turn; straight ahead drives at CRUISE_MPS, in between in proportion
CLOSE_AREA = 0.3  # of the image: the reference's arrival rule
CLOSE_HEIGHT = 0.6  # of the image: the reference's ROS node's, for things taller than wide
TURN_SLACK_RAD = 0.1  # a turn's budget beyond the bearing: enough to hold a course, too little to lose the target
LOC_CONFIDENCE = 0.8  # of the parse: loc text carries no token probabilities


def steer(box: Box, hfov_rad: float) -> RobotAction:
    """Turn towards a box and drive on as it comes ahead; stand still in front of a close one."""
    target = box.label or None
    width, height = box.x_max - box.x_min, box.y_max - box.y_min
    if width * height > CLOSE_AREA or height > CLOSE_HEIGHT:
        return RobotAction(ActionType.NAVIGATE, target_object=target, confidence=LOC_CONFIDENCE, description="close to the target")
    bearing = bearing_rad((box.x_min + box.x_max) / 2.0, hfov_rad)
    return RobotAction(
        ActionType.NAVIGATE,
        linear_x=CRUISE_MPS * max(0.0, 1.0 - abs(bearing) / ALIGNED_RAD),
        angular_z=max(-TURN_RADPS, min(TURN_RADPS, STEER_GAIN_PER_S * bearing)),
        target_object=target,
        confidence=LOC_CONFIDENCE,
        description=f"bearing {bearing:+.2f} rad",
        max_turn_rad=abs(bearing) + TURN_SLACK_RAD,
        max_travel_m=DEFAULT_TRAVEL_M,
    )
