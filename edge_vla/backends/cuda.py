"""CUDA's runtime, as far as plans need it: memory, a stream, captured work. The only file that imports cuda.

One GPU: a robot has no second. Where CPU and GPU share their memory nothing is copied; elsewhere everything goes through pinned memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from cuda.bindings import runtime as cudart
from numpy.typing import NDArray

from edge_vla.errors import EngineError

DEVICE = 0
LEAST_BYTES = 256  # an empty tensor has an address too


@dataclass(frozen=True, slots=True)
class Gpu:
    """What decides whether a plan may run, and how tensors reach it."""

    sm: str  # compute capability, as 8.7
    integrated: bool  # it shares the CPU's memory
    cuda: str  # version of the runtime, as 12.6


def found_gpu() -> Gpu:
    """Raises EngineError where there is none that answers."""
    try:
        attributes = cudart.cudaDeviceAttr
        major = _done(cudart.cudaDeviceGetAttribute(attributes.cudaDevAttrComputeCapabilityMajor, DEVICE))
        minor = _done(cudart.cudaDeviceGetAttribute(attributes.cudaDevAttrComputeCapabilityMinor, DEVICE))
        integrated = _done(cudart.cudaDeviceGetAttribute(attributes.cudaDevAttrIntegrated, DEVICE))
        version = _done(cudart.cudaRuntimeGetVersion())
    except RuntimeError as err:  # cuda-python 12.6 raises this without a driver, later ones return an error
        raise EngineError(f"no NVIDIA GPU answers: {err}") from err
    except EngineError as err:
        raise EngineError(f"no NVIDIA GPU answers: {err}") from err
    return Gpu(f"{major}.{minor}", bool(integrated), f"{version // 1000}.{version % 1000 // 10}")


class Stream:
    """The order of the GPU's work. A robot's engine asks one thing at a time: one stream is enough."""

    def __init__(self) -> None:
        self._stream: cudart.cudaStream_t = _done(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))

    def __int__(self) -> int:
        return int(self._stream)

    def wait(self) -> None:
        """Until everything is done. Raises EngineError for what went wrong on the GPU meanwhile."""
        _done(cudart.cudaStreamSynchronize(self._stream))

    def zero(self, address: int, nbytes: int) -> None:
        """Memory of the GPU."""
        _done(cudart.cudaMemsetAsync(address, 0, nbytes, self._stream))

    def push(self, address: int, host: int, nbytes: int) -> None:
        """To the GPU."""
        _done(cudart.cudaMemcpyAsync(address, host, nbytes, cudart.cudaMemcpyKind.cudaMemcpyHostToDevice, self._stream))

    def pull(self, host: int, address: int, nbytes: int) -> None:
        """From the GPU."""
        _done(cudart.cudaMemcpyAsync(host, address, nbytes, cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost, self._stream))

    def copy_rows(self, to: tuple[int, int], of: tuple[int, int], width: int, rows: int) -> None:
        """`rows` pieces of `width` bytes within the GPU; `to` and `of` are the first one's address and the bytes to the next."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        _done(cudart.cudaMemcpy2DAsync(to[0], to[1], of[0], of[1], width, rows, kind, self._stream))

    def capture(self, work: Callable[[], None]) -> Captured:
        """What `work` puts on the stream, not done but written down. Raises EngineError for work that cannot be."""
        _done(cudart.cudaStreamBeginCapture(self._stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        try:
            work()
        except EngineError:
            with suppress(EngineError):  # the first error is the one that says something
                self._end_capture()
            raise
        graph = self._end_capture()
        try:
            return Captured(_done(cudart.cudaGraphInstantiate(graph, 0)), self._stream)
        finally:
            _done(cudart.cudaGraphDestroy(graph))

    def _end_capture(self) -> cudart.cudaGraph_t:
        graph: cudart.cudaGraph_t = _done(cudart.cudaStreamEndCapture(self._stream))
        return graph

    def close(self) -> None:
        _done(cudart.cudaStreamDestroy(self._stream))


class Captured:
    """Work that was written down, with its addresses and shapes: it is launched as one."""

    def __init__(self, graph: cudart.cudaGraphExec_t, stream: cudart.cudaStream_t) -> None:
        self._graph, self._stream = graph, stream

    def launch(self) -> None:
        _done(cudart.cudaGraphLaunch(self._graph, self._stream))

    def close(self) -> None:
        _done(cudart.cudaGraphExecDestroy(self._graph))


class Block:
    """Memory of the GPU that the host never looks at."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = max(nbytes, LEAST_BYTES)
        self.address = int(_done(cudart.cudaMalloc(self.nbytes)))

    def close(self) -> None:
        _done(cudart.cudaFree(self.address))


class Port:
    """One tensor's largest size, where host and GPU both get at it."""

    def __init__(self, nbytes: int, stream: Stream, *, integrated: bool) -> None:
        """Raises EngineError when there is no memory left."""
        nbytes = max(nbytes, LEAST_BYTES)
        self._stream = stream
        self._pinned = int(_done(cudart.cudaHostAlloc(nbytes, cudart.cudaHostAllocMapped)))
        self._block: Block | None = None
        try:
            if integrated:
                self.address = int(_done(cudart.cudaHostGetDevicePointer(self._pinned, 0)))
            else:
                self._block = Block(nbytes)
                self.address = self._block.address
        except EngineError:
            self.close()
            raise
        self._bytes = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(self._pinned))

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The host's side, as an array."""
        return self._bytes[: prod(shape) * dtype.itemsize].view(dtype).reshape(shape)

    def push(self, nbytes: int) -> None:
        """What the host wrote, to the GPU; nothing where both see the same memory."""
        if self._block is not None and nbytes:
            self._stream.push(self.address, self._pinned, nbytes)

    def pull(self, nbytes: int) -> None:
        """What the GPU wrote, to the host."""
        if self._block is not None and nbytes:
            self._stream.pull(self._pinned, self.address, nbytes)

    def close(self) -> None:
        if self._block is not None:
            self._block.close()
        _done(cudart.cudaFreeHost(self._pinned))


def _done(answer: tuple[Any, ...]) -> Any:
    """What a call of CUDA's brought; its error is an EngineError."""
    error, *values = answer
    if error != cudart.cudaError_t.cudaSuccess:
        name, why = (bytes(text).decode() for _, text in (cudart.cudaGetErrorName(error), cudart.cudaGetErrorString(error)))
        raise EngineError(f"{name}: {why}")
    return values[0] if values else None
