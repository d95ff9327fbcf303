"""An ONNX file apart: its graph in memory, its weights where they lie, each read when it is asked for. Computes nothing.

What passes over graphs take: standard control flow and local functions are refused, constants are weights whichever way a file holds them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

from edge_vla.errors import ConfigError
from export.files.operators import STANDARD

PIECE = 2**20  # numbers that are looked at together
OPSETS = range(13, 21)  # from the first with scales per channel to the last that TensorRT 10.3 takes
Array = NDArray[Any]


class OnnxFile:
    """A graph without its weights, and the weights by name.

    `model` has no initialisers and no Constant nodes; every node has a name of its own. `tensors` are the weights' headers in the file's
    order, small ones with their values. `halves` are weights stored as float16 that the graph reads through a Cast to float32: they go by
    the name behind the Cast.
    """

    def __init__(self, path: Path) -> None:
        """Raises ConfigError for what is no ONNX file, what lacks weights, and control flow."""
        self.path = path
        try:
            self.model: ModelProto = onnx.load(str(path), load_external_data=False)
        except FileNotFoundError as err:
            raise ConfigError(f"{path}: there is no such file") from err
        except Exception as err:  # protobuf's own type, which differs from version to version
            raise ConfigError(f"{path}: not an ONNX file ({str(err).strip()})") from err
        graph = self.model.graph
        if not graph.node:
            raise ConfigError(f"{path}: a graph without nodes")
        self._refuse_other_kinds()
        self.tensors: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        self.beside = any(tensor.data_location == TensorProto.EXTERNAL for tensor in graph.initializer)
        for tensor in graph.initializer:
            self._require_data(tensor)
        del graph.initializer[:]
        self._take_constants()
        self.halves: dict[str, str] = self._take_halves()
        _name(graph.node)

    @property
    def nodes(self) -> list[NodeProto]:
        return list(self.model.graph.node)

    @cached_property
    def _told(self) -> dict[str, TypeProto.Tensor]:
        """What ONNX infers of each value that is no weight."""
        bare = ModelProto()
        bare.CopyFrom(self.model)
        for name in self.tensors:
            bare.graph.initializer.append(self._header(name))
        for put, name in self.halves.items():
            bare.graph.node.insert(0, helper.make_node("Cast", [name], [put], to=TensorProto.FLOAT))
        graph = onnx.shape_inference.infer_shapes(bare).graph
        return {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.input, *graph.output)}

    @cached_property
    def types(self) -> dict[str, int]:
        """The element type of every value, weights included. Raises ConfigError for a value whose type nothing tells."""
        known = {name: told.elem_type for name, told in self._told.items()}
        known |= {name: tensor.data_type for name, tensor in self.tensors.items()}
        known |= dict.fromkeys(self.halves, TensorProto.FLOAT)
        for node in self.nodes:
            for output in node.output:
                if output and not known.get(output):
                    raise ConfigError(f"{self.path}: nothing tells the type of {output!r}, made by a {node.domain} {node.op_type}")
        return known

    def axes(self, name: str) -> int | None:
        """How many a value that is no weight has; None where nothing tells."""
        told = self._told.get(name)
        return len(told.shape.dim) if told is not None and told.HasField("shape") else None

    def is_weight(self, name: str) -> bool:
        return name in self.tensors or name in self.halves

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a weight."""
        return tuple(self.tensors[self.halves.get(name, name)].dims)

    def values(self, name: str) -> Array:
        """A weight as it is stored; of a file beside the graph a view, read as it is looked at."""
        tensor = self.tensors[self.halves.get(name, name)]
        if tensor.data_location != TensorProto.EXTERNAL:
            return numpy_helper.to_array(tensor)
        said = {entry.key: entry.value for entry in tensor.external_data}
        dtype, shape = helper.tensor_dtype_to_np_dtype(tensor.data_type), tuple(tensor.dims)
        if not prod(shape):
            return np.zeros(shape, dtype)
        return np.memmap(self.path.parent / said["location"], dtype, "r", int(said.get("offset", 0)), shape)

    def peak(self, name: str) -> float:
        """The largest magnitude of a weight. Raises ConfigError for one that is not finite."""
        largest, values = 0.0, self.values(name)
        for piece in pieces(values):
            require_finite(name, piece, lone=values.size == 1)
            largest = max(largest, float(np.abs(piece.astype(np.float32)).max()))
        return largest

    def runnable(self, nodes: list[NodeProto], outputs: list[str]) -> ModelProto:
        """A model of other nodes on the same weights, that gives `outputs`. To be opened with this file's folder named for its weights."""
        model = ModelProto()
        model.CopyFrom(self.model)
        graph = model.graph
        del graph.node[:], graph.output[:], graph.value_info[:]
        used = {name for node in nodes for name in node.input} | set(outputs)
        casts = self.widenings(used)
        used |= {name for node in casts for name in node.input}
        graph.initializer.extend(tensor for name, tensor in self.tensors.items() if name in used)
        graph.node.extend([*casts, *nodes])
        graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
        return model

    def widenings(self, names: Collection[str]) -> list[NodeProto]:
        """The Casts behind weights that are stored as float16, of those among `names`."""
        return [
            helper.make_node("Cast", [of], [put], f"{put}.widen", to=TensorProto.FLOAT) for put, of in self.halves.items() if put in names
        ]

    def _header(self, name: str) -> TensorProto:
        """Type and shape, and the values of what is small enough to be a shape itself."""
        tensor = self.tensors[name]
        if tensor.data_location != TensorProto.EXTERNAL and prod(tensor.dims) <= 64:
            return tensor
        header = TensorProto(name=name, dims=tensor.dims, data_type=tensor.data_type, data_location=TensorProto.EXTERNAL)
        header.external_data.add(key="location", value="none")
        return header

    def _refuse_other_kinds(self) -> None:
        opset = next((entry.version for entry in self.model.opset_import if entry.domain in STANDARD), None)
        if opset not in OPSETS:
            raise ConfigError(f"{self.path}: opset {opset}; want {OPSETS[0]} to {OPSETS[-1]}")
        if self.model.functions:
            raise ConfigError(f"{self.path}: local function {self.model.functions[0].name}; want a graph of operators alone")
        for node in self.model.graph.node:
            if any(attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for attribute in node.attribute):
                raise ConfigError(f"{self.path}: {node.op_type} {node.name!r} has a graph inside; want a graph without control flow")

    def _require_data(self, tensor: TensorProto) -> None:
        if tensor.data_location != TensorProto.EXTERNAL:
            return
        said = {entry.key: entry.value for entry in tensor.external_data}
        location = said.get("location", "")
        if not location or Path(location).name != location:
            raise ConfigError(f"{self.path}: {tensor.name} lies in {location!r}; want a file of the graph's own folder")
        data = self.path.parent / location
        if not data.is_file():
            raise ConfigError(f"{self.path}: its weights are missing, there is no {data.name} beside it")
        want = int(said.get("offset", 0)) + prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        if (got := data.stat().st_size) < want:
            raise ConfigError(f"{data}: {got} bytes, {tensor.name} ends at {want}")

    def _take_constants(self) -> None:
        """Constant nodes are weights by another name."""
        for node in [node for node in self.model.graph.node if node.op_type == "Constant"]:
            said = node.attribute[0]
            if said.name == "value":
                tensor = TensorProto()
                tensor.CopyFrom(said.t)
            elif said.name in {"value_float", "value_floats", "value_int", "value_ints"}:
                kind = np.float32 if "float" in said.name else np.int64
                tensor = numpy_helper.from_array(np.array(helper.get_attribute_value(said), kind))
            else:
                raise ConfigError(f"{self.path}: constant {node.output[0]!r} is a {said.name}; want numbers")
            tensor.name = node.output[0]
            self.tensors[tensor.name] = tensor
            self.model.graph.node.remove(node)

    def _take_halves(self) -> dict[str, str]:
        halves = {}
        for node in [node for node in self.model.graph.node if node.op_type == "Cast"]:
            stored = self.tensors.get(node.input[0])
            if stored is not None and stored.data_type == TensorProto.FLOAT16 and node.attribute[0].i == TensorProto.FLOAT:
                halves[node.output[0]] = node.input[0]
                self.model.graph.node.remove(node)
        return halves


