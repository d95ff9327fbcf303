"""Korean spacing put right: words people write together are taken apart, and a direction is joined to its 방향으로."""

from __future__ import annotations

from collections.abc import Sequence

from edge_vla.parse.korean.args import direction_of, sideways_of
from edge_vla.parse.korean.endings import is_verb
from edge_vla.parse.korean.verbs import VERB_NOUNS, verb_at
from edge_vla.parse.korean.words import DIRECTIONS, FILLERS, LOANS, PACES, PARTICLES, SPEEDS, STOP_SOON
from edge_vla.parse.quantities import UNITS, unit_word

_RELATIONS = frozenset("쪽으로 방향으로 쪽까지 앞까지 옆까지".split())  # of a thing: 컵 쪽으로가
_MOST_GLUED = 2  # more than this and a verb in one eojeol
_LONGEST_EOJEOL = 24  # syllables; longer ones are nobody's command


def spaced(tokens: Sequence[str]) -> list[str]:
    """Spaces many people leave out: 왼쪽으로돌아, 컵을잡아, 도회전해 (behind a number), 이동금지."""
    words: list[str] = []
    for raw in tokens:
        token = _loan(raw)
        if words and token.startswith(("방향", "쪽", "편")) and (words[-1] in DIRECTIONS or words[-1] == "시계"):
            words[-1] += token  # 시계 방향으로, 왼쪽 편으로
        elif words and token in PARTICLES:
            words[-1] += token  # 앞 으로
        elif words and token.startswith("속도") and words[-1] in SPEEDS:
            words[-1] = SPEEDS[words[-1]]
        elif words and _broken(words[-1], token):
            words[-1] += token  # 가주 세요
        elif words and token.startswith("반대") and words[-1] == "시계":
            words[-1] = "반" + words[-1] + token.removeprefix("반대")
        elif (
            len(token) < 3 or len(token) > _LONGEST_EOJEOL or verb_at(token) or token in VERB_NOUNS or token in FILLERS or unit_word(token)
        ):
            words.append(token)
        else:
            words.extend(_glued(token))
    return words


def _loan(token: str) -> str:
    """stop해, left로: an English word in a Korean sentence."""
    size = next((at for at, char in enumerate(token) if not char.isascii()), len(token))
    return LOANS[token[:size]] + token[size:] if token[:size] in LOANS else token


def _broken(word: str, token: str) -> bool:
    """Whether a verb was written in two: neither half says anything, both together do."""
    if not token.isalpha() or word in FILLERS or is_verb(word) or is_verb(token):
        return False
    return len(word) + len(token) <= _LONGEST_EOJEOL and verb_at(word + token) is not None


def _glued(token: str, most: int = _MOST_GLUED) -> tuple[str, ...]:
    for cut in range(len(token) - 1, 0, -1):
        first, rest = token[:cut], token[cut:]
        if rest in STOP_SOON and first in VERB_NOUNS:
            return first, rest
        known = verb_at(rest) is not None or rest in VERB_NOUNS
        if not known and not most:
            continue
        direction = direction_of(first)
        marked = first in _RELATIONS or first[1:].endswith(("을", "를", "까지"))
        if not ((direction and direction.sense != "at") or sideways_of(first) or first in UNITS or first in PACES or marked):
            continue
        if known:
            return first, rest
        more = _glued(rest, most - 1)  # 천천히앞으로가줘
        if len(more) > 1:
            return first, *more
    return _glued_place(token) if most == _MOST_GLUED else (token,)


def _glued_place(token: str) -> tuple[str, ...]:
    """부엌으로가, once nothing else is found in it."""
    cut = token.find("으로", 1) + 2
    rest = token[cut:]
    return (token[:cut], rest) if cut > 2 and rest and is_verb(rest) else (token,)
