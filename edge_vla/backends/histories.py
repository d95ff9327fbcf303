"""How a policy's frames meet: each read by itself and strung together in the head, strung together before the language model, or
the newest alone, whose action is spelled in rows of the vocabulary. Knows no picture and no robot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge_vla.actions import TOKEN_OFFSET, ActionBins
from edge_vla.backends.backbone_manifest import Bins, PolicyManifest
from edge_vla.backends.graphs import Array, Graphs
from edge_vla.backends.laps import Laps
from edge_vla.backends.stencil import Cut, Stencil, stencil
from edge_vla.backends.walk import Walk
from edge_vla.backends.wording import Wording
from edge_vla.layout import ActionSpace, History, Recipe, TokenSource


@dataclass(frozen=True, slots=True)
class Parts:
    """What actions are made with."""

    m: PolicyManifest
    words: Wording
    act: Array | None  # (latent, d) action tokens
    graphs: Graphs
    laps: Laps


class Reader(Protocol):
    """What makes actions of pictures, under one instruction."""

    def read(self, pictures: Array) -> Array:
        """(C, A) of the newest frame's tokens (1, n, width), as the head says them, arm before gripper. Raises EngineError."""
        ...

    def forget(self) -> None:
        """Drop the frames before."""
        ...


def reader(parts: Parts, instruction: str) -> Reader:
    """The one that the manifest asks for. Raises ConfigError for an instruction that fits no sequence."""
    ids = parts.words.ids(parts.m.instruction.replace("{text}", instruction.strip()), most=parts.m.max_text)
    if parts.m.policy.bins is not None:
        return Spelled(parts, ids, parts.m.policy.bins)
    return Apart(parts, ids) if parts.m.policy.history == "post" else Strung(parts, ids)


class _Windowed:
    """What the two kinds of windows share: sequences by the number of frames in them, and a head after the language model."""

    def __init__(self, parts: Parts, ids: Sequence[int]) -> None:
        self._parts, self._ids, self._policy = parts, ids, parts.m.policy
        self._window: deque[Array] = deque(maxlen=self._policy.window)
        self._laid: dict[int, Stencil] = {}
        self._sequence(1)

    def forget(self) -> None:
        self._window.clear()

    def _with(self, newest: Array) -> list[Array]:
        """The window as it will be; a frame joins it once it was read."""
        return [*self._window, newest][-self._policy.window :]

    def _sequence(self, frames: int) -> Stencil:
        """Laid out once for each number of frames."""
        if frames not in self._laid:
            told, p = self._parts.m.sequence, self._policy
            recipe = Recipe(
                bos=told.bos, eos=told.eos, image_tokens=told.image_tokens, latent=p.latent, window=frames, history=History(p.history),
                action_space=ActionSpace(p.action_space), image_brackets=told.brackets is not None, fill_zero=p.fill_zero,
                reference_padding=p.reference_padding,
            )  # fmt: skip
            cut = Cut(source=TokenSource(p.token_source))
            self._laid[frames] = stencil(self._parts.words, told, self._ids, recipe, self._parts.act, cut)
        return self._laid[frames]

    def _tokens(self, pictures: Array, sequence: Stencil) -> Array:
        """(frames, L, d) that the head reads, of pictures (frames, n, width)."""
        found = self._parts.graphs.run("lm_step", {**sequence.feed(pictures), "act": sequence.read})["tokens"]
        tokens = pooled(found, self._policy.latent) if self._policy.pool else np.array(found, np.float32)
        self._parts.laps.lap("prefill")
        return tokens

    def _head(self, tokens: Array) -> Array:
        """(C, A) of tokens (frames, L, d), oldest first."""
        told = self._parts.graphs.run("head", {"tokens": tokens[None]})
        said = told["actions"] if "actions" in told else np.concatenate([told["arm"], told["gripper"]], -1)
        self._parts.laps.lap("head")
        return np.array(said[0], np.float32)


class Apart(_Windowed):
    """History `post`: a pass of the language model for each frame, whose tokens the head strings together."""

    def read(self, pictures: Array) -> Array:
        tokens = self._tokens(pictures, self._sequence(1))[0]
        said = self._head(np.stack(self._with(tokens)))
        self._window.append(tokens)
        return said


class Strung(_Windowed):
    """Histories `pre` and `video`: one pass of the language model over all frames of the window."""

    def read(self, pictures: Array) -> Array:
        frames = self._with(pictures[0])
        said = self._head(self._tokens(np.stack(frames), self._sequence(len(frames))))
        self._window.append(pictures[0])
        return said


class Spelled:
    """Discrete actions: row by row, the likeliest each time. No frame but the newest is looked at."""

    def __init__(self, parts: Parts, ids: Sequence[int], bins: Bins) -> None:
        self._parts, told = parts, parts.m.sequence
        self._bins = ActionBins(bins.first_row + bins.count + TOKEN_OFFSET, 0, bins.count, bins.low, bins.high)
        self._rows = np.concatenate([np.arange(first, end) for first, end in parts.m.decoder.rows or []])
        recipe = Recipe(
            bos=True, eos=False, image_tokens=told.image_tokens, action_space=ActionSpace.DISCRETE, image_brackets=told.brackets is not None
        )
        self._sequence = stencil(parts.words, told, ids, recipe)

    def forget(self) -> None:
        """There is nothing to forget."""

    def read(self, pictures: Array) -> Array:
        parts, p, said = self._parts, self._parts.m.policy, list[int]()
        walk = Walk(parts.graphs, self._sequence, pictures)
        parts.laps.lap("prefill")
        while True:
            said.append(int(self._rows[int(walk.told["choice"][0])]))
            if len(said) == p.chunk * p.action_dim:
                break
            walk.step(parts.words.embedded(said[-1:])[0])
            parts.laps.lap("decode")
        values = self._bins.decode(said).reshape(p.chunk, p.action_dim)
        if p.scaling.gripper:
            values[:, -1] = np.where(values[:, -1] > 0, 1.0, -1.0)
        return values.astype(np.float32)


def pooled(tokens: Array, count: int) -> Array:
    """(frames, n, d) to (frames, count, d): the largest of each of `count` shares of a frame's tokens, which may overlap by one."""
    n = tokens.shape[1]
    return np.stack([tokens[:, k * n // count : ((k + 1) * n + count - 1) // count].max(1) for k in range(count)], 1)
