"""A reply about a frame to a look: boxes become sightings on the floor of the odometry frame. Pure."""

import math

from edge_vla.errors import ParseError
from edge_vla.geometry import CameraPose, to_odom
from edge_vla.parse.loc import parse_detections
from edge_vla.types import Box, Frame, Look, Pose, Reply, Sighting

CONFIDENCE_FLOOR = 0.3  # DESIGN §4: below it a box is not acted upon


def interpret(reply: Reply, frame: Frame, ready: tuple[int, int], pose: Pose, camera: CameraPose, *, boxes: bool) -> Look:
    """What `reply` says about a frame taken at `pose`; `ready` is (t_ready_ns, evidence_deadline_ns).

    A refused reply is a look without a sighting that says why.
    """
    box, sighting, confidence = None, None, reply.confidence or 0.0
    rejected = _refuse_numbers(reply)
    if boxes and not rejected:
        try:
            found = parse_detections(reply.text)
            box = found[0] if found else None
        except ParseError as err:
            rejected = str(err)
    if box is not None and confidence >= CONFIDENCE_FLOOR:
        sighting = place(box, pose, camera, confidence)
    return Look(
        seq=frame.seq, t_capture_ns=frame.t_capture_ns, t_ready_ns=ready[0], evidence_deadline_ns=ready[1], pose=pose,
        text=reply.text, sighting=sighting, box=box, confidence=confidence, free_distance_m=reply.free_distance_m, rejected=rejected,
    )  # fmt: skip


def _refuse_numbers(reply: Reply) -> str:
    """Why the reply's numbers are none, or "". A nan would pass for a clear way."""
    for name, numbers in (("confidence", (reply.confidence or 0.0,)), ("free distance", reply.free_distance_m or ())):
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            return f"want a {name} that is finite and not negative, got {numbers}"
    return ""


def place(box: Box, pose: Pose, camera: CameraPose, confidence: float) -> Sighting:
    """The box's foot on the floor, seen from where the robot was."""
    x, y = camera.foot(box)
    odom_x, odom_y = to_odom(pose, x, y)
    half = (camera.bearing(box.x_min) - camera.bearing(box.x_max)) / 2
    return Sighting(odom_x, odom_y, math.hypot(x, y), math.atan2(y, x), half, confidence)
