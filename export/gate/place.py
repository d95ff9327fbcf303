"""One node under judgement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto

from export.files.operators import Table
from export.gate.finding import Basis, Finding, Rule
from export.gate.typed_graph import Shape, TypedGraph, attributes

Findings = Iterator[Finding]


@dataclass(frozen=True, slots=True)
class Place:
    """A node, the graph around it and TensorRT's table."""

    graph: TypedGraph
    node: NodeProto
    table: Table
    opset: int

    @property
    def op(self) -> str:
        return str(self.node.op_type)

    @property
    def target(self) -> str:
        return self.table.target

    @property
    def attributes(self) -> Mapping[str, Any]:
        return attributes(self.node)

    def input(self, index: int) -> str:
        """Its tensor's name; "" for one that is left out."""
        return str(self.node.input[index]) if index < len(self.node.input) else ""

    def output(self, index: int) -> str:
        return str(self.node.output[index]) if index < len(self.node.output) else ""

    def dtype(self, index: int) -> str | None:
        """Of an input; None for one that is left out or of a type that is not known."""
        return self.graph.dtype(self.input(index)) if self.input(index) else None

    def shape(self, index: int) -> Shape | None:
        return self.graph.shape(self.input(index)) if self.input(index) else None

    def constant(self, index: int) -> bool:
        return self.graph.constant(self.input(index))

    def finding(self, rule: Rule, found: str, allowed: str, basis: Basis) -> Finding:
        return Finding(self.node.name or self.output(0), self.op, rule, found, allowed, basis)
