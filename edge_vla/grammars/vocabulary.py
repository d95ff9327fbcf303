"""The rows of a vocabulary that an answer may go on with. Knows tokens as bytes, and no logits."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from edge_vla.errors import ConfigError, ParseError
from edge_vla.grammars.machine import Machine, State, Symbol

_MARK = re.compile(rb"<[^<>\s]+>")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class Spelling(Enum):
    """How a tokenizer writes its tokens down."""

    PLAIN = "plain"
    BYTES = "bytes"  # GPT-2's printable letter for each byte: Qwen, Moondream, MPT
    PIECES = "pieces"  # sentencepiece's "▁" for a space and <0xNN> for a byte: Gemma, LLaMA, KosMos


class Vocabulary:
    """Tokens by what they spell. A mark `<...>` is said as its own row and never spelled."""

    def __init__(self, tokens: Mapping[str, int], ends: Iterable[int], spelling: Spelling = Spelling.PLAIN) -> None:
        """Raises ConfigError for a vocabulary without a row that ends an answer."""
        self.ends = tuple(sorted(set(ends)))
        if not self.ends:
            raise ConfigError("vocabulary: want at least one row that ends an answer, got none")
        letters = _byte_letters() if spelling is Spelling.BYTES else {}
        self.marks: dict[Symbol, int] = {}
        spelled: list[tuple[bytes, int]] = []
        for token, row in tokens.items():
            raw = _spelled(token, spelling, letters)
            if row in self.ends or not raw:
                continue
            if _MARK.fullmatch(raw):
                self.marks[raw] = row
            else:
                spelled.append((raw, row))
        spelled.sort()
        self._texts, self._rows = [text for text, _ in spelled], [row for _, row in spelled]
        self._text_of = {row: text for text, row in spelled} | {row: mark for mark, row in self.marks.items()}

    def symbols(self, row: int) -> tuple[Symbol, ...]:
        """What a row says. Raises ConfigError for one that says nothing."""
        if row not in self._text_of:
            raise ConfigError(f"vocabulary: row {row} spells nothing")
        text = self._text_of[row]
        return (text,) if self.marks.get(text) == row else tuple(text[k : k + 1] for k in range(len(text)))

    def allowed(self, state: State) -> list[int]:
        """The rows that may follow, sorted. Raises ConfigError for a vocabulary that lacks what it takes."""
        rows = [self._mark(symbol) for symbol in state.symbols() if len(symbol) > 1]
        rows += self._spelling(state)
        if state.may_end:
            rows += self.ends
        if not rows:
            raise ConfigError(f"vocabulary: no row begins with any of {sorted(state.symbols())}")
        return sorted(rows)

    def _mark(self, mark: Symbol) -> int:
        if mark not in self.marks:
            raise ConfigError(f"vocabulary: want a row for {mark.decode()!r}, got none")
        return self.marks[mark]

    def _spelling(self, state: State) -> Iterator[int]:
        """Rows whose every byte may be said in turn: a walk down the sorted tokens, one byte at a time."""
        open_: list[tuple[bytes, State]] = [(b"", state)]
        while open_:
            prefix, here = open_.pop()
            for symbol in here.symbols():
                if len(symbol) > 1:
                    continue
                longer = prefix + symbol
                at = bisect_left(self._texts, longer)
                while at < len(self._texts) and self._texts[at] == longer:
                    yield self._rows[at]
                    at += 1
                if at < len(self._texts) and self._texts[at].startswith(longer):
                    open_.append((longer, here.after(symbol)))


@dataclass(frozen=True, slots=True)
class Decoding:
    """An answer being decoded: ask for the allowed rows, take one, go on with what that gives."""

    vocabulary: Vocabulary
    state: State
    said: bytes = b""
    ended: bool = False

    @classmethod
    def begin(cls, vocabulary: Vocabulary, machine: Machine) -> Decoding:
        return cls(vocabulary, machine.start())

    @property
    def text(self) -> str:
        return self.said.decode()

    def allowed(self) -> list[int]:
        """Rows that may follow; none after the end."""
        return [] if self.ended else self.vocabulary.allowed(self.state)

    def take(self, row: int) -> Decoding:
        """The answer with one more row. Raises ParseError for one that is not allowed."""
        if self.ended:
            raise ParseError(f"want nothing after the end, got row {row}")
        if row in self.vocabulary.ends:
            if not self.state.may_end:
                raise ParseError(f"want the answer {self.said.decode(errors='replace')[-60:]!r} to go on, got its end, row {row}")
            return replace(self, ended=True)
        state = self.state
        for symbol in self.vocabulary.symbols(row):
            state = state.after(symbol)
        return replace(self, state=state, said=self.said + b"".join(self.vocabulary.symbols(row)))


def _spelled(token: str, spelling: Spelling, letters: Mapping[str, int]) -> bytes:
    if spelling is Spelling.BYTES and all(letter in letters for letter in token):
        return bytes(letters[letter] for letter in token)
    if spelling is Spelling.PIECES:
        byte = _BYTE.fullmatch(token)
        return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()
    return token.encode()


def _byte_letters() -> dict[str, int]:
    """GPT-2's alphabet: a printable byte is its own letter, the others follow from 256 on."""
    own = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spare = iter(range(256, 512))
    return {chr(byte) if byte in own else chr(next(spare)): byte for byte in range(256)}
