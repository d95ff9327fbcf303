"""What stands behind an English verb: directions, sides, things, places, quantities. Knows no verbs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edge_vla.parse.command import A_LITTLE, NO_MEASURE, QUICK, SLOW, Measure, Way
from edge_vla.parse.english.verbs import GERUNDS
from edge_vla.parse.english.words import (
    CIRCUMSTANCE,
    DETERMINERS,
    FILLERS,
    GOING_TO,
    LITTLE,
    LY_NOUNS,
    NP_ENDS,
    PACES,
    PRONOUNS,
    PURPOSES,
    ROBOT_NOUNS,
    SIDES,
    SIDEWAYS,
    TURN_NOUNS,
    WAYS,
    is_adverb,
)
from edge_vla.parse.numerals import get, to_float
from edge_vla.parse.quantities import UNITS, measure_at, merge
from edge_vla.types import ActionType

_MAX_WORDS = 6  # of a thing's name
_PASSING = frozenset("along past across at with via".split())
_AFTER_RIGHT = frozenset("to into up through past over next beside behind in ahead away here there now on back".split())


class Noun(NamedTuple):
    """A noun phrase: its words without articles (None for "it"), the side it names, and the index behind it."""

    text: str | None
    side: Way | None
    end: int

    @property
    def only_side(self) -> bool:
        """ "the left", "the right side": a place to be, not a thing."""
        return self.side is not None and all(word in SIDES or word in {"side", "hand"} for word in (self.text or "").split())


@dataclass(slots=True)
class Parts:
    """What was found, and how many words nobody could explain."""

    ways: list[Way] = field(default_factory=list)
    how: list[Way] = field(default_factory=list)  # behind "by": "by turning right"
    side: Way | None = None
    thing: Noun | None = None
    place: Noun | None = None
    away: Noun | None = None
    around: Noun | None = None
    sideways: bool = False
    straight: bool = False  # ahead, unless it goes straight back
    around_alone: bool = False
    measure: Measure = NO_MEASURE
    pace: float = 1.0
    extra: int = 0
    circumstances: int = 0  # "on the light", "off": they change what the verb means
    passing: int = 0  # "along the wall": still says to drive, but not which way to turn


def scan(tokens: Sequence[str], kind: ActionType) -> Parts:
    """Read what follows a verb of that kind. Behind one that drives or turns "left" is where to; behind others, which thing."""
    parts, at, moving = Parts(), 0, kind in {ActionType.MOVE, ActionType.TURN}
    while at < len(tokens):
        token = tokens[at]
        if token == "to" and get(tokens, at + 1) in PURPOSES:
            break  # "to avoid the chair" is why, not what
        at = _measured(tokens, at, parts) or _sided(tokens, at, parts, moving=moving) or _worded(tokens, at, parts, kind)
    return parts


def noun_at(tokens: Sequence[str], start: int) -> Noun | None:
    """The noun phrase at `start`, or None: "the red cup", "a bottle of water", "room 2"."""
    at, side = start, None
    words: list[str] = []
    while get(tokens, at) in DETERMINERS:
        at += 1
    while at < len(tokens) and len(words) < _MAX_WORDS:
        token = tokens[at]
        if words and is_adverb(token) and token not in LY_NOUNS:
            break  # "grip the bottle tightly"
        if token == "of" and words and get(tokens, at + 1) not in NP_ENDS | {""} and measure_at(tokens, at + 1) is None:
            words.append(token)
        elif (
            token in NP_ENDS
            or (words and token in WAYS and not _names(tokens, at + 1))
            or (to_float(token) is not None and (not words or get(tokens, at + 1) in UNITS))
        ):
            break
        else:
            side = SIDES.get(token, side)
            words.append(token)
        at += 1
    if not words:
        return None if at == start else Noun(None, None, at)
    return Noun(None if words[0] in PRONOUNS else " ".join(words), side, at)


def _measured(tokens: Sequence[str], at: int, parts: Parts) -> int | None:
    """A quantity, "a little", or a word of pace."""
    if get(tokens, at + 1) == "speed" and tokens[at] in {"half", "low", "reduced", "slow", "full", "top", "high"}:
        parts.pace = QUICK if tokens[at] in {"full", "top", "high"} else SLOW
        return at + 2
    found = measure_at(tokens, at)
    if found is not None:
        parts.measure = merge(parts.measure, found.measure)
        return found.end
    if tokens[at] in LITTLE or (tokens[at] == "a" and get(tokens, at + 1) in LITTLE):
        parts.measure = merge(parts.measure, A_LITTLE)
        return at + (2 if tokens[at] == "a" else 1)
    if tokens[at] in PACES:
        parts.pace = PACES[tokens[at]]
        return at + 1
    return None


def _sided(tokens: Sequence[str], at: int, parts: Parts, *, moving: bool) -> int | None:
    """ "to the left" is a way; "on the left", "at your right" is a side; "to the left of the table" is a place."""
    token = tokens[at]
    if token not in {"to", "towards", "toward", "on", "at", "in"}:
        return None
    end = at + 1
    while get(tokens, end) in DETERMINERS:
        end += 1
    side = SIDES.get(get(tokens, end))
    if side is None:
        return None
    end += 1
    while get(tokens, end) in {"hand", "side"}:
        end += 1
    if get(tokens, end) == "of":
        noun = noun_at(tokens, end + 1)
        parts.place = parts.place or (noun if moving else None)
        return noun.end if noun else end + 1
    if _names(tokens, end):
        return None  # "to the left door"
    if token in {"to", "towards", "toward"}:
        parts.ways.append(side)
    else:
        parts.side = side
    return end


def _worded(tokens: Sequence[str], at: int, parts: Parts, kind: ActionType) -> int:
    token, after = tokens[at], get(tokens, at + 1)
    moving = kind in {ActionType.MOVE, ActionType.TURN}
    if token == "right" and (after == "away" if kind is ActionType.TURN else after in _AFTER_RIGHT):
        return at + 1  # "go right up to the cup", "stop right now"; but "turn right now" turns
    if token in WAYS and (moving or token not in SIDES or not _names(tokens, at + 1)):
        _way(tokens, at, parts)
        return at + (2 if token == "straight" and after == "on" else 1)
    if token in SIDEWAYS:
        parts.sideways = True
        return at + 1
    if token == "by" and after in GERUNDS:
        rest = _ways(tokens[at + 2 : at + 10])
        parts.how.extend(rest)
        return len(tokens) if rest else at + 2
    if token in {"around", "round"}:
        return _around(tokens, at, parts)
    if token == "away":
        noun = noun_at(tokens, at + 2) if after == "from" else None
        parts.away = noun
        return noun.end if noun else at + 1
    if token in {"up", "over", "down", "next", "close", "closer", "back", "nearer"} and after in {"to", "towards", "toward"}:
        return _sided(tokens, at + 1, parts, moving=moving) or _destination(tokens, at + 1, parts)
    if token in GOING_TO:
        return _destination(tokens, at, parts)
    return _rest(tokens, at, parts)


def _way(tokens: Sequence[str], at: int, parts: Parts) -> None:
    if tokens[at] == "straight":
        parts.straight = True
    elif tokens[at] == "ahead" and get(tokens, at - 1) in {"turn", "turns"}:
        parts.circumstances += 1  # "left turn ahead" tells where one is
    else:
        parts.ways.append(WAYS[tokens[at]])


def _ways(tokens: Sequence[str]) -> list[Way]:
    """The directions of a short phrase: "turning to the right"."""
    return [WAYS[token] for token in tokens if token in WAYS]


def _destination(tokens: Sequence[str], at: int, parts: Parts) -> int:
    where = get(tokens, at + 1) == "where"  # "to where the table is"
    noun = noun_at(tokens, at + 1 + where)
    if noun is None:
        parts.extra += 1
        return at + 1
    if where and get(tokens, noun.end) in {"is", "are"}:
        noun = noun._replace(end=noun.end + 1)
    parts.place = parts.place or noun
    parts.side = parts.side or noun.side
    return noun.end


def _around(tokens: Sequence[str], at: int, parts: Parts) -> int:
    noun = noun_at(tokens, at + 1)
    if noun is not None:
        parts.around = parts.around or noun
        parts.side = parts.side or noun.side
        return noun.end
    parts.around_alone = True
    return at + 1


def _rest(tokens: Sequence[str], at: int, parts: Parts) -> int:
    token = tokens[at]
    if token in CIRCUMSTANCE:
        return _circumstance(tokens, at, parts)
    if token in FILLERS or token == "and" or is_adverb(token):
        return at + 1
    noun = noun_at(tokens, at)
    if noun is None or noun.end == at:
        parts.extra += 1
        return at + 1
    words = noun.text.split() if noun.text else [""]
    if words[-1] in ROBOT_NOUNS:
        return noun.end
    if noun.side and words[-1] in {"turn", "turns"}:
        parts.ways.append(noun.side)  # "a left turn"
        return noun.end
    if parts.thing is None:
        parts.thing = noun
        parts.side = parts.side or noun.side
    else:
        parts.extra += noun.end - at
    return noun.end


def _circumstance(tokens: Sequence[str], at: int, parts: Parts) -> int:
    """ "in place" changes nothing, "in a circle" is an angle, "in reverse" a way, "along the wall" a circumstance."""
    if measure_at(tokens, at + 1) if at + 1 < len(tokens) else None:
        return at + 1
    noun = noun_at(tokens, at + 1)
    words = noun.text.split() if noun and noun.text else []
    if tokens[at] in {"in", "on"} and words[:1] in (["place"], ["spot"], ["axis"], ["reverse"]):
        parts.ways.extend([Way.BACKWARD] if words == ["reverse"] else [])
    elif "straight" in words or (words[-1:] == ["direction"] and words[0] in WAYS):
        parts.ways.append(WAYS.get(words[0], Way.FORWARD))  # "in a straight line", "in the clockwise direction"
    elif noun is not None and tokens[at] in _PASSING:
        parts.passing += 1
    else:
        parts.circumstances += 1
    return noun.end if noun else at + 1


def _names(tokens: Sequence[str], at: int) -> bool:
    """Whether a thing's name goes on here, so that the "left" before it belongs to the thing."""
    token = get(tokens, at)
    closed = (
        not token
        or (token == "a" and get(tokens, at + 1) in LITTLE)
        or token in NP_ENDS
        or token in FILLERS
        or token in TURN_NOUNS
        or token in PACES
        or token in WAYS
        or token in LITTLE
    )
    return not closed and measure_at(tokens, at) is None
