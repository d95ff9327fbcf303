"""A graph's matrix products and convolutions by a weight: what an integer pass can shrink, and what it has to leave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, helper

from edge_vla.errors import ConfigError, did_you_mean
from export.files.onnx_file import PIECE, Array, OnnxFile, require_finite
from export.files.operators import STANDARD

KINDS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Product:
    """One of them. A weight whose `axis` is 0 lies outputs first, as (outputs, inputs ...), one whose axis is 1 as (inputs, outputs)."""

    node: NodeProto
    weight: str  # as it is stored; behind a Transpose for a matrix that is `turned`
    axis: int  # of the outputs, in the stored weight
    bias: str = ""
    turned: bool = False

    @property
    def name(self) -> str:
        return str(self.node.name)

    @property
    def data(self) -> str:
        return str(self.node.input[0])

    @property
    def output(self) -> str:
        return str(self.node.output[0])

    def shape(self, file: OnnxFile) -> tuple[int, int]:
        """(outputs, inputs)."""
        shape = file.shape(self.weight)
        outputs = shape[self.axis]
        return outputs, int(np.prod(shape)) // max(1, outputs)

    def rows(self, file: OnnxFile) -> Iterator[Array]:
        """The weight as stored, a few of its first axis at a time, as float32. Raises ConfigError for what is not finite."""
        values = file.values(self.weight)
        step = max(1, PIECE * len(values) // max(1, values.size))
        for start in range(0, len(values), step):
            piece = np.asarray(values[start : start + step])
            require_finite(self.weight, piece)
            yield piece.astype(np.float32, copy=False)


def products(file: OnnxFile) -> tuple[dict[str, Product], dict[str, str]]:
    """By node those that can be shrunk, and of the others why not."""
    makers = {name: node for node in file.nodes for name in node.output}
    found: dict[str, Product] = {}
    left: dict[str, str] = {}
    for node in file.nodes:
        if node.op_type not in KINDS or node.domain not in STANDARD:
            continue
        seen = _product(file, node, makers)
        if isinstance(seen, Product):
            found[node.name] = seen
        else:
            left[node.name] = seen
    return found, left


def _product(file: OnnxFile, node: NodeProto, makers: dict[str, NodeProto]) -> Product | str:
    said = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    weight, turned = node.input[1], False
    if not file.is_weight(weight) and (maker := makers.get(weight)) is not None and maker.op_type == "Transpose":
        weight, turned = maker.input[0], True
    if not file.is_weight(weight):
        return "no weight"
    if file.is_weight(node.input[0]):
        return "weight alone"
    axes = len(file.shape(weight))
    if node.op_type == "Conv":
        return Product(node, weight, 0) if not turned else "turned"
    if axes != 2:
        return f"weight of {axes} axes"
    if said.get("transA", 0) or said.get("alpha", 1.0) != 1 or (len(node.input) > 2 and said.get("beta", 1.0) != 1):
        return "scaled or turned"
    across = bool(said.get("transB", 0)) != turned
    return Product(node, weight, 0 if across else 1, node.input[2] if len(node.input) > 2 else "", turned)


def require_known(file: OnnxFile, names: set[str]) -> None:
    """Raises ConfigError for a name that is no product's."""
    known = [node.name for node in file.nodes if node.op_type in KINDS]
    for name in sorted(names - set(known)):
        raise ConfigError(f"{file.path}: no product {name!r}{did_you_mean(name, known)}; it has {len(known)}")
