"""An answer told row by row, the likeliest legal one, and how likely it was. Knows rows and their probabilities, and no network.

A probability is one among all rows of the vocabulary, those that may not follow included: what a model had rather said counts against
what it was left to say. So a checkpoint that does not know the format is unsure of what it says in it, a format that cannot say "none"
has a P(present) all the same, and no answer is surer than it would be among the legal rows alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_vla.errors import ParseError
from edge_vla.grammars.grammar import Ask, Chances
from edge_vla.grammars.senses import Senses
from edge_vla.grammars.steps import Step, shares
from edge_vla.grammars.vocabulary import Decoding, Vocabulary


@dataclass(frozen=True, slots=True)
class Told:
    """A whole answer to one question. `present` and `absent` are those of Chances, None where the format cannot say "none"."""

    text: str
    tokens: tuple[tuple[str, float], ...]
    present: float | None = None
    absent: float | None = None


def together(answers: Sequence[Told]) -> tuple[str, Chances]:
    """The answers to a grammar's questions, in order, as one by lines. The first settles whether there is anything."""
    tokens = list(answers[0].tokens)
    for answer in answers[1:]:
        tokens += [("\n", 1.0), *answer.tokens]
    return "\n".join(answer.text for answer in answers), Chances(tuple(tokens), answers[0].present, answers[0].absent)


class Telling:
    """An answer being told: `allowed` rows, then `take` with how likely they are, until it is `over`.

    Where an answer's meaning is settled (there is none, or there is; left, middle or right) the likeliest meaning is taken, however many
    rows it is spread over, and then its likeliest row; everywhere else the likeliest row.
    """

    def __init__(self, vocabulary: Vocabulary, ask: Ask) -> None:
        self._decoding = Decoding.begin(vocabulary, ask.machine)
        self._ask = ask
        self._senses = Senses((ask.none, *ask.alike) if ask.none else ask.alike)
        self._steps: list[Step] = []
        self._rows: list[int] | None = None  # that may follow, once they were asked for

    @property
    def over(self) -> bool:
        """Whether the answer is whole and nothing may follow but its end."""
        return self._decoding.ended or self._decoding.state.over

    def allowed(self) -> list[int]:
        """Rows that may follow, sorted. Raises ConfigError for a vocabulary that lacks what it takes."""
        if self._rows is None:
            self._rows = self._decoding.allowed()
        return self._rows

    def take(self, logs: Sequence[float]) -> int:
        """The row that is taken, by the natural logarithm of each allowed row's probability. Raises ParseError for what is none."""
        before, rows = self._decoding, self.allowed()
        top = max(logs, default=-math.inf)
        if len(logs) != len(rows) or not all(log <= 0 for log in logs) or top == -math.inf:  # false for nan as well
            raise ParseError(f"want {len(rows)} logarithms of probabilities, one of them above 0, got {len(logs)}: {list(logs)[:8]}")
        likely = [math.exp(log - top) for log in logs]  # the best 1, however unlikely all are
        senses = [self._senses.of(before, row) if self._senses.open else None for row in rows]
        pooled: dict[int | None, float] = {}
        for sense, weight in zip(senses, likely, strict=True):
            pooled[sense] = pooled.get(sense, 0.0) + weight
        sense = max(pooled, key=lambda one: pooled[one])
        best = max((k for k, one in enumerate(senses) if one == sense), key=lambda k: likely[k])
        scale = math.exp(top)
        if self._senses.open:
            self._senses.pass_(sense, {one: scale * mass for one, mass in pooled.items()}, scale * likely[best])
        given = 1 / pooled[sense] if sense is not None else scale
        chances = [given * weight if one == sense else 0.0 for one, weight in zip(senses, likely, strict=True)]
        self._steps.append(Step(before, rows, chances, rows[best]))
        self._decoding, self._rows = before.take(rows[best]), None
        return rows[best]

    def told(self) -> Told:
        """The answer. Raises ParseError before it is over."""
        if not self.over:
            raise ParseError(f"want a whole answer, got {self._decoding.said.decode(errors='replace')[-60:]!r}, which has to go on")
        text, settled, chances = self._decoding.text, self._senses.settled, [min(1.0, one) for one in self._senses.chances]
        tokens = ((text, chances[settled]),) if self._ask.alike and settled is not None else tuple(_tokens(self._steps))
        if not self._ask.none:
            return Told(text, tokens)
        return Told(text, tokens, min(1.0, sum(chances[1:])), chances[0])


def _tokens(steps: Sequence[Step]) -> Iterator[tuple[str, float]]:
    """The answer in pieces: a row each, or several whose bytes make up a letter."""
    raw, chance = b"", 1.0
    for step, share in zip(steps, shares(steps), strict=True):
        raw, chance = raw + b"".join(step.symbols), chance * share
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            continue
        yield text, min(1.0, chance)
        raw, chance = b"", 1.0
