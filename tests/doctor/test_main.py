"""The whole command on the machine that runs the tests, and on other machines' files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_vla import places
from edge_vla.doctor.__main__ import main
from edge_vla.doctor.finding import CHECKS
from tests.doctor.machines import DESKTOP, ORIN, build

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkout: Path) -> Call:
    """call(files, *words): (exit code, stdout) of the doctor on such a tree, in a folder without a robot, with the default engine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "HOME", tmp_path)

    def run(files: dict[str, str], *words: str) -> tuple[int, str]:
        code = main(["--engine", str(checkout / "engines/default"), *words], build(tmp_path / "root", files))
        return code, capsys.readouterr().out

    return run


def checks(out: str) -> dict[str, dict[str, Any]]:
    (line,) = out.splitlines()
    return {each["name"]: each for each in json.loads(line)["checks"]}


def test_warnings_are_no_failure(call: Call) -> None:
    code, out = call(ORIN, "--json")
    assert (code, json.loads(out)["result"]) == (0, "warn")
    told = checks(out)
    assert list(told["power mode"]) == ["name", "level", "text", "fix"]
    assert told["power mode"]["fix"] == "sudo nvpmodel -m 2"
    assert set(told) == set(CHECKS)
    assert all(bool(each["fix"]) is (each["level"] != "ok") for each in told.values())


def test_a_failure_is_exit_code_1(call: Call) -> None:
    code, out = call({**ORIN, "/etc/nv_tegra_release": "# R35 (release), REVISION: 4.1,"}, "--json")
    assert (code, json.loads(out)["result"], checks(out)["jetpack"]["level"]) == (1, "fail", "fail")


def test_lines_are_for_people_and_commands_stay_whole(call: Call) -> None:
    code, out = call(ORIN)
    lines = out.splitlines()
    assert code == 0
    assert "warn power mode        15W; the fastest is MAXN_SUPER" in lines
    assert " " * 23 + "fix: sudo nvpmodel -m 2" in lines
    assert any(line.endswith("sudo tee -a /etc/fstab") and "fallocate" in line for line in lines)  # longer than a terminal, and one line
    assert any(line.startswith("ok   gstreamer ") and line.endswith("! fakesink") for line in lines)
    assert lines[-1].endswith(" warn, 0 fail")


def test_a_broken_profile_is_a_failure_and_not_the_end(call: Call, tmp_path: Path) -> None:
    (tmp_path / "robot.toml").write_text("[base]\ntrack = 1\n")
    code, out = call(DESKTOP, "--json", "--robot", str(tmp_path / "robot.toml"))
    told = checks(out)
    assert (code, told["robot profile"]["level"]) == (1, "fail")
    assert "[base] track is unknown" in told["robot profile"]["text"]
    assert told["engine"]["level"] == "warn"
    assert len(told) == len(CHECKS)


def test_an_engine_that_is_none_is_a_failure(call: Call) -> None:
    code, out = call(DESKTOP, "--json", "--engine", "engines/none")
    assert (code, checks(out)["engine"]["level"]) == (1, "fail")


def test_bad_arguments_are_refused(call: Call) -> None:
    code, out = call(DESKTOP, "--json", "--quick")
    assert (code, json.loads(out)) == (2, {"result": "refused", "why": "unrecognized arguments: --quick"})


def test_the_machine_that_runs_the_tests_can_be_examined(checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(checkout)
    code = main(["--json"])
    told = checks(capsys.readouterr().out)
    assert code == (1 if any(each["level"] == "fail" for each in told.values()) else 0)
    assert told["engine"]["level"] == "ok", told["engine"]
    assert not [each for each in told.values() if "the check itself broke" in each["text"]]
