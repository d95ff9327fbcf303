"""Double of `cuda.bindings.runtime`, as far as this project uses it: the names, arguments and results of cuda-python 12.6 to 13.4.

See pretended_gpu.py: it proves our code consistent with itself, and no figure from it appears anywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import Enum
from typing import Any

from pretended_gpu import GPU, MEMORY, Fault, Queue, Work

cudaHostAllocMapped = 2
cudaStreamNonBlocking = 1


class cudaError_t(Enum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(Enum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class cudaStreamCaptureMode(Enum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1
    cudaStreamCaptureModeRelaxed = 2


class cudaDeviceAttr(Enum):
    cudaDevAttrIntegrated = 18
    cudaDevAttrCanMapHostMemory = 19
    cudaDevAttrComputeCapabilityMajor = 75
    cudaDevAttrComputeCapabilityMinor = 76


class _Handle:
    """As of cuda-python: an object that is its address as an int."""

    _count = 0

    def __init__(self) -> None:
        _Handle._count += 1
        self._number = _Handle._count
        HANDLES[self._number] = self

    def __int__(self) -> int:
        return self._number


HANDLES: dict[int, Any] = {}


class cudaStream_t(_Handle):
    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue()


class cudaGraph_t(_Handle):
    def __init__(self, work: list[Work]) -> None:
        super().__init__()
        self.work = work


class cudaGraphExec_t(cudaGraph_t):
    pass


def _queue(stream: Any) -> Queue:
    found = HANDLES.get(int(stream))
    if not isinstance(found, cudaStream_t):
        raise Fault("cudaErrorInvalidValue")
    return found.queue


def _answers(function: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Results as cuda-python gives them: the error first, then what was asked for; None for each of that after an error."""

    @functools.wraps(function)
    def answer(*args: Any) -> tuple[Any, ...]:
        try:
            value = function(*args)
        except Fault as fault:
            return (cudaError_t[str(fault)], None)
        return (cudaError_t.cudaSuccess,) if value is None else (cudaError_t.cudaSuccess, value)

    return answer


@_answers
def cudaGetErrorString(error: cudaError_t) -> bytes:
    return f"the double's {error.name}".encode()


@_answers
def cudaGetErrorName(error: cudaError_t) -> bytes:
    return error.name.encode()


@_answers
def cudaDeviceGetAttribute(attr: cudaDeviceAttr, device: int) -> int:
    if device != 0 or GPU.sm == (0, 0):
        raise Fault("cudaErrorNoDevice")
    return {
        cudaDeviceAttr.cudaDevAttrIntegrated: int(GPU.integrated), cudaDeviceAttr.cudaDevAttrCanMapHostMemory: 1,
        cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor: GPU.sm[0], cudaDeviceAttr.cudaDevAttrComputeCapabilityMinor: GPU.sm[1],
    }[attr]  # fmt: skip


@_answers
def cudaRuntimeGetVersion() -> int:
    return 12060


@_answers
def cudaMalloc(size: int) -> int:
    return MEMORY.allocate(size)


@_answers
def cudaFree(devPtr: int) -> None:
    MEMORY.free(devPtr)


@_answers
def cudaHostAlloc(size: int, flags: int) -> int:
    if flags != cudaHostAllocMapped:
        raise Fault("cudaErrorInvalidValue")
    return MEMORY.allocate_host(size)


@_answers
def cudaFreeHost(ptr: int) -> None:
    MEMORY.free_host(ptr)


@_answers
def cudaHostGetDevicePointer(pHost: int, flags: int) -> int:
    if pHost not in MEMORY.host or flags:
        raise Fault("cudaErrorInvalidValue")
    return MEMORY.host[pHost][1]


@_answers
def cudaMemsetAsync(devPtr: int, value: int, count: int, stream: Any) -> None:
    def work() -> None:
        MEMORY.on_gpu(devPtr, count)[:] = value

    _queue(stream).add(work)


@_answers
def cudaMemcpyAsync(dst: int, src: int, count: int, kind: cudaMemcpyKind, stream: Any) -> None:
    def work() -> None:
        GPU.copied += count
        to = MEMORY.on_host if kind is cudaMemcpyKind.cudaMemcpyDeviceToHost else MEMORY.on_gpu
        of = MEMORY.on_host if kind is cudaMemcpyKind.cudaMemcpyHostToDevice else MEMORY.on_gpu
        to(dst, count)[:] = of(src, count)

    _queue(stream).add(work)


@_answers
def cudaMemcpy2DAsync(dst: int, dpitch: int, src: int, spitch: int, width: int, height: int, kind: cudaMemcpyKind, stream: Any) -> None:
    if kind is not cudaMemcpyKind.cudaMemcpyDeviceToDevice or width > min(dpitch, spitch):
        raise Fault("cudaErrorInvalidValue")

    def work() -> None:
        for row in range(height):
            MEMORY.on_gpu(dst + row * dpitch, width)[:] = MEMORY.on_gpu(src + row * spitch, width)

    _queue(stream).add(work)


@_answers
def cudaStreamCreateWithFlags(flags: int) -> cudaStream_t:
    if flags != cudaStreamNonBlocking:
        raise Fault("cudaErrorInvalidValue")
    return cudaStream_t()


@_answers
def cudaStreamDestroy(stream: Any) -> None:
    _queue(stream)
    del HANDLES[int(stream)]


@_answers
def cudaStreamSynchronize(stream: Any) -> None:
    _queue(stream).finish()


@_answers
def cudaStreamBeginCapture(stream: Any, mode: cudaStreamCaptureMode) -> None:
    queue = _queue(stream)
    if queue.capturing is not None or not isinstance(mode, cudaStreamCaptureMode):
        raise Fault("cudaErrorInvalidValue")
    queue.capturing = []


@_answers
def cudaStreamEndCapture(stream: Any) -> cudaGraph_t:
    queue = _queue(stream)
    work, queue.capturing = queue.capturing, None
    if work is None or GPU.capture_fails:
        raise Fault("cudaErrorStreamCaptureInvalidated")
    return cudaGraph_t(work)


@_answers
def cudaGraphInstantiate(graph: Any, flags: int) -> cudaGraphExec_t:
    GPU.captured += 1
    return cudaGraphExec_t(HANDLES[int(graph)].work)


@_answers
def cudaGraphLaunch(graphExec: Any, stream: Any) -> None:
    found = HANDLES.get(int(graphExec))
    if not isinstance(found, cudaGraphExec_t):
        raise Fault("cudaErrorInvalidValue")
    GPU.launched += 1
    for work in found.work:
        _queue(stream).add(work)


@_answers
def cudaGraphDestroy(graph: Any) -> None:
    del HANDLES[int(graph)]


@_answers
def cudaGraphExecDestroy(graphExec: Any) -> None:
    del HANDLES[int(graphExec)]
