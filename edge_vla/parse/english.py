"""English clauses to commands. Knows words and their order; knows no speeds.

A clause is a command only where its verb stands where an imperative's stands: first, or behind "please", "I will",
"the robot should". So "the chair on the right" and "that is a good goal" are descriptions without any list of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_vla.parse.command import Command, Cue
from edge_vla.parse.english_kinds import build, build_bare
from edge_vla.parse.english_words import (
    ANSWER_NOUNS,
    FINITE,
    GERUNDS,
    HEADS,
    LEAD_FILLERS,
    LEAD_INS,
    LONGEST,
    LONGEST_LEAD_IN,
    NEGATIVE_PHRASES,
    NEGATORS,
    PACES,
    SENSES,
    WAYS,
    Sense,
    is_adverb,
)
from edge_vla.parse.quantities import to_float
from edge_vla.types import ActionType

_CONDITIONS = frozenset("if when whenever unless provided assuming once".split())
_POLITE_IFS = frozenset({"possible", "you can", "you please", "you would", "you could", "you like", "you will", "you are able to", "you do not mind"})
_ASIDES = frozenset("because since while whilst until till as".split())  # what follows tells why, when or how long
_BREAKS = frozenset({",", "then", "afterwards", "afterward", "thereafter", "but", "so", "therefore", "thus", "hence", "however", "otherwise"})
_JOINS = frozenset({"and", "or", "nor", "&"})
_CORRECTIONS = frozenset({"no", "actually", "sorry", "oops", "i mean", "scratch that", "correction", "wait no", "no wait", "my mistake", "or rather"})
_NEEDS_HEAD = frozenset({"continue", "start", "begin", "try", "do", "better", "i am", "we are", "let me", "i", "we", "you", "robot", "the robot", "the rover"})
_QUESTIONS = frozenset({"can", "could", "would", "will", "please"})  # the questions that are requests
_GO_AND = (["go"], ["come"], ["try"])  # "go and find the cup" is one command
_COPULAS = frozenset({"is", "are", "was", "were"})  # behind an imperative "can" may be a thing: "grab the can"
_RELATIVES = frozenset("that which who where what whose".split())


@dataclass(slots=True)
class _Clause:
    tokens: list[str]
    opener: str = ","


@dataclass(frozen=True, slots=True)
class _Lead:
    """What stands before the verb, and where it ends."""

    at: int
    negated: bool = False
    replaces: bool = False
    polite: bool = False
    pace: float = 1.0


def read(tokens: Sequence[str], *, question: bool = False) -> list[Command]:
    """The commands of one sentence, in order; negated ones, limits and conditional ones are marked, not left out."""
    found: list[Command] = []
    negated = replaces = conditional = False
    clauses = _clauses(tokens)
    for index, clause in enumerate(clauses):
        if clause.opener == "if":
            if " ".join(clause.tokens[:4]).startswith(tuple(_POLITE_IFS)):
                continue
            conditional = not found
            if found:
                found[-1] = _conditional(found[-1])
            continue
        command, lead = _read_clause(clause, alone=len(clauses) == index + 1)
        if command is None:
            replaces = replaces or lead.replaces
            negated = lead.negated and not clause.tokens
            continue
        if question and not (lead.polite or found):
            continue
        carried = negated and clause.opener in _JOINS and not lead.polite
        negated = command.negated or carried
        cue = _cue(clause, command, replaces=replaces or lead.replaces, follows=bool(found))
        command = replace(command, negated=negated, cue=cue)
        found.append(_conditional(command) if conditional else command)
        replaces = False
    return found


def _cue(clause: _Clause, command: Command, *, replaces: bool, follows: bool) -> Cue:
    if clause.opener in {"without", "instead of"}:
        return Cue.LIMITS
    if replaces or "instead" in clause.tokens:
        return Cue.REPLACES
    if clause.opener == "or" and follows and not command.negated:
        return Cue.ALTERNATIVE
    return Cue.PLAIN


def _conditional(command: Command) -> Command:
    """A stop may be obeyed without judging its condition; nothing else may."""
    safe = command.kind is ActionType.STOP or command.negated
    return command if safe else replace(command, cue=Cue.CONDITIONAL)


def _clauses(tokens: Sequence[str]) -> list[_Clause]:
    """Cut at commas, "then", "but", and at "and" where a verb follows. Asides are cut off and dropped."""
    clauses, at = [_Clause([])], 0
    while at < len(tokens):
        opener, width = _opener(tokens, at, clauses[-1].tokens)
        if opener:
            clauses.append(_Clause([], opener))
        else:
            clauses[-1].tokens.append(tokens[at])
        at += width
    return [clause for clause in clauses if clause.tokens and clause.opener != "aside"]


def _opener(tokens: Sequence[str], at: int, sofar: Sequence[str]) -> tuple[str, int]:
    """The kind of clause that starts here and the tokens its opening takes, or ("", 1)."""
    token, after = tokens[at], tokens[at + 1] if at + 1 < len(tokens) else ""
    if (token, after) in {("instead", "of"), ("rather", "than")}:
        return "instead of", 2
    if (token, after) in {("as", "soon"), ("in", "case"), ("as", "long")}:
        return "if", 2
    if (token, after) in {("so", "that"), ("before", "you"), ("after", "you")}:
        return "aside", 2
    if (token, after) == ("after", "that"):
        return ",", 2
    if token in _CONDITIONS and not (token == "once" and (not after or after in {"more", "again", ",", "then"})):
        return "if", 1
    if token == "without" and after in GERUNDS:
        return "without", 1
    if token in _ASIDES and not (token == "as" and after in {"", "well", "quickly", "fast", "slowly", "far", "close", "carefully"}):
        return "aside", 1
    if token in _BREAKS:
        return ",", 1
    if token in _JOINS and _starts_command(tokens, at + 1) and list(sofar[-2:]) != ["go", "ahead"] and list(sofar[-1:]) not in _GO_AND:
        return ("and" if token == "&" else token), 1
    if token in {"not", "nor"} and after in {*WAYS, "to"} and any(word in WAYS for word in sofar):
        return "not", 1
    return "", 1


def _starts_command(tokens: Sequence[str], at: int) -> bool:
    """Whether a verb, a negation or a lead-in comes next, past "then", "please" and adverbs."""
    at = _skip(tokens, at)
    if at >= len(tokens):
        return False
    return tokens[at] in HEADS or tokens[at] in {"do", "not", "never", "you", "i", "we"} or tokens[at] == "then"


def _skip(tokens: Sequence[str], at: int) -> int:
    while at < len(tokens) and (tokens[at] in LEAD_FILLERS or tokens[at] in PACES or tokens[at] in NEGATORS or is_adverb(tokens[at])):
        at += 1
    return at


def _read_clause(clause: _Clause, *, alone: bool) -> tuple[Command | None, _Lead]:
    lead = _lead(clause.tokens)
    rest = clause.tokens[lead.at :]
    if clause.opener in {"without", "instead of", "not"}:
        lead = replace(lead, negated=True)
    sense, width = _head(rest)
    if sense is None:
        command = None if _finite(rest) else build_bare(rest, alone=alone)
    elif sense.kind is not ActionType.STOP and _finite(rest):
        command = None
    else:
        command = build(sense, rest[:width], rest[width:])
    if command is None:
        return None, lead
    inner = any(token in NEGATORS for token in rest[width:]) or clause.tokens[-1:] == ["nowhere"]
    pace = command.pace if command.pace != 1.0 else lead.pace
    return replace(command, negated=lead.negated or inner, pace=pace, words=" ".join(clause.tokens)), lead


def _lead(tokens: Sequence[str]) -> _Lead:
    """Walk over everything that may stand before an imperative."""
    lead = _Lead(_answer(tokens), polite=bool(tokens) and tokens[0] in _QUESTIONS)
    while lead.at < len(tokens):
        token = tokens[lead.at]
        if width := _phrase(tokens, lead.at, NEGATIVE_PHRASES, LONGEST_LEAD_IN):
            lead = replace(lead, at=lead.at + width, negated=True)
        elif token == "no" and tokens[lead.at + 1 : lead.at + 2] and _negates(tokens, lead.at + 1):
            lead = replace(lead, at=lead.at + 1, negated=True)
        elif width := _phrase(tokens, lead.at, _CORRECTIONS, 2):
            lead = replace(lead, at=lead.at + width, replaces=True)
        elif width := _lead_in(tokens, lead.at):
            lead = replace(lead, at=lead.at + width)
        elif token in NEGATORS or (token in {"avoid", "avoiding"} and _is(tokens, lead.at + 1, GERUNDS)):
            lead = replace(lead, at=lead.at + 1, negated=True)
        elif token in PACES:
            lead = replace(lead, at=lead.at + 1, pace=PACES[token])
        elif token in LEAD_FILLERS or is_adverb(token):
            lead = replace(lead, at=lead.at + 1, polite=lead.polite or token == "please")
        elif to_float(token) is not None and lead.at == 0 and _is(tokens, 1, HEADS):
            lead = replace(lead, at=1)  # "2) move forward"
        else:
            break
    return lead


def _answer(tokens: Sequence[str]) -> int:
    """Behind "the best action is (to)", or 0."""
    for at in range(1, min(len(tokens) - 1, 8)):
        if tokens[at] in {"is", "be"} and any(word in ANSWER_NOUNS for word in tokens[:at]) and tokens[at - 1] in ANSWER_NOUNS | {"would", "should"}:
            return at + (2 if tokens[at + 1] == "to" else 1)
    return 0


def _negates(tokens: Sequence[str], at: int) -> bool:
    """ "no turning", "no left turn"; not "no, turn left"."""
    return tokens[at] in GERUNDS or (tokens[at] in {"left", "right"} and _is(tokens, at + 1, {"turn", "turns"}))


def _lead_in(tokens: Sequence[str], at: int) -> int:
    for width in range(min(LONGEST_LEAD_IN, len(tokens) - at), 0, -1):
        phrase = " ".join(tokens[at : at + width])
        if phrase in LEAD_INS and (not (phrase.endswith((" to", " by")) or phrase in _NEEDS_HEAD) or _headed(tokens, at + width)):
            return width
    return 0


def _headed(tokens: Sequence[str], at: int) -> bool:
    """Whether a verb comes next, past adverbs, negations and another lead-in."""
    at = _skip(tokens, at)
    return _is(tokens, at, HEADS) or _is(tokens, at, {"need", "have", "want", "try", "should", "will", "must", "do", "think", "suggest"})


def _phrase(tokens: Sequence[str], at: int, phrases: frozenset[str], longest: int) -> int:
    for width in range(min(longest, len(tokens) - at), 0, -1):
        if " ".join(tokens[at : at + width]) in phrases:
            return width
    return 0


def _head(tokens: Sequence[str]) -> tuple[Sense | None, int]:
    if not tokens or tokens[0] not in HEADS:
        return None, 0
    for width in range(min(LONGEST, len(tokens)), 0, -1):
        sense = SENSES.get(" ".join(tokens[:width]))
        if sense:
            return sense, width
    return None, 0


def _finite(tokens: Sequence[str]) -> bool:
    """A verb further on that makes the whole a statement: "moving forward is unsafe", "point a is on the left"."""
    words = FINITE if tokens[:1] and tokens[0] not in HEADS - GERUNDS else _COPULAS
    for token in tokens[1:]:
        if token in _RELATIVES:
            return False
        if token in words:
            return True
    return False


def _is(tokens: Sequence[str], at: int, words: frozenset[str] | set[str]) -> bool:
    return at < len(tokens) and tokens[at] in words
