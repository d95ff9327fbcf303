"""How long a look takes at least: operations over the arithmetic's rate, bytes over the memory's bandwidth, the longer of the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from export.planning.devices import Device, Mode
from export.planning.footprint import cache_bytes, head_bytes, head_parts
from export.planning.number_formats import Precision
from export.planning.shapes import Model, Part
from export.planning.workload import Workload

# Of the full rates, what the best published runs on Orin reach in large products and in decoding; docs/planning.md has the sources.
REACHED_COMPUTE, REACHED_BANDWIDTH = 0.55, 0.85


@dataclass(frozen=True, slots=True)
class Work:
    """One stage of a look."""

    name: str
    operations: Mapping[str, float]  # by arithmetic
    moved_bytes: float  # over the memory bus: weights, keys and values
    times: int = 1  # that a look runs it


@dataclass(frozen=True, slots=True)
class Time:
    """One run of a stage, in seconds."""

    name: str
    compute_s: float
    memory_s: float
    times: int

    @property
    def floor_s(self) -> float:
        return max(self.compute_s, self.memory_s)

    @property
    def realistic_s(self) -> float:
        return max(self.compute_s / REACHED_COMPUTE, self.memory_s / REACHED_BANDWIDTH)

    @property
    def bound(self) -> str:
        return "compute" if self.compute_s > self.memory_s else "memory"


def stages(model: Model, load: Workload, precision: Precision) -> tuple[Work, ...]:
    """What a look computes and moves: vision, prefill, head, and the decode steps. Raises ConfigError as `footprint`."""
    model = load.fitted(model)
    tokens, length, rows = load.prefill(model), load.length(model), load.head_rows(model)
    weighed, plain = precision.arithmetic, precision.plain.name
    text, head = precision.weights(model.text), head_bytes(model, rows, precision)
    cache = cache_bytes(model, length, precision.activation_bytes, 1) if load.decodes else 0
    spare = length - tokens if load.decodes else 0
    vision = Work("vision", operations(model.vision, 0, 0, weighed, plain), precision.weights(model.vision), load.looks(model))
    prefill = Work("prefill", operations(model.text, tokens, spare, weighed, plain), text + cache)
    if not load.decodes:
        parts = head_parts(model, load)
        moved = sum(part.reads * precision.weights((part,), precision.plain) for part in parts)
        return vision, prefill, Work("head", operations(parts, 1, 0, plain, plain), moved)
    said = {weighed: 2.0 * rows * model.hidden}
    step = _sum(operations(model.text, 1, length - 1, weighed, plain), said)
    return vision, prefill, Work("head", said, head), Work("step", step, text + head + 2 * cache, load.steps)


def operations(parts: tuple[Part, ...], tokens: int, past: int, weighed: str, plain: str) -> dict[str, float]:
    """Of `tokens` after `past`: products with weights in the arithmetic `weighed`, those without in `plain`."""
    products = {weighed: float(sum(part.weight_flops(tokens) for part in parts))}
    return _sum(products, {plain: float(sum(part.attention_flops(tokens, past) for part in parts))})


def _sum(one: Mapping[str, float], two: Mapping[str, float]) -> dict[str, float]:
    return {arithmetic: one.get(arithmetic, 0.0) + two.get(arithmetic, 0.0) for arithmetic in {**one, **two}}


def time_of(work: Work, device: Device, mode: Mode) -> Time:
    """Raises ConfigError for an arithmetic that the device has not."""
    compute_s = sum(count / device.operations_per_s(arithmetic, mode) for arithmetic, count in work.operations.items() if count)
    return Time(work.name, compute_s, work.moved_bytes / (mode.bandwidth_gbps * 1e9), work.times)


def look_s(times: tuple[Time, ...]) -> tuple[float, float]:
    """(floor, realistic) of a whole look: its stages one after the other."""
    return sum(t.floor_s * t.times for t in times), sum(t.realistic_s * t.times for t in times)
