"""Hosts on trees of files of their own, and what one check says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_vla.config import RobotProfile
from edge_vla.doctor.checks import examine
from edge_vla.doctor.finding import CHECKS, Finding
from edge_vla.doctor.host import Host
from edge_vla.machine.board import read_board
from edge_vla.machine.tree import Tree
from tests.doctor.machines import DESKTOP, ORIN, THOR, build

assert examine  # registers every check
STRANGER = 4242  # owns none of the files a test writes
MACHINES = {"orin": (ORIN, (3, 10)), "thor": (THOR, (3, 12)), "desktop": (DESKTOP, (3, 12))}
REAL = {
    "robot": {"domain": "real"},
    "base": {"kind": "waveshare", "port": "/dev/ttyUSB0", "track_m": 0.172, "max_wheel_mps": 0.6},
    "camera": {"kind": "v4l2", "hfov_deg": 70.0, "height_m": 0.2, "pitch_deg": 5.0, "forward_m": 0.1},
}


@pytest.fixture
def real() -> RobotProfile:
    return RobotProfile.model_validate(REAL)


@pytest.fixture
def make_host(tmp_path: Path) -> Callable[..., Host]:
    """make_host("orin", {"/dev/video0": None}, realtime=10): that machine, some files other ones or gone, some facts other ones."""

    def make(machine: str, files: dict[str, str | None] | None = None, **facts: Any) -> Host:
        tree, python = MACHINES[machine]
        wanted = {name: text for name, text in {**tree, **(files or {})}.items() if text is not None}
        root = build(tmp_path / machine, wanted)
        host = Host(Tree(root), read_board(Tree(root)), "robot", STRANGER, frozenset({STRANGER}), python, realtime=99, disk_free=50 * 2**30)
        return replace(host, **facts)

    return make


@pytest.fixture
def found(make_host: Callable[..., Host]) -> Callable[..., Finding]:
    """found("swap", "orin", {...}, ...): what that check finds on such a host."""
    return lambda name, *args, **facts: CHECKS[name](make_host(*args, **facts))
