"""The evaluation's command line: arguments, cases, figures, the last line, the picture."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import cv2
import pytest
from rich.console import Console

from edge_vla import places
from edge_vla.config import RobotProfile
from edge_vla.errors import ConfigError
from edge_vla.evaluate import controls, main, parse_args, result_of, setting_of, table
from edge_vla.goals import Goal
from edge_vla.series import Setting, cases
from edge_vla.sim.episode import Verdict
from edge_vla.sim.objects import CLASSES
from edge_vla.sim.paths import draw_paths

SETTING = Setting(Goal.FIND_OBJECT, "oracle")

# -- arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--episodes", "0"], "--episodes 0: want 1 to 100000"),
        (["--latency-ms", "-1"], "--latency-ms -1: want 0 to 5000"),
        (["--latency-ms", "5001"], "--latency-ms 5001: want 0 to 5000"),
        (["--absent-fraction", "1.5"], "--absent-fraction 1.5: want 0 to 1"),
        (["--absent-fraction", "nan"], "--absent-fraction nan: want 0 to 1"),
        (["--timeout-s", "0"], "--timeout-s 0.0: want 1 to 3600"),
        (["--timeout-s", "inf"], "--timeout-s inf: want 1 to 3600"),
        (["--seed", "-1"], "--seed -1: want 0 to 2147483647"),
        (["--seed", "2147483648"], "--seed 2147483648: want 0 to 2147483647"),
        (
            ["--seed", "2147483600", "--episodes", "49"],
            "--seed 2147483600 with --episodes 49: the last room is 2147483648, want at most 2147483647",
        ),
        (["--stop-at", "0.7"], "--stop-at 0.7: a thing is found within 0.6 m; further away is --goal navigate"),
        (["--picture", "/proc/none/paths.png"], "--picture /proc/none/paths.png: No such file or directory"),
        (["--picture", "paths.txt"], "--picture paths.txt: no picture format ends like this; want for example paths.png"),
        (["--episodes", "many"], "--episodes: invalid int value: 'many'"),
        (["--speed", "3"], "unrecognized arguments: --speed 3"),
        (["--epi", "3"], "unrecognized arguments: --epi 3"),
        (["--jobs", "0"], "--jobs 0: want 1 to 64"),
        (["--goal", "find_objekt"], "did you mean 'find_object'?"),
        (
            ["--goal", "describe_scene"],
            "goal 'describe_scene' has no closed-loop verdict; want one of find_object, navigate, look, follow, avoid",
        ),
        (["--stop-at", "0.1"], "stop_at 0.1 m: want 0.41 to 3.0"),
        (["--goal", "grab"], "goal 'grab' needs an arm and this base has none"),
        (["--engine", "engines/missing"], "engines/missing"),
        (["--robot", "launch/waveshare_ugv.toml"], "robot.domain is 'real'; an evaluation runs in the simulator"),
        (["--robot", "missing.toml"], "robot profile missing.toml: No such file or directory"),
    ],
)
def test_a_bad_argument_exits_with_2_and_says_what_is_allowed(
    arguments: list[str], message: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(checkout)
    assert main(["--engine", "oracle", *arguments]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.splitlines()[-1].startswith("evaluate: ")
    assert said.out == ""


def test_with_json_a_refusal_is_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--episodes", "0"]) == 2
    assert json.loads(capsys.readouterr().out) == {"result": "refused", "why": "--episodes 0: want 1 to 100000"}


def test_a_base_that_does_not_exist_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "robot.toml").write_text('[base]\nkind = "roomba"\n')
    assert main(["--engine", "oracle", "--robot", str(tmp_path / "robot.toml")]) == 2
    assert "base 'roomba' is unknown; did you mean" in capsys.readouterr().err


def test_an_engine_that_does_not_know_the_targets_is_refused(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the first episode, not in the middle of the night."""
    tiny = str(checkout / "tests/golden/tiny_bundle")
    assert main(["--engine", tiny, "--episodes", "12", "--picture", str(tmp_path / "paths.png")]) == 2
    assert f"engine {tiny!r} does not know 'bo" in capsys.readouterr().err
    assert not (tmp_path / "paths.png").exists()


def test_a_picture_that_was_there_before_is_not_lost_to_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "paths.png").write_bytes(b"last night's")
    assert main(["--engine", "engines/missing", "--picture", str(tmp_path / "paths.png")]) == 2
    assert (tmp_path / "paths.png").read_bytes() == b"last night's"


def test_arguments_become_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args = parse_args(["--goal", "look", "--latency-ms", "500", "--no-compensation", "--episodes", "3", "--seed", "9", "--stop-at", "0.7"])
    found = str(Path(__file__).parents[2] / "engines/default")  # beside the package
    wanted = Setting(Goal.LOOK, found, 500, 3, 9, 0.2, 120.0, 0.7, compensate=False)
    assert setting_of(args, RobotProfile()) == wanted
    assert setting_of(parse_args(["--goal", "follow"]), RobotProfile()).stop_at_m == 0.8  # a follower keeps more distance
    assert setting_of(parse_args([]), RobotProfile()) == Setting(Goal.FIND_OBJECT, found)


def test_the_engine_beside_the_run_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "engines/default").mkdir(parents=True)
    assert setting_of(parse_args([]), RobotProfile()).engine == "engines/default"


# -- cases


