"""A model as plain modules that an exporter can trace: no cache objects outside, no mask builders, no shapes that depend on data.

What is not in them is numpy on the host: the layout of a sequence, the embeddings of words, positions and masks.
n tokens of a picture, T new and P past positions, d the language model's width, L tokens of a frame that a head reads.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from edge_vla.learn.backbones.base import BaseRoboVLM
from edge_vla.learn.caches import cache_of, tensors_of
from edge_vla.learn.media import Media
from export.torch_graphs.recurrence import OnnxLstm


class VisionGraph(nn.Module):
    """image (1, 3, H, W) -> tokens (1, n, d), through the resampler where there is one; of a picture beside the sequence its latents."""

    def __init__(self, model: BaseRoboVLM) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model.encode_images(image)[:, 0]


class StepGraph(nn.Module):
    """The language model as one step that serves prefill and decode.

    embeddings (1, T, d), positions (1, T) or (3, 1, T), additive mask (1, 1, T, P + T), past keys and values (layers, heads, P, width),
    and, with pictures beside the sequence, latents (1, frames, n, w) and seen (1, T)
    -> logits (1, rows) and hidden (1, d) of the last position, keys and values (layers, heads, P + T, width).
    With `choose` the likeliest row's number (1,) comes behind the logits.
    """

    def __init__(self, model: BaseRoboVLM, *, both_ways: bool = False, choose: bool = False) -> None:
        super().__init__()
        self.model, self.both_ways, self.choose = model, both_ways, choose

    def forward(  # noqa: PLR0913 - a graph's tensors
        self, embeddings: Tensor, positions: Tensor, mask: Tensor, past_keys: Tensor, past_values: Tensor,
        latents: Tensor | None = None, seen: Tensor | None = None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        media = _media(latents, seen)
        cache = cache_of(self.model, past_keys, past_values, media)
        beside: dict[str, Any] = {} if media is None else {"media": media}
        out = self.model.run_text(embeddings, mask, positions, cache, keep=True, both_ways=self.both_ways, **beside)
        last = out.hidden[:, -1:]
        logits = self.model.logits(last)[:, -1]
        chosen = (logits.argmax(-1),) if self.choose else ()
        return (logits, *chosen, last[:, 0], *tensors_of(out.cache))


class StaticStepGraph(StepGraph):
    """The same with caches of a fixed length S, for engines that want fixed shapes: mask (1, 1, T, S + T), slots (T,) where the new go.

    keys and values come back (layers, heads, S, width), the new ones written; which of the S are real is the mask's business.
    """

    def forward(  # type: ignore[override]  # noqa: PLR0913
        self, embeddings: Tensor, positions: Tensor, mask: Tensor, past_keys: Tensor, past_values: Tensor, slots: Tensor,
        latents: Tensor | None = None, seen: Tensor | None = None,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        *told, keys, values = super().forward(embeddings, positions, mask, past_keys, past_values, latents, seen)
        length = past_keys.shape[2]
        return (*told, _written(past_keys, keys[:, :, length:], slots), _written(past_values, values[:, :, length:], slots))


class PrefillGraph(nn.Module):
    """One look of a policy that reads hidden states: a whole sequence, and of it what the head reads. Nothing is kept.

    embeddings (1, T, d), positions, mask (1, 1, T, T), act (frames, L) -> tokens (frames, L, d).
    """

    def __init__(self, model: BaseRoboVLM) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, embeddings: Tensor, positions: Tensor, mask: Tensor, act: Tensor, latents: Tensor | None = None, seen: Tensor | None = None
    ) -> Tensor:
        media = _media(latents, seen)
        beside: dict[str, Any] = {} if media is None else {"media": media}
        out = self.model.run_text(embeddings, mask, positions, **beside)
        hidden = out.hidden if out.read is None else out.read
        return hidden[0][act]


class HeadGraph(nn.Module):
    """What a head makes of the newest frame: tokens (1, frames, L, d), oldest first -> arm (1, C, A - 1) and gripper (1, C, 1).

    A head without a gripper gives actions (1, C, A) alone.
    """

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.head = copy.copy(head)
        if isinstance(getattr(head, "rnn", None), nn.LSTM):
            self.head._modules = {**head._modules, "rnn": OnnxLstm(head.rnn)}  # the head itself keeps its own

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        arm, gripper = self.head.whole(tokens)
        return (arm[:, -1],) if gripper is None else (arm[:, -1], gripper[:, -1])


def _media(latents: Tensor | None, seen: Tensor | None) -> Media | None:
    return None if latents is None or seen is None else Media(latents, seen)


def _written(past: Tensor, new: Tensor, slots: Tensor) -> Tensor:
    """`past` (layers, heads, S, width) with `new` (layers, heads, T, width) at `slots` (T,)."""
    where = slots[None, None, :, None].expand(new.shape)
    return torch.scatter(past, 2, where, new)
