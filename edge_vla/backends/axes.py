"""What the dynamic axes of a bundle's graphs count, by the names that hosts feed. Knows no runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from edge_vla.backends.manifest import Graph
from edge_vla.errors import ConfigError

NEW, PAST, ALL = "new", "past", "all"  # positions that a step reads, that it has behind it, and both
FRAMES, READ, WINDOW = "frames", "read", "window"  # pictures of a sequence; its positions that a head reads; frames that a head reads
_AXES: Mapping[str, Mapping[tuple[str, int], str]] = {
    "lm_step": {
        ("embeddings", 1): NEW, ("positions", 1): NEW, ("positions", 2): NEW, ("mask", 2): NEW, ("mask", 3): ALL, ("past_keys", 2): PAST,
        ("past_values", 2): PAST, ("slots", 0): NEW, ("seen", 1): NEW, ("latents", 1): FRAMES, ("act", 0): FRAMES, ("act", 1): READ,
    },
    "head": {("tokens", 1): WINDOW, ("tokens", 2): READ},
}  # fmt: skip


def shapes(name: str, graph: Graph, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Of all inputs of the graph called `name` at such sizes. Raises ConfigError for a dynamic axis that nobody knows how to fill."""
    found: dict[str, tuple[int, ...]] = {}
    for tensor in graph.inputs:
        numbers = []
        for axis, size in enumerate(tensor.shape):
            if isinstance(size, int):
                numbers.append(size)
                continue
            role = _AXES.get(name, {}).get((tensor.name, axis))
            if role is None or role not in sizes:
                raise ConfigError(f"graph {name}: no size is known for axis {axis} of {tensor}")
            numbers.append(sizes[role])
        found[tensor.name] = tuple(numbers)
    return found


def one_by_one(name: str, feed: Mapping[str, NDArray[Any]], past: int) -> list[dict[str, NDArray[Any]]]:
    """A step of several positions behind `past` others as steps of one. Only right where none attends to a later one."""
    new = feed["embeddings"].shape[1]
    found: list[dict[str, NDArray[Any]]] = []
    for i in range(new):
        one: dict[str, NDArray[Any]] = {}
        for key, array in feed.items():
            if key == "mask":
                one[key] = array[..., i : i + 1, : past + i + 1]
                continue
            at = [axis for (tensor, axis), role in _AXES[name].items() if tensor == key and role == NEW and axis < array.ndim]
            one[key] = array.take(range(i, i + 1), axis=at[-1]) if at else array
        found.append(one)
    return found
