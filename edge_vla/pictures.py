"""Camera pictures to network input, as each model's original prepares them. PIL's resampling, whose numbers differ from OpenCV's.

The model is taught with these and the engine drives with them. Knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_vla.errors import ConfigError
from edge_vla.grammars.picture import PictureMap

Rgb = NDArray[np.uint8]  # (H, W, 3)
Kind = Literal["squash", "middle", "pad", "closest", "mosaic"]
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR, "lanczos": Image.Resampling.LANCZOS}
SMALL_PX = 512  # `closest` looks at a picture whose longer side is less at one crop only


@dataclass(frozen=True, slots=True)
class Preparation:
    """From a camera's picture of any size to numbers (3, height, width).

    `squash` takes all of it whatever its aspect, `middle` the middle of it, `pad` puts it into a square of `fill`. With `closest` the
    input is one to two crops high and wide, as fits the picture best; `mosaic` has the whole in one crop, and below it the picture cut
    into crops that overlap. Of these two `height` and `width` are for a camera of (width, height) `camera`, and others laid out alike.
    """

    kind: Kind
    height: int  # px, as all sizes
    width: int
    resample: Literal["bicubic", "bilinear", "lanczos"]
    mean: Sequence[float]  # per channel, 0..1
    std: Sequence[float]
    fill: Sequence[float] | None = None  # of `pad`, 0..1
    rounded: bool = False  # `middle` cuts half a pixel to the even one, as torchvision does; else it is cut off, as transformers does
    crop: int | None = None  # side of a crop
    margin: int = 0  # by which the crops of a mosaic overlap, on each side
    most: int | None = None  # crops of a mosaic below the whole
    camera: Sequence[int] | None = None

    def of(self, width: int, height: int) -> tuple[int, int]:
        """(height, width) of the input for a picture of that size."""
        if self.kind == "closest":
            return _closest(height, width, _given(self.crop))
        if self.kind == "mosaic":
            crop = _given(self.crop)
            rows, columns = self.tiles(width, height)
            return (crop, crop) if (rows, columns) == (1, 1) else (crop * (rows + 1), crop * columns)
        return self.height, self.width

    def laid_out(self, camera: tuple[int, int]) -> Preparation:
        """The same for a camera of (width, height)."""
        height, width = self.of(*camera)
        return replace(self, height=height, width=width, camera=camera)

    def tiles(self, width: int, height: int) -> tuple[int, int]:
        """A mosaic's rows and columns below the whole; where that would be one crop it is the whole again, and left out."""
        around = 2 * self.margin
        return tiling(height - around, width - around, _given(self.crop) - around, _given(self.most))

    def map(self, width: int, height: int) -> PictureMap:
        """Where the input lies in a picture of that size; of crops the one that has all of it."""
        if self.kind == "pad":
            return PictureMap.padded((width, height), self.height)
        if self.kind == "middle":
            return PictureMap.middle((width, height), self.height, rounded=self.rounded)
        return PictureMap.squashed((width, height), (self.width, self.height) if self.crop is None else (self.crop, self.crop))


def prepare(rgb: Rgb, how: Preparation) -> NDArray[np.float32]:
    """(3, height, width). Raises ConfigError for what is no picture, and for one that would be laid out otherwise."""
    check(rgb)
    high, wide = rgb.shape[:2]
    wanted = how.of(wide, high)
    if wanted != (how.height, how.width):
        camera = " x ".join(map(str, how.camera or ()))
        raise ConfigError(
            f"picture of {wide} x {high} px: this input is laid out for a camera of {camera} px, as {how.height} x {how.width} (height x "
            f"width), and for that picture it would be {wanted[0]} x {wanted[1]}; export the model again for that camera"
        )
    if how.kind == "middle":
        shown = middle(rgb, how.height, how.resample, rounded=how.rounded)
    elif how.kind == "mosaic":
        shown = _mosaic(rgb, how)
    else:
        shown = resized(pad_square(rgb, how.fill) if how.fill is not None else rgb, (how.height, how.width), how.resample)
    return normalise(shown, how.mean, how.std)


def resized(rgb: Rgb, size: tuple[int, int], resample: str = "bicubic") -> Rgb:
    """To (height, width)."""
    return np.asarray(Image.fromarray(rgb).resize((size[1], size[0]), FILTERS[resample]))


