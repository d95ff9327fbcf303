"""Goals and the words an engine is asked with."""

from __future__ import annotations

import pytest

from edge_vla import Goal, get_vlm_prompt
from edge_vla.errors import ConfigError
from edge_vla.goals import GOALS, Answer, get_presence_prompt, require_supported, to_goal

DETECTING = [Goal.FIND_OBJECT, Goal.NAVIGATE, Goal.FOLLOW, Goal.LOOK]


def test_names() -> None:
    assert [goal.value for goal in Goal] == [
        "find_object", "navigate", "follow", "avoid", "look", "describe_scene", "identify_main_object", "save_image", "command", "stop",
        "grab", "release", "point",
    ]  # fmt: skip
    assert set(GOALS) == set(Goal)


@pytest.mark.parametrize("goal", DETECTING)
def test_detecting_goals(goal: Goal) -> None:
    assert get_vlm_prompt(goal, target_object="red cup") == "detect red cup"
    assert get_vlm_prompt(goal.value, "red cup") == "detect red cup"


@pytest.mark.parametrize("goal", [goal for goal in Goal if GOALS[goal].needs_target])
def test_a_needed_target_is_asked_for(goal: Goal) -> None:
    with pytest.raises(ConfigError, match=f"'{goal.value}' needs a target"):
        get_vlm_prompt(goal)


@pytest.mark.parametrize(
    ("goal", "prompt"),
    [
        (Goal.AVOID, "drive"), (Goal.DESCRIBE_SCENE, "describe"), (Goal.IDENTIFY_MAIN_OBJECT, "what is the main object?"),
        (Goal.SAVE_IMAGE, ""),
        (Goal.STOP, ""), (Goal.COMMAND, ""), (Goal.RELEASE, ""),
    ],
)  # fmt: skip
def test_other_prompts(goal: Goal, prompt: str) -> None:
    assert get_vlm_prompt(goal) == prompt
    assert get_vlm_prompt(goal, "cup") == prompt


def test_what_moves_and_what_needs_an_arm() -> None:
    assert {goal.value for goal, spec in GOALS.items() if spec.moves} == {"find_object", "navigate", "follow", "look", "avoid", "command"}
    assert {goal.value for goal, spec in GOALS.items() if spec.needs_arm} == {"grab", "release", "point"}


def test_goals_without_a_prompt_expect_no_boxes() -> None:
    for spec in GOALS.values():
        assert ("{thing}" in spec.prompt) == spec.needs_target == (spec.answer is Answer.BOXES)


@pytest.mark.parametrize(
    ("target", "name"),
    [("the cup", "cup"), ("  A  red\tcup ", "red cup"), ("an", "an"), ("the ", "the"), ("컵", "컵"), ("The Red CUP", "red cup")],
)
def test_targets_are_tidied(target: str, name: str) -> None:
    assert get_vlm_prompt(Goal.FIND_OBJECT, target) == f"detect {name}"


@pytest.mark.parametrize("target", ["", "  ", "c" * 65, "<loc0001>", "cup>", "cup\x00", "cup\u200b", "cup\ud800"])
def test_impossible_targets_are_refused(target: str) -> None:
    with pytest.raises(ConfigError):
        get_vlm_prompt(Goal.FIND_OBJECT, target)


def test_longest_target() -> None:
    assert get_vlm_prompt(Goal.FIND_OBJECT, "c" * 64) == "detect " + "c" * 64


@pytest.mark.parametrize(
    ("target", "question"),
    [
        ("cup", "is there a cup?"), ("orange ball", "is there an orange ball?"), ("the apple", "is there an apple?"), ("hourglass",
        "is there an hourglass?"),
        ("uniform", "is there a uniform?"), ("umbrella", "is there an umbrella?"), ("Apple", "is there an apple?"),
    ],
)  # fmt: skip
def test_presence(target: str, question: str) -> None:
    assert get_presence_prompt(target) == question


@pytest.mark.parametrize(
    ("name", "hint"), [("find_objct", "find_object"), ("Navigate", "navigate"), ("xyzzy", "want one of find_object, navigate")]
)
def test_unknown_goals_name_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        to_goal(name)


@pytest.mark.parametrize("goal", list(Goal))
def test_arm_goals_need_an_arm(goal: Goal) -> None:
    assert require_supported(goal, has_arm=True) is goal
    if goal in {Goal.GRAB, Goal.RELEASE, Goal.POINT}:
        with pytest.raises(ConfigError, match=f"'{goal.value}' needs an arm"):
            require_supported(goal)
    else:
        assert require_supported(goal.value) is goal
