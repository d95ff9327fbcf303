"""All rules on one graph."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path

from export.files.operators import Table, find_table
from export.gate.attributes import attribute_findings, shape_findings
from export.gate.constants import constant_findings, dropout_findings, static_findings, topk_findings
from export.gate.finding import Finding
from export.gate.operators import operator_findings, parsed
from export.gate.place import Findings, Place
from export.gate.quantisation import quantisation_findings
from export.gate.special import arithmetic_findings, einsum_findings, if_findings, loop_findings, recurrent_findings, scatter_findings
from export.gate.tensors import file_findings, opset_of, tensor_findings
from export.gate.typed_graph import TypedGraph, read_model

# Asked of operators that the parser has code for.
RULES: tuple[Callable[[Place], Findings], ...] = (
    attribute_findings, shape_findings, constant_findings, topk_findings, dropout_findings, static_findings, scatter_findings,
    einsum_findings, arithmetic_findings, recurrent_findings, if_findings, loop_findings, quantisation_findings,
)  # fmt: skip


def check(path: Path | str, target: str) -> list[Finding]:
    """What TensorRT `target` (10.3 or 11) would have against an ONNX file; nothing when it passes.

    Weights beside it are not loaded. Raises ConfigError for another target, a file that is no graph, weights that are missing.
    """
    table = find_table(target)
    model, unsound = read_model(Path(path))
    found = list(file_findings(model, unsound, table))
    for graph in TypedGraph(model.graph, Path(path).parent).within():
        found += chain(_nodes(graph, table, opset_of(model)), tensor_findings(graph, table))
    return found


def _nodes(graph: TypedGraph, table: Table, opset: int) -> Findings:
    for node in graph.proto.node:
        place = Place(graph, node, table, opset)
        yield from operator_findings(place)
        if parsed(place):
            for rule in RULES:
                yield from rule(place)
