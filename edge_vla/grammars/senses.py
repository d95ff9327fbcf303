"""What an answer will mean, as soon as it can mean nothing else, and how likely each meaning was on the way there."""

from __future__ import annotations

from collections.abc import Sequence

from edge_vla.grammars.machine import State
from edge_vla.grammars.vocabulary import Decoding


class Senses:
    """Groups of whole answers that mean the same, by number; one number more is for every other answer. Without groups there is nothing
    to settle.

    A sense's chance is the sum over the rows that left no other, at every step so far: the chance of the rows before times the row's.
    """

    def __init__(self, groups: Sequence[Sequence[str]]) -> None:
        self._groups = tuple(tuple(answer.encode() for answer in group) for group in groups)
        self.chances = [0.0] * (len(groups) + 1)
        self.settled: int | None = None
        self._path = 1.0  # the chance of what was said before it was settled

    @property
    def open(self) -> bool:
        """Whether an answer's meaning is yet to be settled."""
        return bool(self._groups) and self.settled is None

    def of(self, decoding: Decoding, row: int) -> int | None:
        """What an answer that goes on with a row will mean; None where it may still mean one thing or another."""
        other, said = len(self._groups), decoding.said
        if row not in decoding.vocabulary.ends:
            said += b"".join(decoding.vocabulary.symbols(row))
        live = [k for k, group in enumerate(self._groups) if any(answer.startswith(said) for answer in group)]
        if not live:
            return other
        after = decoding.take(row)
        if after.ended:
            return next((k for k in live if said in self._groups[k]), other)
        if len(live) > 1 or _another(after.state, {answer[len(said) :] for answer in self._groups[live[0]] if answer.startswith(said)}):
            return None
        return live[0]

    def pass_(self, sense: int | None, pooled: dict[int | None, float], chance: float) -> None:
        """A row of a sense was taken: `pooled` are the chances of all rows by what they settle, `chance` is the row's own."""
        for settles, mass in pooled.items():
            if settles is not None:
                self.chances[settles] += self._path * mass
        self._path *= chance
        self.settled = sense


def _another(state: State, answers: set[bytes]) -> bool:
    """Whether anything but these may follow."""
    open_ = [(state, answers)]
    while open_:
        here, rests = open_.pop()
        if here.may_end and b"" not in rests:
            return True
        for symbol in here.symbols():
            longer = {rest[len(symbol) :] for rest in rests if rest.startswith(symbol)}
            if not longer:
                return True
            open_.append((here.after(symbol), longer))
    return False
