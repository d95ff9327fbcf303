"""Runs that came to nothing once something was started: faults, signals, bugs. Each has its exit code and its line of JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from edge_vla.errors import BaseError
from edge_vla.run import main
from edge_vla.session import SWITCH_S, Session, believed
from edge_vla.summary import Summary
from edge_vla.types import Engine

pytestmark = pytest.mark.usefixtures("here")

KEYS = {
    "result", "goal", "target", "time_s", "path_m", "see_p50_ms", "see_p99_ms", "steer_late_fraction", "simulated", "record",
}  # fmt: skip
FIND_CUP = ["--goal", "find_object", "--target", "cup", "--engine", "oracle"]


def nothing(said: pytest.CaptureResult[str]) -> dict:
    """The one line of a run that came to nothing."""
    assert said.out.count("\n") == 1
    told = json.loads(said.out)
    assert set(told) >= KEYS
    assert told["time_s"] is told["path_m"] is told["see_p50_ms"] is told["see_p99_ms"] is told["steer_late_fraction"] is None
    return told


def test_a_bug_is_a_fault_with_its_traceback_kept(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(session: Session, engine: Engine) -> Summary:
        raise RuntimeError("cudaErrorIllegalAddress")

    monkeypatch.setattr(Session, "run", fail)
    assert main([*FIND_CUP, "--json"]) == 3
    said = capsys.readouterr()
    told = nothing(said)
    assert (told["result"], told["goal"], told["target"], told["simulated"]) == ("fault", "find_object", "cup", True)
    assert told["why"].startswith("RuntimeError: cudaErrorIllegalAddress (a bug; traceback in runs/")
    assert "run: stopped by a fault: RuntimeError: cudaErrorIllegalAddress" in said.err
    assert "Traceback" not in said.err
    folder = Path(told["record"])
    assert "in fail" in (folder / "traceback.txt").read_text()
    assert json.loads((folder / "summary.json").read_text()) == told


def test_a_part_that_does_not_start_is_a_fault(capsys: pytest.CaptureFixture[str], here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    (here / "small.toml").write_text("[camera]\nwidth = 96\nheight = 72\n")
    assert main([*FIND_CUP, "--json", "--robot", "small.toml"]) in {2, 3}
    told = nothing(capsys.readouterr())
    assert (told["simulated"], told["target"]) == (True, "cup")
    assert "MUJOCO_GL" in told["why"]
    assert "simulator.log" in {path.name for path in Path(told["record"]).iterdir()}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_interrupted_while_parts_are_started(monkeypatch, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int) -> None:
    monkeypatch.setattr(Session, "run", lambda session, engine: os.kill(os.getpid(), number))
    assert main([*FIND_CUP, "--json"]) == code
    said = capsys.readouterr()
    told = nothing(said)
    assert (told["result"], told["signal"], told["record"]) == ("interrupted", number, None)
    assert f"run: interrupted: signal {number.name}, before anything could move" in said.err


def test_threads_are_switched_often_while_a_session_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 30 Hz loop waits for whichever thread holds the interpreter, 5 ms by default."""
    usual, during = sys.getswitchinterval(), []

    def fail(session: Session, *, truth: bool) -> str:
        during.append(sys.getswitchinterval())
        raise BaseError("no world")

    monkeypatch.setattr(Session, "_start_world", fail)
    assert main(FIND_CUP) == 3
    assert during == [pytest.approx(SWITCH_S)]
    assert sys.getswitchinterval() == pytest.approx(usual)


@pytest.mark.parametrize("result", ["reached", "not_found", "timeout", "interrupted", "fault"])
def test_wheels_that_nobody_saw_stand_make_any_run_a_fault(result: str) -> None:
    assert believed(result, "so", still=True) == (result, "so")
    assert believed(result, "so", still=False) == ("fault", f"the wheels did not confirm zero; before that {result}: so")
