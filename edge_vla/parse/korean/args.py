"""Korean eojeols that are no verb: directions, sides, things, places, subjects, by their particles. Knows no verb's meaning."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edge_vla.parse.command import A_LITTLE, NO_MEASURE, Measure, Way
from edge_vla.parse.korean.forms import has_final, takes_euro
from edge_vla.parse.korean.verbs import VERB_NOUNS, Role
from edge_vla.parse.korean.words import (
    ADJECTIVES,
    ADVERB_ENDINGS,
    AT_PARTICLES,
    DIRECTIONS,
    FILLERS,
    FORWARD_ADVERBS,
    LITTLE,
    ME_AND_ROBOT,
    NO_TARGET,
    OBJECT_PARTICLES,
    PACES,
    RELATIVES,
    SIDE_WORDS,
    STAY,
    TO_PARTICLES,
)
from edge_vla.parse.quantities import merge

_MAX_WORDS = 6  # of a thing's name
_PLACE_PARTICLES = ("쪽까지", "앞까지", "옆까지", "까지", "에게로", "에게", "한테", "쪽으로", "앞으로", "옆으로", "으로", "로", "에")
_SPOTS = frozenset("위 아래 옆 안 밖 근처 사이 가운데 중앙 밑 곁 주변 너머 맞은편 건너편 구석 속".split())


class Direction(NamedTuple):
    """A direction word and its particle's sense: `to` where to go, `at` where something is, "" for neither (왼쪽)."""

    way: Way
    sense: str


@dataclass(slots=True)
class Args:
    """What has been said since the last verb."""

    ways: list[Way] = field(default_factory=list)
    side: Way | None = None
    sideways: bool = False
    thing: str | None = None  # with 을/를
    place: str | None = None  # with 까지, 으로, 에게; 까지 outranks the rest
    firm: bool = False  # the place had 까지
    loose: deque[str] = field(default_factory=lambda: deque(maxlen=_MAX_WORDS))  # nouns and adjectives still waiting for a particle
    subject: str | None = None  # with 이/가/은/는, unless it is the robot
    measure: Measure = NO_MEASURE
    pace: float = 1.0
    stay: bool = False
    forward: bool = False  # 똑바로, 곧장
    extra: int = 0

    @property
    def noun(self) -> str | None:
        """The thing, or the nouns right before the verb: 컵 잡아."""
        return self.thing or name_of(self.loose)

    def clear_nouns(self) -> None:
        """What a relative clause or a comma closes off: the nouns before it name nothing to act on."""
        self.loose.clear()
        self.subject = None

    @property
    def only_ways(self) -> bool:
        """Directions and quantities and nothing else: 왼쪽으로 90도."""
        return bool(self.ways) and not (self.thing or self.place or self.loose or self.subject or self.extra)

    @property
    def only_detail(self) -> bool:
        """A quantity or a pace and nothing else: 45도, 천천히."""
        said = self.measure != NO_MEASURE or self.pace != 1.0
        return said and not (self.ways or self.thing or self.place or self.loose or self.subject or self.sideways or self.forward)


def name_of(words: Sequence[str]) -> str | None:
    """A thing's name, or None for none and for pronouns."""
    if not words or words[-1] in NO_TARGET:
        return None
    return " ".join(words)


def direction_of(token: str) -> Direction | None:
    """왼쪽으로, 앞쪽에, 우측, 시계방향으로 — or None."""
    for particles, sense in (
        (TO_PARTICLES, "to"),
        (AT_PARTICLES, "at"),
        (OBJECT_PARTICLES, "to"),
        (("이야", "이요", "입니다"), "to"),
        (("이", "은", "가", "는"), "at"),
    ):
        for particle in particles:
            base = token.removesuffix(particle) if particle else token
            if (base != token or not particle) and base in DIRECTIONS:
                return Direction(DIRECTIONS[base], sense if particle else "")
    return None


