"""A run in one picture: what the robot saw at its turning points, and its way on the floor. Reads a recording; drives nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_vla import draw
from edge_vla.behaviours.state import Phase
from edge_vla.errors import ConfigError
from edge_vla.geometry import CameraPose, to_odom
from edge_vla.record import LookLine, TickLine, frame_path
from edge_vla.replay import Recording, load

TILE_PX, BARS_PX, CAPTION_PX, HEAD_PX = 384, 48, 62, 52
ACROSS = 4  # tiles side by side
BARS_M = 3.0  # a bar of full height
NEAR_M, MIDDLE_M = 0.4, 0.9  # bars up to these are red, then amber
WALL_M = 2.6  # a free distance that ends nearer than this is drawn on the floor
CEILING_MPS, CEILING_RPS = 0.5, 1.0  # an arrow a third of the image high or wide
VELOCITY: draw.Colour = (40, 170, 255)
SIMULATED: draw.Colour = (230, 110, 220)
PHASES: dict[Phase, draw.Colour] = {
    Phase.SEARCH: (225, 140, 200), Phase.EXPLORE: (240, 190, 90), Phase.APPROACH: draw.GREEN,
    Phase.ARRIVED: (210, 235, 250), Phase.ACT: (90, 220, 230), Phase.DONE: draw.INK,
}  # fmt: skip
RESULTS = {"reached": draw.GREEN, "fault": draw.RED}  # the others are amber


@dataclass(frozen=True, slots=True)
class Moment:
    """One tile: a look with its image, and the first tick that rested on it."""

    number: int  # from 1
    look: LookLine
    tick: TickLine
    time_s: float  # of the exposure, since the run began
    image: draw.Image


def draw_strip(folder: Path, path: Path, count: int = 8) -> None:
    """Draw the run recorded in `folder` as a PNG with `count` frames. Raises ConfigError: nothing to draw, or nowhere to put it."""
    recording = load(folder)
    moments = _moments(recording, count)
    if not moments:
        raise ConfigError(f"{folder}: no frame was recorded")
    rows = [moments[k : k + ACROSS] for k in range(0, len(moments), ACROSS)]
    tiles = draw.below([draw.beside([_tile(moment) for moment in row]) for row in rows])
    body = draw.beside([tiles, _floor(recording, moments, tiles.shape[0])])
    done, png = cv2.imencode(".png", draw.framed(np.vstack([_head(recording, body.shape[1]), body])))
    try:
        path.write_bytes(png.tobytes() if done else b"")
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err.strerror}") from err


# -- which frames


def choose(seen: Sequence[bool], count: int) -> list[int]:
    """At most `count` indices: the first look, the last, the first sighting, then again and again the middle of the widest gap."""
    wanted = [0, len(seen) - 1, *([seen.index(True)] if True in seen else [])] if seen else []
    chosen = sorted(list(dict.fromkeys(wanted))[:count])
    while 1 < len(chosen) < min(count, len(seen)):
        _, start, end = max((b - a, -a, b) for a, b in pairwise(chosen))
        chosen = sorted([*chosen, (end - start) // 2])  # start is negative
    return chosen


def _moments(recording: Recording, count: int) -> list[Moment]:
    """The chosen looks in the order of the run."""
    looks = [look for look in recording.looks.values() if frame_path(recording.folder, look.seq).exists()]
    first_on, moments = {tick.look: tick for tick in reversed(recording.ticks)}, list[Moment]()
    for index in choose([look.sighting is not None for look in looks], count):
        look = looks[index]
        image = cv2.imread(str(frame_path(recording.folder, look.seq)))
        if image is not None:
            tick, time_s = first_on.get(look.seq, recording.ticks[-1]), (look.t_capture_ns - recording.ticks[0].now_ns) * 1e-9
            moments.append(Moment(len(moments) + 1, look, tick, max(0.0, time_s), np.asarray(image, np.uint8)))
    return moments


# -- a tile


def _tile(moment: Moment) -> draw.Image:
    """A frame with what was seen on it, the free distances below, the figures below that."""
    height = round(TILE_PX * moment.image.shape[0] / moment.image.shape[1])
    image = np.asarray(cv2.resize(moment.image, (TILE_PX, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    _mark(image, moment.look)
    foot, action = (TILE_PX // 2, height - 14), moment.tick.action
    turn, drive = action.angular_z / CEILING_RPS, action.linear_x / CEILING_MPS
    draw.arrow(image, foot, (round(foot[0] - TILE_PX / 3 * turn), round(foot[1] - height / 3 * drive)), VELOCITY)
    return np.vstack([image, _bars(moment.look.reply.free_distance_m or ()), _caption(moment)])


def _mark(image: draw.Image, look: LookLine) -> None:
    """The box with its label, or why the reply was refused."""
    height, width = image.shape[:2]
    if look.rejected:
        draw.tag(image, draw.fit(f"refused: {look.rejected}", draw.Style(), width - 24), (8, 24), draw.RED)
    if look.box is None:
        return
    colour = draw.GREEN if look.sighting else draw.AMBER
    corner, end = ((round(x * width), round(y * height)) for x, y in ((look.box.x_min, look.box.y_min), (look.box.x_max, look.box.y_max)))
    draw.frame(image, corner, end, colour)
    sure = "" if look.reply.confidence is None else f" {look.reply.confidence:.2f}"
    draw.tag(image, f"{look.box.label}{sure}", (corner[0], corner[1] - 6 if corner[1] > 30 else end[1] + 20), colour)


def _bars(free_m: Sequence[float]) -> draw.Image:
    """Free distance of each image column, below that column."""
    bars, metre_px = draw.panel(TILE_PX, BARS_PX), _bar_top(1.0)
    if not free_m:
        draw.write(bars, "free distance not measured", (10, 30), draw.Style(draw.DIM))
        return bars
    edges = [round(k * TILE_PX / len(free_m)) for k in range(len(free_m) + 1)]
    for metres, left, right in zip(free_m, edges, edges[1:], strict=False):
        colour = draw.RED if metres < NEAR_M else draw.AMBER if metres < MIDDLE_M else (120, 150, 105)
        cv2.rectangle(bars, (left + 1, _bar_top(metres)), (right - 2, BARS_PX - 1), colour, -1)
    cv2.line(bars, (0, metre_px), (TILE_PX, metre_px), draw.INK, 1)
    draw.tag(bars, "1 m", (0, metre_px - 6), draw.PANEL, draw.Style(size=0.4))
    return bars


def _bar_top(metres: float) -> int:
    share = min(metres, BARS_M) / BARS_M if metres > 0 else 0.0  # false for nan as well
    return round((BARS_PX - 1) * (1 - share))


def _caption(moment: Moment) -> draw.Image:
    """When, in which phase, how far away; what was asked of the wheels, and why."""
    caption, tick, sighting = draw.panel(TILE_PX, CAPTION_PX), moment.tick, moment.look.sighting
    draw.badge(caption, moment.number, (20, 20), PHASES[tick.phase])
    draw.write(caption, f"{moment.time_s:.1f} s", (42, 27), draw.Style(size=0.6))
    draw.write(caption, tick.phase.value.upper(), (122, 27), draw.Style(PHASES[tick.phase], 0.6))
    range_m = f"{sighting.range_m:.2f} m" if sighting else "not seen" if moment.look.prompt.startswith("detect ") else ""
    draw.write(caption, range_m, (TILE_PX - 10, 27), draw.Style(draw.INK if sighting else draw.DIM, 0.6), right=True)
    speed = f"{tick.action.linear_x:.2f} m/s  {round(tick.action.angular_z, 2) + 0.0:+.2f} rad/s"  # + 0.0: no minus zero
    end = draw.write(caption, speed, (10, 51), draw.Style(VELOCITY))
    why = draw.fit(tick.action.description, draw.Style(), TILE_PX - 24 - end)
    draw.write(caption, why, (TILE_PX - 10, 51), draw.Style(draw.DIM), right=True)
    return caption


# -- the floor


def _floor(recording: Recording, moments: Sequence[Moment], height: int) -> draw.Image:
    """The way from above, with the walls that were seen and the target's place."""
    plan = recording.header.plan
    walls = _walls(recording, plan.camera)
    way = [(tick.pose, tick.phase) for tick in recording.ticks if tick.pose is not None]
    seen = [(look.sighting.x_m, look.sighting.y_m) for look in recording.looks.values() if look.sighting]
    floor = draw.Floor((max(height, 420), height), [(pose.x_m, pose.y_m) for pose, _ in way] + seen[-1:])
    for wall in walls:
        floor.dot(wall, 2, draw.DIM)
    for place in seen:
        floor.dot(place, 2, draw.GREEN)
    for (a, _), (b, phase) in pairwise(way):
        floor.line((a.x_m, a.y_m), (b.x_m, b.y_m), PHASES[phase])
    for moment in moments:
        _stand(floor, moment)
    if seen:
        floor.ring(seen[-1], plan.stop_at_m, draw.GREEN)
        floor.dot(seen[-1], 7, draw.GREEN)
        x, y = floor.at(*seen[-1])
        draw.tag(floor.image, plan.target or "target", (x + 12, y - 8), draw.GREEN)
    if way:
        floor.robot(way[-1][0], VELOCITY)
    _legend(floor.image, [phase for phase in PHASES if phase in {phase for _, phase in way}])
    return floor.image


