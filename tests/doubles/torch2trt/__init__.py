"""Double of torch2trt: its names and arguments at the commit that tests/export/tensorrt/torch2trt.json tells.

What is behind them is torch's own exporter and the double of TensorRT. It proves our call consistent with those names, nothing else.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import tensorrt as trt
import torch


class TRTModule(torch.nn.Module):
    def __init__(
        self, engine: Any = None, input_names: Any = None, output_names: Any = None, input_flattener: Any = None,
        output_flattener: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.engine, self.input_names, self.output_names = engine, input_names, output_names


class _Quiet(trt.ILogger):
    def log(self, severity: Any, msg: str) -> None:
        pass


class _Engine:
    """An engine that can be written down again."""

    def __init__(self, plan: bytes) -> None:
        self._plan = plan

    def serialize(self) -> bytes:
        return self._plan


def torch2trt(
    module: torch.nn.Module, inputs: Any, input_names: Any = None, output_names: Any = None, log_level: Any = None, fp16_mode: bool = False,
    max_workspace_size: int = 1 << 25, strict_type_constraints: bool = False, keep_network: bool = True, int8_mode: bool = False,
    int8_calib_dataset: Any = None, int8_calib_algorithm: Any = None, use_onnx: bool = False, default_device_type: Any = None,
    dla_core: int = 0, gpu_fallback: bool = True, device_types: Any = None, min_shapes: Any = None, max_shapes: Any = None,
    opt_shapes: Any = None, onnx_opset: Any = None, max_batch_size: Any = None, avg_timing_iterations: Any = None, **kwargs: Any,
) -> TRTModule:  # fmt: skip
    logger = _Quiet()
    builder = trt.Builder(logger)
    network = builder.create_network(1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vision.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own exporter
            torch.onnx.export(
                module, tuple(inputs), str(file), input_names=input_names, output_names=output_names, dynamo=True, verbose=False
            )
        if not trt.OnnxParser(network, logger).parse_from_file(str(file)):
            raise AttributeError("'Tensor' object has no attribute '_trt'")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for name, tensor in zip(input_names, inputs, strict=True):
        profile.set_shape(name, tuple(tensor.shape), tuple(tensor.shape), tuple(tensor.shape))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    return TRTModule(None if plan is None else _Engine(bytes(plan)), input_names, output_names)
