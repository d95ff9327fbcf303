"""Whether what a manifest says of TensorRT's plans agrees with itself, and whether a machine may run them.

Reads no file, knows no runtime.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_vla.backends.cache import PAST
from edge_vla.backends.manifest import Graph, Manifest, PlanInfo, Span

REBUILD = "run `python -m export tensorrt` on this device"
PREFILL, DECODE = 0, 1  # passes of a step that keeps something, each in the profile of its number, or both in the only one


def contradiction(m: Manifest) -> str:
    """The first place where the manifest contradicts itself, with what would be right; "" for none."""
    if (m.backend == "tensorrt") is not (m.plan is not None):
        return f"plan: want this section exactly for backend 'tensorrt', got {'one' if m.plan else 'none'} for {m.backend!r}"
    return "" if m.plan is None else next(_plan(m, m.plan), "")


def unfit(plan: PlanInfo, tensorrt: str, sm: str) -> str:
    """Why these plans must not be loaded where that TensorRT and that GPU are; "" if they may. A plan of others is not even read."""
    if plan.sm != sm:
        return f"its plans are for a GPU of SM {plan.sm}, this one is SM {sm}; {REBUILD}"
    built, here = _version(plan.tensorrt), _version(tensorrt)
    if plan.version_compatible:
        # A version-compatible plan is loaded by the same TensorRT and later ones, of the next major version too.
        fits, said = built <= here and here[0] - built[0] <= 1, f"TensorRT {plan.tensorrt} up to {built[0] + 1}.x"
    else:
        fits, said = plan.tensorrt == tensorrt, f"TensorRT {plan.tensorrt}"
    return "" if fits else f"its plans are for {said}, this machine has TensorRT {tensorrt}; {REBUILD}"


def keeps(graph: Graph) -> bool:
    """Whether this step has a cache."""
    return any(tensor.name in PAST for tensor in graph.inputs)


def caches(graph: Graph) -> tuple[str, ...]:
    """What a plan's `kv` may be for this step, the usual one first."""
    lengths = [tensor.shape[2] for tensor in graph.inputs if tensor.name in PAST]
    if not lengths:
        return ("none",)
    return ("written",) if isinstance(lengths[0], int) else ("dynamic", "static")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _plan(m: Manifest, plan: PlanInfo) -> Iterator[str]:
    if set(plan.profiles) != set(m.graphs):
        yield f"plan.profiles: want {', '.join(m.graphs)}, got {', '.join(plan.profiles) or 'none'}"
        return
    if strangers := sorted(set(plan.stripped) - set(m.graphs)):
        yield f"plan.stripped: want some of {', '.join(m.graphs)}, got {', '.join(strangers)}"
    kept, allowed = keeps(m.graphs["lm_step"]), caches(m.graphs["lm_step"])
    if plan.kv not in allowed:
        yield f"plan.kv: want {' or '.join(allowed)} for this lm_step, got {plan.kv!r}"
    if plan.stripped and not plan.refittable:
        yield "plan.refittable: want true for plans without weights, got false"
    for name, graph in m.graphs.items():
        profiles, want = plan.profiles[name], 2 if name == "lm_step" and kept and not plan.refittable else 1
        if len(profiles) != want:
            why = "a refittable plan has but one" if plan.refittable else "prefill and decode" if want == 2 else "nothing is kept"
            yield f"plan.profiles.{name}: want {want} ({why}), got {len(profiles)}"
        for i, profile in enumerate(profiles):
            yield from _profile(f"plan.profiles.{name}.{i}", graph, profile)


def _profile(where: str, graph: Graph, profile: dict[str, Span]) -> Iterator[str]:
    names = [tensor.name for tensor in graph.inputs]
    if sorted(profile) != sorted(names):
        yield f"{where}: want {', '.join(names)}, got {', '.join(profile) or 'none'}"
        return
    for tensor in graph.inputs:
        span = profile[tensor.name]
        if not len(span.least) == len(span.best) == len(span.most) == len(tensor.shape):
            yield f"{where}.{tensor.name}: want {len(tensor.shape)} sizes, got {span.least}, {span.best}, {span.most}"
            return
        for size, least, best, most in zip(tensor.shape, span.least, span.best, span.most, strict=True):
            low, high = (0, most) if isinstance(size, str) else (size, size)
            if not low <= least <= best <= most <= high:
                said = "sizes that do not fall" if isinstance(size, str) else f"size {size}, which the graph has"
                yield f"{where}.{tensor.name}: want {said}, got {least}, {best}, {most}"
