"""What a profile may say of a camera: options are checked by name and type before anything is opened."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge_vla.cameras import CAMERAS, check_options, make_camera
from edge_vla.cameras.opening import STAYS_GONE, open_camera
from edge_vla.cameras.reopen import Reopening
from edge_vla.cameras.wanted import Wanted
from edge_vla.config import CameraProfile, RobotProfile
from edge_vla.errors import ConfigError
from tests.cameras.rigs import ImagesRig, V4L2Rig
from tests.cameras.test_contract import picture

OPTIONS = {
    "simulator": {"path"},
    "v4l2": {"device", "format", "fit"},
    "csi": {"sensor_id", "rotation", "latency_ms"},
    "gstreamer": {"pipeline", "latency_ms", "fit"},
    "rtsp": {"url", "latency_ms", "fit"},
    "http": {"url", "latency_ms", "fit"},
    "video": {"file", "loop", "fit"},
    "images": {"folder", "loop", "fit"},
}


@pytest.mark.parametrize("kind", CAMERAS)
def test_every_option_is_in_the_documentation_and_in_the_refusal_of_another(kind: str, checkout: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check_options(kind, {"no_such": 1})
    assert set(str(caught.value).split("There are: ")[1].split(", ")) == OPTIONS[kind]
    text = (checkout / "docs/cameras.md").read_text("utf-8")
    assert f"`{kind}`" in text
    assert kind == "simulator" or all(f"`{option}`" in text for option in OPTIONS[kind])


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (
            "v4l2",
            {"devise": "/dev/video0"},
            "camera 'v4l2': option 'devise' is unknown; did you mean 'device'? There are: device, format, fit",
        ),
        ("v4l2", {"device": 0}, "camera 'v4l2': option device = 0: want str"),
        ("csi", {"sensor_id": 1.5}, "camera 'csi': option sensor_id = 1.5: want int"),
        ("csi", {"sensor_id": True}, "camera 'csi': option sensor_id = True: want int"),
        ("csi", {"latency_ms": True}, "camera 'csi': option latency_ms = True: want float"),
        ("video", {"file": "x", "loop": 1}, "camera 'video': option loop = 1: want bool"),
        ("video", {}, "camera 'video' wants the option 'file'"),
        ("rtsp", {}, "camera 'rtsp' wants the option 'url'"),
        ("gstreamer", {"latency_ms": 5}, "camera 'gstreamer' wants the option 'pipeline'"),
        ("simulator", {}, "camera 'simulator' wants the option 'path'"),
        ("v4l2", {"wanted": 3}, "option 'wanted' is unknown"),
    ],
)
def test_a_wrong_option_is_named(kind: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_camera(kind, options, Wanted(320, 240, 15))
    assert said in str(caught.value)


@pytest.mark.parametrize("key", ["width", "height", "fps"])
def test_the_profiles_own_keys_are_no_options(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[camera\] options\.{key}: write {key} into \[camera\] itself"):
        open_camera(CameraProfile(kind="images", options={"folder": "x", key: 640}), None)


def test_width_height_and_rate_of_the_profile_reach_the_camera(tmp_path: Path) -> None:
    rig = V4L2Rig(tmp_path)
    profile = CameraProfile(kind="v4l2", width=320, height=240, fps=25, options={"device": str(rig.path)})
    camera: Any
    with closing(open_camera(profile, None)) as camera:
        assert camera._camera._wanted == Wanted(320, 240, 25)
    rig.close()


def test_only_what_has_a_device_is_opened_again(tmp_path: Path) -> None:
    rig = ImagesRig(tmp_path)
    rig.open(picture(50)).close()
    camera: Any
    with closing(open_camera(CameraProfile(kind="images", options={"folder": str(rig.path)}), None)) as camera:
        assert not isinstance(camera, Reopening)
    assert set(STAYS_GONE) < set(CAMERAS)


def test_a_recorded_profile_has_no_password() -> None:
    profile = CameraProfile(kind="rtsp", options={"url": "rtsp://me:hunter2@h/x", "latency_ms": 80})
    assert profile.options["url"] == "rtsp://me:hunter2@h/x"
    robot = RobotProfile.model_construct(camera=profile)
    for dumped in (profile.model_dump(), profile.model_dump_json(), robot.model_dump()):
        assert "me:***@h" in str(dumped)
        assert "hunter2" not in str(dumped)
