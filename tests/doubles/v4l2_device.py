"""Stands for OpenCV's capture of a V4L2 device, which needs a kernel driver: repeats a picture, stamped as drivers do, until unplugged."""

from __future__ import annotations

import time

import cv2
import numpy as np

PERIOD_S = 0.02


class V4L2Device:
    """What is plugged in; `capture` replaces `cv2.VideoCapture`."""

    def __init__(self) -> None:
        self.picture = np.zeros((240, 320, 3), dtype=np.uint8)  # RGB
        self.plugged = True
        self.asked: dict[int, float] = {}  # properties that were set
        self.granted: dict[int, float] = {}  # instead of what was asked
        self.late_ms = 2.0  # exposure to arrival, by the driver's stamp
        self.opened: list[tuple[str, int]] = []

    def capture(self, device: str, backend: int) -> Capture:
        self.opened.append((device, backend))
        return Capture(self)


class Capture:
    def __init__(self, device: V4L2Device) -> None:
        self._device = device
        self._stamp_ms = 0.0

    def isOpened(self) -> bool:
        return self._device.plugged

    def set(self, key: int, value: float) -> bool:
        self._device.asked[key] = value
        return True

    def get(self, key: int) -> float:
        if key == cv2.CAP_PROP_POS_MSEC:
            return self._stamp_ms
        return self._device.granted.get(key, self._device.asked.get(key, 0.0))

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(PERIOD_S)  # the device's own rate
        if not self._device.plugged:
            return False, None
        self._stamp_ms = time.monotonic_ns() * 1e-6 - self._device.late_ms
        return True, self._device.picture[..., ::-1].copy()

    def release(self) -> None:
        pass
