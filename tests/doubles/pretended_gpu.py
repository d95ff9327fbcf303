"""The GPU that is not there: memory, streams and captured graphs behind the doubles of `tensorrt` and `cuda.bindings.runtime`.

The doubles execute plans with ONNX Runtime on the processor. They prove our code consistent with itself and with the names, arguments
and rules that NVIDIA publishes, nothing about a GPU. No figure that comes out of them belongs anywhere.

They are stricter than the real thing where that finds faults: work waits in its stream until somebody waits for the stream, new memory is
full of nan, an address of the GPU is no address of the host, an output is spoilt before its inputs are read.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
ALIGNMENT = 256
PAGE = 4096
DEVICE_BASE = 1 << 44  # far from anything the host has


@dataclass
class Gpu:
    """What a test may choose, then what happened."""

    tensorrt: str = "10.3.0"
    sm: tuple[int, int] = (8, 7)
    integrated: bool = True
    memory_bytes: int = 1 << 32
    parse_error: str = ""  # what the parser complains about
    build_fails: str = ""  # what the builder complains about, for a network whose name contains `fails_for`
    fails_for: str = ""
    build_steps: int = 5
    interrupt_at: int = -1  # SIGINT comes at this step of the builder
    execute_fails: bool = False
    nan_output: str = ""
    scratch: int = 4096  # bytes between layers
    on_host: str = ""  # a tensor that TensorRT wants in the host's memory
    off: float = 0.0  # by which share every number that comes out is too large
    capture_fails: bool = False
    layer_ms: float = 0.0
    log: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)  # builder flags that were set, by name
    cleared: list[str] = field(default_factory=list)
    networks: list[int] = field(default_factory=list)  # creation flags of networks
    timed: int = 0  # layers the builder had to time
    executed: int = 0  # passes, captured or not
    launched: int = 0  # captured graphs
    captured: int = 0
    copied: int = 0  # bytes between host and device
    deserialised: int = 0


class Fault(Exception):
    """An error of CUDA by its name."""


class Memory:
    """Every allocation. An address is resolved with the number of bytes that are wanted from there on."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._next = DEVICE_BASE
        self.device: dict[int, Bytes] = {}
        self.host: dict[int, tuple[Bytes, int]] = {}  # and the address under which the GPU has it

    @property
    def taken(self) -> int:
        hosts = {alias for _, alias in self.host.values()} if not self._gpu.integrated else set()
        return sum(each.nbytes for address, each in self.device.items() if address not in hosts)

    def allocate(self, nbytes: int) -> int:
        if not nbytes:
            return 0  # as CUDA: nothing, and no error
        if self.taken + nbytes > self._gpu.memory_bytes:
            raise Fault("cudaErrorMemoryAllocation")
        return self._place(np.full(nbytes, 0xFF, np.uint8))

    def allocate_host(self, nbytes: int) -> int:
        if self._gpu.integrated and self.taken + nbytes > self._gpu.memory_bytes:
            raise Fault("cudaErrorMemoryAllocation")
        whole = np.full(nbytes + PAGE, 0xFF, np.uint8)
        start = -whole.ctypes.data % PAGE
        kept = whole[start : start + nbytes]
        self.host[kept.ctypes.data] = (kept, self._place(kept))
        return int(kept.ctypes.data)

    def _place(self, kept: Bytes) -> int:
        address = self._next
        self._next += -(-max(kept.nbytes, 1) // PAGE) * PAGE + PAGE  # a gap behind each: no overrun lands in another
        self.device[address] = kept
        return address

    def free(self, address: int) -> None:
        if address and self.device.pop(address, None) is None:
            raise Fault("cudaErrorInvalidValue")

    def free_host(self, address: int) -> None:
        if address not in self.host:
            raise Fault("cudaErrorInvalidValue")
        del self.device[self.host.pop(address)[1]]

    def on_gpu(self, address: int, nbytes: int) -> Bytes:
        """As the GPU sees it. Raises Fault for what it may not touch."""
        for start, kept in self.device.items():
            if start <= address and address + nbytes <= start + kept.nbytes:
                return kept[address - start : address - start + nbytes]
        raise Fault("cudaErrorIllegalAddress")

    def on_host(self, address: int, nbytes: int) -> Bytes:
        """Pinned memory, or anything else of this process."""
        for start, (kept, _) in self.host.items():
            if start <= address and address + nbytes <= start + kept.nbytes:
                return kept[address - start : address - start + nbytes]
        if any(start - PAGE <= address < start + kept.nbytes + PAGE for start, (kept, _) in self.host.items()) or address >= DEVICE_BASE:
            raise Fault("cudaErrorInvalidValue")
        return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))


Work = Callable[[], None]


class Queue:
    """A stream: work that waits. While it captures, work is written down instead."""

    def __init__(self) -> None:
        self.waiting: list[Work] = []
        self.capturing: list[Work] | None = None

    def add(self, work: Work) -> None:
        (self.waiting if self.capturing is None else self.capturing).append(work)

    def finish(self) -> None:
        """Do all that waits. Raises Fault."""
        if self.capturing is not None:
            raise Fault("cudaErrorStreamCaptureUnsupported")
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()


def chosen() -> Gpu:
    """As the environment says, for a process of its own."""
    said = json.loads(os.environ.get("PRETENDED_GPU", "{}"))
    return Gpu(**{name: tuple(value) if isinstance(value, list) else value for name, value in said.items()})


GPU = chosen()
MEMORY = Memory(GPU)
