"""Where a network's input lies in the camera's picture, and the way back. Knows no pixels, only sizes.

Places are continuous: 0 is the first pixel's outer edge, the width is the last one's. Resizing scales them, so the inverse is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_vla.errors import ConfigError, ParseError
from edge_vla.types import Box


@dataclass(frozen=True, slots=True)
class PictureMap:
    """A picture, scaled, laid on a canvas: the network's input. Sizes are (width, height) in pixels."""

    original: tuple[int, int]
    scaled: tuple[float, float]  # the whole picture at the input's scale
    canvas: tuple[int, int]  # the input
    offset: tuple[float, float] = (0.0, 0.0)  # of the scaled picture's top left corner on the canvas; negative where it is cut off

    def __post_init__(self) -> None:
        for name in ("original", "scaled", "canvas"):
            size = getattr(self, name)
            if not all(math.isfinite(side) and side > 0 for side in size):
                raise ConfigError(f"picture map: want {name} sides above 0, got {size}")
        if not all(map(math.isfinite, self.offset)):
            raise ConfigError(f"picture map: want a finite offset, got {self.offset}")
        if any(at >= side or at + long <= 0 for at, long, side in zip(self.offset, self.scaled, self.canvas, strict=True)):
            raise ConfigError(f"picture map: a picture of {self.scaled} at {self.offset} is not on the canvas of {self.canvas}")

    @classmethod
    def squashed(cls, original: tuple[int, int], canvas: tuple[int, int]) -> PictureMap:
        """All of the picture on all of the canvas, whatever becomes of its aspect."""
        return cls(original, canvas, canvas)

    @classmethod
    def padded(cls, original: tuple[int, int], side: int) -> PictureMap:
        """In the middle of a square, at whole pixels of its own, and that resized to `side`: LLaVA 1.5 and UForm."""
        width, height = original
        longest = max(width, height)
        scale = side / longest
        left, top = (longest - width) // 2, (longest - height) // 2
        return cls(original, (width * scale, height * scale), (side, side), (left * scale, top * scale))

    @classmethod
    def middle(cls, original: tuple[int, int], side: int, *, rounded: bool = False) -> PictureMap:
        """The shorter side resized to `side`, the middle of the longer cut out: CLIP, as transformers does, or `rounded` as torchvision."""
        width, height = original
        other = int(side * max(width, height) / min(width, height))
        wide, high = (side, other) if height > width else (other, side)
        left, top = (round((long - side) / 2) if rounded else (long - side) // 2 for long in (wide, high))
        return cls(original, (wide, high), (side, side), (-left, -top))

    @property
    def whole(self) -> bool:
        """Whether input and picture are the same in fractions of their sides."""
        return all(a == b for a, b in zip(self.scaled, self.canvas, strict=True)) and not any(self.offset)

    def to_original(self, x: float, y: float) -> tuple[float, float]:
        """A place of the input in the picture, both in pixels; outside of it where the input is padding."""
        (left, top), (wide, high), (width, height) = self.offset, self.scaled, self.original
        return (x - left) * width / wide, (y - top) * height / high

    def to_input(self, x: float, y: float) -> tuple[float, float]:
        """A place of the picture in the input, both in pixels; outside of it where the input is a part of the picture."""
        (left, top), (wide, high), (width, height) = self.offset, self.scaled, self.original
        return x * wide / width + left, y * high / height + top

    def box_to_original(self, box: Box) -> Box:
        """A box in fractions of the input to the part of it that is in the picture, in fractions of that. Raises ParseError without one."""
        x_min, y_min, x_max, y_max = box.x_min, box.y_min, box.x_max, box.y_max
        if not self.whole:
            (wide, high), (width, height) = self.canvas, self.original
            (x_min, y_min), (x_max, y_max) = self.to_original(x_min * wide, y_min * high), self.to_original(x_max * wide, y_max * high)
            x_min, x_max, y_min, y_max = x_min / width, x_max / width, y_min / height, y_max / height
        inside = Box(max(0.0, y_min), max(0.0, x_min), min(1.0, y_max), min(1.0, x_max), box.label)
        finite = all(map(math.isfinite, (x_min, x_max, y_min, y_max)))  # a nan would come out of min and max as an edge
        if not (finite and inside.x_min < inside.x_max and inside.y_min < inside.y_max):
            raise ParseError(f"want a box with some of the picture (0..1), got x {x_min:.4g}..{x_max:.4g}, y {y_min:.4g}..{y_max:.4g}")
        return inside

    def box_to_input(self, box: Box) -> Box:
        """A box in fractions of the picture to fractions of the input. Raises ParseError for one that is not all of it there."""
        x_min, y_min, x_max, y_max = box.x_min, box.y_min, box.x_max, box.y_max
        if not self.whole:
            (wide, high), (width, height) = self.canvas, self.original
            (x_min, y_min), (x_max, y_max) = self.to_input(x_min * width, y_min * height), self.to_input(x_max * width, y_max * height)
            x_min, x_max, y_min, y_max = x_min / wide, x_max / wide, y_min / high, y_max / high
        if not (0 <= x_min < x_max <= 1 and 0 <= y_min < y_max <= 1):
            raise ParseError(f"want a box inside the input (0..1), got x {x_min:.4g}..{x_max:.4g}, y {y_min:.4g}..{y_max:.4g}")
        return Box(y_min, x_min, y_max, x_max, box.label)
