"""What every backend is to a host: a bundle's graphs, opened on a device. Knows no runtime and no prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Feed = Mapping[str, NDArray[Any]]


class Graphs(Protocol):
    """Tensors by the names the manifest gives them. Numbers are float32 on this side, whatever a graph computes in.

    An array that is returned may be written over by the next call.
    """

    @property
    def providers(self) -> tuple[str, ...]:
        """What runs the graphs, as the runtime says, the first choice first."""
        ...

    @property
    def past(self) -> int:
        """Positions that `step` has read since `begin`, and those that it began behind."""
        ...

    def run(self, name: str, feed: Feed) -> dict[str, Array]:
        """One pass of a graph that remembers nothing. Raises EngineError when it fails or answers with nan or inf."""
        ...

    def begin(self, behind: Feed | None = None) -> None:
        """Forget what `step` has read; go on behind the keys and values (layers, kv_heads, P, width) of another graph."""
        ...

    def step(self, feed: Feed) -> dict[str, Array]:
        """One pass of lm_step after all since `begin`; keys and values stay inside. Raises EngineError as `run` does."""
        ...

    def close(self) -> None: ...
