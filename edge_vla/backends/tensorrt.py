"""A bundle's graphs run by TensorRT, with cuda-python and numpy. All memory is taken when it opens; a pass allocates nothing.

What host and GPU exchange goes through one port a tensor: where they share their memory both look at the same bytes, elsewhere it is
copied through pinned memory. Keys and values stay with the GPU. Passes whose shapes stay are replayed as captured CUDA graphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import tensorrt as trt
from numpy.typing import NDArray

from edge_vla.backends.axes import ALL, FRAMES, NEW, one_by_one, shapes
from edge_vla.backends.axes import PAST as BEHIND
from edge_vla.backends.bundle import Bundle
from edge_vla.backends.cache import PAST
from edge_vla.backends.cuda import Block, Port, Stream, found_gpu
from edge_vla.backends.device_cache import CACHES, DeviceCache
from edge_vla.backends.graphs import Array, Feed
from edge_vla.backends.manifest import Graph, PlanInfo, Span, Tensor
from edge_vla.backends.passes import Pass, Place, Shapes, nbytes
from edge_vla.backends.plan_contract import PREFILL
from edge_vla.backends.plans import Log, OpenPlan, open_plans
from edge_vla.errors import EngineError

INSIDE = {*PAST, *PAST.values()}  # tensors of lm_step that only the GPU sees
STEP = "lm_step"
LOW = -1e4  # of an additive mask: what lies below is not seen


class TensorrtGraphs:
    """One plan a graph, one context a profile, one stream, one piece of memory between layers for all: they run one after another."""

    def __init__(self, bundle: Bundle, *, cuda_graphs: bool | None = None) -> None:
        """`cuda_graphs` overrules the manifest. Raises ConfigError for plans of another machine, EngineError for what TensorRT refuses."""
        gpu = found_gpu()
        self._log = Log()
        self.plans: dict[str, OpenPlan] = open_plans(bundle, gpu, self._log)
        info = bundle.manifest.plan
        assert info is not None  # noqa: S101 - for mypy: `open_plans` has refused a bundle without one
        self._graphs: Mapping[str, Graph] = {str(name): graph for name, graph in bundle.manifest.graphs.items()}
        self._profiles: Mapping[str, list[dict[str, Span]]] = {str(name): each for name, each in info.profiles.items()}
        with ExitStack() as stack:
            self._stream = Stream()
            stack.callback(self._stream.close)
            self._open(info, stack, integrated=gpu.integrated, captures=info.cuda_graphs if cuda_graphs is None else cuda_graphs)
            self._warm_up()
            self._stack = stack.pop_all()

    def _open(self, info: PlanInfo, stack: ExitStack, *, integrated: bool, captures: bool) -> None:
        scratch = Block(max(int(plan.engine.device_memory_size_v2) for plan in self.plans.values()))
        stack.callback(scratch.close)
        place = Place(self._stream, scratch, self._log)
        self._cache: DeviceCache | None = None
        if info.kv != "none":
            self._cache = CACHES[info.kv](self._graphs[STEP], self._profiles[STEP], self._stream)
            stack.callback(self._cache.close)
        self._ports: dict[str, dict[str, Port]] = {}
        self.passes: dict[str, list[Pass]] = {}
        for name, plan in self.plans.items():
            ports = self._ports[name] = {}
            profiles = self._profiles[name]
            count = self._cache.passes if name == STEP and self._cache is not None else 1
            passes = [Pass(plan, min(i, len(profiles) - 1), place, ports, captures=captures) for i in range(count)]
            self.passes[name] = passes
            for each in passes:
                stack.callback(each.forget)
            for tensor, size in largest(plan.graph, profiles, passes):
                if name != STEP or tensor.name not in INSIDE:
                    ports[tensor.name] = Port(size, self._stream, integrated=integrated)
                    stack.callback(ports[tensor.name].close)

    @property
    def providers(self) -> tuple[str, ...]:
        return (f"TensorRT {trt.__version__}",)

    @property
    def past(self) -> int:
        return 0 if self._cache is None else self._cache.past

    @property
    def captured(self) -> dict[str, bool]:
        """Of each pass, as "lm_step 1" for its second: whether its last work was launched as one captured graph."""
        return {f"{name} {i}": each.captured for name, passes in self.passes.items() for i, each in enumerate(passes)}

    def run(self, name: str, feed: Feed) -> dict[str, Array]:
        return self._finite(name, self._pass(name, 0, feed, {}, {}))

    def begin(self, behind: Feed | None = None) -> None:
        if behind is not None:
            raise EngineError(f"{self._graphs[STEP].file} reads a sequence from its first position on, behind nothing")
        if self._cache is not None:
            self._cache.clear()

    def step(self, feed: Feed) -> dict[str, Array]:
        cache = self._cache
        if cache is None:
            raise EngineError(f"{self._graphs[STEP].file} keeps nothing: it is run, not stepped")
        new = int(feed["embeddings"].shape[1])
        if not cache.past or new == 1:
            return self._finite(STEP, self._step(cache, feed))
        if not _causal(feed["mask"], cache.past):
            raise EngineError(f"{new} positions behind {cache.past} that attend to later ones; these plans read one at a time there")
        for one in one_by_one(STEP, feed, cache.past):
            outputs = self._finite(STEP, self._step(cache, one))
        return outputs

    def _step(self, cache: DeviceCache, feed: Feed) -> dict[str, NDArray[Any]]:
        number = cache.choose(int(feed["embeddings"].shape[1]))
        past = dict.fromkeys(PAST, cache.shape())
        outputs = self._pass(STEP, number, cache.feed(feed), past, cache.addresses())
        cache.keep()
        return outputs

    def close(self) -> None:
        """Gives back all memory. Once is enough, twice is no error."""
        self._stack.close()
        self.passes.clear()  # contexts before their plans
        self.plans.clear()

    def _pass(self, name: str, number: int, feed: Feed, inside: Shapes, kept: Mapping[str, int]) -> dict[str, NDArray[Any]]:
        """Write what is fed, run, and what came out, as the graph has it."""
        graph, ports, profiles = self._graphs[name], self._ports[name], self._profiles[name]
        profile = profiles[min(number, len(profiles) - 1)]
        for tensor in graph.inputs:
            if tensor.name not in inside:
                require(graph, tensor, feed, profile[tensor.name])
                array = feed[tensor.name]
                np.copyto(ports[tensor.name].view(array.shape, np.dtype(tensor.dtype)), array, casting="same_kind")
        bound = {t.name: inside[t.name] if t.name in inside else tuple(feed[t.name].shape) for t in graph.inputs}
        found = self.passes[name][number].run(bound, kept)
        return {t.name: ports[t.name].view(found[t.name], np.dtype(t.dtype)) for t in graph.outputs if t.name in ports}

    def _finite(self, name: str, outputs: dict[str, NDArray[Any]]) -> dict[str, Array]:
        """Floats as float32. Raises EngineError for nan or inf."""
        for key, value in outputs.items():
            if not np.isfinite(value).all():
                raise EngineError(f"{self._graphs[name].file}: output {key!r} is not finite")
        return {key: value if value.dtype.kind == "i" else value.astype(np.float32, copy=False) for key, value in outputs.items()}

    def exercise(self, name: str, *, most: bool) -> None:
        """A graph's passes once each on zeros, at the most they take or at what they are fastest at. What comes out is not looked at."""
        spans = self._profiles[name]
        chosen = [{key: tuple(span.most if most else span.best) for key, span in profile.items()} for profile in spans]
        if name != STEP or self._cache is None:
            self._pass(name, 0, self._zeros(name, chosen[0]), {}, {})
            return
        self._cache.clear()
        self._begin(self._cache, chosen[PREFILL])
        if most:
            self._cache.past = self._cache.limit - 1
        for _ in range(min(self._cache.passes - 1, self._cache.limit - self._cache.past)):
            past = self._cache.past
            self._step(self._cache, self._sized(chosen[PREFILL], {NEW: 1, BEHIND: past, ALL: past + 1}))
        self._cache.clear()

    def _begin(self, cache: DeviceCache, chosen: Shapes) -> None:
        new = min(chosen["embeddings"][1], cache.limit)
        self._step(cache, self._sized(chosen, {NEW: new, BEHIND: 0, ALL: new}))

    def _sized(self, chosen: Shapes, sizes: Mapping[str, int]) -> dict[str, NDArray[Any]]:
        """What a host would feed lm_step, all zeros."""
        frames = {FRAMES: chosen["latents"][1]} if "latents" in chosen else {}
        fed = self._zeros(STEP, shapes(STEP, self._graphs[STEP], {**sizes, **frames}))
        return {key: array for key, array in fed.items() if key not in {*PAST, "slots"}}

    def _zeros(self, name: str, sizes: Shapes) -> dict[str, NDArray[Any]]:
        return {tensor.name: np.zeros(sizes[tensor.name], tensor.dtype) for tensor in self._graphs[name].inputs}

    def _warm_up(self) -> None:
        """Every pass at the most it takes, then three times at its best: plainly, captured, replayed."""
        for name in self.plans:
            for most in (True, False, False, False):
                self.exercise(name, most=most)


