"""How late and how slowly the wheels follow: a dead time and a first-order lag, fitted to what was asked and measured. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_vla.errors import ConfigError

MOST_DELAY_MS, MOST_TAU_MS = 500, 600
LEAST_SAMPLES = 60
LEAST_EXPLAINED = 0.9
GAINS = (0.5, 1.5)
Signal = Sequence[tuple[int, float]]  # (t_ns, m/s), in order of time
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Response:
    """`explained`: the share of the measured speed's variance that the fit explains."""

    delay_s: float
    tau_s: float
    gain: float
    explained: float
    samples: int


def fit(asked: Signal, measured: Signal) -> Response:
    """Of all dead times and time constants, in whole milliseconds, those that leave the least squared error, each with its best gain.

    `asked` holds until its next entry. Raises ConfigError where too little was measured, or the wheels do not follow.
    """
    if len(measured) < LEAST_SAMPLES or not asked:
        raise ConfigError(f"{len(measured)} reports of the wheels' speed, want at least {LEAST_SAMPLES}: make more steps")
    times, wanted = (np.array(column) for column in zip(*asked, strict=True))
    when, speed = (np.array(column, np.float64) for column in zip(*measured, strict=True))
    milliseconds = np.arange(int((max(when[-1], times[-1]) - times[0]) // 1_000_000) + 1)
    command = wanted[np.searchsorted((times - times[0]) / 1e6, milliseconds, side="right") - 1]
    places = np.round((when - times[0]) / 1e6).astype(int)
    heard = places >= 0
    places, speed = places[heard], speed[heard]
    _, coarse_ms = _best(command, places, speed, np.arange(0, MOST_TAU_MS + 1, 10))
    near = np.arange(max(0, coarse_ms - 10), min(MOST_TAU_MS, coarse_ms + 10) + 1)
    (error, gain, delay_ms), tau_ms = _best(command, places, speed, near)
    explained = max(0.0, 1.0 - error / max(float(((speed - speed.mean()) ** 2).sum()), 1e-12))
    if not explained >= LEAST_EXPLAINED:
        raise ConfigError(f"the wheels follow what was asked by {explained:.0%}, want {LEAST_EXPLAINED:.0%}: does the base stand free?")
    if not GAINS[0] <= gain <= GAINS[1]:
        raise ConfigError(f"the wheels turn at {gain:.2f} times the speed asked for, want {GAINS[0]} to {GAINS[1]}")
    if delay_ms >= MOST_DELAY_MS or tau_ms >= MOST_TAU_MS:
        raise ConfigError(f"a delay of {delay_ms} ms and a time constant of {tau_ms} ms: want less than {MOST_DELAY_MS} and {MOST_TAU_MS}")
    return Response(delay_ms / 1e3, tau_ms / 1e3, gain, explained, len(speed))


def _best(command: Array, places: NDArray[np.int64], speed: Array, taus_ms: NDArray[np.int64]) -> tuple[tuple[float, float, int], int]:
    """((squared error, gain, delay in ms), time constant in ms) of the best fit among these time constants."""
    followed = _lagged(command, taus_ms)
    found = []
    for delay_ms in range(MOST_DELAY_MS + 1):
        at = places - delay_ms
        shape = np.where(at >= 0, followed[:, np.maximum(at, 0)], 0.0)  # before the first word nothing was asked
        power = (shape * shape).sum(1)
        gain = np.maximum(shape @ speed, 0.0) / np.maximum(power, 1e-12)  # the other way round is not following
        errors = (speed * speed).sum() - gain * gain * power  # of the best gain
        k = int(errors.argmin())
        found.append(((float(errors[k]), float(gain[k]), delay_ms), int(taus_ms[k])))
    return min(found)


def _lagged(command: Array, taus_ms: NDArray[np.int64]) -> Array:
    """(time constants, milliseconds): the command through a first-order lag, from standing still."""
    share = np.where(taus_ms > 0, 1.0 - np.exp(-1.0 / np.maximum(taus_ms, 1)), 1.0)
    followed = np.zeros((len(taus_ms), len(command)))
    value = np.zeros(len(taus_ms))
    for k, asked in enumerate(command):
        followed[:, k] = value
        value = value + share * (asked - value)
    return followed