class Names:
    """Names for what a pass adds to a graph."""

    def __init__(self, file: OnnxFile) -> None:
        graph = file.model.graph
        self._taken = {value.name for value in (*graph.input, *graph.output)} | set(file.tensors) | set(file.halves)
        self._taken |= {name for node in graph.node for name in (node.name, *node.input, *node.output)}

    def fresh(self, name: str) -> str:
        """`name`, or what is nearest to it that nothing is called yet; the same for the same calls before."""
        while name in self._taken:
            name = f"{name}_"
        self._taken.add(name)
        return name


def _name(nodes: Any) -> None:
    """A name for each node, the same every time."""
    taken: set[str] = set()
    for k, node in enumerate(nodes):
        name = node.name or f"{node.op_type}_{k}"
        while name in taken:
            name = f"{name}_{k}"
        node.name = name
        taken.add(name)


def pieces(values: Array, most: int = PIECE) -> Iterator[Array]:
    """Flat views of at most `most` numbers."""
    flat = values.reshape(-1)
    for start in range(0, flat.size, most):
        yield flat[start : start + most]


def require_finite(name: str, values: Array, *, lone: bool = False) -> None:
    """A `lone` -inf may be: it is what a mask is filled with."""
    if values.dtype.kind != "f" or (lone and bool(np.isneginf(values).all())):
        return
    if not np.isfinite(values).all():
        raise ConfigError(f"weight {name} holds nan or inf")
