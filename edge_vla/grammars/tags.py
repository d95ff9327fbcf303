"""A reply in angle brackets cut into tags and what stands between them, at their places."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_PIECE = re.compile(r"<[^<>]{0,48}>|[<>]|[^<>]+")  # every character belongs to exactly one piece: linear


@dataclass(frozen=True, slots=True)
class Piece:
    """A tag `<...>`, a stray bracket, or text."""

    text: str
    start: int
    end: int

    @property
    def tag(self) -> bool:
        return self.text[0] in "<>"


def pieces(text: str) -> Iterator[Piece]:
    """The pieces of a reply in order."""
    for match in _PIECE.finditer(text):
        yield Piece(match[0], *match.span())
