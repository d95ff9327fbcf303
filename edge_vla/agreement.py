"""How far one reply lies from another: words, corners, confidence, free distances, motion. Knows no engine and no bundle."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_vla.types import Reply

# Of another machine's answers: int8 products round differently from one instruction set to the next.
BINS = 8  # of 1024, each corner
FREE_M = 0.05
CONFIDENCE = 0.1
MOTION = 0.02  # m/s and rad/s, of each action
LOC = re.compile(r"<loc(\d{4})>")


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far answers lie from those they are held against, at worst."""

    answers: int
    bins: int
    confidence: float
    free_m: float


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an answer may lie from another and still be the same one."""

    bins: int
    confidence: float
    free_m: float

    def holds(self, off: Agreement | None) -> bool:
        """Whether such a difference is none. False for nan too."""
        return off is not None and off.bins <= self.bins and off.confidence <= self.confidence and off.free_m <= self.free_m

    def __str__(self) -> str:
        return f"{self.bins} bins, {self.confidence:g} of confidence and {self.free_m:g} m"


ANOTHER_MACHINE = Tolerance(BINS, CONFIDENCE, FREE_M)


def difference(got: Reply, want: Reply) -> Agreement | None:
    """How far one answer lies from another; None where words, motions, or the numbers of corners or columns differ.

    A confidence that one of the two does not have is not compared.
    """
    corners, wanted = _corners(got.text), _corners(want.text)
    columns, wanted_columns = _distances(got), _distances(want)
    if not _same_motion(got, want) or LOC.sub("", got.text) != LOC.sub("", want.text):
        return None
    if corners.shape != wanted.shape or columns.shape != wanted_columns.shape:
        return None
    return Agreement(
        1,
        int(np.abs(corners - wanted).max(initial=0)),
        0.0 if got.confidence is None or want.confidence is None else abs(got.confidence - want.confidence),
        float(np.abs(columns - wanted_columns).max(initial=0.0)),
    )


def _same_motion(got: Reply, want: Reply) -> bool:
    """Whether two policies' answers drive alike: as many actions, each within MOTION. False for nan."""
    if got.chunk is None or want.chunk is None:
        return got.chunk is want.chunk
    one, other = (np.array([(t.linear_x, t.linear_y, t.angular_z) for t in chunk.twists]) for chunk in (got.chunk, want.chunk))
    return one.shape == other.shape and bool((np.abs(one - other) <= MOTION).all())


def told(reply: Reply) -> str:
    """A reply in a line of words."""
    if reply.chunk is not None:
        return " ".join(f"({t.linear_x:.3f}, {t.linear_y:.3f}) m/s {t.angular_z:.3f} rad/s" for t in reply.chunk.twists)
    free = "none" if reply.free_distance_m is None else " ".join(f"{d:.2f}" for d in reply.free_distance_m)
    return f"{reply.text!r} ({reply.confidence or 0.0:.2f}; free {free} m)"


def _corners(text: str) -> NDArray[np.int64]:
    return np.array([int(k) for k in LOC.findall(text)], np.int64)


def _distances(reply: Reply) -> NDArray[np.float64]:
    return np.array(reply.free_distance_m or (), np.float64)
