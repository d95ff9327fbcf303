"""Scale and track: from numbers, and recovered from a drive of a robot whose true ones are known."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from calib.driver import Driver
from calib.wheels import Drive, main
from edge_vla.calibration import WheelsCalibration, read_calibration
from edge_vla.config import RobotProfile, load_profile
from edge_vla.errors import ConfigError
from edge_vla.guard.types import Twist

NUMBERS = {
    "--track-m": "0.172", "--odometry-distance-m": "2.01", "--measured-distance-m": "1.96", "--odometry-turn-deg": "1083",
    "--measured-turn-deg": "1062",
}  # fmt: skip


def words(out: Path, *more: str, **changes: str | None) -> list[str]:
    named = NUMBERS | {f"--{key.replace('_', '-')}": value for key, value in changes.items()}
    return [*(word for key, value in named.items() if value is not None for word in (key, value)), "--out", str(out), *more]


# -- from numbers


def test_scale_and_track_follow_from_the_numbers(tmp_path: Path, capsys) -> None:
    out = tmp_path / "wheels.toml"
    main(words(out))
    found = read_calibration(out, WheelsCalibration)
    assert found.scale == pytest.approx(1.96 / 2.01, abs=1e-5)
    assert found.track_m == pytest.approx(0.172 * 1083 / 1062, abs=1e-5)
    assert (found.simulated, found.drive_track_m, found.odometry_turn_deg) == (False, 0.172, 1083.0)
    assert "scale 0.9751, track 0.1754 m (told 0.172 m)" in capsys.readouterr().out


def test_turns_to_the_right_give_the_same_track(tmp_path: Path) -> None:
    main(words(tmp_path / "left.toml"))
    main(words(tmp_path / "right.toml", odometry_turn_deg="-1083", measured_turn_deg="-1062"))
    left, right = (read_calibration(tmp_path / f"{side}.toml", WheelsCalibration) for side in ("left", "right"))
    assert left.track_m == right.track_m


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measured_turn_deg": None}, r"without --robot, want --measured-turn-deg too"),
        ({"measured_distance_m": "0.29"}, r"measured_distance_m = 0\.29: want 0\.30 to 16\.67"),
        ({"measured_distance_m": "196"}, r"measured_distance_m = 196\.0: want 0\.30"),
        ({"measured_distance_m": "nan"}, r"measured_distance_m = nan"),
        ({"measured_turn_deg": "342"}, r"turned 1083\.0 and the robot 342\.0 degrees: want no more than twice .* whole turns counted"),
        ({"measured_turn_deg": "3000"}, r"turned 1083\.0 and the robot 3000\.0 degrees: want no more than twice"),
        ({"measured_turn_deg": "3"}, r"measured_turn_deg = 3\.0: want 216 to 12000 either way, whole turns counted"),
        ({"measured_turn_deg": "-1062"}, r"odometry turned 1083\.0 and the robot -1062\.0 degrees: left is positive"),
        ({"measured_distance_m": "1.0"}, r"scale: Input should be greater than or equal to 0\.7, got '0\.49751'"),
        ({"track_m": "17.2"}, r"drive_track_m: Input should be less than or equal to 1"),
    ],
)
def test_numbers_that_cannot_be_are_refused_and_nothing_is_written(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main(words(tmp_path / "wheels.toml", **changes))
    assert not (tmp_path / "wheels.toml").exists()


# -- from a drive


@pytest.fixture
def reply(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """reply(a, b, ...): what a person answers, in turn, each a text or a function that finds out; returns the questions as they come."""

    def use(*answers: str | Callable[[], object]) -> list[str]:
        asked: list[str] = []
        left = iter(answers)

        def read(question: str) -> str:
            asked.append(question)
            answer = next(left)
            return str(answer() if callable(answer) else answer)

        monkeypatch.setattr("builtins.input", read)
        return asked

    return use


@pytest.mark.parametrize(("scale", "track_m"), [(1.0, 0.172), (0.94, 0.172), (1.06, 0.19), (0.97, 0.15)])
def test_the_true_wheels_are_found_again(make_rig, lend, reply, sim_profile: Path, tmp_path: Path, scale: float, track_m: float) -> None:
    """Within half a percent. The track is what the odometry must be told so that its turns are right: the true one / scale."""
    rig = make_rig(scale=scale, track_m=track_m)
    reply(lambda: rig.travel_m, lambda: rig.turn_deg)
    out = tmp_path / "wheels.toml"
    main(["--robot", str(sim_profile), "--yes", "--turns", "2", "--distance-m", "1.5", "--out", str(out)], lend(rig))
    found = read_calibration(out, WheelsCalibration)
    assert found.scale == pytest.approx(scale, rel=5e-3)
    assert found.track_m == pytest.approx(track_m / scale, rel=5e-3)
    assert found.simulated is True


def test_a_profile_with_the_found_track_turns_right(make_rig, lend, reply, sim_profile: Path, tmp_path: Path) -> None:
    """The loop closed: the file named by a profile, a drive of a robot with these wheels, and odometry that agrees with the floor."""
    wheels = {"scale": 0.95, "track_m": 0.2}
    rig = make_rig(**wheels)
    reply(lambda: rig.travel_m, lambda: rig.turn_deg)
    main(["--robot", str(sim_profile), "--yes", "--out", str(tmp_path / "wheels.toml")], lend(rig))
    (tmp_path / "robot.toml").write_text('[base]\nwheels = "wheels.toml"\n')
    again = make_rig(load_profile(tmp_path / "robot.toml"), **wheels)
    start, end = Driver(again).go(Twist(0.0, 0.0, 0.5), turn_rad=4 * math.pi)
    assert end.yaw_rad - start.yaw_rad == pytest.approx(again.turn_rad, rel=5e-3)
    before = make_rig(RobotProfile(), **wheels)
    start, end = Driver(before).go(Twist(0.0, 0.0, 0.5), turn_rad=4 * math.pi)
    assert (end.yaw_rad - start.yaw_rad) / before.turn_rad == pytest.approx(0.2 / 0.95 / 0.172, rel=1e-2)  # 22 % beside it


def test_measures_given_beforehand_are_not_asked_for(make_rig, lend, reply, sim_profile: Path, tmp_path: Path, capsys) -> None:
    asked = reply("drive")
    given = ["--measured-distance-m", "1.92", "--measured-turn-deg", "-1100"]
    out = tmp_path / "wheels.toml"
    main(["--robot", str(sim_profile), "--turns", "-3", *given, "--out", str(out)], lend(make_rig()))
    assert asked == ["Type 'drive' to go, anything else leaves it: "]
    found = read_calibration(out, WheelsCalibration)
    assert (found.measured_distance_m, found.measured_turn_deg) == (1.92, -1100.0)
    assert found.odometry_turn_deg == pytest.approx(-1080, abs=6)
    told = capsys.readouterr().out
    assert "SIMULATED, no robot moves" in told
    assert "DRIVE 2.0 m straight ahead at 0.15 m/s (13 s), then turn 3 times right on the spot at 0.5 rad/s (38 s)" in told
    assert "Clear 3.0 m ahead" in told


@pytest.mark.parametrize("answer", ["", "yes", "Drive", "drive!"])
def test_without_the_word_nothing_moves(make_rig, lend, reply, sim_profile: Path, tmp_path: Path, answer: str) -> None:
    rig = make_rig()
    reply(answer)
    with pytest.raises(ConfigError, match=r"not confirmed: nothing moved \(the word is 'drive', or --yes beforehand\)"):
        main(["--robot", str(sim_profile), "--out", str(tmp_path / "wheels.toml")], lend(rig))
    assert (rig.travel_m, rig.clock_ns) == (0.0, 1_000_000_000)


def test_where_nobody_can_be_asked_nothing_moves(make_rig, lend, sim_profile: Path, tmp_path: Path, monkeypatch) -> None:
    rig = make_rig()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(ConfigError, match=r"nobody is there to be asked: use --yes"):
        main(["--robot", str(sim_profile), "--out", str(tmp_path / "wheels.toml")], lend(rig))
    assert rig.clock_ns == 1_000_000_000


def test_a_measure_that_is_no_number_leaves_the_odometrys_on_the_screen(make_rig, lend, reply, sim_profile, tmp_path, capsys) -> None:
    reply("about two")
    with pytest.raises(ConfigError, match=r"'about two' is no number: measure and use --measured-distance-m"):
        main(["--robot", str(sim_profile), "--yes", "--out", str(tmp_path / "wheels.toml")], lend(make_rig()))
    assert re.search(r"straight: 1\.9\d\d m by odometry \(--odometry-distance-m\)", capsys.readouterr().out)


def test_a_comma_is_a_point(make_rig, lend, reply, sim_profile: Path, tmp_path: Path) -> None:
    reply("1,95", "1081,5")
    main(["--robot", str(sim_profile), "--yes", "--out", str(tmp_path / "wheels.toml")], lend(make_rig()))
    assert read_calibration(tmp_path / "wheels.toml", WheelsCalibration).measured_turn_deg == 1081.5


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--distance-m", "0.4"], r"--distance-m 0\.4: want 0\.5 to 10"),
        (["--distance-m", "nan"], r"--distance-m nan: want 0\.5 to 10"),
        (["--turns", "0"], r"--turns 0: want 1 to 20, negative to the right"),
        (["--turns", "21"], r"--turns 21"),
        (["--odometry-turn-deg", "1080"], r"--odometry-turn-deg with --robot: the robot's own odometry says it"),
    ],
)
def test_a_drive_that_means_nothing_is_refused_before_it_moves(
    make_rig, lend, sim_profile, tmp_path, more: list[str], message: str
) -> None:
    rig = make_rig()
    with pytest.raises(ConfigError, match=message):
        main(["--robot", str(sim_profile), "--yes", *more, "--out", str(tmp_path / "wheels.toml")], lend(rig))
    assert rig.clock_ns == 1_000_000_000


def test_a_drive_knows_no_numbers_that_are_none() -> None:
    with pytest.raises(ConfigError, match=r"odometry_turn_deg = nan"):
        Drive(0.172, 2.0, 2.0, math.nan, 1080.0)
