"""Whole evaluations from the command line: what they say at the end, and what becomes of them when something fails in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import pytest

from edge_vla.errors import EngineError
from edge_vla.evaluate import main
from edge_vla.series import load_engine
from edge_vla.sim.oracle import OracleEngine
from edge_vla.sim.rooms import Room, make_room
from edge_vla.types import Frame, Reply

KEYS = {"success", "spl", "contacts_per_episode", "false_arrivals", "episodes", "seed", "latency_ms"}


def last_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict:
    assert main(["--engine", "oracle", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_last_line_is_the_result_and_the_same_for_the_same_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "paths.png"
    arguments = ["--episodes", "2", "--seed", "960100", "--absent-fraction", "0.5", "--timeout-s", "14", "--picture", str(picture)]
    one = last_line(arguments, capsys)
    assert KEYS | {"goal", "engine", "simulated", "wrong_arrivals", "present", "absent", "said"} <= set(one)
    assert (one["episodes"], one["seed"], one["latency_ms"], one["goal"], one["simulated"]) == (2, 960100, 200, "find_object", True)
    assert (one["success"], one["false_arrivals"], one["contacts_per_episode"]) == (1.0, 0.0, 0.0)
    assert one["spl"] > 0.5
    assert one["said"] == {"reached": 1, "timeout": 1}  # fourteen seconds are too few to give a target up
    assert cv2.imread(str(picture)) is not None
    assert (one["stop_at_m"], one["compensate"], one["timeout_s"], one["held_out"], one["fault"]) == (0.45, True, 14.0, False, "")
    assert last_line(arguments, capsys) == one


class Mute(OracleEngine):
    """Says nothing more after some questions."""

    def __init__(self, truth_of: Callable) -> None:
        super().__init__(truth_of)
        self.left = 5

    def ask(self, frame: Frame, prompt: str) -> Reply:
        self.left -= 1
        if self.left < 0:
            raise EngineError("[the graph] is broken")
        return super().ask(frame, prompt)


def test_an_engine_that_fails_spoils_its_episode_and_no_other(monkeypatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("edge_vla.sim.oracle.OracleEngine", Mute)
    assert main(["--engine", "oracle", "--episodes", "2", "--seed", "960100", "--picture", str(tmp_path / "paths.png")]) == 0
    said = capsys.readouterr()
    line = json.loads(said.out.splitlines()[-1])
    assert (line["said"], line["success"], line["episodes"]) == ({"fault": 2}, 0.0, 2)
    assert said.err.count("fault") >= 2
    assert said.err.count("[the graph] is broken") == 2  # and brackets are no markup


def test_what_is_done_is_shown_when_an_evaluation_breaks_off(monkeypatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built = []

    def fail(*args: object, **options: object) -> Room:
        built.append(args)
        if len(built) > 1:
            raise ValueError("no placement in 100 tries")
        return make_room(*args, **options)

    monkeypatch.setattr("edge_vla.sim.episode.make_room", fail)
    arguments = ["--engine", "oracle", "--episodes", "3", "--seed", "960100", "--timeout-s", "1", "--absent-fraction", "0"]
    assert main([*arguments, "--picture", str(tmp_path / "paths.png")]) == 3
    said = capsys.readouterr()
    line = json.loads(said.out.splitlines()[-1])
    assert (line["episodes"], line["said"], line["fault"]) == (1, {"timeout": 1}, "ValueError: no placement in 100 tries")
    assert "evaluate: broke off: ValueError: no placement in 100 tries" in said.err
    assert "SIMULATED closed-loop evaluation" in said.out


def test_a_picture_that_cannot_be_drawn_costs_no_figures(monkeypatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The disk has filled up meanwhile."""
    picture = tmp_path / "paths.png"
    monkeypatch.setattr("edge_vla.evaluate._probe", lambda path: path.symlink_to("/dev/full"))
    assert main(["--engine", "oracle", "--episodes", "1", "--seed", "960100", "--timeout-s", "1", "--picture", str(picture)]) == 0
    said = capsys.readouterr().out
    assert said.index("SIMULATED") < said.index("no picture of the paths: cannot write")
    assert json.loads(said.splitlines()[-1])["episodes"] == 1


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_evaluation(checkout: Path, tmp_path: Path) -> None:
    """The kernel kills the largest when memory runs out; a Pool would wait for it for ever."""
    words = [sys.executable, "-m", "edge_vla.evaluate", "--engine", "oracle", "--episodes", "50", "--jobs", "2", "--json"]
    evaluation = subprocess.Popen(
        [*words, "--picture", str(tmp_path / "paths.png")], cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        give_up_s = time.monotonic() + 60
        while not (workers := workers_of(evaluation.pid)):
            assert time.monotonic() < give_up_s
            assert evaluation.poll() is None
        os.kill(workers[0], signal.SIGKILL)
        out, err = evaluation.communicate(timeout=60)
    finally:
        evaluation.kill()
    assert evaluation.returncode == 3
    assert "evaluate: broke off: one of 2 worker processes died; if the machine ran out of memory, use fewer --jobs" in err
    assert json.loads(out)["fault"].startswith("one of 2 worker processes died")


def workers_of(pid: int) -> list[int]:
    """The processes of a pool, by what multiprocessing starts them with."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == pid and b"spawn_main" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def test_two_jobs_are_no_other_result_than_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--episodes", "2", "--seed", "960100", "--goal", "look", "--timeout-s", "6", "--picture", str(tmp_path / "paths.png")]
    assert last_line([*arguments, "--jobs", "2"], capsys) == last_line(arguments, capsys)


def test_for_people_there_is_a_table_with_the_failures_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "paths.png"
    assert main(["--engine", "oracle", "--episodes", "1", "--seed", "960100", "--timeout-s", "1", "--picture", str(picture)]) == 0
    said = capsys.readouterr()
    assert "SIMULATED" in said.out
    assert json.loads(said.out.splitlines()[-1])["success"] == 0.0
    assert "960100" in said.err
    assert "timeout" in said.err


def test_a_worker_loads_an_engine_once(checkout: Path) -> None:
    tiny = str(checkout / "tests" / "golden" / "tiny_bundle")
    assert load_engine(tiny, 1) is load_engine(tiny, 1)
    assert load_engine(tiny, 1) is not load_engine(tiny, 2)