def _stand(floor: draw.Floor, moment: Moment) -> None:
    """Where a frame was taken, looking where, with its number to the left."""
    pose, colour = moment.look.pose, PHASES[moment.tick.phase]
    cv2.line(floor.image, floor.at(pose.x_m, pose.y_m), floor.ahead(pose, 18), colour, 1, cv2.LINE_AA)
    floor.dot((pose.x_m, pose.y_m), 4, colour)
    draw.badge(floor.image, moment.number, floor.ahead(pose, -8, 28), colour)


def _walls(recording: Recording, camera: CameraPose) -> list[tuple[float, float]]:
    """Where the looks' free distances end, in the odometry frame."""
    walls = []
    for look in recording.looks.values():
        free_m = look.reply.free_distance_m or ()
        for bearing, metres in zip(camera.column_bearings(len(free_m)), free_m, strict=True):
            if 0 < metres < WALL_M:
                walls.append(to_odom(look.pose, camera.forward_m + metres * math.cos(bearing), metres * math.sin(bearing)))
    return walls


def _legend(image: draw.Image, phases: Sequence[Phase]) -> None:
    image[-36:] = draw.PANEL
    x, y = 12, image.shape[0] - 14
    for phase in phases:
        cv2.line(image, (x, y - 5), (x + 18, y - 5), PHASES[phase], 3, cv2.LINE_AA)
        x = draw.write(image, phase.value, (x + 24, y), draw.Style()) + 16
    draw.write(image, "grid 1 m", (image.shape[1] - 12, y), draw.Style(draw.DIM), right=True)


