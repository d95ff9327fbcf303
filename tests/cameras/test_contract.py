"""What every camera keeps to. A camera joins by its line in edge_vla.cameras.CAMERAS and its rig in conftest.py."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from edge_vla.cameras import make_camera
from edge_vla.errors import CameraError, ConfigError

READ_S = 20.0  # patience where a frame is sure to come
NONE_S = 0.02


def picture(value: int, height: int = 240, width: int = 320) -> np.ndarray:
    """A frame that names itself and cannot be mistaken for its mirror image or its transpose."""
    rgb = np.full((height, width, 3), value, dtype=np.uint8)
    rgb[0, 0], rgb[0, -1], rgb[-1, 0] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    return rgb


def test_a_frame_arrives_as_it_was_exposed(rig: Any) -> None:
    with closing(rig.open()) as camera:
        before_ns = time.monotonic_ns()
        rig.show(picture(90))
        frame = camera.read(READ_S)
        assert before_ns <= frame.t_capture_ns <= time.monotonic_ns()
        assert (frame.rgb.dtype, frame.rgb.shape, frame.rgb.flags.c_contiguous) == (np.uint8, (240, 320, 3), True)
        assert np.array_equal(frame.rgb, picture(90))


def test_numbers_and_stamps_strictly_increase(rig: Any) -> None:
    with closing(rig.open()) as camera:
        frames = []
        for value in range(5):
            rig.show(picture(value))
            frames.append(camera.read(READ_S))
    assert all(b.seq > a.seq and b.t_capture_ns > a.t_capture_ns for a, b in itertools.pairwise(frames))
    assert [int(frame.rgb[5, 5, 0]) for frame in frames] == [0, 1, 2, 3, 4]


def test_the_newest_wins_and_the_rest_is_counted(rig: Any) -> None:
    with closing(rig.open()) as camera:
        for value in (10, 20, 30):
            rig.show(picture(value))
        assert camera.read(READ_S).rgb[5, 5, 0] == 30
        assert camera.dropped == 2


def test_a_frame_is_read_once(rig: Any) -> None:
    with closing(rig.open()) as camera:
        rig.show(picture(10))
        camera.read(READ_S)
        with pytest.raises(CameraError, match=f"no frame for {NONE_S} s"):
            camera.read(NONE_S)
        rig.show(picture(20))
        assert camera.read(READ_S).rgb[5, 5, 0] == 20


def test_a_frame_outlives_the_ones_after_it(rig: Any) -> None:
    """No buffer is used twice: SEE may still look at a frame when the next is here."""
    with closing(rig.open()) as camera:
        rig.show(picture(10))
        first = camera.read(READ_S)
        rig.show(picture(20))
        camera.read(READ_S)
        assert np.array_equal(first.rgb, picture(10))


def wait_in_thread(camera: Any) -> tuple[threading.Thread, list[object]]:
    """A reader with far more patience than this test has."""
    got: list[object] = []

    def read() -> None:
        try:
            got.append(int(camera.read(1e6).rgb[5, 5, 0]))
        except CameraError as err:
            got.append(err)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    return reader, got


def test_a_reader_that_waits_is_woken(rig: Any) -> None:
    with closing(rig.open()) as camera:
        reader, got = wait_in_thread(camera)
        rig.show(picture(40))
        reader.join(READ_S)
        assert got == [40]


def test_unplugged_is_an_error_at_once_and_stays_one(rig: Any) -> None:
    with closing(rig.open()) as camera:
        rig.show(picture(10))
        camera.read(READ_S)
        reader, got = wait_in_thread(camera)
        rig.unplug()
        reader.join(READ_S)
        assert "ended" in str(got)
        with pytest.raises(CameraError, match="ended"):
            camera.read(READ_S)


def test_closing_twice_is_closing_and_leaves_no_thread(rig: Any) -> None:
    before = set(threading.enumerate())
    camera = rig.open()
    rig.show(picture(10))
    camera.close()
    camera.close()
    assert set(threading.enumerate()) == before
    camera.read(NONE_S)  # what had arrived may still be looked at
    with pytest.raises(CameraError):
        camera.read(NONE_S)


def test_a_device_that_is_not_there_is_refused(rig: Any) -> None:
    rig.unplug()
    with pytest.raises(CameraError):
        rig.open()


def test_an_unknown_camera_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'simulatr' is unknown; did you mean 'simulator'"):
        make_camera("simulatr")


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"camera 'simulator'.*pathh"):
        make_camera("simulator", {"pathh": "x"})
