"""Public names of `edge_vla.learn`: there, and free until somebody asks for one."""

from __future__ import annotations

import subprocess
import sys

import pytest

import edge_vla.learn
from edge_vla.learn.backbones import BACKBONES
from edge_vla.learn.heads import HEADS


def test_the_package_alone_loads_no_torch() -> None:
    code = "import sys, edge_vla.learn, edge_vla.learn.backbones; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", edge_vla.learn.__all__)
def test_a_public_name_is_what_its_home_calls_so(name: str) -> None:
    assert getattr(edge_vla.learn, name).__name__ == name


def test_every_backbone_and_every_head_has_a_public_name() -> None:
    assert {*BACKBONES, *HEADS} <= set(edge_vla.learn.__all__)
    for name in BACKBONES:
        assert getattr(edge_vla.learn.backbones, name) is getattr(edge_vla.learn, name)


@pytest.mark.parametrize("package", [edge_vla.learn, edge_vla.learn.backbones])
def test_another_name_is_an_error_that_lists_them(package: object) -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'RoboGemma'; it has .*RoboPaligemma"):
        _ = package.RoboGemma  # type: ignore[attr-defined]
