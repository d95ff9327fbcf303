"""The operator's door: what is refused before anything starts, and whole runs over tty, guard and simulator."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_vla.record import frame_path
from edge_vla.replay import replay
from edge_vla.run import main
from edge_vla.sim.rooms import make_room

KEYS = {
    "result", "goal", "target", "time_s", "path_m", "see_p50_ms", "see_p99_ms", "steer_late_fraction", "simulated", "record",
}  # fmt: skip
ROOM = 960000
FIND_CUP = ["--goal", "find_object", "--target", "cup", "--engine", "oracle"]
REAL_ROBOT = Path(__file__).parents[2] / "launch/waveshare_ugv.toml"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run in an empty folder, where there is no launch/robot.toml; give the signals back afterwards."""
    monkeypatch.chdir(tmp_path)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)


# -- refused, with nothing started


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """refused(argument, ...): what was said; the exit code was 2, no process was started, and no folder is left behind."""

    def no_process(*words: object, **options: object) -> None:
        raise AssertionError(f"started {words}")

    monkeypatch.setattr(subprocess, "Popen", no_process)

    def refused(*arguments: str) -> str:
        assert main(list(arguments)) == 2
        said = capsys.readouterr()
        assert said.err.startswith("run: ")
        assert said.out == ""
        assert not list(Path("runs").glob("*"))
        return said.err.removeprefix("run: ").strip()

    return refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--goal", "find_objekt", "--target", "cup"], "unknown goal 'find_objekt': did you mean 'find_object'?"),
        (["--goal", "fly"], "unknown goal 'fly': want one of find_object, navigate, follow, avoid"),
        (["--goal", "find_object"], "goal 'find_object' needs a target, for example --target cup"),
        (["--goal", "follow"], "goal 'follow' needs a target"),
        (["--goal", "find_object", "--target", "  "], "target '  ' names nothing"),
        (["--goal", "find_object", "--target", "a<loc0001>"], "holds '<', '>' or an unprintable character"),
        (["--goal", "find_object", "--target", "x" * 65], "target of 65 characters, want at most 64"),
        ([*FIND_CUP, "--timeout-s", "0.5"], "--timeout-s 0.5: want 1 to 86400"),
        ([*FIND_CUP, "--timeout-s", "nan"], "--timeout-s nan: want 1 to 86400"),
        ([*FIND_CUP, "--seed", "-1"], "--seed -1: want 0 to 2147483647"),
        ([*FIND_CUP, "--stop-at", "0.3"], "stop_at 0.3 m: want 0.41 to 3.0"),
        ([*FIND_CUP, "--stop-at", "nan"], "stop_at nan m: want 0.41 to 3.0"),
        (["--goal", "command"], "goal 'command' needs a sentence, for example --text 'turn left 90 degrees'"),
        (["--goal", "command", "--text", "the sky is blue"], "cannot obey 'the sky is blue': no command in"),
        (["--goal", "command", "--text", "go to the cup"], "use --goal navigate --target 'cup'"),
        (["--goal", "command", "--text", "strafe left 0.5 m"], "base 'waveshare' is differential and cannot move sideways"),
        (["--goal", "command", "--text", "pick up the cup"], "goal 'grab' needs an arm and this base has none"),
        (["--goal", "grab", "--target", "cup"], "goal 'grab' needs an arm and this base has none"),
        (["--goal", "release"], "goal 'release' needs an arm and this base has none"),
        (["--goal", "point", "--target", "cup"], "goal 'point' needs an arm and this base has none"),
        (
            ["--goal", "find_object", "--target", "elephant", "--engine", "oracle"],
            "does not know 'elephant'; it knows: cup, bottle, ball, box",
        ),
        (["--goal", "find_object", "--target", "cup", "--engine", "engines/missing"], "engines/missing"),
        ([*FIND_CUP, "--robot", "missing.toml"], "robot profile missing.toml: No such file or directory"),
    ],
)
def test_a_bad_argument_is_refused_with_what_is_allowed(refused: Callable[..., str], arguments: list[str], message: str) -> None:
    assert message in refused(*arguments)


@pytest.mark.parametrize("arguments", [[], ["--goal"], [*FIND_CUP, "--seed", "seven"], [*FIND_CUP, "--speed", "3"]])
def test_what_is_no_command_line_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m edge_vla.run" in capsys.readouterr().err


def test_an_unknown_key_of_a_profile_names_the_nearest(refused: Callable[..., str], here: Path) -> None:
    (here / "robot.toml").write_text("[limits]\nmax_linear = 0.3\n")
    said = refused(*FIND_CUP, "--robot", "robot.toml")
    assert "[limits] max_linear is unknown; the nearest is 'max_linear_mps'" in said


