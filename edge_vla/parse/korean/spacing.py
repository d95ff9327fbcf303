"""Korean spacing put right: words people write together are taken apart, and a direction is joined to its 방향으로."""

from __future__ import annotations

from collections.abc import Sequence

from edge_vla.parse.korean.args import direction_of, sideways_of
from edge_vla.parse.korean.verbs import VERB_NOUNS, verb_at
from edge_vla.parse.korean.words import DIRECTIONS, FILLERS, LOANS, PACES, STOP_SOON
from edge_vla.parse.quantities import UNITS

_LONGEST_EOJEOL = 24  # syllables; longer ones are nobody's command


def spaced(tokens: Sequence[str]) -> list[str]:
    """Spaces many people leave out: 왼쪽으로돌아, 컵을잡아, 도회전해 (behind a number), 이동금지."""
    words: list[str] = []
    for raw in tokens:
        token = _loan(raw)
        if words and token.startswith(("방향", "쪽", "편")) and words[-1] in DIRECTIONS:
            words[-1] += token  # 시계 방향으로, 왼쪽 편으로
        elif words and token == "반대" and words[-1] == "시계":
            words[-1] = "반시계"
        elif len(token) < 3 or len(token) > _LONGEST_EOJEOL or verb_at(token) or token in VERB_NOUNS or token in FILLERS:
            words.append(token)
        else:
            words.extend(_glued(token))
    return words


def _loan(token: str) -> str:
    """stop해, left로: an English word in a Korean sentence."""
    size = next((at for at, char in enumerate(token) if not char.isascii()), len(token))
    return LOANS[token[:size]] + token[size:] if token[:size] in LOANS else token


def _glued(token: str) -> tuple[str, ...]:
    for cut in range(len(token) - 1, 0, -1):
        first, rest = token[:cut], token[cut:]
        if rest in STOP_SOON and first in VERB_NOUNS:
            return first, rest
        if verb_at(rest) is None and rest not in VERB_NOUNS:
            continue
        direction = direction_of(first)
        marked = first[1:].endswith(("을", "를", "까지"))
        if (direction and direction.sense != "at") or sideways_of(first) or first in UNITS or first in PACES or marked:
            return first, rest
    return (token,)
