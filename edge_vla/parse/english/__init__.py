"""English sentences to commands: clauses, what opens them, and the verb at their head. Knows no speeds.

A clause is a command only where its verb stands where an imperative's stands: first, or behind "please", "I will",
"the robot should". So "the chair on the right" and "that is a good goal" are descriptions without any list of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_vla.parse.command import Command, Cue
from edge_vla.parse.english.kinds import build, build_bare, build_reversed, detail
from edge_vla.parse.english.lead import NEGATORS, SHOULD, Lead, lead_of, starts_command, starts_with_robot
from edge_vla.parse.english.verbs import GERUNDS, HEADS, LONGEST, SENSES, Sense, phrases
from edge_vla.parse.english.words import FINITE, WAYS
from edge_vla.parse.numerals import get
from edge_vla.parse.quantities import merge
from edge_vla.types import ActionType

_CONDITIONS = frozenset("if when whenever unless provided providing assuming supposing once".split())
_POLITE_IFS = phrases("possible, you can, you please, you would, you could, you like, you will, you are able to, you do not mind")
_HANGING = frozenset({"not", "never"})  # "do not, under any circumstances, move"
_TAGS = phrases("will you, would you, can you, could you, okay, ok, please, alright, right")
_ASIDES = frozenset("because since while whilst until till as".split())  # what follows tells why, when or how long
_COMPARES = frozenset("well quickly fast slowly far close carefully".split())  # "as quickly as possible" is no aside
_BREAKS = frozenset(", then afterwards afterward thereafter but so therefore thus hence however otherwise".split())
_JOINS = frozenset("and or nor &".split())
_PAIRS = {
    ("instead", "of"): "instead of", ("rather", "than"): "instead of", ("in", "case"): "if", ("even", "if"): "if",
    ("every", "time"): "if", ("each", "time"): "if", ("the", "moment"): "if", ("the", "event"): "if", ("condition", "that"): "if",
    ("so", "that"): "aside", ("before", "you"): "aside", ("after", "you"): "if", ("after", "that"): ",",
    ("which", "means"): ",", ("this", "means"): ",", ("that", "means"): ",",
}  # fmt: skip
_NEGATIVE_OPENERS = frozenset({"without", "instead of", "not"})
_GO_AND = (["go"], ["come"], ["try"])  # "go and find the cup" is one command
_COPULAS = frozenset("is are was were".split())  # behind an imperative "can" may be a thing: "grab the can"
_RELATIVES = frozenset("that which who where what whose".split())
_ANYWHERE = frozenset("anywhere everywhere anything everything".split())
_MORE = frozenset("more less further farther longer greater over".split())
_REACH = 12  # tokens: how far back "turn left, not right" looks for its left


@dataclass(slots=True)
class _Clause:
    tokens: list[str]
    opener: str = ","


def read(tokens: Sequence[str], *, question: bool = False) -> list[Command]:
    """The commands of one sentence, in order; negated ones, limits and conditional ones are marked, not left out."""
    found: list[Command] = []
    negated = replaces = conditional = told = pending = after = False
    clauses = _clauses(tokens)
    question = question and not (clauses and " ".join(clauses[-1].tokens) in _TAGS)
    for index, clause in enumerate(clauses):
        if clause.opener == "if":
            if " ".join(clause.tokens) in _POLITE_IFS:
                continue
            conditional = not found
            if found:
                found[-1] = _conditional(found[-1])
            continue
        command, lead = _read_clause(clause, alone=len(clauses) == index + 1)
        if command is None:
            replaces = replaces or lead.replaces
            negated = False
            pending = clause.tokens[-1] in _HANGING or (pending and lead.at == len(clause.tokens))
            told = told or not (_detailed(clause, found) or lead.at == len(clause.tokens))
            continue
        if (question and not (lead.polite or found)) or (told and _participle(clause, lead)):
            continue
        carried = negated and clause.opener in _JOINS and not lead.polite
        negated = command.negated or carried or pending
        cue = _cue(clause, command, replaces=replaces or lead.replaces, follows=bool(found))
        command = replace(command, negated=negated, cue=cue)
        found.insert(len(found) - (clause.opener == "first" and bool(found)), _conditional(command) if conditional else command)
        replaces = pending = False
        after = clause.opener == "after"
    return [] if after else found  # "after turning left, the robot hit a wall": nothing is asked for


def _detailed(clause: _Clause, found: list[Command]) -> bool:
    """Put a clause that is only a quantity or a pace into the command before it."""
    parts = detail(clause.tokens) if found else None
    if parts:
        at = next((at for at in reversed(range(len(found))) if not found[at].negated), -1)  # "turn right, not left, 60 degrees"
        last = found[at]
        found[at] = replace(last, measure=merge(last.measure, parts.measure), pace=parts.pace if parts.pace != 1.0 else last.pace)
    return parts is not None


def _participle(clause: _Clause, lead: Lead) -> bool:
    """ "a hallway with doors, going straight ahead": behind something told, -ing tells on."""
    return lead.at == 0 and clause.tokens[0] in GERUNDS


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
        elif subject := _elided(tokens, at, clauses[-1].tokens):
            clauses.append(_Clause([subject], tokens[at]))
        elif width == 1:
            clauses[-1].tokens.append(tokens[at])
        at += width
    return [clause for clause in clauses if clause.tokens and clause.opener != "aside"]


def _elided(tokens: Sequence[str], at: int, sofar: Sequence[str]) -> str:
    """The robot, where "and should turn" goes on about it; or ""."""
    return "robot" if tokens[at] == "and" and get(tokens, at + 1) in SHOULD and starts_with_robot(sofar) else ""


def _wide(token: str, after: str, third: str) -> tuple[str, int] | None:
    """An opening of more than one word."""
    if token in {"no", "not"} and after in _MORE and third == "than":
        return "", 3  # "no more than 30 cm": a budget is a bound already
    if token in {"as", "so"} and after in {"soon", "long"} and third == "as":
        return "if", 3
    opener = _PAIRS.get((token, after))
    return (opener, 2) if opener else None


def _opener(tokens: Sequence[str], at: int, sofar: Sequence[str]) -> tuple[str, int]:
    """The kind of clause that starts here and the tokens its opening takes, or ("", 1); ("", 3) for what says nothing."""
    token, after = tokens[at], get(tokens, at + 1)
    if wide := _wide(token, after, get(tokens, at + 2)):
        return wide
    if token == "but" and sofar[-1:] and sofar[-1] in _ANYWHERE:
        return "instead of", 1
    if token == "after" and after in GERUNDS:
        return "first" if sofar else "after", 1
    if (token == "should" and at == 0) or (token in _CONDITIONS and not (token == "once" and after in {"", "more", "again", ",", "then"})):
        return "if", 1
    if token == "without" and after in GERUNDS:
        return "without", 1
    if token in _ASIDES and not (token == "as" and (not after or after in _COMPARES)):
        return "aside", 1
    if token in _BREAKS:
        return ",", 1
    if token in _JOINS and starts_command(tokens, at + 1) and list(sofar[-2:]) != ["go", "ahead"] and list(sofar[-1:]) not in _GO_AND:
        return ("and" if token == "&" else token), 1
    if token in {"not", "nor"} and (after in WAYS or after == "to") and any(word in WAYS for word in sofar[-_REACH:]):
        return "not", 1
    return "", 1


def _read_clause(clause: _Clause, *, alone: bool) -> tuple[Command | None, Lead]:
    lead = lead_of(clause.tokens)
    rest = clause.tokens[lead.at :]
    if clause.opener in _NEGATIVE_OPENERS:
        lead = replace(lead, negated=True)
    sense, width = _head(rest)
    if sense is None:
        command = None if _finite(rest) else build_bare(rest, alone=alone) or build_reversed(rest)
    elif (sense.kind is not ActionType.STOP or rest[0] in GERUNDS) and _finite(rest):
        command = None
    else:
        command = build(sense, rest[:width], rest[width:])
        if command is None and lead.negated:
            command = Command(sense.kind)  # "don't go any further": whatever is forbidden, it is not to be done
    if command is None:
        return None, lead
    inner = any(token in NEGATORS for token in rest[width:]) or clause.tokens[-1:] == ["nowhere"]
    pace = command.pace if command.pace != 1.0 else lead.pace
    return replace(command, negated=lead.negated or inner, pace=pace, words=" ".join(clause.tokens)), lead


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
