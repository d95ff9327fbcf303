"""A language model's cache as two tensors, for what keeps it elsewhere: each backbone's own kind of cache to stacked tensors and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import DynamicCache

from edge_vla.learn.backbones import flamingo, llava_mpt
from edge_vla.learn.backbones.qwen import v1
from edge_vla.learn.media import Media

if TYPE_CHECKING:
    from edge_vla.learn.backbones.base import BaseRoboVLM


def cache_of(model: BaseRoboVLM, keys: Tensor, values: Tensor, media: Media | None = None) -> Any:
    """What `run_text` continues, of stacked (layers, heads, past, width), one sequence without pads; past may be 0."""
    if isinstance(model, v1.QwenVL):
        return v1.Cache([(key[None], value[None]) for key, value in zip(keys, values, strict=True)], 1.0)
    cache = DynamicCache()
    for layer in range(keys.shape[0]):
        cache.update(keys[layer][None], values[layer][None], layer)
    places = torch.arange(keys.shape[2], device=keys.device)[None]
    if media is not None:
        return flamingo.Past(cache, places, media)
    return llava_mpt.Past(places, cache) if getattr(model, "mpt", None) is not None else cache


def tensors_of(cache: Any) -> tuple[Tensor, Tensor]:
    """(keys, values) of a `run_text`'s cache, stacked, each (layers, heads, past, width)."""
    if isinstance(cache, v1.Cache):
        return torch.stack([key[0] for key, _ in cache.past]), torch.stack([value[0] for _, value in cache.past])
    layers: Any = (cache.keys if isinstance(cache, (flamingo.Past, llava_mpt.Past)) else cache).layers
    return torch.stack([layer.keys[0] for layer in layers]), torch.stack([layer.values[0] for layer in layers])
