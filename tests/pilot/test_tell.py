"""Goals that end with words, or at once."""

from __future__ import annotations

import pytest

from edge_vla.behaviours.state import Phase
from edge_vla.pilot import prompt_of


@pytest.mark.parametrize("goal", ["describe_scene", "identify_main_object"])
@pytest.mark.parametrize("words", ["a red cup and a door", ""])
def test_the_engines_words_are_the_result(make_paper, make_plan, goal: str, words: str) -> None:
    paper = make_paper(plan=make_plan(goal, None))
    paper.text = words
    state = paper.run(3.0)
    assert (state.outcome, state.words, state.why) == ("reached", words, words or "nothing to say")
    assert paper.x_m == paper.yaw_rad == 0.0


@pytest.mark.parametrize("goal", ["stop", "save_image"])
def test_standing_is_done_with_the_first_look(make_paper, make_plan, goal: str) -> None:
    paper = make_paper(plan=make_plan(goal, None))
    state = paper.run(3.0)
    assert (state.phase, state.outcome, state.looks) == (Phase.DONE, "reached", 1)
    assert all(action.twist.linear_x == action.twist.angular_z == 0.0 for _, action in paper.actions)


@pytest.mark.parametrize(
    ("goal", "target", "prompt"),
    [
        ("find_object", "cup", "detect cup"), ("look", "red ball", "detect red ball"), ("avoid", None, "drive"),
        ("describe_scene", None, "describe"), ("identify_main_object", None, "what is the main object?"),
        ("command", None, "drive"), ("save_image", None, "drive"),  # who asks nothing still wants to know the way ahead
    ],
)  # fmt: skip
def test_what_an_engine_is_asked(make_plan, goal: str, target: str | None, prompt: str) -> None:
    assert prompt_of(make_plan(goal, target)) == prompt
