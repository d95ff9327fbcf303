"""Who may open a port, who has it open, and whether it is the robot's."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_vla.config import RobotProfile
from edge_vla.doctor.finding import CHECKS, Finding, Level
from edge_vla.doctor.host import Host
from tests.doctor.machines import gid_of_files

Found = Callable[..., Finding]
MakeHost = Callable[..., Host]


@pytest.mark.parametrize(
    ("mode", "facts", "may"),
    [
        (0o660, {}, False),
        (0o666, {}, True),
        (0o662, {}, False),  # writing without reading is not enough
        (0o660, {"uid": 0}, True),
        (0o660, {"groups": "theirs"}, True),
        (0o606, {"groups": "theirs"}, False),  # the group's own bits decide for its members
        (0o640, {"groups": "theirs"}, False),
        (0o600, {"uid": "theirs"}, True),
        (0o400, {"uid": "theirs"}, False),
    ],
)
def test_owner_group_and_mode_decide(make_host: MakeHost, mode: int, facts: dict[str, Any], may: bool) -> None:
    host = make_host("orin")
    device = host.tree.path("/dev/ttyUSB0")
    device.chmod(mode)
    if os.getuid() == 0:  # root may open everything, so root's own file says nothing
        os.chown(device, 1717, -1)
    theirs = device.stat()
    known = {"uid": theirs.st_uid, "groups": frozenset({theirs.st_gid})}
    facts = {name: known[name] if value == "theirs" else value for name, value in facts.items()}
    assert replace(host, **facts).may_use("/dev/ttyUSB0") is may


def test_what_is_not_there_may_not_be_opened(make_host: MakeHost) -> None:
    assert make_host("orin").may_use("/dev/ttyUSB9") is False


def test_a_real_robot_that_cannot_open_its_port_fails(found: Found, real: RobotProfile) -> None:
    assert found("serial permission", "orin", profile=real).level is Level.FAIL


def test_somebody_who_has_just_joined_has_to_log_in_again(make_host: MakeHost, tmp_path: Path) -> None:
    gid = gid_of_files(tmp_path)
    host = make_host("orin", {"/etc/group": f"dialout:x:{gid}:robot\n"})
    assert CHECKS["serial permission"](host).fix == "log out and in again: this session began before robot joined dialout"
    other = make_host("orin", {"/etc/group": f"dialout:x:{gid}:somebody,robot2\n"})
    assert CHECKS["serial permission"](other).fix == "sudo usermod -aG dialout robot, then log out and in"


def test_a_port_in_use_by_a_run_of_ours_is_no_hazard(found: Found) -> None:
    ours = {
        "/proc/77/fd/3": "-> /dev/ttyUSB0",
        "/proc/77/comm": "python\n",
        "/proc/77/cmdline": "python\0-m\0edge_vla.guard\0--link-fd\x005\0",
    }
    finding = found("serial busy", "orin", ours)
    assert (finding.level, finding.text) == (Level.OK, "in use by a run: /dev/ttyUSB0 by python (process 77)")


def test_a_process_that_holds_something_else_is_none_of_our_business(found: Found) -> None:
    assert found("serial busy", "orin", {"/proc/77/fd/3": "-> /dev/null", "/proc/77/comm": "cat\n"}, uid=0).text == "free"


def test_a_real_robot_whose_port_is_not_there_fails(found: Found, real: RobotProfile) -> None:
    finding = found("robot profile", "orin", {"/dev/ttyUSB0": None}, profile=real, profile_path=Path("launch/robot.toml"))
    assert finding.level is Level.FAIL
    assert finding.text == "launch/robot.toml: base.port /dev/ttyUSB0 is not there; there is /dev/ttyTHS1"
    assert found("robot profile", "orin", profile=real).level is Level.OK


def test_a_real_robot_without_camera_or_port_is_told_also_on_x86(found: Found, real: RobotProfile) -> None:
    assert [found(name, "desktop", profile=real).level for name in ("cameras", "serial ports", "modemmanager")] == [Level.WARN] * 3
