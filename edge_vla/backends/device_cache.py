"""What a language model remembers between two steps, in the GPU's memory: the host never sees it. Knows no runtime but its addresses.

In turns: two buffers each of keys and of values; a step reads one and writes the other, then they change places. Nothing is copied and
nothing is read where it is written. A step's shapes grow with what was read, so that no two steps look alike.

On pages: the same two buffers for a graph whose caches have a fixed length and which writes what is new into its slots itself. All steps
have the same shapes, and every second one the same addresses: a pass for each side can be replayed as a captured graph.

In slots: one buffer of fixed length each, for a graph whose caches could grow. A step reads all of it, the mask hides what is empty, and
what is new is copied to its slot behind the step. Every later step looks like the one before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack

import numpy as np

from edge_vla.backends.cache import HIDDEN, PAST
from edge_vla.backends.cuda import Block, Stream
from edge_vla.backends.graphs import Feed
from edge_vla.backends.manifest import Graph, Span
from edge_vla.backends.plan_contract import DECODE, PREFILL
from edge_vla.errors import EngineError

Profile = dict[str, Span]


class DeviceCache(ABC):
    """Of a step with a pass to begin with and `passes` - 1 for later positions. `past` positions are kept."""

    passes = 2

    def __init__(self, graph: Graph, profiles: list[Profile], stream: Stream) -> None:
        self._stream, self._stack = stream, ExitStack()
        shape = next(tensor.shape for tensor in graph.inputs if tensor.name in PAST)
        self._layers, self._heads, self._width = (int(shape[i]) for i in (0, 1, 3))
        self._itemsize = np.dtype(next(tensor.dtype for tensor in graph.inputs if tensor.name in PAST)).itemsize
        self.most_new = profiles[PREFILL]["embeddings"].most[1]
        self.most_past = profiles[-1][next(iter(PAST))].most[2]
        self.past = 0
        self._new, self._pass = 0, PREFILL  # of the step that runs

    def _nbytes(self, positions: int) -> int:
        return self._layers * self._heads * positions * self._width * self._itemsize

    def _blocks(self, positions: int) -> dict[str, int]:
        """Addresses of zeros, for keys and for values."""
        found = {}
        for name in PAST:
            block = Block(self._nbytes(positions))
            self._stack.callback(block.close)
            self._stream.zero(block.address, block.nbytes)
            found[name] = block.address
        self._stream.wait()
        return found

    def choose(self, new: int) -> int:
        """A step of `new` positions begins: which pass it is. Raises EngineError where none reads so many."""
        if self.past and new != 1:
            raise EngineError(f"{new} positions behind {self.past}; these plans read one at a time there")
        if new > self.most_new:
            raise EngineError(f"{new} positions at once; these plans read at most {self.most_new}")
        if self.past + new > self.limit:
            raise EngineError(f"the cache is full: {self.past + new} positions; these plans keep {self.limit}")
        self._new, self._pass = new, DECODE if self.past else PREFILL
        return self._pass

    @property
    def limit(self) -> int:
        """Positions that can be kept."""
        return self.most_past

    def clear(self) -> None:
        self.past = 0

    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of past keys, and of past values."""

    @abstractmethod
    def addresses(self) -> dict[str, int]:
        """Of what the step reads and where it writes."""

    def feed(self, feed: Feed) -> Feed:
        """What the host feeds as the step wants it."""
        return feed

    @abstractmethod
    def keep(self) -> None:
        """The step is done."""

    def close(self) -> None:
        self._stack.close()

    def _forget(self, buffers: dict[str, int]) -> None:
        """A mask hides any number but nan and inf, which an answer may have left."""
        for address in buffers.values():
            self._stream.zero(address, self._nbytes(self.most_past))

    def _hidden(self, feed: Feed) -> Feed:
        """With a mask (1, 1, T, S + T) that hides all slots that are empty."""
        mask = np.full((1, 1, self._new, self.most_past + self._new), HIDDEN, np.float32)
        mask[..., : self.past], mask[..., self.most_past :] = feed["mask"][..., : self.past], feed["mask"][..., self.past :]
        return {**feed, "mask": mask}


class Turns(DeviceCache):
    """Two buffers each, that hold the positions read so far and no more."""

    def __init__(self, graph: Graph, profiles: list[Profile], stream: Stream) -> None:
        super().__init__(graph, profiles, stream)
        self._sides = [self._blocks(self._length) for _ in range(2)]
        self._side = 0

    @property
    def _length(self) -> int:
        return max(self.most_new, self.most_past + 1)

    @property
    def limit(self) -> int:
        return self.most_past + 1

    def clear(self) -> None:
        super().clear()
        self._side = 0  # the same question gets the same addresses

    def shape(self) -> tuple[int, ...]:
        return (self._layers, self._heads, self.past, self._width)

    def addresses(self) -> dict[str, int]:
        read, written = self._sides[self._side], self._sides[1 - self._side]
        return read | {PAST[name]: address for name, address in written.items()}

    def keep(self) -> None:
        self._side = 1 - self._side
        self.past += self._new


class Pages(Turns):
    """Two buffers each, of as many slots as the graph has."""

    passes = 3  # the first, and one for each side

    @property
    def _length(self) -> int:
        return self.most_past

    @property
    def limit(self) -> int:
        return self.most_past

    def clear(self) -> None:
        super().clear()
        self._forget(self._sides[0])  # what the first step reads; it writes all of the other side

    def choose(self, new: int) -> int:
        return super().choose(new) + (self._side if self.past else 0)

    def shape(self) -> tuple[int, ...]:
        return (self._layers, self._heads, self.most_past, self._width)

    def feed(self, feed: Feed) -> Feed:
        return {**self._hidden(feed), "slots": np.arange(self.past, self.past + self._new, dtype=np.int64)}


class Slots(DeviceCache):
    """One buffer of `most_past` slots each, and one for what a step writes."""

    def __init__(self, graph: Graph, profiles: list[Profile], stream: Stream) -> None:
        super().__init__(graph, profiles, stream)
        self._read = self._blocks(self.most_past)
        self._written = self._blocks(max(self.most_new, self.most_past + 1))

    def clear(self) -> None:
        super().clear()
        self._forget(self._read)

    def shape(self) -> tuple[int, ...]:
        return (self._layers, self._heads, 0 if self._pass == PREFILL else self.most_past, self._width)

    def addresses(self) -> dict[str, int]:
        return self._read | {PAST[name]: address for name, address in self._written.items()}

    def feed(self, feed: Feed) -> Feed:
        return feed if self._pass == PREFILL else self._hidden(feed)

    def keep(self) -> None:
        """Behind what is kept goes what is new: all a prefill wrote, the last position of what a later step did."""
        position = self._width * self._itemsize
        wrote = self._new if self._pass == PREFILL else self.most_past + 1
        pitch, rows = self.most_past * position, self._layers * self._heads
        for name in PAST:
            to, of = self._read[name] + self.past * position, self._written[name] + (wrote - self._new) * position
            self._stream.copy_rows((to, pitch), (of, wrote * position), self._new * position, rows)
        self._stream.wait()
        self.past += self._new


CACHES: dict[str, type[DeviceCache]] = {"dynamic": Turns, "static": Slots, "written": Pages}  # by a plan's `kv`