def take(token: str, after: str, args: Args, *, before_verb: bool) -> None:
    """Put one eojeol where its particle says it belongs. `before_verb`: the next one is a verb."""
    if token in PACES:
        args.pace = PACES[token]
    elif token in LITTLE:
        args.measure = merge(args.measure, A_LITTLE)
    elif token in FORWARD_ADVERBS:
        args.forward = True
    elif token in STAY:
        args.stay = True
    elif sideways_of(token) and args.loose:
        args.place = args.place or name_of(args.loose)  # 책상 옆으로: a place
        args.loose.clear()
    elif sideways_of(token):
        args.sideways = True
    elif (manner := VERB_NOUNS.get(token.removesuffix("으로"))) and manner.role is Role.GO:
        args.sideways = args.sideways or manner.sideways  # 게걸음으로, 직진으로
        args.ways.extend([manner.way] if manner.way else [])
    elif direction := direction_of(token):
        _take_direction(token, direction, after, args, before_verb=before_verb)
    elif token not in FILLERS and not token.endswith(ADVERB_ENDINGS):
        _take_noun(token, args)


def sideways_of(token: str) -> bool:
    """옆으로: to the side, whichever is named beside it."""
    return any(token.removesuffix(particle) in SIDE_WORDS for particle in ("으로", "로") if token.endswith(particle))


def _take_direction(token: str, direction: Direction, after: str, args: Args, *, before_verb: bool) -> None:
    if args.loose and direction.sense == "to" and args.loose[-1] not in NO_TARGET:
        args.place = args.place or name_of(args.loose)  # 컵 앞으로: a place named by a thing
        args.side = direction.way if direction.way in {Way.LEFT, Way.RIGHT} else args.side
        args.loose.clear()
    elif direction.sense == "at":
        args.side = direction.way
        args.clear_nouns()
    elif direction.sense == "" and after and not before_verb and _is_noun(after):
        args.side = direction.way  # 왼쪽 문
        args.loose.append(token)
    else:
        args.ways.append(direction.way)


def _is_noun(token: str) -> bool:
    """Whether a direction word before this one is its adjective."""
    other = token in PACES or token in FILLERS or token in LITTLE or token in STAY or token in FORWARD_ADVERBS or token == ","
    return not other and not token[0].isdigit() and direction_of(token) is None and not sideways_of(token)


def _take_noun(token: str, args: Args) -> None:
    base = token[:-1]
    if token[-1] in "을를" and base and has_final(base) == (token[-1] == "을"):
        args.thing = name_of([*args.loose, base])
        args.loose.clear()
        return
    if place := _place_of(token, args):
        if not args.firm:
            args.place, args.firm = place, "까지" in token
        args.loose.clear()
    elif token in RELATIVES or token[-1] == "의" or token.endswith("에서") or token.removesuffix("에").removesuffix("쪽") in _SPOTS:
        args.clear_nouns()  # 테이블의, 방에서, 테이블 위에
    elif token not in ADJECTIVES and base and _is_subject(token, base):
        args.subject = None if base in ME_AND_ROBOT else " ".join([*args.loose, base])
        args.loose.clear()
    elif token[-1] in "와과랑" and base and token not in ADJECTIVES and has_final(base) == (token[-1] == "과"):
        args.loose.clear()  # 컵과 병을: the last one counts
    else:
        args.loose.append(token)


def _place_of(token: str, args: Args) -> str | None:
    for particle in _PLACE_PARTICLES:
        base = token.removesuffix(particle)
        if base == token or (particle == "으로" and not takes_euro(base or "가")) or (particle == "로" and base and takes_euro(base)):
            continue
        relation = not base or base in _SPOTS or base in {"쪽", "방향", "앞", "뒤"}  # 문 쪽으로, 문 앞까지
        return name_of(args.loose if relation else [*args.loose, base])
    return None


def _is_subject(token: str, base: str) -> bool:
    return {"이": has_final(base), "가": not has_final(base), "은": has_final(base), "는": not has_final(base)}.get(token[-1], False)
