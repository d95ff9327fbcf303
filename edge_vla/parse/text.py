"""A reply or an operator's sentence, English or Korean, to actions. Knows how clauses relate; the languages know the words.

* The first command is the action; the rest is the queue (`parse_all`).
* A forbidden motion is dropped where another one is asked for ("don't turn left, go straight") and is a STOP on its own.
* A condition is nothing a sentence can judge: "if the path is clear, go" yields no motion. A conditional stop is obeyed.
* Two alternatives, or left and right at once, yield no motion.

Parse confidence (not the model's): 0.9 a verb with its way, 0.7 a way or a quantity alone, 0.5 a way nobody named,
less 0.1 per unexplained word; 0.2 ambiguous or conditional, 0 no command. Below 0.3 `ActionValidator` stops the robot.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from edge_vla.parse import english, korean
from edge_vla.parse.clean import MAX_CHARS, Sentence, fold, sentences, without_prompt
from edge_vla.parse.command import CLEAR, UNSURE, Command, Cue, still, to_action
from edge_vla.parse.quantities import merge
from edge_vla.types import ActionType, RobotAction

MAX_QUEUE = 16  # commands of one text; more is no instruction
_MOVING = frozenset({ActionType.MOVE, ActionType.TURN, ActionType.NAVIGATE, ActionType.AVOID})


def parse_text(text: str, original_prompt: str = "") -> RobotAction:
    """The first command of a text; UNKNOWN and still where there is none, STOP where all it does is forbid."""
    return parse_all(text, original_prompt)[0]


def parse_all(text: str, original_prompt: str = "") -> tuple[RobotAction, ...]:
    """Every command of a text in order, at least one action. Texts over 1 MB are refused unread; linear time below."""
    if len(text) > MAX_CHARS:
        return (still(ActionType.UNKNOWN, f"refused: {len(text)} characters, want at most {MAX_CHARS}"),)
    folded = fold(text)
    if len(folded) > MAX_CHARS:  # one character may stand for up to 18
        return (still(ActionType.UNKNOWN, f"refused: {len(folded)} characters once unfolded, want at most {MAX_CHARS}"),)
    if original_prompt:
        folded = without_prompt(folded, original_prompt)
    verdict = _Verdict()
    for sentence in sentences(folded):
        for command in _read(sentence):
            verdict.take(command)
    return verdict.actions(text)


def _read(sentence: Sentence) -> list[Command]:
    if korean.is_korean(sentence.tokens):
        return korean.read(sentence.tokens, question=sentence.question)
    return english.read(sentence.tokens, question=sentence.question)


@dataclass(slots=True)
class _Verdict:
    """What is asked for so far, and why nothing may be."""

    asked: list[Command] = field(default_factory=list)
    forbidden: str = ""
    unsure: str = ""

    def take(self, command: Command) -> None:
        """One more command, in the order of the text."""
        if command.negated or command.cue is Cue.LIMITS:
            self._forbid(command)
        elif command.cue is Cue.CONDITIONAL:
            self.unsure = f"conditional: {command.words}"
        elif command.cue is Cue.ALTERNATIVE and self.asked:
            self.unsure = f"alternatives: {self.asked.pop().words} or {command.words}"
        elif command.cue is Cue.REPLACES:
            self.asked = [command]
        elif self.asked and self.asked[-1].assumed and command.bare:
            self.asked[-1] = _joined(command, self.asked[-1])
        elif self.asked and self.asked[-1].bare and command.assumed:
            self.asked[-1] = _joined(self.asked[-1], command)
        elif len(self.asked) < MAX_QUEUE:
            self.asked.append(command)

    def actions(self, text: str) -> tuple[RobotAction, ...]:
        """The queue, or one action that moves nothing."""
        if self.asked:
            return tuple(to_action(command) for command in self.asked)
        if self.unsure:
            return (still(ActionType.UNKNOWN, self.unsure, sure=UNSURE),)
        if self.forbidden:
            return (still(ActionType.STOP, f"forbidden: {self.forbidden}", sure=CLEAR),)
        return (still(ActionType.UNKNOWN, f"no command in {text[:100]!r}"),)

    def _forbid(self, command: Command) -> None:
        if command.kind is ActionType.STOP:
            return  # "don't stop" starts nothing
        self.forbidden = command.words
        if command.cue is not Cue.LIMITS:
            self.asked = [asked for asked in self.asked if not _covers(command, asked)]


def _joined(way: Command, verb: Command) -> Command:
    """ "turn", "direction: right": one command."""
    joined = replace(way, bare=False, assumed=False, sideways=verb.sideways, measure=merge(way.measure, verb.measure))
    return replace(joined, kind=ActionType.MOVE) if verb.sideways else joined


def _covers(forbidden: Command, asked: Command) -> bool:
    """Whether what was asked for is what is then forbidden: "turn left. do not move"."""
    if forbidden.kind is ActionType.MOVE and forbidden.assumed:
        return asked.kind in _MOVING
    if forbidden.kind is not asked.kind:
        return False
    if forbidden.ways and not forbidden.assumed:
        return bool(set(forbidden.ways) & set(asked.ways))
    return forbidden.target is None or forbidden.target == asked.target
