"""Double of `tensorrt`, as far as this project uses it: names, arguments and results of TensorRT 10.3 to 11.4.

See pretended_gpu.py: it executes plans with ONNX Runtime and proves our code consistent with itself; no figure from it appears anywhere.
"""

from pretended_gpu import GPU

from tensorrt.building import Builder, OnnxParser
from tensorrt.names import (
    BuilderFlag,
    DataType,
    ExecutionContextAllocationStrategy,
    IHostMemory,
    ILogger,
    IProfiler,
    IProgressMonitor,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    TensorIOMode,
    TensorLocation,
)
from tensorrt.running import LayerInformationFormat, OnnxParserRefitter, Refitter, Runtime

__version__ = GPU.tensorrt
__all__ = [
    "Builder", "BuilderFlag", "DataType", "ExecutionContextAllocationStrategy", "IHostMemory", "ILogger", "IProfiler", "IProgressMonitor",
    "LayerInformationFormat", "MemoryPoolType", "NetworkDefinitionCreationFlag", "OnnxParser", "OnnxParserRefitter", "ProfilingVerbosity",
    "Refitter", "Runtime", "TensorIOMode", "TensorLocation",
]  # fmt: skip
