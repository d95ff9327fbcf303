"""Moondream's coordinates in numpy: fractions of a picture to embeddings, and hidden states to such fractions. Small beside the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edge_vla.backends.graphs import Array
from edge_vla.backends.walk import Walk
from edge_vla.errors import ConfigError, EngineError
from edge_vla.grammars.machine import NEAR
from edge_vla.grammars.spots import Located, Spot

OCTAVES = 10.0  # sizes go from 2**-10 of the picture to all of it
GELU = math.sqrt(2 / math.pi), 0.044715  # of its tanh form
LAYERS = ("coord_encoder", "coord_decoder.fc1", "coord_decoder.fc2", "size_encoder", "size_decoder.fc1", "size_decoder.fc2")
WAVES = {"coord_features": 1, "size_features": 2}  # numbers that become an embedding at once


class Region:
    """Names and shapes of the matrices as in Moondream's own region model, layers (out, in)."""

    def __init__(self, matrices: Mapping[str, Array], hidden: int, *, log_sizes: bool) -> None:
        """Raises ConfigError for matrices that do not make up one of that width."""
        self._of, self._log_sizes = matrices, log_sizes
        for why in self._wrong(hidden):
            raise ConfigError(f"region: {why}")

    def _wrong(self, hidden: int) -> list[str]:
        names = [f"{layer}.{part}" for layer in LAYERS for part in ("weight", "bias")] + list(WAVES)
        if set(self._of) != set(names):
            missing, more = sorted(set(names) - set(self._of)), sorted(set(self._of) - set(names))
            return [f"want {', '.join(names)}; {', '.join(missing) or 'nothing'} missing, {', '.join(more) or 'nothing'} unknown"]
        waves = {name: (count, self._of[name].size // count) for name, count in WAVES.items()}
        wanted: dict[str, tuple[int, ...]] = dict(waves)
        for kind in ("coord", "size"):
            inner = self._of[f"{kind}_decoder.fc1.bias"].size
            bins = self._of[f"{kind}_decoder.fc2.bias"].size
            wanted |= {
                f"{kind}_encoder.weight": (hidden, 2 * waves[f"{kind}_features"][1]), f"{kind}_encoder.bias": (hidden,),
                f"{kind}_decoder.fc1.weight": (inner, hidden), f"{kind}_decoder.fc1.bias": (inner,),
                f"{kind}_decoder.fc2.weight": (bins, inner), f"{kind}_decoder.fc2.bias": (bins,),
            }  # fmt: skip
        why = [f"{name}: want {shape}, got {self._of[name].shape}" for name, shape in wanted.items() if self._of[name].shape != shape]
        if self._of["size_decoder.fc2.bias"].size % 2:
            why.append(f"size_decoder.fc2.bias: want as many bins of widths as of heights, got {self._of['size_decoder.fc2.bias'].size}")
        return why + [f"{name}: want finite numbers" for name, values in self._of.items() if not np.isfinite(values).all()]

    def encode_coordinate(self, value: float) -> Array:
        """(d,) of an x or y."""
        return self._linear("coord_encoder", self._waves(np.array([value], np.float32), "coord_features"))

    def encode_size(self, values: Array) -> Array:
        """(d,) of width and height (2,)."""
        return self._linear("size_encoder", self._waves(values, "size_features"))

    def read_coordinate(self, hidden: Array) -> tuple[float, float]:
        """Of (d,) the likeliest of the bins' left edges, and the probability of all that is within a side / NEAR of it."""
        logits = self._decoded("coord_decoder", hidden)[None]
        values, chances = _likeliest(logits, np.arange(logits.shape[1], dtype=np.float32) / np.float32(logits.shape[1]), 0)
        return float(values[0]), float(chances[0])

    def read_size(self, hidden: Array, least: int) -> tuple[Array, NDArray[np.float64]]:
        """Of (d,) width and height (2,) of the bins from `least` on, each with its probability as of a coordinate."""
        logits = self._decoded("size_decoder", hidden).reshape(2, -1)
        bins, last = np.arange(logits.shape[1], dtype=np.float32), logits.shape[1] - 1
        values = (
            np.exp2(bins / np.float32(last) * np.float32(OCTAVES) - np.float32(OCTAVES)) if self._log_sizes else bins / np.float32(last + 1)
        )
        return _likeliest(logits, values.astype(np.float32), least)

    @property
    def least(self) -> int:
        """The first bin of a size that is more than nothing."""
        return 0 if self._log_sizes else 1

    def _decoded(self, name: str, hidden: Array) -> Array:
        inner = self._linear(f"{name}.fc1", hidden)
        root, cube = np.float32(GELU[0]), np.float32(GELU[1])
        return self._linear(f"{name}.fc2", np.float32(0.5) * inner * (1 + np.tanh(root * (inner + cube * inner**3))))

    def _linear(self, name: str, x: Array) -> Array:
        return np.asarray(self._of[f"{name}.weight"] @ x + self._of[f"{name}.bias"], np.float32)

    def _waves(self, values: Array, name: str) -> Array:
        angles = np.float32(2 * math.pi) * values @ self._of[name]
        return np.concatenate([np.cos(angles), np.sin(angles)])


def load_region(path: Path, hidden: int, *, log_sizes: bool) -> Region:
    """Raises EngineError for a file that is none, ConfigError for other matrices."""
    try:
        with np.load(path, allow_pickle=False) as file:
            matrices = {name: np.ascontiguousarray(file[name], np.float32) for name in file.files}
    except (OSError, EOFError, ValueError, AttributeError, TypeError, BadZipFile) as err:  # an .npy, which is an array, has no files
        raise EngineError(f"{path}: want an .npz of matrices ({err})") from err
    try:
        return Region(matrices, hidden, log_sizes=log_sizes)
    except ConfigError as err:
        raise ConfigError(f"engine {path}: {err}") from err


def locate(region: Region, walk: Walk, ends: NDArray[np.int64], most: int) -> Located:
    """Boxes after a question that was read, at most `most`. As in Moondream's own code any row but an end is followed by a box."""
    logits = walk.told["logits"][0].astype(np.float64)
    chances = np.exp(logits - logits.max())
    absent = float(chances[ends].sum() / chances.sum())
    found: list[Spot] = []
    while len(found) < most and int(walk.told["logits"][0].argmax()) not in ends:
        numbers, likely = list[float](), list[float]()
        for _ in range(2):
            value, chance = region.read_coordinate(walk.told["hidden"][0])
            walk.step(region.encode_coordinate(value))
            numbers.append(value)
            likely.append(chance)
        size, sure = region.read_size(walk.told["hidden"][0], region.least)
        found.append(Spot((*numbers, *map(float, size)), (*likely, *map(float, sure))))
        if len(found) < most:
            walk.step(region.encode_size(size))
    return Located(tuple(found), max(0.0, 1 - absent))


def _likeliest(logits: Array, values: Array, least: int) -> tuple[Array, NDArray[np.float64]]:
    """(n, bins) with the values of the bins to (n,) values and (n,) probabilities."""
    best = values[logits[:, least:].argmax(-1) + least]
    near = np.abs(values - best[:, None]) <= 1 / NEAR + 1e-6
    near[:, :least] = False
    exact = logits.astype(np.float64)
    chances = np.exp(exact - exact.max(-1, keepdims=True))
    return best, np.asarray((chances * near).sum(-1) / chances.sum(-1), np.float64)
