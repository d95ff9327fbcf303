"""From ONNX to a plan. A plan is a header in JSON and the graph; a stripped one has every weight at zero."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from pretended_gpu import GPU

from tensorrt.names import MAJOR, BuilderFlag, DataType, IHostMemory, ILogger, NetworkDefinitionCreationFlag, require_made

MAGIC = b"THE DOUBLE'S PLAN\n"
KINDS = {
    TensorProto.FLOAT: DataType.FLOAT, TensorProto.FLOAT16: DataType.HALF, TensorProto.INT64: DataType.INT64,
    TensorProto.INT32: DataType.INT32, TensorProto.UINT8: DataType.UINT8, TensorProto.BOOL: DataType.BOOL,
}  # fmt: skip


@dataclass
class ITensor:
    name: str
    dtype: DataType
    shape: tuple[int, ...]


def tensors(values: Any) -> list[ITensor]:
    """As TensorRT tells them: a dynamic axis is -1."""
    found = []
    for value in values:
        kind = value.type.tensor_type
        found.append(
            ITensor(value.name, KINDS[kind.elem_type], tuple(d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim))
        )
    return found


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self.flags, self.model, self.name = flags, onnx.ModelProto(), ""

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.model.graph.output)

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]

    def get_output(self, index: int) -> ITensor:
        return tensors(self.model.graph.output)[index]

    @property
    def _inputs(self) -> list[ITensor]:
        weights = {tensor.name for tensor in self.model.graph.initializer}
        return tensors(value for value in self.model.graph.input if value.name not in weights)


class ParserError:
    def __init__(self, why: str) -> None:
        self._why = why

    def desc(self) -> str:
        return self._why

    def node_name(self) -> str:
        return "the double's node"

    def node_operator(self) -> str:
        return "the double's operator"


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        require_made(logger)
        self._network, self._logger, self._errors = network, logger, list[str]()

    def parse_from_file(self, model: str) -> bool:
        try:
            read = onnx.load(model)
        except Exception as err:  # noqa: BLE001 - protobuf's, the file system's
            self._errors.append(f"MODEL_DESERIALIZE_FAILED: {err}")
            return False
        if GPU.parse_error:
            self._errors.append(GPU.parse_error)
        self._errors += [f"In node 0 with name: {n.name} and operator: {n.op_type}: no importer" for n in read.graph.node if n.domain]
        self._network.model, self._network.name = read, Path(model).stem
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return ParserError(self._errors[index])


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        shapes = [list(min), list(opt), list(max)]
        if not all(0 <= a <= b <= c for a, b, c in zip(*shapes, strict=True)):
            raise RuntimeError("Shape provided for opt is inconsistent with other shapes.")
        self.shapes[input] = shapes


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self.kept = json.loads(data) if data else {"sm": list(GPU.sm), "version": GPU.tensorrt, "keys": []}

    def serialize(self) -> IHostMemory:
        return IHostMemory(json.dumps(self.kept).encode())


@dataclass
class IBuilderConfig:
    builder_optimization_level: int = 3
    profiling_verbosity: int = 0
    progress_monitor: Any = None
    max_workspace: int = 0
    profiles: list[IOptimizationProfile] = field(default_factory=list)
    raised: set[str] = field(default_factory=lambda: {"TF32"})
    cache: ITimingCache | None = None

    def set_flag(self, flag: BuilderFlag) -> None:
        GPU.flags.append(flag.name)
        self.raised.add(flag.name)

    def clear_flag(self, flag: BuilderFlag) -> None:
        GPU.cleared.append(flag.name)
        self.raised.discard(flag.name)

    def set_memory_pool_limit(self, pool: int, pool_size: int) -> None:
        GPU.log.append(f"pool {pool} {pool_size}")
        self.max_workspace = pool_size

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        try:
            return ITimingCache(bytes(serialized_timing_cache))
        except ValueError:
            return None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if not ignore_mismatch and (cache.kept["sm"] != list(GPU.sm) or cache.kept["version"] != GPU.tensorrt):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self.cache


class Builder:
    def __init__(self, logger: ILogger) -> None:
        require_made(logger)
        if GPU.sm == (0, 0):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        GPU.networks.append(flags)
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        why = self._refuses(network, config)
        if why or not self._steps(config, network):
            if why:
                self._logger.log(ILogger.ERROR, why)
            return None
        typed = MAJOR >= 11 or bool(network.flags >> int(NetworkDefinitionCreationFlag.STRONGLY_TYPED) & 1)
        return IHostMemory(pack(network, config, typed))

    def _refuses(self, network: INetworkDefinition, config: IBuilderConfig) -> str:
        if GPU.build_fails and GPU.fails_for in network.name:
            return GPU.build_fails
        dynamic = [network.get_input(i) for i in range(network.num_inputs)]
        for tensor in (each for each in dynamic if -1 in each.shape):
            shapes = [profile.shapes.get(tensor.name) for profile in config.profiles]
            if not shapes or None in shapes:
                return f"{tensor.name}: dynamic input is missing dimensions in profile"
            if not all(_fits(tensor.shape, shape) for each in shapes for shape in each or []):
                return f"{tensor.name}: profile does not fit {tensor.shape}"
        return ""

    def _steps(self, config: IBuilderConfig, network: INetworkDefinition) -> bool:
        known = config.cache.kept["keys"] if config.cache is not None else []
        keys = [f"{network.name}/{i}/{node.op_type}" for i, node in enumerate(network.model.graph.node)]
        monitor = config.progress_monitor
        if monitor is not None:
            require_made(monitor)
            monitor.phase_start("Building Engine", None, GPU.build_steps)
        for step in range(GPU.build_steps):
            if step == GPU.interrupt_at:
                os.kill(os.getpid(), signal.SIGINT)
            if monitor is not None and not monitor.step_complete("Building Engine", step):
                return False
            # A signal takes a moment to reach another thread; a builder takes minutes.
            give_up = time.monotonic() + 60
            while step == GPU.interrupt_at and time.monotonic() < give_up:
                if not monitor.step_complete("Building Engine", step):
                    return False
        if monitor is not None:
            monitor.phase_finish("Building Engine")
        GPU.timed += len(set(keys) - set(known))
        known.extend(key for key in keys if key not in known)
        return True


def _fits(shape: tuple[int, ...], chosen: list[int]) -> bool:
    return len(shape) == len(chosen) and all(want in (-1, got) for want, got in zip(shape, chosen, strict=True))


def pack(network: INetworkDefinition, config: IBuilderConfig, typed: bool) -> bytes:
    """A plan."""
    model = onnx.ModelProto.FromString(network.model.SerializeToString())
    if "STRIP_PLAN" in config.raised:
        for tensor in model.graph.initializer:
            if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16):
                tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), tensor.name))
    profiles = [profile.shapes for profile in config.profiles] or [{}]
    for tensor in (network.get_input(i) for i in range(network.num_inputs)):
        for profile in profiles:
            profile.setdefault(tensor.name, [list(tensor.shape)] * 3)
    header = {
        "version": GPU.tensorrt, "sm": list(GPU.sm), "flags": sorted(config.raised), "profiles": profiles, "typed": typed,
        "level": config.builder_optimization_level, "workspace": config.max_workspace,
    }  # fmt: skip
    return MAGIC + json.dumps(header).encode() + b"\n" + model.SerializeToString()
