"""What a language model remembers between two steps, held as arrays. Knows no runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_vla.backends.graphs import Array

if TYPE_CHECKING:
    from edge_vla.backends.bundle import Bundle

PAST = {"past_keys": "keys", "past_values": "values"}  # inputs of lm_step and the outputs that are these in the next step


class Cache:
    """Keys and values of lm_step from one step to the next, as the manifest names and shapes them."""

    def __init__(self, bundle: Bundle) -> None:
        inputs = {tensor.name: tensor for tensor in bundle.manifest.graphs["lm_step"].inputs}
        self._empty: dict[str, NDArray[Any]] = {
            name: np.zeros([n if isinstance(n, int) else 0 for n in inputs[name].shape], inputs[name].dtype)
            for name in PAST if name in inputs
        }  # fmt: skip
        self.clear()

    @property
    def past(self) -> int:
        """Positions kept."""
        return int(next(iter(self.kept.values())).shape[2]) if self.kept else 0

    def clear(self) -> None:
        self.kept = dict(self._empty)

    def keep(self, outputs: dict[str, Array]) -> dict[str, Array]:
        """Take the cache out of a step's outputs; what is left of them."""
        self.kept = {name: outputs.pop(PAST[name]) for name in self.kept}
        return outputs
