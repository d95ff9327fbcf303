"""The operator's door: whole runs over tty, guard and simulator."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_vla.record import frame_path
from edge_vla.replay import replay
from edge_vla.run import main
from edge_vla.sim.rooms import make_room

pytestmark = pytest.mark.usefixtures("here")

KEYS = {
    "result", "goal", "target", "time_s", "path_m", "see_p50_ms", "see_p99_ms", "steer_late_fraction", "simulated", "record",
}  # fmt: skip
FIND_CUP = ["--goal", "find_object", "--target", "cup", "--engine", "oracle"]
CHECKOUT = Path(__file__).parents[2]
ROOM = 960000


ODD_FOLDER = "runs[/x]"  # what a console would take for markup
ODD = """
[robot]
name = "rover [/v2] :cup:"
[camera]
width = 160
height = 120
"""


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
    root = tmp_path_factory.mktemp("found")
    words = [sys.executable, "-m", "edge_vla.run", *FIND_CUP, "--seed", str(ROOM), "--json", "--timeout-s", "90"]
    (root / "robot.toml").write_text(ODD)
    done = subprocess.run(
        [*words, "--robot", "robot.toml", "--record", ODD_FOLDER],
        cwd=root, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    folders = list((root / ODD_FOLDER).iterdir())
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
    assert lines[0] == f"SIMULATED room {ROOM}: rover [/v2] :cup:, profile robot.toml"
    assert f"picture: {ODD_FOLDER}/{found.folder.name}/strip.png" in lines
    assert any(line.startswith("SIMULATED  find_object cup") for line in lines)  # the status line
    assert any(line.startswith("SIMULATED  reached") for line in lines)  # the summary


def test_whatever_is_counted_is_in_the_ticks_record(found: Run) -> None:
    """To the last tick; what came after it is in the summary alone."""
    counted = Counter()
    for line in (found.folder / "ticks.jsonl").read_text().splitlines():
        counted.update(json.loads(line)["new"])
    last = found.last
    assert counted["frames_unread"] <= last["counts"]["frames_unread"] <= last["frames_dropped"]
    assert counted["commands"] > 10
    assert counted["replies_rejected"] == sum(last["rejected"].values())
    assert counted["ticks_late"] <= last["ticks"]
    assert last["stages"]["note"]["n"] == last["ticks"]


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
    assert max(map(abs, rows[-1]["wheels"])) < 0.02
    accepted = [row["accepted"] for row in rows if (row["accepted"] or "").startswith('{"T":1,')]
    assert json.loads(accepted[-1]) == {"T": 1, "L": 0.0, "R": 0.0}
    assert max(abs(row["wheels"][0]) for row in rows) > 0.2  # and did turn before


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
    return max(max(map(abs, row["wheels"])) for row in rows)


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


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_reader_that_leaves_does_not_change_the_exit_code(here: Path, encoding: str) -> None:
    (here / "small.toml").write_text('[robot]\nname = "로버"\n[camera]\nwidth = 96\nheight = 72\n')
    words = [sys.executable, "-m", "edge_vla.run", "--goal", "stop", "--engine", "oracle", "--robot", "small.toml"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONIOENCODING": encoding}
    worker = subprocess.Popen(words, cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    assert worker.stdout is not None
    assert worker.stderr is not None
    first = worker.stdout.readline()
    worker.stdout.close()  # as `| head -1` does
    with worker.stderr:
        said = worker.stderr.read()
    (folder,) = (here / "runs").iterdir()
    result = json.loads((folder / "summary.json").read_text())["result"]
    assert worker.wait(60) == {"reached": 0, "fault": 3}[result], said  # on a busy machine the frames may be too old
    assert first.startswith("SIMULATED room 7: 로버" if encoding == "utf-8" else r"SIMULATED room 7: \ub85c\ubc84")
    assert "Traceback" not in said


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


def test_the_run_is_no_faster_than_its_engine_was_evaluated(run: Callable[..., Run], here: Path) -> None:
    shutil.copytree(CHECKOUT / "tests/golden/tiny_bundle", here / "bundle")
    manifest = json.loads((here / "bundle/manifest.json").read_text()) | {"max_linear_mps": 0.12, "max_angular_rps": 0.4}
    (here / "bundle/manifest.json").write_text(json.dumps(manifest))
    done = run("--goal", "find_object", "--target", "ball", "--engine", "bundle", "--timeout-s", "3")
    slowed = "slowed from 0.35 m/s and 1.0 rad/s to 0.12 m/s and 0.4 rad/s: engine 'tiny' was evaluated no faster"
    assert done.last["notice"] == slowed
    assert done.err.splitlines().count(slowed) == 1
    plan = done.read("run.json")["plan"]
    assert (plan["max_linear_mps"], plan["max_angular_rps"]) == (0.12, 0.4)
    assert wheels(done) < 0.13


def test_a_run_whose_time_is_up_has_not_reached_anything(run: Callable[..., Run]) -> None:
    done = run("--goal", "find_object", "--target", "cup", "--timeout-s", "1")
    assert (done.code, done.last["result"]) == (1, "timeout")
    assert done.last["why"] == "no cup reached before the time was over"
    assert 1.0 <= done.last["time_s"] < 1.5