# -- the head


def _head(recording: Recording, width: int) -> draw.Image:
    """What was asked of which engine, and what came of it."""
    head, header, ending = draw.panel(width, HEAD_PX, draw.PAPER), recording.header, _ending(recording.folder)
    large, small = draw.Style(size=0.85, thick=2), draw.Style(draw.DIM, 0.65)
    x = draw.write(head, "SIMULATED", (0, 28), draw.Style(SIMULATED, 0.85, 2)) + 20 if header.simulated else 0
    x = draw.write(head, f"{header.goal} {header.target or ''}".strip(), (x, 28), large) + 24
    result = str(ending.get("result", ""))
    why = str(ending.get("why") or recording.ticks[-1].action.description)
    time_s = (recording.ticks[-1].now_ns - recording.ticks[0].now_ns) * 1e-9
    engine = f"engine {header.engine.get('name', '?')}   {time_s:.1f} s"
    draw.write(head, engine, (width, 28), small, right=True)
    colour = RESULTS.get(result, draw.AMBER) if result else draw.DIM
    told = draw.fit(f"{result.replace('_', ' ')}: {why}" if result else why, small, width - x - draw.extent(engine, small)[0] - 24)
    draw.write(head, told, (x, 28), draw.Style(colour, 0.65))
    return head


def _ending(folder: Path) -> dict[str, Any]:
    """`summary.json`, if the run got that far."""
    with suppress(OSError, ValueError):
        found = json.loads((folder / "summary.json").read_text("utf-8"))
        return found if isinstance(found, dict) else {}
    return {}
