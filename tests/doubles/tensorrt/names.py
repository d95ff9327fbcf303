"""Enumerations and the classes that users of TensorRT derive from. What a version has not is not here when that version is pretended."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from pretended_gpu import GPU

MAJOR = int(GPU.tensorrt.split(".")[0])


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    INT64 = 8


class TensorIOMode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class TensorLocation(IntEnum):
    DEVICE = 0
    HOST = 1


class MemoryPoolType(IntEnum):
    WORKSPACE = 0
    TACTIC_DRAM = 4


class ProfilingVerbosity(IntEnum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class ExecutionContextAllocationStrategy(IntEnum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


_FLAGS = ["TF32", "REFIT", "STRIP_PLAN", "VERSION_COMPATIBLE", "EXCLUDE_LEAN_RUNTIME", "GPU_FALLBACK", "STRICT_NANS"]
_TYPED_BY_FLAG = ["FP16", "INT8", "BF16", "FP8", "INT4", "OBEY_PRECISION_CONSTRAINTS"]  # gone with 11
BuilderFlag = IntEnum("BuilderFlag", _FLAGS + (_TYPED_BY_FLAG if MAJOR < 11 else []), start=0)
NetworkDefinitionCreationFlag = IntEnum(
    "NetworkDefinitionCreationFlag", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1} if MAJOR < 11 else {"STRONGLY_TYPED": 1}
)


class _Base:
    """pybind11 refuses an object whose class forgot to call this."""

    def __init__(self) -> None:
        self._made = True


def require_made(each: Any) -> None:
    if not getattr(each, "_made", False):
        raise TypeError(f"{type(each).__name__}.__init__() must be called when overriding __init__")


class ILogger(_Base):
    class Severity(IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING
    INFO = Severity.INFO
    VERBOSE = Severity.VERBOSE

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class IProfiler(_Base):
    def report_layer_time(self, layer_name: str, ms: float) -> None:
        raise NotImplementedError


class IProgressMonitor(_Base):
    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class IHostMemory(bytes):
    """Bytes; the real one has no length and no methods of bytes, only the buffer protocol and this."""

    @property
    def nbytes(self) -> int:
        return memoryview(self).nbytes
