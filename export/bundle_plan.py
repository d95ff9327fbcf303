"""A bundle's memory and work, counted in its own graphs: its precision is in them, so there is one row and nothing to derive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_vla.backends.bundle import Bundle, Graph
from edge_vla.errors import ConfigError
from export.footprint import BUFFERS, Footprint, build_peak
from export.number_formats import ONNX_RUNTIME, TENSORRT
from export.roofline import Work
from export.workload import Workload

BYTES = {"float32": 4, "float16": 2, "int64": 8, "uint8": 1}


@dataclass(frozen=True, slots=True)
class BundlePlan:
    """One look at a bundle's graphs."""

    precision: str
    engine: str
    footprint: Footprint
    stages: tuple[Work, ...]
    notes: tuple[str, ...]


def plan_bundle(bundle: Bundle, load: Workload, workspace_bytes: int) -> BundlePlan:
    """Raises ConfigError without onnx, and for a graph whose sizes do not follow from a look's."""
    try:
        from export.graph_cost import graph_cost  # onnx is needed for bundles alone
    except ModuleNotFoundError as err:
        raise ConfigError(f"bundle {bundle.folder}: its graphs are read with {err.name}, which is not installed: pip install onnx") from err
    manifest = bundle.manifest
    tokens = manifest.language.image_tokens + load.prompt
    length = load.sequence or tokens + load.steps
    if length < tokens + load.steps:
        raise ConfigError(f"sequence {length}: {tokens + load.steps} tokens go into it, {tokens} of them before the answer")
    step = manifest.graphs["lm_step"]
    seen = graph_cost(bundle.path(manifest.graphs["vision"].file), {})
    first = graph_cost(bundle.path(step.file), sizes(step, tokens, 0))
    later = graph_cost(bundle.path(step.file), sizes(step, 1, length - 1))
    foreign = tuple(sorted({*seen.foreign, *first.foreign}))
    engine = ONNX_RUNTIME if foreign else TENSORRT
    weights = {"vision": seen.weight_bytes, "lm_step": first.weight_bytes}
    activations = {"vision": seen.live_bytes, "lm_step": max(first.live_bytes, later.live_bytes)}
    cache = cache_bytes(step, length)
    footprint = Footprint(
        weights, bundle.path(manifest.language.embeddings).stat().st_size, cache, activations,
        build_peak(weights, activations, engine, workspace_bytes), None,
    )  # fmt: skip
    stages = (
        Work("vision", seen.operations, seen.weight_bytes),
        Work("prefill", first.operations, first.weight_bytes + cache // BUFFERS),
        Work("step", later.operations, later.weight_bytes + cache, load.steps),
    )
    notes = [f"TensorRT's parser has no {', '.join(foreign)}: this bundle runs with ONNX Runtime"] if foreign else []
    uncounted = sorted({*seen.uncounted, *first.uncounted})
    notes += [f"not in the latencies: {', '.join(uncounted)}"] if uncounted else []
    return BundlePlan(manifest.precision, engine, footprint, stages, tuple(notes))


def sizes(step: Graph, tokens: int, past: int) -> Mapping[tuple[str, int], int]:
    """Numbers for the dynamic axes of a step with `past` tokens behind it. Raises ConfigError for an input that no host fills."""
    known = {"embeddings": {1: tokens}, "positions": {1: tokens}, "mask": {2: tokens, 3: past + tokens}}
    found: dict[tuple[str, int], int] = {}
    for tensor in step.inputs:
        axes = {2: past} if tensor.name.startswith("past_") else known.get(tensor.name, {})
        for axis, size in enumerate(tensor.shape):
            if isinstance(size, str) and axis not in axes:
                raise ConfigError(f"{step.file}: a plan knows no size for axis {axis} of {tensor}")
            if isinstance(size, str):
                found[tensor.name, axis] = axes[axis]
    return found


def cache_bytes(step: Graph, length: int) -> int:
    """Keys and values of `length` tokens, one buffer to read and one to write."""
    total = 0
    for tensor in step.inputs:
        if not tensor.name.startswith("past_"):
            continue
        count = BYTES[tensor.dtype]
        for size in tensor.shape:
            count *= length if isinstance(size, str) else size
        total += count
    return BUFFERS * total
