"""Pictures as the trainer takes them, PIL images among them, to tensors. How they are prepared is `edge_vla.pictures`."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.pictures import Preparation, check, prepare

Picture = Image.Image | NDArray[np.uint8]  # of any size; an array is (H, W, 3) RGB
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)


def prepared(rgb: NDArray[np.uint8], how: Preparation) -> Tensor:
    """(H, W, 3) uint8 to (3, height, width) float32. Raises ConfigError for what is no picture."""
    return torch.from_numpy(prepare(rgb, how))


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
