"""What a robot profile makes of calibration files: they fill in what was measured, and contradictions name both sides."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from edge_vla.calibration import (
    CameraCalibration,
    DelayCalibration,
    WheelsCalibration,
    hfov_deg,
    read_calibration,
)
from edge_vla.config import RobotProfile, load_profile
from edge_vla.errors import ConfigError
from edge_vla.robot import camera_pose, guard_limits

REAL = """
[robot]
domain = "real"
[base]
kind = "waveshare"
port = "/dev/ttyTHS1"
max_wheel_mps = 0.6
{base}
[camera]
kind = "v4l2"
height_m = 0.2
pitch_deg = 5.0
forward_m = 0.08
{camera}
{rest}
"""
HFOV, TRACK = "hfov_deg = 78.0", "track_m = 0.172"
Load = Callable[..., RobotProfile]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """load(camera=..., base=..., rest=..., text=...): a real robot's profile in tmp_path, read."""

    def from_parts(camera: str = HFOV, base: str = TRACK, rest: str = "", text: str = "") -> RobotProfile:
        path = tmp_path / "robot.toml"
        path.write_text(text or REAL.format(camera=camera, base=base, rest=rest), "utf-8")
        return load_profile(path)

    return from_parts


# -- the files


def test_a_file_is_read_as_it_was_written(write_file) -> None:
    found = read_calibration(write_file("camera"), CameraCalibration)
    assert (found.fx, found.cy, found.distortion[0], found.views) == (520.0, 236.0, -0.2, 20)
    assert isinstance(found.made, datetime)
    assert found.made.tzinfo is not None
    assert {"edge_vla", "python"} <= set(found.versions)
    assert read_calibration(write_file("wheels"), WheelsCalibration).track_m == 0.18576
    assert read_calibration(write_file("delay"), DelayCalibration).reaction_s == 0.26


def test_the_field_of_view_is_the_pinholes() -> None:
    assert hfov_deg(320.0, 640) == pytest.approx(90.0)
    assert hfov_deg(520.0, 640) == pytest.approx(63.2150, abs=1e-3)


