"""Rules on what is not one operator's: the file, and every tensor's type and size."""

from __future__ import annotations

from collections import Counter

from onnx import ModelProto

from export.files.operators import STANDARD, Table
from export.gate.finding import Basis, Finding, Rule
from export.gate.place import Findings
from export.gate.typed_graph import TypedGraph

MOST_DIMENSIONS = 8  # Dims::MAX_DIMS


def opset_of(model: ModelProto) -> int:
    return max((entry.version for entry in model.opset_import if entry.domain in STANDARD), default=0)


def file_findings(model: ModelProto, unsound: str | None, table: Table) -> Findings:
    first, last = table.opsets
    opset = opset_of(model)
    if not first <= opset <= last:
        yield Finding("", "", Rule.OPSET, f"opset {opset}", f"{first} to {last} on TensorRT {table.target}", Basis.TABLE)
    if unsound is not None:
        yield Finding("", "", Rule.ONNX, unsound[:400], "a graph whose types and shapes agree", Basis.ONNX)


def tensor_findings(graph: TypedGraph, table: Table) -> Findings:
    """Of everything the graph holds, by the node that gives it. What a node gives that is no operator of TensorRT's goes with it."""
    nodes = [node for node in graph.proto.node if node.domain in STANDARD and node.op_type in table.operators]
    made = [(name, node.name or node.output[0], node.op_type) for node in nodes for name in node.output if name]
    given = [(name, name, "input") for name in graph.inputs if name not in graph.initialisers]
    kept = [(name, name, "initializer") for name in graph.initialisers]
    twice = [name for name, count in Counter([*graph.inputs, *(name for name, _, _ in made)]).items() if count > 1]
    if twice:
        yield Finding("", "", Rule.ONNX, f"{twice[0]} is given twice", "every name given once", Basis.ONNX)
    for name, where, op in (*given, *kept, *made):
        dtype, shape = graph.dtype(name), graph.shape(name)
        if dtype is None and op == "input" and graph.outer is None:
            yield Finding(where, op, Rule.UNTYPED, f"{name} has no type", "a type", Basis.ASSUMED)
        if dtype is not None and dtype not in table.held:
            hint = "FP32: TensorRT would narrow it without being asked" if dtype == "DOUBLE" else ", ".join(sorted(table.held))
            yield Finding(where, op, Rule.TENSOR, f"{name} is {dtype}", hint, Basis.TABLE)
        if shape is not None and len(shape) > MOST_DIMENSIONS:
            yield Finding(where, op, Rule.RANK, f"{name} has {len(shape)} dimensions", f"at most {MOST_DIMENSIONS}", Basis.HEADER)
        if dtype == "UINT8":
            yield from _uint8(graph, name, where, op)


def _uint8(graph: TypedGraph, name: str, where: str, op: str) -> Findings:
    takers = sorted({node.op_type for node in graph.takers(name)} - {"Cast"})
    enters = op == "input" and graph.outer is None and not takers
    leaves = op == "Cast" and graph.outer is None and name in graph.outputs and not graph.takers(name)
    if not (enters or leaves):
        found = f"{name} is UINT8" + (f" and goes to {', '.join(takers)}" if takers else " inside the network")
        allowed = "UINT8 only as an input that goes to Cast or an output that comes from Cast"
        yield Finding(where, op, Rule.UINT8, found, allowed, Basis.TABLE if op == "input" else Basis.PARSER)