def test_targets_go_round_all_classes_and_half_the_starts_face_away() -> None:
    drawn = cases(replace(SETTING, episodes=48, absent_fraction=0.0))
    assert Counter(case.target for case in drawn) == dict.fromkeys(CLASSES, 4)
    assert Counter(case.target for case in drawn if case.facing_away) == dict.fromkeys(CLASSES, 2)
    assert [case.seed for case in drawn] == list(range(1_000_000, 1_000_048))


@pytest.mark.parametrize(("episodes", "fraction", "absent"), [(100, 0.2, 20), (10, 0.5, 5), (4, 1.0, 4), (7, 0.1, 1), (4, 0.0, 0)])
def test_absent_targets_are_as_many_as_asked_for_and_spread(episodes: int, fraction: float, absent: int) -> None:
    marks = [case.absent for case in cases(replace(SETTING, episodes=episodes, absent_fraction=fraction))]
    assert sum(marks) == absent
    halves = sum(marks[: episodes // 2]), sum(marks[(episodes + 1) // 2 :])
    assert abs(halves[0] - halves[1]) <= 1


@pytest.mark.parametrize("goal", [Goal.AVOID, Goal.FOLLOW])
def test_there_is_no_absent_target_for_goals_without_a_search(goal: Goal) -> None:
    assert not any(case.absent for case in cases(replace(SETTING, goal=goal, episodes=20, absent_fraction=0.5)))


def test_the_same_seed_is_the_same_cases() -> None:
    assert cases(SETTING) == cases(SETTING)
    assert cases(replace(SETTING, seed=7))[0] != cases(SETTING)[0]


# -- figures


def test_figures_by_hand(make_verdict: Callable[..., Verdict]) -> None:
    result = result_of(
        [
            make_verdict(spl=0.9, time_s=10.0, path_m=2.0),
            make_verdict(spl=0.5, time_s=30.0, path_m=4.0),
            make_verdict(success=False, spl=0.0, said="timeout", contacts=3, distance_m=2.0),
            make_verdict(success=False, spl=0.0, elsewhere=True),
            make_verdict(absent=True, said="not_found", spl=0.0, distance_m=float("inf")),
            make_verdict(absent=True, said="reached", success=False, spl=0.0, distance_m=float("inf")),
        ]
    )
    assert (result.success, result.spl) == (0.5, 0.35)
    assert (result.contacts_per_episode, result.false_arrivals, result.wrong_arrivals) == (0.5, 0.5, 0.25)
    assert (result.time_s, result.path_m) == (30.0, 3.0)
    assert (result.episodes, result.present, result.absent) == (6, 4, 2)
    assert result.said == {"reached": 4, "timeout": 1, "not_found": 1}


def test_figures_of_nothing_are_zeros(make_verdict: Callable[..., Verdict]) -> None:
    only_absent = result_of([make_verdict(absent=True, said="timeout", spl=0.0)])
    assert (only_absent.success, only_absent.spl, only_absent.time_s, only_absent.path_m, only_absent.false_arrivals) == (0, 0, 0, 0, 0)
    assert result_of([make_verdict()]).false_arrivals == 0.0


def test_controls_beside_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "HOME", tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"--controls needs engines/untrained: make it with"):
        controls(SETTING)
    (tmp_path / "engines/untrained").mkdir(parents=True)
    rows = controls(replace(SETTING, engine="engines/default"))
    assert rows["oracle boxes"].engine == "oracle"
    assert rows["untrained weights"].engine == "engines/untrained"
    assert (rows["swapped target word"].control, rows["blank camera"].control) == ("swapped", "blank")
    latencies = {(row.latency_ms, row.compensate) for name, row in rows.items() if "odometry" in name}
    assert latencies == {(50, True), (50, False), (200, False), (500, True), (500, False)}
    assert {(row.seed, row.episodes, row.goal) for row in rows.values()} == {(1_000_000, 100, Goal.FIND_OBJECT)}


@pytest.mark.parametrize(("seed", "held_out"), [(999_999, False), (1_000_000, True)])
def test_rooms_are_held_out_from_a_million_on(seed: int, held_out: bool) -> None:
    assert replace(SETTING, seed=seed).held_out is held_out


def test_names_are_no_markup(make_verdict: Callable[..., Verdict]) -> None:
    out = Console(width=200, record=True, file=StringIO())
    out.print(table({"runs[/x]": result_of([make_verdict()])}))
    assert "runs[/x]" in out.export_text()


# -- the picture


@pytest.mark.parametrize(("episodes", "tiles"), [(1, (1, 5)), (7, (2, 5)), (30, (4, 5))])
def test_the_picture_shows_at_most_twenty_paths(make_verdict, tmp_path: Path, episodes: int, tiles: tuple[int, int]) -> None:
    path = tmp_path / "new folder" / "paths.png"
    draw_paths([make_verdict(seed=k, success=k % 2 == 0) for k in range(episodes)], path)
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape == (334 * tiles[0], 300 * tiles[1], 3)
    assert len({tuple(colour) for colour in picture[::5, ::5].reshape(-1, 3).tolist()}) > 5  # and something is drawn on it


def test_the_picture_shows_failures_first(make_verdict, tmp_path: Path) -> None:
    good, bad = make_verdict(seed=1), make_verdict(seed=2, success=False, trail=((0.0, 0.0), (2.0, 2.0)))
    draw_paths([good, bad], tmp_path / "one.png")
    draw_paths([bad, good], tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    first = cv2.imread(str(tmp_path / "one.png"))[:, :300]
    assert (first == (40, 40, 200)).all(axis=2).any()  # red
