"""What every camera keeps to. A camera joins by its line in edge_vla.cameras.CAMERAS and its rig in rigs.py."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from edge_vla.cameras import CAMERAS, make_camera
from edge_vla.config import CAMERA_KINDS
from edge_vla.errors import CameraError, ConfigError
from tests.cameras.conftest import EXCEPTIONS
from tests.cameras.pictures import same

READ_S = 20.0  # patience where a frame is sure to come
NONE_S = 0.02


def picture(value: int, height: int = 240, width: int = 320) -> np.ndarray:
    """A frame that names itself and cannot be mistaken for its mirror image or its transpose, nor red for blue."""
    rgb = np.full((height, width, 3), value, dtype=np.uint8)
    rgb[:16, :16], rgb[:16, -16:], rgb[-16:, :16] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    return rgb


def level(rig: Any, frame: Any, values: tuple[int, ...]) -> int:
    """Which of `values` a frame shows: 0 when it is none of them."""
    seen = int(frame.rgb[100, 100, 0])
    return next((value for value in values if abs(seen - value) <= rig.tolerance), 0)


def test_a_frame_arrives_as_it_was_exposed(rig: Any) -> None:
    before_ns = time.monotonic_ns()
    with closing(rig.open(picture(90))) as camera:
        rig.show(picture(90))
        frame = camera.read(READ_S)
        assert before_ns <= frame.t_capture_ns <= time.monotonic_ns()
        assert (frame.rgb.dtype, frame.rgb.shape, frame.rgb.flags.c_contiguous) == (np.uint8, (240, 320, 3), True)
        assert same(frame.rgb, picture(90), rig.tolerance)


def test_numbers_and_stamps_strictly_increase(rig: Any) -> None:
    values = (40, 80, 120, 160, 200)
    frames = []
    with closing(rig.open(*map(picture, values))) as camera:
        for value in values:
            rig.show(picture(value))
            frames.append(camera.read(READ_S))
    assert all(b.seq > a.seq and b.t_capture_ns > a.t_capture_ns for a, b in itertools.pairwise(frames))
    assert tuple(level(rig, frame, values) for frame in frames) == values


def test_the_newest_wins_and_the_rest_is_counted(rig: Any) -> None:
    values = (50, 100, 150)
    with closing(rig.open(*map(picture, values))) as camera:
        for value in values:
            rig.show(picture(value))
        assert level(rig, camera.read(READ_S), values) == 150
        assert camera.dropped == 2 or (rig.repeats and camera.dropped > 2)


def test_a_frame_is_read_once(rig: Any) -> None:
    with closing(rig.open(picture(10), picture(20))) as camera:
        rig.show(picture(10))
        camera.read(READ_S)
        with pytest.raises(CameraError, match=f"no frame for {NONE_S} s"):
            camera.read(NONE_S)
        rig.show(picture(20))
        assert camera.read(READ_S).rgb[100, 100, 0] == 20


def test_a_frame_outlives_the_ones_after_it(rig: Any) -> None:
    """No buffer is used twice: SEE may still look at a frame when the next is here."""
    with closing(rig.open(picture(50), picture(100))) as camera:
        rig.show(picture(50))
        first = camera.read(READ_S)
        rig.show(picture(100))
        camera.read(READ_S)
        assert same(first.rgb, picture(50), rig.tolerance)
        assert not first.rgb.flags.writeable


def wait_in_thread(camera: Any, *, until_error: bool = False) -> tuple[threading.Thread, list[Any]]:
    """A reader with far more patience than this test has."""
    got: list[Any] = []

    def read() -> None:
        try:
            got.append(camera.read(1e6))
            while until_error:
                camera.read(1e6)
        except CameraError as err:
            got[:] = [str(err)]

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    return reader, got


def test_a_reader_that_waits_is_woken(rig: Any) -> None:
    with closing(rig.open(picture(40))) as camera:
        reader, got = wait_in_thread(camera)
        if rig.repeats:
            rig.set(picture(40))
        else:
            rig.show(picture(40))
        reader.join(READ_S)
        assert [level(rig, frame, (40,)) for frame in got] == [40]


def test_unplugged_is_an_error_at_once_and_stays_one(rig: Any) -> None:
    with closing(rig.open(picture(10))) as camera:
        rig.show(picture(10))
        camera.read(READ_S)
        reader, got = wait_in_thread(camera, until_error=True)
        rig.unplug()
        reader.join(READ_S)
        assert "ended" in str(got)
        with pytest.raises(CameraError, match="ended"):
            camera.read(READ_S)


def test_closing_twice_is_closing_and_leaves_no_thread(rig: Any) -> None:
    before = set(threading.enumerate())
    camera = rig.open(picture(10))
    rig.show(picture(10))
    camera.close()
    camera.close()
    assert set(threading.enumerate()) == before
    camera.read(NONE_S)  # what had arrived may still be looked at
    with pytest.raises(CameraError):
        camera.read(NONE_S)


def test_a_device_that_is_not_there_is_refused(rig: Any) -> None:
    before = set(threading.enumerate())
    rig.unplug()
    with pytest.raises(CameraError):
        rig.open()
    assert set(threading.enumerate()) == before


def test_every_exception_is_of_a_test_and_a_camera_that_exist() -> None:
    assert all(kind in CAMERAS and test in globals() for kind, test in EXCEPTIONS)
    assert len(EXCEPTIONS) == 3


def test_a_profile_knows_the_cameras_by_name() -> None:
    assert set(CAMERA_KINDS) == set(CAMERAS)


def test_an_unknown_camera_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'simulatr' is unknown; did you mean 'simulator'"):
        make_camera("simulatr")


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"camera 'simulator'.*pathh"):
        make_camera("simulator", {"pathh": "x"})
