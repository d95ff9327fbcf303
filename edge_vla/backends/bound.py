"""A graph's session with its memory: inputs and outputs, and keys and values, lie where they lay in the last pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_vla.backends.graphs import Array, Feed
from edge_vla.errors import EngineError

DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}
PASSES = 512  # bound ones that are kept: answers of 24 words to questions of ten lengths need 240
HOST = "cpu"


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor that stays where it is: on a device, at an address."""

    device: str
    address: int
    shape: tuple[int, ...]


class BoundGraph:
    """One session. A pass of new shapes is bound once; from then on nothing is taken and nothing is bound."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self.session = session
        self._inputs = {node.name: np.dtype(DTYPES[node.type]) for node in session.get_inputs()}
        self._outputs = {node.name: (np.dtype(DTYPES[node.type]), tuple(node.shape)) for node in session.get_outputs()}
        self._fed: dict[str, NDArray[Any]] = {}  # flat, as long as the longest so far
        self._told = {  # of outputs whose sizes are known
            name: np.empty(shape, dtype) for name, (dtype, shape) in self._outputs.items() if all(isinstance(n, int) for n in shape)
        }
        self._passes: dict[tuple[object, ...], tuple[Any, dict[str, NDArray[Any]]]] = {}  # a binding and what is fed through it

    def run(self, feed: Feed, kept: Mapping[str, Place] | None = None) -> dict[str, Array]:
        """The outputs that have no place in `kept`, floats as float32; the next pass may write over them.

        Raises EngineError when it fails or answers with nan or inf.
        """
        kept = kept or {}
        if missing := [name for name in self._inputs if name not in feed and name not in kept]:
            raise EngineError(f"the graph wants {', '.join(missing)}, got {', '.join((*feed, *kept))}")
        key = (*(feed[name].shape for name in self._inputs if name not in kept), *kept.values())
        try:
            if key not in self._passes:
                self._bind(key, feed, kept)
            binding, inputs = self._passes[key]
            for name, array in inputs.items():
                np.copyto(array, feed[name], casting="same_kind")
            self.session.run_with_iobinding(binding)
            outputs = self._answers(binding, kept)
        except Exception as err:  # onnxruntime raises its own unrelated types, all of them derived from Exception alone
            raise EngineError(f"the graph failed: {str(err).strip()}") from err
        for name, value in outputs.items():
            if not np.isfinite(value).all():
                raise EngineError(f"the graph's output {name!r} is not finite")
        return {name: value if value.dtype.kind == "i" else value.astype(np.float32, copy=False) for name, value in outputs.items()}

    def _bind(self, key: tuple[object, ...], feed: Feed, kept: Mapping[str, Place]) -> None:
        inputs = {name: self._room(name, feed[name].shape) for name in self._inputs if name not in kept}  # may empty the passes
        if len(self._passes) >= PASSES:
            self._passes.clear()
        binding = self.session.io_binding()
        for name, dtype in self._inputs.items():
            if name in kept:
                binding.bind_input(name, kept[name].device, 0, dtype, kept[name].shape, kept[name].address)
            else:
                binding.bind_input(name, HOST, 0, dtype, inputs[name].shape, inputs[name].ctypes.data)
        for name, (dtype, shape) in self._outputs.items():
            if name in kept:
                binding.bind_output(name, kept[name].device, 0, dtype, kept[name].shape, kept[name].address)
            elif name in self._told:
                binding.bind_output(name, HOST, 0, dtype, shape, self._told[name].ctypes.data)
            else:
                binding.bind_output(name, HOST)
        self._passes[key] = binding, inputs

    def _room(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Memory for an input. Where what there is does not do, every pass loses its own and is bound anew."""
        size = prod(shape)
        if name not in self._fed or self._fed[name].size < size:
            self._fed[name] = np.empty(size, self._inputs[name])
            self._passes.clear()
        return self._fed[name][:size].reshape(shape)

    def _answers(self, binding: Any, kept: Mapping[str, Place]) -> dict[str, NDArray[Any]]:
        if all(name in self._told or name in kept for name in self._outputs):
            return {name: value for name, value in self._told.items() if name not in kept}
        values = zip(self._outputs, binding.get_outputs(), strict=True)
        return {name: value.numpy() for name, value in values if name not in kept}
