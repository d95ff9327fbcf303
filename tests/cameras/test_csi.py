"""A Jetson's CSI camera: the exact pipeline, and what is said where there is no Jetson. The picture itself only a Jetson can prove."""

from __future__ import annotations

import shutil
from contextlib import closing

import pytest

from edge_vla.cameras import make_camera
from edge_vla.cameras.csi import source
from edge_vla.cameras.wanted import Wanted
from edge_vla.errors import CameraError, ConfigError
from tests.cameras.rigs import NO_GSTREAMER

WANTED = Wanted(640, 480, 30)


def test_the_pipeline_is_built_from_size_rate_and_sensor() -> None:
    assert source(WANTED, 1, 0) == (
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=640,height=480,framerate=30/1,format=NV12 ! "
        "nvvidconv flip-method=0 ! video/x-raw,format=BGRx,width=640,height=480"
    )


@pytest.mark.parametrize(
    ("rotation", "flip", "sensor"),
    [(0, 0, "640,height=480"), (90, 3, "480,height=640"), (180, 2, "640,height=480"), (270, 1, "480,height=640")],
)
def test_a_turned_camera_is_asked_for_the_size_before_it_is_turned(rotation: int, flip: int, sensor: str) -> None:
    text = source(WANTED, 0, rotation)
    assert f"(memory:NVMM),width={sensor},framerate=30/1" in text
    assert text.endswith(f"nvvidconv flip-method={flip} ! video/x-raw,format=BGRx,width=640,height=480")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rotation": 45}, "rotation = 45: want one of 0, 90, 180, 270"),
        ({"rotation": -90}, "rotation = -90"),
        ({"sensor_id": -1}, "sensor_id = -1: want 0 to 15"),
        ({"sensor_id": 16}, "sensor_id = 16: want 0 to 15"),
        ({"sensor": 1}, "'sensor' is unknown; did you mean 'sensor_id'"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_camera("csi", options, WANTED)


@pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason=NO_GSTREAMER)
@pytest.mark.skipif(shutil.which("nvargus-daemon") is not None, reason="this is a Jetson")
def test_without_a_jetson_the_error_says_that_it_wants_one() -> None:
    with pytest.raises(CameraError) as caught:
        make_camera("csi", {"sensor_id": 1}, WANTED)
    said = str(caught.value)
    assert 'no element "nvarguscamerasrc"; CSI cameras want a Jetson with its driver' in said
    assert "tried: gst-launch-1.0 nvarguscamerasrc sensor-id=1" in said
    assert "video devices here: " in said


@pytest.mark.jetson
def test_on_a_jetson_frames_come_in_the_size_asked_for() -> None:
    with closing(make_camera("csi", {}, WANTED)) as camera:
        assert camera.read(15.0).rgb.shape == (480, 640, 3)
