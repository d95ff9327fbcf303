"""What a language model remembers between two steps, held as arrays: growing with what is read, or of one length. Knows no runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_vla.backends.graphs import Array, Feed
from edge_vla.errors import EngineError

if TYPE_CHECKING:
    from edge_vla.backends.bundle import Bundle

PAST = {"past_keys": "keys", "past_values": "values"}  # inputs of lm_step and the outputs that are these in the next step
HIDDEN = np.finfo(np.float32).min


class Cache:
    """Keys and values of lm_step from one step to the next, as the manifest names and shapes them.

    A graph whose cache has a fixed length wants to know in which `slots` what is new goes, and a mask that hides what is empty.
    """

    def __init__(self, bundle: Bundle) -> None:
        inputs = {tensor.name: tensor for tensor in bundle.manifest.graphs["lm_step"].inputs}
        self._empty: dict[str, NDArray[Any]] = {
            name: np.zeros([n if isinstance(n, int) else 0 for n in inputs[name].shape], inputs[name].dtype)
            for name in PAST if name in inputs
        }  # fmt: skip
        self._length = next((values.shape[2] for values in self._empty.values()), 0)  # 0 for one that grows
        self.clear()

    def clear(self, behind: Feed | None = None) -> None:
        """Keep nothing, or the keys and values of another graph. Raises EngineError where a cache of a fixed length begins with some."""
        self.past, self._new = 0, 0  # positions kept, and those of the step that is under way
        self.kept = dict(self._empty)
        if behind is None:
            return
        if self._length:
            raise EngineError("a cache of a fixed length begins empty")
        self.kept = {name: behind[PAST[name]] for name in self._empty}
        self.past = int(behind["keys"].shape[2])

    def feed(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """What the graph is fed for a step. Raises EngineError as `asked` does."""
        return {**self.asked(feed), **self.kept}

    def asked(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """The same but for what is kept. Raises EngineError where a cache of a fixed length has no room for it."""
        self._new = feed["embeddings"].shape[1]
        if not self._length:
            return dict(feed)
        end = self.past + self._new
        if end > self._length:
            raise EngineError(f"{end} positions are more than the engine's cache of {self._length}; export it with a longer --static")
        mask = np.full((1, 1, self._new, self._length + self._new), HIDDEN, np.float32)
        mask[..., : self.past], mask[..., self._length :] = feed["mask"][..., : self.past], feed["mask"][..., self.past :]
        return {**feed, "mask": mask, "slots": np.arange(self.past, end, dtype=np.int64)}

    def keep(self, outputs: dict[str, Array]) -> dict[str, Array]:
        """Take the cache out of a step's outputs; what is left of them."""
        self.kept = {name: outputs.pop(PAST[name]) for name in self.kept}
        self.past += self._new
        return outputs
