"""Images that a language model looks at from beside its sequence, as Flamingo does: which position looks at which of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from edge_vla.errors import ConfigError
from edge_vla.layout import Layout, Source

if TYPE_CHECKING:
    from edge_vla.learn.backbones.base import BaseRoboVLM


@dataclass(frozen=True, slots=True)
class Media:
    """What `run_text` is given of the images. A position looks at the last image whose mark it has seen, and at none before the first."""

    latents: Tensor  # (rows, images, n, width)
    seen: Tensor  # (rows, positions): image marks up to and with each position

    def end_to_end(self, rows: int) -> Media:
        """Sequences of one image each, strung together to `rows` long ones."""
        latents, seen = (t.unflatten(0, (rows, -1)) for t in (self.latents, self.seen))
        before = torch.arange(seen.shape[1], device=seen.device)[None, :, None]
        return Media(latents.flatten(1, 2), (seen + before).flatten(1, 2))


def apart(model: BaseRoboVLM, image: Tensor | None, hand: Tensor | None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """(image, hand, latents) of features (b, frames, n, d): tokens of the sequence, or both cameras' as one image beside it."""
    if model.mark_id is None or image is None:
        return image, hand, None
    return None, None, image if hand is None else torch.cat([image, hand], 2)


def beside(model: BaseRoboVLM, latents: Tensor | None, ids: Tensor, layout: Layout) -> dict[str, Any]:
    """What `run_text` wants besides the sequence: nothing, or {"media"} of latents (b, frames, n, d) for texts `ids` (rows, columns).

    With more rows than b each row is one frame. Raises ConfigError unless a sequence has exactly one mark for each of its images.
    """
    if latents is None:
        return {}
    if len(ids) != len(latents):
        latents = latents.flatten(0, 1)[:, None]
    text = torch.from_numpy((layout.source == Source.TEXT) & layout.mask).to(ids.device)
    column = torch.from_numpy(np.where(layout.source == Source.TEXT, layout.index, 0)).to(ids.device)
    seen = (text & (ids.gather(1, column) == model.mark_id)).cumsum(1)
    counts, images = seen[:, -1].tolist(), latents.shape[1]
    if set(counts) != {images}:
        mark = model.tokenizer.convert_ids_to_tokens(model.mark_id)
        raise ConfigError(f"texts with {sorted(set(counts))} of {mark!r} for {images} images a sequence: want one before each text")
    return {"media": Media(latents, seen)}


def marked(model: BaseRoboVLM, *columns: tuple[Tensor, Any]) -> list[Tensor]:
    """(tensor (..., n), value) pairs, ids first: as they are, or with the image's mark before the ids and each value before the others.

    The reference puts the mark before its texts of actions, and not before its instructions, which have it already.
    """
    ids = columns[0][0]
    if model.mark_id is None or bool((ids == model.mark_id).any()):
        return [tensor for tensor, _ in columns]
    firsts = [model.mark_id, *(value for _, value in columns[1:])]
    return [torch.cat([t.new_full((*t.shape[:-1], 1), first), t], -1) for (t, _), first in zip(columns, firsts, strict=True)]
