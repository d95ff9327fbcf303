"""What a simulator is told: refused with name, value and range before a process is spent on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_vla.config import RobotProfile
from edge_vla.errors import ConfigError
from edge_vla.sim.settings import SimSettings


def test_a_line_of_json_brings_them_across() -> None:
    settings = SimSettings("runs/x", 7, ("cup", "door"), ("ball",), fps=20, truth=True, faults={"frozen": 2.5})
    line = settings.to_json()
    assert "\n" not in line
    assert SimSettings.from_json(line) == settings


def test_the_defaults_are_the_simulated_robots() -> None:
    settings, profile = SimSettings("x"), RobotProfile()
    for name in ("width", "height", "fps", "hfov_deg", "height_m", "pitch_deg", "forward_m"):
        assert getattr(settings, name) == getattr(profile.camera, name), name
    assert (settings.base, settings.baud) == (profile.base.kind, profile.base.baud)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folder": ""}, "folder=''"),
        ({"seed": -1}, r"seed=-1: want int in 0\.\.2147483647"),
        ({"seed": True}, "seed=True"),
        ({"width": 641}, r"width=641: want int in 64\.\.640"),
        ({"height": 481}, r"height=481: want int in 48\.\.480"),
        ({"fps": 0}, "fps=0"),
        ({"fps": 15.0}, "fps=15.0"),
        ({"hfov_deg": float("nan")}, "hfov_deg=nan"),
        ({"pitch_deg": 61.0}, "pitch_deg=61.0"),
        ({"require": ("cop",)}, "unknown class 'cop'; did you mean 'cup'"),
        ({"exclude": ("unicorn",)}, "unknown class 'unicorn'"),
        ({"require": ("cup",), "exclude": ("cup",)}, "both name cup"),
        ({"follow": True}, "want the class that moves"),
        ({"truth": 1}, "truth=1: want bool"),
        ({"faults": {"frosen": 1.0}}, "unknown fault 'frosen'; did you mean 'frozen'"),
        ({"faults": {"frozen": -1.0}}, "frozen after -1.0 s"),
        ({"faults": {"frozen": float("inf")}}, "frozen after inf s"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SimSettings(**{"folder": "x", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "no JSON"),
        ("[1]", "want an object"),
        ("{}", "with a folder"),
        ('{"folder": "x", "sead": 1}', "unknown key 'sead'; did you mean 'seed'"),
    ],
)
def test_a_broken_line_is_refused(line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SimSettings.from_json(line)


def test_edges_are_allowed(tmp_path: Path) -> None:
    SimSettings(str(tmp_path), seed=2**31 - 1, width=640, height=480, fps=60, hfov_deg=150, pitch_deg=-30.0, faults={"silent": 0.0})
