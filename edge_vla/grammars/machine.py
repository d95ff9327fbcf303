"""What may be said next: an answer as a row of slots, each left through what it allows. Knows no tokenizer, only bytes and marks.

A mark is a token that is one row of a vocabulary, such as `<loc0512>`; everything else is spelled byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from edge_vla.errors import ParseError
from edge_vla.parse.loc import MAX_BOXES

Symbol = bytes  # one byte, or a mark
Values = tuple[int, ...]  # the last two numbers said
NEAR = 64  # a coordinate is as good as said by one within a side / 64 of it: 16 of 1024 bins (DESIGN §4)


@dataclass(frozen=True, slots=True)
class Say:
    """One of a few fixed sayings, none the beginning of another, and the slot that each leads to; the empty one ends the answer."""

    options: tuple[tuple[tuple[Symbol, ...], int], ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A number that is one mark, as `name % number`. `ends`: an answer may stop here if it has said nothing yet.

    Numbers up to `near` apart say the same place, as far as it matters.
    """

    name: bytes
    allowed: Callable[[Values], Iterable[int]]
    ends: bool = False
    near: int = 0


@dataclass(frozen=True, slots=True)
class Whole:
    """A number in decimal digits, without leading zeros. What comes behind it begins with no digit. `near` as a Mark's."""

    allowed: Callable[[Values], range]
    near: int = 0


Slot = Say | Mark | Whole


@dataclass(frozen=True, slots=True)
class Machine:
    """The slots of an answer in order; one that leads beyond the last ends it, one that leads back begins another place."""

    slots: tuple[Slot, ...]
    most: int = MAX_BOXES  # places

    def start(self) -> State:
        return State(self)


@dataclass(frozen=True, slots=True)
class State:
    """An answer so far."""

    machine: Machine
    at: int = 0
    part: tuple[Symbol, ...] = ()  # said of this slot
    values: Values = ()
    places: int = 1  # begun

    @property
    def over(self) -> bool:
        """Whether nothing may follow."""
        return self.at >= len(self.machine.slots)

    @property
    def may_end(self) -> bool:
        """Whether the answer is whole as it stands."""
        if self.over:
            return True
        slot = self.machine.slots[self.at]
        if isinstance(slot, Say):
            return not self.part and any(not said for said, _ in slot.options)
        return isinstance(slot, Mark) and slot.ends and self.places == 1

    def symbols(self) -> set[Symbol]:
        """What may be said next. Empty only when the answer is over."""
        if self.over:
            return set()
        slot = self.machine.slots[self.at]
        if isinstance(slot, Say):
            here = len(self.part)
            return {said[here] for said, _ in self._open(slot)}
        if isinstance(slot, Mark):
            return {slot.name % number for number in slot.allowed(self.values)}
        low, high = _ends(slot.allowed(self.values))
        digits = b"".join(self.part)
        found = {b"%d" % d for d in range(10) if _viable(digits + b"%d" % d, low, high)}
        return found | self._next(int(digits)).symbols() if digits and low <= int(digits) <= high else found

    def after(self, symbol: Symbol) -> State:
        """The state behind a symbol. Raises ParseError for one that may not be said."""
        if symbol not in self.symbols():
            raise ParseError(f"want one of {_named(self.symbols())}, got {symbol!r}")
        slot = self.machine.slots[self.at]
        if isinstance(slot, Say):
            return self._say(slot, symbol)
        if isinstance(slot, Mark):
            digits = bytes(c for c in symbol if chr(c).isdigit())
            return self._next(int(digits))
        if symbol.isdigit():
            return replace(self, part=(*self.part, symbol))
        return self._next(int(b"".join(self.part))).after(symbol)

    def _open(self, slot: Say) -> Iterator[tuple[tuple[Symbol, ...], int]]:
        """The sayings that what was said of this slot can still become."""
        here = len(self.part)
        for said, leads in slot.options:
            if len(said) > here and said[:here] == self.part and (leads > self.at or self.places < self.machine.most):
                yield said, leads

    def _say(self, slot: Say, symbol: Symbol) -> State:
        part = (*self.part, symbol)
        for said, leads in slot.options:
            if said == part:
                return replace(self, at=leads, part=(), places=self.places + (leads <= self.at))
        return replace(self, part=part)

    def _next(self, value: int) -> State:
        return replace(self, at=self.at + 1, part=(), values=(*self.values, value)[-2:])


def spell(*parts: str) -> tuple[Symbol, ...]:
    """A saying: parts in angle brackets are marks, the others are spelled."""
    symbols: list[Symbol] = []
    for part in parts:
        raw = part.encode()
        symbols += [raw] if raw.startswith(b"<") and raw.endswith(b">") else [raw[k : k + 1] for k in range(len(raw))]
    return tuple(symbols)


def then(at: int, *parts: str) -> Say:
    """The only thing to be said in slot `at`; the next slot follows."""
    return Say(((spell(*parts), at + 1),))


def _ends(allowed: range) -> tuple[int, int]:
    return allowed.start, allowed.stop - 1


def _viable(digits: bytes, low: int, high: int) -> bool:
    """Whether digits begin a number in low..high."""
    if len(digits) > 1 and digits.startswith(b"0"):
        return False
    first = last = int(digits)
    while first <= high:
        if last >= low:
            return True
        if first == 0:
            return False
        first, last = first * 10, last * 10 + 9
    return False


def _named(symbols: Iterable[Symbol]) -> str:
    names = sorted(symbol.decode("latin-1") for symbol in symbols)
    return ", ".join(map(repr, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing more"
