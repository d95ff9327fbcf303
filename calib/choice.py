"""Which of many pictures to calibrate with: none twice, spread over each source's time, the same ones for the same seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from calib.sources import Candidate
from edge_vla.errors import ConfigError

THUMB = (32, 24)  # px, width and height: what is compared to tell two pictures apart
SAME_GREY = 2.0  # of 255, mean difference: a camera that stands still differs by its noise, about one


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was read: the candidate, its bytes as they are on disk, their hash."""

    candidate: Candidate
    data: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Distinct:
    """What is left of the sources without what shows the same again."""

    sources: tuple[tuple[Picture, ...], ...]
    repeated: int  # left out: the same bytes, or like the picture kept before in the same source


def distinct(sources: Sequence[Sequence[Candidate]]) -> Distinct:
    """Raises ConfigError for a picture that cannot be read."""
    seen: set[str] = set()
    kept, repeated = [], 0
    for source in sources:
        of_source: list[Picture] = []
        last: NDArray[np.float32] | None = None
        for candidate in source:
            picture, thumb = _read(candidate)
            if picture.sha256 in seen or (last is not None and float(np.abs(thumb - last).mean()) < SAME_GREY):
                repeated += 1
                continue
            seen.add(picture.sha256)
            of_source.append(picture)
            last = thumb
        kept.append(tuple(of_source))
    return Distinct(tuple(kept), repeated)


def spread(found: Distinct, count: int, seed: int) -> list[Picture]:
    """`count` pictures, each source by its share; each from a stretch of time of its own. Raises ConfigError when there are not so many."""
    there = sum(map(len, found.sources))
    if not 1 <= count <= there:
        raise ConfigError(f"--count {count}: want 1 to {there}, the pictures that differ ({found.repeated} repeat another one)")
    rng = np.random.default_rng(seed)
    chosen = []
    for source, share in zip(found.sources, _shares([len(source) for source in found.sources], count), strict=True):
        edges = [k * len(source) // share for k in range(share + 1)] if share else []
        chosen += [source[int(rng.integers(low, high))] for low, high in pairwise(edges)]
    return chosen


def _shares(sizes: list[int], count: int) -> list[int]:
    """`count` split by size, largest remainders first; no source gets more than it has."""
    exact = [count * size / sum(sizes) for size in sizes]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda k: (shares[k] - exact[k], k))
    for k in by_remainder[: count - sum(shares)]:
        shares[k] += 1
    return shares


def _read(candidate: Candidate) -> tuple[Picture, NDArray[np.float32]]:
    try:
        data = candidate.path.read_bytes()
    except OSError as err:
        raise ConfigError(f"{candidate.path}: {err.strerror}") from err
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None  # OpenCV raises for nothing at all
    if grey is None:
        raise ConfigError(f"{candidate.path}: {len(data)} bytes that are no picture")
    thumb = cv2.resize(grey, THUMB, interpolation=cv2.INTER_AREA).astype(np.float32)
    return Picture(candidate, data, hashlib.sha256(data).hexdigest()), thumb
