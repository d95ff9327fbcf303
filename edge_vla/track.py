"""The target between looks: where it is believed to stand, and how sure that is. Pure."""

import math
from dataclasses import dataclass, replace

from edge_vla.geometry import CameraPose, to_robot
from edge_vla.types import Look, Pose, Sighting

SURE_HITS = 2  # looks that agree before the robot drives
SURE_CONFIDENCE = 0.85  # one look this sure is enough
LOST_MISSES = 4  # looks in a row that should have seen it and did not
NEWEST_SHARE = 0.6  # of the newest sighting in the blended place


@dataclass(frozen=True, slots=True)
class Track:
    """A target's place on the floor of the odometry frame (m)."""

    x_m: float
    y_m: float
    half_width_m: float
    confidence: float
    seen_ns: int
    hits: int = 1
    misses: int = 0

    @property
    def sure(self) -> bool:
        return self.hits >= SURE_HITS or self.confidence >= SURE_CONFIDENCE

    @property
    def own_m(self) -> float:
        """What stands within this of its place is the target itself, no obstacle on the way to it."""
        return max(0.25, self.half_width_m + 0.2)

    def seen_from(self, pose: Pose) -> tuple[float, float]:
        """(range m, bearing rad) from the robot's centre."""
        x, y = to_robot(pose, self.x_m, self.y_m)
        return math.hypot(x, y), math.atan2(y, x)


def update(track: Track | None, look: Look, camera: CameraPose, *, moving: bool) -> Track | None:
    """The track after a look. A target that moves is believed where it was seen last, a standing one is averaged."""
    if look.sighting is None:
        return _missed(track, look, camera) if track else None
    if track is None or not _agrees(track, look, moving=moving):
        return _challenged(track, look)
    s, share = look.sighting, 1.0 if moving else NEWEST_SHARE
    return replace(
        track, x_m=track.x_m + share * (s.x_m - track.x_m), y_m=track.y_m + share * (s.y_m - track.y_m),
        half_width_m=_half_width(s), confidence=0.5 * (track.confidence + s.confidence), seen_ns=look.t_capture_ns,
        hits=track.hits + 1, misses=0,
    )  # fmt: skip


def _half_width(sighting: Sighting) -> float:
    return sighting.range_m * math.tan(min(1.2, abs(sighting.half_width_rad)))


def _begin(look: Look, sighting: Sighting) -> Track:
    return Track(sighting.x_m, sighting.y_m, _half_width(sighting), sighting.confidence, look.t_capture_ns)


def _agrees(track: Track, look: Look, *, moving: bool) -> bool:
    """Near the same place: floor range is poor far away, so the tolerance grows with it, less across than along."""
    s = look.sighting
    if s is None:
        return False
    away, bearing = track.seen_from(look.pose)
    slack = 2.0 if moving else 1.0
    across = abs(math.sin(bearing - s.bearing_rad)) * min(away, s.range_m)
    return abs(away - s.range_m) < slack * max(0.5, 0.4 * max(away, s.range_m)) and across < slack * max(0.35, 0.15 * away)


def _challenged(track: Track | None, look: Look) -> Track | None:
    """A sighting elsewhere: it takes over from nothing, from a weaker track, or from one that keeps being missed."""
    s = look.sighting
    if s is None or (track is not None and track.sure and track.misses < 2 and s.confidence <= track.confidence):
        return replace(track, misses=track.misses + 1) if track else None
    return _begin(look, s)


def _missed(track: Track, look: Look, camera: CameraPose) -> Track | None:
    """Not seen: that counts only where it should have been in view, and ends an unsure track sooner."""
    away, bearing = track.seen_from(look.pose)
    in_view = abs(bearing) < 0.42 * camera.hfov_rad and away > camera.forward_m + camera.height_m
    if not in_view:
        return track
    worn = replace(track, misses=track.misses + 1)
    return None if worn.misses >= (LOST_MISSES if track.sure else 2) else worn
