"""Korean sentences to commands, verb by verb. Knows words and their order; knows no speeds.

The verb ends its clause, so a sentence is read left to right: what stands before a verb is its own. A statement with
somebody else as its subject (사람이 왼쪽으로 갑니다) and a sentence without a known verb are descriptions.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_vla.parse.command import Command
from edge_vla.parse.korean.reader import Reader
from edge_vla.parse.korean.spacing import spaced
from edge_vla.parse.korean.words import QUESTION_WORDS
from edge_vla.types import ActionType

__all__ = ["is_korean", "read"]


def is_korean(tokens: Sequence[str]) -> bool:
    """Whether any token holds a Hangul syllable."""
    return any("가" <= char <= "힣" for token in tokens for char in token)


def read(tokens: Sequence[str], *, question: bool = False) -> list[Command]:
    """The commands of one sentence, in order; negated, conditional and limiting ones are marked, not left out."""
    words = spaced(tokens)
    found = Reader(words, question=question).read()
    if any(word in QUESTION_WORDS for word in words):  # 어디로 가; 누가 다가오면 멈춰 stops whoever comes
        return [] if question else [command for command in found if command.negated or command.kind is ActionType.STOP]
    return found
