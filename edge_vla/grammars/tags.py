"""A reply in angle brackets cut into tags and what stands between them, at their places."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from edge_vla.errors import ParseError
from edge_vla.grammars.grammar import Found, blank, says_nothing

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


class TagReader(ABC):
    """What may come next, by what came before; anything else refuses the reply. A reply begins and ends among "text"."""

    control: ClassVar[tuple[str, ...]]  # tags that say nothing
    wanted: ClassVar[Mapping[str, str]]  # what each state waits for, in words
    missing: ClassVar[str]  # what a reply without a box should have had

    def __init__(self) -> None:
        self.found: list[Found] = []
        self._want = "text"
        self._label = ""

    def read(self, text: str) -> list[Found]:
        """Raises ParseError for a reply that breaks the format, is cut short, or speaks of something else."""
        said = blank(text, self.control)
        for piece in pieces(said):
            self.take(piece)
        if self._want != "text":
            raise self._refuse("the end")
        if not self.found and not says_nothing(said):
            raise ParseError(f"want {self.missing}, got words only")
        return self.found

    @abstractmethod
    def take(self, piece: Piece) -> None:
        """Raises ParseError."""

    def _refuse(self, got: str) -> ParseError:
        return ParseError(f"want {self.wanted[self._want]}, got {got.strip()[:60]!r}")
