"""Decoding as a state machine over allowed rows: an answer that breaks the grammar cannot be emitted. numpy only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_vla.backends.manifest import Calibration, Tokens

MASS_BINS = 16  # a coordinate's confidence is the probability within this many bins of it (DESIGN §4)
Logits = NDArray[np.float32]  # (vocab,)


@dataclass(frozen=True, slots=True)
class Detection:
    """A decoded `detect`: loc bins (y_min, x_min, y_max, x_max), or None when absent; `confidence` of what is said."""

    bins: tuple[int, int, int, int] | None
    present: float  # P(present), raw
    sharpness: float  # geometric mean of the coordinates' mass; 0 when absent

    def confidence(self, calibration: Calibration) -> float:
        """Calibrated P(present) x sharpness of a box; P(absent) of nothing."""
        if self.bins is None:
            return 1.0 - self.present
        return calibrated(self.present * self.sharpness, calibration)


def calibrated(confidence: float, calibration: Calibration) -> float:
    """A box's raw confidence as a frequency of being right."""
    p = min(max(confidence, 1e-6), 1 - 1e-6)
    return _sigmoid(calibration.scale * math.log(p / (1 - p)) + calibration.shift)


def decode_detection(first: Logits, feed: Callable[[int], Logits], tokens: Tokens) -> Detection:
    """Four coordinates or nothing. `feed(row)` gives the logits after that row. Later corners lie beyond earlier ones."""
    locs = slice(tokens.loc_start, tokens.loc_start + tokens.loc_bins)
    present = _sigmoid(_logsumexp(first[locs]) - float(first[tokens.eos]))
    if present < 0.5:
        return Detection(None, present, 0.0)
    bins: list[int] = []
    masses: list[float] = []
    logits = first
    for corner in range(4):
        low = bins[corner - 2] + 1 if corner >= 2 else 0
        high = tokens.loc_bins if corner >= 2 else tokens.loc_bins - 1  # leaves room for the far corner
        bin_, mass = pick_bin(logits[locs], low, high)
        bins.append(bin_)
        masses.append(mass)
        if corner < 3:
            logits = feed(tokens.loc_start + bin_)
    return Detection((bins[0], bins[1], bins[2], bins[3]), present, math.exp(sum(math.log(max(m, 1e-6)) for m in masses) / 4))


def pick_bin(logits: Logits, low: int, high: int) -> tuple[int, float]:
    """(bin in [low, high), its mass): the mean of the peak's neighbourhood, which is steadier than the peak itself."""
    chance = np.zeros_like(logits)
    chance[low:high] = np.exp(logits[low:high] - logits[low:high].max())
    chance /= chance.sum()
    peak = int(chance.argmax())
    near = slice(max(low, peak - 2 * MASS_BINS), min(high, peak + 2 * MASS_BINS + 1))
    centre = round(float((chance[near] * np.arange(near.start, near.stop)).sum() / chance[near].sum()))
    centre = min(max(centre, low), high - 1)
    return centre, min(1.0, float(chance[max(low, centre - MASS_BINS) : centre + MASS_BINS + 1].sum()))  # float32 sums overshoot


def decode_words(first: Logits, feed: Callable[[int], Logits], tokens: Tokens, limit: int) -> tuple[list[int], float]:
    """Greedy rows of a sentence, and the geometric mean of the probabilities of them and the end. Nothing else is allowed."""
    allowed = np.array([*tokens.words, tokens.eos])
    rows: list[int] = []
    surprises: list[float] = []
    logits = first
    for _ in range(limit):
        choice = int(allowed[logits[allowed].argmax()])
        surprises.append(_logsumexp(logits[allowed]) - float(logits[choice]))
        if choice == tokens.eos:
            break
        rows.append(choice)
        logits = feed(choice)
    return rows, math.exp(-sum(surprises) / max(1, len(surprises)))


def decode_choice(first: Logits, rows: list[int]) -> tuple[int, float]:
    """The likeliest of a few rows and its probability among them."""
    chosen = max(rows, key=lambda row: float(first[row]))
    return chosen, math.exp(float(first[chosen]) - _logsumexp(first[np.array(rows)]))


def _logsumexp(values: NDArray[np.float32]) -> float:
    peak = float(values.max())
    return peak + math.log(float(np.exp(values - peak).sum()))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
