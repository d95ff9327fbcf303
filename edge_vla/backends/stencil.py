"""A sequence with its pictures left blank: everything about it that is settled before a frame comes. Knows no graph and no tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_vla.backends.backbone_manifest import Sequence as Told
from edge_vla.backends.graphs import Array
from edge_vla.backends.wording import Wording
from edge_vla.errors import ConfigError
from edge_vla.layout import Bools, Ints, Layout, Recipe, Source, TokenSource, lay_out

LOWEST = np.finfo(np.float32).min  # of a place that may not be looked at; finite, so that a row of nothing else stays so


@dataclass(frozen=True, slots=True)
class Stencil:
    """One sequence of T positions and width d, as lm_step reads it."""

    embeddings: Array  # (1, T, d); the pictures' places are written over by each feed
    places: Ints  # of the pictures' tokens, in order
    positions: Ints  # (1, T), or (3, 1, T) where pictures are numbered in two dimensions
    mask: Array  # (1, 1, T, T), added to attention
    read: Ints  # (frames, L) positions that a head reads
    seen: Ints | None  # (1, T) pictures up to there, where they stand beside the sequence

    def feed(self, pictures: Array) -> dict[str, NDArray[Any]]:
        """With pictures (frames, n, width), oldest first. What it gives is good until the next feed."""
        feed: dict[str, NDArray[Any]] = {"embeddings": self.embeddings, "positions": self.positions, "mask": self.mask}
        if self.seen is not None:
            return {**feed, "latents": pictures[None], "seen": self.seen}
        self.embeddings[0, self.places] = pictures.reshape(-1, pictures.shape[-1])
        return feed


@dataclass(frozen=True, slots=True)
class Cut:
    """How a sequence is read, besides what it is made of."""

    both_ways: bool = False  # everything attends to everything
    source: TokenSource = TokenSource.ALL  # of `down_sample`


def stencil(words: Wording, told: Told, ids: Sequence[int], recipe: Recipe, act: Array | None = None, cut: Cut | None = None) -> Stencil:
    """The sequence of rows `ids` by a recipe; `act` (latent, d) are the action tokens. Raises ConfigError for what fits no sequence."""
    cut = cut or Cut()
    layout = lay_out(np.ones((1, len(ids)), np.bool_), recipe)
    counted = replace(layout, mask=np.ones_like(layout.mask)) if recipe.reference_padding else layout
    positions = counted.positions(None if told.grid is None else (told.grid[0], told.grid[1]))
    allowed = _allowed(layout.mask[0], np.asarray(positions).reshape(-1, layout.mask.shape[1])[0], told.prefix, both_ways=cut.both_ways)
    return Stencil(
        embeddings=_embedded(words, told, ids, layout, act)[None],
        places=np.flatnonzero(layout.source[0] == Source.IMAGE),
        positions=np.ascontiguousarray(positions, np.int64),
        mask=np.where(allowed, np.float32(0), LOWEST)[None, None],
        read=layout.act[0] if recipe.acts else _picked(layout, recipe, cut.source),
        seen=None if told.mark is None else _seen(layout, ids, told.mark),
    )  # fmt: skip


def _embedded(words: Wording, told: Told, ids: Sequence[int], layout: Layout, act: Array | None) -> Array:
    """(T, d), zeros where a picture goes."""
    source, index = layout.source[0], layout.index[0]
    text = words.embedded(ids)
    out = np.zeros((len(source), text.shape[1]), np.float32)
    tables: dict[Source, Array] = {Source.TEXT: text}
    if act is not None:
        tables[Source.ACT] = act
    if told.brackets is not None:
        brackets = words.embedded(told.brackets)
        tables |= {Source.IMAGE_START: brackets[:1], Source.IMAGE_END: brackets[1:]}
    for kind, table in tables.items():
        here = source == kind
        out[here] = table[index[here]]
    return out


def _allowed(mask: Bools, positions: Ints, prefix: int, *, both_ways: bool) -> Bools:
    """(T, T): which position may look at which."""
    count = len(mask)
    allowed: Bools = np.ones((count, count), np.bool_) if both_ways else np.tri(count, dtype=np.bool_)
    first = positions < prefix
    together: Bools = (allowed | (first[:, None] & first)) & mask
    return together


def _picked(layout: Layout, recipe: Recipe, source: TokenSource) -> Ints:
    """Of `down_sample`; of what nothing reads but the next token, nothing."""
    return layout.pick(source, recipe)[0] if recipe.action_space.value == "down_sample" else np.zeros((0, 0), np.int64)


def _seen(layout: Layout, ids: Sequence[int], mark: int) -> Ints:
    """(1, T). Raises ConfigError unless there is one mark for each picture."""
    text = layout.source == Source.TEXT
    rows = np.asarray(ids, np.int64)[np.where(text, layout.index, 0)]
    seen = np.cumsum(text & (rows == mark), axis=1)
    frames = int(layout.frame.max()) + 1
    if int(seen[0, -1]) != frames:
        raise ConfigError(f"a text with {int(seen[0, -1]) // frames} marks of a picture (row {mark}): want 1, the engine's own before it")
    return np.asarray(seen, np.int64)