def middle(rgb: Rgb, size: int, resample: str = "bicubic", *, rounded: bool = False) -> Rgb:
    """(size, size, 3): the shorter side to `size`, then the middle of the longer one, as CLIP's own preparation does."""
    height, width = rgb.shape[:2]
    other = int(size * max(height, width) / min(height, width))
    high, wide = (other, size) if height > width else (size, other)
    scaled = resized(rgb, (high, wide), resample)
    top, left = (round((side - size) / 2) if rounded else (side - size) // 2 for side in (high, wide))
    return np.ascontiguousarray(scaled[top : top + size, left : left + size])


def pad_square(rgb: Rgb, colour: Sequence[float]) -> Rgb:
    """The picture in the middle of a square of `colour` (0..1 per channel)."""
    height, width = rgb.shape[:2]
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    square = np.empty((side, side, 3), np.uint8)
    square[:] = [int(c * 255) for c in colour]
    square[top : top + height, left : left + width] = rgb
    return square


def normalise(rgb: Rgb, mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """(H, W, 3) to (3, H, W): 0..1, less the mean, over the deviation."""
    out = np.empty((3, *rgb.shape[:2]), np.float32)
    for channel, table in enumerate(_tables(tuple(mean), tuple(std))):
        np.take(table, rgb[..., channel], out=out[channel])
    return out


@lru_cache(maxsize=8)
def _tables(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """(3, 256): what becomes of each value of each channel. Eight times as fast as the arithmetic, and the same numbers."""
    values = np.arange(256, dtype=np.float32)[None] / np.float32(255)
    return np.asarray((values - np.asarray(mean, np.float32)[:, None]) / np.asarray(std, np.float32)[:, None], np.float32)


def check(rgb: Rgb) -> None:
    """Raise ConfigError for what is no picture."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ConfigError(f"picture of shape {rgb.shape} and dtype {rgb.dtype}: want (H, W, 3) uint8 RGB")


def tiling(height: int, width: int, window: int, most: int) -> tuple[int, int]:
    """Rows and columns of a mosaic of a picture without its margins: as many as `most` allows, in the picture's proportions."""
    if height <= window or width <= window:
        return 1, 1
    least_rows, least_columns = math.ceil(height / window), math.ceil(width / window)
    if least_rows * least_columns > most:
        ratio = math.sqrt(most / (least_rows * least_columns))
        return max(1, math.floor(least_rows * ratio)), max(1, math.floor(least_columns * ratio))
    rows = max(math.floor(math.sqrt(most * height / width)), least_rows)
    columns = max(math.floor(math.sqrt(most * width / height)), least_columns)
    if rows * columns > most and columns > rows:
        columns = math.floor(most / rows)
    elif rows * columns > most:
        rows = math.floor(most / columns)
    return max(1, rows), max(1, columns)


def _closest(height: int, width: int, crop: int) -> tuple[int, int]:
    """(height, width) for a picture: by aspect, then by size. The size compares height with width, as the original does."""
    if max(height, width) < SMALL_PX:
        return crop, crop
    choices = [(crop, crop), (crop, 2 * crop), (2 * crop, crop), (2 * crop, 2 * crop)]
    return min(choices, key=lambda s: (abs(s[1] / s[0] - width / height), abs(s[0] - width) + abs(s[1] - height)))


def _mosaic(rgb: Rgb, how: Preparation) -> Rgb:
    """Crops of one size in rows, the whole picture first and alone in its row."""
    height, width = rgb.shape[:2]
    crop, around = _given(how.crop), 2 * how.margin
    whole = resized(rgb, (crop, crop), how.resample)
    rows, columns = how.tiles(width, height)
    if (rows, columns) == (1, 1):
        return whole
    window = crop - around
    large = resized(rgb, (rows * window + around, columns * window + around), how.resample)
    mosaic = np.zeros((crop * (rows + 1), crop * columns, 3), np.uint8)
    mosaic[:crop, :crop] = whole
    for r in range(rows):
        for c in range(columns):
            mosaic[crop * (r + 1) : crop * (r + 2), crop * c : crop * (c + 1)] = large[r * window :, c * window :][:crop, :crop]
    return mosaic


def _given(size: int | None) -> int:
    """Raises ConfigError for a layout in crops without their size or number."""
    if size is None:
        raise ConfigError("a picture laid out in crops wants their side and, of a mosaic, the most there may be")
    return size
