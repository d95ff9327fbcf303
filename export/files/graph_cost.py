"""What an ONNX graph costs at given sizes: bytes of weights, operations by arithmetic, the largest moment of what is alive between nodes.

Shapes are inferred, nothing is run and no weight is read. Needs onnx.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from edge_vla.errors import ConfigError
from export.files.operators import STANDARD, foreign
from export.files.sizes import fold_sizes

BITS: dict[int, int] = {
    TensorProto.FLOAT: 32, TensorProto.FLOAT16: 16, TensorProto.BFLOAT16: 16, TensorProto.DOUBLE: 64, TensorProto.INT8: 8,
    TensorProto.UINT8: 8, TensorProto.BOOL: 8, TensorProto.INT16: 16, TensorProto.UINT16: 16, TensorProto.INT32: 32, TensorProto.UINT32: 32,
    TensorProto.INT64: 64, TensorProto.UINT64: 64, TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.FLOAT8E5M2: 8,
}  # fmt: skip
ARITHMETIC: dict[int, str] = {
    TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "fp16", TensorProto.DOUBLE: "fp32",
}  # fmt: skip
VIEWS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}  # their output is their first input's memory
UNCOUNTED = {
    "Einsum", "Attention", "MultiHeadAttention", "GroupQueryAttention", "QLinearMatMul", "QLinearConv", "ConvInteger", "GRU", "RNN",
}  # fmt: skip

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GraphCost:
    """One run of a graph."""

    weight_bytes: int
    operations: Mapping[str, float]  # by arithmetic
    live_bytes: int  # inputs and outputs with what is between
    foreign: tuple[str, ...]  # operators that TensorRT does not parse
    uncounted: tuple[str, ...]  # operators whose products are not in `operations`


class BoundGraph:
    """A graph whose every size is a number."""

    def __init__(self, path: Path, sizes: Mapping[tuple[str, int], int]) -> None:
        """`sizes` are of inputs' dynamic axes, by name and axis. Raises ConfigError for a graph that is none or leaves a size open."""
        try:
            model = onnx.load(str(path), load_external_data=False)
        except Exception as err:  # protobuf's own, derived from Exception alone
            raise ConfigError(f"{path}: not an ONNX graph ({err})") from err
        self._path = path
        self.nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]  # as they are, without stand-ins
        self.outputs = [value.name for value in model.graph.output]
        self.weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.inputs = [value.name for value in model.graph.input if value.name not in self.weights]
        self._kinds: dict[str, int] = {name: tensor.data_type for name, tensor in self.weights.items()}
        self._shapes: dict[str, Shape] = {name: tuple(tensor.dims) for name, tensor in self.weights.items()}
        _bind(model, sizes)
        _stand_in(model)
        self._learn(fold_sizes(model))

    def shape(self, name: str) -> Shape:
        """Raises ConfigError for a tensor of unknown size."""
        if name not in self._shapes:
            raise ConfigError(f"{self._path}: the size of {name!r} does not follow from the sizes of the inputs")
        return self._shapes[name]

    def nbytes(self, name: str) -> int:
        return -(-prod(self.shape(name)) * BITS.get(self._kinds[name], 32) // 8)

    def arithmetic(self, name: str) -> str:
        """In which a tensor of floats is multiplied."""
        return ARITHMETIC.get(self._kinds.get(name, TensorProto.FLOAT), "fp32")

    def _learn(self, inferred: Any) -> None:
        for tensor in inferred.initializer:  # sizes that were computed ahead among them
            self._kinds.setdefault(tensor.name, tensor.data_type)
            self._shapes.setdefault(tensor.name, tuple(tensor.dims))
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            dims = value.type.tensor_type.shape.dim
            self._kinds[value.name] = value.type.tensor_type.elem_type
            if all(dim.HasField("dim_value") for dim in dims):
                self._shapes[value.name] = tuple(dim.dim_value for dim in dims)


def graph_cost(path: Path, sizes: Mapping[tuple[str, int], int]) -> GraphCost:
    """Of one run at `sizes`. Raises ConfigError as BoundGraph does."""
    graph = BoundGraph(path, sizes)
    weights = sum(graph.nbytes(name) for name in graph.weights)
    weights += sum(_constant_bytes(node) for node in graph.nodes if node.op_type == "Constant")
    operations: dict[str, float] = {}
    makers = {name: node for node in graph.nodes for name in node.output}
    for node in graph.nodes:
        count = _operations(graph, node)
        if count:
            arithmetic = _arithmetic(graph, node, makers)
            operations[arithmetic] = operations.get(arithmetic, 0.0) + count
    types = [(node.domain, node.op_type) for node in graph.nodes]
    uncounted = tuple(sorted({kind for _, kind in types if kind in UNCOUNTED}))
    return GraphCost(weights, operations, _live_bytes(graph), foreign(types), uncounted)


def _bind(model: Any, sizes: Mapping[tuple[str, int], int]) -> None:
    """Numbers for the dynamic axes; what was inferred for words before is forgotten."""
    words: dict[str, int] = {}
    for value in model.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.HasField("dim_value"):
                continue
            known = sizes.get((value.name, axis), words.get(dim.dim_param))
            if known is None:
                raise ConfigError(f"graph input {value.name!r}: no size is known for its axis {axis} ({dim.dim_param or 'unnamed'})")
            if dim.dim_param:
                words[dim.dim_param] = known
            dim.dim_value = known
    del model.graph.value_info[:]
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.Clear()


def _stand_in(model: Any) -> None:
    """Operators of other domains, whose shapes onnx does not infer, as standard ones of the same shape.

    Products with packed weights as products with plain ones; what remains (fused norms, rotations, activations) keeps its input's shape.
    """
    nodes = []
    for node in model.graph.node:
        if node.domain in STANDARD:
            nodes.append(node)
        elif node.op_type == "MatMulNBits":
            sizes = {attribute.name: attribute.i for attribute in node.attribute}
            plain = f"{node.output[0]}.plain"
            model.graph.input.append(helper.make_tensor_value_info(plain, TensorProto.FLOAT, [sizes["K"], sizes["N"]]))
            nodes.append(helper.make_node("MatMul", [node.input[0], plain], [node.output[0]]))
        else:
            nodes += [helper.make_node("Identity", [node.input[0]], [name]) for name in node.output if name]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _constant_bytes(node: Any) -> int:
    found = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
    return 0 if found is None else -(-prod(found.dims) * BITS.get(found.data_type, 32) // 8)


def _operations(graph: BoundGraph, node: Any) -> float:
    """Two for each product that is summed."""
    if node.op_type in {"MatMul", "MatMulInteger", "MatMulNBits"}:
        return 2.0 * prod(graph.shape(node.output[0])) * graph.shape(node.input[0])[-1]
    if node.op_type == "Gemm":
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        return 2.0 * prod(graph.shape(node.output[0])) * graph.shape(node.input[0])[0 if turned else 1]
    if node.op_type == "Conv":
        return 2.0 * prod(graph.shape(node.output[0])) * prod(graph.shape(node.input[1])[1:])
    if node.op_type == "LSTM":
        steps, batch = graph.shape(node.input[0])[:2]
        return 2.0 * steps * batch * (prod(graph.shape(node.input[1])) + prod(graph.shape(node.input[2])))
    return 0.0


def _arithmetic(graph: BoundGraph, node: Any, makers: Mapping[str, Any]) -> str:
    """int8 between two DequantizeLinear, as TensorRT fuses them; else that of what comes in."""
    if node.op_type == "MatMulInteger":
        return "int8"
    sides = [makers.get(name) for name in node.input[:2]]
    if all(side is not None and side.op_type == "DequantizeLinear" for side in sides):
        return "int8"
    return graph.arithmetic(node.input[0])


def _live_bytes(graph: BoundGraph) -> int:
    """Each tensor from the node that makes it to the last that reads it, with memory reused at once."""
    owner: dict[str, str] = {}
    for node in graph.nodes:
        if node.domain in STANDARD and node.op_type in VIEWS and node.input[0] not in graph.weights:
            owner[node.output[0]] = owner.get(node.input[0], node.input[0])
    last: dict[str, int] = {}
    for place, node in enumerate(graph.nodes):
        for name in node.input:
            last[owner.get(name, name)] = place
    for name in graph.outputs:
        last[owner.get(name, name)] = len(graph.nodes)
    alive = {name: graph.nbytes(name) for name in graph.inputs}
    most = sum(alive.values())
    for place, node in enumerate(graph.nodes):
        made = [name for name in node.output if name and name not in owner and node.op_type != "Constant"]
        alive |= {name: graph.nbytes(name) for name in made}
        most = max(most, sum(alive.values()))
        alive = {name: nbytes for name, nbytes in alive.items() if last.get(name, -1) > place}
    return most
