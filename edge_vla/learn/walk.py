"""The language model's state while its sequences grow at their ends, an embedding each at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from edge_vla.learn.backbones.base import BaseRoboVLM


class Walk:
    """Sequences (rows, n, d) read at once, then one step at a time with what was kept of them. No gradients are kept."""

    hidden: Tensor  # (rows, 1, d) of each row's last position

    @torch.no_grad()
    def __init__(
        self, model: BaseRoboVLM, embeddings: Tensor, mask: Tensor, positions: Tensor, *, both_ways: bool = False, **extra: Any
    ) -> None:
        """`mask` (rows, n) bool may have pads at its end, `positions` are (rows, n) or (3, rows, n) as `run_text` takes them."""
        out = model.run_text(embeddings, mask, positions, keep=True, both_ways=both_ways, **extra)
        rows = torch.arange(len(mask), device=mask.device)
        self.hidden = out.hidden[rows, mask.long().cumsum(1).argmax(1)][:, None]
        self._model, self._mask, self._cache = model, mask, out.cache
        self._last = positions.reshape(-1, *mask.shape).amax((0, 2))

    @property
    def logits(self) -> Tensor:
        """(rows, vocabulary) of what comes next."""
        with torch.no_grad():
            return self._model.logits(self.hidden)[:, -1]

    def say(self, tokens: Tensor) -> None:
        """Go on with a token (rows,) each."""
        self.step(self._model.word_embedding(tokens[:, None]))

    @torch.no_grad()
    def step(self, embeddings: Tensor) -> None:
        """Go on with an embedding (rows, 1, d) each."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], 1)
        self._last = self._last + 1
        out = self._model.run_text(embeddings, self._mask, self._last[:, None], self._cache, keep=True)
        self.hidden, self._cache = out.hidden, out.cache
