"""A reply about a frame to a look: boxes become sightings on the floor of the odometry frame. Pure."""

import math

from edge_vla.errors import ParseError
from edge_vla.geometry import CameraPose, to_odom
from edge_vla.parse.loc import parse_detections
from edge_vla.types import Box, Chunk, Frame, Look, Pose, Reply, Sighting

CONFIDENCE_FLOOR = 0.3  # DESIGN §4: below it a box is not acted upon


def interpret(reply: Reply, frame: Frame, ready: tuple[int, int], pose: Pose, camera: CameraPose, *, target: str | None) -> Look:
    """What `reply` says about a frame taken at `pose`; `ready` is (t_ready_ns, evidence_deadline_ns).

    Without a `target` the reply is words, not boxes. A refused reply is a look without a sighting that says why.
    """
    rejected = refuse_numbers(reply)
    box, sighting = None, None
    confidence, free_distance_m, chunk = (0.0, None, None) if rejected else (reply.confidence or 0.0, reply.free_distance_m, reply.chunk)
    if target is not None and not rejected:
        try:
            box = box_of(parse_detections(reply.text), target)
        except ParseError as err:
            rejected = str(err)
    if box is not None and confidence >= CONFIDENCE_FLOOR:
        sighting = place(box, pose, camera, confidence)
    return Look(
        seq=frame.seq, t_capture_ns=frame.t_capture_ns, t_ready_ns=ready[0], evidence_deadline_ns=ready[1], pose=pose,
        text=reply.text, sighting=sighting, box=box, confidence=confidence, free_distance_m=free_distance_m, rejected=rejected,
        chunk=chunk,
    )  # fmt: skip


def box_of(boxes: list[Box], target: str) -> Box | None:
    """The box to act on when `target` was asked for, or None: a box of another thing is not it, one without a label is.

    Of several the nearest: the one that stands lowest in the picture, the larger where two stand equally low.
    """
    wanted = _thing(target)
    fitting = [box for box in boxes if _thing(box.label) in ("", wanted)]
    return max(fitting, key=lambda box: (box.y_max, (box.y_max - box.y_min) * (box.x_max - box.x_min)), default=None)


def _thing(label: str) -> str:
    """A label without what models vary: case, spaces, an article, a full stop."""
    words = label.casefold().strip(" \t\r\n.,").split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in {"a", "an", "the"} else words)


def refuse_numbers(reply: Reply) -> str:
    """Why the reply's numbers are none, or "". A nan would pass for a clear way, a confidence of 7 for a certainty."""
    if not 0.0 <= (reply.confidence or 0.0) <= 1.0:  # false for nan as well
        return f"want a confidence in 0..1, got {reply.confidence}"
    distances = reply.free_distance_m or ()
    if not all(math.isfinite(distance) and distance >= 0 for distance in distances):
        return f"want a free distance that is finite and not negative, got {distances}"
    return "" if reply.chunk is None else _refuse_chunk(reply.chunk)


def _refuse_chunk(chunk: Chunk) -> str:
    """Why a policy's actions cannot be driven, or "". How fast they are is judged where every action is."""
    if not chunk.twists:
        return "want one action or more, got none"
    for number, twist in enumerate(chunk.twists):
        if not (math.isfinite(twist.linear_x) and math.isfinite(twist.linear_y) and math.isfinite(twist.angular_z)):
            return f"want actions that are finite, got {twist} as number {number}"
    if not (math.isfinite(chunk.period_s) and chunk.period_s > 0):
        return f"want a period of more than 0 s, got {chunk.period_s}"
    return ""


def place(box: Box, pose: Pose, camera: CameraPose, confidence: float) -> Sighting:
    """The box's foot on the floor, seen from where the robot was."""
    x, y = camera.foot(box)
    odom_x, odom_y = to_odom(pose, x, y)
    half = (camera.bearing(box.x_min) - camera.bearing(box.x_max)) / 2
    return Sighting(odom_x, odom_y, math.hypot(x, y), math.atan2(y, x), half, confidence)
