"""The simulated camera: renders the robot's view offscreen, adds seeded sensor noise, and knows the true boxes."""

import mujoco
import numpy as np
from numpy.typing import NDArray

from edge_vla.types import Box


class Eye:
    """Renders `eye` of a world. Needs the thread that created it (a GL context is bound to one thread)."""

    def __init__(self, model: mujoco.MjModel, width: int = 320, height: int = 240, *, shadows: bool = True) -> None:
        self._model = model
        self._renderer = mujoco.Renderer(model, height, width)
        self._shadows = shadows

    def rgb(self, data: mujoco.MjData) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 without sensor noise."""
        self._renderer.disable_segmentation_rendering()
        self._renderer.update_scene(data, "eye")
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = self._shadows
        rgb: NDArray[np.uint8] = self._renderer.render().copy()
        return rgb

    def things(self, data: mujoco.MjData, geom_to_thing: NDArray[np.int32]) -> NDArray[np.int32]:
        """(H, W) index of the thing seen at each pixel, -1 where there is none."""
        self._renderer.enable_segmentation_rendering()
        self._renderer.update_scene(data, "eye")
        seen = self._renderer.render()
        is_geom = seen[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM)
        return np.where(is_geom, geom_to_thing[np.where(is_geom, seen[..., 0], 0)], -1).astype(np.int32)

    def upload_textures(self) -> None:
        """Bring textures changed on the model to the renderer."""
        context = self._renderer._mjr_context
        for tex in range(self._model.ntex):
            mujoco.mjr_uploadTexture(self._model, context, tex)

    def close(self) -> None:
        self._renderer.close()


def visible_boxes(seen: NDArray[np.int32], count: int) -> list[tuple[Box, int] | None]:
    """For each of `count` things its visible box (fractions of the image) and pixel count, None if unseen."""
    height, width = seen.shape
    found: list[tuple[Box, int] | None] = [None] * count
    for index in np.unique(seen[seen >= 0]):
        rows, cols = np.nonzero(seen == index)
        box = Box(rows.min() / height, cols.min() / width, (rows.max() + 1) / height, (cols.max() + 1) / width)
        found[int(index)] = (box, len(rows))
    return found


class SensorNoise:
    """Seeded read noise, gain and white-balance drift, so that no two frames are ever identical."""

    def __init__(self, seed: int, shape: tuple[int, int, int] = (240, 320, 3)) -> None:
        self._rng = np.random.default_rng([seed, 7])
        self._sigma = self._rng.uniform(1.0, 5.0)
        self._gain = self._rng.uniform(0.85, 1.15) * self._rng.uniform(0.94, 1.06, 3)
        self._bank = (self._rng.standard_normal((shape[0] * 2, shape[1], shape[2])) * self._sigma).astype(np.float32)
        self._shape = shape

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame as the sensor would read it."""
        row, shift = int(self._rng.integers(self._shape[0])), int(self._rng.integers(self._shape[1]))
        noise = np.roll(self._bank[row : row + self._shape[0]], shift, axis=1)
        read: NDArray[np.uint8] = np.clip(rgb * self._gain.astype(np.float32) + noise, 0, 255).astype(np.uint8)
        return read
