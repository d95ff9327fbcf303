"""A bundle's plans against its ONNX graphs, tensor by tensor: the same random inputs to both runtimes, at two lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_vla.backends.axes import ALL, FRAMES, NEW, READ, WINDOW, shapes
from edge_vla.backends.axes import PAST as BEHIND
from edge_vla.backends.bundle import Bundle
from edge_vla.backends.cache import PAST
from edge_vla.backends.manifest import Graph
from edge_vla.backends.plan_contract import keeps
from edge_vla.errors import ConfigError
from edge_vla.parts import make_graphs

STEP = "lm_step"
LATER = 3  # steps behind each prefill
SEED = 11
# Share of a tensor's largest number: float32 sums in another order; what is rounded to fewer bits differs by that.
ALLOWED = {"fp32": 1e-3, "fp16": 2e-2}
COARSE = 1e-1  # of quantised graphs


@dataclass(frozen=True, slots=True)
class Parity:
    """The worst tensor."""

    tensor: str
    off: float  # largest difference
    share: float  # of the tensor's largest number
    allowed: float
    tensors: int

    @property
    def passed(self) -> bool:
        return self.share <= self.allowed  # False for nan

    def __str__(self) -> str:
        return f"{self.tensors} tensors; worst {self.tensor}: {self.off:.2e}, {self.share:.1e} of its largest; allowed {self.allowed:g}"


def compare_graphs(source: Bundle, plans: Bundle) -> Parity:
    """Raises EngineError for a graph that fails, ConfigError without ONNX Runtime."""
    allowed = ALLOWED.get(source.manifest.precision, COARSE)
    try:
        peer = make_graphs(source)
    except ModuleNotFoundError as err:
        raise ConfigError(f"no module {err.name}: nothing to compare plans with; pip install onnxruntime") from err
    ours = make_graphs(plans)
    try:
        rng, found = np.random.default_rng(SEED), list[tuple[str, float, float]]()
        for name, graph in source.manifest.graphs.items():
            for large in (False, True):
                feeds = _feeds(name, graph, plans, rng, large=large)
                for feed in feeds:
                    if feed is feeds[0]:
                        ours.begin()
                        peer.begin()
                    step = name == STEP and keeps(graph)
                    got, want = (each.step(feed) if step else each.run(name, feed) for each in (ours, peer))
                    found += [_off(f"{name}.{key}", got[key], want[key]) for key in want if key in got]
    finally:
        ours.close()
    tensor, off, share = max(found, key=lambda one: one[2] if one[2] == one[2] else np.inf)
    return Parity(tensor, off, share, allowed, len(found))


def _off(name: str, got: NDArray[Any], want: NDArray[Any]) -> tuple[str, float, float]:
    off = float(np.abs(np.asarray(got, np.float64) - want).max(initial=0.0))
    return name, off, off / max(float(np.abs(want).max(initial=0.0)), 1e-6)


def _feeds(name: str, graph: Graph, plans: Bundle, rng: np.random.Generator, *, large: bool) -> list[dict[str, NDArray[Any]]]:
    """One pass, or a prefill and the steps behind it."""
    plan = plans.manifest.plan
    if plan is None:
        raise ConfigError(f"{plans.folder} holds no plans")
    most = {str(key): profiles[0] for key, profiles in plan.profiles.items()}[name]
    if name != STEP:
        window = most["tokens"].most[1] if name == "head" else 1
        read = most["tokens"].most[2] if name == "head" else 1
        return [_filled(graph, shapes(name, graph, {WINDOW: window if large else 1, READ: read if large else min(read, 2)}), 0, rng)]
    new = most["embeddings"].most[1] if large else max(1, most["embeddings"].most[1] // 2)
    frames = {FRAMES: 1, READ: min(2, new)}
    kept = keeps(graph)
    new = max(1, new - LATER) if kept else new
    counts = [(new, 0), *((1, past) for past in range(new, new + LATER * kept))]
    return [
        _filled(graph, shapes(name, graph, {NEW: fresh, ALL: past + fresh, BEHIND: past, **frames}), past, rng) for fresh, past in counts
    ]


def _filled(graph: Graph, sizes: Mapping[str, tuple[int, ...]], past: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """What a host feeds: everything seen, positions in order, the rest random."""
    fed: dict[str, NDArray[Any]] = {}
    for tensor in graph.inputs:
        shape = sizes[tensor.name]
        if tensor.name in {*PAST, "slots"}:
            continue
        if tensor.name == "mask":
            fed[tensor.name] = np.zeros(shape, np.float32)
        elif tensor.name == "positions":
            fed[tensor.name] = np.broadcast_to(np.arange(past, past + shape[-1], dtype=np.int64), shape).copy()
        elif tensor.dtype == "int64":
            fed[tensor.name] = np.zeros(shape, np.int64)
        else:
            fed[tensor.name] = rng.standard_normal(shape, np.float32)
    return fed
