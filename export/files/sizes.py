"""Numbers that a graph makes of its own sizes, computed ahead where onnx's shape inference does not follow them: a Range's ends."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

MOST = 2**16  # numbers of a tensor that may be a size, or be made of sizes
WHOLE = "iub"
Values = dict[str, NDArray[Any]]


def fold_sizes(model: ModelProto) -> Any:
    """The inferred graph of `model`, whose inputs have numbers for sizes; nodes that compute whole numbers of sizes become constants."""
    while True:
        inferred = shape_inference.infer_shapes(model, data_prop=True).graph
        shapes = _shapes(inferred)
        if all(name in shapes for node in model.graph.node for name in node.output if name):
            return inferred
        if not _fold(model, shapes):
            return inferred


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            found[value.name] = tuple(dim.dim_value for dim in dims)
    return found


def _fold(model: ModelProto, shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether a node went; what it made is an initialiser then."""
    values: Values = {}
    for tensor in model.graph.initializer:
        whole = helper.tensor_dtype_to_np_dtype(tensor.data_type).kind in WHOLE
        if whole and prod(tensor.dims) <= MOST and tensor.data_location != tensor.EXTERNAL:
            values[tensor.name] = numpy_helper.to_array(tensor)
    kept, made = [], Values()
    for node in model.graph.node:
        found = _value(node, values, shapes)
        if found is None:
            kept.append(node)
            continue
        values[node.output[0]] = found
        made[node.output[0]] = found
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in made.items())
    return bool(made)


def _value(node: Any, values: Values, shapes: dict[str, tuple[int, ...]]) -> NDArray[Any] | None:
    """What a node makes, where that is whole numbers and known."""
    if len(node.output) != 1 or any(attribute.HasField("g") for attribute in node.attribute):
        return None
    if node.op_type == "Shape":
        if node.input[0] not in shapes:
            return None
        ends = {attribute.name: attribute.i for attribute in node.attribute}
        whole = shapes[node.input[0]]
        return np.array(whole[ends.get("start", 0) : ends.get("end", len(whole))], np.int64)
    if node.op_type != "Constant" and not all(name in values for name in node.input if name):
        return None
    fed = {name: values[name] for name in node.input if name}
    found: Any = ReferenceEvaluator(node).run(None, fed)[0]
    small = isinstance(found, np.ndarray | np.generic) and np.size(found) <= MOST and np.asarray(found).dtype.kind in WHOLE
    return np.asarray(found) if small else None
