"""V4L2: what is asked of the driver and what it grants, whose stamp a frame carries, and what exists where a device does not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge_vla.cameras import devices, make_camera
from edge_vla.cameras.v4l2 import BELIEVED_NS, fourcc, stamp
from edge_vla.cameras.wanted import Wanted
from edge_vla.errors import CameraError, ConfigError
from tests.cameras.rigs import V4L2Rig
from tests.cameras.test_contract import picture
from tests.cameras.test_gstreamer import read_to_the_end

NOW = 5_000_000_000_000
MJPG = float(cv2.VideoWriter.fourcc(*"MJPG"))
YUYV = float(cv2.VideoWriter.fourcc(*"YUYV"))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[V4L2Rig]:
    rig = V4L2Rig(tmp_path)
    yield rig
    rig.close()


@pytest.mark.parametrize(
    ("driver_ns", "good", "why"),
    [
        (NOW, True, ""),
        (NOW - 1_000_000, True, ""),
        (NOW - BELIEVED_NS + 1_000_000, True, ""),
        (NOW - BELIEVED_NS, False, "1.0 s old"),
        (NOW + 1_000_000, False, "0.001 s in the future"),
        (NOW + 1_700_000_000_000_000_000, False, "in the future"),  # the wall clock's
        (0, False, "gives no stamp"),
        (-1_000_000, False, "gives no stamp"),
        (float("nan"), False, "gives no stamp"),
        (float("inf"), False, "gives no stamp"),
    ],
)
def test_the_drivers_stamp_is_believed_when_it_can_be_this_clocks(driver_ns: float, good: bool, why: str) -> None:
    t_ns, said = stamp(driver_ns * 1e-6, NOW)
    assert t_ns == (driver_ns if good else NOW)
    assert bool(said) is not good
    assert why in said


def test_frames_carry_the_drivers_stamp(rig: V4L2Rig) -> None:
    rig.device.late_ms = 30.0
    with closing(rig.open(picture(90))) as camera:
        rig.show(picture(90))
        came_ns = camera.read(20.0).t_capture_ns
        rig.device.late_ms = 5000.0
        rig.show(picture(120))
        assert camera.read(20.0).t_capture_ns > came_ns + 25_000_000  # on arrival now: 30 ms nearer to its moment
        assert "stamped on arrival, the driver's stamp is 5.0 s old" in camera.notice


def test_what_is_asked_of_the_driver(rig: V4L2Rig) -> None:
    with closing(rig.open(picture(90), format="MJPG")):
        assert rig.device.opened == [(str(rig.path), cv2.CAP_V4L2)]
        keys = (cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS, cv2.CAP_PROP_BUFFERSIZE)
        assert list(rig.device.asked.items()) == list(zip(keys, (MJPG, 320, 240, 15, 2), strict=True))  # the format first


@pytest.mark.parametrize(
    ("granted", "said"),
    [
        ({cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FRAME_HEIGHT: 480.0}, "the profile wants 320x240 and the device gives 640x480"),
        ({cv2.CAP_PROP_FOURCC: YUYV}, "the profile wants the format MJPG and the device gives YUYV"),
    ],
)
def test_what_was_not_granted_is_refused_with_both(rig: V4L2Rig, granted: dict[int, float], said: str) -> None:
    rig.device.granted = granted
    with pytest.raises(CameraError, match=said):
        rig.open(picture(90), format="MJPG")


def test_another_size_may_be_resized(rig: V4L2Rig) -> None:
    rig.device.granted = {cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FRAME_HEIGHT: 480.0}
    with closing(rig.open(picture(90, 480, 640), fit="resize")) as camera:
        assert camera.read(20.0).rgb.shape == (240, 320, 3)


def test_another_size_in_mid_run_ends_it(rig: V4L2Rig) -> None:
    with closing(rig.open(picture(90))) as camera:
        camera.read(20.0)
        rig.set(picture(90, 120, 160))
        with pytest.raises(CameraError, match="wants 320x240 and the device gives 160x120"):
            read_to_the_end(camera)


def test_a_slower_device_is_noticed(rig: V4L2Rig) -> None:
    rig.device.granted = {cv2.CAP_PROP_FPS: 10.0, cv2.CAP_PROP_FOURCC: YUYV}
    with closing(rig.open(picture(90))) as camera:
        assert "wants 15 frames a second, the device gives 10 of YUYV" in camera.notice


@pytest.mark.parametrize("form", ["MJPEG", "mjpg", "RGB3"])
def test_an_unknown_format_is_refused(form: str) -> None:
    with pytest.raises(ConfigError, match="option format"):
        make_camera("v4l2", {"format": form}, Wanted(320, 240, 15))


def test_what_cannot_be_opened_is_named_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(device: Path | str) -> str:
        with pytest.raises(CameraError) as caught:
            make_camera("v4l2", {"device": str(device)}, Wanted(320, 240, 15))
        assert f"v4l2 camera {device}: " in str(caught.value)
        assert "video devices here: " in str(caught.value)
        return str(caught.value)

    assert "No such file or directory" in said(tmp_path / "video7")
    (tmp_path / "file").touch()
    assert "it is no device" in said(tmp_path / "file")
    assert "no camera, or in use by another program" in said("/dev/null")  # OpenCV itself, on a device that is none of its
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "usermod -aG video" in said("/dev/null")


def test_what_exists_is_told_by_device_name_and_lasting_name(tmp_path: Path) -> None:
    assert devices.told(tmp_path) == "video devices here: none"
    for node, name in (("video10", "vi-output, imx219 9-0010\n"), ("video0", "HD USB Camera\n"), ("video1", None)):
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev" / node).touch()
        if name:
            (tmp_path / "sys/class/video4linux" / node).mkdir(parents=True)
            (tmp_path / "sys/class/video4linux" / node / "name").write_text(name)
    (tmp_path / "dev/v4l/by-id").mkdir(parents=True)
    (tmp_path / "dev/v4l/by-id/usb-HD_Camera-video-index0").symlink_to("../../video0")
    assert devices.told(tmp_path) == (
        "video devices here: /dev/video0 (HD USB Camera), /dev/video1 (no name), /dev/video10 (vi-output, imx219 9-0010), "
        "/dev/v4l/by-id/usb-HD_Camera-video-index0 -> /dev/video0"
    )


def test_four_letters_of_a_format() -> None:
    assert (fourcc(MJPG), fourcc(YUYV), fourcc(0.0), fourcc(-1.0)) == ("MJPG", "YUYV", "unknown", "\ufffd" * 4)


@pytest.mark.jetson
def test_on_a_robot_frames_come_with_the_drivers_stamp() -> None:
    assert stat.S_ISCHR(Path("/dev/video0").stat().st_mode)
    camera: Any
    with closing(make_camera("v4l2", {}, Wanted(640, 480, 30))) as camera:
        stamps = [camera.read(5.0).t_capture_ns for _ in range(60)]
        assert camera.notice == ""
    assert 25 < 59 / ((stamps[-1] - stamps[0]) * 1e-9) < 35
