"""What a user may ask for, and the words an engine is asked with. Knows no image tokens (the bundle adds them) and no motion.

A new goal is one member of `Goal` and one row of `GOALS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum

from edge_vla.errors import ConfigError, did_you_mean

MAX_TARGET_CHARS = 64  # a thing's name, not an essay: it is pasted into a prompt
MAX_SENTENCE_CHARS = 200


class Goal(Enum):
    """The goals by their command-line names."""

    FIND_OBJECT = "find_object"
    NAVIGATE = "navigate"
    FOLLOW = "follow"
    AVOID = "avoid"
    LOOK = "look"
    DESCRIBE_SCENE = "describe_scene"
    IDENTIFY_MAIN_OBJECT = "identify_main_object"
    SAVE_IMAGE = "save_image"
    COMMAND = "command"
    STOP = "stop"
    GRAB = "grab"
    RELEASE = "release"
    POINT = "point"


class Answer(Enum):
    """What kind of reply a goal's prompt brings."""

    BOXES = "boxes"  # loc tokens and labels
    MOTION = "motion"  # a movement sentence
    WORDS = "words"  # a sentence about the scene; never a motion
    NOTHING = "nothing"  # the engine is not asked


@dataclass(frozen=True, slots=True)
class GoalSpec:
    """What a goal needs and asks. `{thing}` in the prompt stands for the target."""

    prompt: str
    answer: Answer
    needs_target: bool = False
    moves: bool = False
    needs_arm: bool = False
    instruction: str = ""  # what a policy is told instead of being asked; "" where it cannot do the goal


GOALS: dict[Goal, GoalSpec] = {
    Goal.FIND_OBJECT: GoalSpec("detect {thing}", Answer.BOXES, needs_target=True, moves=True, instruction="find the {thing}"),
    Goal.NAVIGATE: GoalSpec("detect {thing}", Answer.BOXES, needs_target=True, moves=True, instruction="go to the {thing}"),
    Goal.FOLLOW: GoalSpec("detect {thing}", Answer.BOXES, needs_target=True, moves=True, instruction="follow the {thing}"),
    Goal.LOOK: GoalSpec("detect {thing}", Answer.BOXES, needs_target=True, moves=True, instruction="look at the {thing}"),
    Goal.AVOID: GoalSpec("drive", Answer.MOTION, moves=True, instruction="drive around and touch nothing"),
    Goal.DESCRIBE_SCENE: GoalSpec("describe", Answer.WORDS),
    Goal.IDENTIFY_MAIN_OBJECT: GoalSpec("what is the main object?", Answer.WORDS),
    Goal.SAVE_IMAGE: GoalSpec("", Answer.NOTHING),
    Goal.COMMAND: GoalSpec("", Answer.MOTION, moves=True, instruction="{sentence}"),  # the sentence is the operator's own
    Goal.STOP: GoalSpec("", Answer.NOTHING),
    Goal.GRAB: GoalSpec("detect {thing}", Answer.BOXES, needs_target=True, needs_arm=True),
    Goal.RELEASE: GoalSpec("", Answer.NOTHING, needs_arm=True),
    Goal.POINT: GoalSpec("detect {thing}", Answer.BOXES, needs_target=True, needs_arm=True),
}


def to_goal(goal: Goal | str) -> Goal:
    """The goal itself, or the one of that name. Raises ConfigError naming the nearest."""
    if isinstance(goal, Goal):
        return goal
    names = [member.value for member in Goal]
    if goal in names:
        return Goal(goal)
    near = get_close_matches(str(goal).lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"want one of {', '.join(names)}"
    raise ConfigError(f"unknown goal {goal!r}: {hint}")


def clean_target(target: str) -> str:
    """A thing's name fit for a prompt: one line in small letters, no article, no token brackets. Raises ConfigError."""
    words = target.casefold().split()
    if len(words) > 1 and words[0] in {"a", "an", "the"}:
        words = words[1:]
    name = " ".join(words)
    if not name:
        raise ConfigError(f"target {target!r} names nothing")
    if len(name) > MAX_TARGET_CHARS:
        raise ConfigError(f"target of {len(name)} characters, want at most {MAX_TARGET_CHARS}: {name[:20]!r}...")
    if not name.isprintable() or "<" in name or ">" in name:
        raise ConfigError(f"target {name!r} holds '<', '>' or an unprintable character")
    return name


def require_known(target: str, known: Sequence[str], who: str) -> None:
    """Raise ConfigError, naming the nearest, for a thing that `who` cannot detect."""
    if target in known:
        return
    hint = did_you_mean(target, known, cutoff=0.8)  # an elephant is no plant
    raise ConfigError(f"{who} does not know {target!r}{f'{hint} It' if hint else '; it'} knows: {', '.join(known)}")


def get_vlm_prompt(goal: Goal | str, target_object: str | None = None) -> str:
    """What to ask an engine for this goal; "" for goals that ask nothing. Raises ConfigError without a needed target."""
    chosen = to_goal(goal)
    spec = GOALS[chosen]
    if not spec.needs_target:
        return spec.prompt
    if target_object is None:
        raise ConfigError(f"goal {chosen.value!r} needs a target, for example target_object='cup'")
    return spec.prompt.format(thing=clean_target(target_object))


def get_instruction(goal: Goal | str, target_object: str | None = None, sentence: str = "") -> str:
    """What to tell a policy for this goal, for a command the operator's own `sentence`. Raises ConfigError where that is nothing."""
    chosen = to_goal(goal)
    words = GOALS[chosen].instruction
    if not words:
        able = ", ".join(known.value for known, spec in GOALS.items() if spec.instruction)
        raise ConfigError(f"goal {chosen.value!r} is nothing a policy can do: it drives and says no word; it can {able}")
    if GOALS[chosen].needs_target:
        get_vlm_prompt(chosen, target_object)  # raises without a target
    thing = clean_target(target_object) if target_object is not None else ""
    return words.format(thing=thing, sentence=clean_sentence(sentence) if chosen is Goal.COMMAND else "")


def clean_sentence(sentence: str) -> str:
    """An operator's sentence fit for a prompt: one line, no token brackets. Raises ConfigError."""
    words = " ".join(sentence.split())
    if not words:
        raise ConfigError(f"sentence {sentence!r} says nothing")
    if len(words) > MAX_SENTENCE_CHARS:
        raise ConfigError(f"sentence of {len(words)} characters, want at most {MAX_SENTENCE_CHARS}: {words[:20]!r}...")
    if not words.isprintable() or "<" in words or ">" in words:
        raise ConfigError(f"sentence {words!r} holds '<', '>' or an unprintable character")
    return words


def get_presence_prompt(target_object: str) -> str:
    """The yes-or-no question about a thing: "is there a cup?", "is there an orange ball?"."""
    name = clean_target(target_object)
    return f"is there {_article(name)} {name}?"


def require_supported(goal: Goal | str, *, has_arm: bool = False) -> Goal:
    """The goal, if a base with or without an arm can do it. Raises ConfigError."""
    chosen = to_goal(goal)
    if GOALS[chosen].needs_arm and not has_arm:
        raise ConfigError(f"goal {chosen.value!r} needs an arm and this base has none")
    return chosen


def _article(name: str) -> str:
    """By sound as far as spelling tells it: "a uniform", "an hour"."""
    word = name.lower()
    if word.startswith(("hour", "honest", "heir")):
        return "an"
    if word.startswith(("uni", "use", "euro", "one", "ukulele")):
        return "a"
    return "an" if word[0] in "aeiou" else "a"
