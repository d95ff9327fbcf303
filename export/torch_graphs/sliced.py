"""A language model's head cut down to the rows that an engine can say: a loc or an action costs no vocabulary of 257 000 words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from edge_vla.errors import ConfigError
from edge_vla.learn.backbones.base import BaseRoboVLM

# Where a backbone keeps the layer that makes logits; one that has none makes them with its word embedding.
HEADS = ("lm_head.linear", "lm_head", "text_model.lm_head", "text_decoder.lm_head", "lang_encoder.embed_out")


@contextmanager
def sliced(model: BaseRoboVLM, rows: Sequence[Sequence[int]] | None) -> Iterator[None]:
    """While it lasts `model.logits` gives [first, end) after [first, end) of `rows` alone. Tied words cannot be embedded meanwhile.

    Raises ConfigError for rows that the head has not.
    """
    if rows is None:
        yield
        return
    layer = head_of(model)
    weight, bias = layer.weight, getattr(layer, "bias", None)
    if any(not 0 <= first < end <= len(weight) for first, end in rows):
        raise ConfigError(f"rows {rows}: this head has rows 0 to {len(weight) - 1}")
    keep = torch.cat([torch.arange(first, end) for first, end in rows])
    try:
        layer.weight = nn.Parameter(weight.detach()[keep], requires_grad=False)
        if bias is not None:
            layer.bias = nn.Parameter(bias.detach()[keep], requires_grad=False)
        yield
    finally:
        layer.weight = weight
        if bias is not None:
            layer.bias = bias


def head_of(model: BaseRoboVLM) -> Any:
    """The layer whose rows are the vocabulary's."""
    for path in HEADS:
        layer: Any = model.backbone
        for name in path.split("."):
            layer = getattr(layer, name, None)
        if isinstance(layer, nn.Module) and hasattr(layer, "weight"):
            return layer
    return model.word_embedding
