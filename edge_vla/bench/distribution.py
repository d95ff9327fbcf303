"""Samples to figures, and two sets of figures to a verdict that noise cannot fake. Pure arithmetic.

A run is cut into BLOCKS consecutive blocks of the same composition. The least and the greatest of the blocks' quantiles bracket the
quantile itself (for a median of eight independent blocks with a chance of 1 - 2/2^8 = 99 %), whatever the distribution and however
much neighbours resemble each other, which a bootstrap over single samples would overlook. A slow spell of the machine widens the bracket.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Literal

BLOCKS = 8
FLOOR_MS = 0.05  # a difference below this is none that a 30 Hz loop could notice
GATED = (("p50", 0.5), ("p95", 0.95))  # what is typical and what is bad; beyond that a run holds single events, which gate nothing
Word = Literal["slower", "faster", "same", "unclear"]


@dataclass(frozen=True, slots=True)
class Spread:
    """A quantile of all samples, and the same quantile of each block, ms."""

    value: float
    blocks: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Distribution:
    """One stage, warm. Nearest rank: with few samples p99 is the longest."""

    n: int
    p50: Spread
    p95: Spread
    p99_ms: float
    max_ms: float
    mean_ms: float


def quantile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank of sorted values, of which there is at least one."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def describe(blocks: Sequence[Sequence[float]]) -> Distribution:
    """The figures of samples (ms) given block by block. A block may be empty, all of them may not."""
    kept = [sorted(block) for block in blocks if block]
    ordered = sorted(chain.from_iterable(kept))
    p50, p95 = (Spread(quantile(ordered, share), tuple(quantile(block, share) for block in kept)) for _, share in GATED)
    return Distribution(len(ordered), p50, p95, quantile(ordered, 0.99), ordered[-1], sum(ordered) / len(ordered))


def in_blocks(samples: Sequence[float]) -> list[Sequence[float]]:
    """Consecutive samples in BLOCKS parts that differ by one in length at most."""
    edges = [len(samples) * k // BLOCKS for k in range(BLOCKS + 1)]
    return [samples[low:high] for low, high in pairwise(edges)]


def judge(base: Spread, new: Spread, limit: float) -> Word:
    """What has become of a quantile; `limit` is the share by which it may grow.

    Slower and faster are said only where the brackets do not touch. Beyond the limit with brackets that do is unclear: measure longer.
    """
    grown, shrunk = new.value - base.value, base.value - new.value
    if grown > limit * base.value and grown > FLOOR_MS:
        return "slower" if min(new.blocks) > max(base.blocks) else "unclear"
    if shrunk > limit * new.value and shrunk > FLOOR_MS and max(new.blocks) < min(base.blocks):
        return "faster"
    return "same"
