"""An ONNX graph with the types and shapes of its tensors. Inferred, not run; of the weights only those that rules ask for are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper, shape_inference
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from edge_vla.errors import ConfigError

# TensorRT's words for ONNX's types; the rest keep ONNX's.
WORDS: dict[int, str] = {
    TensorProto.FLOAT: "FP32", TensorProto.FLOAT16: "FP16", TensorProto.BFLOAT16: "BF16", TensorProto.FLOAT8E4M3FN: "FP8",
    TensorProto.FLOAT4E2M1: "FP4",
}  # fmt: skip
Shape = tuple[int | None, ...]


def word(elem_type: int) -> str:
    return WORDS.get(elem_type) or str(TensorProto.DataType.Name(elem_type))


class TypedGraph:
    """A graph or a body within one. Names of what is outside are known inside."""

    def __init__(self, graph: GraphProto, folder: Path, outer: TypedGraph | None = None) -> None:
        self.proto, self.folder, self.outer = graph, folder, outer
        self.inputs = [value.name for value in graph.input]
        self.outputs = [value.name for value in graph.output]
        self.initialisers = {tensor.name: tensor for tensor in graph.initializer}
        self._types = {v.name: v.type.tensor_type for v in (*graph.input, *graph.output, *graph.value_info)}
        self._makers = {name: node for node in graph.node for name in node.output if name}

    def dtype(self, name: str) -> str | None:
        """FP32, INT64, BOOL ...; None where it cannot be inferred."""
        if name in self.initialisers:
            return word(self.initialisers[name].data_type)
        if name in self._types and self._types[name].elem_type:
            return word(self._types[name].elem_type)
        return self.outer.dtype(name) if self.outer is not None and not self.own(name) else None

    def shape(self, name: str) -> Shape | None:
        """None for each size that is not known; None alone where not even their number is."""
        if name in self.initialisers:
            return tuple(self.initialisers[name].dims)
        if name in self._types:
            kind = self._types[name]
            sizes = tuple(size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim)
            return sizes if kind.HasField("shape") else None
        return self.outer.shape(name) if self.outer is not None and not self.own(name) else None

    def own(self, name: str) -> bool:
        return name in self._makers or name in self.initialisers or name in self.inputs

    def maker(self, name: str) -> NodeProto | None:
        """The node that gives a tensor; None for inputs and initialisers."""
        if self.own(name) or self.outer is None:
            return self._makers.get(name)
        return self.outer.maker(name)

    def takers(self, name: str) -> list[NodeProto]:
        """Nodes of this graph that take a tensor, those with a body that does included."""
        return [node for node in self.proto.node if name in node.input or any(body.takers(name) for body in self.bodies(node))]

    def constant(self, name: str) -> bool:
        """Whether the parser has it as weights: an initialiser or a Constant node's."""
        if name in self.initialisers:
            return True
        if self.own(name) or self.outer is None:
            return name in self._makers and self._makers[name].op_type == "Constant"
        return self.outer.constant(name)

    def values(self, name: str) -> NDArray[Any] | None:
        """What a constant holds, read from the file beside the graph where it lies there. None for what is no constant."""
        if name in self.initialisers:
            return numpy_helper.to_array(self.initialisers[name], str(self.folder))
        if self.own(name) or self.outer is None:
            maker = self._makers.get(name)
            return None if maker is None or maker.op_type != "Constant" else _written(maker)
        return self.outer.values(name)

    def bodies(self, node: NodeProto) -> list[TypedGraph]:
        return [TypedGraph(attribute.g, self.folder, self) for attribute in node.attribute if attribute.type == AttributeProto.GRAPH]

    def within(self) -> Iterator[TypedGraph]:
        """This and all bodies in it."""
        yield self
        for node in self.proto.node:
            for body in self.bodies(node):
                yield from body.within()


def attributes(node: NodeProto) -> Mapping[str, Any]:
    """By name; texts as str."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: _text(value) for name, value in found.items()}


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return [_text(one) for one in value] if isinstance(value, list) else value


def _written(node: NodeProto) -> NDArray[Any] | None:
    """What a Constant node says."""
    for name, value in attributes(node).items():
        if name == "value":
            return numpy_helper.to_array(value)
        if name in ("value_int", "value_ints", "value_float", "value_floats"):
            return np.asarray(value)
    return None


def read_model(path: Path) -> tuple[ModelProto, str | None]:
    """The model with its functions unfolded and its types inferred, and what onnx has against it.

    Raises ConfigError for a file that is no graph, or whose weights are not beside it.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as err:
        raise ConfigError(f"{path}: {err.strerror}") from err
    except Exception as err:  # protobuf's own, derived from Exception alone
        raise ConfigError(f"{path}: not an ONNX graph ({err})") from err
    if not model.graph.node:
        raise ConfigError(f"{path}: not an ONNX graph (it has no nodes)")
    _require_weights(model, path.parent, path)
    if model.functions:
        model = inliner.inline_local_functions(model)
    inferred = model

    def infer(**how: bool) -> None:
        nonlocal inferred
        inferred = shape_inference.infer_shapes(model, data_prop=True, **how)

    strictly = _unsound(lambda: infer(check_type=True, strict_mode=True))
    if strictly is not None:
        _unsound(infer)  # what is wrong has been told; the rest is judged with the types there are
    return inferred, strictly


def _unsound(step: Callable[[], None]) -> str | None:
    """What onnx has against a graph, in one line."""
    try:
        step()
    except Exception as err:  # noqa: BLE001 - onnx's own errors are derived from Exception alone
        return " ".join(str(err).split())
    return None


def _require_weights(model: ModelProto, folder: Path, path: Path) -> None:
    files = {ExternalDataInfo(tensor).location for tensor in model.graph.initializer if uses_external_data(tensor)}
    for name in sorted(files):
        if not (folder / name).is_file():
            raise ConfigError(f"{path}: its weights are in {name}, which is not beside it")
