"""Keys and values in memory of the device that runs lm_step: a step reads one side and writes the other, then they change places."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from edge_vla.backends.bound import HOST, Place
from edge_vla.backends.cache import PAST, Cache
from edge_vla.backends.graphs import Feed

if TYPE_CHECKING:
    from edge_vla.backends.bundle import Bundle

POSITIONS = 512  # there is room for at first; twice as many whenever that is not enough


class Turns(Cache):
    """Nothing is copied, and nothing is written where it is read. What a step writes is only known to the next one."""

    def __init__(self, bundle: Bundle, device: str = HOST) -> None:
        self._device = device
        self._sides: list[dict[str, _Memory]] = [{}, {}]
        self._written = 0  # the side that the step under way writes
        super().__init__(bundle)

    def clear(self, behind: Feed | None = None) -> None:
        super().clear(behind)
        self._written = 0  # the same question gets the same places
        self._read = {name: Place(HOST, values.ctypes.data, values.shape) for name, values in self.kept.items()}

    def places(self) -> dict[str, Place]:
        """Of what the step that was `asked` reads, and of what it writes."""
        found = dict(self._read)
        for name, values in self._empty.items():
            layers, heads, length, width = values.shape
            shape = (layers, heads, length or self.past + self._new, width)
            found[PAST[name]] = Place(self._device, self._memory(name, values.dtype, shape), shape)
        return found

    def turn(self) -> None:
        """The step is done."""
        places = self.places()
        self._read = {name: places[PAST[name]] for name in self._empty}
        self.past += self._new
        self._written = 1 - self._written

    def _memory(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
        side, size = self._sides[self._written], prod(shape) * dtype.itemsize
        if name not in side or side[name].size < size:
            least = prod(shape) // shape[2] * POSITIONS * dtype.itemsize
            side[name] = _Memory(size if shape[2] == self._length else max(least, 2 * size), self._device)
        return side[name].address


class _Memory:
    """Bytes on a device."""

    def __init__(self, size: int, device: str) -> None:
        self.size = size
        self._held: Any
        if device == HOST:
            self._held = np.empty(size, np.uint8)
            self.address = int(self._held.ctypes.data)
        else:
            self._held = ort.OrtValue.ortvalue_from_shape_and_type((size,), np.uint8, device, 0)
            self.address = int(self._held.data_ptr())