@pytest.mark.parametrize(
    ("model", "kind", "changes", "message"),
    [
        (CameraCalibration, "wheels", {}, r"kind = 'wheels', want 'camera'"),
        (CameraCalibration, "camera", {"version": 2}, r"version: Input should be 1, got '2'"),
        (CameraCalibration, "camera", {"fx": None}, r"fx: Field required"),
        (CameraCalibration, "camera", {"fz": 1.0}, r"fz: Extra inputs"),
        (CameraCalibration, "camera", {"fx": 0.0}, r"fx: Input should be greater than 0"),
        (CameraCalibration, "camera", {"hfov_deg": 63.3}, r"hfov_deg = 63.3: fx = 520.0 at width = 640 is 63.215"),
        (CameraCalibration, "camera", {"cx": 640.0}, r"cx, cy = 640.0, 236.0: want a point of the 640 x 480 picture"),
        (CameraCalibration, "camera", {"distortion": [0.0] * 4}, r"distortion: List should have at least 5"),
        (WheelsCalibration, "wheels", {"scale": 0.96}, r"scale = 0.96: the drive it comes from says 0.95000"),
        (WheelsCalibration, "wheels", {"track_m": 0.172}, r"track_m = 0.172: the drive it comes from says 0.18576"),
        (WheelsCalibration, "wheels", {"measured_turn_deg": 0.0}, r"track_m = 0.18576: the drive it comes from says nan"),
        (WheelsCalibration, "wheels", {"scale": 1.5}, r"scale: Input should be less than or equal to 1.4"),
        (DelayCalibration, "delay", {"reaction_s": 0.3}, r"reaction_s = 0.3: want delay_s \+ tau_s = 0.2600"),
        (DelayCalibration, "delay", {"made": "2026-01-01"}, r"made: Input should be a valid datetime"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused(write_file, model, kind: str, changes: dict, message: str) -> None:
    path = write_file(kind, **changes)
    with pytest.raises(ConfigError, match=message) as caught:
        read_calibration(path, model)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_number_that_is_none_is_refused(write_file, number: str) -> None:
    path = write_file("delay")
    path.write_text(path.read_text().replace("gain = 1.0", f"gain = {number}"))
    with pytest.raises(ConfigError, match=r"gain: Input should be"):
        read_calibration(path, DelayCalibration)


def test_a_missing_or_broken_file_says_which_command_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: No such file or directory; `python -m calib camera` writes it"):
        read_calibration(tmp_path / "no.toml", CameraCalibration)
    (tmp_path / "broken.toml").write_text("kind = ")
    with pytest.raises(ConfigError, match=r"broken\.toml is not TOML"):
        read_calibration(tmp_path / "broken.toml", CameraCalibration)


# -- the camera


def test_a_calibrated_camera_says_its_size_and_field_of_view(load: Load, write_file) -> None:
    write_file("camera")
    profile = load(camera='calibration = "camera.toml"')
    assert (profile.camera.width, profile.camera.height, profile.camera.hfov_deg) == (640, 480, 63.215)
    assert camera_pose(profile).hfov_rad == pytest.approx(math.radians(63.215))
    assert profile.camera.calibration == "camera.toml"


def test_the_file_is_looked_for_beside_the_profile(load: Load, write_file, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "measured").mkdir()
    write_file("camera", "measured/c.toml")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load(camera='calibration = "measured/c.toml"').camera.hfov_deg == 63.215


def test_the_same_field_of_view_may_be_said_twice(load: Load, write_file) -> None:
    write_file("camera")
    assert load(camera='calibration = "camera.toml"\nhfov_deg = 63.25').camera.hfov_deg == 63.25
    with pytest.raises(
        ConfigError, match=r"\[camera\] hfov_deg = 63\.3 and calibration = 'camera\.toml' \(hfov_deg = 63\.215\) contradict"
    ):
        load(camera='calibration = "camera.toml"\nhfov_deg = 63.3')


@pytest.mark.parametrize(("key", "value", "measured"), [("width", 1280, 640), ("height", 360, 480)])
def test_a_camera_is_calibrated_at_the_size_that_is_used(load: Load, write_file, key: str, value: int, measured: int) -> None:
    write_file("camera")
    message = rf"robot\.toml: \[camera\] {key} = {value} and calibration = 'camera\.toml' \({key} = {measured}\) contradict each other"
    with pytest.raises(ConfigError, match=message):
        load(camera=f'calibration = "camera.toml"\n{key} = {value}')


def test_a_missing_file_is_named_with_the_profile(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"robot profile .*robot\.toml: .*camera\.toml: No such file"):
        load(camera='calibration = "camera.toml"')


def test_without_a_calibration_a_real_camera_still_has_to_say_its_field_of_view(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"no default for camera\.hfov_deg"):
        load(camera="")


# -- wheels and delay


def test_measured_wheels_say_the_track(load: Load, write_file) -> None:
    write_file("wheels")
    assert load(base='wheels = "wheels.toml"').base.track_m == 0.18576
    assert load(base='wheels = "wheels.toml"\ntrack_m = 0.186').base.track_m == 0.186
    with pytest.raises(ConfigError, match=r"\[base\] track_m = 0\.172 and wheels = 'wheels\.toml' \(track_m = 0\.18576\) contradict"):
        load(base='wheels = "wheels.toml"\ntrack_m = 0.172')


def test_a_slow_robot_plans_its_stops_longer(load: Load, write_file) -> None:
    write_file("delay")
    profile = load(base=f'{TRACK}\ndelay = "delay.toml"')
    assert profile.limits.reaction_s == 0.26
    assert guard_limits(profile).reaction_s == 0.26


def test_a_quick_robot_plans_no_shorter_than_the_guard(load: Load, write_file) -> None:
    write_file("delay", delay_s=0.02, tau_s=0.05, reaction_s=0.07)
    profile = load(base=f'{TRACK}\ndelay = "delay.toml"')
    assert guard_limits(profile).reaction_s == 0.2


def test_a_reaction_may_be_longer_than_measured_and_not_shorter(load: Load, write_file) -> None:
    write_file("delay")
    base = f'{TRACK}\ndelay = "delay.toml"'
    assert load(base=base, rest="[limits]\nreaction_s = 0.3").limits.reaction_s == 0.3
    with pytest.raises(ConfigError, match=r"\[limits\] reaction_s = 0\.25 and delay = 'delay\.toml' \(reaction_s = 0\.26\) contradict"):
        load(base=base, rest="[limits]\nreaction_s = 0.25")


@pytest.mark.parametrize(("key", "kind"), [("wheels", "wheels"), ("delay", "delay")])
def test_a_simulated_robots_wheels_are_not_a_real_ones(load: Load, write_file, key: str, kind: str) -> None:
    write_file(kind, simulated=True)
    with pytest.raises(ConfigError, match=rf"{kind}\.toml was measured on a simulated robot, this one is real"):
        load(base=f'{key} = "{kind}.toml"\n{TRACK if key == "delay" else ""}')
    write_file(kind, simulated=False)
    with pytest.raises(ConfigError, match=rf"{kind}\.toml was measured on a real robot, this one is simulated"):
        load(text=f'[base]\n{key} = "{kind}.toml"')


@pytest.mark.parametrize("text", ["camera = 3", "[camera]\ncalibration = 3", "[base]\nwheels = true", "limits = 1\n[base]\ndelay = 1.5"])
def test_what_is_no_name_is_left_to_the_profiles_own_check(load: Load, text: str) -> None:
    with pytest.raises(ConfigError, match=r"\[(camera|base|limits)\]"):
        load(text=text)


def test_a_delay_beside_limits_that_are_no_table_is_told_as_such(load: Load, write_file) -> None:
    write_file("delay", simulated=True)
    with pytest.raises(ConfigError, match=r"\[limits\] = 1: wants a table"):
        load(text='limits = 1\n[base]\ndelay = "delay.toml"')
