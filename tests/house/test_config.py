"""Robot profiles: the defaults are the file, wrong keys and values are named with what is allowed, limits hold at their edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from edge_vla import places
from edge_vla.config import SIMULATOR_MOST, CameraProfile, LimitsProfile, RobotProfile, default_profile, load_profile, profile_file
from edge_vla.errors import ConfigError
from edge_vla.goals import Goal
from edge_vla.robot import make_plan, within
from edge_vla.sim.robot import RobotModel
from edge_vla.sim.settings import _RANGES, SimSettings

REAL = """
[robot]
domain = "real"
[base]
kind = "waveshare"
port = "/dev/ttyTHS1"
track_m = 0.172
max_wheel_mps = 0.6
[camera]
kind = "v4l2"
hfov_deg = 78.0
height_m = 0.2
pitch_deg = 5.0
forward_m = 0.08
"""

SIMULATED_RANGES = {
    **{("camera", key): _RANGES[key] for key in ("width", "height", "fps", "hfov_deg", "height_m", "pitch_deg", "forward_m")},
    **{("base", key): _RANGES[key] for key in ("baud",)},
}  # fmt: skip

Load = Callable[[str], RobotProfile]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def from_text(text: str) -> RobotProfile:
        path = tmp_path / "profile.toml"
        path.write_text(text, "utf-8")
        return load_profile(path)

    return from_text


def refusal(load: Load, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return str(caught.value)


# -- the files in launch/ ----------------------------------------------------------------------------------------------
def test_the_defaults_are_the_simulator_profile_key_by_key(checkout: Path) -> None:
    written = load_profile(checkout / "launch" / "sim.toml")
    assert written == RobotProfile()
    assert written.simulated
    for name in RobotProfile.model_fields:
        section = getattr(written, name)
        assert section.model_fields_set == set(type(section).model_fields), f"launch/sim.toml [{name}] does not show every key"


def test_every_profile_in_launch_loads(checkout: Path) -> None:
    profiles = {path.name: load_profile(path) for path in (checkout / "launch").glob("*.toml")}
    assert profiles["sim.toml"].simulated
    assert not profiles["waveshare_ugv.toml"].simulated


def test_the_simulated_robot_is_the_one_the_simulator_builds() -> None:
    profile, built = RobotProfile(), RobotModel()
    camera = profile.camera
    described = (profile.base.track_m, camera.height_m, camera.forward_m, camera.pitch_deg, camera.hfov_deg, camera.width / camera.height)
    assert described == (
        built.track_m, built.camera_height_m, built.camera_forward_m, built.camera_pitch_deg, built.hfov_deg, built.aspect,
    )  # fmt: skip


def test_the_profile_asks_for_no_more_than_the_guard_ever_allows() -> None:
    limits = pytest.importorskip("edge_vla.guard.limits")
    ceiling = {"max_linear_mps": limits.SPEED_CEILING_MPS, "max_angular_rps": limits.TURN_CEILING_RADPS}
    for key, most in ceiling.items():
        assert getattr(LimitsProfile.model_validate({key: most}), key) == most
        with pytest.raises(ValidationError):
            LimitsProfile.model_validate({key: math.nextafter(most, math.inf)})


def test_the_profile_refuses_what_the_simulator_would_refuse_later(load: Load) -> None:
    """Its own ranges, at every edge that a profile can reach."""
    for (section, key), (low, high) in SIMULATED_RANGES.items():
        for value in (low, high):
            try:
                load(f"[{section}]\n{key} = {value}")
            except ConfigError:
                continue  # the profile's own range is the narrower one
            SimSettings("run", **{key: value})
    for key, most in SIMULATOR_MOST.items():
        assert _RANGES[key][1] == most
        assert refusal(load, f"[camera]\n{key} = {most + 1}").endswith(f"[camera] {key} = {most + 1}: {told(key)} and <= {most}")
        assert not load(REAL + f"{key} = {most + 1}\n").simulated  # a real camera is what it is


def told(key: str) -> str:
    low = next(rule.ge for rule in CameraProfile.model_fields[key].metadata if hasattr(rule, "ge"))
    return f"the simulator wants an integer >= {low}"


def test_a_camera_that_sees_no_floor_near_enough_is_refused_for_what_drives_to_a_thing(load: Load) -> None:
    up = load("[camera]\npitch_deg = -30.0")
    with pytest.raises(ConfigError, match=r"pitch_deg = -30\.0, height_m = 0\.25 .* begins 8\.0\d m ahead, want at most 3\.0"):
        make_plan(up, Goal.FIND_OBJECT, "cup")
    make_plan(up, Goal.DESCRIBE_SCENE, None)  # needs no floor
    make_plan(load("[camera]\npitch_deg = -5.0"), Goal.NAVIGATE, "cup", stop_at_m=1.5)


# -- how fast, with which engine ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("linear", "angular", "want"),
    [(0.35, 1.0, (0.35, 1.0, 0.15)), (0.5, 1.0, (0.35, 1.0, 0.15)), (0.2, 1.0, (0.2, 1.0, 0.15)), (0.1, 0.5, (0.1, 0.5, 0.1))],
)
def test_no_faster_than_the_engine_was_evaluated(linear: float, angular: float, want: tuple[float, ...]) -> None:
    engine = SimpleNamespace(manifest=SimpleNamespace(max_linear_mps=linear, max_angular_rps=angular, name="small"))
    profile, words = within(RobotProfile(), engine)  # type: ignore[arg-type]
    limits = profile.limits
    assert (limits.max_linear_mps, limits.max_angular_rps, limits.blind_linear_mps) == want
    assert bool(words) is (profile != RobotProfile())
    assert within(RobotProfile(), SimpleNamespace()) == (RobotProfile(), "")  # type: ignore[arg-type]


# -- which robot, when none is named -----------------------------------------------------------------------------------
def test_without_a_robot_profile_the_default_is_the_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "HOME", tmp_path)
    assert default_profile() == RobotProfile()
    assert load_profile(None) == RobotProfile()


def test_a_robot_profile_beside_the_package_is_the_default_wherever_a_run_is_started(tmp_path: Path, monkeypatch) -> None:
    """A configured robot must never become the simulator because somebody was in another folder."""
    (tmp_path / "checkout/launch").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkout/launch/robot.toml").write_text(REAL, "utf-8")
    monkeypatch.setattr(places, "HOME", tmp_path / "checkout")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert not load_profile(None).simulated
    assert profile_file() == tmp_path / "checkout/launch/robot.toml"


def test_the_robot_profile_here_comes_before_the_one_beside_the_package(tmp_path: Path, monkeypatch) -> None:
    for place in ("here", "checkout"):
        (tmp_path / place / "launch").mkdir(parents=True)
        (tmp_path / place / "launch/robot.toml").write_text(f"{REAL}\n[steer]\nhz = {30 if place == 'here' else 40}\n", "utf-8")
    monkeypatch.setattr(places, "HOME", tmp_path / "checkout")
    monkeypatch.chdir(tmp_path / "here")
    assert load_profile(None).steer.hz == 30
    assert places.told(Path("launch/robot.toml")).split(" and ") == [
        str(tmp_path / "here/launch/robot.toml"), str(tmp_path / "checkout/launch/robot.toml"),
    ]  # fmt: skip
    assert places.candidates(Path("/etc/robot.toml")) == (Path("/etc/robot.toml"),)


def test_a_robot_profile_is_the_default_where_it_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "robot.toml").write_text(REAL, "utf-8")
    assert not default_profile().simulated
    assert not load_profile(None).simulated


def test_a_broken_robot_profile_is_an_error_and_never_the_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "robot.toml").write_text("[robot", "utf-8")
    with pytest.raises(ConfigError, match=r"launch/robot\.toml is not TOML"):
        load_profile(None)


def test_a_dangling_robot_profile_is_an_error_and_never_the_simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "robot.toml").symlink_to("no_such_profile.toml")
    with pytest.raises(ConfigError, match=r"launch/robot\.toml: No such file"):
        load_profile(None)


# -- what a message says -----------------------------------------------------------------------------------------------
def test_an_unknown_key_names_the_nearest_and_the_allowed_ones(load: Load) -> None:
    message = refusal(load, "[limits]\nmax_liner_mps = 0.3")
    assert "[limits] max_liner_mps" in message
    assert "nearest is 'max_linear_mps'" in message
    assert all(key in message for key in LimitsProfile.model_fields)


def test_an_unknown_section_names_the_nearest_and_the_allowed_ones(load: Load) -> None:
    message = refusal(load, "[limit]\nttl_ms = 100")
    assert "[limit] is unknown; the nearest is 'limits'" in message
    assert all(key in message for key in RobotProfile.model_fields)


@given(key=st.text(min_size=0, max_size=20))
def test_any_unknown_key_is_refused_with_a_message(key: str) -> None:
    if key not in LimitsProfile.model_fields:
        with pytest.raises(ValidationError):
            LimitsProfile.model_validate({key: 1.0})


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[limits]\nmax_linear_mps = 0.51", ("[limits] max_linear_mps = 0.51", "> 0 and <= 0.5")),
        ("[limits]\nmax_linear_mps = 0", ("max_linear_mps = 0", "> 0 and <= 0.5")),
        ("[limits]\nmax_angular_rps = nan", ("max_angular_rps = nan", "> 0 and <= 1.0")),
        ("[limits]\nmax_angular_rps = inf", ("max_angular_rps = inf", "> 0 and <= 1.0")),
        ('[limits]\nttl_ms = "150"', ("ttl_ms = '150'", "an integer >= 50 and <= 250")),
        ("[limits]\nttl_ms = 150.5", ("ttl_ms = 150.5", "an integer >= 50 and <= 250")),
        ("[limits]\nttl_ms = true", ("ttl_ms = True", "an integer >= 50 and <= 250")),
        ("[limits]\nacc_linear_mps2 = 2.0", ("acc_linear_mps2 = 2.0 must be at most dec_linear_mps2 = 1.5",)),
        ("[limits]\nblind_linear_mps = 0.4", ("blind_linear_mps = 0.4 must be at most max_linear_mps = 0.35",)),
        ("[limits]\nttl_ms = 50", ("limits.ttl_ms = 50 must be at least two periods of steer.hz = 30",)),
        ("limits = 3", ("[limits] = 3: wants a table",)),
        ('[robot]\ndomain = "moon"', ("[robot] domain = 'moon'", "'sim' or 'real'")),
        ('[robot]\nhas_arm = "no"', ("[robot] has_arm = 'no'", "boolean")),
        ('[base]\nkind = "../x"', ("[base] kind = '../x'",)),
        ('[base]\nport = "/dev/ttyUSB0"', ("robot.domain = 'sim' wants base.port = 'sim', got '/dev/ttyUSB0'",)),
        (REAL.replace("v4l2", "v4l"), ("[camera] kind = 'v4l': want one of simulator, v4l2, csi,", "did you mean 'v4l2'")),
        (REAL + "options = {device = [1]}\n", ("[camera] options.device.str = [1]: Input should be a valid string",)),
        ('[camera]\nkind = "v4l2"', ("robot.domain = 'sim' wants camera.kind = 'simulator', got 'v4l2'",)),
        (REAL.replace("/dev/ttyTHS1", "sim"), ("robot.domain = 'real' wants base.port = anything but 'sim'",)),
        (REAL.replace("v4l2", "simulator"), ("robot.domain = 'real' wants camera.kind = anything but 'simulator'",)),
        (REAL.replace("pitch_deg = 5.0\n", ""), ("no default for camera.pitch_deg",)),
        (REAL.replace("track_m = 0.172\n", ""), ("no default for base.track_m",)),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(load: Load, text: str, parts: tuple[str, ...]) -> None:
    message = refusal(load, text)
    assert "profile.toml" in message
    for part in parts:
        assert part in message


def test_all_problems_are_told_at_once(load: Load) -> None:
    message = refusal(load, "[limits]\nmax_linear_mps = 9\nttl_ms = 1\n[steer]\nhz = 1000")
    assert all(key in message for key in ("max_linear_mps", "ttl_ms", "hz"))


@pytest.mark.parametrize("bad", ["", "."])
def test_what_is_no_file_is_named(tmp_path: Path, bad: str) -> None:
    path = tmp_path / bad if bad else tmp_path / "missing.toml"
    with pytest.raises(ConfigError, match="robot profile"):
        load_profile(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    path.write_bytes(b'[robot]\nname = "\xff"')
    with pytest.raises(ConfigError, match="is not TOML"):
        load_profile(path)


# -- what holds for every section --------------------------------------------------------------------------------------
def bounds() -> list[tuple[str, str, str, float]]:
    """(section, key, bound, value) of every numeric field."""
    found = []
    for section, model in ((name, info.annotation) for name, info in RobotProfile.model_fields.items()):
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        for key, info in model.model_fields.items():
            if info.annotation in (int, float, float | None):
                found += [
                    (section, key, name, getattr(rule, name))
                    for rule in info.metadata
                    for name in ("ge", "gt", "le")
                    if hasattr(rule, name)
                ]
    return found


def test_every_number_has_a_lower_and_an_upper_bound() -> None:
    sides: dict[tuple[str, str], set[str]] = {}
    for section, key, name, _ in bounds():
        sides.setdefault((section, key), set()).add("upper" if name == "le" else "lower")
    numeric = {
        (section, key)
        for section in RobotProfile.model_fields
        for key, value in getattr(RobotProfile(), section).model_dump().items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    assert {field: {"lower", "upper"} for field in numeric} == sides


@pytest.mark.parametrize(("section", "key", "name", "bound"), bounds())
def test_a_number_just_outside_its_bound_is_refused(load: Load, section: str, key: str, name: str, bound: float) -> None:
    whole = isinstance(getattr(getattr(RobotProfile(), section), key), int)
    outward = math.inf if name == "le" else -math.inf
    step = (1 if name == "le" else -1) if whole else 0
    outside = bound if name == "gt" else int(bound) + step if whole else math.nextafter(bound, outward)
    assert f"[{section}] {key} = {outside!r}: wants" in refusal(load, f"[{section}]\n{key} = {outside!r}")


def test_a_profile_cannot_change_after_it_was_checked() -> None:
    profile = RobotProfile()
    for section in (profile.limits, profile.base):
        key = next(iter(type(section).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, key, getattr(section, key))
    with pytest.raises(ValidationError, match="frozen"):
        profile.limits = LimitsProfile()


def test_a_profile_survives_json() -> None:
    """The guard gets its settings, and a recording its robot, as JSON."""
    assert RobotProfile.model_validate_json(RobotProfile().model_dump_json()) == RobotProfile()
