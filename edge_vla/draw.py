"""Words, panels and a floor plan on BGR images, by OpenCV alone. Knows nothing about runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vla.guard.types import Pose

Image: TypeAlias = NDArray[np.uint8]  # (H, W, 3), BGR
Colour: TypeAlias = tuple[int, int, int]  # BGR
Point: TypeAlias = tuple[int, int]  # px, x right and y down

PAPER: Colour = (28, 24, 22)
PANEL: Colour = (42, 37, 34)
LINE: Colour = (66, 59, 54)
INK: Colour = (240, 238, 235)
DIM: Colour = (170, 162, 155)
GREEN: Colour = (80, 220, 120)
AMBER: Colour = (70, 190, 245)
RED: Colour = (80, 80, 235)
GAP_PX = 14
MARGIN_PX = 24
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, slots=True)
class Style:
    """How words look."""

    colour: Colour = INK
    size: float = 0.5
    thick: int = 1


DARK = Style(PAPER)


def extent(text: str, style: Style) -> tuple[int, int]:
    """Width and height in pixels."""
    (width, height), _ = cv2.getTextSize(_ascii(text), FONT, style.size, style.thick)
    return width, height


def write(image: Image, text: str, at: Point, style: Style, *, right: bool = False) -> int:
    """Write with the baseline beginning at `at`, or ending there if `right`; returns where the words end."""
    width = extent(text, style)[0]
    x = at[0] - width if right else at[0]
    cv2.putText(image, _ascii(text), (x, at[1]), FONT, style.size, style.colour, style.thick, cv2.LINE_AA)
    return x + width


def fit(text: str, style: Style, width_px: int) -> str:
    """The text, or as much of its beginning as fits."""
    if extent(text, style)[0] <= width_px:
        return text
    while text and extent(f"{text}...", style)[0] > width_px:
        text = text[:-1]
    return f"{text.rstrip()}..."


def tag(image: Image, text: str, at: Point, colour: Colour, style: Style = DARK) -> None:
    """Words on a coloured ground, kept inside the image."""
    width, height = extent(text, style)
    x, y = max(0, min(at[0], image.shape[1] - width - 8)), max(height + 6, min(at[1], image.shape[0] - 6))
    cv2.rectangle(image, (x, y - height - 5), (x + width + 8, y + 5), colour, -1)
    write(image, text, (x + 4, y), style)


def badge(image: Image, number: int, at: Point, colour: Colour) -> None:
    """A number in a disc."""
    width, height = extent(str(number), DARK)
    cv2.circle(image, at, 14, PAPER, -1, cv2.LINE_AA)
    cv2.circle(image, at, 12, colour, -1, cv2.LINE_AA)
    write(image, str(number), (at[0] - width // 2, at[1] + height // 2), DARK)


def arrow(image: Image, start: Point, tip: Point, colour: Colour) -> None:
    """An arrow with a dark rim; a dot when it is too short to have a direction."""
    length = math.dist(start, tip)
    for width, ink in ((8, PAPER), (4, colour)):
        if length < 4:
            cv2.circle(image, start, width // 2 + 3, ink, -1, cv2.LINE_AA)
        else:
            cv2.arrowedLine(image, start, tip, ink, width, cv2.LINE_AA, tipLength=min(0.4, 14 / length))


def frame(image: Image, corner: Point, end: Point, colour: Colour) -> None:
    """A box with a dark rim."""
    for width, ink in ((4, PAPER), (2, colour)):
        cv2.rectangle(image, corner, end, ink, width, cv2.LINE_AA)


def panel(width: int, height: int, colour: Colour = PANEL) -> Image:
    return np.full((height, width, 3), colour, np.uint8)


def beside(parts: Sequence[Image]) -> Image:
    """Side by side on paper, with gaps."""
    sheet = panel(sum(p.shape[1] + GAP_PX for p in parts) - GAP_PX, max(p.shape[0] for p in parts), PAPER)
    x = 0
    for part in parts:
        sheet[: part.shape[0], x : x + part.shape[1]] = part
        x += part.shape[1] + GAP_PX
    return sheet


def below(parts: Sequence[Image]) -> Image:
    """One under the other on paper, with gaps."""
    sheet = panel(max(p.shape[1] for p in parts), sum(p.shape[0] + GAP_PX for p in parts) - GAP_PX, PAPER)
    y = 0
    for part in parts:
        sheet[y : y + part.shape[0], : part.shape[1]] = part
        y += part.shape[0] + GAP_PX
    return sheet


def framed(sheet: Image) -> Image:
    """With a margin all around."""
    whole = panel(sheet.shape[1] + 2 * MARGIN_PX, sheet.shape[0] + 2 * MARGIN_PX, PAPER)
    whole[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX] = sheet
    return whole


class Floor:
    """A map of the odometry frame: a robot that starts out at yaw 0 looks up, its left is left."""

    def __init__(self, size: tuple[int, int], places: Sequence[tuple[float, float]], around_m: float = 0.9) -> None:
        """`size` is width and height in px; all `places` (m) are in view, with `around_m` around them."""
        self.image = panel(*size)
        low, high = np.min(places or [(0.0, 0.0)], axis=0), np.max(places or [(0.0, 0.0)], axis=0)
        span = high - low + 2 * around_m
        self.px_per_m = min((size[1] - 80) / float(span[0]), (size[0] - 40) / float(span[1]))
        self._x_m, self._y_m = (float(v) for v in (low + high) / 2)
        self._grid()

    def at(self, x_m: float, y_m: float) -> Point:
        height, width = self.image.shape[:2]
        return round(width / 2 - (y_m - self._y_m) * self.px_per_m), round(height / 2 - 12 - (x_m - self._x_m) * self.px_per_m)

    def ahead(self, pose: Pose, px: float, left_px: float = 0.0) -> Point:
        """The point `px` in front of a robot and `left_px` beside it."""
        x, y = self.at(pose.x_m, pose.y_m)
        c, s = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
        return round(x - s * px - c * left_px), round(y - c * px + s * left_px)

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: Colour) -> None:
        cv2.line(self.image, self.at(*start), self.at(*end), colour, 3, cv2.LINE_AA)

    def dot(self, place: tuple[float, float], radius_px: int, colour: Colour) -> None:
        cv2.circle(self.image, self.at(*place), radius_px, colour, -1, cv2.LINE_AA)

    def ring(self, place: tuple[float, float], radius_m: float, colour: Colour) -> None:
        cv2.circle(self.image, self.at(*place), round(radius_m * self.px_per_m), colour, 1, cv2.LINE_AA)

    def robot(self, pose: Pose, colour: Colour) -> None:
        """A wedge that points ahead."""
        tips = [self.ahead(pose, *tip) for tip in ((17, 0), (-10, 10), (-5, 0), (-10, -10))]
        cv2.fillPoly(self.image, [np.array(tips, np.int32)], colour, cv2.LINE_AA)

    def _grid(self) -> None:
        """A line each metre."""
        height, width = self.image.shape[:2]
        for k in range(-50, 51):
            x, y = self.at(k, k)
            if 0 <= x < width:
                cv2.line(self.image, (x, 0), (x, height), LINE, 1)
            if 0 <= y < height:
                cv2.line(self.image, (0, y), (width, y), LINE, 1)


def _ascii(text: str) -> str:
    """The font has nothing else."""
    return text.encode("ascii", "replace").decode()