def test_a_value_of_a_profile_out_of_range_names_the_range(refused: Callable[..., str], here: Path) -> None:
    (here / "robot.toml").write_text("[limits]\nmax_linear_mps = 3.0\n")
    assert "[limits] max_linear_mps = 3.0: wants a number > 0 and <= 0.5" in refused(*FIND_CUP, "--robot", "robot.toml")


def test_a_profile_beside_it_is_used_even_if_it_is_broken(refused: Callable[..., str], here: Path) -> None:
    """Never the simulator when there is a robot profile."""
    (here / "launch").mkdir()
    (here / "launch/robot.toml").write_text("not TOML")
    assert "robot profile launch/robot.toml is not TOML" in refused(*FIND_CUP)


def test_the_oracle_cannot_see_a_real_room(refused: Callable[..., str]) -> None:
    assert "it cannot see a real room" in refused(*FIND_CUP, "--robot", str(REAL_ROBOT))


def test_an_engine_trained_in_the_simulator_does_not_drive_a_real_robot(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass
    class Manifest:
        domain: str = "sim"

    class Bundle:
        def __init__(self, path: Path) -> None:
            self.manifest = Manifest()

    monkeypatch.setattr("edge_vla.backends.bundle.Bundle", Bundle)
    said = refused("--goal", "find_object", "--target", "cup", "--engine", "engines/default", "--robot", str(REAL_ROBOT))
    assert "was trained on 'sim' images and this robot is 'real'; --allow-domain-mismatch" in said


# -- a whole run, on the command line


@dataclass(frozen=True)
class Run:
    """What one run on the command line left behind."""

    code: int
    out: str
    err: str
    folder: Path

    def read(self, name: str) -> dict:
        return json.loads((self.folder / name).read_text())

    @property
    def last(self) -> dict:
        return json.loads(self.out.splitlines()[-1])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The cup, found: engine `oracle`, everything else as on a real robot."""
    root, checkout = tmp_path_factory.mktemp("found"), Path(__file__).parents[2]
    words = [sys.executable, "-m", "edge_vla.run", *FIND_CUP, "--seed", str(ROOM), "--json", "--timeout-s", "90"]
    done = subprocess.run(
        words, cwd=root, env={**os.environ, "PYTHONPATH": str(checkout)}, capture_output=True, text=True, timeout=200, check=False
    )
    folders = list((root / "runs").iterdir())
    assert len(folders) == 1, done.stderr
    return Run(done.returncode, done.stdout, done.stderr, folders[0])


def test_it_finds_the_cup(found: Run) -> None:
    assert found.code == 0, found.err
    assert found.last["result"] == "reached"
    assert found.last["why"].startswith("cup reached: 0.4")


def test_the_last_line_is_the_summary_and_the_only_one(found: Run) -> None:
    assert set(found.last) >= KEYS
    assert found.out.count("\n") == 1
    last = found.last
    assert (last["goal"], last["target"], last["simulated"], last["engine"]) == ("find_object", "cup", True, "oracle")
    assert Path(last["record"]).name == found.folder.name
    assert last == found.read("summary.json")
    assert 2.0 < last["time_s"] < 90.0
    assert 0.0 < last["see_p50_ms"] <= last["see_p99_ms"]


def test_simulated_is_the_first_word(found: Run) -> None:
    lines = found.err.splitlines()
    assert lines[0].startswith(f"SIMULATED room {ROOM}")
    assert any(line.startswith("SIMULATED  find_object cup") for line in lines)  # the status line
    assert any(line.startswith("SIMULATED  reached") for line in lines)  # the summary


def test_the_simulators_truth_agrees(found: Run) -> None:
    truth = found.read("truth.json")["truth"]
    cup = next(thing for thing in truth["things"] if thing["name"] == "cup")
    assert cup["distance_m"] <= 0.6
    assert cup["facing_rad"] <= math.radians(20)
    assert (truth["contacts"], truth["touched"]) == (0, [])
    assert found.last["path_m"] == pytest.approx(truth["path_m"], abs=0.15)


def test_the_run_folder_holds_the_run(found: Run) -> None:
    names = {path.name for path in found.folder.iterdir()}
    assert names >= {
        "run.json", "ticks.jsonl", "looks.jsonl", "frames", "guard.jsonl", "wheels.jsonl", "truth.json", "summary.json", "strip.png",
    }  # fmt: skip
    looks = [json.loads(line) for line in (found.folder / "looks.jsonl").read_text().splitlines()]
    assert len(looks) == found.last["looks"] == len(list((found.folder / "frames").iterdir()))
    assert all(frame_path(found.folder, look["seq"]).exists() for look in looks)
    assert {look["prompt"] for look in looks} == {"detect cup"}
    assert len((found.folder / "ticks.jsonl").read_text().splitlines()) == found.last["ticks"]
    assert found.read("run.json")["plan"]["stop_at_m"] == 0.45
    assert cv2.imread(str(found.folder / "strip.png")) is not None


def test_the_recording_replays_to_identical_actions(found: Run) -> None:
    result = replay(found.folder)
    assert result.identical, result.differences
    assert result.ticks == found.last["ticks"]


def test_the_wheels_stood_when_the_run_ended(found: Run) -> None:
    rows = [json.loads(line) for line in (found.folder / "wheels.jsonl").read_text().splitlines()]
    assert max(abs(rows[-1]["left"]), abs(rows[-1]["right"])) < 0.02
    accepted = [row["accepted"] for row in rows if (row["accepted"] or "").startswith('{"T":1,')]
    assert json.loads(accepted[-1]) == {"T": 1, "L": 0.0, "R": 0.0}
    assert max(abs(row["left"]) for row in rows) > 0.2  # and did turn before


# -- the other goals


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """run(argument, ...): a whole run from this process, with pictures small enough for two busy cores."""
    (here / "small.toml").write_text("[camera]\nwidth = 160\nheight = 120\n")

    def run(*arguments: str) -> Run:
        code = main(["--engine", "oracle", "--robot", "small.toml", "--seed", str(ROOM), "--timeout-s", "60", "--json", *arguments])
        said = capsys.readouterr()
        return Run(code, said.out, said.err, next(Path("runs").iterdir()))

    return run


def wheels(run: Run) -> float:
    """The fastest any wheel has turned."""
    rows = [json.loads(line) for line in (run.folder / "wheels.jsonl").read_text().splitlines()]
    return max(max(abs(row["left"]), abs(row["right"])) for row in rows)


@pytest.mark.parametrize("goal", ["describe_scene", "identify_main_object"])
def test_goals_that_end_with_words(run: Callable[..., Run], goal: str) -> None:
    done = run("--goal", goal)
    assert (done.code, done.last["result"], done.last["goal"]) == (0, "reached", goal)
    names = {thing.shape.name for thing in make_room(ROOM).things}
    assert done.last["words"] == done.last["why"]
    assert set(done.last["words"].split(", ")) <= names | {"nothing"}
    assert wheels(done) < 0.02
    assert "ARMED_IDLE" not in (done.folder / "guard.jsonl").read_text()  # a goal that does not move does not arm


def test_save_image_leaves_the_frame_it_saw(run: Callable[..., Run]) -> None:
    done = run("--goal", "save_image")
    assert (done.code, done.last["result"]) == (0, "reached"), done.last["why"]
    path = Path(done.last["why"].removeprefix("saved "))
    assert path.resolve() == (done.folder / "image.png").resolve()
    image = cv2.imread(str(path))
    assert image is not None
    assert image.shape == (120, 160, 3)
    (look,) = [json.loads(line) for line in (done.folder / "looks.jsonl").read_text().splitlines()]
    recorded = cv2.imread(str(frame_path(done.folder, look["seq"])))
    assert recorded is not None
    assert np.abs(image.astype(int) - recorded).mean() < 6  # the recording is a JPEG
    assert image.std() > 10


def test_stop_stands_still(run: Callable[..., Run]) -> None:
    done = run("--goal", "stop")
    assert (done.code, done.last["result"], done.last["why"]) == (0, "reached", "standing still")
    assert wheels(done) < 0.02


def test_look_turns_to_the_target_and_stays(run: Callable[..., Run]) -> None:
    done = run("--goal", "look", "--target", "cup")
    assert (done.code, done.last["result"]) == (0, "reached"), done.last["why"]
    truth = done.read("truth.json")["truth"]
    cup = next(thing for thing in truth["things"] if thing["name"] == "cup")
    assert cup["facing_rad"] < 0.2
    x, y, _ = make_room(ROOM, require=("cup",)).start
    assert math.dist((truth["x_m"], truth["y_m"]), (x, y)) < 0.05


def test_command_turns_by_the_angle_it_is_told(run: Callable[..., Run]) -> None:
    done = run("--goal", "command", "--text", "turn left 90 degrees")
    assert (done.code, done.last["why"]) == (0, "1 command done")
    truth, start = done.read("truth.json")["truth"], make_room(ROOM).start
    turned = math.degrees(truth["yaw_rad"] - start[2]) % 360
    assert turned == pytest.approx(90, abs=6)
    assert math.dist((truth["x_m"], truth["y_m"]), start[:2]) < 0.05


def test_a_run_whose_time_is_up_has_not_reached_anything(run: Callable[..., Run]) -> None:
    done = run("--goal", "find_object", "--target", "cup", "--timeout-s", "1")
    assert (done.code, done.last["result"]) == (1, "timeout")
    assert done.last["why"] == "no cup reached before the time was over"
    assert 1.0 <= done.last["time_s"] < 1.5
