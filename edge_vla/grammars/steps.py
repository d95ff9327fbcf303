"""The rows that an answer was told in, and how likely each was: a number's chance is that of all that says about the same place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edge_vla.grammars.machine import Mark, Symbol, Whole
from edge_vla.grammars.vocabulary import Decoding

_DIGITS, _OTHER = re.compile(rb"[0-9]*"), re.compile(rb"[^0-9]")


@dataclass(frozen=True, slots=True)
class Step:
    """A row taken, and the chances of all that were allowed; of those of one sense, where that was chosen first."""

    before: Decoding
    rows: Sequence[int]
    chances: Sequence[float]
    row: int

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        vocabulary = self.before.vocabulary
        return () if self.row in vocabulary.ends else vocabulary.symbols(self.row)

    @property
    def chance(self) -> float:
        return self.chances[self.rows.index(self.row)]


def shares(steps: Sequence[Step]) -> list[float]:
    """Each row's chance. Of a number that of it and of all that is near stands at its first row, and 1 at the others."""
    found = [step.chance for step in steps]
    counted: set[int] = set()
    for number in _numbers(steps):
        rows = range(number.first, number.last + 1)
        for k in rows:
            found[k] = found[k] if k in counted else 1.0
        found[number.first] *= number.mass(steps)
        counted.update(rows)
    return found


@dataclass(slots=True)
class _Number:
    """A number of an answer: which rows say it, and its bytes in the answer, from `at` on."""

    slot: Mark | Whole
    allowed: range  # of a Whole; a Mark is its number at once
    at: int
    digits: bytes
    first: int
    last: int

    def mass(self, steps: Sequence[Step]) -> float:
        """The chance of the number and of all that is near it, as far as the steps tell: what a row begins counts if all of it is near."""
        total, path = 0.0, 1.0
        for step in steps[self.first :]:
            total += path * sum(chance for row, chance in zip(step.rows, step.chances, strict=True) if chance and self._near(step, row))
            if self._near(step, step.row):
                break
            path *= step.chance
        return total

    def _near(self, step: Step, row: int) -> bool:
        """Whether all numbers that a row can lead to are near."""
        if row in step.before.vocabulary.ends:
            return False
        said, value = b"".join(step.before.vocabulary.symbols(row)), int(self.digits)
        if isinstance(self.slot, Mark):
            return abs(int(_OTHER.sub(b"", said)) - value) <= self.slot.near
        begun = len(step.before.said) - self.at
        if begun < 0 and row != step.row:  # a row that ends what was before it and begins the number, or one in its place
            return False
        text = self.digits[: max(begun, 0)] + said[max(-begun, 0) :]
        digits = _DIGITS.match(text)
        lead = digits[0] if digits else b""
        low, high = (int(lead),) * 2
        while low <= self.allowed[-1]:
            inside = range(max(low, self.allowed[0]), min(high, self.allowed[-1]) + 1)
            if inside and max(abs(inside[0] - value), abs(inside[-1] - value)) > self.slot.near:
                return False
            if len(lead) < len(text) or not low:
                break
            low, high = 10 * low, 10 * high + 9
        return True


def _numbers(steps: Sequence[Step]) -> list[_Number]:
    """The numbers of an answer in order."""
    found: list[_Number] = []
    for index, step in enumerate(steps):
        state, at = step.before.state, len(step.before.said)
        for symbol in step.symbols:
            slot = state.machine.slots[state.at]
            if isinstance(slot, Mark):
                found.append(_Number(slot, range(0), at, _OTHER.sub(b"", symbol), index, index))
            elif isinstance(slot, Whole) and symbol.isdigit():
                if not state.part:
                    found.append(_Number(slot, slot.allowed(state.values), at, b"", index, index))
                found[-1].digits += symbol
                found[-1].last = index
            state, at = state.after(symbol), at + len(symbol)
    return found
