"""One profile of one plan, in a context of its own: shapes and addresses go in, work comes onto the stream, as captured where it can be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import tensorrt as trt

from edge_vla.backends.cuda import Block, Captured, Port, Stream
from edge_vla.backends.manifest import Tensor
from edge_vla.backends.plans import Log, OpenPlan
from edge_vla.errors import EngineError

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Addresses = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Place:
    """What all passes of an engine share: they run one after another."""

    stream: Stream
    scratch: Block  # memory between layers
    log: Log


class Pass:
    """A context keeps at most one captured graph, of the shapes and addresses it ran with last: other ones make it void.

    Work that comes a second time unchanged is captured, from then on it is launched as one. TensorRT wants a plain run in between.
    """

    def __init__(self, plan: OpenPlan, profile: int, place: Place, ports: Mapping[str, Port], *, captures: bool) -> None:
        """`ports` may be filled later. Raises EngineError."""
        self._graph, self._ports, self._captures = plan.graph, ports, captures
        self._stream, scratch, self._log = place.stream, place.scratch, place.log
        context: trt.IExecutionContext | None = plan.engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise EngineError(f"{plan.graph.file}: no context for it: {self._log.why()}")
        self.context = context
        if not context.set_optimization_profile_async(profile, int(self._stream)):
            raise EngineError(f"{plan.graph.file}: profile {profile} cannot be chosen: {self._log.why()}")
        self._stream.wait()
        context.set_device_memory(scratch.address, scratch.nbytes)
        self._bound: tuple[dict[str, Shape], dict[str, int]] | None = None
        self._captured: Captured | None = None
        self._outputs: dict[str, Shape] = {}

    @property
    def captured(self) -> bool:
        """Whether the last work was launched as one."""
        return self._captured is not None

    def run(self, shapes: Shapes, kept: Addresses) -> dict[str, Shape]:
        """One pass on what is in the ports and at the addresses `kept` by the GPU; shapes of the outputs. Raises EngineError."""
        wanted = (dict(shapes), dict(kept))
        again = wanted == self._bound
        try:
            if not again:
                self._bind(*wanted)
            if again and self._captures and self._captured is None:
                self._captured = self._capture()
            if self._captured is not None:
                self._captured.launch()
            else:
                self._submit()
            self._stream.wait()
        except EngineError as err:
            self._bound = None
            raise EngineError(f"{self._graph.file} failed: {err}") from err
        self._bound = wanted
        return self._outputs

    def outputs_of(self, shapes: Shapes) -> dict[str, Shape]:
        """What inputs of these shapes make. Nothing runs; what was captured is void. Raises EngineError."""
        self.forget()
        self._bound = None
        for name, shape in shapes.items():
            if not self.context.set_input_shape(name, shape):
                raise EngineError(f"input {name} cannot be {shape}: {self._log.why()}")
        found = {t.name: tuple(int(n) for n in self.context.get_tensor_shape(t.name)) for t in self._graph.outputs}
        if unknown := [f"{name} {shape}" for name, shape in found.items() if min(shape, default=0) < 0]:
            raise EngineError(f"sizes of {', '.join(unknown)} do not follow from the inputs'")
        return found

    def _bind(self, shapes: dict[str, Shape], kept: dict[str, int]) -> None:
        self._outputs = self.outputs_of(shapes)
        addresses = {name: port.address for name, port in self._ports.items()} | kept
        for name, address in addresses.items():
            if not self.context.set_tensor_address(name, address):
                raise EngineError(f"tensor {name} cannot be at {address:#x}: {self._log.why()}")
        self._to_push = [(self._ports[t.name], nbytes(t, shapes[t.name])) for t in self._graph.inputs if t.name in self._ports]
        self._to_pull = [(self._ports[t.name], nbytes(t, self._outputs[t.name])) for t in self._graph.outputs if t.name in self._ports]

    def _submit(self) -> None:
        for port, size in self._to_push:
            port.push(size)
        if not self.context.execute_async_v3(int(self._stream)):
            raise EngineError(self._log.why())
        for port, size in self._to_pull:
            port.pull(size)

    def _capture(self) -> Captured:
        try:
            return self._stream.capture(self._submit)
        except EngineError as err:
            raise EngineError(f"it cannot be captured as a CUDA graph ({err}); export it with --no-cuda-graphs") from err

    def forget(self) -> None:
        """Nothing captured is left."""
        if self._captured is not None:
            self._captured.close()
            self._captured = None


def nbytes(tensor: Tensor, shape: Shape) -> int:
    return prod(shape) * np.dtype(tensor.dtype).itemsize
