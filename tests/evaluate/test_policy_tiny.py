"""The policy that is shipped: it answers as it did when it was exported, drives to a cone, and does not without its eyes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge_vla.backends.answers import KEPT, compare
from edge_vla.backends.bundle import Bundle
from edge_vla.config import RobotProfile
from edge_vla.goals import Goal
from edge_vla.parts import make_graphs, make_host
from edge_vla.series import HELD_OUT, Setting, run_all


@pytest.fixture(scope="module")
def shipped(checkout: Path) -> Path:
    return checkout / "engines" / "policy-tiny"


def test_it_answers_as_its_model_did(shipped: Path) -> None:
    bundle = Bundle(shipped)
    graphs = make_graphs(bundle, threads=1)
    asked, agreeing = compare(make_host(bundle, graphs), bundle, KEPT[bundle.manifest.precision], lambda _: None)
    graphs.close()
    assert asked >= 6
    assert agreeing == asked
    assert not bundle.manifest.doubt


@pytest.mark.slow
def test_it_drives_to_a_cone_and_sees_it(shipped: Path) -> None:
    """Two held-out rooms in which the cone is plain to see; the same with a blank picture."""
    setting = Setting(
        Goal.FIND_OBJECT, str(shipped), episodes=2, seed=HELD_OUT + 2, absent_fraction=0, timeout_s=40, targets=("cone",)
    )  # fmt: skip
    seen = list(run_all(setting, RobotProfile(), 1))
    assert [(v.said, v.success, v.contacts) for v in seen] == [("reached", True, 0)] * 2
    blind = list(run_all(replace(setting, control="blank"), RobotProfile(), 1))
    assert not any(v.success for v in blind)
