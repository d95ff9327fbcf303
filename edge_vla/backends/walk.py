"""A sequence read at once by lm_step, then one embedding at a time with what the graphs kept of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_vla.backends.graphs import Array, Graphs
from edge_vla.backends.stencil import Stencil


class Walk:
    """`told` is what lm_step said of the newest position; the next step writes over it."""

    told: dict[str, Array]

    def __init__(self, graphs: Graphs, stencil: Stencil, pictures: Array) -> None:
        """Raises EngineError as the graphs do."""
        self._graphs = graphs
        self._places = (*stencil.positions.shape[:-1], 1)
        self._last = int(stencil.positions.max())
        self._beside: dict[str, NDArray[Any]] = {}
        if stencil.seen is not None:
            self._beside = {"latents": pictures[None], "seen": np.ascontiguousarray(stencil.seen[:, -1:])}
        graphs.begin()
        self.told = graphs.step(stencil.feed(pictures))

    def step(self, embedding: Array) -> None:
        """Go on with one embedding (d,), which sees all before it."""
        self._last += 1
        feed = {
            "embeddings": embedding[None, None], "positions": np.full(self._places, self._last, np.int64),
            "mask": np.zeros((1, 1, 1, self._graphs.past + 1), np.float32),
        }  # fmt: skip
        self.told = self._graphs.step({**feed, **self._beside})
