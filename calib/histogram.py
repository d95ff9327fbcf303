"""A tensor's values counted between fixed edges, and the three ranges read off them. numpy only.

Min-max is what occurred. Percentile leaves out the same share at either end. Entropy (S. Migacz, 8-bit inference with TensorRT,
GTC 2017) is the range whose 8-bit picture of the magnitudes loses the least, by Kullback-Leibler divergence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 2048  # over -peak .. peak
LEVELS = 128  # of int8, over 0 .. peak
NOTHING = 1e-4  # of a value, for a bin that holds cut off values alone: their loss is then finite
Counts = NDArray[np.int64]
Ends = tuple[float, float]


@dataclass(slots=True)
class Span:
    """The lowest and the highest value so far, and how many there were."""

    low: float = np.inf
    high: float = -np.inf
    count: int = 0

    def widen(self, values: NDArray[np.float32]) -> None:
        if values.size:  # a cache is empty at first
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
            self.count += values.size

    @property
    def peak(self) -> float:
        return max(abs(self.low), abs(self.high))


class Histogram:
    """Counts of values whose span is known beforehand: edges that never move are edges that every sample is counted between."""

    def __init__(self, span: Span, bins: int = BINS) -> None:
        self.span = span
        self.counts: Counts = np.zeros(bins, np.int64)

    @property
    def edges(self) -> NDArray[np.float64]:
        """(bins + 1,)."""
        return np.linspace(-self.span.peak, self.span.peak, len(self.counts) + 1)

    def add(self, values: NDArray[np.float32]) -> None:
        if self.span.peak == 0.0:  # a tensor that is always zero
            return
        places = (values.ravel().astype(np.float64) + self.span.peak) * (len(self.counts) / (2 * self.span.peak))
        self.counts += np.bincount(np.clip(places.astype(np.int64), 0, len(self.counts) - 1), minlength=len(self.counts))

    @property
    def min_max(self) -> Ends:
        return self.span.low, self.span.high

    def percentile(self, percent: float) -> Ends:
        """The bins' outer edges between which `percent` of all values lie, with as many beyond either end."""
        total = int(self.counts.sum())
        if not total:
            return self.min_max
        beyond = (100.0 - percent) / 200.0 * total
        below = np.cumsum(self.counts)
        low = int(np.searchsorted(below, beyond, side="right"))
        high = int(np.searchsorted(below, total - beyond, side="left"))
        return self._within(self.edges[low], self.edges[high + 1])

    def entropy(self, levels: int = LEVELS) -> Ends:
        """Of all ranges around zero that keep at least `levels` bins a side, the one whose divergence is the smallest."""
        half = len(self.counts) // 2
        sides = self.counts[half:] + self.counts[:half][::-1]
        if not sides.any():
            return self.min_max
        sides[0] = sides[1]  # zeros are exact at any scale: a peak of them must not decide
        if not sides.any():
            return self.min_max
        best = min(range(levels, half + 1), key=lambda kept: divergence(sides, kept, levels))
        edge = self.edges[half + best]
        return self._within(-edge, edge)

    def clipped(self, ends: Ends) -> float:
        """The share of all values that lies outside, as far as the bins can tell."""
        middles = (self.edges[:-1] + self.edges[1:]) / 2
        outside = (middles < ends[0]) | (middles > ends[1])
        return float(self.counts[outside].sum() / max(1, self.counts.sum()))

    def _within(self, low: float, high: float) -> Ends:
        return max(float(low), self.span.low), min(float(high), self.span.high)


def divergence(sides: Counts, kept: int, levels: int) -> float:
    """KL(p || q) when of the magnitudes' histogram only the first `kept` bins are kept.

    p is what is kept, with all beyond it in its last bin; q is what is kept, averaged over the filled bins of each level. q lacks what
    was cut off and is not scaled up to p: a range that holds next to nothing must not look perfect.
    """
    inside = sides[:kept]
    p = inside.astype(np.float64)
    p[-1] += sides[kept:].sum()
    starts = np.arange(levels) * kept // levels
    mass, filled = np.add.reduceat(inside, starts), np.add.reduceat((inside > 0).astype(np.int64), starts)
    q = np.repeat(mass / np.maximum(filled, 1), np.diff(np.append(starts, kept))) * (inside > 0)
    there = p > 0
    p, q = p[there] / p.sum(), np.maximum(q[there], NOTHING) / p.sum()
    return float((p * np.log(p / q)).sum() + q.sum() - 1.0)
