"""A float32 graph rewritten in half precision, node by node as it is told; and its twin, that rounds the same numbers in float32.

The twin is there to be measured: ONNX Runtime on a CPU computes half precision in float32 and leaves out roundings between its nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.onnx_file import OnnxFile
from export.weight_store import Store

HALF_MAX = 65504.0
SHAPES = {"Shape", "Size"}  # they read either type


class Keep(Enum):
    """What a node computes in."""

    HALF = "fp16"
    WIDE = "fp32"  # its matrices are stored as float16 all the same
    EXACT = "fp32 with float32 weights"


@dataclass(frozen=True, slots=True)
class HalfPlan:
    """What is to be what. `masked` are values that hold the likes of -1e9: they end at -65504 instead of -inf."""

    keep: Mapping[str, Keep]  # of each node that touches float32
    masked: Collection[str] = field(default_factory=frozenset)
    narrow: Collection[str] = field(default_factory=frozenset)  # inputs and outputs of the graph that become float16


class _Writer:
    """The nodes of one graph being rewritten."""

    def __init__(self, file: OnnxFile, plan: HalfPlan, *, twin: bool) -> None:
        self.file, self.plan, self.twin = file, plan, twin
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.narrowed: dict[str, str] = {}  # value -> its name in half precision
        self.widened: dict[str, str] = {}  # value -> its name in float32, where that is not its own
        self.wants: dict[str, set[Keep]] = {}  # of each weight, how it is read
        self.inside: dict[str, str] = {}  # value that is half where it is made -> its name there

    def write(self) -> None:
        self._begin()
        outputs = {value.name for value in self.file.model.graph.output}
        for node in self.file.nodes:
            self._node(node, outputs)
        if not self.twin:
            for name in outputs & set(self.inside) - set(self.plan.narrow):
                self._cast(self.inside[name], name, TensorProto.FLOAT)

    def _begin(self) -> None:
        for value in self.file.model.graph.input:
            if value.name in self.plan.narrow:
                self.inside[value.name] = value.name
                if self.twin:
                    self.inside[value.name] = self.widened[value.name] = f"{value.name}.rounded"
                    self._round(value.name, f"{value.name}.rounded")
        for node in self.file.nodes:
            keep = self.plan.keep.get(node.name)
            for name in node.input:
                if keep is not None and self._float(name) and self.file.is_weight(name):
                    self.wants.setdefault(name, set()).add(keep)

    def _node(self, node: NodeProto, outputs: set[str]) -> None:
        keep = self.plan.keep.get(node.name)
        made = NodeProto()
        made.CopyFrom(node)
        if keep is None or node.op_type in SHAPES:
            self._replace(made, [self.inside.get(name, name) for name in node.input])
        elif keep is Keep.HALF:
            self._replace(made, [self._half(name) if self._float(name) else name for name in node.input])
            self._halve_outputs(made, outputs)
            return
        else:
            self._replace(made, [self._full(name) if self._float(name) else name for name in node.input])
        self.nodes.append(made)

    def _halve_outputs(self, node: NodeProto, outputs: set[str]) -> None:
        rounded = []
        for k, name in enumerate(node.output):
            if not name or not self._float(name):
                continue
            if self.twin:
                node.output[k] = f"{name}.exact"
                rounded.append(name)
                self.inside[name] = name
            else:
                self.inside[name] = f"{name}.half" if name in outputs and name not in self.plan.narrow else name
                node.output[k] = self.inside[name]
        self.nodes.append(node)
        for name in rounded:
            self._round(f"{name}.exact", name)

    def _half(self, name: str) -> str:
        if name in self.inside:
            return self.inside[name]
        if self.file.is_weight(name) and not self.twin and self.stored_half(name):
            return self.half_name(name)
        if name not in self.narrowed:
            start = self._above(name) if name in self.plan.masked else name
            self.narrowed[name] = f"{name}.rounded" if self.twin else f"{name}.half"
            if self.twin:
                self._round(start, self.narrowed[name])
            else:
                self._cast(start, self.narrowed[name], TensorProto.FLOAT16)
        return self.narrowed[name]

    def _full(self, name: str) -> str:
        if self.file.is_weight(name):
            return self._half(name) if self.twin and self.stored_half(name) else name
        if name not in self.inside or self.twin:
            return self.widened.get(name, name)
        if name not in self.widened:
            self.widened[name] = f"{name}.wide"
            self._cast(self.inside[name], self.widened[name], TensorProto.FLOAT)
        return self.widened[name]

    def stored_half(self, name: str) -> bool:
        """A weight is stored once: as float16 if it is already, or nobody wants it exactly and it is no vector that an island reads."""
        wants = self.wants[name]
        return name in self.file.halves or (Keep.EXACT not in wants and (Keep.WIDE not in wants or len(self.file.shape(name)) > 1))

    def half_name(self, name: str) -> str:
        """Of a weight that is stored as float16: its own where nobody reads it as float32."""
        return name if self.wants[name] == {Keep.HALF} else f"{name}.half"

    def _above(self, name: str) -> str:
        low = f"{name}.low"
        if low not in {tensor.name for tensor in self.constants}:
            self.constants.append(numpy_helper.from_array(np.array(-HALF_MAX, np.float32), low))
            self.nodes.append(helper.make_node("Clip", [name, low], [f"{name}.unmasked"], f"{name}.unmasked"))
        return f"{name}.unmasked"

    def _round(self, name: str, put: str) -> None:
        self._cast(name, f"{put}.half", TensorProto.FLOAT16)
        self._cast(f"{put}.half", put, TensorProto.FLOAT)

    def _cast(self, name: str, put: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [name], [put], f"{put}.cast", to=kind))

    def _float(self, name: str) -> bool:
        return bool(name) and self.file.types[name] == TensorProto.FLOAT

    @staticmethod
    def _replace(node: NodeProto, inputs: list[str]) -> None:
        del node.input[:]
        node.input.extend(inputs)


def twin(file: OnnxFile, plan: HalfPlan, outputs: list[str]) -> ModelProto:
    """float32 all through, each number rounded where the half graph keeps it as float16; gives `outputs`, by their names in the file."""
    writer = _Writer(file, plan, twin=True)
    writer.write()
    model = file.runnable(writer.nodes, outputs)
    model.graph.initializer.extend(writer.constants)
    return model


def write_half(file: OnnxFile, plan: HalfPlan, store: Store) -> None:
    """The half graph into `store`, each weight once. Raises ConfigError for a weight that float16 cannot hold and nobody wants exactly."""
    writer = _Writer(file, plan, twin=False)
    writer.write()
    front: list[NodeProto] = []
    used = {name for node in writer.nodes for name in node.input} | {value.name for value in file.model.graph.output}
    for name in [*file.tensors, *file.halves]:
        if name in writer.wants:
            front.extend(_store(file, writer, store, name))
        elif name in used:
            store.copy(file, name)
    model = ModelProto()
    model.CopyFrom(file.model)
    graph = model.graph
    del graph.node[:], graph.value_info[:]
    graph.node.extend([*front, *writer.nodes])
    graph.initializer.extend(writer.constants)
    for value in (*graph.input, *graph.output):
        if value.name in plan.narrow:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    store.finish(model)


def _store(file: OnnxFile, writer: _Writer, store: Store, name: str) -> list[NodeProto]:
    """One float weight; the Cast behind it where it is stored as float16 and read as float32."""
    if not writer.stored_half(name):
        store.copy(file, name)
        return []
    put = writer.half_name(name)
    if name in writer.plan.masked:
        store.put(put, np.maximum(file.values(name), -HALF_MAX).astype(np.float16))
    else:
        store.copy(file, name, TensorProto.FLOAT16, put)
    return [] if put == name else [helper.make_node("Cast", [put], [name], f"{put}.widen", to=TensorProto.FLOAT)]
