"""Whether a build fits the memory it is to run in, predicted before it starts: on this machine what is free now, on another what it has.

The prediction is that of `python -m export plan`, at the sizes of the profiles; docs/planning.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_vla.backends.bundle import Bundle
from edge_vla.backends.cache import PAST
from edge_vla.backends.manifest import Graph, Span
from edge_vla.errors import ConfigError
from edge_vla.machine.board import memory_kib
from edge_vla.machine.tree import Tree
from export.plan import USED_GIB
from export.planning.bundles import BYTES
from export.planning.devices import find_device
from export.planning.footprint import GIB, RUNTIME_BYTES, build_peak
from export.planning.number_formats import TENSORRT
from export.plans.profiles import Profiles


@dataclass(frozen=True, slots=True)
class Room:
    """Memory, and whose."""

    nbytes: int
    whose: str


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes at the two moments that take most. Activations and workspace are what `plan` says of them."""

    building: int
    running: int
    workspace: int

    @property
    def most(self) -> int:
        return max(self.building, self.running)


def room_here(tree: Tree) -> Room:
    """What is free now. Raises ConfigError where the kernel does not say."""
    free = memory_kib(tree, "MemAvailable")
    if free is None:
        raise ConfigError("/proc/meminfo does not say what memory is free; name a board with --device, or build with --force")
    return Room(free * 1024, "this machine has free")


def room_of(device: str, used_gib: float = USED_GIB) -> Room:
    """Of a board by name, less what an idle one has in use. Raises ConfigError."""
    board = find_device(device)
    return Room(board.visible_bytes - int(used_gib * GIB), f"{board.name} has free")


def need_of(bundle: Bundle, profiles: Profiles, kv: str, workspace_bytes: int) -> Need:
    """Predicted. Raises ConfigError without onnx, and for a graph whose sizes do not follow from its inputs'."""
    try:
        from export.files.graph_cost import graph_cost
    except ModuleNotFoundError as err:
        raise ConfigError(f"bundle {bundle.folder}: its graphs are read with {err.name}, which is not installed: pip install onnx") from err
    weights: dict[str, int] = {}
    activations: dict[str, int] = {}
    for name, graph in bundle.manifest.graphs.items():
        costs = [graph_cost(bundle.path(graph.file), largest(profile, graph)) for profile in profiles[name]]
        weights[name], activations[name] = costs[0].weight_bytes, max(cost.live_bytes for cost in costs)
    cache = cache_nbytes(bundle.manifest.graphs["lm_step"], profiles["lm_step"], kv)
    running = RUNTIME_BYTES + sum(weights.values()) + cache + max(activations.values())
    return Need(build_peak(weights, activations, TENSORRT, workspace_bytes), running, workspace_bytes)


def largest(profile: Mapping[str, Span], graph: Graph) -> dict[tuple[str, int], int]:
    """Sizes of the dynamic axes, by input and axis, at the most a profile takes."""
    return {
        (tensor.name, axis): profile[tensor.name].most[axis]
        for tensor in graph.inputs
        for axis, size in enumerate(tensor.shape)
        if isinstance(size, str)
    }


def cache_nbytes(step: Graph, profiles: list[dict[str, Span]], kv: str) -> int:
    """Of the buffers that backends/device_cache.py keeps for a step; 0 for one that keeps nothing."""
    total = 0
    for tensor in step.inputs:
        if tensor.name in PAST:
            past, new = profiles[-1][tensor.name].most[2], profiles[0]["embeddings"].most[1]
            written = max(new, past + 1)
            positions = {"dynamic": 2 * written, "static": past + written, "written": 2 * past}[kv]
            layers, heads, _, width = profiles[-1][tensor.name].most
            total += layers * heads * width * positions * BYTES[tensor.dtype]
    return total


def refusal(name: str, need: Need, room: Room) -> str:
    """Why it does not fit and what would; "" when it does."""
    if need.most <= room.nbytes:
        return ""
    what = "building" if need.building >= need.running else "running"
    said = f"{name} does not fit: {what} it takes {need.most / GIB:.2f} GiB, {room.whose} {room.nbytes / GIB:.2f} GiB"
    spare = room.nbytes - (need.building - need.workspace)
    if what == "building" and need.running <= room.nbytes and spare >= 16 * 2**20:
        return f"{said}; nearest that fits: --workspace-mb {spare // 2**20}"
    return f"{said}; shorter limits (--max-prefill, --max-past) or its model exported at a lower precision take less"
