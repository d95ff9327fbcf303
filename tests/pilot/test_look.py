"""look: turn on the spot until the target is straight ahead, at most once around."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_vla.behaviours.look import look_for
from edge_vla.behaviours.state import Inputs, Phase, State
from edge_vla.track import Track
from edge_vla.types import ActionType, Look, Pose

S = 1_000_000_000
CUP = Track(2.0, 0.0, 0.05, 0.95, S, hits=2)


@pytest.fixture
def inputs(make_look: Callable[..., Look]) -> Callable[[float], Inputs]:
    return lambda yaw=0.0: Inputs(2 * S, Pose(2 * S, 0.0, 0.0, yaw), make_look(1.75), armed=True)


@pytest.mark.parametrize(("yaw", "reached"), [(0.05, True), (-0.09, True), (0.11, False), (-0.11, False), (2.0, False)])
def test_it_faces_the_target(inputs, make_plan, yaw: float, reached: bool) -> None:
    state, action = look_for(State(track=CUP), inputs(yaw), make_plan("look"))
    assert (state.outcome == "reached") is reached
    if reached:
        assert (action.angular_z, state.why) == (0.0, f"cup seen 2.0 m ahead, {math.degrees(-yaw):+.0f} degrees")
    else:
        assert action.angular_z == pytest.approx(max(-1.0, min(1.0, -1.5 * yaw)))


def test_an_unsure_target_ahead_is_waited_for(inputs, make_plan) -> None:
    state, action = look_for(State(track=replace(CUP, hits=1, confidence=0.5)), inputs(0.0), make_plan("look"))
    assert (state.phase is Phase.DONE, action.angular_z) == (False, 0.0)


def test_after_one_turn_it_gives_up(make_paper) -> None:
    paper = make_paper("look")
    state = paper.run(30.0)
    assert (state.outcome, state.why) == ("not_found", "no cup in a full turn")
    assert 2 * math.pi - 0.35 * math.radians(70) <= abs(paper.yaw_rad) < 2 * math.pi
    assert {action.action_type for _, action in paper.actions[10:]} == {ActionType.LOOK}


@pytest.mark.parametrize("target", [(1.0, 0.4), (-1.5, 0.2), (-0.4, -1.2)])
def test_it_turns_to_the_target_and_never_drives(make_paper, target: tuple[float, float]) -> None:
    paper = make_paper("look", target=target)
    assert paper.run(20.0).outcome == "reached"
    assert abs(paper.bearing_rad()) < 0.15
    assert paper.x_m == paper.y_m == 0.0
