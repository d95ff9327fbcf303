"""A bundle's memory and work, counted in its own graphs: its precision is in them, so there is one row and nothing to derive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_vla.backends.backbone_manifest import BackboneManifest, PolicyManifest
from edge_vla.backends.bundle import Bundle, FinderManifest, Graph, Manifest
from edge_vla.backends.manifest import GraphName
from edge_vla.errors import ConfigError
from export.planning.footprint import BUFFERS, Footprint, build_peak
from export.planning.number_formats import ONNX_RUNTIME, TENSORRT
from export.planning.roofline import Work
from export.planning.workload import Workload

BYTES = {"float32": 4, "float16": 2, "int64": 8, "uint8": 1}


@dataclass(frozen=True, slots=True)
class BundlePlan:
    """One look at a bundle's graphs."""

    precision: str
    engine: str
    footprint: Footprint
    stages: tuple[Work, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What one look puts into the graphs of a bundle."""

    tokens: int  # of the sequence before an answer
    steps: int  # of decoding after it
    window: int  # frames that the head reads
    read: int  # tokens of each
    pictures: int  # in one sequence


def look_of(manifest: Manifest, load: Workload) -> Look:
    """A prompt of the workload's length, by the bundle's own layout: a policy's window, its ACT tokens, as many actions as it spells."""
    if isinstance(manifest, FinderManifest):
        return Look(manifest.language.image_tokens + load.prompt, load.steps, 1, 1, 1)
    if not isinstance(manifest, PolicyManifest):
        return Look(image_tokens(manifest) + load.prompt, load.steps, 1, 1, 1)
    policy = manifest.policy
    window = policy.window if policy.history != "post" else 1
    acts = policy.latent if policy.action_space == "continuous" else 0
    each = image_tokens(manifest) + (load.prompt + acts if policy.history == "pre" else 0)
    tokens = window * each + (0 if policy.history == "pre" else load.prompt + acts)
    read = policy.latent if policy.pool or policy.action_space == "continuous" else tokens
    steps = policy.action_dim * policy.chunk - 1 if policy.action_space == "discrete" else 0
    return Look(tokens, steps, policy.window, read, window)


def image_tokens(manifest: Manifest) -> int:
    """Of one picture in the sequence; 0 where it is looked at from beside."""
    if isinstance(manifest, FinderManifest):
        return manifest.language.image_tokens
    return manifest.sequence.image_tokens if isinstance(manifest, BackboneManifest) else 0


def plan_bundle(bundle: Bundle, load: Workload, workspace_bytes: int) -> BundlePlan:
    """Raises ConfigError without onnx, and for a graph whose sizes do not follow from a look's."""
    try:
        from export.files.graph_cost import GraphCost, graph_cost  # onnx is needed for bundles alone
    except ModuleNotFoundError as err:
        raise ConfigError(f"bundle {bundle.folder}: its graphs are read with {err.name}, which is not installed: pip install onnx") from err
    manifest, graphs = bundle.manifest, bundle.manifest.graphs
    look, step = look_of(manifest, load), graphs["lm_step"]
    length = load.sequence or look.tokens + look.steps
    if length < look.tokens + look.steps:
        raise ConfigError(f"sequence {length}: {look.tokens + look.steps} tokens go into it, {look.tokens} of them before the answer")
    keeps = any(tensor.name.startswith("past_") for tensor in step.inputs)

    def cost(name: GraphName, known: Mapping[tuple[str, int], int]) -> GraphCost:
        return graph_cost(bundle.path(graphs[name].file), known)

    found = {"vision": cost("vision", {}), "prefill": cost("lm_step", sizes(step, look.tokens, 0, look))}
    if keeps:
        found["step"] = cost("lm_step", sizes(step, 1, length - 1, look))
    if "head" in graphs:
        found["head"] = cost("head", sizes(graphs["head"], look.read, 0, look))
    foreign = tuple(sorted({name for each in found.values() for name in each.foreign}))
    engine = ONNX_RUNTIME if foreign else TENSORRT
    of = {"vision": "vision", "prefill": "lm_step", "step": "lm_step", "head": "head"}
    weights = {of[stage]: each.weight_bytes for stage, each in found.items()}
    activations = {name: max(each.live_bytes for stage, each in found.items() if of[stage] == name) for name in weights}
    cache = cache_bytes(step, length)
    footprint = Footprint(
        weights, sum(bundle.path(name).stat().st_size for name in rows_of(manifest)), cache, activations,
        build_peak(weights, activations, engine, workspace_bytes), None,
    )  # fmt: skip
    moved = {"prefill": cache // BUFFERS, "step": cache}
    times = {"step": look.steps}
    stages = tuple(
        Work(stage, each.operations, each.weight_bytes + moved.get(stage, 0), times.get(stage, 1)) for stage, each in found.items()
    )
    notes = [f"TensorRT's parser has no {', '.join(foreign)}: this bundle runs with ONNX Runtime"] if foreign else []
    uncounted = sorted({name for each in found.values() for name in each.uncounted})
    notes += [f"not in the latencies: {', '.join(uncounted)}"] if uncounted else []
    return BundlePlan(manifest.precision, engine, footprint, stages, tuple(notes))


def rows_of(manifest: Manifest) -> list[str]:
    """Files of embeddings that the host keeps."""
    if isinstance(manifest, FinderManifest):
        return [manifest.language.embeddings]
    return [manifest.decoder.embeddings] if isinstance(manifest, BackboneManifest) else []


def sizes(graph: Graph, tokens: int, past: int, look: Look) -> Mapping[tuple[str, int], int]:
    """Numbers for a graph's dynamic axes with `past` tokens behind it. Raises ConfigError for an input that no host fills."""
    known = {
        "embeddings": {1: tokens}, "positions": {1: tokens, 2: tokens}, "act": {0: look.pictures, 1: look.read}, "slots": {0: tokens},
        "latents": {1: look.pictures}, "seen": {1: tokens}, "tokens": {1: look.window, 2: look.read}, "mask": {2: tokens, 3: past + tokens},
    }  # fmt: skip
    found: dict[tuple[str, int], int] = {}
    for tensor in graph.inputs:
        kept = next((n for each in graph.inputs if each.name.startswith("past_") and isinstance(n := each.shape[2], int)), None)
        axes = {2: past} if tensor.name.startswith("past_") else dict(known.get(tensor.name, {}))
        if tensor.name == "mask" and kept is not None:
            axes[3] = kept + tokens
        for axis, size in enumerate(tensor.shape):
            if isinstance(size, str) and axis not in axes:
                raise ConfigError(f"{graph.file}: a plan knows no size for axis {axis} of {tensor}")
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
