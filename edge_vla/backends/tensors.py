"""Whether the tensors a manifest lists are those a host feeds and reads. Reads no file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_vla.backends.manifest import Manifest, Tensor

# A number, "?" (dynamic), "vocabulary" (any size), or the manifest's field that says its size.
Axis = str | int
Wanted = Mapping[tuple[str, str], Mapping[str, tuple[Axis, ...]]]  # (graph, "inputs" or "outputs") to name to dtype and axes


def disagreement(m: Manifest, wanted: Wanted, notes: Mapping[tuple[str, str], str] | None = None) -> Iterator[str]:
    """What differs from what is wanted, graph by graph; `notes` end the sentence about a side's names."""
    graphs = list(dict.fromkeys(graph for graph, _ in wanted))
    if set(graphs) != set(m.graphs):
        yield f"graphs: want {_told(graphs)}, got {', '.join(m.graphs) or 'none'}"
        return
    for (graph, side), tensors in wanted.items():
        found: list[Tensor] = getattr(m.graphs[graph], side)  # type: ignore[index]
        if [t.name for t in found] != list(tensors):
            got = ", ".join(t.name for t in found) or "none"
            yield f"graphs.{graph}.{side}: want {', '.join(tensors)}{(notes or {}).get((graph, side), '')}, got {got}"
        for tensor in found:
            yield from _tensor(m, f"graphs.{graph}.{side}.{tensor.name}", tensor, tensors.get(tensor.name, ()))


def _told(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"


def _tensor(m: Manifest, where: str, tensor: Tensor, wanted: tuple[Axis, ...]) -> Iterator[str]:
    if not wanted:  # its name was told already
        return
    dtype, *axes = wanted
    if tensor.dtype != dtype:
        yield f"{where}: want {dtype}, got {tensor}"
    if len(tensor.shape) != len(axes):
        yield f"{where}: want {len(axes)} axes, got {tensor}"
        return
    for i, (want, got) in enumerate(zip(axes, tensor.shape, strict=True)):
        if want == "?":
            fits, said = isinstance(got, str), "a dynamic size"
        elif want == "vocabulary":
            fits, said = isinstance(got, int) and got >= 1, "a fixed size of at least 1"
        elif isinstance(want, str):
            size: object = m
            for part in want.split("."):
                size = getattr(size, part)
            fits, said = got == size, f"{size}, as {want} says,"
        else:
            fits, said = got == want, str(want)
        if not fits:
            yield f"{where}: want {said} on axis {i}, got {tensor}"