def largest(graph: Graph, profiles: list[dict[str, Span]], passes: list[Pass]) -> list[tuple[Tensor, int]]:
    """Every tensor and the most bytes it takes in any profile; of outputs what TensorRT makes of the largest inputs."""
    tensors = {tensor.name: tensor for tensor in (*graph.inputs, *graph.outputs)}
    found = dict.fromkeys(tensors, 0)
    for profile, each in zip(profiles, passes, strict=False):  # two passes may share a profile
        most = {name: tuple(span.most) for name, span in profile.items()}
        for name, shape in (most | each.outputs_of(most)).items():
            found[name] = max(found[name], nbytes(tensors[name], shape))
    return [(tensors[name], size) for name, size in found.items()]


def require(graph: Graph, tensor: Tensor, feed: Feed, span: Span) -> None:
    """Raises EngineError for a tensor that is not fed, or not in a shape the profile takes."""
    if tensor.name not in feed:
        raise EngineError(f"{graph.file} wants {tensor}, got {', '.join(feed)}")
    shape = feed[tensor.name].shape
    if len(shape) != len(span.least) or not all(a <= n <= b for a, n, b in zip(span.least, shape, span.most, strict=True)):
        raise EngineError(f"{graph.file} takes {tensor.name} of {span.least} to {span.most}, got {list(shape)}")


def _causal(mask: NDArray[Any], past: int) -> bool:
    """Whether none of the new positions attends to one behind it."""
    new = mask.shape[-2]
    return bool((mask[..., past:][..., np.triu_indices(new, 1)[0], np.triu_indices(new, 1)[1]] < LOW).all())
