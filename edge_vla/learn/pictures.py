"""Camera pictures to network input, as each original prepares them: PIL's resampling, which differs from OpenCV's."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from edge_vla.errors import ConfigError

Picture = Image.Image | NDArray[np.uint8]  # of any size; an array is (H, W, 3) RGB
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)


def squash(rgb: NDArray[np.uint8], size: int, mean: Sequence[float], std: Sequence[float], *, bilinear: bool = False) -> Tensor:
    """(H, W, 3) uint8 to (3, size, size) float32: bicubic (or bilinear) to a square whatever the aspect, 0..1, normalised."""
    check(rgb)
    filter_ = Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC
    return normalise(np.asarray(Image.fromarray(rgb).resize((size, size), filter_)), mean, std)


def middle(rgb: NDArray[np.uint8], size: int, *, rounded: bool = False) -> NDArray[np.uint8]:
    """(size, size, 3): the shorter side to `size`, bicubic, then the middle of the longer one, as CLIP's own preparation does.

    Half a pixel is cut off an offset, as transformers does, or `rounded` to the even one, as torchvision does.
    """
    check(rgb)
    height, width = rgb.shape[:2]
    short, long = min(height, width), max(height, width)
    other = int(size * long / short)
    wide, high = (size, other) if height > width else (other, size)
    scaled = np.asarray(Image.fromarray(rgb).resize((wide, high), Image.Resampling.BICUBIC))
    top, left = (round((side - size) / 2) if rounded else (side - size) // 2 for side in (high, wide))
    return np.ascontiguousarray(scaled[top : top + size, left : left + size])


def pad_square(rgb: NDArray[np.uint8], colour: Sequence[float]) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The picture in the middle of a square of `colour` (0..1 per channel), and its (left, top) offset there, px."""
    check(rgb)
    height, width = rgb.shape[:2]
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    square = np.empty((side, side, 3), np.uint8)
    square[:] = [int(c * 255) for c in colour]
    square[top : top + height, left : left + width] = rgb
    return square, (left, top)


def normalise(rgb: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32."""
    scaled = (rgb.astype(np.float32) / 255 - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def batched(images: Tensor | Sequence[Tensor]) -> Tensor:
    """(b, t, 3, H, W) of such, of (b, 3, H, W), or of a list of b of (3, H, W) or (t, 3, H, W). Raises ConfigError."""
    if not isinstance(images, Tensor):
        shapes = {tuple(image.shape) for image in images}
        if len(shapes) != 1:
            raise ConfigError(f"images of shapes {sorted(shapes)}: want one shape, (3, H, W) or (t, 3, H, W)")
        images = torch.stack(list(images))
    if images.ndim == 4:
        images = images[:, None]
    if images.ndim != 5 or not images.is_floating_point():
        raise ConfigError(f"images of shape {tuple(images.shape)} and {images.dtype}: want (b, 3, H, W) or (b, t, 3, H, W), prepared")
    return images


def as_rgb(picture: Picture) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of a PIL image of any mode, or of what is that already. Raises ConfigError."""
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    if not isinstance(picture, np.ndarray):
        raise ConfigError(f"picture of type {type(picture).__name__}: want (H, W, 3) uint8 RGB, or a PIL image")
    check(picture)
    return picture


def check(rgb: NDArray[np.uint8]) -> None:
    """Raise ConfigError for what is no picture."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ConfigError(f"picture of shape {rgb.shape} and dtype {rgb.dtype}: want (H, W, 3) uint8 RGB")
