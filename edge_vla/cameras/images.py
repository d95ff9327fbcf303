"""A folder of pictures as a camera: in the order of their names, at the profile's rate."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_vla.cameras.replayed import ReplayedCamera
from edge_vla.cameras.wanted import Wanted
from edge_vla.errors import CameraError

SUFFIXES = (".png", ".jpg", ".jpeg")


class ImagesCamera(ReplayedCamera):
    """The folder is listed once, when it is opened. `loop` begins again at the end."""

    def __init__(self, wanted: Wanted, folder: str, loop: bool = False, fit: str = "exact") -> None:  # noqa: FBT001, FBT002 - an option
        super().__init__(f"image folder {folder}", wanted, loop=loop, fit=fit)
        self._folder = Path(folder)
        self._paths: list[Path] = []
        self._index = -1
        self._start()

    def _open(self) -> None:
        if not self._folder.is_dir():
            raise CameraError(f"there is no such folder, looked for {self._folder.absolute()}")
        self._paths = sorted(path for path in self._folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not self._paths:
            there = sorted(path.name for path in self._folder.iterdir())[:5]
            raise CameraError(f"no {', '.join(SUFFIXES)} in it; there are: {', '.join(there) or 'no files'}")
        self._wanted.rgb(self._read(self._paths[0]), self._fit)

    def _next(self) -> int | None:
        self._index += 1
        return self._index * self._wanted.period_ns if self._index < len(self._paths) else None

    def _picture(self) -> NDArray[np.uint8]:
        return self._read(self._paths[self._index])

    def _read(self, path: Path) -> NDArray[np.uint8]:
        try:
            bgr = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_COLOR)
            if bgr is None:
                raise CameraError(f"{path.name} is no picture that can be read")
        except cv2.error as err:  # of an empty file
            raise CameraError(f"{path.name} is no picture that can be read: {path.stat().st_size} bytes") from err
        try:
            self._wanted.require(bgr.shape[1], bgr.shape[0], self._fit)
        except CameraError as err:
            raise CameraError(f"{path.name}: {err}") from err
        return np.asarray(bgr, dtype=np.uint8)

    def _rewind(self) -> None:
        self._index = -1

    def _release(self) -> None:
        """Nothing is open between two pictures."""
