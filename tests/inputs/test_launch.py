"""The unit and the rules in launch/: what the code needs of them is in them. systemd reads the unit where it is there."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_vla.guard.system import FIFO_PRIORITY, NICE


@pytest.fixture
def unit(checkout: Path) -> dict[str, list[str]]:
    """Settings of [Service], each with all its values."""
    lines = (checkout / "launch/edge_vla.service").read_text("utf-8").partition("[Service]")[2].splitlines()
    found: dict[str, list[str]] = {}
    for line in lines:
        if line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_the_unit_runs_modules_that_there_are_and_stops_the_base_whatever_happened(unit: dict[str, list[str]]) -> None:
    for key, module in (("ExecStart", "edge_vla.run"), ("ExecStopPost", "edge_vla.stop_base")):
        (command,) = unit[key]
        assert command.split()[1:3] == ["-m", module]
        assert importlib.util.find_spec(module) is not None
    run, stop = unit["ExecStart"][0].split(), unit["ExecStopPost"][0].split()
    assert run[run.index("--robot") + 1] == stop[stop.index("--profile") + 1], "one robot"


def test_it_does_not_start_again_by_itself(unit: dict[str, list[str]], checkout: Path) -> None:
    assert unit["Restart"] == ["no"]
    assert "[Install]\n" not in (checkout / "launch/edge_vla.service").read_text("utf-8")


def test_the_guard_gets_what_it_asks_for(unit: dict[str, list[str]]) -> None:
    assert (unit["LimitRTPRIO"], unit["LimitNICE"], unit["LimitMEMLOCK"]) == ([str(FIFO_PRIORITY)], [str(NICE)], ["infinity"])
    assert (unit["Type"], unit["NotifyAccess"]) == (["notify"], ["all"])
    assert (unit["KillMode"], unit["WatchdogSignal"]) == (["control-group"], ["SIGTERM"]), "it may say zero before it ends"
    assert unit["SupplementaryGroups"] == ["dialout video input gpio"]
    assert unit["Environment"] == ["XDG_RUNTIME_DIR=%t/" + unit["RuntimeDirectory"][0]]
    assert unit["RuntimeDirectoryMode"] == ["0700"]


def test_systemd_reads_it(checkout: Path, tmp_path: Path) -> None:
    """With a python that there is: whether a command can be run is the only thing wrong with it here."""
    tool = shutil.which("systemd-analyze")
    text = (checkout / "launch/edge_vla.service").read_text("utf-8")
    assert text.count("/opt/edge_vla/.venv/bin/python") == 2
    if tool is None:
        return
    copy = tmp_path / "edge_vla.service"
    copy.write_text(text.replace("/opt/edge_vla/.venv/bin/python", "/bin/true"), "utf-8")
    done = subprocess.run([tool, "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "edge_vla" in line]) == (0, [])


def test_rules_match_and_assign(checkout: Path) -> None:
    """Each rule has keys that match before keys that assign, and nothing that is neither."""
    lines = [line for line in (checkout / "launch/99-edge-vla.rules").read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert len(lines) == 4
    for line in lines:
        words = line.split(", ")
        assert all(word.endswith('"') and word.count('"') == 2 for word in words), line
        kinds = ["match" if '=="' in word else "assign" if '="' in word else "?" for word in words]
        assert kinds == sorted(kinds, reverse=True), line
        assert {*kinds} == {"match", "assign"}, line
