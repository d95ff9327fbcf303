"""From a plan to answers, by ONNX Runtime on the processor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from math import prod
from typing import Any

import numpy as np
import onnx
from cuda.bindings.runtime import HANDLES, cudaStream_t
from numpy.typing import NDArray
from pretended_gpu import GPU, MEMORY, Fault

from tensorrt.building import MAGIC, ParserError, tensors
from tensorrt.names import DataType, ExecutionContextAllocationStrategy, ILogger, TensorIOMode, TensorLocation, require_made

NUMPY = {
    DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.INT64: np.int64, DataType.INT32: np.int32, DataType.UINT8: np.uint8,
    DataType.BOOL: np.bool_,
}  # fmt: skip
Shape = tuple[int, ...]


class LayerInformationFormat:
    ONELINE = 0
    JSON = 1


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        require_made(logger)
        self._logger, self.engine_host_code_allowed = logger, False

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        data = bytes(serialized_engine)
        GPU.deserialised += 1
        try:
            if not data.startswith(MAGIC):
                raise ValueError("Serialization assertion stdArchiveReader failed: magicTag")
            head, graph = data[len(MAGIC) :].split(b"\n", 1)
            header = json.loads(head)
            if "VERSION_COMPATIBLE" in header["flags"]:
                if not self.engine_host_code_allowed:
                    raise ValueError("the engine has host code and engine_host_code_allowed is not set")
            elif header["version"] != GPU.tensorrt:
                raise ValueError(f"Version tag does not match. Current: {GPU.tensorrt}, Serialized: {header['version']}")
            if header["sm"] != list(GPU.sm):
                raise ValueError("the engine was built for another compute capability")
            return ICudaEngine(header, onnx.ModelProto.FromString(graph), self._logger)
        except Exception as err:  # noqa: BLE001 - as the real one: a message, and nothing
            self._logger.log(ILogger.ERROR, str(err))
            return None


class ICudaEngine:
    def __init__(self, header: dict[str, Any], model: Any, logger: ILogger) -> None:
        self.header, self.logger, self._model = header, logger, model
        weights = {tensor.name for tensor in model.graph.initializer}
        self.inputs = {t.name: t for t in tensors(v for v in model.graph.input if v.name not in weights)}
        self.outputs = {t.name: t for t in tensors(model.graph.output)}
        self.refitted()

    def refitted(self, model: Any = None) -> None:
        """Other weights."""
        import onnxruntime as ort  # only here: a test asks what our code imports

        self._model = model or self._model
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(self._model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.shapes_for = cache(self._shapes_for)

    @property
    def layers(self) -> list[str]:
        return [node.name or f"{node.op_type}_{i}" for i, node in enumerate(self._model.graph.node)]

    def _all(self, name: str) -> Any:
        return self.inputs.get(name) or self.outputs[name]

    @property
    def num_io_tensors(self) -> int:
        return len(self.inputs) + len(self.outputs)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.header["profiles"])

    @property
    def device_memory_size_v2(self) -> int:
        return GPU.scratch

    @property
    def refittable(self) -> bool:
        return bool({"REFIT", "STRIP_PLAN"} & set(self.header["flags"]))

    def get_tensor_name(self, index: int) -> str:
        return [*self.inputs, *self.outputs][index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return self._all(name).dtype

    def get_tensor_shape(self, name: str) -> Shape:
        return self._all(name).shape

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation.HOST if name == GPU.on_host else TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Shape]:
        return [tuple(shape) for shape in self.header["profiles"][profile_index][name]]

    def create_execution_context(self, strategy: int = ExecutionContextAllocationStrategy.STATIC) -> IExecutionContext:
        return IExecutionContext(self, strategy)

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)

    def _shapes_for(self, inputs: tuple[tuple[str, Shape], ...]) -> Mapping[str, Shape]:
        """Of the outputs: found by running on zeros."""
        feed = {name: np.zeros(shape, NUMPY[self.inputs[name].dtype]) for name, shape in inputs}
        names = list(self.outputs)
        return {name: found.shape for name, found in zip(names, self.session.run(names, feed), strict=True)}


class EngineInspector:
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine

    def get_engine_information(self, format: int) -> str:
        return json.dumps({"Layers": self._engine.layers}) if format == LayerInformationFormat.JSON else "\n".join(self._engine.layers)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, strategy: int) -> None:
        self.engine, self.profiler, self.enqueue_emits_profile = engine, None, True
        self._needs_memory = strategy == ExecutionContextAllocationStrategy.USER_MANAGED
        self._memory, self._profile = 0, 0
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self._enqueued: dict[str, Shape] | None = None  # the shapes it last ran with outside a capture

    def _no(self, why: str) -> bool:
        self.engine.logger.log(ILogger.ERROR, why)
        return False

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        if not 0 <= profile_index < self.engine.num_optimization_profiles or stream_handle not in HANDLES:
            return self._no(f"no profile {profile_index}")
        self._profile, self._shapes = profile_index, {}
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        if memory % 256 or size < self.engine.device_memory_size_v2:
            self._no(f"device memory of {size} bytes at {memory}")
            return
        MEMORY.on_gpu(memory, size)[:] = 0xFF
        self._memory = memory

    def set_input_shape(self, name: str, shape: Any) -> bool:
        low, _, high = self.engine.get_tensor_profile_shape(name, self._profile)
        if len(shape) != len(low) or not all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True)):
            return self._no(f"Static dimension mismatch or out of profile {self._profile}: {name} {tuple(shape)}, wants {low} to {high}")
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> Shape:
        if name in self.engine.inputs:
            return self._shapes.get(name, self.engine.inputs[name].shape)
        if set(self._shapes) != set(self.engine.inputs):
            return tuple(-1 for _ in self.engine.outputs[name].shape)
        return self.engine.shapes_for(tuple(sorted(self._shapes.items())))[name]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if memory % 256 or (name not in self.engine.inputs and name not in self.engine.outputs):
            return self._no(f"address {memory} of {name}")
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        stream = HANDLES.get(stream_handle)
        if not isinstance(stream, cudaStream_t):
            return self._no(f"no stream {stream_handle}")
        if GPU.execute_fails:
            return self._no("the double was told to fail")
        missing = [name for name in self.engine.inputs if name not in self._shapes]
        missing += [name for name in (*self.engine.inputs, *self.engine.outputs) if not self._addresses.get(name)]
        if missing or (self._needs_memory and not self._memory):
            return self._no(f"not set: {', '.join(missing) or 'device memory'}")
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        if stream.queue.capturing is None:
            self._enqueued = shapes
        elif self._enqueued != shapes:
            return self._no("captured before it was run once with these shapes")
        captured = stream.queue.capturing is not None
        stream.queue.add(lambda: self._work(shapes, addresses, captured))
        if self.profiler is not None and self.enqueue_emits_profile and not captured:
            stream.queue.finish()
            for layer in self.engine.layers:
                self.profiler.report_layer_time(layer, GPU.layer_ms)
        return True

    def _work(self, shapes: Mapping[str, Shape], addresses: Mapping[str, int], captured: bool) -> None:
        GPU.executed += 1
        engine = self.engine
        outputs = engine.shapes_for(tuple(sorted(shapes.items())))
        feed = {name: _array(addresses[name], shape, engine.inputs[name].dtype) for name, shape in shapes.items()}
        into = {name: _array(addresses[name], shape, engine.outputs[name].dtype) for name, shape in outputs.items()}
        for array in into.values():
            array.view(np.uint8)[...] = 0xFF  # before the inputs are read: an output in an input's place spoils the answer
        if captured and shapes != self._shapes:
            return  # a captured graph whose context has moved on: what it computes is anybody's guess
        found = engine.session.run(list(outputs), {name: array.copy() for name, array in feed.items()})
        for (name, array), values in zip(into.items(), found, strict=True):
            array[...] = values if values.dtype.kind == "i" else values * values.dtype.type(1 + GPU.off)
            if name == GPU.nan_output:
                array.reshape(-1)[-1:] = np.nan


def _array(address: int, shape: Shape, dtype: DataType) -> NDArray[Any]:
    kind = np.dtype(NUMPY[dtype])
    nbytes = prod(shape) * kind.itemsize
    if not nbytes:
        if address not in MEMORY.device:  # an empty tensor has an address too
            raise Fault("cudaErrorIllegalAddress")
        return np.zeros(shape, kind)
    return MEMORY.on_gpu(address, nbytes).view(kind).reshape(shape)


class Refitter:
    def __init__(self, engine: ICudaEngine, logger: ILogger) -> None:
        require_made(logger)
        self.engine, self.model = engine, None

    def refit_cuda_engine(self) -> bool:
        if self.model is None or not self.engine.refittable:
            return False
        self.engine.refitted(self.model)
        return True


class OnnxParserRefitter:
    def __init__(self, refitter: Refitter, logger: ILogger) -> None:
        require_made(logger)
        self._refitter, self._errors = refitter, list[str]()

    def refit_from_file(self, model: str) -> bool:
        try:
            read = onnx.load(model)
        except Exception as err:  # noqa: BLE001 - protobuf's, the file system's
            self._errors.append(f"REFIT_FAILED: {err}")
            return False
        self._refitter.model = read
        return True

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return ParserError(self._errors[index])
